//! Configurations of networks: `CONFIG.json`, and the metadata of safetensors files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pid_engine::models::pid::Config;

fuzz_target!(|text: &str| {
    pid_engine_fuzz::bounded(text.len(), 64, || {
        let Ok(config) = Config::from_json(text) else { return };
        let again = Config::from_json(&config.to_json()).expect("what was written is read");
        assert_eq!(config, again);
        let _ = config.validate();
    });
});
