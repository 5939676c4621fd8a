//! Prepared weights: how a matrix that a kernel wants follows from the tensors of a checkpoint.

use super::{Form, Format};

/// A weight in the layout the ops read, and the recipe to get there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Weight {
    /// Rows (outputs); 1 for a vector.
    pub rows: usize,
    /// Columns (inputs), contiguous.
    pub cols: usize,
    /// Where the rows come from.
    pub recipe: Recipe,
    /// In what numbers devices hold it.
    pub format: Format,
}

/// How the rows of a prepared weight follow from stored tensors (named as in the checkpoint).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Recipe {
    /// The stored tensor as it is, seen as `[rows, cols]`.
    Stored(String),
    /// Row `2i` is `even`'s row i, row `2i + 1` is `odd`'s (w1 and w3 of SwiGLU).
    Interleave { even: String, odd: String },
    /// Columns `start .. start + cols` of `source`, whose rows have `width` columns.
    Columns { source: String, start: usize, width: usize },
    /// Of `source`, rows (or elements, for a bias) ordered `[pixel, slot, channel]`, keep slots
    /// `start .. start + count` of `slots` (pixel adaLN).
    PixelSlots { source: String, start: usize, count: usize, slots: usize, channels: usize },
    /// `[out, in, 3, 3]` stored, `[out, 9, in]` prepared.
    ConvTaps { source: String, in_channels: usize },
    /// `left [rows, inner] x right [inner, cols]`.
    Product { left: String, right: String, inner: usize },
    /// `left [rows, inner] x right [inner] + add [rows]`: the bias of a merged pair of linears.
    ProductBias { left: String, right: String, add: String, inner: usize },
}

impl Weight {
    /// A vector in float32, or a matrix in bf16.
    pub const fn new(rows: usize, cols: usize, recipe: Recipe) -> Self {
        let format = if rows == 1 || cols == 1 { Format::F32 } else { Format::BF16 };
        Self { rows, cols, recipe, format }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether it is a row or a column: float32 on a device.
    pub const fn is_vector(&self) -> bool {
        self.rows == 1 || self.cols == 1
    }

    /// Bytes on a device: of a vector in float32, of a matrix in bf16 with padded rows.
    pub fn bytes(&self) -> usize {
        let form = if self.is_vector() { Form::VECTOR } else { Form::MATRIX };
        form.bytes(self)
    }

    /// Names of the stored tensors it is made of.
    pub fn sources(&self) -> Vec<&str> {
        match &self.recipe {
            Recipe::Stored(source)
            | Recipe::Columns { source, .. }
            | Recipe::PixelSlots { source, .. }
            | Recipe::ConvTaps { source, .. } => vec![source],
            Recipe::Interleave { even, odd } => vec![even, odd],
            Recipe::Product { left, right, .. } => vec![left, right],
            Recipe::ProductBias { left, right, add, .. } => vec![left, right, add],
        }
    }

    /// `(source index in [Weight::sources], first element)` of row `row`'s `cols` contiguous stored elements;
    /// `None` for the recipes that compute (`ConvTaps`, `Product`, `ProductBias`).
    pub fn stored_row(&self, row: usize) -> Option<(usize, usize)> {
        match self.recipe {
            Recipe::Stored(_) => Some((0, row * self.cols)),
            Recipe::Interleave { .. } => Some((row % 2, row / 2 * self.cols)),
            Recipe::Columns { start, width, .. } => Some((0, row * width + start)),
            Recipe::PixelSlots { start, count, slots, channels, .. } => {
                let (pixel, rest) = (row / (count * channels), row % (count * channels));
                Some((0, (pixel * slots * channels + start * channels + rest) * self.cols))
            }
            Recipe::ConvTaps { .. } | Recipe::Product { .. } | Recipe::ProductBias { .. } => None,
        }
    }
}
