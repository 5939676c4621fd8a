//! Files as people have them in place of the one that is wanted, or with more in them: what is read, and the words for what
//! is not.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod common;
#[path = "common/pth.rs"]
mod pth;

use std::fs;

use common::{Sandbox, json};
use pid_engine::checkpoint::{Checkpoint, CheckpointError, OpenOptions};
use pid_engine::models::pid::Config;
use pid_engine::progress::NoProgress;
use pth::Object;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// The smallest network: of the tiny one's widths.
fn small() -> Config {
    Config { patch_depth: 1, pixel_depth: 1, lq_interval: 1, ..Config::tiny() }
}

fn network(seed: u64) -> Checkpoint {
    Checkpoint::synthetic(&small(), seed, &NoProgress)
}

/// A state dict with `prefix` before its names.
fn state(seed: u64, prefix: &str) -> Object {
    let network = network(seed);
    let tensor = |name: &str| {
        let view = network.get(name).unwrap();
        (format!("{prefix}{name}"), pth::bf16(view.shape, view.bytes))
    };
    Object::Dict(network.names().map(tensor).collect())
}

/// A safetensors file of networks, each with its prefix, and of other tensors.
fn safetensors_file(networks: &[(u64, &str)], others: &[(&str, Dtype, usize)]) -> Vec<u8> {
    let sources: Vec<(Checkpoint, &str)> = networks.iter().map(|(seed, prefix)| (network(*seed), *prefix)).collect();
    let zeros = [0u8; 64];
    let mut views = Vec::new();
    for (network, prefix) in &sources {
        for name in network.names() {
            let view = network.get(name).unwrap();
            let tensor = TensorView::new(Dtype::BF16, view.shape.to_vec(), view.bytes).unwrap();
            views.push((format!("{prefix}{name}"), tensor));
        }
    }
    for (name, dtype, count) in others {
        let bytes = &zeros[..count * dtype.bitsize() / 8];
        views.push(((*name).to_owned(), TensorView::new(*dtype, vec![*count], bytes).unwrap()));
    }
    safetensors::serialize(views, None).unwrap()
}

