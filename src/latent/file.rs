//! Tensors from `.safetensors` and `.npy` files, told apart by content.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use npyz::{DType, NpyFile, TypeChar};

use super::{InputError, check_finite};
use crate::checkpoint::Checkpoint;
use crate::sampler::NoiseSource;

/// A tensor read from a file, float32, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its name in the file, or the file's for `.npy`.
    pub name: String,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// The values.
    pub data: Vec<f32>,
}

const NPY_MAGIC: &[u8] = b"\x93NUMPY";

/// Reads the tensor called `wanted`, or the only one of the file. Values are not checked here.
///
/// # Errors
/// When the file cannot be read, is neither safetensors nor .npy, or holds several tensors, none of that name.
pub fn read_tensor(path: &Path, wanted: &str) -> Result<NamedTensor, InputError> {
    if let Some(map) = npy(path)? {
        return read_npy(path, &map);
    }
    let file = open(path)?;
    let names: Vec<&str> = file.names().collect();
    let name = match names.as_slice() {
        _ if names.contains(&wanted) => wanted,
        [only] => only,
        [] => return Err(fail(path, "holds no tensor")),
        _ => {
            let shown = names.iter().take(8).copied().collect::<Vec<_>>().join(", ");
            let more = if names.len() > 8 { format!(" and {} more", names.len() - 8) } else { String::new() };
            return Err(fail(path, &format!("holds no tensor `{wanted}`, but {shown}{more}")));
        }
    };
    take(&file, path, name)
}

/// The metadata of a safetensors file; a `.npy` file has none.
///
/// # Errors
/// When the file cannot be read, or is neither.
pub fn read_metadata(path: &Path) -> Result<BTreeMap<String, String>, InputError> {
    Ok(match npy(path)? {
        Some(_) => BTreeMap::new(),
        None => open(path)?.metadata().clone(),
    })
}

/// Reads the sampler's noise: tensors `noise.0`, `noise.1`, ... as far as there are, or the only tensor.
///
/// # Errors
/// As [`read_tensor`], or when a value is not finite.
pub fn read_noise(path: &Path) -> Result<NoiseSource, InputError> {
    let mut draws = Vec::new();
    if npy(path)?.is_none() {
        let file = open(path)?;
        while file.get(&format!("noise.{}", draws.len())).is_some() {
            draws.push(take(&file, path, &format!("noise.{}", draws.len()))?);
        }
    }
    if draws.is_empty() {
        draws.push(read_tensor(path, "noise.0")?);
    }
    for (k, draw) in draws.iter().enumerate() {
        check_finite(&format!("{} noise.{k}", path.display()), &draw.data)?;
    }
    Ok(NoiseSource::Given(draws.into_iter().map(|d| d.data).collect()))
}

fn fail(path: &Path, message: &str) -> InputError {
    InputError::File { path: path.display().to_string(), message: message.into() }
}

fn open(path: &Path) -> Result<Checkpoint, InputError> {
    // The error names the path itself.
    Checkpoint::open(path).map_err(|e| InputError::File {
        path: path.display().to_string(),
        message: format!("expected a .safetensors or .npy file: {e}"),
    })
}

fn take(file: &Checkpoint, path: &Path, name: &str) -> Result<NamedTensor, InputError> {
    let view = file.get(name).ok_or_else(|| fail(path, &format!("holds no tensor `{name}`")))?;
    if !view.dtype.is_readable() {
        return Err(fail(path, &format!("tensor `{name}` is of type {}; save it as float32", view.dtype)));
    }
    Ok(NamedTensor { name: name.into(), shape: view.shape.to_vec(), data: view.to_f32() })
}

/// The mapped file when it is a `.npy`.
fn npy(path: &Path) -> Result<Option<Mmap>, InputError> {
    let io = |e: std::io::Error| fail(path, &e.to_string());
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?;
    if !length.is_file() || length.len() < NPY_MAGIC.len() as u64 {
        return Ok(None);
    }
    // SAFETY: the map is only read; a file cut short by another program while it is read ends this one with
    // SIGBUS, as for every mapped input.
    let map = unsafe { Mmap::map(&file) }.map_err(io)?;
    Ok(map.starts_with(NPY_MAGIC).then_some(map))
}

fn read_npy(path: &Path, bytes: &[u8]) -> Result<NamedTensor, InputError> {
    let bad = |e: std::io::Error| fail(path, &format!("damaged .npy file: {e}"));
    let file = NpyFile::new(bytes).map_err(bad)?;
    let mut shape = Vec::new();
    for extent in file.shape() {
        shape.push(usize::try_from(*extent).map_err(|_| fail(path, "damaged .npy file: an extent is too large"))?);
    }
    let DType::Plain(kind) = file.dtype() else {
        return Err(fail(path, "holds records; expected an array of floats"));
    };
    let size = usize::try_from(kind.size_field()).unwrap_or(usize::MAX);
    let needed = shape.iter().try_fold(size, |n, e| n.checked_mul(*e));
    // Nothing is allocated for values that the file does not hold.
    if needed.is_none_or(|n| n > bytes.len()) {
        return Err(fail(
            path,
            &format!("truncated .npy file: shape {shape:?} needs more than its {} bytes", bytes.len()),
        ));
    }
    let fortran = file.order() == npyz::Order::Fortran;
    let values = match (kind.type_char(), size) {
        (TypeChar::Float, 4) => file.into_vec::<f32>().map_err(bad)?,
        (TypeChar::Float, 8) => file.into_vec::<f64>().map_err(bad)?.into_iter().map(|v| v as f32).collect(),
        (TypeChar::Float, 2) => file.into_vec::<half::f16>().map_err(bad)?.into_iter().map(half::f16::to_f32).collect(),
        _ => return Err(fail(path, &format!("holds {kind}; expected float16, float32 or float64"))),
    };
    let data = if fortran { from_fortran(&values, &shape) } else { values };
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(NamedTensor { name, shape, data })
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

    fn floats(count: usize) -> Vec<u8> {
        (0..count).flat_map(|i| (i as f32).to_le_bytes()).collect()
    }

    #[test]
    fn npy_of_either_order() {
        let path = Path::new("x.npy");
        let c = read_npy(path, &npy_bytes("<f4", false, "(2, 3)", &floats(6))).unwrap();
        assert_eq!((c.shape, c.data), (vec![2, 3], vec![0., 1., 2., 3., 4., 5.]));
        let f = read_npy(path, &npy_bytes("<f4", true, "(2, 3)", &floats(6))).unwrap();
        assert_eq!((f.shape, f.data), (vec![2, 3], vec![0., 2., 4., 1., 3., 5.]));
        let half: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
        assert_eq!(read_npy(path, &npy_bytes("<f2", false, "(2,)", &half)).unwrap().data, [1.5, -2.0]);
    }

    #[test]
    fn damaged_npy_is_refused() {
        let path = Path::new("x.npy");
        let whole = npy_bytes("<f4", false, "(2, 3)", &floats(6));
        for cut in 6..whole.len() {
            assert!(read_npy(path, &whole[..cut]).is_err(), "cut at {cut}");
        }
        for shape in ["(1000000000000, 1000000000000)", "(4294967296, 4294967296, 4294967296)", "(2, 300)"] {
            assert!(read_npy(path, &npy_bytes("<f4", false, shape, &floats(6))).is_err(), "{shape}");
        }
        assert!(read_npy(path, &npy_bytes("<c8", false, "(3,)", &floats(6))).is_err());
    }
}
