//! `conv3x3_tokens` and `conv3x3_latent`.

use half::bf16;
use pid_engine::kernels::OpCall;
use pid_engine::kernels::params::{PidConvParams, PidGemm, PidGroup, PidRows};

use crate::faults::{assert_caught, faults_of};
use crate::gemm::operands::{Size, stored};
use crate::under_test::{Device, devices, entry, in_turn, kernels_of, one_device, special_kernels_of};
use crate::values::{Random, Rounding, bits, check, from_bits};

/// What is convolved.
#[derive(Clone, Copy, Debug)]
enum Source {
    Tokens,
    Latent { rows: usize, cols: usize, unpatchify: usize },
}

#[derive(Clone, Copy, Debug)]
struct Case {
    source: Source,
    batch: usize,
    grid: [usize; 2],
    channels: usize,
    n: usize,
    replicate: bool,
    silu: bool,
    accumulate: bool,
    /// Columns of a row of weights behind the last that is used.
    more_columns: usize,
}

const fn tokens(batch: usize, grid: [usize; 2], channels: usize, n: usize) -> Case {
    let source = Source::Tokens;
    Case { source, batch, grid, channels, n, replicate: false, silu: false, accumulate: false, more_columns: 0 }
}

const fn latent(latent: [usize; 2], unpatchify: usize, grid: [usize; 2], channels: usize) -> Case {
    let source = Source::Latent { rows: latent[0], cols: latent[1], unpatchify };
    Case { source, ..tokens(1, grid, channels, 16) }
}

impl Case {
    fn num_tokens(&self) -> usize {
        self.batch * self.grid[0] * self.grid[1]
    }

    /// Inner size, filled up to whole chunks.
    fn k(&self) -> usize {
        (9 * self.channels).next_multiple_of(8)
    }

    /// The portable one first.
    fn kernels(&self) -> Vec<&'static str> {
        if matches!(self.source, Source::Tokens) { kernels_of("conv3x3_tokens") } else { kernels_of("conv3x3_latent") }
    }

    /// Offset of channel `channel` of grid position `(y, x)` of a sample in the source.
    fn offset(&self, sample: usize, [y, x]: [usize; 2], channel: usize) -> usize {
        match self.source {
            Source::Tokens => ((sample * self.grid[0] + y) * self.grid[1] + x) * self.channels + channel,
            Source::Latent { rows, cols, unpatchify: f } => {
                // Position in the unpatchified picture [channels, f rows, f cols], by nearest upsampling.
                let (y, x) = (y * rows * f / self.grid[0], x * cols * f / self.grid[1]);
                let plane = sample * self.channels * f * f + channel * f * f + y % f * f + x % f;
                (plane * rows + y / f) * cols + x / f
            }
        }
    }
}

struct Operands {
    case: Case,
    /// The latent as it is; tokens are in bf16 already.
    input: Vec<f32>,
    weight: Vec<bf16>,
    bias: Vec<f32>,
    before: Vec<bf16>,
}

impl Operands {
    fn random(case: Case) -> Self {
        let random = &mut Random::new((case.num_tokens() * 37 + case.channels * 5 + case.n) as u64);
        let (k, ldb) = (9 * case.channels, case.k() + case.more_columns);
        let mut weight = vec![bf16::ZERO; case.n * ldb];
        for row in weight.chunks_exact_mut(ldb) {
            row[..k].copy_from_slice(&random.bf16s(k, 1.0 / (k as f32).sqrt()));
        }
        let input = match case.source {
            Source::Tokens => {
                random.bf16s(case.num_tokens() * case.channels, 1.0).into_iter().map(bf16::to_f32).collect()
            }
            Source::Latent { rows, cols, unpatchify } => {
                random.floats(case.batch * case.channels * unpatchify * unpatchify * rows * cols, 1.0)
            }
        };
        let (bias, before) = (random.floats(case.n, 0.5), random.bf16s(case.num_tokens() * case.n, 1.0));
        Self { case, input, weight, bias, before }
    }

