//! Quantised networks: which scales belong to which weight, and what they mean.
//!
//! Read are the formats of ComfyUI (float8 with one scale, `fp8_scaled` of old and new spelling; int8 with a scale per
//! tensor, row or block, also rotated; mxfp8), scales of the same shapes that other programs write, and plain 8-bit floats.
//! Everything else is named. Sources: ComfyUI `comfy/ops.py` (`_load_quantized_module`), `comfy/utils.py`
//! (`convert_old_quants`), QUANTIZATION.md; comfy-kitchen at 7d86acf.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Checkpoint, CheckpointError, DType, Entry, StoredCoding};
use crate::weights::{Grid, Layout, ScaleOrder, columns, rows};

/// Key of a file's metadata with the format of each layer, as JSON.
pub(super) const METADATA: &str = "_quantization_metadata";
/// A tensor without a meaning of its own in old `fp8_scaled` files.
pub(super) const MARKER: &str = "scaled_fp8";
/// What a weight's scale is called after its layer.
const SCALES: [&str; 3] = ["weight_scale", "scale_weight", "weight_scale_inv"];
/// Scales of the activations, which bf16 products do not need.
const INPUT_SCALES: [&str; 2] = ["input_scale", "scale_input"];
/// The format of one layer, JSON as bytes.
const FORMAT: &str = ".comfy_quant";
/// Elements that share a scale in mxfp8.
const MX_BLOCK: usize = 32;
/// Largest group that is rotated together.
const MAX_ROTATION: usize = 1 << 14;

/// Ends of names that other quantisers write, and what they are.
const FOREIGN: [(&str, &str); 20] = [
    (".quant_state.bitsandbytes__nf4", "nf4 by bitsandbytes"),
    (".quant_state.bitsandbytes__fp4", "fp4 by bitsandbytes"),
    (".weight.nested_absmax", "4-bit numbers by bitsandbytes"),
    (".weight.quant_map", "4-bit numbers by bitsandbytes"),
    (".weight.absmax", "4-bit numbers by bitsandbytes"),
    (".SCB", "int8 (LLM.int8) by bitsandbytes"),
    (".g_idx", "int4 by GPTQ"),
    (".qzeros", "int4 by GPTQ or AWQ"),
    (".qweight", "int4 by GPTQ, AWQ or SVDQuant"),
    (".wscales", "int4 by SVDQuant (Nunchaku)"),
    (".W_q", "HQQ"),
    (".weight_packed", "packed numbers by compressed-tensors"),
    (".weight._data", "optimum-quanto"),
    (".weight.qdata", "torchao"),
    (".weight_s_rel", "4-bit numbers with 8-bit activations by ComfyUI"),
    (".weight_codebook", "numbers of a codebook by ComfyUI"),
    (".weight_zeros", "int4 (AWQ) by ComfyUI"),
    (".weight_zero_point", "integers with a zero point"),
    (".weight_scale_2", "nvfp4"),
    (".pre_quant_scale", "numbers whose inputs are scaled too (AWQ, NVIDIA ModelOpt)"),
];

/// How the tensors called so are quantised, when by a program whose files are not read: `nf4 by bitsandbytes`.
pub(super) fn foreign<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut best = FOREIGN.len();
    for name in names {
        if let Some(at) = FOREIGN[..best].iter().position(|(end, _)| name.ends_with(end)) {
            best = at;
        }
    }
    FOREIGN.get(best).map(|(_, what)| (*what).to_owned())
}

/// What a file says of one layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Spec {
    format: String,
    /// Elements rotated together; 1 for none.
    rotation: usize,
}

impl Spec {
    fn of_json(value: &Value) -> Option<Self> {
        let get = |key: &str| value.get(key).or_else(|| value.get("params")?.get(key));
        let is_rotated = get("convrot").and_then(Value::as_bool).unwrap_or(false);
        let group = get("convrot_groupsize").map_or(Some(256), Value::as_u64)?;
        let rotation = if is_rotated { usize::try_from(group).ok()? } else { 1 };
        Some(Self { format: value.get("format")?.as_str()?.to_owned(), rotation })
    }
}

