//! The order in which a matrix' rows lie in device memory, so that the accumulators of wgmma give each thread columns that
//! stand together (`kernels/sm90/epilogue.cuh`).
//!
//! In every n-tile of 8 columns, wgmma gives thread `q` of a quad columns `2 q` and `2 q + 1`.

/// Which of the product's columns each row of the stored matrix makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RowOrder {
    /// Row `i` makes column `i`.
    #[default]
    Plain,
    /// Blocks of `head` columns, 64 or 72: thread `q` gets `16 q` to `16 q + 15`; of a ninth n-tile what it would anyway.
    Consecutive16 {
        /// Columns of a block.
        head: usize,
    },
    /// Blocks of 16 columns: thread `q` gets `4 q` to `4 q + 3`.
    Groups16,
}

impl RowOrder {
    /// The column that stored row `row` makes.
    pub fn column(self, row: usize) -> usize {
        match self {
            Self::Plain => row,
            Self::Consecutive16 { head } => {
                let (block, within) = (row / head * head, row % head);
                let (tile, q, last) = (within / 8, within % 8 / 2, within % 2);
                if tile == 8 { row } else { block + 16 * q + 2 * tile + last }
            }
            Self::Groups16 => {
                let (block, within) = (row / 16 * 16, row % 16);
                let (tile, q, last) = (within / 8, within % 8 / 2, within % 2);
                block + 4 * q + 2 * tile + last
            }
        }
    }

    /// Rows of a matrix of `rows` rows as it is stored: whole blocks.
    pub fn stored_rows(self, rows: usize) -> usize {
        match self {
            Self::Plain => rows,
            Self::Consecutive16 { head } => rows.next_multiple_of(head),
            Self::Groups16 => rows.next_multiple_of(16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The registers of a thread, in order, name the columns that the epilogues expect.
    #[test]
    fn threads_get_columns_that_stand_together() {
        let columns_of = |order: RowOrder, tiles: usize, q: usize| -> Vec<usize> {
            (0..tiles).flat_map(|j| [8 * j + 2 * q, 8 * j + 2 * q + 1]).map(|row| order.column(row)).collect()
        };
        for q in 0..4 {
            let consecutive: Vec<usize> = (16 * q..16 * q + 16).collect();
            let order = RowOrder::Consecutive16 { head: 64 };
            assert_eq!(columns_of(order, 8, q), consecutive);
            let ninth = [64 + 2 * q, 65 + 2 * q];
            assert_eq!(columns_of(RowOrder::Consecutive16 { head: 72 }, 9, q), [&consecutive[..], &ninth].concat());
            let groups: Vec<usize> = (0..4).flat_map(|g| 16 * g + 4 * q..16 * g + 4 * q + 4).collect();
            assert_eq!(columns_of(RowOrder::Groups16, 8, q), groups);
        }
    }

    #[test]
    fn every_column_is_made_once() {
        for (order, rows) in [
            (RowOrder::Consecutive16 { head: 64 }, 192),
            (RowOrder::Consecutive16 { head: 72 }, 216),
            (RowOrder::Groups16, 96),
            (RowOrder::Plain, 7),
        ] {
            let mut columns: Vec<usize> = (0..rows).map(|row| order.column(row)).collect();
            columns.sort_unstable();
            assert_eq!(columns, (0..rows).collect::<Vec<_>>(), "{order:?}");
        }
    }
}
