//! The command as a user runs it: what it writes, what it refuses, with which words and exit code, and that
//! a refusal leaves nothing behind.

#![allow(clippy::unwrap_used)]

// Other tests use the rest of it.
#[allow(dead_code)]
mod common;

use std::fs;

use common::{Sandbox, json};
use pid_engine::plan::ByteSize;

#[test]
fn decode_writes_png_jpeg_and_safetensors() {
    let sandbox = Sandbox::with_model();
    for out in ["a.png", "a.jpg", "a.safetensors"] {
        let run = sandbox.decode(&["--out", out]);
        assert_eq!(run.code, 0, "{out}: {}", run.stderr);
        assert!(sandbox.path(out).exists(), "{out}");
    }
    let image = pid_engine::checkpoint::Checkpoint::open(&sandbox.path("a.safetensors")).unwrap();
    assert_eq!(image.get("image").unwrap().shape, [1, 3, 96, 64]);
}

#[test]
fn png_records_how_it_was_made() {
    let sandbox = Sandbox::with_model();
    assert_eq!(sandbox.decode(&["--out", "a.png", "--seed", "7", "--sigma", "0.25", "--steps", "3"]).code, 0);
    let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(sandbox.path("a.png")).unwrap()));
    let reader = decoder.read_info().unwrap();
    let info = reader.info();
    let latin = info.uncompressed_latin1_text.iter().map(|c| (c.keyword.clone(), c.text.clone()));
    let utf8 = info.utf8_text.iter().map(|c| (c.keyword.clone(), c.get_text().unwrap()));
    let text: std::collections::BTreeMap<_, _> = latin.chain(utf8).collect();
    assert_eq!(text["pid.seed"], "7");
    assert_eq!(text["pid.sigma"], "0.25");
    assert_eq!(text["pid.steps"], "3");
    assert!(text["pid.schedule"].starts_with("sde 0.999,"), "{}", text["pid.schedule"]);
    assert!(text["pid.config"].contains("\"hidden_size\":192"));
    assert_eq!(text["pid.checkpoint"].len(), 16);
}

#[test]
fn same_seed_same_bytes() {
    let sandbox = Sandbox::with_model();
    for (out, seed) in [("a.png", "3"), ("b.png", "3"), ("c.png", "4")] {
        assert_eq!(sandbox.decode(&["--out", out, "--seed", seed]).code, 0);
    }
    let [a, b, c] = ["a.png", "b.png", "c.png"].map(|f| fs::read(sandbox.path(f)).unwrap());
    assert_eq!(a, b);
    assert_ne!(a, c);
}

