//! A second network, of ten lines: embedded ids through a gated MLP. It runs on the CPU and on kernels, and nothing but this
//! file knows of it.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use pid_engine::backend::cpu::CpuBackend;
use pid_engine::exec::{self, Backend, ExecError, Input, NoObserver, Output};
use pid_engine::graph::op::{
    Activation, Affine, Attention, Conv3x3, ConvInput, GatedResidual, GatedResidualStream, Glu, GluStream, Lookup,
    Mask, Norm, NormKind, Padding, Stream, Tokens,
};
use pid_engine::graph::{ElementType, Graph, GraphError, Op, Phase, Role, TensorId, fuse};
use pid_engine::plan::{PlanOptions, Program};
use pid_engine::sampler::{Noise, NoiseSource};
use pid_engine::weights::{DType, Recipe, TensorSource, TensorView, Weight};

const ROWS: usize = 37;
const ENTRIES: usize = 11;
const HIDDEN: usize = 64;
const INNER: usize = 96;

/// `x = table[ids]; output = x + w2 (silu(w1 rms(x)) * (w3 rms(x)))`.
fn network(inner: ElementType) -> Result<Graph, GraphError> {
    let mut g = Graph::default();
    let ids = g.tensor("ids", &[1, ROWS], ElementType::I32, Role::Input);
    let output = g.tensor("output", &[1, ROWS, HIDDEN], ElementType::F32, Role::Output);
    let between = g.tensor("between", &[1, ROWS, INNER], inner, Role::Temporary);
    let mut weight = |rows, cols, name: &str| g.weight(Weight::new(rows, cols, Recipe::Stored(name.into())));
    let (table, norm) = (weight(ENTRIES, HIDDEN, "table"), weight(1, HIDDEN, "norm"));
    let affine = Affine { weight: weight(HIDDEN, INNER, "w2"), bias: None };
    let recipe = Recipe::Interleave { even: "w1".into(), odd: "w3".into() };
    let weight = g.weight(Weight::new(2 * INNER, HIDDEN, recipe));
    let (stream, tokens) = (Stream::Image, Tokens { batch: 1, text: 0, grid_rows: 1, grid_cols: ROWS });
    let lookup = Lookup { rows: ROWS, ids, output, table, entries: ENTRIES, width: HIDDEN, emit: None };
    g.push("embed", Phase::Once, Op::Lookup(lookup))?;
    let norm = Norm::rms(norm, None);
    let streams = vec![GluStream { stream, input: output, norm, weight, sums: None }];
    g.push("gate", Phase::Once, Op::Glu(glu(tokens, streams, between)))?;
    let streams = vec![GatedResidualStream { stream, residual: output, affine, gate: None, emit: None }];
    let op = GatedResidual { tokens, input: between, streams, in_features: INNER, hidden: HIDDEN };
    g.push("back", Phase::Once, Op::GatedResidual(op))?;
    Ok(g)
}

fn glu(tokens: Tokens, streams: Vec<GluStream>, output: TensorId) -> Glu {
    Glu { tokens, streams, output, hidden: HIDDEN, inner: INNER, activation: Activation::Silu }
}

/// Small numbers that bf16 holds.
#[derive(Debug)]
struct Weights(HashMap<&'static str, (Vec<usize>, Vec<u8>)>);

impl Weights {
    fn new() -> Self {
        let shapes: [(&str, [usize; 2]); 5] = [
            ("table", [ENTRIES, HIDDEN]),
            ("norm", [1, HIDDEN]),
            ("w1", [INNER, HIDDEN]),
            ("w3", [INNER, HIDDEN]),
            ("w2", [HIDDEN, INNER]),
        ];
        let tensor = |(name, shape): (&'static str, [usize; 2])| {
            let value = |i: usize| ((i * 7919 + name.len() * 31) % 33) as f32 / 64.0 - 0.25;
            let bytes = (0..shape[0] * shape[1]).flat_map(|i| value(i).to_le_bytes()).collect();
            (name, (shape.to_vec(), bytes))
        };
        Self(shapes.map(tensor).into())
    }

    fn values(&self, name: &str) -> Vec<f64> {
        self.tensor(name).unwrap().to_f32().into_iter().map(f64::from).collect()
    }
}

impl TensorSource for Weights {
    fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.0.get(name).map(|(shape, bytes)| TensorView::plain(DType::F32, shape, bytes))
    }
}

