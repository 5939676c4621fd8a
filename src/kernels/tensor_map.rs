//! Descriptions of tensors for the bulk copies of sm_90 (TMA): what a kernel gets as a [`PidTensorMap`].
//!
//! [`encode`] makes the emulator's. On a GPU the same arguments go to the driver's `cuTensorMapEncodeTiled` (element
//! strides 1, no interleave, zeros outside of the tensor), whose 128 bytes are opaque.

use std::ffi::{c_char, c_int, c_void};

use super::params::PidTensorMap;

/// Type of an element, with the number of `CUtensorMapDataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

unsafe extern "C" {
    fn pid_emu_encode_tiled(
        map: *mut PidTensorMap,
        element: u32,
        rank: u32,
        address: *mut c_void,
        dims: *const u64,
        strides: *const u64,
        box_dims: *const u32,
        element_strides: *const u32,
        interleave: u32,
        swizzle: u32,
        l2_promotion: u32,
        fill: u32,
        error: *mut c_char,
        error_bytes: usize,
    ) -> c_int;
}

/// The emulator's map of a tensor.
///
/// # Errors
/// Names the argument that a GPU, or the emulator, does not take.
pub fn encode(tiled: &Tiled) -> Result<PidTensorMap, String> {
    let Tiled { element, address, dims, strides, box_dims, swizzle } = tiled;
    let rank = dims.len();
    if !(2..=5).contains(&rank) || box_dims.len() != rank || strides.len() != rank - 1 {
        let (strides, boxes) = (strides.len(), box_dims.len());
        return Err(format!("tensor map: {rank} dimensions (2 to 5), {strides} strides, a box of {boxes} dimensions"));
    }
    let mut map = PidTensorMap { opaque: [0; 16] };
    let mut error = [0u8; 256];
    // SAFETY: the arrays have `rank` (strides: one less) elements, checked above, and live through the call; `error` is
    // as long as said. The address is stored, not followed.
    let failed = unsafe {
        pid_emu_encode_tiled(
            &mut map,
            *element as u32,
            rank as u32,
            *address as *mut c_void,
            dims.as_ptr(),
            strides.as_ptr(),
            box_dims.as_ptr(),
            [1; 5].as_ptr(),
            0,
            *swizzle as u32,
            0,
            0,
            error.as_mut_ptr().cast(),
            error.len(),
        )
    };
    if failed == 0 {
        return Ok(map);
    }
    let end = error.iter().position(|byte| *byte == 0).unwrap_or(error.len());
    Err(String::from_utf8_lossy(&error[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_a_gpu_refuses_are_named() {
        let good = Tiled {
            element: Element::Bf16,
            address: 4096,
            dims: &[100, 20],
            strides: &[208],
            box_dims: &[64, 8],
            swizzle: Swizzle::Bytes128,
        };
        assert!(encode(&good).is_ok());
        let cases: [(Tiled, &str); 7] = [
            (Tiled { address: 4104, ..good.clone() }, "address is not a multiple of 16"),
            (Tiled { strides: &[200], ..good.clone() }, "stride 200 of dimension 1 is not a multiple of 16"),
            (Tiled { strides: &[192], ..good.clone() }, "below the 200 bytes"),
            (Tiled { box_dims: &[64, 257], ..good.clone() }, "box of 257 in dimension 1"),
            (Tiled { box_dims: &[60, 8], ..good.clone() }, "120 bytes, not a multiple of 16"),
            (Tiled { box_dims: &[128, 8], ..good.clone() }, "256 bytes, the swizzle 128"),
            (Tiled { dims: &[100], ..good.clone() }, "1 dimensions"),
        ];
        for (tiled, expected) in cases {
            let error = encode(&tiled).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
