//! What runs on the CPU besides the network: making weights, opening and hashing checkpoints, reading pickles,
//! planning, noise; and one small decode as a whole. `cargo bench`.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pid_engine::checkpoint::{Checkpoint, synthetic};
use pid_engine::latent::{Caption, Latent};
use pid_engine::models::pid::{Config, NetworkOptions, Policy, names, program};
use pid_engine::progress::NoProgress;
use pid_engine::sampler::{Noise, NoiseSource};
use pid_engine::{Decoder, Request};

fn checkpoints(c: &mut Criterion) {
    let config = Config::tiny();
    let elements: usize = names::tensors(&config).iter().map(|t| t.shape.iter().product::<usize>()).sum();
    let mut group = c.benchmark_group("checkpoint");
    group.throughput(Throughput::Elements(elements as u64));
    group.bench_function("synthesize tiny", |b| b.iter(|| Checkpoint::synthetic(&config, black_box(1), &NoProgress)));
    let whole = Checkpoint::synthetic(&config, 1, &NoProgress);
    group.bench_function("check tiny", |b| b.iter(|| whole.check(black_box(&config))));
    group.finish();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    c.bench_function("open safetensors", |b| b.iter(|| Checkpoint::open(&golden.join("tiny_v1_flux.safetensors"))));
    c.bench_function("open pth", |b| b.iter(|| Checkpoint::open(&golden.join("pth/nested.pth"))));
}

fn plans(c: &mut Criterion) {
    for (name, side) in [("flux-v1.5", 2048), ("flux-v1.5", 4096)] {
        let config = Config::by_name(name).expect("a known name");
        let options = NetworkOptions::new(1, 300, [side, side], Policy::BF16);
        c.bench_function(&format!("plan {name} {side}x{side}"), |b| b.iter(|| program(&config, &options, None)));
    }
}

fn noise(c: &mut Criterion) {
    let mut out = vec![0.0; 3 * 1024 * 1024];
    let mut group = c.benchmark_group("noise");
    group.throughput(Throughput::Elements(out.len() as u64));
    group.bench_function("philox", |b| {
        b.iter(|| Noise::new(NoiseSource::Philox { seed: 1 }).fill(0, &mut out));
    });
    group.bench_function("torch-cpu", |b| {
        b.iter(|| Noise::new(NoiseSource::TorchCpu { seed: 1 }).fill(0, &mut out));
    });
    group.finish();
}

fn decode(c: &mut Criterion) {
    let config = Config::tiny();
    let checkpoint = Checkpoint::synthetic(&config, 0, &NoProgress);
    let decoder = Decoder::builder().build(checkpoint).expect("the config's own checkpoint");
    let latent = Latent::new(synthetic::latent(&[1, 16, 8, 8], 0), [1, 16, 8, 8]).expect("finite values");
    let caption = Caption::new(synthetic::caption(&[1, 24, 64], 0), [1, 24, 64]).expect("finite values");
    let request = Request::new(caption);
    let mut group = c.benchmark_group("decode");
    group.sample_size(10);
    group.bench_function("tiny 256x256", |b| b.iter(|| decoder.decode(&latent, &request)));
    group.finish();
}

criterion_group!(benches, checkpoints, plans, noise, decode);
criterion_main!(benches);
