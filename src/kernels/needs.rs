//! What a program's launches read besides tensors: weights and their forms, constants of the passes, angles. The list is
//! made by lowering every launch once to addresses that nobody reads, so that it names what the launches will.

use std::cell::RefCell;
use std::collections::HashSet;

use super::lower::Lowering;
use super::params::PidTensorMap;
use super::tables::Places;
use super::tensor_map::Tiled;
use super::{Constant, LaunchError, MatrixAt, Processor, RotaryKey, Selection, Target};
use crate::graph::{GraphConstants, TensorId, WeightId};
use crate::plan::{Iteration, Launch, Program};
use crate::sampler::{Sampler, Step};
use crate::weights::{Form, RowOrder};

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    pub(crate) weights: HashSet<(WeightId, Form)>,
    pub(crate) scalars: HashSet<WeightId>,
    pub(crate) constants: HashSet<Constant>,
    pub(crate) rotary: HashSet<RotaryKey>,
    /// Attentions, by their q, of which the launches ask whether their logits are bounded.
    pub(crate) attentions: HashSet<TensorId>,
    /// Elements of the longest vector of zeros or ones.
    pub(crate) widest: usize,
}

/// Factor folded into q: the softmax's scale and the change of base, so that kernels take powers of two.
pub(crate) fn query_factor(head_dim: usize) -> f32 {
    (std::f64::consts::LOG2_E / (head_dim as f64).sqrt()) as f32
}

/// What the launches of `program` read when the kernels of `selection` do them on `target`.
///
/// # Errors
/// When a kernel does not take an op's sizes.
pub(crate) fn needs(program: &Program, selection: &Selection, target: &dyn Target) -> Result<Needs, LaunchError> {
    let mut needs = list(program, &program.plan.launches, selection, target)?.needs.into_inner();
    needs.widest = program.graph.weights.iter().map(|w| w.rows.max(w.cols)).max().unwrap_or(0);
    Ok(needs)
}

/// What `launches` name.
fn list(
    program: &Program,
    launches: &[Launch],
    selection: &Selection,
    target: &dyn Target,
) -> Result<List, LaunchError> {
    let list = List::default();
    let none = GraphConstants::default();
    let step = Step { index: 0, t: 1.0, t_next: 0.0 };
    let iteration = Iteration { step, sampler: Sampler::default(), constants: &none };
    let target = Unplaced(target);
    let lowering = Lowering { program, places: &list, iteration: &iteration, target: &target, selection };
    for launch in launches {
        lowering.launch(launch)?;
    }
    Ok(list)
}

/// The list in the making.
#[derive(Default)]
struct List {
    needs: RefCell<Needs>,
    #[cfg(test)]
    tensors: RefCell<HashSet<TensorId>>,
}

/// An address as good as any, aligned as the real ones are.
const NOWHERE: u64 = 1 << 20;

impl Places for List {
    fn tensor(&self, id: TensorId) -> u64 {
        #[cfg(test)]
        self.tensors.borrow_mut().insert(id);
        let _ = id;
        NOWHERE
    }

    fn matrix(&self, id: WeightId, order: RowOrder) -> MatrixAt {
        self.needs.borrow_mut().weights.insert((id, Form::Matrix(order)));
        MatrixAt { address: NOWHERE, stride: 8 }
    }

    fn vector(&self, id: WeightId, form: Form) -> u64 {
        self.needs.borrow_mut().weights.insert((id, form));
        NOWHERE
    }

    fn scalar(&self, id: WeightId) -> f32 {
        self.needs.borrow_mut().scalars.insert(id);
        0.0
    }

    fn rotary(&self, key: RotaryKey) -> (u64, u64) {
        self.needs.borrow_mut().rotary.insert(key);
        (NOWHERE, NOWHERE)
    }

    fn constant(&self, _step: usize, constant: Constant) -> u64 {
        self.needs.borrow_mut().constants.insert(constant);
        NOWHERE
    }

    fn is_bounded(&self, q: TensorId) -> bool {
        self.needs.borrow_mut().attentions.insert(q);
        false
    }

    fn zeros(&self) -> u64 {
        NOWHERE
    }

    fn ones(&self) -> u64 {
        NOWHERE
    }
}

/// A device before anything lies on it: its maps are of nothing.
struct Unplaced<'a>(&'a dyn Target);

impl Target for Unplaced<'_> {
    fn processor(&self) -> Processor {
        self.0.processor()
    }

    fn has_code_for(&self, arch: &str) -> bool {
        self.0.has_code_for(arch)
    }

    fn tensor_map(&self, _tiled: &Tiled<'_>) -> Result<PidTensorMap, LaunchError> {
        Ok(PidTensorMap { opaque: [0; 16] })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::slice;

    use super::*;
    use crate::graph::Op;
    use crate::kernels::KernelChoice;
    use crate::models::pid::{self, NetworkOptions, Policy, Release};

    /// A weight that two kernels read in two orders would lie on the device twice.
    #[test]
    fn every_matrix_has_one_order() {
        for config in Release::ALL.iter().map(Release::config) {
            let options = NetworkOptions::new(1, config.txt_max_length.min(24), [128, 128], Policy::BF16);
            let program = pid::program(&config, &options, None).unwrap();
            for (choice, reordered) in [(KernelChoice::Auto, true), (KernelChoice::Portable, false)] {
                let processor = Processor { capability: (9, 0), multiprocessors: 4 };
                let needs = needs(&program, &Selection::new(&processor, choice), &processor).unwrap();
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

    /// The planner knows ops by `access` alone: what a launch names beyond it would lie where something else does.
    #[test]
    fn launches_name_what_access_says() {
        for config in Release::ALL.iter().map(Release::config) {
            let options = NetworkOptions::new(1, config.txt_max_length.min(24), [128, 128], Policy::BF16);
            let program = pid::program(&config, &options, None).unwrap();
            let processor = Processor { capability: (9, 0), multiprocessors: 4 };
            let selection = Selection::new(&processor, KernelChoice::Auto);
            for launch in &program.plan.launches {
                let node = &program.graph.nodes[launch.node];
                let named = list(&program, slice::from_ref(launch), &selection, &processor).unwrap();
                let (needs, access) = (named.needs.into_inner(), node.op.access());
                // Noise is drawn without lowering.
                if !matches!(node.op, Op::Noise(_)) {
                    let known: HashSet<TensorId> = access.reads.iter().chain(&access.writes).copied().collect();
                    assert_eq!(named.tensors.into_inner(), known, "{}", node.name);
                }
                let weights: HashSet<WeightId> = access.weights.iter().copied().collect();
                let read = needs.weights.iter().map(|(id, _)| *id).chain(needs.scalars.iter().copied());
                for id in read {
                    assert!(weights.contains(&id), "{}: {}", node.name, format_args!("{:?}", program.graph[id]));
                }
                for constant in &needs.constants {
                    let id = match constant {
                        Constant::Vector(id) | Constant::Scale(_, id) | Constant::ShiftProduct(id, _) => id,
                    };
                    assert!(access.constants.contains(id), "{}: {constant:?}", node.name);
                }
            }
        }
    }
}
