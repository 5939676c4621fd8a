//! From a pickle's nodes to tensors over the archive's bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::unpickle::{Id, Node, Pickle, TensorNode};
use super::{PthBytes, PthError, PthTensor};

/// Most dimensions of a tensor.
const MAX_RANK: usize = 16;

/// Tensors of the dict that holds most of them, wherever it lies.
pub(super) fn tensors(
    pickle: &Pickle,
    file: &[u8],
    storages: &BTreeMap<String, Range<usize>>,
) -> Result<BTreeMap<String, PthTensor>, PthError> {
    let dict = largest_dict(pickle).ok_or(PthError::NoTensors)?;
    let mut found = BTreeMap::new();
    // Copies of strided views may not outgrow the file many times over.
    let mut copied = 0usize;
    for (key, value) in dict {
        let (Node::Text(name), Node::Tensor(tensor)) = (&pickle.nodes[*key], &pickle.nodes[*value]) else { continue };
        let fail = |message: String| PthError::Tensor { name: name.clone(), message };
        let tensor = rebuild(tensor, file, storages).map_err(fail)?;
        if let PthBytes::Owned(bytes) = &tensor.storage {
            copied = copied.saturating_add(bytes.len());
            if copied > file.len().saturating_mul(4) {
                return Err(fail("its strided views would take more than four times the file".into()));
            }
        }
        found.insert(name.clone(), tensor);
    }
    Ok(found)
}

/// Walks the containers from the root; each node once.
fn largest_dict(pickle: &Pickle) -> Option<&[(Id, Id)]> {
    let mut seen = vec![false; pickle.nodes.len()];
    let mut todo = vec![pickle.root];
    let mut best: Option<(usize, &[(Id, Id)])> = None;
    while let Some(id) = todo.pop() {
        if std::mem::replace(&mut seen[id], true) {
            continue;
        }
        match &pickle.nodes[id] {
            Node::Tuple(items) | Node::List(items) => todo.extend(items),
            Node::Dict(items) => {
                let is_tensor = |(key, value): &&(Id, Id)| {
                    matches!((&pickle.nodes[*key], &pickle.nodes[*value]), (Node::Text(_), Node::Tensor(_)))
                };
                let count = items.iter().filter(is_tensor).count();
                if count > best.map_or(0, |(most, _)| most) {
                    best = Some((count, items));
                }
                todo.extend(items.iter().map(|(_, value)| value));
            }
            _ => {}
        }
    }
    best.map(|(_, dict)| dict)
}

fn rebuild(tensor: &TensorNode, file: &[u8], storages: &BTreeMap<String, Range<usize>>) -> Result<PthTensor, String> {
    let key = &tensor.key;
    let storage = storages.get(key).ok_or_else(|| format!("its storage data/{key} is not in the archive"))?;
    let size = tensor.dtype.size();
    let extents = || tensor.shape.iter().map(|e| usize::try_from(*e).ok()).collect::<Option<Vec<usize>>>();
    let steps = || tensor.strides.iter().map(|s| usize::try_from(*s).ok()).collect::<Option<Vec<usize>>>();
    let (Some(shape), Some(strides), Ok(offset)) = (extents(), steps(), usize::try_from(tensor.offset)) else {
        return Err(format!("negative size, stride or offset: {tensor:?}"));
    };
    if shape.len() > MAX_RANK {
        return Err(format!("{} dimensions, at most {MAX_RANK} are read", shape.len()));
    }
    let held = storage.len() / size;
    let elements = shape.iter().try_fold(1usize, |n, e| n.checked_mul(*e)).ok_or("its size overflows")?;
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
