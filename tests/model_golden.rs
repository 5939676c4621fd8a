//! The whole decode against the public code's float32 outputs (tests/golden/README.md). On the CPU: every velocity, every
//! tap and the image of all seven cases, relative L2 at most 2e-4. In bf16 (the emulator, or the GPU that
//! `PID_TEST_DEVICE` names; the kernels of sm_90a on the emulator): image and velocities at most as far off as the public
//! code's own bf16 run. CI runs at least three cases on either family of kernels; the set's others, and full-size networks, are the
//! tests called `_full_`.

#![allow(clippy::unwrap_used)]

mod model;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use model::{path, relative_l2};
use pid_engine::checkpoint::{Checkpoint, synthetic};
use pid_engine::exec::Observer;
use pid_engine::latent::{Caption, Latent, Sigma};
use pid_engine::models::pid::Config;
use pid_engine::progress::NoProgress;
use pid_engine::sampler::{NoiseSource, Sampler};
use pid_engine::{Decoder, Device, Request};

/// Of everything on the CPU.
const BOUND: f64 = 2e-4;

/// Full-size cases hold 2.8 GB of weights each: one at a time.
static MEMORY: Mutex<()> = Mutex::new(());

/// Compares what passes by with the golden tensors of the same name.
struct Comparer<'a> {
    golden: &'a Checkpoint,
    /// `[max_tokens, D]`.
    position: Vec<f32>,
    /// Caption tokens.
    text: usize,
    errors: BTreeMap<String, f64>,
}

impl Observer for Comparer<'_> {
    fn wants_taps(&self) -> bool {
        true
    }

    fn tap(&mut self, step: Option<usize>, name: &str, values: &[f32]) {
        // What is computed once is stored with step 1.
        let key = format!("fp32.step{}.{name}", step.unwrap_or(1));
        if let Some(expected) = self.golden.get(&key) {
            let width = expected.shape.last().copied().unwrap_or_default();
            let mut expected = expected.to_f32();
            if name == "y_embedder" {
                // The public module stops before the position embedding, our op adds it.
                let position = &self.position[..self.text * width];
                expected.iter_mut().zip(position.iter().cycle()).for_each(|(e, p)| *e += p);
            }
            if name == "t_embedder" {
                // One time for the whole batch; the public code repeats it.
                expected.truncate(values.len());
            }
            self.errors.insert(key, relative_l2(values, &expected));
        }
    }
}

/// A golden case, ready to be decoded.
struct Case {
    name: &'static str,
    golden: Checkpoint,
    decoder: Decoder,
    latent: Latent,
    request: Request,
    /// `[max_tokens, D]`.
    position: Vec<f32>,
}

impl Case {
    fn new(name: &'static str, device: Device) -> Self {
        let golden = Checkpoint::open(&path(&format!("tests/golden/{name}.safetensors"))).unwrap();
        let meta = |key: &str| golden.metadata()[key].clone();
        let number = |key: &str| meta(key).parse::<usize>().unwrap();
        let config = Config::from_json(&meta("config")).unwrap();
        let (batch, height, width) = (number("batch"), number("height"), number("width"));
        let (text, seed) = (number("text_length"), meta("seed").parse::<u64>().unwrap());
        let per = config.pixels_per_latent();

        let shape = [batch, config.lq_latent_channels, height / per, width / per];
        let latent = Latent::new(synthetic::latent(&shape, seed), shape).unwrap();
        let shape = [batch, text, config.txt_embed_dim];
        let caption = Caption::new(synthetic::caption(&shape, seed), shape).unwrap();
        let noise = (0..4).map(|k| synthetic::noise(&[batch, 3, height, width], k, seed)).collect();
        let sigma = Sigma::new(golden.get("sigma").unwrap().to_f32()).unwrap();
        let request = Request { caption, sigma, steps: 4, sampler: Sampler::Sde, noise: NoiseSource::Given(noise) };

        let checkpoint = Checkpoint::synthetic(&config, seed, &NoProgress);
        let position = checkpoint.get("y_pos_embedding").unwrap().to_f32();
        let decoder = Decoder::builder().config(config).device(device).build(checkpoint).unwrap();
        Self { name, golden, decoder, latent, request, position }
    }

