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

/// Those of `faults` that are copies of `kernel` or of one of its forms for sm_90a. A longer name that begins alike is
/// another kernel's.
pub fn faults_of(faults: &[&'static str], kernel: &str) -> Vec<&'static str> {
    let is_of = |rest: &str| rest.starts_with("_no_") || rest.starts_with("_128x");
    let of: Vec<_> = faults.iter().filter(|fault| fault.strip_prefix(kernel).is_some_and(is_of)).copied().collect();
    assert!(!of.is_empty(), "{kernel}");
    of
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
    // What follows an architecture names a fault, too.
    let is_fault = |name: &&String| ["_no_", "_fault", "_sm90_"].iter().any(|part| name.contains(part));
    let registered = kernels.iter().filter(is_fault).map(String::as_str).filter(|name| !name.starts_with("micro_"));
    let registered: BTreeSet<&str> = registered.collect();
    assert!(!registered.is_empty());
    assert_eq!(registered, tested);
}

/// Portable kernels are reached by the plans of the golden tests; these only where a plan chooses them.
#[test]
fn every_kernel_of_sm_90_has_a_test() {
    let of_sm_90 = |name: &&str| name.ends_with("_sm90");
    let tested = [crate::conv::KERNELS, crate::gemm::KERNELS, crate::pixel::KERNELS].concat();
    let tested = tested.into_iter().chain(crate::attention::sm90::variants());
    let tested: BTreeSet<&str> = tested.filter(of_sm_90).collect();
    let kernels = Emulator::kernels();
    let registered: BTreeSet<&str> = kernels.iter().map(String::as_str).filter(of_sm_90).collect();
    assert_eq!(registered, tested);
}
