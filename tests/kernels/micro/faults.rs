//! What the emulator must notice: kernels that each lack one wait, fence or arrival.

use std::collections::BTreeSet;

use pid_engine::backend::emulator::{Emulator, Scheduler};
use pid_engine::kernels::KernelCall;
use pid_engine::kernels::tensor_map::{Element, Swizzle};

use super::params::PidMicroParams;
use super::tma::{self, Case};
use super::{Words, cluster, distinct, hopper_drivers, pipeline, wgmma};
use crate::faults::assert_caught;
use crate::under_test::{Device, emulator};

const LOAD: &[&str] = &[
    "micro_load_fault_1",
    "micro_load_fault_2",
    "micro_load_fault_3",
    "micro_load_fault_4",
    "micro_load_fault_5",
    "micro_load_fault_6",
];
const STORE: &[&str] = &[
    "micro_store_fault_1",
    "micro_store_fault_2",
    "micro_store_fault_3",
    "micro_store_fault_4",
    "micro_store_fault_5",
];
const WGMMA: &[&str] = &[
    "micro_wgmma_pair_fault_1",
    "micro_wgmma_pair_fault_2",
    "micro_wgmma_pair_fault_3",
    "micro_wgmma_pair_fault_4",
    "micro_wgmma_pair_fault_5",
    "micro_wgmma_pair_fault_6",
    "micro_wgmma_pair_fault_7",
    "micro_wgmma_pair_fault_8",
    "micro_wgmma_pair_fault_9",
];
const RING: &[&str] =
    &["micro_ring_fault_1", "micro_ring_fault_2", "micro_ring_fault_3", "micro_ring_fault_4", "micro_ring_fault_5"];
const PIPELINE: &[&str] = &[
    "micro_pipeline_fault_1",
    "micro_pipeline_fault_2",
    "micro_pipeline_fault_3",
    "micro_pipeline_fault_4",
    "micro_pipeline_fault_5",
    "micro_pipeline_fault_6",
    "micro_pipeline_fault_7",
];

const BOX: Case =
    Case { element: Element::Bf16, swizzle: Swizzle::Bytes128, dims: &[200, 50], box_dims: &[64, 16], at: &[64, 8] };
const BOX_SHARED_BYTES: u32 = 9216;

fn load(device: &Device, kernel: &'static str) -> Result<(), String> {
    tma::load(device, kernel, BOX_SHARED_BYTES, &BOX)
}

fn store(device: &Device, kernel: &'static str) -> Result<(), String> {
    tma::store(device, kernel, BOX_SHARED_BYTES, &BOX)
}

fn ring(device: &Device, kernel: &'static str) -> Result<(), String> {
    let input = distinct(128);
    let got = Words::new(kernel, 64, 144).run(device, &input, 128)?;
    if got == input { Ok(()) } else { Err(format!("{kernel}: wrong words")) }
}

fn product(device: &Device, kernel: &'static str) -> Result<(), String> {
    pipeline::test(device, kernel, [200, 100, 648])
}

