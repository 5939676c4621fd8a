//! How prepared weights lie in the memory of a device of kernels.

use half::bf16;
use rayon::prelude::*;

use super::{Format, Matrix, RowOrder, Weight};

/// Rows of a matrix are padded to this many elements: 16 bytes, the widest copy.
const ROW_MULTIPLE: usize = 8;

/// How a prepared weight lies in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// bf16 `[rows, cols]`, rows in this order and padded with zeros to a multiple of 8.
    Matrix(RowOrder),
    /// float32, every element times the factor with these bits.
    Vector { factor_bits: u32 },
}

impl Form {
    /// bf16, row after row.
    pub(crate) const MATRIX: Self = Self::Matrix(RowOrder::Plain);

    /// float32 as stored.
    pub(crate) const VECTOR: Self = Self::Vector { factor_bits: 1.0f32.to_bits() };

    /// float32 times `factor`.
    pub(crate) const fn scaled(factor: f32) -> Self {
        Self::Vector { factor_bits: factor.to_bits() }
    }

    /// Elements from row to row.
    pub(crate) fn stride(self, weight: &Weight) -> usize {
        match self {
            Self::Matrix(_) => padded(weight.cols),
            Self::Vector { .. } => weight.cols,
        }
    }

    /// Bytes of `weight` in this form.
    pub(crate) fn bytes(self, weight: &Weight) -> usize {
        match self {
            Self::Matrix(order) => Format::BF16.bytes(order.stored_rows(weight.rows), self.stride(weight)),
            Self::Vector { .. } => Format::F32.bytes(weight.rows, weight.cols),
        }
    }

    /// Writes `matrix` in this form to `out`, which has room for [`Form::bytes`].
    pub(crate) fn pack(self, matrix: &Matrix<'_>, out: &mut [u8]) {
        match self {
            Self::Matrix(order) => narrow(matrix, order, out),
            Self::Vector { factor_bits } => {
                let factor = f32::from_bits(factor_bits);
                for (out, value) in out.chunks_exact_mut(size_of::<f32>()).zip(matrix.to_vector()) {
                    out.copy_from_slice(&(value * factor).to_le_bytes());
                }
            }
        }
    }
}

/// Elements from row to row of a matrix of `cols` columns.
const fn padded(cols: usize) -> usize {
    cols.next_multiple_of(ROW_MULTIPLE)
}

/// Rows in bf16 and in `order`, zeros between and in place of rows that there are not.
fn narrow(matrix: &Matrix<'_>, order: RowOrder, out: &mut [u8]) {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    out.par_chunks_exact_mut(padded(cols) * size_of::<bf16>()).enumerate().for_each_init(
        || vec![0.0f32; cols],
        |row, (stored, out)| {
            let r = order.column(stored);
            let values = if r < rows {
                matrix.widen_rows(r..r + 1, row);
                &row[..]
            } else {
                &[]
            };
            let (values_out, padding) = out.split_at_mut(values.len() * size_of::<bf16>());
            for (o, x) in values_out.chunks_exact_mut(size_of::<bf16>()).zip(values) {
                o.copy_from_slice(&bf16::from_f32(*x).to_le_bytes());
            }
            padding.fill(0);
        },
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::models::pid::Config;
    use crate::progress::NoProgress;
    use crate::weights::{Recipe, WeightStore};

    /// Row after row as the order says, whole blocks, zeros in place of rows that there are not.
    #[test]
    fn rows_are_stored_in_order() {
        let config = Config::tiny();
        let store = WeightStore::new(Arc::new(Checkpoint::synthetic(&config, 3, &NoProgress)));
        let name = "pixel_blocks.0.compress_to_attn.weight";
        let (rows, cols) = (config.pixel_attn_hidden_size, config.pixel_row());
        let weight = Weight::new(rows, cols, Recipe::Stored(name.into()));
        let matrix = store.matrix(&weight).unwrap();
        let packed = |form: Form| {
            let mut bytes = vec![0xff; form.bytes(&weight)];
            form.pack(&matrix, &mut bytes);
            bytes
        };
        let plain = packed(Form::MATRIX);
        assert_eq!(plain.len(), rows * cols * 2);
        let order = RowOrder::Consecutive16 { head: 64 };
        let stored = packed(Form::Matrix(order));
        assert_eq!(stored.len(), 192 * cols * 2, "144 rows are two blocks and a part");
        for (i, row) in stored.chunks_exact(cols * 2).enumerate() {
            match plain.chunks_exact(cols * 2).nth(order.column(i)) {
                Some(expected) => assert!(row == expected, "row {i}"),
                None => assert!(row.iter().all(|x| *x == 0), "row {i}"),
            }
        }
    }

    #[test]
    fn bytes_of_vectors_and_padded_matrices() {
        let bytes = |rows, cols| Weight::new(rows, cols, Recipe::Stored("w".into())).bytes();
        assert_eq!([bytes(1, 10), bytes(10, 1), bytes(10, 10)], [40, 40, 10 * 16 * 2]);
    }
}
