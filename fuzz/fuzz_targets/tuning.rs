//! Tuning tables, which stand in the user's cache folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pid_engine::kernels::tuning::Tuning;

fuzz_target!(|data: &[u8]| {
    pid_engine_fuzz::bounded_file(data, "json", 64, |path| {
        let _ = Tuning::read(path, "Some GPU");
        let _ = Tuning::read_to_extend(path, "Some GPU");
    });
});
