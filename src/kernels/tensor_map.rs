//! Descriptions of tensors for the bulk copies of sm_90 (TMA): what a kernel gets as a `PidTensorMap`.
//!
//! Each driver makes its own of a [`Tiled`], with element strides 1, no interleave, zeros outside of the tensor
//! ([`Target::tensor_map`]): the 128 bytes are opaque.

use super::params::PidTensorMap;
use super::target::{LaunchError, Target};

/// Type of an element, with the number of `CUtensorMapDataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Element {
    /// One byte.
    U8 = 0,
    /// Four bytes.
    F32 = 7,
    /// Two bytes.
    Bf16 = 9,
}

impl Element {
    /// Bytes of one.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::U8 => 1,
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// Where the bytes of a box lie in shared memory, with the number of `CUtensorMapSwizzle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Swizzle {
    /// Row after row.
    None = 0,
    /// Rows of 128 bytes; chunk `c` (16 bytes) of row `r` lies at chunk `c ^ r % 8`.
    Bytes128 = 3,
}

/// A tensor in device memory and the box that one copy moves. Dimensions are innermost first, 2 to 5 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiled<'a> {
    /// Type of the elements.
    pub element: Element,
    /// Address of the first element, a multiple of 16.
    pub address: u64,
    /// Elements of each dimension.
    pub dims: &'a [u64],
    /// Bytes from one to the next along each dimension but the innermost, multiples of 16.
    pub strides: &'a [u64],
    /// Elements of the box in each dimension, at most 256; a multiple of 16 bytes along the innermost.
    pub box_dims: &'a [u32],
    /// How the box lies in shared memory.
    pub swizzle: Swizzle,
}

/// Planes of row-major bf16 rows without gaps, of which one copy moves a box of one plane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planes {
    /// Address of the first element.
    pub(crate) address: u64,
    /// Columns, rows and planes.
    pub(crate) dims: [u32; 3],
    /// Rows from the start of one plane to the next one's, where that is more than it has.
    pub(crate) apart: u32,
    /// Columns and rows of the box.
    pub(crate) box_dims: [u32; 2],
    /// How the box lies in shared memory.
    pub(crate) swizzle: Swizzle,
}

impl Planes {
    /// The map for `target`.
    ///
    /// # Errors
    /// When the target refuses it.
    pub(crate) fn map(&self, target: &dyn Target) -> Result<PidTensorMap, LaunchError> {
        let [columns, rows, _] = self.dims;
        let row = Element::Bf16.bytes() * u64::from(columns);
        target.tensor_map(&Tiled {
            element: Element::Bf16,
            address: self.address,
            dims: &self.dims.map(u64::from),
            strides: &[row, row * u64::from(self.apart.max(rows))],
            box_dims: &[self.box_dims[0], self.box_dims[1], 1],
            swizzle: self.swizzle,
        })
    }
}

impl Tiled<'_> {
    /// Number of dimensions.
    pub(crate) fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Checks that the lists have the lengths that go with each other.
    ///
    /// # Errors
    /// Gives the lengths.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (rank, strides, boxes) = (self.rank(), self.strides.len(), self.box_dims.len());
        if (2..=5).contains(&rank) && boxes == rank && strides == rank - 1 {
            return Ok(());
        }
        Err(format!("tensor map: {rank} dimensions (2 to 5), {strides} strides, a box of {boxes} dimensions"))
    }
}
