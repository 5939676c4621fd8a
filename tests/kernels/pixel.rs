//! Pixels, 16 channels each (`kernels/pixel`): embedding, and products that modulate and update them.

mod embed;
mod modulate;
mod operands;
mod sample;
mod update;

use crate::under_test::{Device, kernels_of};

/// The kernels that compute `op`, those that run on `device`.
fn kernels_on(device: &Device, op: &str) -> Vec<&'static str> {
    kernels_of(op).into_iter().filter(|kernel| device.runs(kernel)).collect()
}
