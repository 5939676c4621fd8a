//! Clusters: ranks, the cluster's barrier, arrivals at another CTA's mbarrier, and loads that land in several CTAs. PTX ISA,
//! "Cluster of Cooperative Thread Arrays", "barrier.cluster", "mapa", and "cp.async.bulk.tensor" with `.multicast::cluster`:
//! the data and the signal go to the same offset in the shared memory of each CTA whose bit is in the mask.

use pid_engine::backend::emulator::Scheduler;
use pid_engine::kernels::KernelCall;
use pid_engine::kernels::tensor_map::{Element, Swizzle};

use super::params::{PidMicroParams, PidMicroTmaParams};
use super::tma::{Case, compare};
use super::{HOPPER, distinct, hopper_drivers};
use crate::under_test::{Device, devices, emulator};

pub const RING: &[&str] = &[
    "micro_cluster_ring_fault_1",
    "micro_cluster_ring_fault_2",
    "micro_cluster_ring_fault_3",
    "micro_cluster_ring_fault_4",
    "micro_cluster_ring_fault_5",
    "micro_cluster_ring_fault_6",
    "micro_cluster_ring_fault_7",
    "micro_cluster_ring_fault_8",
    "micro_cluster_ring_fault_9",
    "micro_cluster_ring_fault_10",
    "micro_cluster_ring_fault_11",
    "micro_cluster_ring_fault_12",
];

/// Shared memory of the kernels that load boxes.
const SHARED_BYTES: u32 = 33792;

/// What a kernel makes of `input` on `[grid_x, threads, shared_bytes]`, `len` words.
fn words(
    device: &Device,
    kernel: &'static str,
    shape: [u32; 3],
    input: &[u32],
    len: usize,
) -> Result<Vec<u32>, String> {
    let [grid_x, threads, shared_bytes] = shape;
    let (input, output) = (device.input(input), device.output::<u32>(len));
    let params = PidMicroParams { input: input.ptr(), output: output.mut_ptr() };
    device.run(&[KernelCall::new(kernel, [grid_x, 1, 1], threads, shared_bytes, &params)])?;
    output.read()
}

#[test]
fn ranks() {
    for device in hopper_drivers() {
        let got = words(&device, "micro_cluster_rank", [6, 32, 0], &[0], 6).unwrap();
        assert_eq!(got, [0, 1, 0, 1, 0, 1], "{}", device.name);
    }
}

#[test]
fn barrier() {
    let input = distinct(8 * 64);
    // From two CTAs further on in each cluster of four.
    let from = |t: usize| t / 256 * 256 + (t % 256 + 128) % 256;
    let expected: Vec<u32> = (0..input.len()).map(|t| input[from(t)].wrapping_add(2)).collect();
    for device in hopper_drivers() {
        let got = words(&device, "micro_cluster_barrier", [8, 64, 0], &input, 2 * input.len()).unwrap();
        assert_eq!(got[..input.len()], expected, "{}", device.name);
    }
}

/// A remote arrival completes the phase of the other CTA's barrier and leaves the own one alone.
#[test]
fn arrival_at_another_cta() {
    for device in hopper_drivers() {
        let got = words(&device, "micro_mbarrier_arrive_cluster", [2, 32, 8], &[0], 4).unwrap();
        assert_eq!(got, [0, 1, 0, 0], "{}", device.name);
    }
}

/// A box and that of the other CTA, one further along the last dimension.
const PAIRS: [[Case; 2]; 3] = [
    [
        Case {
            element: Element::Bf16,
            swizzle: Swizzle::Bytes128,
            dims: &[200, 50],
            box_dims: &[64, 16],
            at: &[152, 40],
        },
        Case {
            element: Element::Bf16,
            swizzle: Swizzle::Bytes128,
            dims: &[200, 50],
            box_dims: &[64, 16],
            at: &[152, 41],
        },
    ],
    [
        Case { element: Element::F32, swizzle: Swizzle::None, dims: &[40, 20], box_dims: &[16, 9], at: &[-4, -1] },
        Case { element: Element::F32, swizzle: Swizzle::None, dims: &[40, 20], box_dims: &[16, 9], at: &[-4, 0] },
    ],
    [
        Case {
            element: Element::Bf16,
            swizzle: Swizzle::Bytes128,
            dims: &[64, 20, 5],
            box_dims: &[64, 8, 2],
            at: &[0, 15, 2],
        },
        Case {
            element: Element::Bf16,
            swizzle: Swizzle::Bytes128,
            dims: &[64, 20, 5],
            box_dims: &[64, 8, 2],
            at: &[0, 15, 3],
        },
    ],
];

/// The box as it lies in shared memory.
fn boxed(case: &Case) -> Vec<u8> {
    let bytes = case.tensor();
    case.places().into_iter().map(|place| place.map_or(0, |at| bytes[at])).collect()
}

fn pair(device: &Device, kernel: &'static str, [first, second]: &[Case; 2]) -> Result<(), String> {
    let (tensor, output) = (device.input(&first.tensor()), device.output::<u32>(first.box_bytes()));
    let params = first.params(device, &tensor, std::ptr::null(), output.mut_ptr());
    device.run(&[KernelCall::new(kernel, [2, 1, 1], 64, SHARED_BYTES, &params)])?;
    let both = [boxed(first), boxed(second)].concat();
    compare(kernel, bytemuck::cast_slice(&output.read()?), &[both.clone(), both].concat())
}

