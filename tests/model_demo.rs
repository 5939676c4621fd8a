//! The demo model (demo/README.md), the one network here whose weights are trained: what only such weights can show.
//! Numbers to hold it against are in tools/train_demo/report/evaluation.json, measured by PyTorch on the same weights.

#![allow(clippy::unwrap_used)]

mod model;

use model::{path, relative_l2};
use pid_engine::latent::dct16::{self, Statistics};
use pid_engine::latent::{Caption, Latent, Sigma, read_picture};
use pid_engine::models::pid::Config;
use pid_engine::output::Picture;
use pid_engine::sampler::NoiseSource;
use pid_engine::{Decoder, Device, Request};

const PICTURES: [&str; 2] = ["chelsea", "astronaut"];

fn evaluation() -> serde_json::Value {
    let text = std::fs::read_to_string(path("tools/train_demo/report/evaluation.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The middle square of a picture of `demo/`.
fn square(name: &str, side: usize) -> Picture {
    read_picture(&path(&format!("demo/{name}.png"))).unwrap().middle(side, side)
}

fn decoder(device: Device) -> Decoder {
    Decoder::builder().device(device).open(&path("demo/demo.safetensors")).unwrap()
}

fn encoded(picture: &Picture) -> Latent {
    dct16::encode(picture, &Statistics::default()).unwrap()
}

fn sigma(value: f32) -> Sigma {
    Sigma::new(vec![value]).unwrap()
}

/// Four steps from the noise that PyTorch draws.
fn request(decoder: &Decoder) -> Request {
    Request { noise: NoiseSource::TorchCpu { seed: 0 }, ..Request::new(Caption::zeros(decoder.config())) }
}

fn decoded(decoder: &Decoder, latent: &Latent, request: &Request) -> Picture {
    decoder.decode(latent, request).unwrap().picture
}

/// The GPU that `PID_TEST_DEVICE` names, else the emulator with both families of kernels.
fn bf16_devices() -> Vec<Device> {
    match std::env::var("PID_TEST_DEVICE") {
        Ok(name) => vec![name.parse().unwrap()],
        Err(_) if cfg!(feature = "emulator") => vec![Device::EMULATOR, Device::EMULATOR_SM_90A],
        Err(_) => Vec::new(),
    }
}

#[test]
fn weights_say_what_they_are() {
    let decoder = decoder(Device::Cpu);
    assert_eq!(decoder.config(), &Config::demo());
    let metadata = decoder.checkpoint().metadata();
    assert_eq!(Statistics::from_metadata(metadata), Ok(Some(Statistics::default())));
    assert!(Caption::is_never_given(metadata));
    let bytes = std::fs::metadata(path("demo/demo.safetensors")).unwrap().len();
    assert!(bytes <= 25_000_000, "{bytes} bytes");
}

#[test]
fn pictures_come_out_as_pytorch_measured() {
    let (decoder, evaluation) = (decoder(Device::Cpu), evaluation());
    for name in PICTURES {
        let (original, expected) = (square(name, 512), &evaluation["pictures"][name]);
        let latent = encoded(&original);
        let picture = decoded(&decoder, &latent, &request(&decoder));
        let baseline = dct16::decode(&latent, &Statistics::default()).unwrap();
        let psnr = |picture: &Picture| picture.psnr_db(&original).unwrap();
        println!("{name}: {:.3} dB, baseline {:.3} dB, expected {expected}", psnr(&picture), psnr(&baseline));
        assert!((psnr(&picture) - expected["psnr_db"].as_f64().unwrap()).abs() < 0.005, "{name}");
        assert!((psnr(&baseline) - expected["baseline_psnr_db"].as_f64().unwrap()).abs() < 0.01, "{name}");
        assert!(psnr(&picture) > psnr(&baseline), "{name}: the network is no better than none");
    }
}

/// Rounding to bf16 costs no more than it costs PyTorch, and nothing that the eye could see.
#[test]
fn bf16_kernels_are_as_exact_as_pytorch() {
    let original = square("chelsea", 256);
    let latent = encoded(&original);
    let exact = decoder(Device::Cpu);
    let exact = decoded(&exact, &latent, &request(&exact));
    let allowed = evaluation()["bf16_error"].as_f64().unwrap();
    for device in bf16_devices() {
        let decoder = decoder(device);
        let picture = decoded(&decoder, &latent, &request(&decoder));
        let error = relative_l2(&picture.data, &exact.data);
        let lost = exact.psnr_db(&original).unwrap() - picture.psnr_db(&original).unwrap();
        println!("{device}: relative L2 {error:.2e}, PyTorch {allowed:.2e}; {lost:.4} dB lost");
        assert!(error <= allowed, "{device}: relative L2 {error:.2e}, PyTorch's own bf16 run {allowed:.2e}");
        assert!(lost.abs() < 0.02, "{device}: {lost} dB lost to bf16");
    }
}

/// The gates know what to do with noise: said to be there, it does less harm.
#[test]
fn a_declared_noise_level_helps() {
    declared_helps(&[Device::Cpu]);
}

#[test]
#[ignore = "slow: CI runs it"]
fn a_declared_noise_level_helps_kernels() {
    declared_helps(&bf16_devices());
}

fn declared_helps(devices: &[Device]) {
    for &device in devices {
        let decoder = decoder(device);
        for (name, level) in [("chelsea", 0.4), ("astronaut", 0.2)] {
            let original = square(name, 128);
            let noisy = encoded(&original).noised(&sigma(level), 0).unwrap();
            let psnr = |declared: f32| {
                let request = Request { sigma: sigma(declared), ..request(&decoder) };
                decoded(&decoder, &noisy, &request).psnr_db(&original).unwrap()
            };
            let (declared, clean) = (psnr(level), psnr(0.0));
            println!("{name} at sigma {level} on {device}: {declared:.2} dB, {clean:.2} dB declared clean");
            assert!(declared > clean + 0.2, "{name} on {device}: {declared:.2} dB, {clean:.2} dB declared clean");
        }
    }
}

/// By little (0.02 to 0.13 dB over the pictures at 512x512): what the latent tells, the first step knows.
#[test]
fn four_steps_are_better_than_one() {
    more_steps_help(PICTURES.map(|name| (Device::Cpu, name, 512)));
}

#[test]
#[ignore = "slow: CI runs it"]
fn four_steps_are_better_than_one_on_kernels() {
    more_steps_help(bf16_devices().into_iter().map(|device| (device, "chelsea", 256)));
}

fn more_steps_help(cases: impl IntoIterator<Item = (Device, &'static str, usize)>) {
    for (device, name, side) in cases {
        let (decoder, original) = (decoder(device), square(name, side));
        let latent = encoded(&original);
        let psnr = |steps| {
            let request = Request { steps, ..request(&decoder) };
            decoded(&decoder, &latent, &request).psnr_db(&original).unwrap()
        };
        let (four, one) = (psnr(4), psnr(1));
        println!("{name} on {device}: four steps {four:.3} dB, one {one:.3} dB");
        assert!(four > one, "{name} on {device}: four steps {four:.3} dB, one {one:.3} dB");
    }
}
