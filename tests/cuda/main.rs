//! The CUDA backend on machines without a GPU: a fake driver (`fake_driver.cpp`) checks every call and runs the kernels
//! on the emulator.

#![cfg(all(feature = "cuda", feature = "emulator", target_os = "linux"))]
#![allow(clippy::unwrap_used)]

mod bench;
mod check;
mod clusters;
mod decode;
mod driver;
mod faults;
mod memory;
mod refusals;

// A micro-test is launched on the fake driver, too.
use pid_test_kernels as _;

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use pid_engine::checkpoint::{Checkpoint, synthetic};
use pid_engine::latent::{Caption, Latent};
use pid_engine::models::pid::Config;
use pid_engine::output::Picture;
use pid_engine::progress::NoProgress;
use pid_engine::{Decoder, DecoderBuilder, Device, Error, Request};

const GPU: Device = Device::Cuda { ordinal: 0 };

fn checkpoint() -> Checkpoint {
    Checkpoint::synthetic(&Config::tiny(), 2, &NoProgress)
}

fn builder(device: Device) -> DecoderBuilder {
    Decoder::builder().device(device)
}

fn decoder(device: Device) -> Result<Decoder, Error> {
    builder(device).build(checkpoint())
}

fn latent(height: usize, width: usize, seed: u64) -> Latent {
    let shape = [1, 16, height, width];
    Latent::new(synthetic::latent(&shape, seed), shape).unwrap()
}

/// A small latent and the request for it, of few steps: the emulator is slow.
fn inputs() -> (Latent, Request) {
    let caption = Caption::new(synthetic::caption(&[1, 11, 64], 2), [1, 11, 64]).unwrap();
    (latent(1, 1, 2), Request { steps: 2, ..Request::new(caption) })
}

/// What the emulator makes of it; computed once, as many tests ask for the same.
fn expected(latent: &Latent, request: &Request) -> Picture {
    static EMULATOR: OnceLock<Decoder> = OnceLock::new();
    static KNOWN: Mutex<Option<HashMap<String, Picture>>> = Mutex::new(None);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = format!("{latent:?} {request:?}");
    if let Some(picture) = known().get_or_insert_default().get(&key) {
        return picture.clone();
    }
    let emulator = EMULATOR.get_or_init(|| decoder(Device::EMULATOR).unwrap());
    let picture = emulator.decode(latent, request).unwrap().picture;
    known().get_or_insert_default().insert(key, picture.clone());
    picture
}
