//! A tensor as it lies in a checkpoint: storage type, shape and bytes, and how quantised elements stand for values.
//!
//! Row-major and contiguous always; readers that meet strided tensors copy them first. Values are widened
//! to float32 on demand (a row or a panel at a time), so that 16-bit and 8-bit weights can stay in their memory map.

use std::fmt;
use std::sync::OnceLock;

use microfloat::{f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz, f8e8m0fnu};

use super::coding::Coding;

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
    /// 8-bit float, 5 exponent and 2 mantissa bits.
    F8E5M2,
    /// 8 bits of exponent, a power of two: the scale of a block.
    F8E8M0,
    /// AMD's form: one zero, one NaN, bias 8.
    F8E4M3Fnuz,
    /// AMD's form: one zero, one NaN, bias 16.
    F8E5M2Fnuz,
    F6E2M3,
    F6E3M2,
    F4,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    C64,
    C128,
    /// A type that this reader has no name for.
    Unknown,
}

/// Every type with its code in safetensors files, its name in messages, and its bits.
const TYPES: [(DType, &str, &str, usize); 24] = [
    (DType::F64, "F64", "f64", 64),
    (DType::F32, "F32", "f32", 32),
    (DType::F16, "F16", "f16", 16),
    (DType::Bf16, "BF16", "bf16", 16),
    (DType::F8E4M3, "F8_E4M3", "f8_e4m3", 8),
    (DType::F8E5M2, "F8_E5M2", "f8_e5m2", 8),
    (DType::F8E8M0, "F8_E8M0", "f8_e8m0", 8),
    (DType::F8E4M3Fnuz, "F8_E4M3FNUZ", "f8_e4m3fnuz", 8),
    (DType::F8E5M2Fnuz, "F8_E5M2FNUZ", "f8_e5m2fnuz", 8),
    (DType::F6E2M3, "F6_E2M3", "f6_e2m3", 6),
    (DType::F6E3M2, "F6_E3M2", "f6_e3m2", 6),
    (DType::F4, "F4", "f4", 4),
    (DType::I64, "I64", "i64", 64),
    (DType::I32, "I32", "i32", 32),
    (DType::I16, "I16", "i16", 16),
    (DType::I8, "I8", "i8", 8),
    (DType::U64, "U64", "u64", 64),
    (DType::U32, "U32", "u32", 32),
    (DType::U16, "U16", "u16", 16),
    (DType::U8, "U8", "u8", 8),
    (DType::Bool, "BOOL", "bool", 8),
    (DType::C64, "C64", "c64", 64),
    (DType::C128, "C128", "c128", 128),
    (DType::Unknown, "", "an unknown type", 8),
];

impl DType {
    fn row(self) -> &'static (Self, &'static str, &'static str, usize) {
        TYPES.iter().find(|row| row.0 == self).expect("every type has its row")
    }

    /// The type that safetensors files call `code`.
    pub(crate) fn of_code(code: &str) -> Self {
        TYPES.iter().find(|row| row.1 == code).map_or(Self::Unknown, |row| row.0)
    }

    /// What safetensors files call it.
    pub(crate) fn code(self) -> &'static str {
        self.row().1
    }

    /// Bits of one element.
    pub fn bits(self) -> usize {
        self.row().3
    }

    /// Bytes that `elements` take; `None` beyond memory, or where they are no whole bytes.
    pub(crate) fn bytes_of(self, elements: usize) -> Option<usize> {
        let bits = elements.checked_mul(self.bits())?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// Whether the network's weights may be stored in this type without further numbers.
    pub const fn is_weight(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16) || self.is_f8()
    }

    /// Whether it is a number of 8 bits with a mantissa.
    pub(crate) const fn is_f8(self) -> bool {
        matches!(self, Self::F8E4M3 | Self::F8E5M2 | Self::F8E4M3Fnuz | Self::F8E5M2Fnuz)
    }

    /// Whether [`TensorView::widen`] can read it: a real number in whole bytes.
    pub const fn is_readable(self) -> bool {
        !matches!(self, Self::F4 | Self::F6E2M3 | Self::F6E3M2 | Self::C64 | Self::C128 | Self::Unknown)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().2)
    }
}

/// A borrowed, contiguous, row-major tensor, little endian; the bytes need not be aligned to the element size.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Storage type.
    pub dtype: DType,
    /// Extents, outermost first; empty for a scalar.
    pub shape: &'a [usize],
    /// The elements as stored.
    pub bytes: &'a [u8],
    /// How the stored elements stand for values; `None` where they are the values.
    pub coding: Option<Coding<'a>>,
}

