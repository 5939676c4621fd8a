//! PNG and JPEG files of `pid encode` and `pid demo`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pid_engine::latent::read_picture;

/// Deflate makes 1032 bytes of one, of one bit per pixel; a pixel becomes three floats, besides the decoder's own.
const FACTOR: usize = 1032 * 8 * 16;

fuzz_target!(|data: &[u8]| {
    pid_engine_fuzz::bounded_file(data, "png", FACTOR, |path| {
        let _ = read_picture(path);
    });
});