/// The definition, in float64.
fn expected(ids: &[i32]) -> Vec<f64> {
    let weights = Weights::new();
    let [table, norm, w1, w3, w2] = ["table", "norm", "w1", "w3", "w2"].map(|name| weights.values(name));
    let dot = |w: &[f64], row: usize, x: &[f64]| w[row * x.len()..][..x.len()].iter().zip(x).map(|(w, x)| w * x).sum();
    let row = |id: &i32| -> Vec<f64> {
        let x = &table[*id as usize * HIDDEN..][..HIDDEN];
        let rms = (x.iter().map(|x| x * x).sum::<f64>() / HIDDEN as f64 + 1e-6).sqrt();
        let z: Vec<f64> = x.iter().zip(&norm).map(|(x, w)| x / rms * w).collect();
        let gated = |i| {
            let (a, b): (f64, f64) = (dot(&w1, i, &z), dot(&w3, i, &z));
            a / (1.0 + (-a).exp()) * b
        };
        let inner: Vec<f64> = (0..INNER).map(gated).collect();
        x.iter().enumerate().map(|(i, x)| x + dot(&w2, i, &inner)).collect()
    };
    ids.iter().flat_map(row).collect()
}

fn run(backend: &dyn Backend, program: &Program, ids: &[i32]) -> Result<Vec<f32>, ExecError> {
    let (inputs, output) = ([Input::ids("ids", ids)], Output { name: "output", range: [-1e3, 1e3] });
    let mut noise = Noise::new(NoiseSource::Philox { seed: 0 });
    exec::run(backend, program, &inputs, &[], output, &mut noise, &mut NoObserver)
}

fn program(inner: ElementType, fused: bool) -> Program {
    let mut graph = network(inner).unwrap();
    if fused {
        fuse(&mut graph, ElementType::Bf16).unwrap();
    }
    Program::new(graph, &PlanOptions::default(), String::new()).unwrap()
}

fn relative_l2(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let sum = |f: &dyn Fn(f64, f64) -> f64| found.iter().zip(expected).map(|(x, y)| f(f64::from(*x), *y)).sum::<f64>();
    (sum(&|x, y| (x - y) * (x - y)) / sum(&|_, y| y * y)).sqrt()
}

fn ids() -> Vec<i32> {
    (0..ROWS as i32).map(|i| i * 5 % ENTRIES as i32).collect()
}

#[test]
fn on_the_cpu() {
    let backend = CpuBackend::new(Arc::new(Weights::new()));
    let ids = ids();
    let (plain, fused) = (program(ElementType::F32, false), program(ElementType::Bf16, true).float32_twin().unwrap());
    for program in [plain, fused] {
        let error = relative_l2(&run(&backend, &program, &ids).unwrap(), &expected(&ids));
        assert!(error < 1e-6, "{error:e}");
    }
}

#[test]
#[cfg(feature = "emulator")]
fn on_kernels() {
    use pid_engine::backend::emulator::Emulator;
    let program = program(ElementType::Bf16, true);
    pid_engine::kernels::supports(&program.graph).unwrap();
    let ids = ids();
    for capability in [(8, 0), (9, 0)] {
        let backend = Emulator::default().with_capability(capability).backend(Arc::new(Weights::new()));
        let error = relative_l2(&run(&backend, &program, &ids).unwrap(), &expected(&ids));
        assert!(error < 5e-3, "{capability:?}: {error:e}");
    }
}

#[test]
fn ids_beyond_the_table_are_seen() {
    let program = program(ElementType::F32, false);
    let backend = CpuBackend::new(Arc::new(Weights::new()));
    for wrong in [ENTRIES as i32, -1, i32::MAX, i32::MIN] {
        let mut ids = ids();
        ids[3] = wrong;
        let error = run(&backend, &program, &ids).unwrap_err();
        assert!(matches!(error, ExecError::NotFinite { index, .. } if index / HIDDEN == 3), "{wrong}: {error}");
    }
    let error = run(&backend, &program, &ids()[1..]).unwrap_err().to_string();
    assert_eq!(error, "ids: 36 ids, expected 37 of i32");
    let floats = [Input::floats("ids", &[0.0; ROWS])];
    let output = Output { name: "output", range: [-1.0, 1.0] };
    let mut noise = Noise::new(NoiseSource::Philox { seed: 0 });
    let error = exec::run(&backend, &program, &floats, &[], output, &mut noise, &mut NoObserver).unwrap_err();
    assert_eq!(error.to_string(), "ids: 37 numbers, expected 37 of i32");
}

/// Two samples of five tokens, two heads of keys for four of queries; `change` makes of it what is tested.
fn attention(head: usize, change: fn(&mut Attention, TensorId)) -> Result<Graph, GraphError> {
    let mut g = Graph::default();
    let mut input = |name, shape: &[usize]| g.tensor(name, shape, ElementType::F32, Role::Input);
    let (q, k, v) = (input("q", &[2, 4, 5, head]), input("k", &[2, 2, 5, head]), input("v", &[2, 2, 5, head]));
    let lengths = g.tensor("lengths", &[2], ElementType::I32, Role::Input);
    let output = g.tensor("output", &[2, 5, 4 * head], ElementType::F32, Role::Output);
    let tokens = Tokens { batch: 2, text: 0, grid_rows: 1, grid_cols: 5 };
    let mut op = Attention { kv_heads: 2, ..Attention::of_all([q, k, v], output, tokens, [4, head], 0) };
    change(&mut op, lengths);
    g.push("attention", Phase::Once, Op::Attention(op))?;
    Ok(g)
}