fn fingerprint(sandbox: &Sandbox, args: &[&str]) -> (String, String) {
    let run = sandbox.pid(&[&["inspect", "--json"], args].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let found = json(&run.stdout)["network"]["fingerprint"].as_str().map(str::to_owned);
    (found.unwrap_or_else(|| panic!("{args:?}: {}", run.stdout)), run.stderr)
}

/// The error of an inspect whose file is read but holds no network to take.
fn network_error(sandbox: &Sandbox, args: &[&str]) -> String {
    let run = sandbox.pid(&[&["inspect", "--json"], args].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    json(&run.stdout)["network_error"].as_str().unwrap_or_else(|| panic!("{args:?}: {}", run.stdout)).to_owned()
}

#[test]
fn averaged_weights_are_preferred_and_any_can_be_chosen() {
    let sandbox = Sandbox::new();
    let both = |a: &str, b: &str| {
        Object::Dict(vec![(a.into(), state(1, "")), (b.into(), state(2, "")), ("epoch".into(), Object::Int(3))])
    };
    let (first, second) = (network(1).fingerprint(), network(2).fingerprint());
    for (name, a, b) in [("1.pth", "model", "ema"), ("2.pth", "state_dict", "model_ema"), ("3.pth", "net", "net_ema")] {
        fs::write(sandbox.path(name), pth::save(&both(a, b))).unwrap();
        let (taken, warning) = fingerprint(&sandbox, &[name]);
        assert_eq!(taken, second, "{name}");
        for words in ["averaged", b, a, "--weights"] {
            assert!(warning.contains(words), "{words}: {warning}");
        }
        assert_eq!(fingerprint(&sandbox, &[name, "--weights", a]).0, first);
        assert_eq!(fingerprint(&sandbox, &[name, "--weights", b]).0, second);
    }
    // The order of the keys has no say.
    fs::write(sandbox.path("4.pth"), pth::save(&both("ema", "model"))).unwrap();
    assert_eq!(fingerprint(&sandbox, &["4.pth"]).0, first);
    // No name to prefer.
    fs::write(sandbox.path("5.pth"), pth::save(&both("g_student", "old"))).unwrap();
    let error = network_error(&sandbox, &["5.pth"]);
    for words in ["several networks", "g_student (", "old (", "tensors)", "--weights"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let error = network_error(&sandbox, &["5.pth", "--weights", "new"]);
    assert!(error.contains("no network for --weights new") && error.contains("old ("), "{error}");
    let run = sandbox.pid(&["convert", "5.pth", "--weights", "old", "--out", "old.safetensors"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(fingerprint(&sandbox, &["old.safetensors"]).0, second);
    let run = sandbox.pid(&["convert", "5.pth", "--out", "none.safetensors", "--json"]);
    assert_eq!(run.code, 1);
    assert!(json(&run.stdout)["error"].as_str().unwrap().contains("g_student"), "{}", run.stdout);
    assert!(!sandbox.path("none.safetensors").exists());
}

#[test]
fn containers_of_one_network_are_seen_through() {
    let sandbox = Sandbox::new();
    let expected = network(1).fingerprint();
    let optimizer =
        Object::Dict(vec![("0".into(), Object::Dict(vec![("exp_avg".into(), pth::f32(&[2], &[1.0, 2.0]))]))]);
    let inner = Object::Dict(vec![("module".into(), state(1, "_orig_mod."))]);
    let nested =
        Object::Dict(vec![("optimizer".into(), optimizer), ("model".into(), inner), ("step".into(), Object::Int(9))]);
    fs::write(sandbox.path("nested.pth"), pth::save(&nested)).unwrap();
    let (found, warning) = fingerprint(&sandbox, &["nested.pth"]);
    assert_eq!(found, expected);
    assert!(warning.contains("ignored: optimizer (1)"), "{warning}");
    let tuple = Object::Tuple(vec![state(1, "net."), Object::Int(1)]);
    fs::write(sandbox.path("tuple.pth"), pth::save(&tuple)).unwrap();
    assert_eq!(fingerprint(&sandbox, &["tuple.pth"]).0, expected);
    fs::write(sandbox.path("one.pth"), pth::save(&Object::Dict(vec![("model".into(), state(1, ""))]))).unwrap();
    assert_eq!(fingerprint(&sandbox, &["one.pth"]).0, expected);
    assert_eq!(fingerprint(&sandbox, &["one.pth", "--weights", "model"]).0, expected);
    // Two tensors of one name are no choice of ours.
    let twice = Object::Dict(vec![
        ("a.b".into(), pth::f32(&[1], &[1.0])),
        ("a".into(), Object::Dict(vec![("b".into(), pth::f32(&[1], &[2.0]))])),
    ]);
    fs::write(sandbox.path("twice.pth"), pth::save(&twice)).unwrap();
    let run = sandbox.pid(&["inspect", "twice.pth"]);
    assert!(run.code == 1 && run.stderr.contains("have the name a.b"), "{}", run.stderr);
}

#[test]
fn networks_are_found_under_any_prefix() {
    let sandbox = Sandbox::new();
    let expected = network(1).fingerprint();
    for prefix in [
        "",
        "module.",
        "_orig_mod.",
        "net._orig_mod.",
        "pid.",
        "diffusion_model.",
        "decoder.",
        "model.",
        "model.diffusion_model.",
        "pipe.unet.core.",
        "a_b.0.",
    ] {
        fs::write(sandbox.path("w.safetensors"), safetensors_file(&[(1, prefix)], &[])).unwrap();
        let (found, warning) = fingerprint(&sandbox, &["w.safetensors"]);
        assert_eq!((found, warning.as_str()), (expected.clone(), ""), "{prefix}");
    }
    // Two without a name to prefer.
    fs::write(sandbox.path("w.safetensors"), safetensors_file(&[(1, "a."), (2, "b.net.")], &[])).unwrap();
    let error = network_error(&sandbox, &["w.safetensors"]);
    assert!(error.contains("a (") && error.contains("b.net ("), "{error}");
    assert_eq!(fingerprint(&sandbox, &["w.safetensors", "--weights", "b"]).0, network(2).fingerprint());
    // One inside the other's prefix.
    fs::write(sandbox.path("w.safetensors"), safetensors_file(&[(1, ""), (2, "net_ema.")], &[])).unwrap();
    assert_eq!(fingerprint(&sandbox, &["w.safetensors"]).0, network(2).fingerprint());
    assert_eq!(fingerprint(&sandbox, &["w.safetensors", "--weights", "."]).0, expected);
    // What training keeps beside it is no choice.
    fs::write(sandbox.path("w.safetensors"), safetensors_file(&[(1, "net."), (2, "fake_score.")], &[])).unwrap();
    assert_eq!(fingerprint(&sandbox, &["w.safetensors"]).0, expected);
    // Nothing of ours.
    fs::write(sandbox.path("w.safetensors"), safetensors_file(&[], &[("encoder.conv_in.weight", Dtype::F32, 4)]))
        .unwrap();
    let error = network_error(&sandbox, &["w.safetensors"]);
    assert!(error.contains("no PiD network") && error.contains("encoder.conv_in.weight"), "{error}");
}

#[test]
fn neighbours_of_any_type_are_ignored_with_a_note() {
    let sandbox = Sandbox::new();
    let others = [
        ("vae.decoder.conv_in.weight", Dtype::U64, 3),
        ("vae.decoder.conv_in.bias", Dtype::C64, 2),
        ("text_encoders.gemma.embed", Dtype::F4, 8),
        ("text_encoders.gemma.scale", Dtype::F8_E8M0, 1),
        ("betas", Dtype::U32, 5),
    ];
    for prefix in ["model.diffusion_model.", ""] {
        let others = if prefix.is_empty() { &others[..4] } else { &others[..] };
        fs::write(sandbox.path("w.safetensors"), safetensors_file(&[(1, prefix)], others)).unwrap();
        let (found, warning) = fingerprint(&sandbox, &["w.safetensors"]);
        assert_eq!(found, network(1).fingerprint());
        assert!(warning.contains("text_encoders (2), vae (2)"), "{warning}");
        let run = sandbox.pid(&["inspect", "w.safetensors", "--tensors"]);
        assert!(run.stdout.contains("vae.decoder.conv_in.bias  c64  [2]"), "{}", run.stdout);
    }
    // A type is wrong where the tensor is asked for.
    fs::write(sandbox.path("l.safetensors"), safetensors_file(&[], &[("s_embedder.proj.weight", Dtype::C64, 2)]))
        .unwrap();
    let error = Checkpoint::open(&sandbox.path("l.safetensors")).unwrap().into_network().unwrap().check(&small());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("1 misshapen: s_embedder.proj.weight"), "{error}");
}

#[test]
fn safetensors_with_odd_ends_are_read_with_a_warning() {
    let sandbox = Sandbox::new();
    let whole = safetensors_file(&[(1, "")], &[]);
    let expected = network(1).fingerprint();
    fs::write(sandbox.path("w.safetensors"), [&whole[..], b"\0\0\0 signature"].concat()).unwrap();
    let (found, warning) = fingerprint(&sandbox, &["w.safetensors"]);
    assert_eq!(found, expected);
    assert!(warning.contains("13 bytes after its last tensor"), "{warning}");
    let length = u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let padded =
        [&(length as u64 + 24).to_le_bytes()[..], &whole[8..8 + length], &[0; 24], &whole[8 + length..]].concat();
    fs::write(sandbox.path("w.safetensors"), padded).unwrap();
    let (found, warning) = fingerprint(&sandbox, &["w.safetensors"]);
    assert_eq!(found, expected);
    assert!(warning.contains("padded with zeros"), "{warning}");
    fs::write(sandbox.path("w.safetensors"), &whole[..whole.len() - 1]).unwrap();
    let run = sandbox.pid(&["inspect", "w.safetensors"]);
    assert!(run.code == 1 && run.stderr.contains("did not finish"), "{}", run.stderr);
}

#[test]
fn a_foreign_config_is_no_error_where_shapes_tell() {
    let sandbox = Sandbox::new();
    let source = network(1);
    let views = source.names().map(|n| {
        let view = source.get(n).unwrap();
        (n.to_owned(), TensorView::new(Dtype::BF16, view.shape.to_vec(), view.bytes).unwrap())
    });
    let views: Vec<_> = views.collect();
    for config in ["{\"model_type\": \"flux\", \"hidden_size\": 3072}", "flux-dev.yaml", "{}", "null", "[1]"] {
        let metadata = [("config".to_owned(), config.to_owned())].into();
        fs::write(sandbox.path("w.safetensors"), safetensors::serialize(views.clone(), Some(metadata)).unwrap())
            .unwrap();
        let (found, warning) = fingerprint(&sandbox, &["w.safetensors"]);
        assert_eq!(found, source.fingerprint());
        assert!(warning.contains("`config` in its metadata"), "{config}: {warning}");
    }
}

#[test]
fn other_kinds_of_files_are_named_wherever_they_are_given() {
    let sandbox = Sandbox::with_model();
    let npy =
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }            \n\0\0\0\0";
    let kinds: [(&str, &[u8], &[&str]); 9] = [
        (
            "p",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 2800450070\n",
            &["Git LFS", "2800450070", "git lfs pull"],
        ),
        ("h", b"<!doctype html><html><head><title>Sign in</title></head></html>", &["web page", "Sign in", "licence"]),
        ("j", b"{\"error\":\"Repository not found\"}", &["Repository not found", "download it again"]),
        ("g", b"GGUF\x03\0\0\0\0\0\0\0", &["GGUF", ".safetensors"]),
        ("t", b"Entry not found", &["text", "Entry not found"]),
        ("z", &[0; 9000], &["zeros", "did not finish"]),
        ("s", b"\x80\x02}q\0.", &["torch.save it again"]),
        ("x", b"\x1f\x8b\x08\0\0\0\0\0", &["gzip", "unpack"]),
        ("k", b"\xff\xd8\xff\xe0\0\x10JFIF", &["picture (JPEG)"]),
    ];
    for (name, bytes, words) in kinds {
        fs::write(sandbox.path(name), bytes).unwrap();
        for flag in ["--checkpoint", "--latent", "--caption", "--noise"] {
            let run = sandbox.decode(&[flag, name, "--json"]);
            assert_eq!(run.code, 1, "{flag} {name}");
            let error = json(&run.stdout)["error"].as_str().unwrap().to_owned();
            assert!(words.iter().all(|w| error.contains(w)), "{flag} {name}: {error}");
        }
        if name != "k" {
            let run = sandbox.pid(&["encode", "--image", name, "--out", "e.safetensors"]);
            assert!(run.code == 1 && words.iter().all(|w| run.stderr.contains(w)), "{name}: {}", run.stderr);
        }
    }
    fs::write(sandbox.path("n"), npy).unwrap();
    let run = sandbox.decode(&["--checkpoint", "n"]);
    assert!(run.code == 1 && run.stderr.contains("NumPy (.npy)"), "{}", run.stderr);
    fs::write(sandbox.path("config.json"), kinds_page()).unwrap();
    let run = sandbox.decode(&["--config", "./config.json"]);
    assert!(run.code == 1 && run.stderr.contains("web page"), "{}", run.stderr);
    assert!(!sandbox.path("out.png").exists());
}

fn kinds_page() -> &'static str {
    "<html><body>Sign in</body></html>"
}

#[test]
fn shards_are_followed_by_their_index() {
    let sandbox = Sandbox::new();
    let source = network(1);
    let folder = sandbox.path("shards");
    fs::create_dir(&folder).unwrap();
    let mut map = serde_json::Map::new();
    let names: Vec<&str> = source.names().collect();
    for (k, part) in names.chunks(names.len().div_ceil(2)).enumerate() {
        let file = format!("model-0000{}-of-00002.safetensors", k + 1);
        let views = part.iter().map(|n| {
            let view = source.get(n).unwrap();
            (format!("net.{n}"), TensorView::new(Dtype::BF16, view.shape.to_vec(), view.bytes).unwrap())
        });
        fs::write(folder.join(&file), safetensors::serialize(views, None).unwrap()).unwrap();
        part.iter().for_each(|n| drop(map.insert(format!("net.{n}"), file.clone().into())));
    }
    let index = "shards/model.safetensors.index.json";
    fs::write(sandbox.path(index), serde_json::json!({ "metadata": {}, "weight_map": map }).to_string()).unwrap();
    assert_eq!(fingerprint(&sandbox, &[index]).0, source.fingerprint());
    let run = sandbox.pid(&["convert", index, "--out", "whole.safetensors"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(fingerprint(&sandbox, &["whole.safetensors"]).0, source.fingerprint());
    // The folder and a shard say what to give.
    let run = sandbox.pid(&["inspect", "shards"]);
    assert!(run.code == 1 && run.stderr.contains(index), "{}", run.stderr);
    let error = network_error(&sandbox, &["shards/model-00001-of-00002.safetensors"]);
    assert!(error.contains("shard 1 of 2") && error.contains(index), "{error}");
    fs::remove_file(folder.join("model-00002-of-00002.safetensors")).unwrap();
    let run = sandbox.pid(&["convert", index, "--out", "half.safetensors"]);
    assert!(run.code == 1 && run.stderr.contains("model-00002-of-00002.safetensors is not there"), "{}", run.stderr);
    assert!(!sandbox.path("half.safetensors").exists());
}

#[test]
fn latents_as_torch_saves_them() {
    let sandbox = Sandbox::with_model();
    let values: Vec<f32> = (0..96).map(|i| ((i * 37) % 19) as f32 / 9.0 - 1.0).collect();
    let tensor = pth::f32(&[1, 16, 3, 2], &values);
    let picture = |latent: &str| {
        let run = sandbox.decode(&["--latent", latent, "--out", "o.safetensors", "--steps", "1"]);
        assert_eq!(run.code, 0, "{latent}: {}", run.stderr);
        pid_engine::latent::read_tensor(&sandbox.path("o.safetensors"), "image").unwrap().data
    };
    let expected = picture("l.safetensors");
    let samples = Object::Dict(vec![("samples".into(), tensor.clone())]);
    let with_seed = Object::Dict(vec![
        ("latent".into(), tensor.clone()),
        ("seed".into(), Object::Tensor("LongStorage", vec![1], vec![0; 8])),
    ]);
    let forms = [
        tensor.clone(),
        Object::List(vec![tensor.clone()]),
        Object::Tuple(vec![tensor.clone()]),
        Object::Parameter(Box::new(tensor.clone())),
        samples.clone(),
        Object::Dict(vec![("out".into(), Object::List(vec![samples])), ("step".into(), Object::Int(4))]),
        with_seed.clone(),
        Object::Dict(vec![("result".into(), with_seed)]),
        Object::FromArray(vec![1, 16, 3, 2], values.clone()),
        Object::List(vec![Object::FromArray(vec![1, 16, 3, 2], values.clone())]),
    ];
    for (k, form) in forms.iter().enumerate() {
        fs::write(sandbox.path("l.pt"), pth::save(form)).unwrap();
        assert!(picture("l.pt") == expected, "form {k}");
    }
}

/// Links and folders decide what a network is, as far as its name goes.
#[test]
#[cfg(unix)]
fn teachers_are_known_by_their_resolved_place() {
    let sandbox = Sandbox::new();
    let teacher = "PiD_v1pt5_res2kto4k_sr4x_official_flux_undistilled";
    let folder = sandbox.path(teacher);
    fs::create_dir(&folder).unwrap();
    let whole = safetensors_file(&[(1, "")], &[]);
    fs::write(folder.join("model_ema_bf16.safetensors"), &whole).unwrap();
    fs::write(sandbox.path("pid_1.5_flux1_1024_to_4096_bf16.safetensors"), &whole).unwrap();
    fs::write(sandbox.path("pid_1.5_flux1_1024_to_4096_4step_bf16.safetensors"), &whole).unwrap();
    std::os::unix::fs::symlink(&folder, sandbox.path("flux")).unwrap();
    std::os::unix::fs::symlink("flux/model_ema_bf16.safetensors", sandbox.path("best.safetensors")).unwrap();
    for path in ["flux/model_ema_bf16.safetensors", "best.safetensors", "pid_1.5_flux1_1024_to_4096_bf16.safetensors"] {
        let error = network_error(&sandbox, &[path]);
        for words in ["undistilled teacher", "distill_4step", "--student"] {
            assert!(error.contains(words), "{path}: {error}");
        }
        assert_eq!(fingerprint(&sandbox, &[path, "--student"]).0, network(1).fingerprint());
    }
    // From inside the folder.
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_pid"))
        .args(["inspect", "model_ema_bf16.safetensors"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&run.stdout).contains("undistilled teacher"));
    // Students, whatever is around them.
    for folder in ["undistilled-and-others", "not_undistilled/PiD_official_flux_distill_4step"] {
        fs::create_dir_all(sandbox.path(folder)).unwrap();
        let path = format!("{folder}/model_ema_bf16.safetensors");
        fs::write(sandbox.path(&path), &whole).unwrap();
        fingerprint(&sandbox, &[&path]);
    }
    fingerprint(&sandbox, &["pid_1.5_flux1_1024_to_4096_4step_bf16.safetensors"]);
    let options = OpenOptions { student: true, ..OpenOptions::default() };
    let path = folder.join("model_ema_bf16.safetensors");
    assert!(Checkpoint::open_with(&path, &options).unwrap().into_network().is_ok());
    let teacher = Checkpoint::open(&path).unwrap().into_network();
    assert!(matches!(teacher, Err(CheckpointError::Teacher { .. })));
}

/// A checkpoint is mapped; what cannot be is told so, and not waited for.
#[test]
#[cfg(unix)]
fn a_pipe_is_no_checkpoint() {
    let sandbox = Sandbox::with_model();
    let status = std::process::Command::new("mkfifo").arg(sandbox.path("fifo")).status().unwrap();
    assert!(status.success());
    let run = sandbox.decode(&["--checkpoint", "fifo"]);
    assert!(run.code == 1 && run.stderr.contains("regular file"), "{}", run.stderr);
}