    /// The `[channels]` of a neighbour of token `token`; none where zeros are.
    fn neighbour(&self, token: usize, tap: usize, rounding: Rounding) -> Option<Vec<f64>> {
        let [rows, cols] = self.case.grid;
        let (sample, y, x) = (token / cols / rows, token / cols % rows, token % cols);
        let (y, x) = ((y + tap / 3) as isize - 1, (x + tap % 3) as isize - 1);
        let at = [y.clamp(0, rows as isize - 1), x.clamp(0, cols as isize - 1)];
        if at != [y, x] && !self.case.replicate {
            return None;
        }
        let offset = |channel| self.case.offset(sample, at.map(|i| i as usize), channel);
        Some((0..self.case.channels).map(|c| rounding.bf16(f64::from(self.input[offset(c)]))).collect())
    }

    fn reference(&self, rounding: Rounding) -> Vec<f64> {
        let Case { n, channels, silu, accumulate, more_columns, .. } = self.case;
        let ldb = self.case.k() + more_columns;
        let weight: Vec<f64> = self.weight.iter().map(|w| f64::from(*w)).collect();
        let mut out = Vec::with_capacity(self.before.len());
        for token in 0..self.case.num_tokens() {
            let patch: Vec<Option<Vec<f64>>> = (0..9).map(|tap| self.neighbour(token, tap, rounding)).collect();
            for column in 0..n {
                let mut sum = f64::from(self.bias[column]);
                for (tap, values) in patch.iter().enumerate() {
                    let weight = &weight[column * ldb + tap * channels..][..channels];
                    sum += values.iter().flatten().zip(weight).map(|(x, w)| x * w).sum::<f64>();
                }
                let value = if silu { sum / (1.0 + (-sum).exp()) } else { sum };
                let before = if accumulate { f64::from(self.before[token * n + column]) } else { 0.0 };
                out.push(rounding.bf16(value + before));
            }
        }
        out
    }
}

fn run(device: &Device, kernel: &'static str, o: &Operands) -> Result<Vec<u16>, String> {
    let case = o.case;
    let size = Size { n: case.n, k: case.k(), ldb: case.k() + case.more_columns };
    let (weight, bias) = (device.input(&bits(&stored(&o.weight, size, entry(kernel).order))), device.input(&o.bias));
    let is_tokens = matches!(case.source, Source::Tokens);
    let as_bf16: Vec<bf16> = o.input.iter().map(|x| bf16::from_f32(*x)).collect();
    // The other pointer is null, as in a plan.
    let a = is_tokens.then(|| device.input(&bits(&as_bf16)));
    let latent = (!is_tokens).then(|| device.input(&o.input));
    let output = if case.accumulate { device.input(&bits(&o.before)) } else { device.output::<u16>(o.before.len()) };
    let per_sample = (case.grid[0] * case.grid[1]) as u32;
    let rows = PidRows {
        first: 0,
        count: case.num_tokens() as u32,
        per_sample,
        joint_per_sample: per_sample,
        joint_first: 0,
        reserved: 0,
    };
    let a = a.as_ref().map_or(std::ptr::null(), |a| a.ptr());
    let group = PidGroup { a, b: weight.ptr(), bias: bias.ptr(), rows };
    let ldb = (case.k() + case.more_columns) as u32;
    let gemm = PidGemm { group: [group; 2], num_groups: 1, n: case.n as u32, k: case.k() as u32, ldb };
    let (latent_rows, latent_cols, unpatchify) = match case.source {
        Source::Tokens => (0, 0, 1),
        Source::Latent { rows, cols, unpatchify } => (rows as u32, cols as u32, unpatchify as u32),
    };
    let params = PidConvParams {
        gemm,
        latent: latent.as_ref().map_or(std::ptr::null(), |latent| latent.ptr()),
        output: output.mut_ptr(),
        channels: case.channels as u32,
        grid_rows: case.grid[0] as u32,
        grid_cols: case.grid[1] as u32,
        latent_rows,
        latent_cols,
        unpatchify,
        replicate: u32::from(case.replicate),
        silu: u32::from(case.silu),
        accumulate: u32::from(case.accumulate),
        reserved: 0,
    };
    device.call(kernel, &OpCall::convolution(entry(kernel).op, &params))?;
    output.read()
}

