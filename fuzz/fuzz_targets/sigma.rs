//! Numbers and names on the command line: sigmas, sizes in bytes, devices, backbones.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pid_engine::Device;
use pid_engine::latent::{Backbone, Sigma};
use pid_engine::plan::ByteSize;

fuzz_target!(|text: &str| {
    pid_engine_fuzz::bounded(text.len(), 64, || {
        if let Ok(sigma) = text.parse::<Sigma>() {
            assert!(sigma.values().iter().all(|s| s.is_finite() && *s >= 0.0), "{sigma:?}");
        }
        let _ = text.parse::<ByteSize>();
        let _ = text.parse::<Device>();
        let _ = text.parse::<Backbone>();
    });
});
