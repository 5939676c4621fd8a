//! What a check finds.

use serde::{Deserialize, Serialize};

use crate::exec::Ceilings;

/// One kernel (or several of one launch) in one case, at its worst launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The case.
    pub case: String,
    /// Names of the kernels, joined by `+`; `decode` and `decode-twice` are whole decodes.
    pub kernels: String,
    /// Launches compared.
    pub launches: usize,
    /// Node and tensor of the worst launch.
    pub place: String,
    /// `max|x - r| / max|r|` there.
    pub error: f64,
    /// The most that it may be.
    pub bound: f64,
    /// `|x - r| / |r|` in the 2-norm there.
    pub norm_error: f64,
    /// The most that it may be.
    pub norm_bound: f64,
    /// What no bound excuses: a launch that failed, an element that is not finite, a write beside a tensor.
    pub failure: Option<String>,
    /// Median over the runs of all launches' time in one decode; on GPUs.
    pub seconds: Option<f64>,
    /// Those seconds over the least that the ceilings allow.
    pub ratio: Option<f64>,
}

impl Row {
    /// Nothing compared yet.
    pub(super) fn empty(case: &str, kernels: &str) -> Self {
        Self {
            case: case.into(),
            kernels: kernels.into(),
            launches: 0,
            place: String::new(),
            error: 0.0,
            bound: 0.0,
            norm_error: 0.0,
            norm_bound: 0.0,
            failure: None,
            seconds: None,
            ratio: None,
        }
    }

    /// `CASE/KERNELS`: what a filter looks into.
    pub fn id(&self) -> String {
        format!("{}/{}", self.case, self.kernels)
    }

    /// Whether it is within its bounds.
    pub fn passes(&self) -> bool {
        self.failure.is_none() && self.error <= self.bound && self.norm_error <= self.norm_bound
    }

    /// What is wrong, if anything is.
    pub fn complaint(&self) -> Option<String> {
        if let Some(failure) = &self.failure {
            return Some(format!("{}: {failure} ({})", self.id(), self.place));
        }
        (!self.passes()).then(|| {
            let Self { error, bound, norm_error, norm_bound, place, .. } = self;
            let (id, pair) = (self.id(), |e: &f64, b: &f64| format!("{e:.2e}, allowed {b:.2e}"));
            format!("{id}: error {}, in norm {} ({place})", pair(error, bound), pair(norm_error, norm_bound))
        })
    }
}

/// All rows of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The device, as it calls itself.
    pub device: String,
    /// Of a GPU, measured in this run.
    pub ceilings: Option<Ceilings>,
    /// Names of the cases that ran.
    pub cases: Vec<String>,
    /// In order of the cases, then of the first launch.
    pub rows: Vec<Row>,
}

impl Outcome {
    pub(super) fn new(device: String, ceilings: Option<Ceilings>) -> Self {
        Self { device, ceilings, cases: Vec::new(), rows: Vec::new() }
    }

    /// The device without its number: two of a kind have the same.
    pub fn device_kind(&self) -> &str {
        crate::kernels::tuning::kind(&self.device)
    }

    /// What is wrong with the rows that fail.
    pub fn complaints(&self) -> Vec<String> {
        self.rows.iter().filter_map(Row::complaint).collect()
    }
}
