//! Work counts against the table of the design: 10^12 FLOP for each part of the network, as computed by hand from the
//! model's shapes.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use pid_engine::graph::op::{Stream, Tokens};
use pid_engine::graph::{Graph, Node, Op, Phase, Work};
use pid_engine::models::pid::{Config, NetworkOptions, Policy, program};
use pid_engine::plan::ByteSize;

const STEPS: usize = 4;

/// A row of the table: what is printed for 1024^2, 2048^2 and 4096^2.
type Row = (&'static str, [&'static str; 3]);

const EACH_STEP: [Row; 7] = [
    ("patch attention", ["1.65", "23.9", "372.7"]),
    ("pixel attention", ["0.16", "2.47", "39.6"]),
    ("image linears", ["3.25", "13.0", "52.0"]),
    ("text linears", ["0.23", "0.23", "0.23"]),
    ("pixel adaLN", ["0.62", "2.47", "9.90"]),
    ("compress, qkv, proj, expand", ["0.24", "0.97", "3.87"]),
    ("pixel MLP", ["0.01", "0.03", "0.14"]),
];
const ADAPTER_V15: Row = ("adapter", ["0.80", "3.20", "12.8"]);
const ADAPTER_V1: Row = ("adapter", ["0.36", "1.42", "5.7"]);
const DECODE: [Row; 2] =
    [("after the exact savings", ["25.4", "175", "1926"]), ("as written", ["27.9", "185", "1966"])];
const EXPS: [&str; 3] = ["0.03", "0.41", "6.4"];

/// Printed values that are rounded up twice (0.1546, 0.3549): off by up to a whole unit of the last digit.
const ROUNDED_TWICE: [&str; 2] = ["0.16", "0.36"];

/// Within 1%, or within what the printed digits leave open: half a unit of the last one.
fn agrees(value: f64, printed: &str, what: &str) {
    let expected: f64 = printed.parse().unwrap();
    let digits = printed.split('.').nth(1).map_or(0, str::len) as i32;
    let units = if ROUNDED_TWICE.contains(&printed) { 1.0 } else { 0.5 };
    let tolerance = (0.01 * expected).max(units * 10f64.powi(-digits));
    assert!((value - expected).abs() <= tolerance, "{what}: {value:.4}, the table says {printed} (+- {tolerance:.4})");
}

fn options(side: usize) -> NetworkOptions {
    NetworkOptions::new(1, 300, [side, side], Policy::BF16)
}

fn stream_rows(tokens: Tokens, stream: Stream) -> u64 {
    (tokens.batch * if stream == Stream::Text { tokens.text } else { tokens.image() }) as u64
}

/// FLOP of the node by row of the table. An op that does several things is taken apart.
fn parts(graph: &Graph, node: &Node) -> Vec<(&'static str, u64)> {
    let flop = graph.work(node, None).flop;
    let pixel = node.name.starts_with("pixel_blocks");
    let linears = |tokens: Tokens, streams: Vec<Stream>, per_row: usize| {
        let of = |stream| if stream == Stream::Text { "text linears" } else { "image linears" };
        let parts: Vec<_> = streams.iter().map(|s| (of(*s), 2 * stream_rows(tokens, *s) * per_row as u64)).collect();
        assert_eq!(parts.iter().map(|(_, f)| f).sum::<u64>(), flop, "{}", node.name);
        parts
    };
    match &node.op {
        Op::Attention(_) => vec![(if pixel { "pixel attention" } else { "patch attention" }, flop)],
        Op::QkvProject(_) if pixel => vec![("compress, qkv, proj, expand", flop)],
        Op::QkvProject(op) => {
            let streams = op.streams.iter().map(|s| s.stream).collect();
            linears(op.tokens, streams, 3 * op.heads * op.head_dim * op.in_features)
        }
        Op::Glu(op) => linears(op.tokens, op.streams.iter().map(|s| s.stream).collect(), 2 * op.inner * op.hidden),
        Op::GatedResidual(op) => {
            linears(op.tokens, op.streams.iter().map(|s| s.stream).collect(), op.hidden * op.in_features)
        }
        Op::PixelModulate(_) => vec![("pixel adaLN", flop)],
        Op::Linear(_) if pixel => vec![("compress, qkv, proj, expand", flop)],
        Op::PixelUpdate(op) => {
            let (rows, row) = ((op.tokens.batch * op.tokens.image()) as u64, op.patch * op.patch * op.channels);
            let modulation = 2 * rows * (4 * row * op.hidden) as u64;
            let expand = 2 * rows * (row * op.attention_width) as u64;
            let mlp = 2 * rows * (2 * row * op.mlp_width) as u64;
            let last = if op.sample.is_some() { 2 * rows * 3 * row as u64 } else { 0 };
            assert_eq!(modulation + expand + mlp + last, flop);
            vec![
                ("pixel adaLN", modulation),
                ("compress, qkv, proj, expand", expand),
                ("pixel MLP", mlp),
                ("ends", last),
            ]
        }
        _ if node.phase == Phase::Once && node.name.contains("lq") => vec![("adapter", flop)],
        _ => vec![("ends", flop)],
    }
}

