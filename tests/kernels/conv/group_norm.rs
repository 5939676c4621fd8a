//! `group_norm_sums` and `group_norm_apply`, one after the other.

use half::bf16;
use pid_engine::kernels::OpCall;
use pid_engine::kernels::params::PidGroupNormParams;

use crate::faults::{assert_caught, faults_of};
use crate::under_test::{Device, devices, one_device};
use crate::values::{Random, Rounding, SUM_ERROR, bits, check, from_bits, widen};

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    tokens: usize,
    channels: usize,
    groups: usize,
    slabs: usize,
    in_place: bool,
    /// Blocks of each sample that apply; fewer than the shares make each take several.
    apply_blocks: Option<u32>,
}

const fn case(batch: usize, tokens: usize, channels: usize, groups: usize, slabs: usize) -> Case {
    Case { batch, tokens, channels, groups, slabs, in_place: false, apply_blocks: None }
}

/// The kernels of a run: both are right but in tests of faults.
#[derive(Clone, Copy)]
struct Kernels {
    sums: &'static str,
    apply: &'static str,
}
const KERNELS: Kernels = Kernels { sums: "group_norm_sums", apply: "group_norm_apply" };

struct Operands {
    case: Case,
    input: Vec<bf16>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Operands {
    fn new(case: Case, input: impl FnOnce(&mut Random, usize) -> Vec<bf16>) -> Self {
        let random = &mut Random::new((case.tokens * 19 + case.channels) as u64);
        let input = input(random, case.batch * case.tokens * case.channels);
        Self { case, input, weight: random.floats(case.channels, 1.0), bias: random.floats(case.channels, 0.5) }
    }

    fn random(case: Case) -> Self {
        Self::new(case, |random, len| random.bf16s(len, 1.0).iter().map(|x| bf16::from_f32(x.to_f32() + 0.3)).collect())
    }

    /// Values of one group of a sample, `range` of the tokens.
    fn group(&self, sample: usize, group: usize, range: std::ops::Range<usize>) -> impl Iterator<Item = f64> {
        let Case { tokens, channels, groups, .. } = self.case;
        let width = channels / groups;
        let token = move |t: usize| &self.input[(sample * tokens + t) * channels + group * width..][..width];
        range.flat_map(token).map(|x| f64::from(*x))
    }

    /// `[B, groups, slabs, 2]`: sums of a slab of values and of their squares.
    fn sums(&self, rounding: Rounding) -> Vec<f64> {
        let Case { batch, tokens, groups, slabs, .. } = self.case;
        let per_slab = tokens.div_ceil(slabs);
        let of_slab = |i: usize| {
            let begin = (i % slabs * per_slab).min(tokens);
            let values = || self.group(i / slabs / groups, i / slabs % groups, begin..(begin + per_slab).min(tokens));
            [rounding.f32(values().sum()), rounding.f32(values().map(|x| x * x).sum())]
        };
        (0..batch * groups * slabs).flat_map(of_slab).collect()
    }

    /// In two passes, where the kernel's variance is a difference of two sums.
    fn reference(&self, rounding: Rounding) -> Vec<f64> {
        let Case { batch, tokens, channels, groups, .. } = self.case;
        let count = (tokens * channels / groups) as f64;
        let statistics = |i: usize| {
            let values = || self.group(i / groups, i % groups, 0..tokens);
            let mean = values().sum::<f64>() / count;
            (mean, values().map(|x| (x - mean).powi(2)).sum::<f64>() / count)
        };
        let statistics: Vec<(f64, f64)> = (0..batch * groups).map(statistics).collect();
        let value = |(i, x): (usize, &bf16)| {
            let channel = i % channels;
            let (mean, variance) = statistics[i / channels / tokens * groups + channel / (channels / groups)];
            let normed = (f64::from(*x) - mean) / (variance + 1e-5).sqrt();
            let y = normed * f64::from(self.weight[channel]) + f64::from(self.bias[channel]);
            rounding.bf16(y / (1.0 + (-y).exp()))
        };
        self.input.iter().enumerate().map(value).collect()
    }
}

/// What the kernels write.
#[derive(PartialEq)]
struct Written {
    sums: Vec<f32>,
    output: Vec<u16>,
}

fn run(device: &Device, kernels: Kernels, o: &Operands) -> Result<Written, String> {
    let case = o.case;
    let input = device.input(&bits(&o.input));
    let separate = (!case.in_place).then(|| device.output::<u16>(o.input.len()));
    let output = separate.as_ref().unwrap_or(&input);
    let (weight, bias) = (device.input(&o.weight), device.input(&o.bias));
    let sums = device.output::<f32>(case.batch * case.groups * case.slabs * 2);
    let params = PidGroupNormParams {
        input: input.ptr(),
        output: output.mut_ptr(),
        weight: weight.ptr(),
        bias: bias.ptr(),
        sums: sums.mut_ptr(),
        batch: case.batch as u32,
        tokens: case.tokens as u32,
        channels: case.channels as u32,
        groups: case.groups as u32,
        slabs: case.slabs as u32,
        reserved: 0,
    };
    let launch = |kernel, call| device.launch(kernel, &call).map_err(|e| e.to_string());
    let mut apply = launch(kernels.apply, OpCall::group_norm_apply(&params))?;
    apply.grid[0] = case.apply_blocks.unwrap_or(apply.grid[0]);
    device.run(&[launch(kernels.sums, OpCall::group_norm_sums(&params))?, apply])?;
    if !case.in_place && input.read()? != bits(&o.input) {
        return Err(format!("{} {case:?}: the input was written", kernels.apply));
    }
    Ok(Written { sums: sums.read()?, output: output.read()? })
}

fn test_operands(device: &Device, kernels: Kernels, o: &Operands) -> Result<(), String> {
    let written = run(device, kernels, o)?;
    let Kernels { sums, apply } = kernels;
    let (exact, plain) = (o.sums(Rounding::Exact), o.sums(Rounding::Plain));
    check(&format!("{sums} {:?}", o.case), &widen(&written.sums), &exact, &plain, SUM_ERROR)?;
    let (exact, plain) = (o.reference(Rounding::Exact), o.reference(Rounding::Plain));
    check(&format!("{apply} {:?}", o.case), &from_bits(&written.output), &exact, &plain, SUM_ERROR)
}

fn test_all(devices: Vec<Device>, operands: &[Operands]) {
    for device in devices {
        for o in operands {
            test_operands(&device, KERNELS, o).unwrap_or_else(|e| panic!("{}: {e}", device.name));
        }
    }
}

/// Slabs that do not divide the tokens, more slabs than tokens; groups of 8 channels and of more than a block has
/// threads for; shares of a block and parts of them.
#[test]
fn any_size() {
    let cases = [
        case(1, 1, 8, 1, 1),
        case(1, 1, 32, 4, 64),
        case(1, 63, 64, 8, 64),
        case(1, 64, 64, 8, 64),
        case(1, 65, 64, 4, 64),
        case(2, 131, 96, 4, 7),
        case(3, 37, 256, 32, 33),
        case(1, 256, 8, 1, 3),
        case(1, 257, 8, 1, 100),
        case(2, 5, 4096, 1, 2),
        case(2, 7, 4608, 2, 3),
    ];
    test_all(devices(), &cases.map(Operands::random));
}

#[test]
fn in_place() {
    let in_place = |case| Operands::random(Case { in_place: true, ..case });
    test_all(devices(), &[in_place(case(1, 1, 8, 1, 1)), in_place(case(2, 131, 96, 4, 7))]);
}

#[test]
fn blocks_that_take_several_shares() {
    let operands = [1, 2, 5].map(|blocks| {
        let several = Case { apply_blocks: Some(blocks), ..case(2, 131, 96, 4, 7) };
        Operands::random(several)
    });
    test_all(devices(), &operands);
}

/// The adapter's: 512 channels, 4 groups, 64 slabs.
#[test]
fn model_sizes() {
    test_all(one_device(), &[Operands::random(Case { in_place: true, ..case(2, 32 * 17, 512, 4, 64) })]);
}

/// One value in 64 differs, by 1 / 200: mean^2 / variance is 2.6 million. Squares and their sums of a slab are
/// exact in float32 here; mean and variance found in float32 would lose the variance.
#[test]
fn mean_far_larger_than_deviation() {
    let spikes = |case| {
        Operands::new(case, |_, len| {
            (0..len).map(|i| bf16::from_f32(if i * 29 % 64 == 5 { 100.5 } else { 100.0 })).collect()
        })
    };
    test_all(devices(), &[spikes(case(2, 64, 64, 4, 16)), spikes(case(1, 100, 32, 2, 64))]);
}

/// Where nothing deviates, the epsilon is all that there is of the variance, and the bias of the output.
#[test]
fn constant_groups() {
    for value in [0.0, 3.0, -100.0] {
        let operands = Operands::new(case(1, 70, 32, 4, 8), |_, len| vec![bf16::from_f32(value); len]);
        test_all(devices(), &[operands]);
    }
}

#[test]
fn two_runs_are_equal() {
    let operands = Operands::random(case(2, 131, 96, 4, 7));
    let bits = |device: &Device| {
        let written = run(device, KERNELS, &operands).unwrap();
        (written.sums.into_iter().map(f32::to_bits).collect::<Vec<_>>(), written.output)
    };
    let all: Vec<_> = devices().iter().flat_map(|device| [bits(device), bits(device)]).collect();
    assert!(all.iter().all(|written| *written == all[0]));
}

#[test]
fn faults_are_caught() {
    let operands = Operands::random(case(1, 131, 96, 4, 7));
    assert_caught(&faults_of("group_norm_sums"), |device, kernel| {
        test_operands(device, Kernels { sums: kernel, ..KERNELS }, &operands)
    });
    assert_caught(&faults_of("group_norm_apply"), |device, kernel| {
        test_operands(device, Kernels { apply: kernel, ..KERNELS }, &operands)
    });
}
