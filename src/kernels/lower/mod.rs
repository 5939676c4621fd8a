//! From a launch of the plan to kernel calls: the parameters of each op, one function an op. Which kernel does
//! it is decided in one place, [`Selection::launch`].

mod adapter;
mod pixels;
mod rows;
mod tokens;

use std::ops::Range;

use super::params::{PidEmit, PidGemm, PidGroup, PidRows};
use super::{Constant, KernelCall, LaunchError, MatrixAt, OpCall, Places, Selection, Target};
use crate::graph::op::{Emit, Norm, Stream, Tokens};
use crate::graph::{Graph, Op, Segment, TensorId, WeightId};
use crate::plan::{Iteration, Launch, Program};
use crate::weights::Form;

/// What one launch is lowered with.
#[derive(Clone, Copy)]
pub(crate) struct Lowering<'a> {
    pub(crate) program: &'a Program,
    pub(crate) places: &'a dyn Places,
    pub(crate) iteration: &'a Iteration<'a>,
    /// What the launches are for.
    pub(crate) target: &'a dyn Target,
    pub(crate) selection: &'a Selection,
}

/// Kernel calls in order, or why the device takes none of the kind.
type Calls = Result<Vec<KernelCall>, LaunchError>;

/// One group of a product: rows, and the weight and bias that they meet.
#[derive(Clone, Copy)]
struct Operands {
    a: *const u16,
    weight: WeightId,
    bias: Option<WeightId>,
    rows: PidRowsKey,
}

/// Rows of one stream that a launch covers; `index` is the stream's position in the op's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StreamRows {
    index: usize,
    rows: PidRowsKey,
}

/// The fields of a [`PidRows`], comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PidRowsKey {
    first: usize,
    count: usize,
    per_sample: usize,
    joint_per_sample: usize,
    joint_first: usize,
}

impl PidRowsKey {
    fn params(self) -> PidRows {
        PidRows {
            first: self.first as u32,
            count: self.count as u32,
            per_sample: self.per_sample as u32,
            joint_per_sample: self.joint_per_sample as u32,
            joint_first: self.joint_first as u32,
            reserved: 0,
        }
    }
}

/// The rows of `streams` within joint rows `range`, one entry a kernel call: all samples at once, or, where a range was
/// asked for, sample by sample.
fn stream_rows(tokens: Tokens, streams: &[Stream], range: Option<&Range<usize>>) -> Vec<Vec<StreamRows>> {
    let whole = |index: usize, stream: Stream| {
        let (joint_first, per_sample) = tokens.part(stream);
        let (count, joint_per_sample) = (tokens.batch * per_sample, tokens.joint());
        StreamRows { index, rows: PidRowsKey { first: 0, count, per_sample, joint_per_sample, joint_first } }
    };
    let all: Vec<StreamRows> = streams.iter().enumerate().map(|(index, stream)| whole(index, *stream)).collect();
    let Some(range) = range else { return vec![all] };
    let segments = tokens.segments(range);
    let of_sample = |sample: usize| -> Vec<StreamRows> {
        let clip = |of: &StreamRows| {
            let is_own = |s: &&Segment| s.sample == sample && s.stream == streams[of.index];
            let rows = &segments.iter().find(is_own)?.rows;
            Some(StreamRows { rows: PidRowsKey { first: rows.start, count: rows.len(), ..of.rows }, ..*of })
        };
        all.iter().filter_map(clip).collect()
    };
    (0..tokens.batch).map(of_sample).filter(|groups| !groups.is_empty()).collect()
}

/// A value for each of the two groups that parameters have: of one group twice the same.
fn for_both<G, T: Copy>(groups: &[G], value: impl Fn(&G) -> T) -> [T; 2] {
    let last = groups.last().expect("a product has a group");
    [value(&groups[0]), value(last)]
}

/// Rows `range` (all when `None`) of `total` rows of one stream.
fn plain_rows(total: usize, per_sample: usize, range: Option<&Range<usize>>) -> PidRowsKey {
    let range = range.cloned().unwrap_or(0..total);
    PidRowsKey { first: range.start, count: range.len(), per_sample, joint_per_sample: per_sample, joint_first: 0 }
}

impl<'a> Lowering<'a> {
    /// Kernel calls of one launch, in order. Noise is the session's business.
    ///
    /// # Errors
    /// When a kernel does not take the sizes, or the target a tensor map.
    pub(crate) fn launch(&self, launch: &Launch) -> Calls {
        let rows = launch.rows.as_ref();
        match &self.graph().nodes[launch.node].op {
            Op::Conv3x3(op) => self.conv3x3(op),
            Op::GroupNormSilu(op) => self.group_norm_silu(op),
            Op::Linear(op) => self.linear(op, rows),
            Op::EmbedRows(op) => self.embed_rows(op),
            Op::Copy(op) => self.restart(op),
            Op::Lookup(op) => self.lookup(op),
            Op::PatchEmbed(op) => self.patch_embed(op),
            Op::FeatureGate(op) => self.feature_gate(op),
            Op::QkvProject(op) => self.qkv_project(op),
            Op::Attention(op) => self.attention(op),
            Op::Glu(op) => self.glu(op, rows),
            Op::GatedResidual(op) => self.gated_residual(op, rows),
            Op::AddSilu(op) => self.add_silu(op),
            Op::PixelEmbed(op) => self.pixel_embed(op),
            Op::PixelModulate(op) => self.pixel_modulate(op, rows),
            Op::PixelUpdate(op) => self.pixel_update(op),
            Op::SampleStep(op) => self.sample_step(op),
            Op::Noise(_) => Ok(Vec::new()),
        }
    }

