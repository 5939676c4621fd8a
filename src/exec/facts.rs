//! What a device can do at most, and how it is doing: numbers that a report of times needs beside them.

use serde::{Deserialize, Serialize};

/// What one device does at most, measured in the same run as the times it is held against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Bytes read and written per second by a large copy.
    pub copy_bytes_per_second: f64,
    /// FLOP per second of a large product, in the backend's own kernel.
    pub product_flop_per_second: f64,
    /// Rows, columns and inner size of that product.
    pub product_shape: [usize; 3],
    /// Exponentials per second, where known: multiprocessors x clock x 16.
    pub exp_per_second: Option<f64>,
}

impl Ceilings {
    /// The better of two measurements of one device: what disturbs makes them lower, nothing makes them higher.
    pub fn best(self, other: Self) -> Self {
        Self {
            copy_bytes_per_second: self.copy_bytes_per_second.max(other.copy_bytes_per_second),
            product_flop_per_second: self.product_flop_per_second.max(other.product_flop_per_second),
            ..self
        }
    }

    /// Least seconds that so much work takes.
    pub fn floor(&self, work: crate::graph::Work) -> f64 {
        let exp = self.exp_per_second.map_or(0.0, |rate| work.exp as f64 / rate);
        (work.flop as f64 / self.product_flop_per_second).max(work.bytes as f64 / self.copy_bytes_per_second).max(exp)
    }
}

/// State of a GPU at one moment; `None` where its driver does not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Telemetry {
    /// Version of the driver, as its maker counts.
    pub driver_version: Option<String>,
    /// CUDA version that the driver supports, as 12.8.
    pub cuda_version: Option<String>,
    /// Clock of the multiprocessors in MHz.
    pub sm_mhz: Option<u32>,
    /// The fastest that clock can be.
    pub max_sm_mhz: Option<u32>,
    /// Clock of the memory in MHz.
    pub memory_mhz: Option<u32>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// Watts.
    pub power: Option<f64>,
    /// Per cent of the last moments in which some kernel ran.
    pub utilization: Option<u32>,
    /// Why clocks are lower than asked for: power, heat, ...
    pub throttling: Vec<String>,
    /// Bytes that other processes hold; `None` where they cannot be told apart.
    pub others_bytes: Option<u64>,
    /// Other processes that compute on it.
    pub others: usize,
}
