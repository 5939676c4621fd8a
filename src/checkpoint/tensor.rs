//! A tensor as it lies in a checkpoint: storage type, shape and bytes.
//!
//! Row-major and contiguous always; readers that meet strided tensors copy them first. Values are widened
//! to float32 on demand (a row or a panel at a time), so that 16-bit weights can stay in their memory map.

use std::fmt;
use std::sync::OnceLock;

/// Storage type of a tensor in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum DType {
    F64,
    F32,
    F16,
    Bf16,
    /// 8-bit float, 4 exponent and 3 mantissa bits, no infinity (`float8_e4m3fn`).
    F8E4M3,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::F8E4M3 | Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether the network's weights may be stored in this type.
    pub const fn is_weight(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16 | Self::F8E4M3)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F8E4M3 => "f8_e4m3",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::Bool => "bool",
        })
    }
}

/// A borrowed, contiguous, row-major tensor. `bytes.len() == shape.product() * dtype.size()`, little endian;
/// the bytes need not be aligned to the element size.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Storage type.
    pub dtype: DType,
    /// Extents, outermost first; empty for a scalar.
    pub shape: &'a [usize],
    /// The elements.
    pub bytes: &'a [u8],
}

impl TensorView<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Elements `start .. start + out.len()` as float32. 64-bit values are rounded.
    ///
    /// # Panics
    /// When the range leaves the tensor: callers take ranges from shapes they have checked.
    pub fn widen(&self, start: usize, out: &mut [f32]) {
        let size = self.dtype.size();
        let bytes = &self.bytes[start * size..(start + out.len()) * size];
        match self.dtype {
            DType::Bf16 => widen_bf16(bytes, out),
            DType::F32 => map(bytes, out, f32::from_le_bytes),
            DType::F16 => map(bytes, out, |b| half::f16::from_le_bytes(b).to_f32()),
            DType::F8E4M3 => {
                let table = f8_e4m3_table();
                map(bytes, out, |[b]| table[b as usize]);
            }
            DType::F64 => map(bytes, out, |b| f64::from_le_bytes(b) as f32),
            DType::I64 => map(bytes, out, |b| i64::from_le_bytes(b) as f32),
            DType::I32 => map(bytes, out, |b| i32::from_le_bytes(b) as f32),
            DType::I16 => map(bytes, out, |b| f32::from(i16::from_le_bytes(b))),
            DType::I8 => map(bytes, out, |b| f32::from(i8::from_le_bytes(b))),
            DType::U8 | DType::Bool => map(bytes, out, |[b]| f32::from(b)),
        }
    }

    /// All elements as float32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.len()];
        self.widen(0, &mut out);
        out
    }
}

fn map<const N: usize>(bytes: &[u8], out: &mut [f32], f: impl Fn([u8; N]) -> f32) {
    for (o, b) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *o = f(*b);
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw", "x86_64+avx2"))]
fn widen_bf16(bytes: &[u8], out: &mut [f32]) {
    for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *o = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
    }
}

/// Value of each of the 256 codes of `float8_e4m3fn` (OCP 8-bit floating point, bias 7, S.1111.111 is NaN).
fn f8_e4m3_table() -> &'static [f32; 256] {
    static TABLE: OnceLock<[f32; 256]> = OnceLock::new();
    TABLE.get_or_init(|| {
        std::array::from_fn(|code| {
            let sign = if code & 0x80 == 0 { 1.0 } else { -1.0 };
            let exponent = ((code >> 3) & 15) as i32;
            let mantissa = (code & 7) as f32;
            sign * match (exponent, code & 7) {
                (15, 7) => f32::NAN,
                (0, _) => mantissa * 2f32.powi(-9),
                _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f8_e4m3_codes() {
        let t = f8_e4m3_table();
        assert_eq!((t[0x38], t[0x7e], t[0x01], t[0xb8]), (1.0, 448.0, 2f32.powi(-9), -1.0));
        assert!(t[0x7f].is_nan() && t[0xff].is_nan());
    }

    #[test]
    fn widen_reads_ranges() {
        let bytes: Vec<u8> = [1.0f32, -2.5, 3.0].iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
        let view = TensorView { dtype: DType::Bf16, shape: &[3], bytes: &bytes };
        let mut out = [0.0; 2];
        view.widen(1, &mut out);
        assert_eq!(out, [-2.5, 3.0]);
        assert_eq!(view.to_f32(), [1.0, -2.5, 3.0]);
    }
}