/// A case and what it must give, computed once for all devices.
struct Test {
    operands: Operands,
    exact: Vec<f64>,
    plain: Vec<f64>,
}

impl Test {
    fn new(case: Case) -> Self {
        let operands = Operands::random(case);
        let (exact, plain) = (operands.reference(Rounding::Exact), operands.reference(Rounding::Plain));
        Self { operands, exact, plain }
    }

    fn check(&self, device: &Device, kernel: &'static str) -> Result<(), String> {
        let got = from_bits(&run(device, kernel, &self.operands)?);
        let slack = device.sum_error(self.operands.case.k());
        check(&format!("{kernel} {:?}", self.operands.case), &got, &self.exact, &self.plain, slack)
    }
}

/// Those of `kernels` that are for each device.
fn test_all(devices: &[Device], kernels: &[&'static str], cases: &[Case]) {
    for case in cases {
        let test = Test::new(*case);
        for device in devices {
            for kernel in kernels.iter().filter(|kernel| device.runs(kernel)) {
                test.check(device, kernel).unwrap_or_else(|e| panic!("{}: {e}", device.name));
            }
        }
    }
}

/// One token, lines of tokens, tiles and one more or less, tiles across samples, several tiles of columns.
#[test]
fn any_grid() {
    let cases = [
        tokens(1, [1, 1], 32, 16),
        tokens(1, [1, 127], 32, 16),
        tokens(1, [127, 1], 32, 48),
        tokens(1, [8, 16], 64, 112),
        tokens(1, [3, 43], 32, 128),
        tokens(1, [131, 1], 32, 144),
        tokens(2, [7, 11], 96, 16),
        tokens(3, [13, 11], 32, 16),
        tokens(5, [1, 1], 32, 272),
    ];
    test_all(&devices(), &["conv3x3_tokens"], &cases);
}

/// Grids that are no whole rectangles of 16 x 8, with either border; more tiles than blocks; channels below, at and above
/// a slice of 64.
#[test]
#[ignore = "slow: CI runs it"]
fn tiles_of_a_grid() {
    let cases = [
        tokens(1, [1, 1], 32, 16),
        tokens(2, [1, 17], 96, 16),
        tokens(1, [9, 1], 64, 272),
        tokens(1, [9, 17], 64, 144),
        tokens(3, [8, 16], 32, 48),
        tokens(1, [17, 33], 32, 144),
    ];
    let bordered = [false, true].into_iter().flat_map(|replicate| cases.map(|case| Case { replicate, ..case }));
    for (i, case) in bordered.enumerate() {
        // Each case twice, by two schedules.
        test_all(&in_turn(&devices(), i + i / cases.len()), &kernels_of("conv3x3_tokens"), &[case]);
    }
    // Several columns of tiles, too.
    test_all(&one_device(), &kernels_of("conv3x3_tokens"), &[Case { replicate: true, ..tokens(1, [9, 33], 96, 320) }]);
}

#[test]
fn every_option_of_tokens() {
    for i in 0..16 {
        let on = |bit: usize| i >> bit & 1 == 1;
        let more_columns = if on(3) { 24 } else { 0 };
        let case = Case { replicate: on(0), silu: on(1), accumulate: on(2), more_columns, ..tokens(2, [5, 7], 32, 16) };
        test_all(&devices(), &["conv3x3_tokens"], &[case]);
        test_all(&one_device(), &special_kernels_of("conv3x3_tokens"), &[case]);
    }
}

/// Down, by 1, 2 and 16, and by ratios that are not whole; sides that differ.
#[test]
fn every_ratio_of_latents() {
    let cases = [
        latent([1, 1], 1, [1, 1], 16),
        latent([5, 7], 1, [5, 7], 16),
        latent([5, 7], 1, [10, 14], 16),
        latent([1, 2], 1, [16, 32], 16),
        latent([3, 5], 1, [4, 7], 16),
        latent([4, 3], 1, [7, 11], 8),
        latent([9, 10], 1, [5, 4], 16),
        latent([5, 7], 2, [10, 14], 4),
        latent([3, 4], 2, [12, 16], 4),
        latent([3, 5], 2, [7, 9], 3),
        latent([4, 5], 2, [4, 5], 4),
    ];
    test_all(&devices(), &["conv3x3_latent"], &cases);
}

/// Channels that leave taps and rows of weights apart from whole chunks.
#[test]
fn any_channels_of_latents() {
    for channels in [1, 2, 3, 4, 5, 7, 12, 16, 17, 33] {
        test_all(&devices(), &["conv3x3_latent"], &[latent([3, 4], 1, [5, 6], channels)]);
    }
}

#[test]
fn every_option_of_latents() {
    for i in 0..16 {
        let on = |bit: usize| i >> bit & 1 == 1;
        let more_columns = if on(3) { 16 } else { 0 };
        let case =
            Case { replicate: on(0), silu: on(1), accumulate: on(2), more_columns, ..latent([3, 4], 2, [5, 6], 5) };
        // The second sample begins within the tile.
        test_all(&devices(), &["conv3x3_latent"], &[Case { batch: 3, n: 32, ..case }]);
    }
}

/// The adapter's: latents of 16 and of 128 channels (unpatchified by 2) to 512, then 512 to 512.
#[test]
fn model_sizes() {
    let cases = [
        Case { replicate: true, silu: true, n: 512, ..latent([12, 10], 1, [12, 10], 16) },
        Case { batch: 2, silu: true, n: 512, ..latent([6, 5], 2, [12, 10], 32) },
        Case { replicate: true, silu: true, ..tokens(1, [12, 12], 512, 256) },
        Case { accumulate: true, ..tokens(1, [4, 5], 512, 512) },
    ];
    for case in cases {
        test_all(&one_device(), &case.kernels(), &[case]);
    }
}

#[test]
fn two_runs_are_equal() {
    for case in [tokens(2, [9, 8], 64, 144), Case { batch: 2, ..latent([4, 5], 2, [9, 11], 5) }] {
        let operands = Operands::random(case);
        for kernel in case.kernels().iter().filter(|kernel| devices()[0].runs(kernel)) {
            let runs = |device: &Device| [(); 2].map(|()| run(device, kernel, &operands).unwrap());
            let all: Vec<_> = devices().iter().flat_map(runs).collect();
            assert!(all.iter().all(|bits| *bits == all[0]), "{kernel} {case:?}");
        }
    }
}

#[test]
fn faults_are_caught() {
    let (of_sm_90, portable): (Vec<&str>, Vec<&str>) =
        faults_of("conv3x3_tokens").into_iter().partition(|fault| entry(fault).family == "sm90");
    let test = Test::new(tokens(1, [3, 45], 64, 144));
    assert_caught(&portable, |device, kernel| test.check(device, kernel));
    let test = Test::new(Case { n: 144, ..latent([3, 43], 1, [3, 45], 17) });
    assert_caught(&faults_of("conv3x3_latent"), |device, kernel| test.check(device, kernel));
    // Half of a slice's channels are the next tap's; the last tile has one column, whose border is not in its boxes.
    let test = Test::new(Case { replicate: true, ..tokens(1, [3, 49], 32, 144) });
    assert_caught(&of_sm_90, |device, kernel| test.check(device, kernel));
}
