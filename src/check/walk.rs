//! A decode, launch by launch, on the device and on the CPU.

use super::case::{Prepared, SEED};
use super::compare::{self, Difference};
use super::report::Row;
use super::{CheckError, device_failure};
use crate::exec::Ceilings;
use crate::exec::{self, Backend, DecodePhase, ExecError, NoObserver, Observer, Session};
use crate::graph::{Op, TensorId};
use crate::kernels::needs::query_factor;
use crate::plan::{Iteration, Launch};
use crate::sampler::{Noise, NoiseSource};

/// Decodes that are timed, after the walk has warmed everything up; the median counts.
const TIMED_RUNS: usize = 5;

/// The row of what cannot be told to be one kernel's; only there when something is wrong.
const ANY_KERNEL: &str = "any-kernel";

/// One row for each list of kernels that a launch of the case runs.
pub(super) fn walk(
    prepared: &Prepared,
    selects: &dyn Fn(&str) -> bool,
    ceilings: Option<&Ceilings>,
    observer: &mut dyn Observer,
) -> Result<Vec<Row>, CheckError> {
    let iterations = prepared.iterations();
    let failed = |e: ExecError| CheckError::Failed(e.into());
    let mut device = prepared.device.session(&prepared.program.program, &iterations, observer).map_err(failed)?;
    let mut cpu = prepared.cpu.session(&prepared.twin, &iterations, &mut NoObserver).map_err(failed)?;
    let mut walk =
        Walk { prepared, selects, device: &mut *device, cpu: &mut *cpu, rows: Vec::new(), at: Default::default() };
    if let Err(error) = walk.run(&iterations, observer) {
        // What follows would run on what the failed launch left.
        let (failure, [kernels, node]) = (device_failure(error)?, walk.at.clone());
        if (walk.selects)(&format!("{}/{kernels}", prepared.case.name)) {
            let row = walk.row(&kernels);
            (row.failure, row.place) = (Some(failure), node);
        }
        return Ok(walk.rows);
    }
    if let Some(ceilings) = ceilings {
        walk.time(&iterations, ceilings).map_err(failed)?;
    }
    Ok(walk.rows)
}

struct Walk<'a> {
    prepared: &'a Prepared,
    selects: &'a dyn Fn(&str) -> bool,
    device: &'a mut dyn Session,
    cpu: &'a mut dyn Session,
    rows: Vec<Row>,
    /// Kernels and node of the launch at hand.
    at: [String; 2],
}

