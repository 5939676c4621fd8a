//! Checkpoints of every shape of trouble.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use pid_engine::checkpoint::{self, Checkpoint, CheckpointError};
use pid_engine::models::pid::{Config, Release, names};
use pid_engine::progress::NoProgress;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A file with the tensors of `config`, each renamed and retyped by `change`; `None` leaves it out. Shapes are
/// kept; bytes are zeros on disk without taking space.
fn write(path: &Path, config: &Config, change: impl Fn(&str) -> Option<(String, Dtype)>, metadata: &[(&str, &str)]) {
    let mut start = 0;
    let mut header = serde_json::Map::new();
    header.insert(
        "__metadata__".into(),
        metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect::<serde_json::Map<_, _>>().into(),
    );
    for spec in names::tensors(config) {
        let Some((name, dtype)) = change(&spec.name) else { continue };
        let end = start + spec.shape.iter().product::<usize>() * dtype.bitsize() / 8;
        let value = serde_json::json!({ "dtype": dtype, "shape": spec.shape, "data_offsets": [start, end] });
        header.insert(name, value);
        start = end;
    }
    let mut text = serde_json::Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    std::fs::write(path, &bytes).unwrap();
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len((bytes.len() + start) as u64).unwrap();
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    (folder, path)
}

fn same(name: &str) -> Option<(String, Dtype)> {
    Some((name.to_owned(), Dtype::BF16))
}

#[test]
fn every_release_is_detected_from_its_shapes() {
    for release in Release::ALL {
        let (_folder, path) = folder();
        write(&path, &release.config(), same, &[]);
        let network = Checkpoint::open(&path).unwrap().into_network().unwrap();
        assert_eq!(network.detect_config().unwrap(), release.config(), "{}", release.name);
        network.check(&release.config()).unwrap();
    }
}

#[test]
fn prefixes_are_stripped_and_other_networks_ignored() {
    for prefix in ["", "net.", "core.", "model.diffusion_model.", "model.diffusion_model.net."] {
        let (_folder, path) = folder();
        write(&path, &Config::tiny(), |n| Some((format!("{prefix}{n}"), Dtype::F16)), &[]);
        let network = Checkpoint::open(&path).unwrap().into_network().unwrap();
        network.check(&Config::tiny()).unwrap();
    }
    let tiny = Checkpoint::synthetic(&Config::tiny(), 0, &NoProgress);
    let shape = [1usize];
    let extra = [0u8; 2];
    let ours = tiny.names().map(|n| (format!("net.{n}"), tiny.get(n).unwrap()));
    let mut views: Vec<_> =
        ours.map(|(n, v)| (n, TensorView::new(Dtype::BF16, v.shape.to_vec(), v.bytes).unwrap())).collect();
    for other in ["net_ema.a", "fake_score.b", "discriminator.c", "net.lq_proj.lq_aux_rgb_head.0.weight"] {
        views.push((other.into(), TensorView::new(Dtype::BF16, shape.to_vec(), &extra).unwrap()));
    }
    let (_folder, path) = folder();
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    let network = Checkpoint::open(&path).unwrap().into_network().unwrap();
    network.check(&Config::tiny()).unwrap();
    assert_eq!(network.fingerprint(), tiny.fingerprint());
}

#[test]
fn all_differences_are_in_one_error() {
    let (_folder, path) = folder();
    let change = |name: &str| match name {
        "s_embedder.proj.bias" => None,
        "final_layer.norm.weight" => Some((name.to_owned(), Dtype::I32)),
        "y_embedder.norm.weight" => Some(("y_embedder.nrm.weight".to_owned(), Dtype::BF16)),
        _ => same(name),
    };
    write(&path, &Config::tiny(), change, &[]);
    let network = Checkpoint::open(&path).unwrap().into_network().unwrap();
    let other = Config { txt_embed_dim: 65, ..Config::tiny() };
    let text = network.check(&other).unwrap_err().to_string();
    for part in [
        "2 missing",
        "s_embedder.proj.bias [192]",
        "1 misshapen",
        "y_embedder.proj.weight [192, 64] (expected [192, 65])",
        "1 unexpected: y_embedder.nrm.weight",
        "final_layer.norm.weight i32",
    ] {
        assert!(text.contains(part), "`{part}` in {text}");
    }
}

#[test]
fn teachers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("PiD_v1pt5_undistilled.safetensors");
    write(&named, &Config::tiny(), same, &[]);
    let text = Checkpoint::open(&named).unwrap().into_network().unwrap_err().to_string();
    assert!(text.contains("teacher") && text.contains("distill_4step"), "{text}");
    let path = folder.path().join("w.safetensors");
    write(&path, &Config::tiny(), same, &[("experiment", "flux_undistilled")]);
    assert!(matches!(Checkpoint::open(&path).unwrap().into_network(), Err(CheckpointError::Teacher { .. })));
}

#[test]
fn no_damage_to_a_header_panics() {
    let (_folder, path) = folder();
    let data = [0u8; 48];
    let view = |shape: &[usize], bytes| TensorView::new(Dtype::BF16, shape.to_vec(), bytes).unwrap();
    let views =
        [("s_embedder.proj.weight", view(&[2, 12], &data[..])), ("y_pos_embedding", view(&[1, 2, 2], &data[..8]))];
    let whole = safetensors::serialize(views, Some([("config".to_owned(), "{}".to_owned())].into())).unwrap();
    let attempt = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        if let Ok(read) = Checkpoint::open(&path) {
            let _ = read.into_network().and_then(|n| n.check(&n.detect_config()?));
        }
    };
    for at in 0..whole.len() {
        attempt(&whole[..at]);
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            attempt(&bytes);
        }
    }
}

#[test]
fn every_weight_type_decodes() {
    use pid_engine::latent::{Caption, Latent};
    use pid_engine::{Decoder, Request};
    let latent = Latent::new(checkpoint::synthetic::latent(&[1, 16, 2, 2], 0), [1, 16, 2, 2]).unwrap();
    let caption = Caption::new(checkpoint::synthetic::caption(&[1, 4, 64], 0), [1, 4, 64]).unwrap();
    let tiny = Checkpoint::synthetic(&Config::tiny(), 0, &NoProgress);
    let bytes = |name: &str, dtype: Dtype| -> Vec<u8> {
        let values = tiny.get(name).unwrap().to_f32();
        match dtype {
            Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Dtype::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
            _ => tiny.get(name).unwrap().bytes.to_vec(),
        }
    };
    let decode = |dtype: Dtype| {
        let (_folder, path) = folder();
        let data: Vec<_> = tiny.names().map(|n| (n, bytes(n, dtype))).collect();
        let views =
            data.iter().map(|(n, b)| (*n, TensorView::new(dtype, tiny.get(n).unwrap().shape.to_vec(), b).unwrap()));
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        let decoder = Decoder::builder().open(&path).unwrap();
        decoder.decode(&latent, &Request::new(caption.clone())).unwrap().picture.data
    };
    // bf16 values are exact in float32; in float16 the smallest lose bits.
    let reference = decode(Dtype::BF16);
    assert_eq!(decode(Dtype::F32), reference);
    let halves = decode(Dtype::F16);
    let worst = halves.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-2, "{worst}");
}
