//! Inputs as people have them: files of other programs, pipes, and usual mistakes.

#![allow(clippy::unwrap_used)]

// Other tests use the rest of it.
#[allow(dead_code)]
mod common;

use std::fs;
use std::io::{Cursor, Write};
use std::process::{Command, Stdio};

use common::{Run, Sandbox, json};
use pid_engine::latent::read_tensor;
use safetensors::tensor::{Dtype, TensorView};
use zip::write::{SimpleFileOptions, ZipWriter};

/// The files of `tests/cases`; what they are is said where they are used.
fn case(name: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/cases/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A model, and the latent and caption that the cases hold.
fn sandbox(cases: &[&str]) -> Sandbox {
    let sandbox = Sandbox::with_model();
    for name in ["l.safetensors", "c.safetensors"].iter().chain(cases) {
        fs::write(sandbox.path(name), case(name)).unwrap();
    }
    sandbox
}

/// The picture of a decode of one step.
fn picture(sandbox: &Sandbox, args: &[&str]) -> (Vec<f32>, Run) {
    let run = sandbox.decode(&[args, &["--device", "cpu", "--steps", "1", "--out", "out.safetensors"]].concat());
    assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
    (read_tensor(&sandbox.path("out.safetensors"), "image").unwrap().data, run)
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Runs the command with `stdin` coming through a pipe.
fn fed(sandbox: &Sandbox, args: &[&str], stdin: &[u8]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pid"));
    command.args(args).current_dir(sandbox.path("."));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let bytes = stdin.to_vec();
    // Who refuses its input closes the pipe.
    let writer = std::thread::spawn(move || drop(pipe.write_all(&bytes)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.into()
}

/// Runs a decode that must fail with `code`, say all of `words`, and leave no file behind.
fn refused(sandbox: &Sandbox, args: &[&str], code: i32, words: &[&str]) {
    let before = sandbox.files();
    let run = sandbox.decode(&[args, &["--json"]].concat());
    assert_eq!(run.code, code, "{args:?}: {}{}", run.stdout, run.stderr);
    let error = json(&run.stdout)["error"].as_str().unwrap().to_owned();
    for word in words {
        assert!(error.contains(word), "{args:?} should say `{word}`: {error}");
    }
    assert_eq!(sandbox.files(), before, "{args:?} left something behind");
}

/// The float32 values of a safetensors file of one tensor.
fn values(sandbox: &Sandbox, name: &str) -> Vec<f32> {
    read_tensor(&sandbox.path(name), "latent").unwrap().data
}

/// A `.npy` file of float32.
fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let shape = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape},), }}");
    header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    [b"\x93NUMPY\x01\0".as_slice(), &length, header.as_bytes(), &data].concat()
}