#[test]
fn batch_numbers_its_pictures() {
    let sandbox = Sandbox::with_model();
    sandbox.latent("two.safetensors", &[2, 16, 3, 2], |i| ((i * 37) % 19) as f32 / 9.0 - 1.0);
    let run = sandbox.decode(&["--latent", "two.safetensors", "--sigma", "0.1,0.3", "--out", "image.png"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(sandbox.path("image-0.png").exists() && sandbox.path("image-1.png").exists());
    assert!(!sandbox.path("image.png").exists());
}

#[test]
fn convert_and_inspect_round_trip() {
    let sandbox = Sandbox::with_model();
    let run = sandbox.pid(&["convert", "w.safetensors", "--out", "c.safetensors"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let [a, b] = ["w.safetensors", "c.safetensors"].map(|f| {
        let run = sandbox.pid(&["inspect", f, "--json"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        json(&run.stdout)["network"].clone()
    });
    assert_eq!(a["name"], "tiny");
    assert_eq!(a, b, "same network, same fingerprint");
}

#[test]
fn plan_json_has_the_contract_fields() {
    let sandbox = Sandbox::new();
    let size = ["--width", "2048", "--height", "2048"];
    let run = sandbox.pid(&[&["plan", "--config", "flux-v1.5", "--json"], &size[..]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let plan = json(&run.stdout);
    let bytes = |key: &str| plan[key].as_u64().unwrap_or_else(|| panic!("{key} in {plan}"));
    assert!(bytes("peak_bytes") >= bytes("weights_bytes") + bytes("arena_bytes"));
    assert!(bytes("peak_bytes") <= 3_500_000_000, "{}", bytes("peak_bytes"));
}

/// The answer comes first, and alone unless more is asked for.
#[test]
fn plan_answers_in_a_screen() {
    let sandbox = Sandbox::new();
    let args = ["plan", "--config", "flux-v1.5", "--width", "4096", "--height", "4096", "--budget"];
    let run = |rest: &[&str]| {
        let run = sandbox.pid(&[&args[..], rest].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stdout
    };
    let ample = run(&["6GB"]);
    println!("{ample}");
    assert!(ample.lines().count() <= 20, "{ample}");
    for said in
        ["4096x4096, bf16\n", "6.00 GB  (nothing had to be done)\n", "arena ", "largest live sum", "most live at "]
    {
        assert!(ample.contains(said), "{said}: {ample}");
    }
    assert!(run(&["4GB"]).contains("4.00 GB  (latent features recomputed in every step)"));
    let listed = run(&["6GB", "--launches"]);
    assert!(listed.starts_with(ample.trim_end()) && listed.lines().count() > 100, "{listed}");
    assert_eq!(listed.matches("<- peak").count(), 1);
}

#[test]
fn plan_refuses_a_budget_that_is_too_small_and_says_by_how_much() {
    let sandbox = Sandbox::new();
    let args = ["plan", "--config", "flux-v1.5", "--width", "2048", "--height", "2048", "--budget", "500MB", "--json"];
    let run = sandbox.pid(&args);
    assert_eq!(run.code, 1);
    let error = json(&run.stdout)["error"].as_str().unwrap().to_owned();
    assert!(error.contains("500.0 MB") && error.contains("short"), "{error}");
}

/// What a refusal says is needed works as it stands there.
#[test]
fn the_least_budget_is_named_as_it_can_be_typed() {
    let sandbox = Sandbox::new();
    for side in ["512", "1024"] {
        let args = ["plan", "--config", "flux-v1.5", "--width", side, "--height", side, "--budget"];
        let refused = sandbox.pid(&[&args[..], &["1MB"]].concat());
        let least = refused.stderr.split("at least ").nth(1).and_then(|t| t.split(" for").next()).unwrap();
        let run = sandbox.pid(&[&args[..], &[least]].concat());
        assert_eq!(run.code, 0, "{least}: {}", run.stderr);
        let less = ByteSize(least.parse::<ByteSize>().unwrap().0 - 10_000_000).to_string();
        assert_eq!(sandbox.pid(&[&args[..], &[&less]].concat()).code, 1, "{less}");
    }
}

#[test]
fn budget_is_met_when_it_can_be() {
    let sandbox = Sandbox::new();
    let args = ["plan", "--config", "flux-v1.5", "--width", "4096", "--height", "4096", "--json", "--budget"];
    let free = json(&sandbox.pid(&args[..args.len() - 1]).stdout)["peak_bytes"].as_u64().unwrap();
    assert!(free <= 7_500_000_000, "{free}");
    let run = sandbox.pid(&[&args[..], &["5GB"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(json(&run.stdout)["peak_bytes"].as_u64().unwrap() <= 5_000_000_000);
}

/// Runs a decode that must fail with `code`, say all of `words`, and leave no file behind.
fn refused(sandbox: &Sandbox, args: &[&str], code: i32, words: &[&str]) {
    let before = sandbox.files();
    let run = sandbox.decode(args);
    assert_eq!(run.code, code, "{args:?}: {}{}", run.stdout, run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "{args:?} should say `{word}`: {}", run.stderr);
    }
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    assert_eq!(sandbox.files(), before, "{args:?} left something behind");
    let with_json = sandbox.decode(&[args, &["--json"]].concat());
    assert_eq!(with_json.code, code);
    assert!(json(&with_json.stdout)["error"].is_string(), "{args:?}: {}", with_json.stdout);
}

#[test]
fn wrong_latents_are_refused() {
    let sandbox = Sandbox::with_model();
    sandbox.latent("channels.safetensors", &[1, 4, 3, 2], |_| 0.5);
    refused(&sandbox, &["--latent", "channels.safetensors"], 1, &["4", "16"]);
    refused(&sandbox, &["--width", "128", "--height", "96"], 1, &["128", "64"]);
    refused(&sandbox, &["--width", "65", "--height", "96"], 1, &["65"]);
    sandbox.latent("nan.safetensors", &[1, 16, 3, 2], |i| if i == 5 { f32::NAN } else { 0.1 });
    refused(&sandbox, &["--latent", "nan.safetensors"], 1, &["NaN", "5"]);
    sandbox.latent("inf.safetensors", &[1, 16, 3, 2], |i| if i == 7 { f32::INFINITY } else { 0.1 });
    refused(&sandbox, &["--latent", "inf.safetensors"], 1, &["inf"]);
    sandbox.latent("tokens.safetensors", &[1, 6, 64], |i| (i % 7) as f32 / 3.0 - 1.0);
    refused(&sandbox, &["--latent", "tokens.safetensors"], 1, &["--width", "--height"]);
}

#[test]
fn wrong_sigmas_are_refused() {
    let sandbox = Sandbox::with_model();
    refused(&sandbox, &["--sigma", "1.5"], 2, &["1.5"]);
    refused(&sandbox, &["--sigma=-0.1"], 2, &["-0.1"]);
    refused(&sandbox, &["--sigma", "nan"], 2, &["NaN"]);
    refused(&sandbox, &["--sigma", "much"], 2, &["much"]);
    refused(&sandbox, &["--sigma", "0.1,0.2,0.3"], 1, &["3", "1"]);
}

#[test]
fn wrong_captions_are_refused() {
    let sandbox = Sandbox::with_model();
    sandbox.tensor("wide.safetensors", "caption", &[1, 5, 65], |_| 0.1);
    refused(&sandbox, &["--caption", "wide.safetensors"], 1, &["65", "64"]);
    sandbox.tensor("nan.safetensors", "caption", &[1, 5, 64], |_| f32::NAN);
    refused(&sandbox, &["--caption", "nan.safetensors"], 1, &["NaN"]);
}

#[test]
fn captions_without_their_padding_are_warned_of() {
    let sandbox = Sandbox::with_model();
    let run = sandbox.decode(&["--out", "a.png"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("caption: 8 rows") && run.stderr.contains("24"), "{}", run.stderr);
}

#[test]
fn long_captions_are_cut_with_a_warning() {
    let sandbox = Sandbox::with_model();
    sandbox.tensor("long.safetensors", "caption", &[1, 40, 64], |i| (i % 5) as f32 / 5.0);
    let run = sandbox.decode(&["--caption", "long.safetensors", "--out", "a.png"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("40") && run.stderr.contains("24"), "{}", run.stderr);
}

#[test]
fn wrong_steps_and_configs_are_refused() {
    let sandbox = Sandbox::with_model();
    for steps in ["0", "5", "8"] {
        refused(&sandbox, &["--steps", steps], 2, &[steps, "1 to 4"]);
    }
    refused(&sandbox, &["--config", "flux-9000"], 2, &["flux-9000", "flux-v1.5"]);
    refused(&sandbox, &["--config", "flux-2k"], 1, &["missing", "misshapen", "unexpected", "lq_proj.gate_modules.2"]);
    refused(&sandbox, &["--backbone", "dalle"], 2, &["dalle", "flux"]);
    refused(&sandbox, &["--backbone", "sdxl"], 1, &["sdxl", "4", "16"]);
    refused(&sandbox, &["--device", "tpu"], 2, &["unknown device `tpu`; known: auto, cpu, cuda, cuda:N, emulator"]);
}

/// Whether the dynamic linker finds NVIDIA's driver.
#[cfg(target_os = "linux")]
fn has_driver() -> bool {
    use std::ffi::{CStr, c_char, c_int, c_void};
    unsafe extern "C" {
        fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void;
    }
    const RTLD_LAZY: c_int = 1;
    // SAFETY: the name is a C string; NVIDIA's initialisers may run at any time.
    let opens = |name: &CStr| !unsafe { dlopen(name.as_ptr(), RTLD_LAZY) }.is_null();
    opens(c"libcuda.so.1") || opens(c"libcuda.so")
}

/// What is said where there is no driver; tests/cuda has machines with one.
#[test]
#[cfg(target_os = "linux")]
fn a_missing_driver_is_named() {
    let sandbox = Sandbox::with_model();
    let message = if !cfg!(feature = "cuda") {
        "device: cuda:0: this build lacks the feature `cuda`"
    } else if !pid_engine::kernels::cubins::BUILT {
        "device: cuda: this build has no GPU kernels, for lack of nvcc: run tools/install-nvcc and build again"
    } else {
        "device: cuda: no driver: the library libcuda.so.1 (nvcuda.dll) cannot be opened; install NVIDIA's driver or \
         use --device cpu"
    };
    if has_driver() {
        println!("skipped: there is a driver");
        return;
    }
    let run = sandbox.decode(&["--device", "cuda"]);
    assert_eq!(run.stderr.lines().last(), Some(&*format!("error: {message}")));
    refused(&sandbox, &["--device", "cuda"], 1, &[message]);
    // Without a GPU, `auto` is the CPU, which is no reason to wonder.
    let run = sandbox.decode(&["--out", "a.safetensors", "--json"]);
    assert_eq!((run.code, &json(&run.stdout)["device"]), (0, &"cpu".into()));
    assert!(!run.stderr.contains("GPU"), "{}", run.stderr);
}

/// The kernels themselves, on the host: bfloat16, so a picture near the CPU's.
#[test]
#[cfg(feature = "emulator")]
fn the_emulator_is_a_device() {
    let sandbox = Sandbox::with_model();
    let picture = |device: &str| {
        let out = format!("{device}.safetensors");
        let run = sandbox.decode(&["--device", device, "--steps", "1", "--out", &out, "--json"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(json(&run.stdout)["device"], device);
        let image = pid_engine::latent::read_tensor(&sandbox.path(&out), "image").unwrap();
        image.data
    };
    let (emulator, cpu) = (picture("emulator"), picture("cpu"));
    let mean = emulator.iter().zip(&cpu).map(|(a, b)| (a - b).abs()).sum::<f32>() / cpu.len() as f32;
    println!("mean difference {mean}");
    assert!(mean > 0.0 && mean < 0.02, "{mean}");
}

#[test]
fn damaged_files_are_refused() {
    let sandbox = Sandbox::with_model();
    fs::write(sandbox.path("empty"), b"").unwrap();
    let whole = fs::read(sandbox.path("w.safetensors")).unwrap();
    fs::write(sandbox.path("half.safetensors"), &whole[..whole.len() / 2]).unwrap();
    fs::create_dir(sandbox.path("folder")).unwrap();
    refused(&sandbox, &["--checkpoint", "absent.safetensors"], 1, &["absent.safetensors"]);
    refused(&sandbox, &["--checkpoint", "empty"], 1, &["empty"]);
    refused(&sandbox, &["--checkpoint", "half.safetensors"], 1, &["half.safetensors"]);
    refused(&sandbox, &["--checkpoint", "folder"], 1, &["folder"]);
    refused(&sandbox, &["--checkpoint", "l.safetensors"], 1, &["l.safetensors"]);
    refused(&sandbox, &["--latent", "w.safetensors"], 1, &["latent"]);
    refused(&sandbox, &["--latent", "absent.npy"], 1, &["absent.npy"]);
    refused(&sandbox, &["--latent", "empty"], 1, &["empty"]);
    refused(&sandbox, &["--latent", "folder"], 1, &["folder"]);
    refused(&sandbox, &["--caption", "half.safetensors"], 1, &["half.safetensors"]);
}

#[test]
fn wrong_outputs_are_refused() {
    let sandbox = Sandbox::with_model();
    fs::create_dir(sandbox.path("folder.png")).unwrap();
    refused(&sandbox, &["--out", "folder.png"], 1, &["folder.png"]);
    refused(&sandbox, &["--out", "absent/a.png"], 1, &["absent"]);
    refused(&sandbox, &["--out", "a.tiff"], 1, &["tiff", "png"]);
    // What a decode reads is never written over.
    for input in ["w.safetensors", "./l.safetensors", "c.safetensors"] {
        refused(&sandbox, &["--out", input], 2, &[input, "written over"]);
    }
}

#[test]
fn noise_file_must_fit() {
    let sandbox = Sandbox::with_model();
    sandbox.tensor("noise.safetensors", "noise.0", &[1, 3, 8, 8], |_| 0.5);
    refused(&sandbox, &["--noise", "noise.safetensors"], 1, &["noise.0", "192", "18432"]);
    sandbox.tensor("nan.safetensors", "noise.0", &[1, 3, 96, 64], |i| if i == 9 { f32::NAN } else { 0.5 });
    refused(&sandbox, &["--noise", "nan.safetensors"], 1, &["noise.0", "element 9 is NaN"]);
    sandbox.tensor("one.safetensors", "noise.0", &[1, 3, 96, 64], |_| 0.5);
    refused(&sandbox, &["--noise", "one.safetensors"], 1, &["noise.1 is missing"]);
    assert_eq!(sandbox.decode(&["--noise", "one.safetensors", "--sampler", "ode", "--out", "a.png"]).code, 0);
}

/// `/dev/full` refuses every write: the picture fails, and says so.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_reported() {
    let sandbox = Sandbox::with_model();
    let Some(disk) = common::FullDisk::mount() else {
        println!("skipped: no privilege to mount a small file system");
        return;
    };
    let out = disk.path().join("a.png");
    let run = sandbox.decode(&["--out", out.to_str().unwrap()]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("a.png") && run.stderr.contains("space"), "{}", run.stderr);
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 1, "only the filler is left");
    let weights = disk.path().join("w.safetensors");
    let run = sandbox.pid(&["synth", "--config", "tiny", "--out", weights.to_str().unwrap()]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 1, "only the filler is left");
}

#[test]
#[cfg(unix)]
fn an_interrupted_run_leaves_nothing() {
    let sandbox = Sandbox::with_model();
    sandbox.latent("large.safetensors", &[1, 16, 24, 24], |i| ((i * 37) % 19) as f32 / 9.0 - 1.0);
    let before = sandbox.files();
    let run = sandbox.interrupt(&["--latent", "large.safetensors", "--out", "a.png"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("stopped on request"), "{}", run.stderr);
    assert_eq!(sandbox.files(), before);
}

#[test]
fn wrong_usage_is_exit_2() {
    let sandbox = Sandbox::new();
    for args in [&["decode"][..], &["nonsense"], &["plan", "--config", "flux-2k", "--width", "x", "--height", "64"]] {
        assert_eq!(sandbox.pid(args).code, 2, "{args:?}");
    }
    let run = sandbox.pid(&["plan", "--config", "flux-2k", "--width", "2050", "--height", "2048", "--json"]);
    assert_eq!(run.code, 2);
    let error = json(&run.stdout)["error"].as_str().unwrap().to_owned();
    assert!(error.contains("2050") && error.contains("2048") && error.contains("2080"), "{error}");
}

#[test]
fn untrained_sizes_are_warned_of() {
    let sandbox = Sandbox::new();
    let run = sandbox.pid(&["plan", "--config", "flux-2k", "--width", "1024", "--height", "1024"]);
    assert_eq!(run.code, 0);
    assert!(run.stderr.contains("1024x1024") && run.stderr.contains("2688x1536"), "{}", run.stderr);
}
