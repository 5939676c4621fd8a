//! `pid encode` as a user runs it: what it writes, what a decode says of it, what it refuses.

#![allow(clippy::unwrap_used)]

// Other tests use the rest of it.
#[allow(dead_code)]
mod common;

use std::fs;

use common::{Run, Sandbox, json};
use pid_engine::checkpoint::Checkpoint;
use pid_engine::latent::read_picture;

/// A soft RGB picture; 37 is prime to every period of the grid.
fn draw(sandbox: &Sandbox, name: &str, width: u32, height: u32) {
    let file = fs::File::create(sandbox.path(name)).unwrap();
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let pixels = (0..height * width * 3).map(|i| (i % 3, i / 3 / width, i / 3 % width));
    let wave = |(c, y, x): (u32, u32, u32)| (x as f32 / 37.0 + c as f32).sin() + (y as f32 / 37.0).cos();
    let rgb: Vec<u8> = pixels.map(|p| (127.5 + 55.0 * wave(p)) as u8).collect();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&rgb).unwrap();
    writer.finish().unwrap();
}

fn encode(sandbox: &Sandbox, args: &[&str]) -> Run {
    let defaults = [("--codec", "dct16"), ("--image", "x.png"), ("--out", "l.safetensors")];
    let missing = defaults.iter().filter(|(flag, _)| !args.contains(flag)).flat_map(|(flag, value)| [*flag, *value]);
    sandbox.pid(&["encode"].into_iter().chain(missing).chain(args.iter().copied()).collect::<Vec<_>>())
}

fn latent(sandbox: &Sandbox, name: &str) -> (Vec<usize>, Vec<f32>, std::collections::BTreeMap<String, String>) {
    let file = Checkpoint::open(&sandbox.path(name)).unwrap();
    let view = file.get("latent").unwrap();
    (view.shape.to_vec(), view.to_f32(), file.metadata().clone())
}

