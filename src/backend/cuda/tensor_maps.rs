//! Tensor maps, each encoded once: a decode asks for the very ones of the decode before it, over a thousand of them.

use std::collections::HashMap;

use cudarc::driver::{result, sys};

use crate::kernels::params::PidTensorMap;
use crate::kernels::tensor_map::{Element, Swizzle, Tiled};

/// Kept at most; a decode of a network needs a few hundred.
const MOST: usize = 1 << 14;

/// What was encoded.
#[derive(Debug, Default)]
pub(super) struct TensorMaps {
    known: HashMap<Key, PidTensorMap>,
}

/// A [`Tiled`], zeros beyond its rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    element: Element,
    swizzle: Swizzle,
    address: u64,
    rank: usize,
    dims: [u64; 5],
    strides: [u64; 4],
    box_dims: [u32; 5],
}

impl Key {
    /// `tiled` has passed [`Tiled::check`].
    fn new(tiled: &Tiled<'_>) -> Self {
        fn padded<T: Copy + Default, const N: usize>(values: &[T]) -> [T; N] {
            std::array::from_fn(|i| values.get(i).copied().unwrap_or_default())
        }
        Self {
            element: tiled.element,
            swizzle: tiled.swizzle,
            address: tiled.address,
            rank: tiled.rank(),
            dims: padded(tiled.dims),
            strides: padded(tiled.strides),
            box_dims: padded(tiled.box_dims),
        }
    }
}

impl TensorMaps {
    /// The map of `tiled`, which has passed [`Tiled::check`].
    ///
    /// # Errors
    /// The driver's.
    pub(super) fn get(&mut self, tiled: &Tiled<'_>) -> Result<PidTensorMap, result::DriverError> {
        let key = Key::new(tiled);
        if let Some(map) = self.known.get(&key) {
            return Ok(*map);
        }
        let map = encode(&key)?;
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(key, map);
        Ok(map)
    }
}

fn encode(key: &Key) -> Result<PidTensorMap, result::DriverError> {
    let element = match key.element {
        Element::U8 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT8,
        Element::F32 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        Element::Bf16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
    };
    let swizzle = match key.swizzle {
        Swizzle::None => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
        Swizzle::Bytes128 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
    };
    let mut map = sys::CUtensorMap { opaque: [0; 16] };
    // SAFETY: the arrays have five (strides: four) elements, the rank is at most that, and they live through the call.
    // The address is stored, not followed.
    let status = unsafe {
        sys::cuTensorMapEncodeTiled(
            &mut map,
            element,
            key.rank as u32,
            key.address as *mut _,
            key.dims.as_ptr(),
            key.strides.as_ptr(),
            key.box_dims.as_ptr(),
            [1u32; 5].as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    status.result()?;
    Ok(PidTensorMap { opaque: map.opaque })
}
