//! What a program's launches read besides tensors: weights and their forms, constants of the steps, angles.

use std::collections::{BTreeSet, HashSet};

use super::{Constant, Form, RotaryKey};
use crate::graph::op::{Affine, Emit, QkvProject};
use crate::graph::{Graph, Op, TensorId, WeightId};

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    pub(crate) weights: HashSet<(WeightId, Form)>,
    pub(crate) scalars: HashSet<WeightId>,
    pub(crate) constants: HashSet<Constant>,
    pub(crate) rotary: HashSet<RotaryKey>,
    /// Each attention's q and the norm weights of all streams that feed it: `(q, q norms, k norms, head size)`.
    pub(crate) attentions: Vec<(TensorId, Vec<WeightId>, Vec<WeightId>, usize)>,
    /// Elements of the longest vector of zeros or ones.
    pub(crate) widest: usize,
}

/// Factor folded into q: the softmax's scale and the change of base, so that kernels take powers of two.
pub(crate) fn query_factor(head_dim: usize) -> f32 {
    (std::f64::consts::LOG2_E / (head_dim as f64).sqrt()) as f32
}

/// What the launches of `graph` read.
pub(crate) fn needs(graph: &Graph) -> Needs {
    let mut needs = Needs::default();
    for node in &graph.nodes {
        needs.op(&node.op);
    }
    let widths: BTreeSet<usize> = graph.weights.iter().map(|w| w.rows.max(w.cols)).collect();
    needs.widest = widths.last().copied().unwrap_or(0);
    needs
}

impl Needs {
    fn matrix(&mut self, affine: &Affine) {
        self.weights.insert((affine.weight, Form::Matrix));
        self.vectors(affine.bias);
    }

    fn vectors(&mut self, ids: impl IntoIterator<Item = WeightId>) {
        self.weights.extend(ids.into_iter().map(|id| (id, Form::VECTOR)));
    }

    /// A linear so small that kernels read it as float32.
    fn small(&mut self, affine: &Affine) {
        self.vectors([affine.weight].into_iter().chain(affine.bias));
    }

    fn emit(&mut self, emit: Option<Emit>) {
        if let Some(norm) = emit.and_then(|e| e.norm) {
            self.constants.insert(Constant::Scale(norm));
        }
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Conv3x3(op) => self.matrix(&op.kernel),
            Op::GroupNormSilu(op) => self.vectors([op.weight, op.bias]),
            Op::Linear(op) => self.matrix(&op.affine),
            Op::TextEmbed(op) => {
                self.matrix(&op.affine);
                self.vectors([op.norm]);
                self.weights.insert((op.position, Form::Matrix));
            }
            Op::Copy(op) => self.emit(op.emit),
            Op::PatchEmbed(op) => {
                self.matrix(&op.affine);
                self.emit(op.emit);
            }
            Op::LatentGate(op) => {
                let form = if op.gate_width == 1 { Form::VECTOR } else { Form::Matrix };
                self.weights.insert((op.weight, form));
                self.scalars.insert(op.log_alpha);
                self.emit(op.emit);
            }
            Op::QkvProject(op) => self.qkv(op),
            Op::SwiGlu(op) => {
                for s in &op.streams {
                    self.weights.insert((s.weight, Form::Matrix));
                    self.constants.insert(Constant::ShiftProduct(s.norm.modulation, s.weight));
                }
            }
            Op::GatedResidual(op) => {
                for s in &op.streams {
                    self.matrix(&s.affine);
                    self.constants.insert(Constant::Gate(s.gate));
                    self.emit(s.emit);
                }
            }
            Op::TimeSilu(op) => {
                self.constants.insert(Constant::TimeEmbedding);
                self.emit(op.emit);
            }
            Op::PixelEmbed(op) => self.small(&op.affine),
            Op::PixelModulate(op) => {
                self.matrix(&op.modulation);
                self.vectors([op.norm]);
            }
            Op::PixelUpdate(op) => {
                for affine in [&op.modulation, &op.expand, &op.fc1, &op.fc2] {
                    self.matrix(affine);
                }
                self.vectors([op.norm]);
                if let Some(sample) = &op.sample {
                    self.small(&sample.affine);
                    self.vectors([sample.norm]);
                }
            }
            Op::SampleStep(op) => {
                self.small(&op.affine);
                self.vectors([op.norm]);
            }
            Op::Attention(_) | Op::Noise(_) => {}
        }
    }

    fn qkv(&mut self, op: &QkvProject) {
        for s in &op.streams {
            self.weights.insert((s.weight, Form::Matrix));
            self.weights.insert((s.q_norm, Form::scaled(query_factor(op.head_dim))));
            self.vectors([s.k_norm]);
            self.rotary.insert(RotaryKey { rotary: s.rotary, tokens: op.tokens, head_dim: op.head_dim });
            if let (Some(norm), Some(_)) = (&s.norm, s.sums) {
                self.constants.insert(Constant::ShiftProduct(norm.modulation, s.weight));
            }
        }
        let norms = |f: fn(&crate::graph::op::QkvStream) -> WeightId| op.streams.iter().map(f).collect();
        self.attentions.push((op.q, norms(|s| s.q_norm), norms(|s| s.k_norm), op.head_dim));
    }
}