/// How a weight's elements are to be taken.
struct Meaning {
    dtype: DType,
    layout: Layout,
    /// For people: `int8 per row, rotated by 256`.
    shown: String,
}

impl Checkpoint {
    /// Joins scales to their weights. `prefix` stood before the network's names in the file.
    pub(super) fn join_scales(&mut self, prefix: &str) -> Result<(), CheckpointError> {
        let specs = self.take_specs(prefix)?;
        if let Some(what) = foreign(self.names()) {
            return Err(self.unread(what));
        }
        if let Some(name) = specs.keys().find(|layer| !self.tensors.contains_key(&format!("{layer}.weight"))) {
            return Err(self.unread(format!("{}, but {name}.weight is not there", specs[name].format)));
        }
        self.check_rotation_is_said(!specs.is_empty())?;
        self.tensors.remove(MARKER);
        let names: Vec<String> = self.names().map(str::to_owned).collect();
        for name in names {
            let layer = name.strip_suffix(".weight");
            let mut scale = layer.map_or(Ok(None), |layer| self.take_scale(layer))?;
            let Some(entry) = self.tensors.get(&name) else { continue };
            let spec = layer.and_then(|layer| specs.get(layer));
            // Biases and the like are numbers, or of no use, and then the check says so.
            if layer.is_none() && !entry.dtype.is_f8() {
                continue;
            }
            let meaning = meaning(entry, scale.as_ref(), spec).map_err(|e| self.unread(format!("{e} ({name})")))?;
            let Some(meaning) = meaning else { continue };
            *self.quantisation.entry(meaning.shown).or_default() += 1;
            // Only exponents lie in bytes without type.
            if let Some(scale) = scale.as_mut().filter(|s| s.dtype == DType::U8) {
                scale.dtype = DType::F8E8M0;
            }
            if let Some(entry) = self.tensors.get_mut(&name) {
                entry.dtype = meaning.dtype;
                entry.coding = Some(Arc::new(StoredCoding { layout: meaning.layout, scales: scale }));
            }
        }
        Ok(())
    }

    fn unread(&self, what: String) -> CheckpointError {
        CheckpointError::Quantised { path: self.shown(), what }
    }

    /// The formats of layers, from the metadata and from tensors, which go.
    fn take_specs(&mut self, prefix: &str) -> Result<BTreeMap<String, Spec>, CheckpointError> {
        let mut specs = BTreeMap::new();
        if let Some(text) = self.metadata.get(METADATA) {
            let json: Value = serde_json::from_str(text).unwrap_or_default();
            let Some(layers) = json.get("layers").and_then(Value::as_object) else {
                return Err(self.unread(format!("said in metadata {METADATA} that have no layers")));
            };
            for (name, value) in layers {
                // Layers beside the network are not found.
                let Some((layer, is_exact)) = self.layer(name, prefix) else { continue };
                let spec = Spec::of_json(value).ok_or_else(|| self.unread(format!("{value} ({layer})")))?;
                if is_exact || !specs.contains_key(layer) {
                    specs.insert(layer.to_owned(), spec);
                }
            }
        }
        let said: Vec<String> = self.names().filter(|n| n.ends_with(FORMAT)).map(str::to_owned).collect();
        for name in said {
            let view = self.get(&name).filter(|v| matches!(v.dtype, DType::U8 | DType::I8) && v.coding.is_none());
            let json: Value = view.and_then(|v| serde_json::from_slice(v.bytes).ok()).unwrap_or_default();
            let spec =
                Spec::of_json(&json).ok_or_else(|| self.unread(format!("said in {name}, which has no format")))?;
            specs.insert(name.strip_suffix(FORMAT).unwrap_or(&name).to_owned(), spec);
            self.tensors.remove(&name);
        }
        Ok(specs)
    }

