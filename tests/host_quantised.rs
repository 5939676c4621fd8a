//! Quantised checkpoints of every form that is read: each decodes, converts and is fingerprinted as the bf16 network that it
//! stands for. Codes are arbitrary; what they mean is computed here a second time.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use half::bf16;
use pid_engine::checkpoint::{self, Checkpoint, synthetic};
use pid_engine::latent::{Caption, Latent};
use pid_engine::models::pid::Config;
use pid_engine::progress::NoProgress;
use pid_engine::sampler::NoiseSource;
use pid_engine::{Decoder, Device, Request};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

const PREFIX: &str = "net.";
/// Layers that are quantised: shapes with and without multiples of 32, 128 and 256.
const LAYERS: [&str; 5] = [
    "patch_blocks.0.attn.qkv_x",
    "patch_blocks.0.mlp_y.w2",
    "pixel_blocks.0.attn.qkv",
    "pixel_blocks.0.compress_to_attn",
    "pixel_blocks.0.adaLN_modulation.0",
];

fn config() -> Config {
    Config { patch_depth: 1, pixel_depth: 1, lq_interval: 1, ..Config::tiny() }
}

fn plain() -> Tensors {
    let network = Checkpoint::synthetic(&config(), 0, &NoProgress);
    let tensor = |name: &str| {
        let view = network.get(name).unwrap();
        (name.to_owned(), (Dtype::BF16, view.shape.to_vec(), view.bytes.to_vec()))
    };
    network.names().map(tensor).collect()
}

fn write(path: &Path, tensors: &Tensors, prefix: &str, metadata: Option<HashMap<String, String>>) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (format!("{prefix}{name}"), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, metadata).unwrap()).unwrap();
}

/// Arbitrary but finite codes.
fn code(i: usize) -> u8 {
    let mixed = (i as u32).wrapping_mul(2_654_435_761) >> 24;
    if mixed & 0x7f >= 0x78 { 0x31 } else { mixed as u8 }
}

fn e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let value = if exponent == 0 { mantissa / 512.0 } else { (8.0 + mantissa) * 2f32.powi(exponent - 10) };
    if code & 0x80 == 0 { value } else { -value }
}

/// The high byte of a float16.
fn e5m2(code: u8) -> f32 {
    half::f16::from_bits(u16::from(code) << 8).to_f32()
}

