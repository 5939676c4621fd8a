//! cp.async, ldmatrix, stmatrix and mma.sync: which element of a matrix each lane holds.

use super::{Words, distinct, small};

#[test]
fn cp_async_fills_with_zeros() {
    let input = distinct(128);
    let word = |o: usize| {
        let (source, i) = ((o / 4) ^ 1, o % 4);
        if i < source % 5 { input[4 * source + i] } else { 0 }
    };
    Words::new("micro_cp_async_cg_16", 32, 512).assert(&input, &(0..128).map(word).collect::<Vec<_>>());
}

#[test]
fn cp_async_groups() {
    let input = distinct(128);
    let expected: Vec<u32> = (0..64).map(|o| input[4 * (o % 32) + o / 32]).collect();
    Words::new("micro_cp_async_groups", 32, 1024).assert(&input, &expected);
}

/// Element `col` of row `row` of 8x8 matrix `m`: its own number.
fn element(m: usize, row: usize, col: usize) -> u32 {
    (64 * m + 8 * row + col + 1) as u32
}

/// Four matrices, row after row, two elements a word.
fn matrices() -> Vec<u32> {
    let word = |i: usize| {
        let (m, row, col) = (i / 32, i / 4 % 8, i % 4 * 2);
        element(m, row, col) | element(m, row, col + 1) << 16
    };
    (0..128).map(word).collect()
}

/// PTX ISA, ldmatrix: lane t holds of matrix m, in register m, row t / 4, columns 2 (t % 4) and one more.
fn fragments(transposed: bool) -> Vec<u32> {
    let word = |i: usize| {
        let (lane, m) = (i / 4, i % 4);
        let (row, col) = (lane / 4, lane % 4 * 2);
        if transposed {
            element(m, col, row) | element(m, col + 1, row) << 16
        } else {
            element(m, row, col) | element(m, row, col + 1) << 16
        }
    };
    (0..128).map(word).collect()
}

#[test]
fn ldmatrix() {
    Words::new("micro_ldmatrix_x4", 32, 512).assert(&matrices(), &fragments(false));
    Words::new("micro_ldmatrix_x4_trans", 32, 512).assert(&matrices(), &fragments(true));
}

#[test]
fn stmatrix() {
    Words::new("micro_stmatrix_x4", 32, 512).assert(&fragments(false), &matrices());
}

fn a(row: usize, k: usize) -> i32 {
    small(row * 16 + k, 3)
}
fn b(k: usize, col: usize) -> i32 {
    small(k * 8 + col, 11)
}
fn c(row: usize, col: usize) -> i32 {
    (row * 8 + col) as i32
}

/// Row and column of a lane's accumulator register.
fn accumulator(lane: usize, r: usize) -> (usize, usize) {
    // c0, c1: row lane / 4; c2, c3: 8 further down.
    const ROW: [usize; 4] = [0, 0, 8, 8];
    const COL: [usize; 4] = [0, 1, 0, 1];
    (lane / 4 + ROW[r], lane % 4 * 2 + COL[r])
}

/// The ten words of each lane: a0 .. a7 by pairs, b0 .. b3 by pairs, c0 .. c3. PTX ISA, "Matrix Fragments for
/// mma.m16n8k16 with floating point type".
fn operands(encode: impl Fn(i32) -> u16) -> Vec<u32> {
    // a0, a1: (row, k); a2, a3: (row + 8, k); a4, a5: (row, k + 8); a6, a7: (row + 8, k + 8).
    const A: [(usize, usize); 4] = [(0, 0), (8, 0), (0, 8), (8, 8)];
    // b0, b1: k; b2, b3: k + 8.
    const B: [usize; 2] = [0, 8];
    let pair = |low: i32, high: i32| u32::from(encode(low)) | u32::from(encode(high)) << 16;
    let mut words = Vec::new();
    for lane in 0..32 {
        let (group, k) = (lane / 4, lane % 4 * 2);
        words.extend(A.map(|(row, at)| pair(a(group + row, k + at), a(group + row, k + at + 1))));
        words.extend(B.map(|at| pair(b(k + at, group), b(k + at + 1, group))));
        words.extend([0, 1, 2, 3].map(|r| {
            let (row, col) = accumulator(lane, r);
            (c(row, col) as f32).to_bits()
        }));
    }
    words
}

#[test]
fn mma_m16n8k16() {
    let word = |o: usize| {
        let (row, col) = accumulator(o / 4, o % 4);
        let sum = c(row, col) + (0..16).map(|k| a(row, k) * b(k, col)).sum::<i32>();
        (sum as f32).to_bits()
    };
    let expected: Vec<u32> = (0..128).map(word).collect();
    let bf16 = operands(|x| half::bf16::from_f32(x as f32).to_bits());
    Words::new("micro_mma_m16n8k16_bf16", 32, 0).assert(&bf16, &expected);
    let f16 = operands(|x| half::f16::from_f32(x as f32).to_bits());
    Words::new("micro_mma_m16n8k16_f16", 32, 0).assert(&f16, &expected);
}
