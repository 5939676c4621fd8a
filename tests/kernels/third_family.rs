//! A family of kernels that no list of the project knows (`tests/test_kernels/third_family.cu`), added as
//! `kernels/README.md` says: it is chosen, launched and tuned among, and gives the portable kernels' bits.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use pid_engine::backend::device::DeviceBackend;
use pid_engine::backend::emulator::Emulator;
use pid_engine::checkpoint::{Checkpoint, synthetic};
use pid_engine::exec::{self, Backend, Input, NoObserver};
use pid_engine::kernels::capabilities::Capability;
use pid_engine::kernels::family::{self, Family, Portable, Variants};
use pid_engine::kernels::{Entry, KernelCall, KernelChoice, LaunchError, OpCall, OpShape, Selection, Target};
use pid_engine::models::pid::{self, Config, NetworkOptions, Policy, program};
use pid_engine::plan::Program;
use pid_engine::progress::NoProgress;
use pid_engine::sampler::{Noise, NoiseSource, Sampler, Schedule};

/// The family: all that Rust needs to know of it.
#[derive(Debug)]
struct Third;

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let all = Emulator::kernels().iter().map(|kernel| kernel.entry);
    all.filter(|entry| entry.family == "third").collect()
});
static VARIANTS: LazyLock<Vec<Variants>> = LazyLock::new(|| Variants::of_family("third", &["third_linear"], &ENTRIES));

impl Family for Third {
    fn name(&self) -> &'static str {
        "third"
    }

    fn arch(&self) -> Option<&'static str> {
        Some("sm_103a")
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Tcgen05]
    }

    fn emulated(&self) -> (u32, u32) {
        (10, 3)
    }

    fn variants(&self) -> &'static [Variants] {
        &VARIANTS
    }

    fn launch(&self, target: &dyn Target, entry: &Entry, call: &OpCall<'_>) -> Result<KernelCall, LaunchError> {
        Portable.launch(target, entry, call)
    }
}

static FAMILIES: &[&dyn Family] = &[&Third, &Portable];
const OPS: [&str; 5] = ["gemm_linear", "gemm_qkv_folded_d64", "gemm_swiglu", "gemm_residual", "gemm_latent_gate"];

/// A decode of one step by the kernels of `selection`: their names, and the picture.
fn decode(emulator: Emulator, selection: Selection) -> (BTreeSet<&'static str>, Vec<f32>) {
    let config = Config::tiny();
    let options = NetworkOptions::new(1, 5, [64, 32], Policy::BF16);
    let program: Program = program(&config, &options, None).unwrap();
    let checkpoint = Arc::new(Checkpoint::synthetic(&config, 7, &NoProgress));
    let schedule = Schedule::new(1, Sampler::Sde).unwrap();
    let backend = DeviceBackend::new(Arc::new(emulator), checkpoint.clone()).with_kernels(selection);
    let times: Vec<f64> = schedule.steps().iter().map(|step| step.t).collect();
    let constants = pid::constants(&config, &*checkpoint, &times).unwrap();
    let shape = |name: &str| program.graph[program.graph.named(name).unwrap()].shape.clone();
    let latent = synthetic::latent(&shape("latent"), 7);
    let caption = synthetic::caption(&shape("caption"), 7);
    let iterations = pid::iterations(&schedule, &constants);
    let mut names = BTreeSet::new();
    {
        let session = backend.session(&program, &iterations, &mut NoObserver).unwrap();
        for launch in &program.plan.launches {
            names.extend(session.kernels(launch, &iterations[0]).unwrap());
        }
    }
    let inputs = [Input::floats("latent", &latent), Input::floats("caption", &caption), Input::floats("sigma", &[0.3])];
    let mut noise = Noise::new(NoiseSource::Philox { seed: 7 });
    let image = exec::run(&backend, &program, &inputs, &iterations, pid::IMAGE, &mut noise, &mut NoObserver).unwrap();
    (names, image)
}

#[test]
fn a_new_family_is_chosen_where_its_device_is() {
    for (capability, is_third) in [((10, 3), true), ((9, 0), false), ((8, 6), false)] {
        for choice in [KernelChoice::Auto, KernelChoice::Portable] {
            let selection = Selection::among(FAMILIES, &Emulator::default().with_capability(capability), choice);
            let is_third = is_third && choice == KernelChoice::Auto;
            for op in OPS {
                let entry = selection.kernel(&OpShape { op, rows: 9, n: 192, k: 64 }).unwrap();
                assert_eq!(entry.family == "third", is_third, "{capability:?} {choice} {op}: {}", entry.name);
            }
            assert_eq!(selection.has_variants(), is_third);
            // What it has no kernel for, and what its kernels do not take, the portable ones do.
            let kernel = |op, n| selection.kernel(&OpShape { op, rows: 9, n, k: 64 }).unwrap().name;
            assert_eq!(kernel("gemm_pixel_modulate", 8192), "gemm_pixel_modulate");
            assert_eq!(kernel("gemm_linear", 1), "gemm_linear");
        }
    }
    assert_eq!(Third.emulator(), "emulator:sm_103a");
    assert!(family::named("third").is_none(), "a test's family is none of the project's");
}

#[test]
fn a_new_family_decodes() {
    let emulator = Emulator::default().with_capability(Third.emulated());
    let third = Selection::among(FAMILIES, &emulator, KernelChoice::Auto);
    let (names, image) = decode(emulator, third.clone());
    let (portable_names, expected) =
        decode(Emulator::default(), Selection::new(&Emulator::default(), KernelChoice::Auto));
    let of_third: Vec<&str> = names.iter().copied().filter(|name| name.starts_with("third_")).collect();
    assert_eq!(of_third, ["third_linear", "third_qkv_folded_d64", "third_residual", "third_swiglu"]);
    assert!(portable_names.iter().all(|name| !name.starts_with("third_")));
    assert!(image == expected, "the same products give other bits");
    let (names, image) = decode(emulator, third.forcing("third_linear_twin"));
    assert!(names.contains("third_linear_twin") && !names.contains("third_linear"), "{names:?}");
    assert!(image == expected);
}