#[test]
fn multicast() {
    for device in hopper_drivers() {
        for (i, case) in PAIRS.iter().enumerate() {
            let kernel = if case[0].at.len() == 2 { "micro_tma_multicast_2d" } else { "micro_tma_multicast_3d" };
            pair(&device, kernel, case).unwrap_or_else(|e| panic!("{}: case {i}: {e}", device.name));
        }
    }
}

#[test]
fn multicast_to_some() {
    let case = &PAIRS[0][0];
    let (sent, zeros) = (boxed(case), vec![0; case.box_bytes()]);
    let expected = [&zeros, &sent, &zeros, &zeros, &sent, &zeros, &zeros, &sent].map(Vec::as_slice).concat();
    for device in hopper_drivers() {
        let (tensor, output) = (device.input(&case.tensor()), device.output::<u32>(2 * case.box_bytes()));
        let params = case.params(&device, &tensor, std::ptr::null(), output.mut_ptr());
        let kernel = "micro_tma_multicast_some";
        device.run(&[KernelCall::new(kernel, [8, 1, 1], 32, SHARED_BYTES, &params)]).unwrap();
        compare(kernel, bytemuck::cast_slice(&output.read().unwrap()), &expected).unwrap();
    }
}

/// Rows of the ring: 10 boxes of 8 rows of 128 bytes, one after the other.
const RING_CASE: Case =
    Case { element: Element::F32, swizzle: Swizzle::Bytes128, dims: &[32, 80], box_dims: &[32, 8], at: &[0, 0] };

fn ring_params(device: &Device) -> (PidMicroTmaParams, impl Fn() -> Result<Vec<u32>, String>, Vec<u8>) {
    let bytes = RING_CASE.tensor();
    let (tensor, output) = (device.input(&bytes), device.output::<u32>(2 * 10 * 256));
    let params = RING_CASE.params(device, &tensor, std::ptr::null(), output.mut_ptr());
    let read = move || {
        tensor.read()?;
        output.read()
    };
    (params, read, bytes)
}

/// Each of two CTAs ends up with all boxes.
pub fn ring(device: &Device, kernel: &'static str) -> Result<(), String> {
    let (params, read, bytes) = ring_params(device);
    device.run(&[KernelCall::new(kernel, [2, 1, 1], 96, 5120, &params)])?;
    // Rows are 144 bytes apart in memory; a box is the first's places, 8 rows further on each.
    let all: Vec<u8> = (0..10)
        .flat_map(|i| RING_CASE.places().into_iter().map(move |place| (i, place)))
        .map(|(i, place)| bytes[place.expect("the boxes lie inside") + i * 8 * 144])
        .collect();
    compare(kernel, bytemuck::cast_slice(&read()?), &[all.clone(), all].concat())
}

#[test]
fn ring_under_all_schedules() {
    for device in devices().into_iter().filter(|device| device.have(&HOPPER)) {
        ring(&device, "micro_cluster_ring").unwrap_or_else(|e| panic!("{}: {e}", device.name));
    }
}

const SOURCE: &str = include_str!("../../../kernels/tests/micro_cluster.cu");

/// `micro_cluster.cu:<line>: ` of the first line with `text` after the one with `function`.
fn place(function: &str, text: &str) -> String {
    let lines = SOURCE.lines().enumerate().skip_while(|(_, line)| !line.contains(function));
    let found = lines.map(|(i, line)| (i + 1, line)).find(|(_, line)| line.contains(text));
    format!("micro_cluster.cu:{}: ", found.unwrap_or_else(|| panic!("no {text} in {function}")).0)
}

#[test]
fn messages_name_the_line_and_the_cta() {
    if cfg!(any(pid_sanitize = "address", pid_sanitize = "thread")) {
        println!("skipped: a sanitizer may be first, and has words of its own");
        return;
    }
    let (load, arrival) = (place("void produce(", "_multicast("), place("void free_stage(", "mbarrier_arrive_cluster"));
    let last_arrival = place("if (kFault == 11)", "    barrier_cluster_arrive_release");
    let cases = [
        (3, load.clone(), "block (", "no cluster barrier since the mbarrier was initialised"),
        (4, load.clone(), "block (0, 0, 0): ", "ended before this load had landed in CTA 1"),
        (7, load, "block (", "CTA 2 of a cluster of 2"),
        (8, arrival, "block (", "CTA 2 of a cluster of 2"),
        (11, last_arrival, "block (", "has arrived before, and not waited since"),
        (5, String::new(), "deadlock: CTA 0: warp 0: ", " CTA 1: warp 0: "),
        (10, String::new(), "deadlock: CTA 0: warp 0: ", "barrier.cluster.arrive"),
    ];
    for (fault, place, first, second) in cases {
        let kernel = RING[fault - 1];
        let error = ring(&emulator(Scheduler::Fifo), kernel).expect_err(kernel);
        for text in [&place, first, second] {
            assert!(error.contains(text), "{kernel}: {error}: expected {text}");
        }
    }
}

#[test]
fn grids_that_clusters_do_not_divide_are_refused() {
    let error = words(&emulator(Scheduler::Fifo), "micro_cluster_rank", [3, 32, 0], &[0], 3).unwrap_err();
    assert!(error.contains("a grid of 3 blocks in x, no multiple of the cluster of 2"), "{error}");
}
