//! Machines that cannot run the kernels: what is said, and what `auto` makes of them.

use pid_engine::Device;

use crate::driver::{Fake, Machine, OUT_OF_MEMORY};
use crate::{GPU, decoder, inputs};

/// The message of a decoder refused on this machine; nothing may be left there.
fn refusal(machine: Machine, device: Device) -> Option<String> {
    let _fake = Fake::new(machine)?;
    Some(decoder(device).unwrap_err().to_string())
}

fn capability(major: i32, minor: i32) -> Machine {
    Machine { major, minor, ..Machine::default() }
}

#[test]
fn messages() {
    let old_driver = Machine { driver_version: 11_040, ..Machine::default() };
    let empty = Machine { devices: 0, ..Machine::default() };
    let tegra = |capability: &str| {
        format!(
            "device: cuda:0: Fake GPU 0 has compute capability {capability}: it is a Tegra, which runs none of the code \
             made for other devices; use --device cpu"
        )
    };
    let cases = [
        (
            old_driver,
            GPU,
            format!(
                "device: cuda: the driver supports CUDA 11.4; this build's kernels need {}.0 or newer: update the driver, \
                 or build with the nvcc of an older release (12.8 or newer)",
                pid_engine::kernels::cubins::CUDA_MAJOR
            ),
        ),
        (empty, GPU, "device: cuda: cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected".into()),
        (
            Machine::default(),
            Device::Cuda { ordinal: 3 },
            "device: cuda:3: no such device; there are 1, counted from 0".into(),
        ),
        (
            capability(7, 5),
            GPU,
            "device: cuda:0: Fake GPU 0 has compute capability 7.5; 8.0 or newer is needed (Ampere: RTX 30, A100)"
                .into(),
        ),
        (capability(8, 7), GPU, tegra("8.7")),
        (capability(10, 1), GPU, tegra("10.1")),
    ];
    for (machine, device, message) in cases {
        let Some(refused) = refusal(machine, device) else { return };
        assert_eq!(refused, message);
    }
}

/// Whatever call of the start fails, it is named, and what was opened before is closed.
#[test]
fn failing_starts() {
    let Some(fake) = Fake::new(Machine::default()) else { return };
    for entry in [
        "cuInit",
        "cuDeviceGetCount",
        "cuDevicePrimaryCtxRetain",
        "cuDeviceGetName",
        "cuCtxGetCurrent",
        "cuStreamCreate",
    ] {
        fake.fail(entry, 1, OUT_OF_MEMORY, false);
        let refused = decoder(GPU).unwrap_err().to_string();
        // cudarc opens the context with several calls.
        let named = if entry == "cuCtxGetCurrent" { "cuDevicePrimaryCtxRetain" } else { entry };
        assert_eq!(refused, format!("device: cuda: {named}: CUDA_ERROR_OUT_OF_MEMORY: out of memory"));
        assert_eq!((fake.live().contexts, fake.live().streams), (0, 0), "{entry}");
    }
}

#[test]
fn auto_takes_the_cpu_and_says_why() {
    let (latent, mut request) = inputs();
    request.steps = 1;
    let warnings = |device| decoder(device).unwrap().decode(&latent, &request).unwrap().warnings;
    let usual = warnings(Device::Cpu);
    {
        let Some(_fake) = Fake::new(Machine { devices: 0, ..Machine::default() }) else { return };
        assert_eq!(decoder(Device::Auto).unwrap().device_name(), "cpu");
        assert_eq!(warnings(Device::Auto), usual, "no GPU is no reason to wonder");
    }
    {
        let Some(_fake) = Fake::new(capability(7, 5)) else { return };
        let mut expected = vec![
            "on the CPU, not the GPU: cuda:0: Fake GPU 0 has compute capability 7.5; 8.0 or newer is needed (Ampere: \
             RTX 30, A100)"
                .to_owned(),
        ];
        expected.extend(usual);
        assert_eq!(warnings(Device::Auto), expected);
    }
    let Some(_fake) = Fake::new(Machine::default()) else { return };
    assert_eq!(decoder(Device::Auto).unwrap().device_name(), "Fake GPU 0 (cuda:0)");
}