    /// The network's layer that metadata call `name`, and whether by its name in the file: some programs write other
    /// prefixes there.
    fn layer<'a>(&self, name: &'a str, prefix: &str) -> Option<(&'a str, bool)> {
        let is_ours = |layer: &&str| self.tensors.contains_key(&format!("{layer}.weight"));
        let inner = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        name.strip_prefix(prefix)
            .filter(is_ours)
            .map(|layer| (layer, true))
            .or_else(|| [name].into_iter().chain(inner).find(is_ours).map(|layer| (layer, false)))
    }

    /// Refuses int8 weights that may be rotated, as their file's name says, where no layer says how.
    fn check_rotation_is_said(&self, is_said: bool) -> Result<(), CheckpointError> {
        let name = self.path.as_ref().and_then(|p| p.file_name()).map(|n| n.to_string_lossy().to_lowercase());
        let is_int8 = self.tensors.values().any(|entry| entry.dtype == DType::I8);
        if !is_said && is_int8 && name.is_some_and(|name| name.contains("convrot")) {
            return Err(self.unread("int8 with a rotation (ConvRot) by its name, and no layer says which".into()));
        }
        Ok(())
    }

    /// The scale of a layer's weight; scales of its inputs go.
    fn take_scale(&mut self, layer: &str) -> Result<Option<Entry>, CheckpointError> {
        for name in INPUT_SCALES {
            self.tensors.remove(&format!("{layer}.{name}"));
        }
        let mut found = SCALES.iter().filter_map(|name| self.tensors.remove(&format!("{layer}.{name}")));
        let (first, second) = (found.next(), found.next());
        if second.is_some() {
            return Err(self.unread(format!("numbers with two scales ({layer})")));
        }
        Ok(first)
    }

    /// Gives padded weights the shape they were padded from. Only mxfp8 pads, to multiples of 32.
    pub(super) fn trim_padding(&mut self, needed: impl Iterator<Item = (String, Vec<usize>)>) {
        for (name, shape) in needed {
            let Some(entry) = self.tensors.get_mut(&name) else { continue };
            let padded = shape.iter().map(|extent| extent.next_multiple_of(MX_BLOCK));
            let is_mx = entry.coding.as_ref().is_some_and(|c| c.layout.grid.is_some_and(|g| g.cols_per == MX_BLOCK));
            if shape.len() == 2 && is_mx && entry.shape != shape && padded.eq(entry.shape.iter().copied()) {
                entry.shape = shape;
            }
        }
    }
}

/// How `entry` is to be read; `None` for plain numbers.
fn meaning(entry: &Entry, scale: Option<&Entry>, spec: Option<&Spec>) -> Result<Option<Meaning>, String> {
    let format = spec.map(|s| s.format.as_str());
    let dtype = match format {
        None if entry.dtype.is_f8() => entry.dtype,
        None if scale.is_none() && entry.dtype.is_weight() => return Ok(None),
        None if scale.is_none() && entry.dtype != DType::I8 && entry.shape.len() < 2 => return Ok(None),
        None if entry.dtype == DType::I8 || entry.dtype.is_weight() => entry.dtype,
        None => return Err(format!("{} by a program that does not say how", entry.dtype)),
        Some(format) => stored_as(format, entry.dtype)?,
    };
    let is_mx = format == Some("mxfp8") || scale.is_some_and(|s| s.dtype == DType::F8E8M0);
    let rotation = spec.map_or(1, |s| s.rotation);
    let (rows, cols) = (rows(&entry.shape), columns(&entry.shape));
    let (grid, how) = match scale {
        None if dtype.is_f8() && !is_mx => (None, String::new()),
        None => return Err(format!("{dtype} without scales")),
        Some(scale) if is_mx => {
            (Some(mx_grid(scale, rows, cols, format.is_some())?), " with a scale per 32 (mxfp8)".into())
        }
        Some(scale) => {
            let (grid, how) = grid(scale, rows, cols)?;
            (Some(grid), format!(" with a scale per {how}"))
        }
    };
    let turned = if rotation > 1 { format!(", rotated by {rotation} (ConvRot)") } else { String::new() };
    if rotation > 1 {
        let is_power = rotation.is_power_of_two() && rotation.trailing_zeros().is_multiple_of(2);
        let has_row_scales = grid.is_none_or(|g| g.cols_per >= cols);
        if !is_power || rotation > MAX_ROTATION || !cols.is_multiple_of(rotation) || !has_row_scales {
            return Err(format!(
                "{dtype}{how}{turned}: groups are expected to be a power of 4, to divide {cols} columns, and to have one scale per row"
            ));
        }
    }
    let shown = format!("{}{how}{turned}", if dtype == DType::I8 { "int8".to_owned() } else { dtype.to_string() });
    Ok(Some(Meaning { dtype, layout: Layout { stored_cols: cols, grid, rotation }, shown }))
}

