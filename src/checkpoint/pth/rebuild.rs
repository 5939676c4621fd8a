//! From a pickle's nodes to tensors over the archive's bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::containers::{self, Found};
use super::unpickle::{Id, MAX_RANK, Node, Pickle, TensorNode};
use super::{Contents, PthBytes, PthError, PthTensor};
use crate::checkpoint::DType;

/// Every tensor of the pickle, wherever it lies.
pub(super) fn tensors(
    pickle: &Pickle,
    bytes: &[u8],
    file: &[u8],
    storages: &BTreeMap<String, Range<usize>>,
) -> Result<Contents, PthError> {
    let Found { tensors, container } = containers::find(pickle)?;
    if tensors.is_empty() {
        return Err(PthError::NoTensors);
    }
    let mut found = BTreeMap::new();
    // Copies of strided views may not outgrow the file many times over.
    let mut copied = 0usize;
    for (name, id) in tensors {
        let fail = |message: String| PthError::Tensor { name: name.clone(), message };
        let tensor = match &pickle.nodes[id] {
            Node::Tensor(tensor) => rebuild(pickle, tensor, file, storages),
            _ => array(pickle, id, bytes),
        };
        let tensor = tensor.map_err(fail)?;
        if let PthBytes::Owned(bytes) = &tensor.storage {
            copied = copied.saturating_add(bytes.len());
            if copied > file.len().saturating_mul(4) {
                return Err(fail("its strided views would take more than four times the file".into()));
            }
        }
        if found.contains_key(&name) {
            return Err(PthError::Ambiguous(name));
        }
        found.insert(name, tensor);
    }
    Ok(Contents { tensors: found, container })
}

fn rebuild(
    pickle: &Pickle,
    tensor: &TensorNode,
    file: &[u8],
    storages: &BTreeMap<String, Range<usize>>,
) -> Result<PthTensor, String> {
    let Node::Text(key) = &pickle.nodes[tensor.key] else { return Err("its storage has no name".into()) };
    let storage = storages.get(key).ok_or_else(|| format!("its storage data/{key} is not in the archive"))?;
    let size = tensor.dtype.bits() / 8;
    let extents = || tensor.shape.iter().map(|e| usize::try_from(*e).ok()).collect::<Option<Vec<usize>>>();
    let steps = || tensor.strides.iter().map(|s| usize::try_from(*s).ok()).collect::<Option<Vec<usize>>>();
    let (Some(shape), Some(strides), Ok(offset)) = (extents(), steps(), usize::try_from(tensor.offset)) else {
        return Err(format!("negative size, stride or offset: {tensor:?}"));
    };
    let held = storage.len() / size;
    let elements = count(&shape)?;
    if elements == 0 {
        return Ok(PthTensor { dtype: tensor.dtype, shape, storage: PthBytes::Owned(Vec::new()) });
    }
    let last = shape.iter().zip(&strides).try_fold(offset, |at, (e, s)| at.checked_add((e - 1).checked_mul(*s)?));
    if last.is_none_or(|last| last >= held) {
        return Err(format!(
            "shape {shape:?}, strides {strides:?}, offset {offset} reach beyond its storage of {held} elements"
        ));
    }
    let storage = if is_contiguous(&shape, &strides) {
        let start = storage.start + offset * size;
        PthBytes::Mapped(start..start + elements * size)
    } else {
        // A view may name an element several times (stride 0), but no more than a few times in good files.
        if elements > held.saturating_mul(16) {
            return Err(format!("shape {shape:?} repeats its storage of {held} elements more than 16 times"));
        }
        PthBytes::Owned(gather(&file[storage.clone()], size, offset, &shape, &strides, elements))
    };
    Ok(PthTensor { dtype: tensor.dtype, shape, storage })
}

fn count(shape: &[usize]) -> Result<usize, String> {
    Ok(shape.iter().try_fold(1usize, |n, e| n.checked_mul(*e)).ok_or("its size overflows")?)
}

/// The array of NumPy that a device's tensor was saved as; `bytes` is the pickle.
fn array(pickle: &Pickle, id: Id, bytes: &[u8]) -> Result<PthTensor, String> {
    let advice = "save it from the CPU instead: torch.save(tensor.cpu(), path)";
    let unknown = || format!("it was saved from another device in a form that is not read; {advice}");
    let Node::Array(Some(state)) = &pickle.nodes[id] else { return Err(unknown()) };
    let Node::Tuple(items) = &pickle.nodes[*state] else { return Err(unknown()) };
    let [_, shape, kind, is_fortran, data] = items.as_slice() else { return Err(unknown()) };
    let (Node::Tuple(shape), Node::ArrayType { code, is_big_endian }) = (&pickle.nodes[*shape], &pickle.nodes[*kind])
    else {
        return Err(unknown());
    };
    let (Node::Text(code), Node::Bool(is_fortran)) = (&pickle.nodes[*code], &pickle.nodes[*is_fortran]) else {
        return Err(unknown());
    };
    let dtype = array_dtype(code).filter(|_| !is_big_endian).ok_or_else(|| format!("an array of {code}; {advice}"))?;
    if shape.len() > MAX_RANK {
        return Err(unknown());
    }
    let extent = |id: &Id| match pickle.nodes[*id] {
        Node::Int(value) => usize::try_from(value).ok(),
        _ => None,
    };
    let shape: Vec<usize> = shape.iter().map(extent).collect::<Option<_>>().ok_or_else(unknown)?;
    let owned = match &pickle.nodes[*data] {
        Node::Bytes(range) => bytes.get(range.clone()).ok_or_else(unknown)?.to_vec(),
        Node::Latin1(text) => latin1(pickle, *text).ok_or_else(unknown)?,
        _ => return Err(unknown()),
    };
    let (elements, size) = (count(&shape)?, dtype.bits() / 8);
    if elements.checked_mul(size) != Some(owned.len()) {
        return Err(format!("an array of shape {shape:?} and {} bytes", owned.len()));
    }
    let storage = if *is_fortran && elements > 0 {
        let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[..axis].iter().product()).collect();
        gather(&owned, size, 0, &shape, &strides, elements)
    } else {
        owned
    };
    Ok(PthTensor { dtype, shape, storage: PthBytes::Owned(storage) })
}

fn array_dtype(code: &str) -> Option<DType> {
    Some(match code {
        "f8" => DType::F64,
        "f4" => DType::F32,
        "f2" => DType::F16,
        "i8" => DType::I64,
        "i4" => DType::I32,
        "i2" => DType::I16,
        "i1" => DType::I8,
        "u8" => DType::U64,
        "u4" => DType::U32,
        "u2" => DType::U16,
        "u1" => DType::U8,
        "b1" => DType::Bool,
        _ => return None,
    })
}

/// The bytes that a text of code points below 256 stands for.
fn latin1(pickle: &Pickle, text: Id) -> Option<Vec<u8>> {
    let Node::Text(text) = &pickle.nodes[text] else { return None };
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(extent, stride)| {
        let fits = *extent == 1 || *stride == expected;
        expected *= extent;
        fits
    })
}

/// The view's elements in row-major order.
fn gather(storage: &[u8], size: usize, offset: usize, shape: &[usize], strides: &[usize], elements: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(elements * size);
    let mut index = vec![0; shape.len()];
    for _ in 0..elements {
        let at = offset + index.iter().zip(strides).map(|(i, s)| i * s).sum::<usize>();
        out.extend_from_slice(&storage[at * size..(at + 1) * size]);
        for (i, extent) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < *extent {
                break;
            }
            *i = 0;
        }
    }
    out
}
