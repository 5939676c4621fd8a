//! Decodes: the emulator's pictures bit by bit, from as few recordings as promised.

use pid_engine::checkpoint::synthetic;
use pid_engine::kernels::KernelChoice;
use pid_engine::latent::{Latent, Sigma};
use pid_engine::sampler::{NoiseSource, Sampler};
use pid_engine::{Device, Request};

use crate::driver::{Fake, INVALID_VALUE, Live, Machine};
use crate::{GPU, builder, checkpoint, decoder, expected, inputs, latent};

const RECORDED: &str = "cuGraphInstantiate";
const REPLAYED: &str = "cuGraphLaunch";

#[test]
fn a_size_is_recorded_once() {
    let Some(fake) = Fake::new(Machine::default()) else { return };
    let (small, mut request) = inputs();
    request.steps = 1;
    let decoder = decoder(GPU).unwrap();
    assert_eq!(decoder.device_name(), "Fake GPU 0 (cuda:0)");
    let check = |latent: &Latent, request: &Request, recorded, replayed| {
        let picture = decoder.decode(latent, request).unwrap().picture;
        assert!(picture == expected(latent, request), "decode {replayed} differs from the emulator's");
        assert_eq!((fake.calls(RECORDED), fake.calls(REPLAYED)), (recorded, replayed));
    };
    check(&small, &request, 1, 1);
    check(&small, &request, 1, 2);
    let others =
        Request { sigma: Sigma::new(vec![0.3]).unwrap(), noise: NoiseSource::Philox { seed: 5 }, ..request.clone() };
    check(&latent(1, 1, 9), &others, 1, 3);
    check(&latent(1, 2, 2), &request, 2, 4);
    check(&latent(1, 2, 2), &others, 2, 5);
    // Other launches of a known size.
    check(&latent(1, 2, 2), &Request { sampler: Sampler::Ode, steps: 2, ..request.clone() }, 3, 6);
    check(&latent(1, 2, 2), &Request { steps: 2, ..request.clone() }, 4, 7);
    check(&latent(1, 2, 2), &request, 4, 8);
    assert_eq!(fake.live().graphs, 0, "what graphs were made from is of no use afterwards");
    assert_eq!(fake.calls("cuLaunchKernel"), 0);
    drop(decoder);
}

/// Each draw interrupts the recording.
#[test]
fn noise_of_the_caller_is_uploaded_between_recordings() {
    let Some(fake) = Fake::new(Machine::default()) else { return };
    let (latent, request) = inputs();
    let draws: Vec<Vec<f32>> = (0..2).map(|k| synthetic::noise(&[1, 3, 32, 32], k, 2)).collect();
    let decoder = decoder(GPU).unwrap();
    for (recorded, noise) in
        [(3, NoiseSource::Given(draws.clone())), (3, NoiseSource::TorchCpu { seed: 3 }), (3, NoiseSource::Given(draws))]
    {
        let request = Request { noise, ..request.clone() };
        assert!(decoder.decode(&latent, &request).unwrap().picture == expected(&latent, &request));
        assert_eq!(fake.calls(RECORDED), recorded);
    }
    drop(decoder);
}

/// Copies of streamed weights are part of the recording; the fake driver runs each as early as its edges allow.
#[test]
fn streamed_weights() {
    let Some(fake) = Fake::new(Machine::default()) else { return };
    let (latent, request) = (latent(2, 1, 2), inputs().1);
    let others = Request { noise: NoiseSource::Philox { seed: 5 }, ..request.clone() };
    for budget in ["16MB", "25MB"] {
        let decoder = builder(GPU).budget(budget.parse().unwrap()).build(checkpoint()).unwrap();
        let (recorded, copies) = (fake.calls(RECORDED), fake.calls("cuGraphAddMemcpyNode"));
        let decoded = decoder.decode(&latent, &request).unwrap();
        assert!(decoded.picture == expected(&latent, &request), "{budget}");
        let copies = fake.calls("cuGraphAddMemcpyNode") - copies;
        assert!(copies > 10, "{budget}: {copies} copies");
        assert!(decoder.decode(&latent, &others).unwrap().picture == expected(&latent, &others), "{budget}, replayed");
        assert_eq!(fake.calls(RECORDED), recorded + 1, "{budget}");
        let live = fake.live();
        println!("{budget}: planned {}, on the device {}", decoded.planned_bytes, live.bytes);
        // Angles, zeros, ones and what kernels want made of constants are not in the plan.
        let most = decoded.planned_bytes as u64 / 100 * 101;
        assert!(live.bytes <= most, "{budget}: {} of {}", live.bytes, decoded.planned_bytes);
        drop(decoder);
        assert_eq!(fake.live(), Live::default(), "{budget}");
    }
}