/// One quantised layer: tensors by the ends of their names, and the values they stand for.
struct Layer {
    tensors: Vec<(&'static str, Dtype, Vec<usize>, Vec<u8>)>,
    values: Vec<f32>,
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn scale(i: usize) -> f32 {
    0.000_31 * (1.0 + (i % 17) as f32 / 7.0)
}

/// float8 with one scale, in the spelling of `names`: (scale, input's scale).
fn float8(dtype: Dtype, names: (&'static str, &'static str), rows: usize, cols: usize) -> Layer {
    let codes: Vec<u8> = (0..rows * cols).map(code).collect();
    let value = |c: &u8| if dtype == Dtype::F8_E5M2 { e5m2(*c) } else { e4m3(*c) };
    let values = codes.iter().map(|c| value(c) * scale(3)).collect();
    let tensors = vec![
        ("weight", dtype, vec![rows, cols], codes),
        (names.0, Dtype::F32, vec![], floats(&[scale(3)])),
        (names.1, Dtype::F32, vec![], floats(&[2.0])),
    ];
    Layer { tensors, values }
}

/// int8 with scales of that shape: one, per row, or a grid.
fn int8(scales: Vec<usize>, rotation: usize, rows: usize, cols: usize) -> Layer {
    let codes: Vec<i8> = (0..rows * cols).map(|i| code(i) as i8).collect();
    let count: usize = scales.iter().product();
    let table: Vec<f32> = (0..count).map(scale).collect();
    let wide = if scales.len() == 2 { scales[1] } else { 1 };
    let high = count / wide;
    let at = |row: usize, col: usize| table[row * high / rows * wide + col * wide / cols];
    let sign = |a: usize, b: usize| if a + b == 3 { -1.0f64 } else { 1.0 };
    let entry = |mut a: usize, mut b: usize| {
        let mut product = 1.0;
        for _ in 0..rotation.ilog(4) {
            product *= sign(a % 4, b % 4);
            (a, b) = (a / 4, b / 4);
        }
        product
    };
    let mut matrix = Vec::new();
    if rotation > 1 {
        matrix = (0..rotation * rotation).map(|i| entry(i / rotation, i % rotation)).collect::<Vec<f64>>();
    }
    let value = |i: usize| {
        let (row, col) = (i / cols, i % cols);
        if rotation == 1 {
            return f32::from(codes[i]) * at(row, col);
        }
        let first = i - col % rotation;
        let signs = &matrix[col % rotation * rotation..][..rotation];
        let sum: f64 = signs.iter().zip(&codes[first..]).map(|(s, c)| s * f64::from(*c)).sum();
        (sum / f64::from(rotation as u32).sqrt()) as f32 * at(row, col)
    };
    let values = (0..rows * cols).map(value).collect();
    let bytes = codes.iter().map(|c| *c as u8).collect();
    let tensors =
        vec![("weight", Dtype::I8, vec![rows, cols], bytes), ("weight_scale", Dtype::F32, scales, floats(&table))];
    Layer { tensors, values }
}

/// mxfp8: elements padded to 32 both ways, a power of two for each 32; in cuBLAS's order or as a matrix.
fn mxfp8(is_tiled: bool, scale_dtype: Dtype, rows: usize, cols: usize) -> Layer {
    let (high, wide) = (rows.next_multiple_of(32), cols.next_multiple_of(32));
    let blocks = wide / 32;
    let exponent = |row: usize, block: usize| (112 + (row * 5 + block * 3) % 7) as u8;
    let codes: Vec<u8> = (0..high * wide).map(code).collect();
    let (tall, broad) = (high.next_multiple_of(128), blocks.next_multiple_of(4));
    let mut scales = vec![0u8; if is_tiled { tall * broad } else { high * blocks }];
    for row in 0..high {
        for block in 0..blocks {
            let tile = (row / 128 * (broad / 4) + block / 4) * 512;
            let tiled = tile + row % 32 * 16 + row % 128 / 32 * 4 + block % 4;
            scales[if is_tiled { tiled } else { row * blocks + block }] = exponent(row, block);
        }
    }
    let value = |i: usize| {
        let (row, col) = (i / cols, i % cols);
        e4m3(codes[row * wide + col]) * 2f32.powi(i32::from(exponent(row, col / 32)) - 127)
    };
    let values = (0..rows * cols).map(value).collect();
    let shape = if is_tiled { vec![tall, broad] } else { vec![high, blocks] };
    let tensors =
        vec![("weight", Dtype::F8_E4M3, vec![high, wide], codes), ("weight_scale", scale_dtype, shape, scales)];
    Layer { tensors, values }
}

fn cast(dtype: Dtype, rows: usize, cols: usize) -> Layer {
    let codes: Vec<u8> = (0..rows * cols).map(|i| code(i) & 0xbf).collect();
    let values = codes.iter().map(|c| if dtype == Dtype::F8_E5M2 { e5m2(*c) } else { e4m3(*c) }).collect();
    Layer { tensors: vec![("weight", dtype, vec![rows, cols], codes)], values }
}

/// The network with `LAYERS` quantised by `layer`, and the bf16 network that it stands for.
fn quantised(layer: impl Fn(&str, usize, usize) -> Layer) -> (Tensors, Tensors) {
    let (mut file, mut expected) = (plain(), plain());
    for name in LAYERS {
        let weight = format!("{name}.weight");
        let shape = expected[&weight].1.clone();
        let layer = layer(name, shape[0], shape[1]);
        for (end, dtype, shape, bytes) in layer.tensors {
            file.insert(format!("{name}.{end}"), (dtype, shape, bytes));
        }
        let bytes = layer.values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        expected.insert(weight, (Dtype::BF16, shape, bytes));
    }
    (file, expected)
}

/// The format of each layer, as tensors beside the weights.
fn marked(mut file: Tensors, format: &str) -> Tensors {
    for name in LAYERS {
        file.insert(format!("{name}.comfy_quant"), (Dtype::U8, vec![format.len()], format.into()));
    }
    file
}

/// The format of each layer in the file's metadata, under its name there.
fn described(format: &str) -> Option<HashMap<String, String>> {
    let format: serde_json::Value = serde_json::from_str(format).unwrap();
    let layers: serde_json::Map<_, _> = LAYERS.iter().map(|n| (format!("{PREFIX}{n}"), format.clone())).collect();
    let text = serde_json::json!({ "format_version": "1.0", "layers": layers }).to_string();
    Some([("_quantization_metadata".to_owned(), text)].into())
}

fn decode(path: &Path, device: Device) -> Vec<f32> {
    let decoder = Decoder::builder().device(device).open(path).unwrap();
    let latent = Latent::new(synthetic::latent(&[1, 16, 2, 2], 0), [1, 16, 2, 2]).unwrap();
    let caption = Caption::new(synthetic::caption(&[1, 4, 64], 0), [1, 4, 64]).unwrap();
    let noise = NoiseSource::Philox { seed: 0 };
    let request = Request { steps: 1, noise, ..Request::new(caption) };
    decoder.decode(&latent, &request).unwrap().picture.data
}

/// Both files decode alike, have one fingerprint, and convert to the same tensors; what the first is called.
fn same(label: &str, file: &Tensors, metadata: Option<HashMap<String, String>>, expected: &Tensors) -> String {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("q.safetensors"), file, PREFIX, metadata);
    write(&at("p.safetensors"), expected, "", None);
    let network =
        Checkpoint::open(&at("q.safetensors")).unwrap().into_network().unwrap_or_else(|e| panic!("{label}: {e}"));
    let found = network.detect_config().unwrap();
    assert_eq!(found, config(), "{label}");
    network.check(&found).unwrap();
    assert!(network.warnings().is_empty(), "{label}: {:?}", network.warnings());
    let plain = Checkpoint::open(&at("p.safetensors")).unwrap().into_network().unwrap();
    assert_eq!(network.fingerprint(), plain.fingerprint(), "{label}");
    assert!(decode(&at("q.safetensors"), Device::Cpu) == decode(&at("p.safetensors"), Device::Cpu), "{label}");
    checkpoint::convert(&network, &found, &at("c.safetensors"), &NoProgress).unwrap();
    let converted = Checkpoint::open(&at("c.safetensors")).unwrap();
    assert!(!converted.metadata().contains_key("_quantization_metadata"), "{label}");
    assert_eq!(converted.names().count(), expected.len(), "{label}");
    for (name, (_, shape, bytes)) in expected {
        let view = converted.get(name).unwrap();
        assert!(view.shape == shape && view.bytes == bytes, "{label} {name}");
    }
    network.quantisation().keys().cloned().collect::<Vec<_>>().join("; ")
}

#[test]
fn float8_of_comfyui() {
    for (label, dtype, format) in [
        ("e4m3", Dtype::F8_E4M3, "{\"format\": \"float8_e4m3fn\"}"),
        ("e5m2", Dtype::F8_E5M2, "{\"format\": \"float8_e5m2\"}"),
    ] {
        let (file, expected) = quantised(|_, r, c| float8(dtype, ("weight_scale", "input_scale"), r, c));
        let said = format!("f8_{label} with a scale per tensor");
        assert_eq!(same(label, &file, None, &expected), said);
        assert_eq!(same(label, &marked(file.clone(), format), None, &expected), said);
        assert_eq!(same(label, &file, described(format), &expected), said);
        // The same bytes without a type of their own.
        let mut untyped = marked(file, format);
        untyped.values_mut().filter(|t| t.0 == dtype).for_each(|t| t.0 = Dtype::U8);
        assert_eq!(same(label, &untyped, None, &expected), said);
    }
    // fp8_scaled as it was.
    let (mut file, expected) = quantised(|_, r, c| float8(Dtype::F8_E4M3, ("scale_weight", "scale_input"), r, c));
    for marker in [vec![], vec![2], vec![0]] {
        let count: usize = marker.iter().product();
        file.insert("scaled_fp8".into(), (Dtype::F8_E4M3, marker.clone(), vec![0; count]));
        same("fp8_scaled", &file, None, &expected);
    }
}

#[test]
fn plain_float8() {
    for (dtype, name) in [(Dtype::F8_E4M3, "f8_e4m3"), (Dtype::F8_E5M2, "f8_e5m2")] {
        let (file, expected) = quantised(|_, r, c| cast(dtype, r, c));
        assert_eq!(same("plain", &file, None, &expected), name);
    }
}

#[test]
fn int8_per_tensor_row_and_block() {
    let format = "{\"format\": \"int8_tensorwise\"}";
    let (file, expected) = quantised(|_, r, c| int8(vec![], 1, r, c));
    assert_eq!(same("tensor", &file, described(format), &expected), "int8 with a scale per tensor");
    for flat in [true, false] {
        let (file, expected) = quantised(|_, r, c| int8(if flat { vec![r] } else { vec![r, 1] }, 1, r, c));
        assert_eq!(same("row", &marked(file.clone(), format), None, &expected), "int8 with a scale per row");
        assert_eq!(same("row", &file, None, &expected), "int8 with a scale per row");
    }
    let (file, expected) = quantised(|_, r, c| int8(vec![r / 16, c / 16], 1, r, c));
    let file = marked(file, "{\"format\": \"int8_blockwise\", \"group_size\": 16}");
    assert_eq!(same("block", &file, None, &expected), "int8 with a scale per 16x16");
}

/// Rotated where the group divides the columns, plain elsewhere, as published files are.
#[test]
fn int8_rotated() {
    let rotation = |name: &str, cols: usize| if name.contains("mlp_y") || !cols.is_multiple_of(64) { 16 } else { 64 };
    let (mut file, expected) = quantised(|n, r, c| int8(vec![r, 1], rotation(n, c), r, c));
    for name in LAYERS {
        let group = rotation(name, file[&format!("{name}.weight")].1[1]);
        let format = format!("{{\"format\": \"int8_tensorwise\", \"convrot\": true, \"convrot_groupsize\": {group}}}");
        file.insert(format!("{name}.comfy_quant"), (Dtype::U8, vec![format.len()], format.into()));
    }
    let said = same("rotated", &file, None, &expected);
    // Metadata with the names of another loader count as well.
    let (uniform, plain) = quantised(|_, r, c| int8(vec![r, 1], 16, r, c));
    let layers: serde_json::Map<_, _> = LAYERS
        .iter()
        .map(|n| {
            let format = serde_json::json!({ "format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 16 });
            (format!("model.diffusion_model.{n}"), format)
        })
        .collect();
    let text = serde_json::json!({ "layers": layers }).to_string();
    same("other prefix", &uniform, Some([("_quantization_metadata".to_owned(), text)].into()), &plain);
    assert!(said.contains("int8 with a scale per row, rotated by 64 (ConvRot)"), "{said}");
    // The group is 256 where nothing says otherwise, which 144 columns do not have.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.safetensors");
    let file = marked(file, "{\"format\": \"int8_tensorwise\", \"convrot\": true}");
    write(&path, &file, "", None);
    let error = Checkpoint::open(&path).unwrap().into_network().unwrap_err().to_string();
    assert!(error.contains("rotated by 256") && error.contains("divide"), "{error}");
}

#[test]
fn mxfp8_tiled_and_plain() {
    let format = "{\"format\": \"mxfp8\"}";
    for dtype in [Dtype::F8_E8M0, Dtype::U8] {
        let (file, expected) = quantised(|_, r, c| mxfp8(true, dtype, r, c));
        let said = same("mxfp8", &marked(file.clone(), format), None, &expected);
        assert_eq!(said, "f8_e4m3 with a scale per 32 (mxfp8)");
        same("mxfp8", &file, described(format), &expected);
    }
    let (file, expected) = quantised(|_, r, c| mxfp8(false, Dtype::F8_E8M0, r, c));
    same("mxfp8 as a matrix", &file, None, &expected);
}

/// ComfyUI's halves of the pixel blocks' modulation, plain and quantised.
#[test]
fn modulation_in_halves_is_joined() {
    let split = |file: &Tensors| {
        let mut halves = file.clone();
        for end in ["weight", "bias", "weight_scale"] {
            let Some((dtype, shape, bytes)) = halves.remove(&format!("pixel_blocks.0.adaLN_modulation.0.{end}")) else {
                continue;
            };
            let run = bytes.len() / 256 / 2;
            for (k, half) in ["msa", "mlp"].iter().enumerate() {
                let bytes = bytes.chunks(run).skip(k).step_by(2).flatten().copied().collect();
                let shape = [&[shape[0] / 2], &shape[1..]].concat();
                halves.insert(format!("pixel_blocks.0.adaLN_modulation_{half}.{end}"), (dtype, shape, bytes));
            }
        }
        halves
    };
    same("plain", &split(&plain()), None, &plain());
    let (file, expected) = quantised(|_, r, c| int8(vec![r, 1], 1, r, c));
    same("int8", &split(&file), None, &expected);
    // One half alone is missing the other.
    let mut half = split(&plain());
    half.retain(|name, _| !name.contains("modulation_mlp"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("h.safetensors");
    write(&path, &half, "", None);
    let error = Checkpoint::open(&path).unwrap().into_network().unwrap().check(&config()).unwrap_err().to_string();
    assert!(error.contains("missing: pixel_blocks.0.adaLN_modulation.0.bias"), "{error}");
}

/// The kernels are given the same bf16 weights.
#[test]
#[cfg(feature = "emulator")]
fn device_weights_are_the_same() {
    let (file, expected) = quantised(|_, r, c| int8(vec![r, 1], 16, r, c));
    let file = marked(file, "{\"format\": \"int8_tensorwise\", \"convrot\": true, \"convrot_groupsize\": 16}");
    let folder = tempfile::tempdir().unwrap();
    let paths = [("q", &file), ("p", &expected)].map(|(name, tensors)| {
        let path = folder.path().join(name);
        write(&path, tensors, "", None);
        path
    });
    let device: Device = "emulator".parse().unwrap();
    assert!(decode(&paths[0], device) == decode(&paths[1], device));
}

#[test]
fn what_is_not_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.safetensors");
    let refused = |tensors: &Tensors, metadata: Option<HashMap<String, String>>| {
        write(&path, tensors, PREFIX, metadata);
        let error = Checkpoint::open(&path).unwrap().into_network().unwrap_err().to_string();
        assert!(error.len() < 400, "{error}");
        error
    };
    let layer = LAYERS[0];
    let with = |extra: &[(&str, Dtype, usize)]| {
        let mut file = plain();
        for (end, dtype, count) in extra {
            file.insert(format!("{layer}.{end}"), (*dtype, vec![*count], vec![0; count * dtype.bitsize() / 8]));
        }
        file
    };
    let nf4 = [
        ("weight", Dtype::U8, 64),
        ("weight.absmax", Dtype::F32, 2),
        ("weight.quant_state.bitsandbytes__nf4", Dtype::U8, 8),
    ];
    let gptq =
        [("qweight", Dtype::I32, 8), ("qzeros", Dtype::I32, 8), ("scales", Dtype::F16, 8), ("g_idx", Dtype::I32, 8)];
    let awq = [("qweight", Dtype::I32, 8), ("qzeros", Dtype::I32, 8), ("scales", Dtype::F16, 8)];
    let nvfp4 = [("weight", Dtype::U8, 64), ("weight_scale", Dtype::F8_E4M3, 8), ("weight_scale_2", Dtype::F32, 1)];
    let llm = [("weight", Dtype::I8, 64), ("SCB", Dtype::F32, 2)];
    for (extra, words) in [
        (&nf4[..], "nf4 by bitsandbytes"),
        (&gptq[..], "int4 by GPTQ"),
        (&awq[..], "AWQ"),
        (&nvfp4[..], "nvfp4"),
        (&llm[..], "LLM.int8"),
        (&[("weight", Dtype::I8, 64)][..], "i8 without scales"),
        (&[("weight", Dtype::I8, 64), ("weight_scale", Dtype::F32, 7)][..], "f32 [7]"),
    ] {
        let error = refused(&with(extra), None);
        assert!(error.contains("quantised as") && error.contains(words), "{words}: {error}");
    }
    // Numbers in bytes that nothing explains: one word, not a list of names.
    let strange = with(&[("weight", Dtype::U8, 64), ("codes", Dtype::F16, 4), ("weight_extra", Dtype::F32, 4)]);
    let mut strange: Tensors = strange;
    strange.insert(format!("{layer}.weight"), (Dtype::U8, vec![8, 8], vec![0; 64]));
    let error = refused(&strange, None);
    assert!(error.contains("u8 by a program that does not say how"), "{error}");
    // A rotation that only the file's name speaks of.
    let (rotated, _) = quantised(|_, r, c| int8(vec![r, 1], 16, r, c));
    let named = folder.path().join("pid_int8_convrot.safetensors");
    write(&named, &rotated, PREFIX, None);
    let error = Checkpoint::open(&named).unwrap().into_network().unwrap_err().to_string();
    assert!(error.contains("no layer says which"), "{error}");
    let error = refused(&plain(), described("{\"format\": \"convrot_w4a4\"}"));
    assert!(error.contains("convrot_w4a4 by ComfyUI"), "{error}");
    let error = refused(&marked(plain(), "{\"form\": 1}"), None);
    assert!(error.contains("comfy_quant"), "{error}");
}
