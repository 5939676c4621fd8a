//! Launches of a plan and their sums by op, with what was reached against what the device can do.

use serde::Serialize;

use crate::exec::Ceilings;
use crate::graph::{Node, Op, Phase, Work};
use crate::plan::Program;

/// How near to its floor something ran; `None` where no time was taken, or nothing of the kind is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// 10^12 FLOP per second.
    pub tflops: Option<f64>,
    /// 10^9 bytes per second.
    pub gbytes_per_second: Option<f64>,
    /// The least that the device's ceilings allow.
    pub floor_seconds: Option<f64>,
    /// Floor over time, in per cent.
    pub floor_percent: Option<f64>,
}

impl Rates {
    /// Of `work` done in `seconds`; of `floor` the least.
    fn new(work: Work, seconds: Option<f64>, floor: Option<f64>) -> Self {
        let per = |amount: u64, unit: f64| seconds.filter(|s| *s > 0.0 && amount > 0).map(|s| amount as f64 / s / unit);
        Self {
            tflops: per(work.flop, 1e12),
            gbytes_per_second: per(work.bytes, 1e9),
            floor_seconds: floor,
            floor_percent: floor.zip(seconds).filter(|(_, s)| *s > 0.0).map(|(floor, s)| 100.0 * floor / s),
        }
    }
}

/// One launch of the plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LaunchRow {
    /// Position in the plan.
    pub index: usize,
    /// The graph's node.
    pub node: String,
    /// Kind of op.
    pub op: &'static str,
    /// `once` per decode, or in every `step`.
    pub phase: &'static str,
    /// Rows of the op's row space, where the launch covers a range.
    pub rows: Option<[usize; 2]>,
    /// The kernels that it runs, in order; `None` where there are none, or they were not looked up.
    pub kernels: Option<Vec<&'static str>>,
    /// How often it runs in a decode.
    pub launches: usize,
    /// Of each run, in the profiled decode.
    pub seconds: Option<Vec<f64>>,
    /// Of one run.
    #[serde(flatten)]
    pub work: Work,
    /// Of the median run.
    #[serde(flatten)]
    pub rates: Rates,
}

/// All launches of one kind of op in a decode.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpRow {
    /// Kind of op.
    pub op: &'static str,
    /// In a decode.
    pub launches: usize,
    /// In the profiled decode.
    pub seconds: Option<f64>,
    /// Of all launches' seconds, 0 to 1.
    pub share: Option<f64>,
    /// Of the decode.
    #[serde(flatten)]
    pub work: Work,
    /// Of the sums; the floor is the sum of the launches' floors.
    #[serde(flatten)]
    pub rates: Rates,
}

/// How often `node` runs in a decode of `steps` steps: new noise enters between steps only.
fn runs(node: &Node, steps: usize) -> usize {
    match (node.phase, &node.op) {
        (Phase::Once, _) => 1,
        (Phase::Step, Op::Noise(_)) => steps - 1,
        (Phase::Step, _) => steps,
    }
}

/// Rows of the plan's launches. `times` has the runs of each, or nothing.
pub(super) fn launches(
    program: &Program,
    steps: usize,
    times: Option<&[Vec<f64>]>,
    ceilings: Option<&Ceilings>,
) -> Vec<LaunchRow> {
    let graph = &program.graph;
    let row = |(index, launch): (usize, &crate::plan::Launch)| {
        let node = &graph.nodes[launch.node];
        let work = graph.work(node, launch.rows.as_ref());
        let seconds = times.map(|times| times[index].clone());
        let median = seconds.clone().and_then(super::Summary::of).map(|s| s.median);
        LaunchRow {
            index,
            node: node.name.clone(),
            op: node.op.kind(),
            phase: if node.phase == Phase::Once { "once" } else { "step" },
            rows: launch.rows.as_ref().map(|r| [r.start, r.end]),
            kernels: None,
            launches: runs(node, steps),
            seconds,
            work,
            rates: Rates::new(work, median, ceilings.map(|c| c.floor(work))),
        }
    };
    program.plan.launches.iter().enumerate().map(row).collect()
}

/// Sums by kind of op, the longest (or, without times, the one with most work) first.
pub(super) fn ops(launches: &[LaunchRow]) -> Vec<OpRow> {
    let mut rows: Vec<OpRow> = Vec::new();
    for launch in launches {
        let index = rows.iter().position(|r| r.op == launch.op).unwrap_or_else(|| {
            rows.push(OpRow {
                op: launch.op,
                launches: 0,
                seconds: None,
                share: None,
                work: Work::default(),
                rates: Rates::default(),
            });
            rows.len() - 1
        });
        let row = &mut rows[index];
        row.launches += launch.launches;
        row.work += launch.work.times(launch.launches);
        if let Some(seconds) = &launch.seconds {
            row.seconds = Some(row.seconds.unwrap_or(0.0) + seconds.iter().sum::<f64>());
        }
        if let Some(floor) = launch.rates.floor_seconds {
            let sum = row.rates.floor_seconds.unwrap_or(0.0) + floor * launch.launches as f64;
            row.rates.floor_seconds = Some(sum);
        }
    }
    let total: f64 = rows.iter().filter_map(|r| r.seconds).sum();
    for row in &mut rows {
        row.share = row.seconds.filter(|_| total > 0.0).map(|s| s / total);
        row.rates = Rates::new(row.work, row.seconds, row.rates.floor_seconds);
    }
    rows.sort_by(|a, b| {
        let key = |r: &OpRow| (r.seconds.unwrap_or(0.0), r.work.flop as f64, r.work.bytes as f64);
        key(b).partial_cmp(&key(a)).unwrap_or(std::cmp::Ordering::Equal)
    });
    rows
}

/// Ops of that share of the time count.
const NOTABLE: f64 = 0.02;
/// Per cent of its floor that an op may reach by errors of measurement.
const MOST_PERCENT: f64 = 105.0;

/// Why the ceilings may be off: ops beat them.
pub(super) fn doubt(ops: &[OpRow]) -> Option<String> {
    let notable = ops.iter().filter(|o| o.share.is_some_and(|s| s >= NOTABLE));
    let percents = notable.filter_map(|o| Some((o.op, o.rates.floor_percent?)));
    let (op, percent) = percents.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, p)| *p > MOST_PERCENT)?;
    Some(format!(
        "{op} reaches {percent:.0}% of its floor: the ceilings were measured too low, something else was at work then"
    ))
}
