//! Tests of the sanitizer builds (`tools/sanitize address`, `tools/sanitize thread`): faults are reported, with the
//! kernel's line; kernels that are right are not.

use pid_engine::backend::emulator::{Emulator, Scheduler};
use pid_engine::kernels::KernelCall;

const SCHEDULES: [Scheduler; 3] = [Scheduler::Fifo, Scheduler::Lifo, Scheduler::Pct { seed: 7 }];
const SOURCE: &str = "kernels/tests/sanitizers.cu:";

/// `PidMicroParams`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Words {
    input: *const u32,
    output: *mut u32,
}

/// `PidMicroWgmmaParams`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Product {
    a: *const u16,
    b: *const u16,
    c: *const f32,
    d: *mut f32,
    accumulate: u32,
    reserved: u32,
}

/// Aligned as `cp.async` wants it.
#[repr(align(16))]
struct Aligned<T>(T);

/// Runs a kernel that takes words: 128 of input, then 2^31 - 1, then 4096.
fn words(kernel: &'static str, num_blocks: u32, schedule: Scheduler) -> Result<(), String> {
    let mut input = Aligned([0u32; 132]);
    for (i, word) in (0u32..).zip(&mut input.0) {
        *word = i;
    }
    (input.0[128], input.0[129]) = (i32::MAX as u32, 4096);
    let mut output = [0u32; 256];
    let params = Words { input: input.0.as_ptr(), output: output.as_mut_ptr() };
    Emulator::new(schedule).call(&KernelCall::new(kernel, [num_blocks, 1, 1], 128, 512, &params))
}

fn product(kernel: &'static str, schedule: Scheduler) -> Result<(), String> {
    let (a, b) = ([0x3f80u16; 64 * 64], [0x3f80u16; 64 * 64]);
    let mut d = [0f32; 128 * 32];
    let params = Product { a: a.as_ptr(), b: b.as_ptr(), c: d.as_ptr(), d: d.as_mut_ptr(), accumulate: 0, reserved: 0 };
    Emulator::new(schedule).call(&KernelCall::new(kernel, [1, 1, 1], 128, 16384, &params))
}

/// Asserts that the report names the sanitizer's word for the fault, and a line of the kernel.
fn assert_reported(kernel: &str, result: Result<(), String>, word: &str) {
    let report = result.expect_err(kernel);
    assert!(report.contains(word) && report.contains(SOURCE), "{kernel}: expected `{word}` at {SOURCE}\n{report}");
}

/// False, and says so, unless the build has the sanitizer.
fn has(sanitizer: &str) -> bool {
    let built = if cfg!(pid_sanitize = "address") {
        "address"
    } else if cfg!(pid_sanitize = "thread") {
        "thread"
    } else {
        "no"
    };
    if built != sanitizer {
        println!("skipped: {built} sanitizer build, this test is for {sanitizer} (tools/sanitize {sanitizer})");
    }
    built == sanitizer
}

#[test]
fn right_kernels_are_clean() {
    for schedule in SCHEDULES {
        assert_eq!(words("sanitize_copy", 1, schedule), Ok(()));
        assert_eq!(words("sanitize_blocks", 2, schedule), Ok(()));
        assert_eq!(words("sanitize_cluster", 2, schedule), Ok(()));
        assert_eq!(product("sanitize_product", schedule), Ok(()));
    }
}

#[test]
fn address_names_the_line_of_a_fault() {
    if !has("address") {
        return;
    }
    for schedule in SCHEDULES {
        assert_reported("read before the wait", words("sanitize_copy_1", 1, schedule), "use-after-poison");
        assert_reported("read past shared memory", words("sanitize_copy_2", 1, schedule), "AddressSanitizer");
    }
    // Once in a process for each place.
    let overflow = words("sanitize_copy_4", 1, Scheduler::Fifo);
    assert_reported("signed overflow", overflow, "signed-integer-overflow");
    assert_eq!(words("sanitize_copy", 1, Scheduler::Fifo), Ok(()), "after the faults");
}

#[test]
fn thread_reports_races_under_every_schedule() {
    if !has("thread") {
        return;
    }
    for schedule in SCHEDULES {
        assert_reported("no barrier", words("sanitize_copy_3", 1, schedule), "data race");
        assert_reported("two blocks, one address", words("sanitize_blocks_1", 2, schedule), "data race");
        assert_reported("no cluster barrier", words("sanitize_cluster_1", 2, schedule), "data race");
        assert_reported("no wait for the other CTA", words("sanitize_cluster_2", 2, schedule), "data race");
        // Where warp 0 fences before the others have stored, the emulator itself sees it, in any build.
        let word = if schedule == Scheduler::Lifo { "data race" } else { "" };
        assert_reported("one warp fences", product("sanitize_product_1", schedule), word);
    }
    for schedule in SCHEDULES {
        assert_eq!(words("sanitize_copy", 1, schedule), Ok(()), "after the faults");
    }
}
