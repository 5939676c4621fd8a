//! Tests of the tests: each faulty copy of a kernel lacks one wait, barrier or guard, and each must be caught.

use std::collections::BTreeSet;

use pid_engine::backend::emulator::{Emulator, Schedule};

use crate::device::{Device, emulator, emulators};

/// Asserts that each of `kernels` fails its test on the emulator by some schedule. `test` is what the correct kernel passes.
pub fn assert_caught(kernels: &[&'static str], test: impl Fn(&Device, &'static str) -> Result<(), String>) {
    let devices: Vec<Device> = emulators().into_iter().chain([emulator(Schedule::Fifo)]).collect();
    for kernel in kernels {
        let caught = devices.iter().find_map(|device| test(device, kernel).err().map(|e| (device, e)));
        match caught {
            Some((device, error)) => println!("{kernel}: {}: {error}", device.name),
            None => panic!("{kernel} passes on {} schedules", devices.len()),
        }
    }
}

#[test]
fn every_faulty_kernel_has_a_test() {
    let tested: BTreeSet<&str> = [
        crate::attention::FAULTS,
        crate::attention::sm90::FAULTS,
        crate::conv::FAULTS,
        crate::gemm::FAULTS,
        crate::pixel::FAULTS,
        crate::rows::FAULTS,
        crate::sampler::FAULTS,
    ]
    .concat()
    .into_iter()
    .collect();
    let kernels = Emulator::kernels();
    let is_fault = |name: &&String| (name.contains("_no_") || name.contains("_fault")) && !name.starts_with("micro_");
    let registered: BTreeSet<&str> = kernels.iter().filter(is_fault).map(String::as_str).collect();
    assert!(!registered.is_empty());
    assert_eq!(registered, tested);
}
