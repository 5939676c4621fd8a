//! What kernels leave for the next product ([`PidEmit`]).

use pid_engine::kernels::params::PidEmit;

use super::case::{Expected, Held};
use super::operands::Place;
use crate::under_test::{Array, Device};
use crate::values::{Random, Rounding};

/// Columns of a sum of squares.
const SLICE: usize = 64;

/// What follows a stream of `total` rows.
pub struct Emit {
    total: usize,
    scale: Vec<f32>,
    enabled: bool,
}

impl Emit {
    pub fn random(total: usize, hidden: usize, enabled: bool, random: &mut Random) -> Self {
        Self { total, scale: random.floats(hidden, 1.5), enabled }
    }

    pub fn upload(&self, device: &Device) -> EmitOnDevice {
        let hidden = self.scale.len();
        EmitOnDevice {
            operand: device.output(self.total * hidden),
            scale: device.input(&self.scale),
            sums: device.output(self.total * (hidden / SLICE)),
            enabled: self.enabled,
        }
    }

    /// `x` gives the stream's rows at `places`.
    pub fn expected(&self, places: &[Place], x: impl Fn(Rounding) -> Vec<f64>) -> [Expected; 2] {
        let hidden = self.scale.len();
        let rows: Vec<usize> = if self.enabled { places.iter().map(|p| p.stream).collect() } else { Vec::new() };
        let x = |rounding| if self.enabled { x(rounding) } else { Vec::new() };
        let operand = |rounding: Rounding| {
            let scaled = |(i, x): (usize, &f64)| rounding.bf16(x * f64::from(self.scale[i % hidden]));
            x(rounding).iter().enumerate().map(scaled).collect()
        };
        let sums = |rounding: Rounding| {
            let sum = |slice: &[f64]| rounding.f32(slice.iter().map(|x| x * x).sum());
            x(rounding).chunks_exact(SLICE).map(sum).collect()
        };
        [Expected::new("operand", hidden, rows.clone(), operand), Expected::new("sums", hidden / SLICE, rows, sums)]
    }
}

/// [`Emit`] on a device.
pub struct EmitOnDevice {
    operand: Array<u16>,
    scale: Array<f32>,
    sums: Array<f32>,
    enabled: bool,
}

impl EmitOnDevice {
    pub fn params(&self) -> PidEmit {
        let (operand, sums) = (self.operand.mut_ptr(), self.sums.mut_ptr());
        PidEmit { operand, scale: self.scale.ptr(), sums, enabled: u32::from(self.enabled), reserved: 0 }
    }

    pub fn read(&self) -> Result<[Held; 2], String> {
        Ok([self.operand.read()?.into(), self.sums.read()?.into()])
    }
}
