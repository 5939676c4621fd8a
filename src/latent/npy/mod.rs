//! numpy's files: `.npy`, one array, and `.npz`, a zip archive of them.

mod header;

use std::io::{Cursor, Read};
use std::path::Path;

use zip::ZipArchive;

use self::header::Header;
use super::input::fail;
use super::{InputError, NamedTensor};
use crate::checkpoint::{DType, TensorView};

const NPY_MAGIC: &[u8] = b"\x93NUMPY";
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
/// Deflate makes at most this many bytes of one.
const MOST_INFLATED: u64 = 1032;

/// Whether `bytes` are a `.npy` file.
pub(super) fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(NPY_MAGIC)
}

/// Names of the arrays in `bytes`; `None` where that is no `.npz` archive. Checkpoints are zip archives, too, but hold
/// no file called `.npy`.
pub(super) fn npz_names(bytes: &[u8]) -> Option<Vec<String>> {
    if !bytes.starts_with(ZIP_MAGIC) {
        return None;
    }
    let archive = ZipArchive::new(Cursor::new(bytes)).ok()?;
    let files = archive.file_names().filter_map(Result::ok);
    let names: Vec<String> = files.filter_map(|f| f.strip_suffix(".npy").map(str::to_owned)).collect();
    (!names.is_empty()).then_some(names)
}

/// The array called `name` of a `.npz` archive.
pub(super) fn read_npz(
    path: &Path,
    bytes: &[u8],
    name: &str,
    warnings: &mut Vec<String>,
) -> Result<NamedTensor, InputError> {
    let bad = |e: &dyn std::fmt::Display| fail(path, &format!("damaged .npz archive: {name}: {e}"));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| bad(&e))?;
    let mut entry = archive.by_name(&format!("{name}.npy")).map_err(|e| bad(&e))?;
    let most = (bytes.len() as u64).saturating_mul(MOST_INFLATED);
    let mut array = Vec::new();
    entry.by_ref().take(most).read_to_end(&mut array).map_err(|e| bad(&e))?;
    read_npy(path, &array, name, warnings)
}

/// The array of a `.npy` file; `name` becomes the tensor's.
pub(super) fn read_npy(
    path: &Path,
    bytes: &[u8],
    name: &str,
    warnings: &mut Vec<String>,
) -> Result<NamedTensor, InputError> {
    let header = Header::read(bytes).map_err(|e| fail(path, &format!("damaged .npy file: {e}")))?;
    let Header { descr, is_fortran, shape, values_start } = header;
    let descr = descr.ok_or_else(|| fail(path, "holds records; expected an array of floats"))?;
    let (dtype, size) = match descr.get(1..) {
        Some("f2") => (DType::F16, 2),
        Some("f4") => (DType::F32, 4),
        Some("f8") => (DType::F64, 8),
        Some("V2") => (DType::Bf16, 2),
        _ => {
            let message = format!("holds {descr}; expected float16, bfloat16 (|V2), float32 or float64");
            return Err(fail(path, &message));
        }
    };
    // Nothing is allocated for values that the file does not hold.
    let needed = shape.iter().try_fold(size, |n: usize, extent| n.checked_mul(*extent));
    let held = needed.and_then(|needed| bytes[values_start..].get(..needed)).ok_or_else(|| {
        fail(path, &format!("truncated .npy file: shape {shape:?} needs more than its {} bytes", bytes.len()))
    })?;
    if dtype == DType::Bf16 {
        warnings.push(format!("{}: numbers of type {descr} are read as bfloat16", path.display()));
    }
    let values = if descr.starts_with('>') && dtype != DType::Bf16 {
        let little: Vec<u8> = held.chunks_exact(size).flat_map(|value| value.iter().rev().copied()).collect();
        TensorView::plain(dtype, &shape, &little).to_f32()
    } else {
        TensorView::plain(dtype, &shape, held).to_f32()
    };
    let data = if is_fortran { from_fortran(&values, &shape) } else { values };
    Ok(NamedTensor { name: name.into(), shape, data })
}

/// Values in column-major order to row-major.
fn from_fortran(values: &[f32], shape: &[usize]) -> Vec<f32> {
    (0..values.len())
        .map(|mut row_major| {
            let mut index = 0;
            let mut stride = values.len();
            for extent in shape.iter().rev() {
                stride /= extent;
                index += row_major % extent * stride;
                row_major /= extent;
            }
            values[index]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy_bytes(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let order = if fortran { "True" } else { "False" };
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<NamedTensor, InputError> {
        read_npy(Path::new("x.npy"), bytes, "x", &mut Vec::new())
    }

    fn floats(count: usize) -> Vec<u8> {
        (0..count).flat_map(|i| (i as f32).to_le_bytes()).collect()
    }

    #[test]
    fn npy_of_either_order() {
        let c = read(&npy_bytes("<f4", false, "(2, 3)", &floats(6))).unwrap();
        assert_eq!((c.shape, c.data), (vec![2, 3], vec![0., 1., 2., 3., 4., 5.]));
        let f = read(&npy_bytes("<f4", true, "(2, 3)", &floats(6))).unwrap();
        assert_eq!((f.shape, f.data), (vec![2, 3], vec![0., 2., 4., 1., 3., 5.]));
        let half: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
        assert_eq!(read(&npy_bytes("<f2", false, "(2,)", &half)).unwrap().data, [1.5, -2.0]);
    }

    #[test]
    fn npy_of_either_order_of_bytes() {
        let values = [1.5f64, -2.0, 1e-3];
        let little: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let big: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
        for (descr, data) in [("<f8", little), (">f8", big)] {
            assert_eq!(read(&npy_bytes(descr, false, "(3,)", &data)).unwrap().data, [1.5, -2.0, 1e-3]);
        }
    }

    #[test]
    fn two_raw_bytes_are_bfloat16_and_said_to_be() {
        let data: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
        for descr in ["<V2", "|V2"] {
            let mut warnings = Vec::new();
            let bytes = npy_bytes(descr, true, "(2,)", &data);
            let read = read_npy(Path::new("x.npy"), &bytes, "x", &mut warnings).unwrap();
            assert_eq!(read.data, [1.5, -2.0]);
            assert!(warnings.len() == 1 && warnings[0].contains("bfloat16"), "{warnings:?}");
        }
        assert!(read(&npy_bytes("|V2", false, "(3,)", &data)).is_err());
        let text = read(&npy_bytes("|V3", false, "(1,)", &data)).unwrap_err().to_string();
        assert!(text.contains("V3") && text.contains("float32"), "{text}");
    }

    #[test]
    fn damaged_npy_is_refused() {
        let whole = npy_bytes("<f4", false, "(2, 3)", &floats(6));
        for cut in 6..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for shape in ["(1000000000000, 1000000000000)", "(4294967296, 4294967296, 4294967296)", "(2, 300)"] {
            assert!(read(&npy_bytes("<f4", false, shape, &floats(6))).is_err(), "{shape}");
        }
        assert!(read(&npy_bytes("<c8", false, "(3,)", &floats(6))).is_err());
        // A header of 4 GB that is not there, and one of brackets alone.
        let far = [b"\x93NUMPY\x02\x00".as_slice(), &u32::MAX.to_le_bytes(), b"{}"].concat();
        assert!(read(&far).unwrap_err().to_string().contains("64 KiB"));
        let deep = npy_bytes("<f4", false, &"(".repeat(20_000), &[]);
        assert!(read(&deep).unwrap_err().to_string().contains("its header is `{'descr'"));
    }
}
