//! Quantised tensors: how 8-bit elements, scales and a rotation stand for bf16 values.
//!
//! A value is the element times its scale in float32, rounded to bf16: that of a bf16 file of the same network. Scales
//! lie on a grid, one for `rows_per` rows and `cols_per` columns: one for all, one per row, or one per block. ConvRot
//! files hold each row multiplied by an orthogonal matrix group by group; it is its own inverse and applied again here.
//! Sources: ComfyUI's `comfy/quant_ops.py` and comfy-kitchen `tensor/int8_utils.py`, `float_utils.py` at 7d86acf.

use half::bf16;

use super::tensor::{DType, TensorView};

/// In which order the scales of a grid are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScaleOrder {
    RowMajor,
    /// cuBLAS's: tiles of 128 rows and 4 columns, inside them row `r` of column `c` at `r % 32 * 16 + r / 32 * 4 + c`
    /// ([block scaling factors layout](https://docs.nvidia.com/cuda/cublas/index.html#d-block-scaling-factors-layout)).
    Tiled,
}

/// Where the scale of an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) rows_per: usize,
    pub(crate) cols_per: usize,
    /// Scales of one row of the grid, padding included.
    pub(crate) width: usize,
    pub(crate) order: ScaleOrder,
}

impl Grid {
    fn index(&self, row: usize, col: usize) -> usize {
        let (row, col) = (row / self.rows_per, col / self.cols_per);
        match self.order {
            ScaleOrder::RowMajor => row * self.width + col,
            ScaleOrder::Tiled => {
                let tile = row / 128 * (self.width / 4) + col / 4;
                tile * 512 + row % 32 * 16 + row % 128 / 32 * 4 + col % 4
            }
        }
    }
}

/// Shape of a quantised matrix and of its scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Elements of a stored row, padding included.
    pub(crate) stored_cols: usize,
    /// The grid of scales; `None` where elements are values.
    pub(crate) grid: Option<Grid>,
    /// Elements that were rotated together; 1 for none.
    pub(crate) rotation: usize,
}

/// How the stored elements of a tensor stand for its values.
#[derive(Clone, Copy, Debug)]
pub struct Coding<'a> {
    pub(crate) layout: Layout,
    pub(crate) scale_dtype: DType,
    pub(crate) scales: &'a [u8],
}

impl Coding<'_> {
    fn scale(&self, grid: &Grid, row: usize, col: usize) -> f32 {
        let mut scale = [0.0];
        TensorView::plain(self.scale_dtype, &[], self.scales).widen_stored(grid.index(row, col), &mut scale);
        scale[0]
    }

    /// Values `start .. start + out.len()` of `view`, whose rows are its first axis.
    pub(crate) fn widen(&self, view: &TensorView<'_>, start: usize, out: &mut [f32]) {
        let cols = columns(view.shape);
        let (mut at, mut out) = (start, out);
        while !out.is_empty() {
            let (row, col) = (at / cols, at % cols);
            let run = (cols - col).min(out.len());
            let (here, rest) = std::mem::take(&mut out).split_at_mut(run);
            if self.layout.rotation > 1 {
                self.unrotate(view, row, col, here);
            } else {
                view.widen_stored(row * self.layout.stored_cols + col, here);
                self.multiply(row, col, here);
            }
            here.iter_mut().for_each(|v| *v = bf16::from_f32(*v).to_f32());
            at += here.len();
            out = rest;
        }
    }

    /// Multiplies elements from (`row`, `col`) on, all of that row, by their scales.
    fn multiply(&self, row: usize, mut col: usize, mut values: &mut [f32]) {
        let Some(grid) = &self.layout.grid else { return };
        while !values.is_empty() {
            let run = (grid.cols_per - col % grid.cols_per).min(values.len());
            let scale = self.scale(grid, row, col);
            let (here, rest) = values.split_at_mut(run);
            here.iter_mut().for_each(|v| *v *= scale);
            (col, values) = (col + run, rest);
        }
    }

    /// As [`Self::multiply`] from stored elements on, the rotation undone. A whole row has one scale, so that the sums
    /// over integers come first and are exact: 127 times any group is far below 2^24.
    fn unrotate(&self, view: &TensorView<'_>, row: usize, col: usize, out: &mut [f32]) {
        let group = self.layout.rotation;
        let mut values = vec![0.0; group];
        let normal = 1.0 / (group as f32).sqrt();
        let scale = self.layout.grid.as_ref().map_or(1.0, |grid| self.scale(grid, row, col));
        for first in (col / group * group..col + out.len()).step_by(group) {
            view.widen_stored(row * self.layout.stored_cols + first, &mut values);
            rotate(&mut values);
            let (from, to) = (first.max(col), (first + group).min(col + out.len()));
            for (o, v) in out[from - col..to - col].iter_mut().zip(&values[from - first..to - first]) {
                // A power of two: exact.
                *o = v * normal * scale;
            }
        }
    }
}

