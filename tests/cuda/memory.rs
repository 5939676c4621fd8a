//! Too little memory: refused before anything is taken where that can be known, without a leak where not.

use pid_engine::backend::cuda::Cuda;
use pid_engine::backend::device::Driver;
use pid_engine::exec::DeviceError;
use pid_engine::exec::ExecError;
use pid_engine::plan::ByteSize;
use pid_engine::{Decoder, Error};

use crate::driver::{Fake, Live, Machine, OUT_OF_MEMORY};
use crate::{GPU, builder, checkpoint, decoder, expected, inputs, latent};

/// The error's (what, needed, free, budget).
fn out_of_memory(error: &Error) -> (&str, u64, u64, ByteSize) {
    match error {
        Error::Exec(ExecError::Device(DeviceError::OutOfMemory { what, needed, free, budget })) => {
            (what, needed.0, free.0, *budget)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_decode_that_cannot_fit_takes_nothing_and_names_a_budget() {
    let Some(fake) = Fake::new(Machine::default()) else { return };
    let (_, mut request) = inputs();
    request.steps = 1;
    let latent = latent(8, 8, 2);
    let picture = expected(&latent, &request);
    let whole = decoder(GPU).unwrap();
    let planned = whole.decode(&latent, &request).unwrap().planned_bytes as u64;
    let used = fake.live().bytes;
    drop(whole);
    for short in [1, 1_000_000] {
        let total = used - short;
        fake.set_total_bytes(total);
        let tight = decoder(GPU).unwrap();
        let error = tight.decode(&latent, &request).unwrap_err();
        let (what, needed, free, budget) = out_of_memory(&error);
        assert_eq!((what, free), ("the decode", total), "{error}");
        assert!(needed > free && budget.0 < planned, "{error}");
        let told = format!(
            "out of device memory: the decode needs {}, {} free; decode a smaller picture or pass --budget {budget}",
            ByteSize(needed),
            ByteSize(free)
        );
        assert_eq!(error.to_string(), told);
        assert_eq!(fake.live(), Live { contexts: 1, streams: 1, ..Live::default() }, "{short} bytes short");
        drop(tight);
        // What the message says, as a person would type it.
        let fitted = builder(GPU).budget(budget.to_string().parse().unwrap()).build(checkpoint()).unwrap();
        let decoded = fitted.decode(&latent, &request).unwrap_or_else(|e| panic!("{short} short, {told}: {e}"));
        assert!(decoded.picture == picture, "{short} bytes short");
    }
}

#[test]
fn every_allocation_may_fail() {
    let Some(fake) = Fake::new(Machine::default()) else { return };
    let (latent, mut request) = inputs();
    request.steps = 1;
    let picture = expected(&latent, &request);
    let all = {
        let decoder = decoder(GPU).unwrap();
        decoder.decode(&latent, &request).unwrap();
        fake.calls("cuMemAlloc")
    };
    assert!(all > 20, "{all}");
    let refused = |decoder: &Decoder| {
        let error = decoder.decode(&latent, &request).unwrap_err();
        let (what, needed, free, _) = out_of_memory(&error);
        assert!(what == "an allocation" && needed > 0 && free > 0, "{error}");
    };
    for nth in [1, 2, all / 2, all] {
        let decoder = decoder(GPU).unwrap();
        fake.fail("cuMemAlloc", nth, OUT_OF_MEMORY, false);
        refused(&decoder);
        drop(decoder);
        assert_eq!(fake.live(), Live::default(), "{nth}");
    }
    // Every attempt gets one allocation further, and keeps what it made.
    let decoder = decoder(GPU).unwrap();
    for nth in 1..all {
        fake.fail("cuMemAlloc", 2, OUT_OF_MEMORY, false);
        refused(&decoder);
        assert!(fake.live().allocations <= nth, "{nth}");
    }
    assert!(decoder.decode(&latent, &request).unwrap().picture == picture);
    assert_eq!(fake.live().allocations, all);
    drop(decoder);
}

/// Copies of every kind of length arrive whole, by way of page-locked memory or without.
#[test]
fn copies_of_any_length() {
    let Some(fake) = Fake::new(Machine::default()) else { return };
    let gpu = Cuda::open(0).unwrap();
    const HALF: usize = 8 << 20;
    for bytes in [1, 100_000, (256 << 10) + 1, HALF, HALF + 3, 3 * HALF - 1, 5 * HALF + 7] {
        let sent: Vec<u8> = (0..bytes).map(|i| (i * 31 + i / 4099) as u8).collect();
        let address = gpu.allocate(bytes).unwrap();
        gpu.upload(address, &sent).unwrap();
        let mut got = vec![0; bytes];
        gpu.download(address, &mut got).unwrap();
        assert!(got == sent, "{bytes} bytes");
        gpu.free(address, bytes);
    }
    assert_eq!(fake.live().host_allocations, 1);
    drop(gpu);
}