    /// Relative L2 of everything that is stored, by name.
    fn errors(&self) -> BTreeMap<String, f64> {
        let (text, position) = (self.request.caption.tokens, self.position.clone());
        let mut comparer = Comparer { golden: &self.golden, position, text, errors: BTreeMap::new() };
        let decoded = self.decoder.decode_observed(&self.latent, &self.request, &mut comparer).unwrap();
        let mut errors = comparer.errors;
        errors.insert("fp32.image".into(), self.image_error(&decoded.picture.data));
        let stored: Vec<&str> = self.golden.names().filter(|n| n.starts_with("fp32.")).collect();
        let unseen: Vec<_> = stored.iter().filter(|n| !errors.contains_key(**n)).collect();
        assert!(unseen.is_empty(), "{}: nothing was compared with {unseen:?}", self.name);
        errors
    }

    fn image_error(&self, image: &[f32]) -> f64 {
        relative_l2(image, &self.golden.get("fp32.image").unwrap().to_f32())
    }
}

fn report(name: &str, errors: &BTreeMap<String, f64>) -> String {
    let mut text = String::new();
    for (key, error) in errors {
        writeln!(text, "{name} {key}: {error:.2e}").unwrap();
    }
    println!("{text}");
    text
}

fn run(name: &'static str) {
    let _one = MEMORY.lock().unwrap_or_else(|e| e.into_inner());
    let errors = Case::new(name, Device::Cpu).errors();
    let report = report(name, &errors);
    let worst = errors.values().copied().fold(0.0, f64::max);
    assert!(worst <= BOUND, "{name}: worst relative L2 {worst:.2e} is above {BOUND:.0e}\n{report}");
}

/// How far the public code's bf16 run is from its float32 run.
#[derive(serde::Deserialize)]
struct Bf16Error {
    image: f64,
    velocity: Vec<f64>,
}

/// The device that computes in bf16.
fn bf16_device() -> Device {
    std::env::var("PID_TEST_DEVICE").map_or(Device::EMULATOR, |name| name.parse().unwrap())
}

fn run_bf16(name: &'static str) {
    within_bf16(name, bf16_device());
}

/// The image by the kernels of sm_90a, on the emulator whatever `PID_TEST_DEVICE` says: a GPU takes them, or not, by itself.
#[cfg(feature = "emulator")]
fn run_sm_90a(name: &'static str) {
    let _one = MEMORY.lock().unwrap_or_else(|e| e.into_inner());
    image_within_bf16(&Case::new(name, Device::EMULATOR_SM_90A));
}

/// Unobserved, the last pixel block ends the sampler's step too, and a GPU replays one recording.
fn image_within_bf16(case: &Case) -> Bf16Error {
    let allowed: Bf16Error = serde_json::from_str(&case.golden.metadata()["bf16_error"]).unwrap();
    let decoded = case.decoder.decode(&case.latent, &case.request).unwrap();
    let (name, image) = (case.name, case.image_error(&decoded.picture.data));
    println!("{name} on {}: image {image:.2e}, allowed {:.2e}", case.decoder.device_name(), allowed.image);
    assert!(image <= allowed.image, "{name}: image {image:.3e} is above {:.3e}", allowed.image);
    allowed
}

fn within_bf16(name: &'static str, device: Device) {
    let _one = MEMORY.lock().unwrap_or_else(|e| e.into_inner());
    let case = Case::new(name, device);
    let allowed = image_within_bf16(&case);
    let errors = case.errors();
    let report = report(name, &errors);
    assert!(errors["fp32.image"] <= allowed.image, "{name}, observed: image above {:.3e}\n{report}", allowed.image);
    let velocity = |k: usize| errors.get(&format!("fp32.step{k}.velocity"));
    let stored = allowed.velocity.iter().enumerate().filter_map(|(k, bound)| Some((k, *bound, *velocity(k)?)));
    assert!(stored.clone().count() >= 2, "{name}: too few velocities stored");
    for (k, bound, error) in stored {
        assert!(error <= bound, "{name}: velocity of step {k} is {error:.3e}, above {bound:.3e}\n{report}");
    }
}

#[test]
fn tiny_v1_flux() {
    run("tiny_v1_flux");
}

#[test]
fn tiny_v1_flux_b2() {
    run("tiny_v1_flux_b2");
}

#[test]
fn tiny_v15_flux() {
    run("tiny_v15_flux");
}

