//! Ops on whole rows of a stream (`kernels/rows`).

mod operands;

use pid_engine::kernels::OpCall;

use crate::faults::{assert_caught, faults_of};
use crate::under_test::{Device, devices, entry, one_device};
use crate::values::{Random, Rounding, SUM_ERROR, check, from_bits, widen};
use operands::{OnDevice, Operands, Rows};

/// A kernel and its definition.
struct RowOp {
    name: &'static str,
    call: fn(&Device, &Operands, &OnDevice, &'static str) -> Result<(), String>,
    /// A row of the stream afterwards.
    row: fn(&Operands, usize, Rounding) -> Vec<f64>,
    /// Leaves an operand for the next product.
    emits: bool,
}

const TEXT_NORM: RowOp = RowOp { name: "rows_text_norm", call: row_call, row: text_norm, emits: false };
const RESTART: RowOp = RowOp { name: "rows_restart", call: row_call, row: restart, emits: true };
const TIME_SILU: RowOp = RowOp { name: "rows_time_silu", call: row_call, row: time_silu, emits: true };
const LATENT_GATE: RowOp = RowOp { name: "rows_latent_gate", call: gate_call, row: latent_gate, emits: true };
const LOOKUP: RowOp = RowOp { name: "rows_lookup", call: lookup_call, row: lookup, emits: true };
const ROW_OPS: [RowOp; 5] = [TEXT_NORM, RESTART, TIME_SILU, LATENT_GATE, LOOKUP];

fn row_call(device: &Device, operands: &Operands, on: &OnDevice, kernel: &'static str) -> Result<(), String> {
    let op = entry(kernel).op;
    let params = on.rows_params(&operands.rows, op == RESTART.name);
    device.call(kernel, &OpCall::rows(op, params.num_rows, &params))
}

fn gate_call(device: &Device, operands: &Operands, on: &OnDevice, kernel: &'static str) -> Result<(), String> {
    let params = on.gate_params(operands);
    device.call(kernel, &OpCall::rows(entry(kernel).op, params.gemm.group[0].rows.count, &params))
}

fn lookup_call(device: &Device, operands: &Operands, on: &OnDevice, kernel: &'static str) -> Result<(), String> {
    let params = on.lookup_params(operands);
    device.call(kernel, &OpCall::rows(entry(kernel).op, params.num_rows, &params))
}

fn lookup(o: &Operands, row: usize, _: Rounding) -> Vec<f64> {
    o.row(&o.position, o.ids[row] as usize).iter().map(|x| f64::from(x.to_f32())).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn text_norm(o: &Operands, row: usize, rounding: Rounding) -> Vec<f64> {
    let x = widen(o.row(&o.stream, row));
    let position = o.row(&o.position, row % o.rows.per_sample);
    let rms = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + 1e-6).sqrt();
    let normed = x.iter().zip(&o.vector).zip(position);
    normed.map(|((x, w), p)| rounding.f32(x / rms * f64::from(*w) + f64::from(*p))).collect()
}

fn restart(o: &Operands, row: usize, _: Rounding) -> Vec<f64> {
    widen(o.row(&o.source, row))
}

fn time_silu(o: &Operands, row: usize, rounding: Rounding) -> Vec<f64> {
    let sums = o.row(&o.stream, row).iter().zip(&o.vector).map(|(x, t)| f64::from(*x) + f64::from(*t));
    sums.map(|x| rounding.f32(x * sigmoid(x))).collect()
}

fn latent_gate(o: &Operands, row: usize, rounding: Rounding) -> Vec<f64> {
    let x = widen(o.row(&o.stream, row));
    let dot: f64 = x.iter().zip(&o.gate_weight).map(|(x, w)| x * f64::from(*w)).sum();
    let fades = f64::from(o.alpha) * f64::from(o.sigma[row / o.rows.per_sample]);
    let gate = sigmoid(dot + f64::from(o.feature_half[row]) - fades);
    x.iter().zip(o.row(&o.features, row)).map(|(x, f)| rounding.f32(x + gate * f64::from(*f))).collect()
}

/// All that a kernel may write.
#[derive(PartialEq)]
struct Written {
    stream: Vec<f32>,
    operand: Vec<u16>,
    sums: Vec<f32>,
}

fn run(device: &Device, row_op: &RowOp, kernel: &'static str, operands: &Operands) -> Result<Written, String> {
    let on = operands.upload(device);
    (row_op.call)(device, operands, &on, kernel)?;
    let written = Written { stream: on.stream.read()?, operand: on.operand.read()?, sums: on.sums.read()? };
    on.check_inputs(operands)?;
    Ok(written)
}

fn test(device: &Device, row_op: &RowOp, kernel: &'static str, rows: Rows) -> Result<(), String> {
    let operands = Operands::random(rows, &mut Random::new((rows.count * 7 + rows.hidden) as u64));
    let got = run(device, row_op, kernel, &operands)?;
    let (hidden, launched) = (rows.hidden, rows.first..rows.first + rows.count);
    let what = |part: &str| format!("{kernel} {part} {rows:?}");

    let unchanged = |row: &usize| {
        let (got, before) = (&got.stream[row * hidden..][..hidden], operands.row(&operands.stream, *row));
        got.iter().zip(before).all(|(g, b)| g.to_bits() == b.to_bits())
    };
    if let Some(row) = (0..rows.total()).find(|row| !launched.contains(row) && !unchanged(row)) {
        return Err(format!("{}: row {row} is outside of the launch and was written", what("stream")));
    }
    let reference =
        |rounding| -> Vec<f64> { launched.clone().flat_map(|row| (row_op.row)(&operands, row, rounding)).collect() };
    let (exact, plain) = (reference(Rounding::Exact), reference(Rounding::Plain));
    let elements = launched.start * hidden..launched.end * hidden;
    check(&what("stream"), &widen(&got.stream[elements]), &exact, &plain, SUM_ERROR)?;
    if row_op.emits && rows.emit {
        return check_emitted(&what("emitted"), &operands, &got, &exact, &plain);
    }
    let untouched = got.operand.iter().all(|x| *x == u16::MAX) && got.sums.iter().all(|x| x.to_bits() == u32::MAX);
    if untouched { Ok(()) } else { Err(what("emits unasked")) }
}

/// Operand and sums of the launch's rows, whose stream is `exact` and `plain`; those of other rows stay as they were.
fn check_emitted(what: &str, o: &Operands, got: &Written, exact: &[f64], plain: &[f64]) -> Result<(), String> {
    let hidden = o.rows.hidden;
    let elements = o.rows.first * hidden..(o.rows.first + o.rows.count) * hidden;
    let slices = elements.start / 64..elements.end / 64;
    let scaled = |x: &[f64], rounding: Rounding| -> Vec<f64> {
        x.iter().enumerate().map(|(i, x)| rounding.bf16(x * f64::from(o.scale[i % hidden]))).collect()
    };
    let squares = |x: &[f64], rounding: Rounding| -> Vec<f64> {
        x.chunks(64).map(|x| rounding.f32(x.iter().map(|x| x * x).sum())).collect()
    };
    let (operand, sums) = (from_bits(&got.operand[elements.clone()]), widen(&got.sums[slices.clone()]));
    let name = |part: &str| format!("{what} {part}");
    check(&name("operand"), &operand, &scaled(exact, Rounding::Exact), &scaled(plain, Rounding::Plain), SUM_ERROR)?;
    check(&name("sums"), &sums, &squares(exact, Rounding::Exact), &squares(plain, Rounding::Plain), SUM_ERROR)?;
    let operand = (0..got.operand.len()).all(|i| elements.contains(&i) || got.operand[i] == u16::MAX);
    let sums = (0..got.sums.len()).all(|i| slices.contains(&i) || got.sums[i].to_bits() == u32::MAX);
    if operand && sums { Ok(()) } else { Err(name("rows outside of the launch are written")) }
}

fn test_all(devices: Vec<Device>, sizes: &[Rows]) {
    for device in devices {
        for row_op in &ROW_OPS {
            for rows in sizes {
                // Only the gate's rows may begin later.
                let first = if row_op.name == "rows_latent_gate" { rows.first } else { 0 };
                let rows = Rows { first, ..*rows };
                test(&device, row_op, row_op.name, rows).unwrap_or_else(|e| panic!("{}: {e}", device.name));
            }
        }
    }
}

/// All rows of `batch` samples but the first `first` and the last `kept`.
const fn rows(batch: usize, per_sample: usize, hidden: usize, first: usize, kept: usize) -> Rows {
    Rows { batch, per_sample, hidden, first, count: batch * per_sample - first - kept, emit: true }
}

#[test]
fn any_size() {
    let sizes = [
        rows(1, 1, 64, 0, 0),
        rows(1, 7, 192, 0, 0),
        rows(1, 8, 256, 0, 0),
        rows(3, 3, 320, 0, 0),
        rows(2, 5, 448, 0, 0),
        rows(1, 13, 512, 0, 0),
        rows(1, 2, 2048, 0, 0),
    ];
    test_all(devices(), &sizes);
}

#[test]
fn rows_outside_of_the_launch_are_kept() {
    test_all(devices(), &[rows(2, 11, 320, 3, 2), rows(3, 5, 64, 14, 0), rows(2, 11, 128, 12, 9)]);
}

#[test]
fn no_operand_unasked() {
    test_all(devices(), &[Rows { emit: false, ..rows(2, 5, 320, 1, 1) }]);
}

#[test]
fn model_sizes() {
    // Text rows, and a 16 x 16 grid, of two samples.
    test_all(one_device(), &[rows(2, 300, 1536, 0, 0), rows(2, 256, 1536, 100, 1)]);
}

/// On rows of zeros the norm's epsilon is all that there is; far from zero the gate is 0 or 1.
#[test]
fn extremes() {
    for device in devices() {
        let mut operands = Operands::random(rows(1, 9, 320, 0, 0), &mut Random::new(1));
        operands.stream.fill(0.0);
        let got = run(&device, &TEXT_NORM, TEXT_NORM.name, &operands).unwrap();
        let position: Vec<f32> = operands.position[..got.stream.len()].iter().map(|x| x.to_f32()).collect();
        assert!(got.stream == position, "{}: norm of zeros", device.name);

        let mut operands = Operands::random(rows(2, 4, 320, 0, 0), &mut Random::new(2));
        operands.sigma.copy_from_slice(&[1e30, -1e30]);
        let got = run(&device, &LATENT_GATE, LATENT_GATE.name, &operands).unwrap();
        for (i, x) in got.stream.iter().enumerate() {
            let added = if i < 4 * 320 { 0.0 } else { operands.features[i].to_f32() };
            assert!(*x == operands.stream[i] + added, "{}: element {i} behind a gate at its end", device.name);
        }
    }
}

/// Rows whose id names none of the table's are NaN, the others what they are without.
fn unknown_ids(device: &Device, kernel: &'static str) -> Result<(), String> {
    let mut operands = Operands::random(rows(1, 9, 320, 0, 0), &mut Random::new(4));
    let expected = run(device, &LOOKUP, kernel, &operands)?;
    let unknown = [(2, 11), (4, -1), (5, i32::MAX), (8, i32::MIN)];
    unknown.iter().for_each(|(row, id)| operands.ids[*row] = *id);
    let got = run(device, &LOOKUP, kernel, &operands)?;
    for row in 0..9 {
        let is_unknown = unknown.iter().any(|(unknown, _)| *unknown == row);
        let (got, expected) = (operands.row(&got.stream, row), operands.row(&expected.stream, row));
        let right = if is_unknown { got.iter().all(|x| x.is_nan()) } else { got == expected };
        if !right {
            return Err(format!("{kernel}: row {row} of id {}", operands.ids[row]));
        }
    }
    Ok(())
}

#[test]
fn ids_beyond_the_table_give_nan() {
    for device in devices() {
        unknown_ids(&device, LOOKUP.name).unwrap_or_else(|e| panic!("{}: {e}", device.name));
    }
}

#[test]
fn two_runs_are_equal() {
    let operands = Operands::random(rows(2, 9, 576, 0, 0), &mut Random::new(3));
    for row_op in &ROW_OPS {
        let runs = |device: &Device| [(); 2].map(|()| run(device, row_op, row_op.name, &operands).unwrap());
        let all: Vec<Written> = devices().iter().flat_map(runs).collect();
        let same = |a: &Written, b: &Written| {
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            bits(&a.stream) == bits(&b.stream) && a.operand == b.operand && bits(&a.sums) == bits(&b.sums)
        };
        assert!(all.iter().all(|w| same(w, &all[0])), "{}", row_op.name);
    }
}

#[test]
fn faults_are_caught() {
    for row_op in &ROW_OPS {
        // The last block's idle warps have rows in the stream, which they must keep; the last iteration has idle lanes.
        let rows = rows(1, 16, 320, 0, 7);
        assert_caught(&faults_of(row_op.name), |device, kernel| match kernel {
            "rows_lookup_no_id_guard" => unknown_ids(device, kernel),
            _ => test(device, row_op, kernel, rows),
        });
    }
}
