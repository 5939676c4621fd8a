//! A plan as a table and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{ByteSize, Plan};
use crate::graph::{Graph, Phase};

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Once => "once",
        Phase::Step => "step",
    }
}

impl Plan {
    /// Bytes live at each launch.
    pub fn live_bytes(&self) -> Vec<usize> {
        let sum = |position: usize| {
            let live = self.live.iter().zip(&self.allocated_bytes);
            live.filter(|(range, _)| range.as_ref().is_some_and(|r| r.contains(&position))).map(|(_, b)| b).sum()
        };
        (0..self.launches.len()).map(sum).collect()
    }

    /// Launch table and totals, for people.
    pub fn table(&self, graph: &Graph) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:>4} {:4} {:44} {:16} {:>15} {:>10}", "#", "when", "node", "op", "rows", "live");
        for ((i, launch), live) in self.launches.iter().enumerate().zip(self.live_bytes()) {
            let node = &graph.nodes[launch.node];
            let rows = launch.rows.as_ref().map_or_else(String::new, |r| format!("{}..{}", r.start, r.end));
            let mark = if i == self.peak_launch { " <- peak" } else { "" };
            let _ = writeln!(
                text,
                "{i:>4} {:4} {:44} {:16} {rows:>15} {:>10}{mark}",
                phase_name(node.phase),
                node.name,
                node.op.kind(),
                ByteSize(live as u64).to_string(),
            );
        }
        let size = |bytes: usize| ByteSize(bytes as u64).to_string();
        let over = 100.0 * (self.arena_bytes as f64 / self.max_live_bytes.max(1) as f64 - 1.0);
        let _ = writeln!(text, "weights          {:>10}", size(self.weights_bytes));
        let _ = writeln!(text, "constants        {:>10}", size(self.constants_bytes));
        let _ = writeln!(
            text,
            "arena            {:>10}  (without sharing {}, largest live sum {}, {over:.1}% above it)",
            size(self.arena_bytes),
            size(self.unshared_bytes),
            size(self.max_live_bytes)
        );
        let _ = write!(text, "peak             {:>10}", size(self.peak_bytes));
        text
    }

    /// Everything, for machines.
    pub fn to_json(&self, graph: &Graph) -> Value {
        let launches: Vec<Value> = self
            .launches
            .iter()
            .map(|launch| {
                let node = &graph.nodes[launch.node];
                let rows = launch.rows.as_ref().map(|r| [r.start, r.end]);
                json!({ "node": node.name, "op": node.op.kind(), "phase": phase_name(node.phase), "rows": rows })
            })
            .collect();
        let tensors: Vec<Value> = graph
            .tensors
            .iter()
            .enumerate()
            .filter_map(|(i, tensor)| {
                let (offset, live) = (self.offsets[i]?, self.live[i].as_ref()?);
                Some(json!({
                    "name": tensor.name,
                    "shape": tensor.shape,
                    "element": tensor.element.to_string(),
                    "offset": offset,
                    "bytes": self.allocated_bytes[i],
                    "chunked": self.chunked[i],
                    "first": live.start,
                    "last": live.end - 1,
                }))
            })
            .collect();
        json!({
            "weights_bytes": self.weights_bytes,
            "constants_bytes": self.constants_bytes,
            "arena_bytes": self.arena_bytes,
            "max_live_bytes": self.max_live_bytes,
            "unshared_bytes": self.unshared_bytes,
            "peak_bytes": self.peak_bytes,
            "peak_launch": self.peak_launch,
            "step_start": self.step_start,
            "launches": launches,
            "tensors": tensors,
        })
    }
}