#[test]
fn tiny_v15_flux2() {
    run("tiny_v15_flux2");
}

#[test]
fn tiny_v15_flux_wide() {
    run("tiny_v15_flux_wide");
}

#[test]
fn full_v1_flux() {
    run("full_v1_flux");
}

#[test]
fn full_v15_flux() {
    run("full_v15_flux");
}

#[test]
#[cfg(feature = "emulator")]
fn bf16_tiny_v1_flux() {
    run_bf16("tiny_v1_flux");
}

#[test]
#[ignore = "slow: CI runs it"]
#[cfg(feature = "emulator")]
fn bf16_tiny_v1_flux_b2() {
    let _one = MEMORY.lock().unwrap_or_else(|e| e.into_inner());
    image_within_bf16(&Case::new("tiny_v1_flux_b2", bf16_device()));
}

#[test]
#[cfg(feature = "emulator")]
fn bf16_tiny_v15_flux() {
    run_bf16("tiny_v15_flux");
}

#[test]
#[ignore = "minutes on the emulator; for GPUs, or on request"]
#[cfg(feature = "emulator")]
fn bf16_full_set_v15_flux2() {
    run_bf16("tiny_v15_flux2");
}

#[test]
#[ignore = "minutes on the emulator; for GPUs, or on request"]
#[cfg(feature = "emulator")]
fn bf16_full_set_v15_flux_wide() {
    run_bf16("tiny_v15_flux_wide");
}

#[test]
#[cfg(feature = "emulator")]
fn sm_90a_tiny_v1_flux() {
    // Velocities as well.
    within_bf16("tiny_v1_flux", Device::EMULATOR_SM_90A);
}

#[test]
#[ignore = "slow: CI runs it"]
#[cfg(feature = "emulator")]
fn sm_90a_tiny_v1_flux_b2() {
    run_sm_90a("tiny_v1_flux_b2");
}

#[test]
#[cfg(feature = "emulator")]
fn sm_90a_tiny_v15_flux() {
    run_sm_90a("tiny_v15_flux");
}

#[test]
#[ignore = "slow: CI runs it"]
#[cfg(feature = "emulator")]
fn sm_90a_tiny_v15_flux2() {
    run_sm_90a("tiny_v15_flux2");
}

#[test]
#[ignore = "minutes on the emulator; for GPUs, or on request"]
#[cfg(feature = "emulator")]
fn sm_90a_full_set_v15_flux_wide() {
    run_sm_90a("tiny_v15_flux_wide");
}

/// Bytes of weights told last.
#[derive(Default)]
#[cfg(feature = "emulator")]
struct Uploads {
    done: usize,
    total: usize,
}

#[cfg(feature = "emulator")]
impl Observer for Uploads {
    fn uploaded(&mut self, done: usize, total: usize) {
        (self.done, self.total) = (done, total);
    }
}

/// The same bits from every decode, though persistent blocks share the work as they come.
#[test]
#[cfg(feature = "emulator")]
fn sm_90a_decodes_are_bit_equal() {
    let case = Case::new("tiny_v1_flux", Device::EMULATOR_SM_90A);
    let request = Request { steps: 1, ..case.request.clone() };
    let mut uploads = Uploads::default();
    let first = case.decoder.decode_observed(&case.latent, &request, &mut uploads).unwrap().picture;
    assert!(first == case.decoder.decode(&case.latent, &request).unwrap().picture);
    let Uploads { done, total } = uploads;
    assert!(total > 0 && done == total, "{done} of {total} bytes: what was missing is what was made");
}

#[test]
#[ignore = "minutes on the emulator; for GPUs, or on request"]
fn bf16_full_v1_flux() {
    run_bf16("full_v1_flux");
}

#[test]
#[ignore = "minutes on the emulator; for GPUs, or on request"]
fn bf16_full_v15_flux() {
    run_bf16("full_v15_flux");
}

#[test]
#[ignore = "minutes on the emulator; for GPUs, or on request"]
#[cfg(feature = "emulator")]
fn sm_90a_full_v1_flux() {
    run_sm_90a("full_v1_flux");
}

#[test]
#[ignore = "minutes on the emulator; for GPUs, or on request"]
#[cfg(feature = "emulator")]
fn sm_90a_full_v15_flux() {
    run_sm_90a("full_v15_flux");
}
