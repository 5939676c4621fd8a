//! What a program's launches read besides tensors: weights and their forms, constants of the steps, angles.

use std::collections::{BTreeSet, HashSet};

use super::{Constant, RotaryKey, Selection};
use crate::graph::op::{Affine, ConvInput, Emit, Norm, PixelUpdate, QkvProject};
use crate::graph::{Graph, Op, TensorId, WeightId};
use crate::weights::Form;

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

/// What a pixel block's end is to kernels.
pub(crate) fn pixel_update_op(op: &PixelUpdate) -> &'static str {
    if op.sample.is_some() { "gemm_pixel_update_sample" } else { "gemm_pixel_update" }
}

/// What a projection is to kernels.
pub(crate) fn qkv_op(op: &QkvProject) -> &'static str {
    let folded = op.streams.iter().all(|s| s.sums.is_some());
    if folded { "gemm_qkv_folded_d64" } else { "gemm_qkv_d72" }
}

/// What the launches of `graph` read when the kernels of `selection` do them.
pub(crate) fn needs(graph: &Graph, selection: &Selection) -> Needs {
    let mut list = List { graph, selection, needs: Needs::default() };
    for node in &graph.nodes {
        list.op(&node.op);
    }
    let mut needs = list.needs;
    let widths: BTreeSet<usize> = graph.weights.iter().map(|w| w.rows.max(w.cols)).collect();
    needs.widest = widths.last().copied().unwrap_or(0);
    needs
}

/// The list in the making.
struct List<'a> {
    graph: &'a Graph,
    selection: &'a Selection,
    needs: Needs,
}

impl List<'_> {
    /// The second operand of product `op`.
    fn matrix(&mut self, op: &str, id: WeightId) {
        self.matrix_beside(op, id, id);
    }

    /// Another matrix that the kernel for product `op` multiplies by, whose second operand is `of`.
    fn matrix_beside(&mut self, op: &str, of: WeightId, id: WeightId) {
        let order = self.selection.order(op, &self.graph[of]);
        self.needs.weights.insert((id, Form::Matrix(order)));
    }

    fn affine(&mut self, op: &str, affine: &Affine) {
        self.matrix(op, affine.weight);
        self.vectors(affine.bias);
    }

    fn vectors(&mut self, ids: impl IntoIterator<Item = WeightId>) {
        self.needs.weights.extend(ids.into_iter().map(|id| (id, Form::VECTOR)));
    }

    /// A linear so small that kernels read it as float32.
    fn small(&mut self, affine: &Affine) {
        self.vectors([affine.weight].into_iter().chain(affine.bias));
    }

    fn emit(&mut self, emit: Option<Emit>) {
        match emit.and_then(|e| e.norm) {
            Some(Norm { weight, modulation: Some(m) }) => {
                self.needs.constants.insert(Constant::Scale(weight, m.scale));
            }
            Some(Norm { weight, modulation: None }) => self.vectors([weight]),
            None => {}
        }
    }

    /// What a modulated norm adds to the product with `weight`.
    fn shift(&mut self, norm: &Norm, weight: WeightId) {
        self.needs.constants.extend(norm.modulation.map(|m| Constant::ShiftProduct(m.shift, weight)));
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Conv3x3(op) => match op.source {
                ConvInput::Image { .. } => self.affine("conv3x3_latent", &op.kernel),
                ConvInput::Tokens { .. } => self.affine("conv3x3_tokens", &op.kernel),
            },
            Op::GroupNormSilu(op) => self.vectors([op.weight, op.bias]),
            Op::Linear(op) => self.affine("gemm_linear", &op.affine),
            Op::EmbedRows(op) => {
                self.affine("gemm_embed_rows", &op.affine);
                self.vectors([op.norm]);
                self.needs.weights.insert((op.position, Form::MATRIX));
            }
            Op::Copy(op) => self.emit(op.emit),
            Op::Lookup(op) => {
                self.needs.weights.insert((op.table, Form::MATRIX));
                self.emit(op.emit);
            }
            Op::PatchEmbed(op) => {
                self.affine("gemm_embed_patch", &op.affine);
                self.emit(op.emit);
            }
            Op::FeatureGate(op) => {
                if op.gate_width == 1 {
                    self.vectors([op.weight]);
                } else {
                    self.matrix("gemm_latent_gate", op.weight);
                }
                self.needs.scalars.insert(op.log_slope);
                self.emit(op.emit);
            }
            Op::QkvProject(op) => self.qkv(op),
            Op::SwiGlu(op) => {
                for s in &op.streams {
                    self.matrix("gemm_swiglu", s.weight);
                    self.shift(&s.norm, s.weight);
                }
            }
            Op::GatedResidual(op) => {
                for s in &op.streams {
                    self.affine("gemm_residual", &s.affine);
                    self.needs.constants.extend(s.gate.map(Constant::Vector));
                    self.emit(s.emit);
                }
            }
            Op::AddSilu(op) => {
                self.needs.constants.insert(Constant::Vector(op.vector));
                self.emit(op.emit);
            }
            Op::PixelEmbed(op) => self.small(&op.affine),
            Op::PixelModulate(op) => {
                self.affine("gemm_pixel_modulate", &op.modulation);
                self.vectors([op.norm]);
            }
            Op::PixelUpdate(op) => {
                let update = pixel_update_op(op);
                self.affine(update, &op.modulation);
                self.matrix_beside(update, op.modulation.weight, op.expand.weight);
                self.vectors(op.expand.bias);
                for affine in [&op.fc1, &op.fc2] {
                    self.needs.weights.insert((affine.weight, Form::MATRIX));
                    self.vectors(affine.bias);
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
            self.matrix(qkv_op(op), s.weight);
            self.needs.weights.insert((s.q_norm, Form::scaled(query_factor(op.head_dim))));
            self.vectors([s.k_norm]);
            self.needs.rotary.insert(RotaryKey { rotary: s.rotary, tokens: op.tokens, head_dim: op.head_dim });
            if let (Some(norm), Some(_)) = (&s.norm, s.sums) {
                self.shift(norm, s.weight);
            }
        }
        let norms = |f: fn(&crate::graph::op::QkvStream) -> WeightId| op.streams.iter().map(f).collect();
        self.needs.attentions.push((op.q, norms(|s| s.q_norm), norms(|s| s.k_norm), op.head_dim));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::kernels::{KernelChoice, Processor};
    use crate::models::pid::{self, NetworkOptions, Policy, Release};
    use crate::weights::order::RowOrder;

    /// A weight that two kernels read in two orders would lie on the device twice.
    #[test]
    fn every_matrix_has_one_order() {
        for config in Release::ALL.iter().map(Release::config) {
            let options = NetworkOptions::new(1, config.txt_max_length.min(24), [128, 128], Policy::BF16);
            let graph = pid::program(&config, &options, None).unwrap().graph;
            for (choice, reordered) in [(KernelChoice::Auto, true), (KernelChoice::Portable, false)] {
                let needs =
                    needs(&graph, &Selection::new(&Processor { capability: (9, 0), multiprocessors: 4 }, choice));
                let mut orders: HashMap<WeightId, Vec<RowOrder>> = HashMap::new();
                for (id, form) in &needs.weights {
                    if let Form::Matrix(order) = form {
                        orders.entry(*id).or_default().push(*order);
                    }
                }
                let twice: Vec<_> = orders.iter().filter(|(_, orders)| orders.len() > 1).collect();
                assert!(twice.is_empty(), "{:?}: {twice:?}", config.name());
                assert_eq!(orders.values().any(|o| o[0] != RowOrder::Plain), reordered, "{choice}");
            }
        }
    }
}