type Test = fn(&Device, &'static str) -> Result<(), String>;

/// The kernel without a fault, its faulty copies, and what it must pass.
const FAULTS_OF: [(&str, &[&str], Test); 6] = [
    ("micro_load", LOAD, load),
    ("micro_store", STORE, store),
    ("micro_wgmma_pair", WGMMA, wgmma::pair),
    ("micro_ring", RING, ring),
    ("micro_pipeline", PIPELINE, product),
    ("micro_cluster_ring", cluster::RING, cluster::ring),
];

#[test]
fn without_a_fault_they_are_right() {
    for (kernel, _, test) in FAULTS_OF {
        for device in hopper_drivers() {
            test(&device, kernel).unwrap_or_else(|e| panic!("{}: {kernel}: {e}", device.name));
        }
    }
}

#[test]
fn every_fault_is_caught() {
    for (_, faults, test) in FAULTS_OF {
        assert_caught(faults, test);
    }
}

#[test]
fn every_registered_fault_is_listed() {
    let listed: BTreeSet<&str> = FAULTS_OF.iter().flat_map(|family| family.1).copied().collect();
    let faulty = Emulator::kernels().iter().filter(|k| k.fault_of.is_some_and(|sound| sound.starts_with("micro_")));
    let registered: BTreeSet<&str> = faulty.map(|kernel| kernel.entry.name).collect();
    assert_eq!(registered, listed);
}

const FAULTS_SOURCE: &str = include_str!("../../../kernels/tests/micro_faults.cu");

/// `micro_faults.cu:<line>` of the first line with `text` after the one with `function`.
fn place(function: &str, text: &str) -> String {
    let lines = FAULTS_SOURCE.lines().enumerate();
    let after = lines.skip_while(|(_, line)| !line.contains(function));
    let found = after.map(|(i, line)| (i + 1, line)).find(|(_, line)| line.contains(text));
    format!("micro_faults.cu:{}: ", found.unwrap_or_else(|| panic!("no {text} in {function}")).0)
}

#[test]
fn messages_name_the_line_and_the_fault() {
    if cfg!(any(pid_sanitize = "address", pid_sanitize = "thread")) {
        println!("skipped: a sanitizer may be first, and has words of its own");
        return;
    }
    let cases: [(Test, &'static str, String, &str); 8] = [
        (load, "micro_load_fault_2", place("void load(", "cp_async_bulk_tensor_2d"), "not been fenced"),
        (load, "micro_load_fault_6", place("void load(", "mbarrier_wait_parity"), "is not initialised"),
        (store, "micro_store_fault_1", place("void store(", "cp_async_bulk_tensor_2d"), "without a fence.proxy.async"),
        (
            store,
            "micro_store_fault_5",
            place("void store(", "cp_async_bulk_tensor_2d"),
            "before this store was committed",
        ),
        (wgmma::pair, "micro_wgmma_pair_fault_2", place("void wgmma(", "wgmma_m64nNk16_bf16<64>"), "no wgmma.fence"),
        (wgmma::pair, "micro_wgmma_pair_fault_5", place("void wgmma(", "wgmma_m64nNk16_bf16<64>"), "fence.proxy.async"),
        (wgmma::pair, "micro_wgmma_pair_fault_7", place("void wgmma(", "wgmma_wait_group<0>()"), "does not name it"),
        (wgmma::pair, "micro_wgmma_pair_fault_8", place("void wgmma(", "wgmma_m64nNk16_bf16<64>"), "uncommitted"),
    ];
    for (test, kernel, place, text) in cases {
        let error = test(&emulator(Scheduler::Fifo), kernel).expect_err(kernel);
        assert!(error.contains(&place) && error.contains(text), "{kernel}: {error}: expected {place}, {text}");
    }
}

/// A deadlock says who waits where, and for how much.
#[test]
fn deadlocks_are_described() {
    let error = ring(&emulator(Scheduler::Fifo), "micro_ring_fault_1").unwrap_err();
    for text in ["deadlock: warp 0: 32 in mbarrier_wait_parity at ", "warp 1: 32 in ", "lacks 1 of 33 arrivals"] {
        assert!(error.contains(text), "{error}: expected {text}");
    }
}

/// Memory before and behind an allocation is not mapped, for a mebibyte.
#[test]
fn accesses_outside_of_allocations_are_reported() {
    let device = emulator(Scheduler::Fifo);
    let (input, output) = (device.input(&[0u32; 128]), device.output::<u32>(128));
    let words = Words::new("micro_syncthreads", 128, 512);
    let page = 4096;
    for distance in [page, 1 << 19, (1 << 20) - 3 * page] {
        for pointer in [input.ptr().wrapping_byte_add(1024 + distance), input.ptr().wrapping_byte_sub(distance)] {
            let error =
                words.run_on(&device, &PidMicroParams { input: pointer, output: output.mut_ptr() }).unwrap_err();
            assert!(error.contains("accessed memory that is not allocated, at 0x"), "{error}");
        }
    }
}

#[test]
fn launches_that_no_gpu_takes_are_refused() {
    let device = emulator(Scheduler::Fifo);
    let output = device.output::<u32>(128);
    let params = PidMicroParams { input: output.ptr(), output: output.mut_ptr() };
    let cases: [(KernelCall, &str); 4] = [
        (KernelCall::new("micro_absent", [1, 1, 1], 128, 512, &params), "no such kernel"),
        (KernelCall::new("micro_syncthreads", [1, 1, 1], 160, 512, &params), "block of 160 threads, at most 128"),
        (KernelCall::new("micro_syncthreads", [1, 1, 1], 128, 500, &params), "512 bytes of shared memory"),
        (
            KernelCall::new("micro_syncthreads", [1, 1, 1], 128, 512, &0u64),
            "parameters of 8 bytes, the kernel takes 16",
        ),
    ];
    for (call, text) in cases {
        let error = device.run(&[call]).unwrap_err();
        assert!(error.contains(text), "{error}: expected {text}");
    }
}