    fn graph(&self) -> &'a Graph {
        &self.program.graph
    }

    /// Address of tensor `id`.
    fn at<T>(&self, id: TensorId) -> *mut T {
        self.places.tensor(id) as *mut T
    }

    /// Address where row 0 of tensor `id` of `total` rows would lie: its own, or, when it holds a range only, as much
    /// before it.
    fn row_zero<T>(&self, id: TensorId, total: usize, range: Option<&Range<usize>>) -> *mut T {
        let start = match range {
            Some(range) if self.program.plan.chunked[id.index()] => range.start,
            _ => 0,
        };
        let row_bytes = self.graph()[id].bytes() / total;
        self.places.tensor(id).wrapping_sub((start * row_bytes) as u64) as *mut T
    }

    fn constant(&self, constant: Constant) -> *const f32 {
        self.places.constant(self.iteration.step.index, constant) as *const f32
    }

    /// What a modulated norm adds to the product with `weight`: zeros without a modulation.
    fn shift_product(&self, norm: &Norm, weight: WeightId) -> *const f32 {
        match norm.modulation {
            Some(m) => self.constant(Constant::ShiftProduct(m.shift, weight)),
            None => self.places.zeros() as *const f32,
        }
    }

    fn vector(&self, id: WeightId) -> *const f32 {
        self.places.vector(id, Form::VECTOR) as *const f32
    }

    fn emit(&self, emit: Option<Emit>) -> PidEmit {
        let Some(emit) = emit else {
            let (operand, sums, scale) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null());
            return PidEmit { operand, scale, sums, enabled: 0, reserved: 0 };
        };
        let scale = match emit.norm {
            Some(Norm { weight, modulation: Some(m), .. }) => self.constant(Constant::Scale(weight, m.scale)),
            Some(Norm { weight, modulation: None, .. }) => self.vector(weight),
            None => self.places.ones() as *const f32,
        };
        PidEmit { operand: self.at(emit.operand), scale, sums: self.at(emit.sums), enabled: 1, reserved: 0 }
    }

    /// The second operand of product `op`, its rows in the order that the kernel reads.
    fn matrix(&self, op: &str, id: WeightId) -> MatrixAt {
        self.matrix_beside(op, id, id)
    }

    /// Another matrix that the kernel for product `op` multiplies by, whose second operand is `of`.
    fn matrix_beside(&self, op: &str, of: WeightId, id: WeightId) -> MatrixAt {
        self.places.matrix(id, self.selection.order(op, &self.graph()[of]))
    }

    /// The sizes of product `op` of one or two groups, all of the shape of the first weight.
    fn gemm(&self, op: &str, groups: &[Operands], k: usize) -> PidGemm {
        let group = |of: &Operands| PidGroup {
            a: of.a,
            b: self.matrix(op, of.weight).address as *const u16,
            bias: self.places.bias(of.bias) as *const f32,
            rows: of.rows.params(),
        };
        let weight = groups[0].weight;
        PidGemm {
            group: for_both(groups, group),
            num_groups: groups.len() as u32,
            n: self.graph()[weight].rows as u32,
            k: k as u32,
            ldb: self.matrix(op, weight).stride as u32,
        }
    }

    /// The launch for one call.
    fn call(&self, call: &OpCall<'_>) -> Result<KernelCall, LaunchError> {
        self.selection.launch(self.target, call)
    }

    /// The launch of an op that is one call.
    fn one(&self, call: &OpCall<'_>) -> Calls {
        Ok(vec![self.call(call)?])
    }

    /// A call for each list of rows that [`stream_rows`] makes of `streams`.
    fn grouped<S>(
        &self,
        tokens: Tokens,
        streams: &[S],
        stream: fn(&S) -> Stream,
        range: Option<&Range<usize>>,
        call: impl Fn(&[(&S, PidRowsKey)]) -> Result<KernelCall, LaunchError>,
    ) -> Calls {
        let kinds: Vec<Stream> = streams.iter().map(stream).collect();
        let calls = stream_rows(tokens, &kinds, range);
        let groups = |of: &Vec<StreamRows>| of.iter().map(|s| (&streams[s.index], s.rows)).collect::<Vec<_>>();
        calls.iter().map(|of| call(&groups(of))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joint_ranges_are_cut_at_samples_and_streams() {
        let tokens = Tokens { batch: 2, text: 3, grid_rows: 2, grid_cols: 2 };
        let both = [Stream::Text, Stream::Image];
        let parts = |range: Option<Range<usize>>| -> Vec<Vec<(usize, usize, usize)>> {
            let calls = stream_rows(tokens, &both, range.as_ref());
            calls.iter().map(|c| c.iter().map(|s| (s.index, s.rows.first, s.rows.count)).collect()).collect()
        };
        assert_eq!(parts(None), vec![vec![(0, 0, 6), (1, 0, 8)]]);
        assert_eq!(parts(Some(0..14)), vec![vec![(0, 0, 3), (1, 0, 4)], vec![(0, 3, 3), (1, 4, 4)]]);
        assert_eq!(parts(Some(2..9)), vec![vec![(0, 2, 1), (1, 0, 4)], vec![(0, 3, 2)]]);
        assert_eq!(parts(Some(11..12)), vec![vec![(1, 5, 1)]]);
    }
}