#[test]
fn attention_of_a_language_model() {
    let graph = attention(8, |op, lengths| (op.mask, op.lengths, op.soft_cap) = (Mask::Causal, Some(lengths), Some(2)));
    let program = Program::new(graph.unwrap(), &PlanOptions::default(), String::new()).unwrap();
    let values = |n: usize, seed: usize| -> Vec<f32> { (0..n).map(|i| ((i * seed) % 17) as f32 / 4.0 - 2.0).collect() };
    let (q, k, v) = (values(2 * 4 * 5 * 8, 31), values(2 * 2 * 5 * 8, 43), values(2 * 2 * 5 * 8, 59));
    let lengths = [5, 2];
    let inputs =
        [Input::floats("q", &q), Input::floats("k", &k), Input::floats("v", &v), Input::ids("lengths", &lengths)];
    let backend = CpuBackend::new(Arc::new(Weights::new()));
    let mut noise = Noise::new(NoiseSource::Philox { seed: 0 });
    let output = Output { name: "output", range: [-1e3, 1e3] };
    let found = exec::run(&backend, &program, &inputs, &[], output, &mut noise, &mut NoObserver).unwrap();
    let mut expected = Vec::new();
    for (sample, length) in lengths.into_iter().enumerate() {
        for (i, h) in (0..5).flat_map(|i| (0..4).map(move |h| (i, h))) {
            let row = |x: &[f32], head: usize, n: usize| -> Vec<f64> {
                x[(head * 5 + n) * 8..][..8].iter().map(|v| f64::from(*v)).collect()
            };
            let (query, head) = (row(&q, sample * 4 + h, i), sample * 2 + h / 2);
            let seen = 0..(i + 1).min(length as usize);
            let score = |j: usize| -> f64 { row(&k, head, j).iter().zip(&query).map(|(k, q)| k * q).sum() };
            let weights: Vec<f64> = seen.map(|j| (2.0 * (score(j) / 8f64.sqrt() / 2.0).tanh()).exp()).collect();
            let sum: f64 = weights.iter().sum();
            expected.extend(
                (0..8).map(|c| weights.iter().enumerate().map(|(j, w)| w * row(&v, head, j)[c]).sum::<f64>() / sum),
            );
        }
    }
    let error = relative_l2(&found, &expected);
    assert!(error < 1e-6, "{error:e}");
}

#[test]
fn attention_that_is_refused() {
    let refused = |change| attention(8, change).unwrap_err().to_string();
    let text = refused(|op, _| op.kv_heads = 3);
    assert!(text.contains("4 heads of queries for 3 of keys, expected a multiple"), "{text}");
    let text = refused(|op, _| op.soft_cap = Some(0));
    assert!(text.contains("capped to 0"), "{text}");
    let text = refused(|op, _| op.lengths = Some(op.q));
    assert!(text.contains("q: [2, 4, 5, 8], expected [2]"), "{text}");
}

#[test]
fn kernels_name_what_they_do_not_compute() {
    fn refused(change: fn(&mut Attention, TensorId)) -> String {
        pid_engine::kernels::supports(&attention(64, change).unwrap()).unwrap_err().to_string()
    }
    let text = refused(|_, _| ());
    assert!(
        text.contains("key heads 2: the kernels are written for as many as of queries; use --device cpu"),
        "{text}"
    );
    let alike = |change: fn(&mut Attention, TensorId)| {
        let mut g = attention(64, |_, _| ()).unwrap();
        let lengths = g.named("lengths").unwrap();
        let output = g.tensor("two", &[2, 5, 128], ElementType::F32, Role::Temporary);
        let Op::Attention(mut op) = g.nodes.remove(0).op else { panic!("an attention") };
        // Of two heads in k and v, and in what stands for q.
        (op.heads, op.q, op.output) = (2, op.k, output);
        change(&mut op, lengths);
        g.push("attention", Phase::Once, Op::Attention(op)).unwrap();
        pid_engine::kernels::supports(&g).map_err(|e| e.to_string())
    };
    assert_eq!(alike(|_, _| ()), Ok(()));
    for (change, word) in [
        ((|op, _| op.mask = Mask::Causal) as fn(&mut Attention, TensorId), "causal masks 1"),
        (|op, lengths| op.lengths = Some(lengths), "lists of lengths 1"),
        (|op, _| op.soft_cap = Some(50), "scores capped to 50"),
    ] {
        let text = alike(change).unwrap_err();
        assert!(text.contains(word), "{text}");
    }
}