impl<'a> TensorView<'a> {
    /// A tensor whose stored elements are its values. `bytes` holds as many as `shape` says.
    pub const fn plain(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Self {
        Self { dtype, shape, bytes, coding: None }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of its values: that of the storage, or bf16 where the storage is quantised.
    pub fn value_dtype(&self) -> DType {
        if self.coding.is_some() { DType::Bf16 } else { self.dtype }
    }

    /// Elements `start .. start + out.len()` as float32. 64-bit values are rounded; quantised ones are those of the bf16
    /// tensor that they stand for; those of a type that is not [`DType::is_readable`] are NaN.
    ///
    /// # Panics
    /// When the range leaves the tensor: callers take ranges from shapes they have checked.
    pub fn widen(&self, start: usize, out: &mut [f32]) {
        match self.coding {
            Some(coding) => coding.widen(self, start, out),
            None => self.widen_stored(start, out),
        }
    }

    /// As [`Self::widen`], the stored elements themselves.
    pub(crate) fn widen_stored(&self, start: usize, out: &mut [f32]) {
        let size = self.dtype.bits() / 8;
        let bytes = if self.dtype.is_readable() { &self.bytes[start * size..(start + out.len()) * size] } else { &[] };
        match self.dtype {
            DType::Bf16 => widen_bf16(bytes, out),
            DType::F32 => map(bytes, out, f32::from_le_bytes),
            DType::F16 => map(bytes, out, |b| half::f16::from_le_bytes(b).to_f32()),
            DType::F8E4M3 | DType::F8E5M2 | DType::F8E8M0 | DType::F8E4M3Fnuz | DType::F8E5M2Fnuz => {
                let table = f8_table(self.dtype);
                map(bytes, out, |[b]| table[b as usize]);
            }
            DType::F64 => map(bytes, out, |b| f64::from_le_bytes(b) as f32),
            DType::I64 => map(bytes, out, |b| i64::from_le_bytes(b) as f32),
            DType::I32 => map(bytes, out, |b| i32::from_le_bytes(b) as f32),
            DType::I16 => map(bytes, out, |b| f32::from(i16::from_le_bytes(b))),
            DType::I8 => map(bytes, out, |b| f32::from(i8::from_le_bytes(b))),
            DType::U64 => map(bytes, out, |b| u64::from_le_bytes(b) as f32),
            DType::U32 => map(bytes, out, |b| u32::from_le_bytes(b) as f32),
            DType::U16 => map(bytes, out, |b| f32::from(u16::from_le_bytes(b))),
            DType::U8 | DType::Bool => map(bytes, out, |[b]| f32::from(b)),
            DType::F4 | DType::F6E2M3 | DType::F6E3M2 | DType::C64 | DType::C128 | DType::Unknown => out.fill(f32::NAN),
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

/// Value of each of the 256 codes of an 8-bit float type.
fn f8_table(dtype: DType) -> &'static [f32; 256] {
    static TABLES: OnceLock<[[f32; 256]; 5]> = OnceLock::new();
    let [e4m3, e5m2, e8m0, e4m3_fnuz, e5m2_fnuz] = TABLES.get_or_init(|| {
        [
            codes(|code| f8e4m3fn::from_bits(code).to_f32()),
            codes(|code| f8e5m2::from_bits(code).to_f32()),
            codes(|code| f8e8m0fnu::from_bits(code).to_f32()),
            codes(|code| f8e4m3fnuz::from_bits(code).to_f32()),
            codes(|code| f8e5m2fnuz::from_bits(code).to_f32()),
        ]
    });
    match dtype {
        DType::F8E5M2 => e5m2,
        DType::F8E8M0 => e8m0,
        DType::F8E4M3Fnuz => e4m3_fnuz,
        DType::F8E5M2Fnuz => e5m2_fnuz,
        _ => e4m3,
    }
}

fn codes(value: impl Fn(u8) -> f32) -> [f32; 256] {
    std::array::from_fn(|code| value(code as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f8_codes() {
        let t = f8_table(DType::F8E4M3);
        assert_eq!((t[0x38], t[0x7e], t[0x01], t[0xb8]), (1.0, 448.0, 2f32.powi(-9), -1.0));
        assert!(t[0x7f].is_nan() && t[0xff].is_nan());
        let t = f8_table(DType::F8E5M2);
        assert_eq!((t[0x3c], t[0x7b], t[0x01], t[0xfc]), (1.0, 57344.0, 2f32.powi(-16), f32::NEG_INFINITY));
        assert!(t[0x7d].is_nan());
        let t = f8_table(DType::F8E8M0);
        assert_eq!((t[127], t[126], t[0], t[254]), (1.0, 0.5, 2f32.powi(-127), 2f32.powi(127)));
        assert!(t[255].is_nan());
        for dtype in [DType::F8E4M3Fnuz, DType::F8E5M2Fnuz] {
            let t = f8_table(dtype);
            assert_eq!((t[0x40], t[0]), (1.0, 0.0));
            assert_eq!(t.iter().filter(|v| v.is_nan()).count(), 1, "{dtype}");
            assert!(t[0x80].is_nan());
        }
    }

    #[test]
    fn codes_are_read_back() {
        for (dtype, code, ..) in TYPES {
            assert_eq!((DType::of_code(code), dtype.code()), (dtype, code));
        }
        assert_eq!(DType::of_code("F3_E1M1"), DType::Unknown);
    }

    #[test]
    fn widen_reads_ranges() {
        let bytes: Vec<u8> = [1.0f32, -2.5, 3.0].iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
        let view = TensorView::plain(DType::Bf16, &[3], &bytes);
        let mut out = [0.0; 2];
        view.widen(1, &mut out);
        assert_eq!(out, [-2.5, 3.0]);
        assert_eq!(view.to_f32(), [1.0, -2.5, 3.0]);
        assert!(TensorView::plain(DType::F4, &[3], &[0]).to_f32().iter().all(|v| v.is_nan()));
        let bytes: Vec<u8> = [7u16, 65535].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(TensorView::plain(DType::U16, &[2], &bytes).to_f32(), [7.0, 65535.0]);
    }
}