/// With the variable set, launches are waited for one by one.
#[test]
fn synchronous_launches() {
    let Some(fake) = Fake::new(Machine::default()) else { return };
    let (latent, request) = inputs();
    let variable = pid_engine::backend::cuda::SYNC_VARIABLE;
    // SAFETY: `fake` keeps the other tests waiting, and the emulator's threads do not read the environment.
    unsafe { std::env::set_var(variable, "1") };
    let decoder = decoder(GPU);
    // SAFETY: as above.
    unsafe { std::env::remove_var(variable) };
    let decoder = decoder.unwrap();
    assert!(decoder.decode(&latent, &request).unwrap().picture == expected(&latent, &request));
    assert_eq!((fake.calls("cuGraphCreate"), fake.calls(RECORDED)), (0, 0));
    let launches = fake.calls("cuLaunchKernel");
    assert!(launches > 100, "{launches}");
    assert!(fake.calls("cuStreamSynchronize") > launches);
    drop(decoder);
}

#[test]
fn threads_share_a_decoder() {
    let Some(_fake) = Fake::new(Machine::default()) else { return };
    let (small, request) = inputs();
    let wide = latent(1, 2, 4);
    let request = |seed| Request { noise: NoiseSource::Philox { seed }, steps: 1, ..request.clone() };
    let jobs = [(&small, request(0)), (&wide, request(1)), (&small, request(2)), (&wide, request(3))];
    // A new decoder each time, as the first decodes race for the weights.
    for _ in 0..2 {
        let decoder = decoder(GPU).unwrap();
        std::thread::scope(|scope| {
            for (latent, request) in &jobs {
                let decoder = &decoder;
                scope.spawn(move || {
                    assert!(decoder.decode(latent, request).unwrap().picture == expected(latent, request));
                });
            }
        });
    }
}

/// Decoders of one GPU share its context; what one brought goes with it.
#[test]
fn decoders_share_a_gpu() {
    let Some(fake) = Fake::new(Machine::default()) else { return };
    let (latent, mut request) = inputs();
    request.steps = 1;
    let first = decoder(GPU).unwrap();
    first.decode(&latent, &request).unwrap();
    let alone = fake.live();
    for _ in 0..2 {
        let second = decoder(GPU).unwrap();
        assert!(second.decode(&latent, &request).unwrap().picture == expected(&latent, &request));
        drop(second);
        assert_eq!(fake.live(), alone);
    }
    assert!(first.decode(&latent, &request).unwrap().picture == expected(&latent, &request));
    drop(first);
}

/// A device gets the kernels made for its own architecture, or the portable ones on request.
#[test]
fn the_second_of_two_gpus() {
    let Some(fake) = Fake::new(Machine { devices: 2, major: 9, ..Machine::default() }) else { return };
    if !has_sm_90a() {
        return;
    }
    let (latent, mut request) = inputs();
    request.steps = 1;
    let second = Device::Cuda { ordinal: 1 };
    let emulated = |device| decoder(device).unwrap().decode(&latent, &request).unwrap().picture;
    for (kernels, picture) in
        [(KernelChoice::Auto, emulated(Device::EMULATOR_SM_90A)), (KernelChoice::Portable, emulated(Device::EMULATOR))]
    {
        let maps = fake.calls("cuTensorMapEncodeTiled");
        let decoder = builder(second).kernels(kernels).build(checkpoint()).unwrap();
        assert_eq!(decoder.device_name(), "Fake GPU 1 (cuda:1)");
        assert!(decoder.decode(&latent, &request).unwrap().picture == picture, "{kernels}");
        let made = fake.calls("cuTensorMapEncodeTiled") - maps;
        assert_eq!(made > 0, kernels == KernelChoice::Auto, "{made} maps");
        assert!(decoder.decode(&latent, &request).unwrap().picture == picture, "{kernels}, replayed");
    }
}

/// A map that the driver refuses is an error of the launch, and the decoder goes on.
#[test]
fn a_refused_tensor_map() {
    let Some(fake) = Fake::new(Machine { major: 9, ..Machine::default() }) else { return };
    if !has_sm_90a() {
        return;
    }
    let (latent, mut request) = inputs();
    request.steps = 1;
    let decoder = decoder(GPU).unwrap();
    fake.fail("cuTensorMapEncodeTiled", 3, INVALID_VALUE, false);
    let error = decoder.decode(&latent, &request).unwrap_err().to_string();
    assert!(error.contains("cuTensorMapEncodeTiled of Tiled") && error.contains("invalid argument"), "{error}");
    decoder.decode(&latent, &request).unwrap();
    drop(decoder);
}

fn has_sm_90a() -> bool {
    let has = pid_engine::kernels::cubins::CUBINS.iter().any(|c| c.arch == "sm_90a");
    if !has {
        println!("skipped: no kernels for sm_90a");
    }
    has
}
