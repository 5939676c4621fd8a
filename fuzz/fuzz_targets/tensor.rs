//! Latents, captions and noise: `.npy` and whatever else such files are read from, told apart by content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pid_engine::latent::{read_metadata, read_noise, read_tensor};

/// Four floats of every byte, which may be copied into another order, compressed by deflate where the file is an archive.
const FACTOR: usize = 1032 * 16;

fuzz_target!(|data: &[u8]| {
    pid_engine_fuzz::bounded_file(data, "npy", FACTOR, |path| {
        let _ = read_tensor(path, "latent");
        let _ = read_noise(path);
        let _ = read_metadata(path);
    });
});