fn npz(arrays: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn numpys_archives_are_read() {
    let sandbox = sandbox(&["l.npz"]);
    let (plain, _) = picture(&sandbox, &[]);
    assert!(picture(&sandbox, &["--latent", "l.npz"]).0 == plain);
    let latent = npy(&[1, 16, 4, 4], &values(&sandbox, "l.safetensors"));
    for (method, name) in [(zip::CompressionMethod::Deflated, "latents"), (zip::CompressionMethod::Stored, "latent")] {
        fs::write(sandbox.path("a.npz"), npz(&[("other", &npy(&[2], &[0.0; 2])), (name, &latent)], method)).unwrap();
        assert!(picture(&sandbox, &["--latent", "a.npz"]).0 == plain, "{name}");
    }
    let two = npz(&[("a", &latent), ("b", &latent)], zip::CompressionMethod::Stored);
    fs::write(sandbox.path("two.npz"), two).unwrap();
    refused(&sandbox, &["--latent", "two.npz"], 1, &["two.npz", "no tensor `latent`, but a, b"]);
    let whole = npz(&[("latent", &latent)], zip::CompressionMethod::Deflated);
    let mut damaged = whole.clone();
    damaged[100] ^= 0x55;
    fs::write(sandbox.path("bad.npz"), damaged).unwrap();
    refused(&sandbox, &["--latent", "bad.npz"], 1, &["damaged .npz archive: latent"]);
    // Noise, an array for every draw.
    let draw = npy(&[1, 3, 128, 128], &vec![0.5; 3 * 128 * 128]);
    let noise = npz(&[("noise.0", &draw), ("noise.1", &draw)], zip::CompressionMethod::Deflated);
    fs::write(sandbox.path("noise.npz"), noise).unwrap();
    let run = sandbox.decode(&["--noise", "noise.npz", "--steps", "2", "--out", "a.png"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

/// What is odd about a safetensors file is said once, and its values are taken.
#[test]
fn odd_files_are_read_and_said() {
    let sandbox = sandbox(&[]);
    let (plain, _) = picture(&sandbox, &[]);
    let latent = fs::read(sandbox.path("l.safetensors")).unwrap();
    let (length, rest) = latent.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap());
    let (header, data) = rest.split_at(length as usize);
    let padded = [&(length + 8).to_le_bytes()[..], header, &[0; 8], data].concat();
    fs::write(sandbox.path("padded.safetensors"), padded).unwrap();
    fs::write(sandbox.path("long.safetensors"), [&latent[..], b"abc"].concat()).unwrap();
    let caption = [&fs::read(sandbox.path("c.safetensors")).unwrap()[..], b"de"].concat();
    fs::write(sandbox.path("caption.safetensors"), caption).unwrap();
    for (latent, said) in [
        ("padded.safetensors", "padded.safetensors: its header is padded with zeros"),
        ("long.safetensors", "long.safetensors: 3 bytes after its last tensor are of no use"),
    ] {
        let (read, run) = picture(&sandbox, &["--latent", latent, "--caption", "caption.safetensors"]);
        assert!(read == plain, "{latent}");
        for said in [said, "caption.safetensors: 2 bytes after its last tensor are of no use"] {
            assert_eq!(run.stderr.matches(said).count(), 1, "{said}: {}", run.stderr);
        }
    }
    let draw: Vec<u8> = (0..3 * 128 * 128).flat_map(|i: u32| (i as f32 * 1e-5).to_le_bytes()).collect();
    let view = |_| TensorView::new(Dtype::F32, vec![1, 3, 128, 128], &draw).unwrap();
    let draws = ["noise.0", "noise.1"].map(|name| (name, view(name)));
    let noise = [safetensors::serialize(draws, None).unwrap(), vec![7; 4]].concat();
    fs::write(sandbox.path("noise.safetensors"), noise).unwrap();
    let run = sandbox.decode(&["--noise", "noise.safetensors", "--steps", "2", "--out", "a.png"]);
    assert_eq!((run.code, run.stderr.matches("4 bytes after").count()), (0, 1), "{}", run.stderr);
}

#[test]
fn bfloat16_of_numpy_is_read_and_said() {
    let sandbox = sandbox(&["bf16.npy"]);
    let (plain, _) = picture(&sandbox, &[]);
    let (rounded, run) = picture(&sandbox, &["--latent", "bf16.npy"]);
    assert!(run.stderr.contains("bf16.npy: numbers of type <V2 are read as bfloat16"), "{}", run.stderr);
    let off = furthest(&values(&sandbox, "l.safetensors"), &read_tensor(&sandbox.path("bf16.npy"), "x").unwrap().data);
    assert!(off < 0.02 && furthest(&plain, &rounded) < 0.05, "{off}");
}

/// `ComfyUI_00001_.latent` is `l.safetensors` in the raw space of FLUX.1's VAE.
#[test]
fn comfyuis_latents_are_raw() {
    let sandbox = sandbox(&["ComfyUI_00001_.latent"]);
    let file = ["--latent", "ComfyUI_00001_.latent"];
    let (plain, _) = picture(&sandbox, &[]);
    let (raw, run) = picture(&sandbox, &[&file[..], &["--backbone", "flux"]].concat());
    let off = furthest(&plain, &raw);
    println!("furthest {off}");
    // Measured: 2.2e-5, from a latent that is 1.2e-7 off; with the seed and the steps of the case 9.6e-6.
    assert!(off < 5e-5, "{off}");
    assert!(run.stderr.contains("ComfyUI's file, taken as raw"), "{}", run.stderr);
    refused(&sandbox, &file, 1, &["ComfyUI's latent", "--backbone"]);
    // Who says that it is not raw is believed.
    let (other, run) = picture(&sandbox, &[&file[..], &["--latent-frame", "normalized"]].concat());
    assert!(furthest(&plain, &other) > 0.01 && !run.stderr.contains("ComfyUI"), "{}", run.stderr);

    // Files from before the marker are scaled for Stable Diffusion 1.
    let scaled: Vec<f32> =
        values(&sandbox, "ComfyUI_00001_.latent").iter().map(|v| (f64::from(*v) * 0.18215) as f32).collect();
    sandbox.tensor("old.latent", "latent_tensor", &[1, 16, 4, 4], |i| scaled[i]);
    let (old, run) = picture(&sandbox, &["--latent", "old.latent", "--backbone", "flux"]);
    assert!(furthest(&plain, &old) < 1e-4 && run.stderr.contains("divided by 0.18215"), "{}", run.stderr);
}

#[test]
fn tensors_of_other_names_are_found() {
    let sandbox = sandbox(&[]);
    let (plain, _) = picture(&sandbox, &[]);
    let latent = values(&sandbox, "l.safetensors");
    let bytes: Vec<u8> = latent.iter().flat_map(|v| v.to_le_bytes()).collect();
    let write = |file: &str, names: &[&str]| {
        let small = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        let whole = TensorView::new(Dtype::F32, vec![1, 16, 4, 4], &bytes).unwrap();
        let tensors = names.iter().map(|name| (*name, whole.clone())).chain([("timestep", small)]);
        fs::write(sandbox.path(file), safetensors::serialize(tensors, None).unwrap()).unwrap();
    };
    for names in [&["latent"][..], &["latents"], &["samples"], &["latent", "latents"]] {
        write("a.safetensors", names);
        let (found, run) = picture(&sandbox, &["--latent", "a.safetensors"]);
        assert!(found == plain, "{names:?}");
        assert_eq!(run.stderr.contains("ComfyUI's name"), names == ["samples"], "{}", run.stderr);
    }
    write("a.safetensors", &["latents", "samples"]);
    refused(
        &sandbox,
        &["--latent", "a.safetensors"],
        1,
        &["holds latents, samples; call the one that is meant `latent`"],
    );
    write("a.safetensors", &["x"]);
    refused(&sandbox, &["--latent", "a.safetensors"], 1, &["holds no tensor `latent`, but timestep, x"]);
}

/// `klein32.safetensors` is [1, 32, 4, 4], as diffusers' pipeline of FLUX.2-Klein returns it; `f2.json` a small network.
#[test]
fn flux2s_final_latents_need_the_vae() {
    let sandbox = sandbox(&["klein32.safetensors", "f2.json"]);
    let run = sandbox.pid(&["synth", "--config", "f2.json", "--seed", "0", "--out", "w2.safetensors"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let final_latent = ["--checkpoint", "w2.safetensors", "--latent", "klein32.safetensors"];
    refused(&sandbox, &final_latent, 1, &["[B, 32, h, w]", "--vae", "bn.running_mean"]);

    let (mean, var) = (|c: usize| c as f32 / 64.0 - 1.0, |c: usize| 0.5 + c as f32 / 50.0);
    let data = |f: &dyn Fn(usize) -> f32| (0..128).flat_map(|c| f(c).to_le_bytes()).collect::<Vec<u8>>();
    let (means, vars) = (data(&mean), data(&var));
    let view = |bytes| TensorView::new(Dtype::F32, vec![128], bytes).unwrap();
    let tensors = [("vae.bn.running_mean", view(&means)), ("vae.bn.running_var", view(&vars))];
    fs::create_dir(sandbox.path("vae")).unwrap();
    let file = sandbox.path("vae/diffusion_pytorch_model.safetensors");
    fs::write(file, safetensors::serialize(tensors, None).unwrap()).unwrap();

    let raw = values(&sandbox, "klein32.safetensors");
    for eps in [1e-4, 0.25] {
        if eps != 1e-4 {
            fs::write(sandbox.path("vae/config.json"), format!("{{\"batch_norm_eps\": {eps}}}")).unwrap();
        }
        // Channel 4 c + 2 i + j at (y, x) is channel c at (2 y + i, 2 x + j).
        sandbox.latent("own.safetensors", &[1, 128, 2, 2], |at| {
            let (x, y, channel) = (at % 2, at / 2 % 2, at / 4);
            let value = raw[(channel / 4 * 4 + 2 * y + channel % 4 / 2) * 4 + 2 * x + channel % 2];
            (value - mean(channel)) / (var(channel) + eps).sqrt()
        });
        let (expected, _) = picture(&sandbox, &["--checkpoint", "w2.safetensors", "--latent", "own.safetensors"]);
        for vae in ["vae", "vae/diffusion_pytorch_model.safetensors"] {
            let (found, run) = picture(&sandbox, &[&final_latent[..], &["--vae", vae]].concat());
            let off = furthest(&expected, &found);
            assert!(off < 5e-5, "{off}");
            assert!(run.stderr.contains("taken as raw"), "{}", run.stderr);
        }
    }
    let with = |vae| [&final_latent[..], &["--vae", vae]].concat();
    refused(&sandbox, &with("l.safetensors"), 1, &["l.safetensors", "bn.running_mean"]);
    let (_, run) = picture(&sandbox, &["--vae", "vae"]);
    assert!(run.stderr.contains("--vae is not used"), "{}", run.stderr);
    let flux = ["--latent", "klein32.safetensors"];
    refused(&sandbox, &flux, 1, &["32 channels", "takes 16", "FLUX.2"]);
}

#[test]
fn pipes_are_inputs() {
    let sandbox = sandbox(&["l.npz"]);
    let (plain, _) = picture(&sandbox, &[]);
    let [latent, caption] = ["l.safetensors", "c.safetensors"].map(case);
    let array = npy(&[1, 16, 4, 4], &values(&sandbox, "l.safetensors"));
    let args = |flag, path| {
        let files: [[&str; 2]; 4] = [
            ["--checkpoint", "w.safetensors"],
            ["--latent", "l.safetensors"],
            ["--caption", "c.safetensors"],
            ["--out", "p.safetensors"],
        ];
        let kept = files.into_iter().filter(move |[other, _]| *other != flag).flatten();
        let more = [flag, path, "--steps", "1", "--device", "cpu"];
        ["decode"].into_iter().chain(kept).chain(more).collect::<Vec<&str>>()
    };
    for (flag, path, bytes) in [
        ("--latent", "-", &latent),
        ("--latent", "/dev/stdin", &array),
        ("--latent", "-", &case("l.npz")),
        ("--caption", "-", &caption),
    ] {
        let run = fed(&sandbox, &args(flag, path), bytes);
        assert_eq!(run.code, 0, "{flag} {path}: {}", run.stderr);
        assert!(read_tensor(&sandbox.path("p.safetensors"), "image").unwrap().data == plain, "{flag} {path}");
    }
    let run = fed(&sandbox, &args("--noise", "-"), &npy(&[1, 3, 128, 128], &vec![0.25; 3 * 128 * 128]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    fs::remove_file(sandbox.path("p.safetensors")).unwrap();
    for (args, stdin, code, words) in [
        (args("--latent", "-"), &b""[..], 1, "standard input: nothing came through this pipe"),
        (args("--latent", "-"), &latent[..80], 1, "ends at byte 1104 of 80: the download or the copy did not finish"),
        (args("--checkpoint", "/dev/stdin"), b"x", 1, "a checkpoint is mapped into memory"),
        (args("--checkpoint", "-"), b"x", 1, "a checkpoint is mapped into memory"),
        ([&args("--latent", "-")[..], &["--noise", "-"]].concat(), b"x", 2, "--latent and --noise both read -"),
    ] {
        let run = fed(&sandbox, &args, stdin);
        assert_eq!(run.code, code, "{args:?}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{args:?}: {}", run.stderr);
        assert!(!sandbox.path("p.safetensors").exists());
    }
}

/// `<(...)` of a shell.
#[test]
#[cfg(target_os = "linux")]
fn process_substitution_is_an_input() {
    let sandbox = sandbox(&[]);
    let (plain, _) = picture(&sandbox, &[]);
    let pid = env!("CARGO_BIN_EXE_pid");
    let line = format!(
        "{pid} decode --checkpoint w.safetensors --latent <(cat l.safetensors) --caption <(cat c.safetensors) \
         --steps 1 --device cpu --out p.safetensors"
    );
    let run: Run = Command::new("bash").args(["-c", &line]).current_dir(sandbox.path(".")).output().unwrap().into();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(read_tensor(&sandbox.path("p.safetensors"), "image").unwrap().data == plain);
}

#[test]
fn usual_mistakes_are_recognised() {
    let sandbox = sandbox(&[]);
    let long = "a very long prompt ".repeat(40);
    for prompt in ["a cat", "cat", "a cat/dog, in oil", &long] {
        refused(&sandbox, &["--caption", prompt], 1, &["[B, T, 2304]", "Gemma-2-2b-it", "not the prompt", ".npy"]);
    }
    sandbox.latent("tokens.safetensors", &[1, 12, 64], |i| (i % 7) as f32 / 3.0 - 1.0);
    // 4 x 3 tokens are 64x48 pixels of the generator's, 256x192 of ours.
    let size = ["--latent", "tokens.safetensors", "--width", "64", "--height", "48"];
    refused(&sandbox, &size, 1, &["the generator's size", "4 times that", "--width 256 --height 192"]);
}