/// The type of the elements of a layer in `format`, which may lie in bytes without type.
fn stored_as(format: &str, found: DType) -> Result<DType, String> {
    let (dtype, untyped) = match format {
        "mxfp8" => (DType::F8E4M3, DType::U8),
        _ if format.starts_with("float8_e4m3") => (DType::F8E4M3, DType::U8),
        _ if format.starts_with("float8_e5m2") => (DType::F8E5M2, DType::U8),
        "int8" | "int8_tensorwise" | "int8_rowwise" | "int8_blockwise" => (DType::I8, DType::I8),
        _ => return Err(format!("{format} by ComfyUI")),
    };
    match found {
        _ if found == dtype || found == untyped => Ok(dtype),
        DType::F8E5M2 if format == "mxfp8" => Ok(found),
        _ => Err(format!("{format}, but stored as {found}")),
    }
}

/// One scale for all, for each row, or for each block of a whole grid.
fn grid(scale: &Entry, rows: usize, cols: usize) -> Result<(Grid, String), String> {
    let count: usize = scale.shape.iter().product();
    let wrong = || {
        let (dtype, shape) = (scale.dtype, &scale.shape);
        format!(
            "numbers whose scale is {dtype} {shape:?}: one, one per row of {rows}x{cols}, or a grid of blocks is read"
        )
    };
    if !matches!(scale.dtype, DType::F32 | DType::F16 | DType::Bf16 | DType::F64) {
        return Err(wrong());
    }
    let (high, wide) = match *scale.shape.as_slice() {
        _ if count == 1 => (1, 1),
        [high] if high == rows => (high, 1),
        [high, wide] => (high, wide),
        [high, _, ref ones @ ..] if high == count && !ones.is_empty() => (high, 1),
        _ => return Err(wrong()),
    };
    // The last block of 128 may be cut off.
    let block = |extent: usize, count: usize| match count {
        0 => None,
        _ if extent.is_multiple_of(count) => Some(extent / count),
        _ => (extent.div_ceil(128) == count).then_some(128),
    };
    let (Some(rows_per), Some(cols_per)) = (block(rows, high), block(cols, wide)) else { return Err(wrong()) };
    let how = match (high, wide) {
        (1, 1) => "tensor".to_owned(),
        _ if rows_per == 1 && wide == 1 => "row".to_owned(),
        _ => format!("{rows_per}x{cols_per}"),
    };
    Ok((Grid { rows_per, cols_per, width: wide, order: ScaleOrder::RowMajor }, how))
}

/// A power of two for each 32 elements of a row: in ComfyUI's files in cuBLAS's order, padded, else as a matrix.
fn mx_grid(scale: &Entry, rows: usize, cols: usize, is_comfy: bool) -> Result<Grid, String> {
    let blocks = cols / MX_BLOCK;
    let count: usize = scale.shape.iter().product();
    let (high, wide) = (rows.next_multiple_of(128), blocks.next_multiple_of(4));
    let is_matrix = scale.shape == [rows, blocks];
    let order = match (is_comfy || !is_matrix, count == high * wide) {
        (true, true) => ScaleOrder::Tiled,
        _ if is_matrix => ScaleOrder::RowMajor,
        _ => {
            let shape = &scale.shape;
            return Err(format!("mxfp8 whose scales are {shape:?}: [{high}, {wide}] or [{rows}, {blocks}] is read"));
        }
    };
    if !matches!(scale.dtype, DType::F8E8M0 | DType::U8) || !cols.is_multiple_of(MX_BLOCK) {
        return Err(format!("mxfp8 with scales {} of rows of {cols}", scale.dtype));
    }
    let width = if order == ScaleOrder::Tiled { wide } else { blocks };
    Ok(Grid { rows_per: 1, cols_per: MX_BLOCK, width, order })
}
