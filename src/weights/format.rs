//! Number formats of tensors and weights, and their bytes: nowhere else is a size computed from a format.

use std::fmt;

/// Type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ElementType {
    F32,
    Bf16,
    /// Whole numbers that name rows of a table.
    I32,
}

impl ElementType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::I32 => "i32",
        })
    }
}

/// For which elements there is a scale, a float32 that they are multiplied by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scale {
    /// Elements are values.
    #[default]
    None,
    /// One for all.
    Tensor,
    /// One for each row.
    Row,
    /// One for so many neighbours in a row, 32 or 128.
    Block(usize),
}

/// What elements are and how they are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    /// Type of an element.
    pub element: ElementType,
    /// Scales beside them.
    pub scale: Scale,
}

impl Format {
    /// float32.
    pub const F32: Self = Self::of(ElementType::F32);
    /// bfloat16.
    pub const BF16: Self = Self::of(ElementType::Bf16);
    /// Whole numbers that name rows of a table.
    pub const IDS: Self = Self::of(ElementType::I32);

    /// Elements that are values.
    pub const fn of(element: ElementType) -> Self {
        Self { element, scale: Scale::None }
    }

    /// Bytes of `rows` rows of `cols` elements, and of their scales.
    pub const fn bytes(self, rows: usize, cols: usize) -> usize {
        let scales = match self.scale {
            Scale::None => 0,
            Scale::Tensor => 1,
            Scale::Row => rows,
            Scale::Block(of) => rows * cols.div_ceil(of),
        };
        rows * cols * self.element.size() + scales * size_of::<f32>()
    }
}

impl From<ElementType> for Format {
    fn from(element: ElementType) -> Self {
        Self::of(element)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scale {
            Scale::None => write!(f, "{}", self.element),
            Scale::Tensor => write!(f, "{} with one scale", self.element),
            Scale::Row => write!(f, "{} with a scale for each row", self.element),
            Scale::Block(of) => write!(f, "{} with a scale for each {of}", self.element),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_hold_elements_and_scales() {
        let scaled = |scale| Format { element: ElementType::Bf16, scale }.bytes(3, 200);
        assert_eq!(Format::F32.bytes(3, 200), 2400);
        assert_eq!([Scale::None, Scale::Tensor, Scale::Row].map(scaled), [1200, 1204, 1212]);
        assert_eq!([32, 128].map(|of| scaled(Scale::Block(of))), [1200 + 4 * 3 * 7, 1200 + 4 * 3 * 2]);
    }
}
