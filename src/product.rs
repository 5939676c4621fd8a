//! Products of float32 matrices (the crate `gemm-f32` does the arithmetic).

use gemm_common::Parallelism;

/// A matrix seen through strides (elements).
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row: usize,
    pub(crate) col: usize,
}

impl Strided<'_> {
    fn fits(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || (rows - 1) * self.row + (cols - 1) * self.col < self.data.len()
    }
}

/// Whether a product adds to what `out` holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accumulate {
    No,
    Yes,
}

/// `out [m, n] (+)= lhs [m, k] x rhs [k, n]`, `out` row-major.
pub(crate) fn multiply(
    lhs: Strided<'_>,
    rhs: Strided<'_>,
    out: &mut [f32],
    [m, n, k]: [usize; 3],
    accumulate: Accumulate,
    parallelism: Parallelism,
) {
    assert!(lhs.fits(m, k) && rhs.fits(k, n) && out.len() >= m * n, "gemm: {m} x {n} x {k} leaves an operand");
    // The kernels want columns of `dst` to lie together, and ours are rows: out^T = rhs^T x lhs^T.
    // SAFETY: the assertion above bounds every access of the three operands; `out` is borrowed exclusively.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            n,
            m,
            k,
            out.as_mut_ptr(),
            n as isize,
            1,
            accumulate == Accumulate::Yes,
            rhs.data.as_ptr(),
            rhs.row as isize,
            rhs.col as isize,
            lhs.data.as_ptr(),
            lhs.row as isize,
            lhs.col as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// `left [rows, inner] x right [inner, cols]` on all threads.
pub(crate) fn product(left: &[f32], right: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let inner = left.len() / rows.max(1);
    let mut out = vec![0.0; rows * cols];
    let lhs = Strided { data: left, row: inner, col: 1 };
    let rhs = Strided { data: right, row: cols, col: 1 };
    multiply(lhs, rhs, &mut out, [rows, cols, inner], Accumulate::No, Parallelism::Rayon(0));
    out
}
