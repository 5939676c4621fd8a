//! Checkpoints as PyTorch pickles them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| pid_engine_fuzz::checkpoint(data, "pth"));
