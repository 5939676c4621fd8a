//! A plan in words, as a table and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{ByteSize, Plan};
use crate::graph::{Graph, Phase};

/// Tensors that a summary names.
const SHOWN_TENSORS: usize = 6;

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

    /// What it takes and where the most is live, for people.
    pub fn summary(&self, graph: &Graph) -> String {
        let size = |bytes: usize| ByteSize(bytes as u64).to_string();
        let over = 100.0 * (self.arena_bytes as f64 / self.max_live_bytes.max(1) as f64 - 1.0);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "weights          {:>10}", size(self.weights_bytes));
        if !self.streaming.groups.is_empty() {
            let _ = writeln!(
                text,
                "weights' slots   {:>10}  (copied into them: {} before the loop, {} in every step)",
                size(2 * self.streaming.slot_bytes),
                size(self.streaming.once_bytes),
                size(self.streaming.step_bytes)
            );
        }
        let _ = writeln!(text, "constants        {:>10}", size(self.constants_bytes));
        let _ = writeln!(
            text,
            "arena            {:>10}  ({over:.1}% above the largest live sum, {}; without sharing {})",
            size(self.arena_bytes),
            size(self.max_live_bytes),
            size(self.unshared_bytes)
        );
        let _ = write!(text, "peak             {:>10}", size(self.peak_bytes));
        let Some(launch) = self.launches.get(self.peak_launch) else { return text };
        let node = &graph.nodes[launch.node];
        let _ = write!(
            text,
            "\nmost live at {} ({}), launch {} of {}:",
            node.name,
            node.op.kind(),
            self.peak_launch,
            self.launches.len()
        );
        let live = self.live_at(self.peak_launch);
        let (shown, rest) = live.split_at(live.len().min(SHOWN_TENSORS));
        let width = shown.iter().map(|t| graph.tensors[*t].name.len()).max().unwrap_or(0).max(14);
        for index in shown {
            let tensor = &graph.tensors[*index];
            let bytes = size(self.allocated_bytes[*index]);
            let chunked = if self.chunked[*index] { ", one row range" } else { "" };
            let _ = write!(
                text,
                "\n  {:width$} {bytes:>10}  {:?} {}{chunked}",
                tensor.name, tensor.shape, tensor.format.element
            );
        }
        if !rest.is_empty() {
            let more = format!("{} more", rest.len());
            let bytes = rest.iter().map(|t| self.allocated_bytes[*t]).sum();
            let _ = write!(text, "\n  {more:width$} {:>10}", size(bytes));
        }
        text
    }

    /// Tensors that are live at a launch, the largest first.
    fn live_at(&self, launch: usize) -> Vec<usize> {
        let is_live = |t: &usize| self.live[*t].as_ref().is_some_and(|range| range.contains(&launch));
        let mut live: Vec<usize> = (0..self.live.len()).filter(is_live).collect();
        live.sort_by_key(|t| std::cmp::Reverse(self.allocated_bytes[*t]));
        live
    }

    /// All launches, for people.
    pub fn table(&self, graph: &Graph) -> String {
        let mut text = format!("{:>4} {:4} {:44} {:16} {:>15} {:>10}", "#", "when", "node", "op", "rows", "live");
        for ((i, launch), live) in self.launches.iter().enumerate().zip(self.live_bytes()) {
            let node = &graph.nodes[launch.node];
            let rows = launch.rows.as_ref().map_or_else(String::new, |r| format!("{}..{}", r.start, r.end));
            let mark = if i == self.peak_launch { " <- peak" } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n{i:>4} {:4} {:44} {:16} {rows:>15} {:>10}{mark}",
                phase_name(node.phase),
                node.name,
                node.op.kind(),
                ByteSize(live as u64).to_string(),
            );
        }
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
                    "element": tensor.format.element.to_string(),
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
            "streamed": {
                "slot_bytes": self.streaming.slot_bytes,
                "once_bytes": self.streaming.once_bytes,
                "step_bytes": self.streaming.step_bytes,
                "groups": self.streaming.groups.len(),
            },
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
