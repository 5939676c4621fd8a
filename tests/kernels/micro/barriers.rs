//! Barriers of blocks, warps and named groups, and mbarriers. FIFO, LIFO and random orders of the warps each would show
//! a barrier that lets threads through.

use super::{Words, distinct};

fn partners(kernel: &'static str, threads: u32, flip: usize) {
    let input = distinct(threads);
    let expected: Vec<u32> = (0..input.len()).map(|t| input[t ^ flip]).collect();
    Words::new(kernel, threads, threads * 4).assert(&input, &expected);
}

#[test]
fn syncthreads() {
    partners("micro_syncthreads", 128, 127);
}

#[test]
fn syncwarp() {
    partners("micro_syncwarp", 32, 31);
}

#[test]
fn bar_sync() {
    partners("micro_bar_sync", 128, 63);
}

#[test]
fn bar_arrive() {
    let input = distinct(32);
    Words::new("micro_bar_arrive", 64, 128).assert(&input, &input);
}

#[test]
fn mbarrier_ring() {
    let input = distinct(96);
    Words::new("micro_mbarrier_ring", 64, 144).assert(&input, &input);
}

/// `test_wait.parity` with the parity of the phase that is not complete waits; with that of the one before, it does not.
#[test]
fn mbarrier_parity() {
    Words::new("micro_mbarrier_try_wait_parity", 32, 8).assert(&[0], &[1, 0, 0, 1, 0]);
}
