//! Operands of all kernels on rows, in device memory.

use half::bf16;
use pid_engine::kernels::params::{
    PidEmit, PidGemm, PidGroup, PidLatentGateParams, PidLookupParams, PidRows, PidRowsParams,
};

use crate::under_test::{Array, Device};
use crate::values::{Random, bits};

/// Rows `first .. first + count` of a stream `[batch, per_sample, hidden]`.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    pub batch: usize,
    pub per_sample: usize,
    pub hidden: usize,
    pub first: usize,
    pub count: usize,
    pub emit: bool,
}

impl Rows {
    pub fn total(&self) -> usize {
        self.batch * self.per_sample
    }
}

/// What any of the kernels reads, by its name in `kernels/params.h`.
pub struct Operands {
    pub rows: Rows,
    pub stream: Vec<f32>,
    pub source: Vec<f32>,
    pub vector: Vec<f32>,
    /// Also the table that ids name rows of.
    pub position: Vec<bf16>,
    pub ids: Vec<i32>,
    pub features: Vec<bf16>,
    pub feature_half: Vec<bf16>,
    pub sigma: Vec<f32>,
    pub gate_weight: Vec<f32>,
    pub alpha: f32,
    pub scale: Vec<f32>,
}

impl Operands {
    pub fn random(rows: Rows, random: &mut Random) -> Self {
        let Rows { batch, per_sample, hidden, .. } = rows;
        let len = rows.total() * hidden;
        Self {
            rows,
            stream: random.floats(len, 2.0),
            source: random.floats(len, 2.0),
            vector: random.floats(hidden, 1.0),
            // The table is longer than the text.
            position: random.bf16s((per_sample + 2) * hidden, 1.0),
            ids: (0..rows.total()).map(|row| ((row * 7 + 3) % (per_sample + 2)) as i32).collect(),
            features: random.bf16s(len, 1.0),
            feature_half: random.bf16s(rows.total(), 1.0),
            sigma: (0..batch).map(|b| 0.9 - 0.7 * b as f32).collect(),
            gate_weight: random.floats(hidden, 1.0 / (hidden as f32).sqrt()),
            alpha: 2.5,
            scale: random.floats(hidden, 1.5),
        }
    }

    pub fn row<'a, T>(&self, of: &'a [T], row: usize) -> &'a [T] {
        &of[row * self.rows.hidden..][..self.rows.hidden]
    }

    pub fn upload(&self, device: &Device) -> OnDevice {
        let total = self.rows.total();
        OnDevice {
            stream: device.input(&self.stream),
            source: device.input(&self.source),
            vector: device.input(&self.vector),
            position: device.input(&bits(&self.position)),
            ids: device.input(&self.ids),
            features: device.input(&bits(&self.features)),
            feature_half: device.input(&bits(&self.feature_half)),
            sigma: device.input(&self.sigma),
            gate_weight: device.input(&self.gate_weight),
            scale: device.input(&self.scale),
            operand: device.output(total * self.rows.hidden),
            sums: device.output(total * self.rows.hidden / 64),
        }
    }
}

/// [`Operands`] on a device, and the outputs.
pub struct OnDevice {
    pub stream: Array<f32>,
    source: Array<f32>,
    vector: Array<f32>,
    position: Array<u16>,
    ids: Array<i32>,
    features: Array<u16>,
    feature_half: Array<u16>,
    sigma: Array<f32>,
    gate_weight: Array<f32>,
    scale: Array<f32>,
    pub operand: Array<u16>,
    pub sums: Array<f32>,
}

impl OnDevice {
    fn emit(&self, rows: &Rows) -> PidEmit {
        let (operand, scale, sums) = (self.operand.mut_ptr(), self.scale.ptr(), self.sums.mut_ptr());
        PidEmit { operand, scale, sums, enabled: u32::from(rows.emit), reserved: 0 }
    }

    pub fn rows_params(&self, rows: &Rows, is_restart: bool) -> PidRowsParams {
        PidRowsParams {
            stream: self.stream.mut_ptr(),
            source: if is_restart { self.source.ptr() } else { self.stream.ptr() },
            vector: self.vector.ptr(),
            position: self.position.ptr(),
            emit: self.emit(rows),
            num_rows: rows.count as u32,
            rows_per_sample: rows.per_sample as u32,
            hidden: rows.hidden as u32,
            reserved: 0,
        }
    }

    pub fn lookup_params(&self, operands: &Operands) -> PidLookupParams {
        let Rows { hidden, count, .. } = operands.rows;
        PidLookupParams {
            ids: self.ids.ptr(),
            table: self.position.ptr(),
            output: self.stream.mut_ptr(),
            emit: self.emit(&operands.rows),
            num_rows: count as u32,
            num_entries: (operands.position.len() / hidden) as u32,
            hidden: hidden as u32,
            reserved: 0,
        }
    }

    pub fn gate_params(&self, operands: &Operands) -> PidLatentGateParams {
        let Rows { per_sample, hidden, first, count, .. } = operands.rows;
        let per_sample = per_sample as u32;
        let rows = PidRows {
            first: first as u32,
            count: count as u32,
            per_sample,
            joint_per_sample: per_sample,
            joint_first: 0,
            reserved: 0,
        };
        let (a, b, bias) = (std::ptr::null(), std::ptr::null(), std::ptr::null());
        let group = PidGroup { a, b, bias, rows };
        PidLatentGateParams {
            gemm: PidGemm { group: [group; 2], num_groups: 1, n: hidden as u32, k: hidden as u32, ldb: 0 },
            stream: self.stream.mut_ptr(),
            features: self.features.ptr(),
            feature_half: self.feature_half.ptr(),
            sigma: self.sigma.ptr(),
            gate_weight: self.gate_weight.ptr(),
            emit: self.emit(&operands.rows),
            alpha: operands.alpha,
            reserved: 0,
        }
    }

    /// What is only read must still be there.
    ///
    /// # Errors
    /// Names what was written to.
    pub fn check_inputs(&self, operands: &Operands) -> Result<(), String> {
        let same = self.source.read()? == operands.source
            && self.ids.read()? == operands.ids
            && self.features.read()? == bits(&operands.features)
            && self.position.read()? == bits(&operands.position);
        if same { Ok(()) } else { Err("an input was written".into()) }
    }
}