#[test]
fn encode_writes_what_decode_reads() {
    let sandbox = Sandbox::with_model();
    draw(&sandbox, "x.png", 64, 96);
    let run = encode(&sandbox, &["--json", "--preview", "base.png"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    let report = json(&run.stdout);
    assert_eq!((&report["out"], &report["codec"]), (&"l.safetensors".into(), &"dct16".into()));
    assert_eq!(report["shape"], serde_json::json!([1, 16, 3, 2]));
    let psnr = report["baseline_psnr_db"].as_f64().unwrap();
    // Measured: 44.888 dB.
    assert!((psnr - 44.89).abs() < 0.05, "{psnr}");
    let (shape, _, said) = latent(&sandbox, "l.safetensors");
    assert_eq!(shape, [1, 16, 3, 2]);
    let said = ["pid.codec", "pid.picture", "pid.sigma"].map(|key| said[key].as_str());
    assert_eq!(said, ["dct16", "64x96", "0"]);

    let run = sandbox.decode(&["--out", "a.png"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("not trained on"), "the model knows no dct16: {}", run.stderr);
    let size = |name: &str| {
        let picture = read_picture(&sandbox.path(name)).unwrap();
        (picture.width, picture.height)
    };
    assert_eq!((size("a.png"), size("base.png")), ((64, 96), (64, 96)));
}

#[test]
fn the_text_says_what_was_done() {
    let sandbox = Sandbox::new();
    draw(&sandbox, "x.png", 70, 97);
    let run = encode(&sandbox, &["--crop", "--preview", "base.jpg"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for words in ["l.safetensors: 64x96 of 70x97 as [1, 16, 3, 2], sigma 0, ", "\nbase.jpg: ", " dB\n"] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    assert_eq!(sandbox.files(), ["base.jpg", "l.safetensors", "x.png"]);
}

#[test]
fn noise_follows_sigma_and_seed() {
    let sandbox = Sandbox::new();
    draw(&sandbox, "x.png", 256, 256);
    for (out, flags) in [
        ("clean.safetensors", vec![]),
        ("a.safetensors", vec!["--sigma", "0.4", "--seed", "3"]),
        ("b.safetensors", vec!["--sigma", "0.4", "--seed", "3"]),
        ("c.safetensors", vec!["--sigma", "0.4", "--seed", "4"]),
        ("pure.safetensors", vec!["--sigma", "1", "--seed", "3"]),
    ] {
        let run = encode(&sandbox, &[&["--out", out], flags.as_slice()].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let bytes = |name: &str| fs::read(sandbox.path(name)).unwrap();
    assert_eq!(bytes("a.safetensors"), bytes("b.safetensors"));
    let ((_, clean, _), (_, a, said), (_, c, _), (_, noise, _)) = (
        latent(&sandbox, "clean.safetensors"),
        latent(&sandbox, "a.safetensors"),
        latent(&sandbox, "c.safetensors"),
        latent(&sandbox, "pure.safetensors"),
    );
    assert_ne!(a, c);
    assert_eq!((said["pid.sigma"].as_str(), said["pid.seed"].as_str()), ("0.4", "3"));
    for (i, value) in a.iter().enumerate() {
        let expected = 0.6 * clean[i] + 0.4 * noise[i];
        assert!((value - expected).abs() < 1e-6, "{i}: {value}, not {expected}");
    }
    let mean = |power: i32| noise.iter().map(|v| f64::from(*v).powi(power)).sum::<f64>() / noise.len() as f64;
    // 1024 values: three standard errors.
    assert!(mean(1).abs() < 0.1 && (mean(2) - 1.0).abs() < 0.14, "{} {}", mean(1), mean(2));
}

#[test]
fn decode_warns_of_another_sigma() {
    let sandbox = Sandbox::with_model();
    draw(&sandbox, "x.png", 64, 96);
    assert_eq!(encode(&sandbox, &["--sigma", "0.4"]).code, 0);
    let words = "noised to sigma 0.4, but it is decoded as ";
    let run = sandbox.decode(&["--out", "a.png"]);
    assert!(run.code == 0 && run.stderr.contains(&format!("{words}0\n")), "{}", run.stderr);
    let run = sandbox.decode(&["--out", "a.png", "--sigma", "0.4"]);
    assert!(run.code == 0 && !run.stderr.contains(words), "{}", run.stderr);
}

/// A checkpoint may bring its own scale.
#[test]
fn statistics_come_from_the_checkpoint() {
    let sandbox = Sandbox::with_model();
    draw(&sandbox, "x.png", 32, 32);
    let run = encode(&sandbox, &["--checkpoint", "w.safetensors"]);
    assert!(run.code == 1 && run.stderr.contains("w.safetensors: not trained on dct16"), "{}", run.stderr);
    let list = |value: &str| format!("[{}]", [value; 16].join(", "));
    let metadata = [("dct16.mean".to_owned(), list("0")), ("dct16.std".to_owned(), list("2"))].into();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4]).unwrap();
    let bytes = safetensors::serialize([("x", view)], Some(metadata)).unwrap();
    fs::write(sandbox.path("own.safetensors"), bytes).unwrap();
    let own = encode(&sandbox, &["--checkpoint", "own.safetensors", "--out", "own-l.safetensors"]);
    assert_eq!((own.code, encode(&sandbox, &[]).code), (0, 0), "{}", own.stderr);
    let ((_, own, said), (_, usual, _)) = (latent(&sandbox, "own-l.safetensors"), latent(&sandbox, "l.safetensors"));
    assert_eq!(said["dct16.std"], list("2"));
    let statistics = pid_engine::latent::dct16::Statistics::default();
    for c in 0..16 {
        let raw = usual[c] * statistics.std[c] + statistics.mean[c];
        assert!((own[c] - raw / 2.0).abs() < 1e-5, "channel {c}: {}, not {}", own[c], raw / 2.0);
    }
}

#[test]
fn refusals_name_values_and_leave_nothing() {
    let sandbox = Sandbox::new();
    draw(&sandbox, "x.png", 64, 64);
    draw(&sandbox, "odd.png", 500, 333);
    draw(&sandbox, "small.png", 20, 64);
    fs::write(sandbox.path("text.png"), "no picture").unwrap();
    let whole = fs::read(sandbox.path("x.png")).unwrap();
    fs::write(sandbox.path("cut.png"), &whole[..whole.len() / 2]).unwrap();
    fs::create_dir(sandbox.path("folder.png")).unwrap();
    let before = sandbox.files();
    let cases: [(&[&str], i32, &[&str]); 15] = [
        (&["--image", "odd.png"], 1, &["500x333", "480x320", "512x352", "--crop"]),
        (&["--image", "small.png", "--crop"], 1, &["20x64", "32x64"]),
        (&["--image", "none.png"], 1, &["none.png"]),
        (&["--image", "text.png"], 1, &["text.png", ".png or .jpg"]),
        (&["--image", "cut.png", "--preview", "p.png"], 1, &["cut.png", "damaged"]),
        (&["--out", "l.npy"], 1, &["l.npy", ".safetensors"]),
        (&["--out", "nowhere/l.safetensors"], 1, &["nowhere", "does not exist"]),
        (&["--preview", "p.bmp"], 1, &["bmp"]),
        (&["--preview", "folder.png"], 1, &["folder.png is a directory"]),
        (&["--preview", "l.safetensors"], 2, &["--preview and --out"]),
        (&["--preview", "./x.png"], 2, &["x.png", "written over"]),
        (&["--sigma", "1.5"], 2, &["1.5"]),
        (&["--sigma", "0.1,0.2"], 2, &["one sigma"]),
        (&["--seed", "3"], 2, &["--sigma"]),
        (&["--codec", "dct17"], 2, &["dct17", "dct16"]),
    ];
    for (args, code, words) in cases {
        let run = encode(&sandbox, args);
        assert_eq!(run.code, code, "{args:?}: {}{}", run.stdout, run.stderr);
        for word in words {
            assert!(run.stderr.contains(word), "{args:?} should say `{word}`: {}", run.stderr);
        }
        assert_eq!(sandbox.files(), before, "{args:?} left something behind");
        let with_json = encode(&sandbox, &[args, &["--json"]].concat());
        assert_eq!(with_json.code, code);
        assert!(json(&with_json.stdout)["error"].is_string(), "{args:?}: {}", with_json.stdout);
    }
}

/// Both files appear or neither.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_neither_file() {
    let sandbox = Sandbox::new();
    draw(&sandbox, "x.png", 64, 64);
    let before = sandbox.files();
    let Some(disk) = common::FullDisk::mount() else {
        println!("skipped: no privilege to mount a small file system");
        return;
    };
    for (flag, name, other) in [("--out", "l.safetensors", "--preview"), ("--preview", "p.png", "--out")] {
        let full = disk.path().join(name);
        let elsewhere = if other == "--out" { "l.safetensors" } else { "p.png" };
        let run = encode(&sandbox, &[flag, full.to_str().unwrap(), other, elsewhere]);
        assert!(run.code == 1 && run.stderr.contains(name) && run.stderr.contains("space"), "{flag}: {}", run.stderr);
        assert_eq!(sandbox.files(), before, "{flag}");
        assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 1, "only the filler is left");
    }
}