impl Walk<'_> {
    fn run(&mut self, iterations: &[Iteration<'_>], observer: &mut dyn Observer) -> Result<(), ExecError> {
        let prepared = self.prepared;
        prepared.program.mark(self.device)?;
        exec::write_inputs(self.device, &prepared.twin, &prepared.inputs())?;
        let mut noises = [(); 2].map(|()| Noise::new(NoiseSource::Philox { seed: SEED }));
        for (k, iteration) in iterations.iter().enumerate() {
            observer.phase(DecodePhase::Step { index: k, steps: iterations.len() });
            let launches = launches(prepared, k);
            for (index, launch) in launches.iter().enumerate() {
                self.launch(launch, iteration, &mut noises)?;
                observer.launched(index, launches.len());
                if observer.cancelled() {
                    return Err(ExecError::Cancelled { done: k, steps: iterations.len() });
                }
            }
        }
        self.stray_writes()
    }

    /// Runs one launch on the device, and, when its row is selected, on the CPU with the same inputs, and compares.
    fn launch(&mut self, launch: &Launch, iteration: &Iteration<'_>, noises: &mut [Noise; 2]) -> Result<(), ExecError> {
        let prepared = self.prepared;
        let node = &prepared.twin.graph.nodes[launch.node];
        let kernels = self.device.kernels(launch, iteration)?.join("+");
        self.at = [kernels.clone(), node.name.clone()];
        let compared = (self.selects)(&format!("{}/{kernels}", prepared.case.name));
        let draw = match &node.op {
            Op::Noise(op) => match exec::noise_draw(op, node.phase, iteration) {
                Some(draw) => Some((op.output, draw)),
                None => return Ok(()),
            },
            _ => None,
        };
        if compared {
            self.hand_over(&node.op)?;
        }
        let [on_device, on_cpu] = noises;
        match draw {
            Some((id, draw)) => self.device.noise(id, on_device, draw)?,
            // Not `launch`: a GPU would record a graph for each.
            None => self.device.launch_timed(launch, iteration).map(drop)?,
        }
        if !compared {
            return Ok(());
        }
        match draw {
            Some((id, draw)) => self.cpu.noise(id, on_cpu, draw)?,
            None => self.cpu.launch(launch, iteration)?,
        }
        let difference = self.compare(&node.op)?;
        self.row(&kernels).launches += 1;
        for (id, difference) in difference {
            let place = format!("{}: {}", node.name, prepared.twin.graph[id].name);
            enter(self.row(&kernels), place, difference);
        }
        Ok(())
    }

    /// Copies what `op` reads to the CPU, and fills what it only writes with NaN on both.
    fn hand_over(&mut self, op: &Op) -> Result<(), ExecError> {
        let reads = op.reads();
        for &id in &reads {
            let mut values = self.device.read(id)?;
            let factor = device_factor(op, id);
            values.iter_mut().for_each(|v| *v /= factor);
            self.cpu.write(id, &values)?;
        }
        for id in op.writes().into_iter().filter(|id| !reads.contains(id)) {
            let nothing = vec![f32::NAN; self.prepared.twin.graph[id].elements()];
            self.device.write(id, &nothing)?;
            self.cpu.write(id, &nothing)?;
        }
        Ok(())
    }

    /// Each tensor that `op` wrote, device against CPU.
    fn compare(&mut self, op: &Op) -> Result<Vec<(TensorId, Difference)>, ExecError> {
        let graph = &self.prepared.program.program.graph;
        let slack = compare::slack_of(op);
        let mut found = Vec::new();
        for id in op.writes() {
            let damage = self.prepared.program.damage(self.device, id)?;
            if is_workspace(op, id) {
                found.push((id, Difference { failure: damage, ..Difference::default() }));
                continue;
            }
            let (x, mut r) = (self.device.read(id)?, self.cpu.read(id)?);
            let factor = device_factor(op, id);
            r.iter_mut().for_each(|v| *v *= factor);
            let mut difference = compare::compare(&x, &r, graph[id].format.element, slack);
            difference.failure = difference.failure.or(damage);
            found.push((id, difference));
        }
        Ok(found)
    }

    /// Looks at every band once more, for writes far from the tensors of their launch.
    fn stray_writes(&mut self) -> Result<(), ExecError> {
        if !(self.selects)(&format!("{}/{ANY_KERNEL}", self.prepared.case.name)) {
            return Ok(());
        }
        for tensor in 0..self.prepared.twin.graph.tensors.len() {
            let id = TensorId(tensor as u32);
            if let Some(damage) = self.prepared.program.damage(self.device, id)? {
                let row = self.row(ANY_KERNEL);
                (row.failure, row.place) = (Some(damage), "by a launch that does not write it".into());
            }
        }
        Ok(())
    }

    fn row(&mut self, kernels: &str) -> &mut Row {
        let index = self.rows.iter().position(|r| r.kernels == kernels).unwrap_or_else(|| {
            self.rows.push(Row::empty(self.prepared.case.name, kernels));
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    /// Times whole decodes launch by launch, and enters the median of each row's seconds.
    fn time(&mut self, iterations: &[Iteration<'_>], ceilings: &Ceilings) -> Result<(), ExecError> {
        let graph = &self.prepared.program.program.graph;
        let mut seconds = vec![Vec::with_capacity(TIMED_RUNS); self.rows.len()];
        let mut floors = vec![0.0; self.rows.len()];
        let mut noise = Noise::new(NoiseSource::Philox { seed: SEED });
        for run in 0..TIMED_RUNS {
            let mut taken = vec![0.0; self.rows.len()];
            for (k, iteration) in iterations.iter().enumerate() {
                for launch in launches(self.prepared, k) {
                    let node = &graph.nodes[launch.node];
                    if let Op::Noise(op) = &node.op {
                        if let Some(draw) = exec::noise_draw(op, node.phase, iteration) {
                            self.device.noise(op.output, &mut noise, draw)?;
                        }
                        continue;
                    }
                    let time = self.device.launch_timed(launch, iteration)?;
                    let kernels = self.device.kernels(launch, iteration)?.join("+");
                    if let Some(row) = self.rows.iter().position(|r| r.kernels == kernels) {
                        taken[row] += time;
                        // The work is the same in every run.
                        floors[row] += if run == 0 { ceilings.floor(graph.work(node, None)) } else { 0.0 };
                    }
                }
            }
            seconds.iter_mut().zip(taken).for_each(|(seconds, taken)| seconds.push(taken));
        }
        for ((row, mut seconds), floor) in self.rows.iter_mut().zip(seconds).zip(floors) {
            seconds.sort_by(f64::total_cmp);
            let median = seconds[TIMED_RUNS / 2];
            row.seconds = (median > 0.0).then_some(median);
            row.ratio = (median > 0.0 && floor > 0.0).then(|| median / floor);
        }
        Ok(())
    }
}

/// Launches of step `k`; with the first, those before the loop.
fn launches(prepared: &Prepared, k: usize) -> &[Launch] {
    let plan = &prepared.program.program.plan;
    &plan.launches[if k == 0 { 0 } else { plan.step_start }..]
}

/// What the kernels multiply the tensor by on top of its op's definition: queries carry the softmax's scale.
fn device_factor(op: &Op, id: TensorId) -> f32 {
    match op {
        Op::QkvProject(op) if op.q == id => query_factor(op.head_dim),
        Op::Attention(op) if op.q == id => query_factor(op.head_dim),
        _ => 1.0,
    }
}

/// Whether only kernels use the tensor, within one launch.
fn is_workspace(op: &Op, id: TensorId) -> bool {
    matches!(op, Op::GroupNormSilu(op) if op.slab_sums == Some(id))
}

/// Keeps the worse of the row and `difference`.
fn enter(row: &mut Row, place: String, difference: Difference) {
    let before = Difference {
        error: row.error,
        bound: row.bound,
        norm_error: row.norm_error,
        norm_bound: row.norm_bound,
        failure: None,
    };
    if row.failure.is_some() || difference.failure.is_none() && difference.severity() < before.severity() {
        return;
    }
    (row.place, row.failure) = (place, difference.failure);
    (row.error, row.bound) = (difference.error, difference.bound);
    (row.norm_error, row.norm_bound) = (difference.norm_error, difference.norm_bound);
}