/// Elements of a row of a tensor of that shape: everything but the first axis.
pub(crate) fn columns(shape: &[usize]) -> usize {
    match shape {
        [] => 1,
        [only] => *only,
        [_, rest @ ..] => rest.iter().product(),
    }
}

/// Rows of a tensor of that shape; a vector is one row.
pub(crate) fn rows(shape: &[usize]) -> usize {
    if shape.len() < 2 { 1 } else { shape[0] }
}

/// Multiplies by the Kronecker power of `[[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]]`, without its norm
/// `sqrt(len)`. `len` is a power of 4.
fn rotate(values: &mut [f32]) {
    let mut stride = 1;
    while stride < values.len() {
        for block in values.chunks_exact_mut(4 * stride) {
            for i in 0..stride {
                let [a, b, c, d] = [0, 1, 2, 3].map(|k| block[i + k * stride]);
                block[i] = a + b + c - d;
                block[i + stride] = a + b - c + d;
                block[i + 2 * stride] = a - b + c + d;
                block[i + 3 * stride] = b + c + d - a;
            }
        }
        stride *= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rotation_is_its_own_inverse_and_a_kronecker_power() {
        let mut values: Vec<f32> = (0..64).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
        let before = values.clone();
        rotate(&mut values);
        let sign = |i: usize, j: usize| if i + j == 3 { -1.0 } else { 1.0 };
        for (i, v) in values.iter().enumerate() {
            let entry = |j: usize| sign(i / 16, j / 16) * sign(i / 4 % 4, j / 4 % 4) * sign(i % 4, j % 4);
            let expected: f32 = before.iter().enumerate().map(|(j, x)| entry(j) * x).sum();
            assert_eq!(*v, expected, "{i}");
        }
        rotate(&mut values);
        assert!(values.iter().zip(&before).all(|(v, b)| *v == 64.0 * b));
    }

    #[test]
    fn ranges_begin_and_end_anywhere() {
        let bytes: Vec<u8> = (0..3 * 32u32).map(|i| (i * 29 % 251) as u8).collect();
        let scales: Vec<u8> = [0.5f32, 0.013, 3.0].iter().flat_map(|s| s.to_le_bytes()).collect();
        for rotation in [1, 16] {
            let grid = Grid { rows_per: 1, cols_per: 32, width: 1, order: ScaleOrder::RowMajor };
            let layout = Layout { stored_cols: 32, grid: Some(grid), rotation };
            let coding = Coding { layout, scale_dtype: DType::F32, scales: &scales };
            let view = TensorView { coding: Some(coding), ..TensorView::plain(DType::I8, &[3, 32], &bytes) };
            let whole = view.to_f32();
            for (start, end) in [(0, 96), (5, 40), (17, 18), (31, 96), (40, 64)] {
                let mut part = vec![0.0; end - start];
                view.widen(start, &mut part);
                assert_eq!(part, whole[start..end], "{rotation} {start}..{end}");
            }
        }
    }

    /// Where cuBLAS keeps the scale of row 37 and column 5 of a grid padded to 256 by 8.
    #[test]
    fn tiled_scales_are_found() {
        let grid = Grid { rows_per: 1, cols_per: 32, width: 8, order: ScaleOrder::Tiled };
        assert_eq!(grid.index(37, 5 * 32), 512 + 5 * 16 + 4 + 1);
        assert_eq!(grid.index(128, 0), 1024);
    }
}
