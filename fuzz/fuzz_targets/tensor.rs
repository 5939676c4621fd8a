//! Latents, captions and noise: `.npy` and whatever else such files are read from, told apart by content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pid_engine::latent::TensorFile;

/// Four floats of every byte, which may be copied into another order, compressed by deflate where the file is an archive.
const FACTOR: usize = 1032 * 16;

fuzz_target!(|data: &[u8]| {
    pid_engine_fuzz::bounded_file(data, "npy", FACTOR, |path| {
        if let Ok(file) = TensorFile::open(path) {
            let mut warnings = Vec::new();
            let _ = file.latent(&mut warnings);
            let _ = file.tensor("caption", &mut warnings);
            let _ = file.noise(&mut warnings);
            let _ = file.metadata();
        }
    });
});
