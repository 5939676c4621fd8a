//! Calls that fail in the middle: what is said, and that the way out is free.

use pid_engine::backend::cuda::Cuda;
use pid_engine::backend::device::Driver;

use crate::driver::{Fake, ILLEGAL_ADDRESS, INVALID_IMAGE, INVALID_VALUE, Live, Machine};
use crate::{GPU, decoder, expected, inputs};

/// A call that fails once leaves a decoder that works, and a message that says where it was.
#[test]
fn passing_failures() {
    let Some(fake) = Fake::new(Machine::default()) else { return };
    let (latent, mut request) = inputs();
    request.steps = 1;
    let decoder = decoder(GPU).unwrap();
    let invalid = "CUDA_ERROR_INVALID_VALUE: invalid argument";
    let image = "loading group_norm for sm_80: CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid (the driver \
                 supports CUDA 13.0; a newer one may help)";
    let cases = [
        ("cuModuleLoadData", 2, INVALID_IMAGE, image.to_owned()),
        ("cuModuleGetFunction", 3, INVALID_VALUE, invalid.to_owned()),
        ("cuFuncSetAttribute", 1, INVALID_VALUE, format!("bytes of shared memory a block: {invalid}")),
        ("cuGraphCreate", 1, INVALID_VALUE, format!("cuda:0: cuGraphCreate: {invalid}")),
        ("cuGraphAddKernelNode", 5, INVALID_VALUE, format!("cuda:0: cuGraphAddKernelNode: {invalid}")),
        ("cuGraphInstantiate", 1, INVALID_VALUE, format!("cuda:0: cuGraphInstantiate: {invalid}")),
        ("cuGraphLaunch", 1, INVALID_VALUE, "kernels: CUDA_ERROR_INVALID_VALUE: invalid argument".to_owned()),
        ("cuMemcpyHtoDAsync", 1, INVALID_VALUE, format!("cuda:0: cuMemcpyHtoDAsync: {invalid}")),
        ("cuMemcpyDtoHAsync", 1, INVALID_VALUE, format!("cuda:0: cuMemcpyDtoHAsync: {invalid}")),
    ];
    for (entry, nth, result, words) in cases {
        fake.fail(entry, nth, result, false);
        let error = decoder.decode(&latent, &request).unwrap_err().to_string();
        println!("{entry}: {error}");
        assert!(error.contains(&words), "{entry}: {error}");
        let names_kernel = ["cuModule", "cuFunc", "cuGraphAdd"].iter().any(|p| entry.starts_with(p));
        assert_eq!(error.contains(" ("), names_kernel, "node and kernel: {error}");
        assert_eq!(fake.live().graphs, 0, "{entry}");
    }
    assert!(decoder.decode(&latent, &request).unwrap().picture == expected(&latent, &request));
    drop(decoder);
}

/// What cudarc calls for us (page-locked memory, events) is named too, and can be had at the next try.
#[test]
fn copies_and_clocks_fail_by_name() {
    let Some(fake) = Fake::new(Machine::default()) else { return };
    let gpu = Cuda::open(0).unwrap();
    let bytes = vec![7; 1 << 20];
    let address = gpu.allocate(bytes.len()).unwrap();
    let upload = || gpu.upload(address, &bytes);
    let time = || gpu.copy_timed(address, address + (1 << 19), 1 << 19, 1).map(|_| ());
    let cases: [(&str, &str, &dyn Fn() -> _); 6] = [
        ("cuMemHostAlloc", "cuMemHostAlloc", &upload),
        ("cuEventSynchronize", "cuEventSynchronize", &upload),
        ("cuEventCreate", "cuEventCreate", &time),
        ("cuEventRecord", "cuEventRecord", &time),
        ("cuEventElapsedTime", "cuEventElapsedTime", &time),
        // Asking for the time waits for both events first.
        ("cuEventSynchronize", "cuEventElapsedTime", &time),
    ];
    for (entry, named, call) in cases {
        fake.fail(entry, 1, INVALID_VALUE, false);
        let error = call().unwrap_err().to_string();
        assert_eq!(error, format!("cuda:0: {named}: CUDA_ERROR_INVALID_VALUE: invalid argument"), "{entry}");
        call().unwrap();
    }
    gpu.free(address, bytes.len());
}

/// A kernel's fault ends the context: every later call says so, and another decoder starts afresh.
#[test]
fn a_lost_context() {
    let Some(fake) = Fake::new(Machine::default()) else { return };
    let (latent, mut request) = inputs();
    request.steps = 1;
    let broken = decoder(GPU).unwrap();
    broken.decode(&latent, &request).unwrap();
    // Three inputs and the seed are uploaded, the fifth wait is for the picture.
    fake.fail("cuStreamSynchronize", 5, ILLEGAL_ADDRESS, true);
    let reason = "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered";
    assert_eq!(
        broken.decode(&latent, &request).unwrap_err().to_string(),
        format!(
            "cuda:0: copying from the device, or work before (set PID_CUDA_SYNC=1 to learn which launch): {reason}"
        )
    );
    for _ in 0..2 {
        assert_eq!(
            broken.decode(&latent, &request).unwrap_err().to_string(),
            format!(
                "cuda:0 failed before ({reason}): drop every decoder on this GPU, as they share its context, then \
                 build another"
            )
        );
    }
    // It cannot be opened as long as somebody keeps the context.
    let refused = decoder(GPU).unwrap_err().to_string();
    assert_eq!(refused, format!("device: cuda: cuStreamCreate: {reason}: drop every decoder on this GPU first"));
    drop(broken);
    assert_eq!(fake.live(), Live::default(), "the context took everything with it");
    let fresh = decoder(GPU).unwrap();
    assert!(fresh.decode(&latent, &request).unwrap().picture == expected(&latent, &request));
    drop(fresh);
}