/// Queries and keys that no projection has normalised: how large their products are is not known before.
#[test]
#[cfg(feature = "emulator")]
fn attention_of_inputs_on_kernels() {
    use pid_engine::backend::emulator::Emulator;
    let program = |element| {
        let mut g = Graph::default();
        let [q, k, v] = ["q", "k", "v"].map(|name| g.tensor(name, &[1, 2, 5, 64], element, Role::Input));
        let output = g.tensor("output", &[1, 5, 128], element, Role::Output);
        let tokens = Tokens { batch: 1, text: 0, grid_rows: 1, grid_cols: 5 };
        let op = Attention::of_all([q, k, v], output, tokens, [2, 64], 0);
        g.push("attention", Phase::Once, Op::Attention(op)).unwrap();
        pid_engine::kernels::supports(&g).unwrap();
        Program::new(g, &PlanOptions::default(), String::new()).unwrap()
    };
    let values = |seed: usize| -> Vec<f32> { (0..2 * 5 * 64).map(|i| ((i * seed) % 17) as f32 / 4.0 - 2.0).collect() };
    let (q, k, v) = (values(31), values(43), values(59));
    // Kernels take queries as a projection leaves them for them.
    let scaled: Vec<f32> = q.iter().map(|q| q * std::f32::consts::LOG2_E / 8.0).collect();
    let run = |backend: &dyn Backend, element, q: &[f32]| {
        let inputs = [Input::floats("q", q), Input::floats("k", &k), Input::floats("v", &v)];
        let mut noise = Noise::new(NoiseSource::Philox { seed: 0 });
        let output = Output { name: "output", range: [-1e3, 1e3] };
        exec::run(backend, &program(element), &inputs, &[], output, &mut noise, &mut NoObserver).unwrap()
    };
    let cpu = CpuBackend::new(Arc::new(Weights::new()));
    let exact: Vec<f64> = run(&cpu, ElementType::F32, &q).into_iter().map(f64::from).collect();
    for capability in [(8, 0), (9, 0)] {
        let backend = Emulator::default().with_capability(capability).backend(Arc::new(Weights::new()));
        let error = relative_l2(&run(&backend, ElementType::Bf16, &scaled), &exact);
        assert!(error < 5e-3, "{capability:?}: {error:e}");
    }
}

#[test]
fn the_weight_of_an_emitted_norm_is_read_where_it_is_emitted() {
    let mut graph = network(ElementType::Bf16).unwrap();
    let Op::Glu(op) = &graph.nodes[1].op else { panic!("a gated unit") };
    let norm = op.streams[0].norm.weight;
    assert!(!graph.nodes[0].op.weights().contains(&norm));
    fuse(&mut graph, ElementType::Bf16).unwrap();
    assert!(graph.nodes[0].op.weights().contains(&norm));
}

#[test]
fn kernels_fold_no_other_norms() {
    let mut graph = network(ElementType::Bf16).unwrap();
    let Op::Glu(op) = &mut graph.nodes[1].op else { panic!("a gated unit") };
    op.streams[0].norm.kind = NormKind::Layer;
    fuse(&mut graph, ElementType::Bf16).unwrap();
    let Op::Glu(op) = &graph.nodes[1].op else { panic!("a gated unit") };
    assert!(op.streams[0].sums.is_none(), "the norm is left to the product");
    let text = pid_engine::kernels::supports(&graph).unwrap_err().to_string();
    assert!(text.contains("gate: norms of other kinds: 1"), "{text}");
}

fn convolution(stride: usize) -> Result<Graph, GraphError> {
    let mut g = Graph::default();
    let input = g.tensor("input", &[1, 4 * 6, 32], ElementType::F32, Role::Input);
    let output = g.tensor("output", &[1, 2 * 3, 32], ElementType::F32, Role::Output);
    let weight = g.weight(Weight::new(32, 9 * 32, Recipe::ConvTaps { source: "w".into(), in_channels: 32 }));
    let op = Conv3x3 {
        tokens: Tokens { batch: 1, text: 0, grid_rows: 2, grid_cols: 3 },
        source: ConvInput::Tokens { channels: 32 },
        input,
        output,
        kernel: Affine { weight, bias: None },
        out_channels: 32,
        padding: Padding::Zeros,
        stride,
        before: 0,
        silu: false,
        accumulate: false,
    };
    g.push("down", Phase::Once, Op::Conv3x3(op))?;
    Ok(g)
}

#[test]
fn strides_are_checked() {
    let text = pid_engine::kernels::supports(&convolution(2).unwrap()).unwrap_err().to_string();
    assert!(text.contains("down: a stride of 2: the kernels are written for 1"), "{text}");
    let text = convolution(1).unwrap_err().to_string();
    assert!(text.contains("input: [1, 24, 32], expected [1, 6, 32]"), "{text}");
}