/// 10^12 FLOP by row, of one step (of the decode, for the adapter); the graph's, after the exact savings.
fn table(graph: &Graph) -> BTreeMap<&'static str, f64> {
    let mut sums = BTreeMap::new();
    for (row, flop) in graph.nodes.iter().flat_map(|n| parts(graph, n)) {
        *sums.entry(row).or_insert(0.0) += flop as f64 / 1e12;
    }
    sums
}

/// What the savings took from a step: the pixel blocks' projection (merged into the expansion).
fn merged_projection(config: &Config, tokens: usize) -> f64 {
    let width = config.pixel_attn_hidden_size;
    (2 * config.pixel_depth * tokens * width * width) as f64 / 1e12
}

/// The last block's text branch: its queries' attention and what follows; the queries' own projection is still computed.
fn last_text_branch(config: &Config, tokens: usize) -> [f64; 2] {
    let (d, inner, text) = (config.hidden_size, config.ffn_inner(), config.txt_max_length);
    let attention = 4 * text * (tokens + text) * d;
    let linears = 2 * text * (d * d + 3 * d * inner);
    [attention as f64 / 1e12, linears as f64 / 1e12]
}

fn check(config: &Config, adapter: &Row) {
    for (column, side) in [1024, 2048, 4096].into_iter().enumerate() {
        let program = program(config, &options(side), None).unwrap();
        let tokens = (side / 16) * (side / 16);
        let found = table(&program.graph);
        let of = |row: &str| match row {
            // The table counts this row as written, and the others after the savings.
            "compress, qkv, proj, expand" => found[row] + merged_projection(config, tokens),
            _ => found[row],
        };
        for (row, printed) in EACH_STEP.iter().chain([adapter]) {
            println!("{side} {row}: {:.4} ({})", of(row), printed[column]);
            agrees(of(row), printed[column], &format!("{side} {row}"));
        }
        if *config != flux_v15() {
            continue;
        }
        let step: f64 = EACH_STEP.iter().map(|(row, _)| found[row]).sum();
        let saved = STEPS as f64 * step + found["adapter"];
        let [attention, linears] = last_text_branch(config, tokens);
        let written =
            STEPS as f64 * (step + attention + linears + merged_projection(config, tokens) + found["adapter"]);
        for ((row, printed), value) in DECODE.iter().zip([saved, written]) {
            println!("{side} {row}: {value:.3} ({})", printed[column]);
            agrees(value, printed[column], &format!("{side} decode {row}"));
        }
    }
}

fn flux_v15() -> Config {
    Config::by_name("flux-v1.5").unwrap()
}

#[test]
fn v15_does_the_work_of_the_table() {
    check(&flux_v15(), &ADAPTER_V15);
}

#[test]
fn v1_does_the_work_of_the_table() {
    check(&Config::by_name("flux-2k").unwrap(), &ADAPTER_V1);
}

#[test]
fn exponentials_of_a_decode() {
    for (side, printed) in [1024, 2048, 4096].into_iter().zip(EXPS) {
        let graph = program(&flux_v15(), &options(side), None).unwrap().graph;
        let times = |node: &Node| if node.phase == Phase::Step { STEPS } else { 1 };
        let exp: u64 = graph.nodes.iter().map(|n| graph.work(n, None).times(times(n)).exp).sum();
        agrees(exp as f64 / 1e12, printed, &format!("{side} exp"));
    }
}

/// Cutting rows changes no arithmetic; the pieces read the weights again, and nothing else.
#[test]
fn row_ranges_do_the_same_work() {
    let config = Config::tiny();
    let size = NetworkOptions { batch: 3, text_tokens: 24, width: 256, height: 288, ..options(1) };
    let whole = program(&config, &size, None).unwrap();
    let budget = ByteSize(whole.plan.peak_bytes as u64 - 1);
    let cut = program(&config, &size, Some(budget)).unwrap();
    assert!(cut.plan.launches.len() > whole.plan.launches.len(), "the budget cuts nothing");
    let sum = |program: &pid_engine::plan::Program, step: bool| {
        let graph = &program.graph;
        let mut sum = Work::default();
        for launch in &program.plan.launches {
            let node = &graph.nodes[launch.node];
            if (node.phase == Phase::Step) == step {
                sum += graph.work(node, launch.rows.as_ref());
            }
        }
        sum
    };
    for step in [false, true] {
        let (a, b) = (sum(&whole, step), sum(&cut, step));
        assert_eq!((a.flop, a.exp), (b.flop, b.exp));
        assert!(b.bytes >= a.bytes, "{} {}", a.bytes, b.bytes);
    }
}
