//! The pixel blocks' modulation as ComfyUI saves it: in two halves, one for attention and one for the MLP.
//!
//! ComfyUI views the rows as `[pixel, 6, channel]` and takes slots 0 to 2 and 3 to 5 of every pixel apart
//! (`adaLN_modulation_msa`, `adaLN_modulation_mlp`; its `PiTBlock` reads each as `[pixel, 3 * channel]`), so they are
//! joined pixel by pixel, not one after the other.

use std::sync::Arc;

use super::{Bytes, Checkpoint, CheckpointError, DType, Entry, TensorView};

/// What ComfyUI calls the halves, and the public code the whole.
const HALVES: [&str; 2] = [".adaLN_modulation_msa.", ".adaLN_modulation_mlp."];
const WHOLE: &str = ".adaLN_modulation.0.";
/// Slots of a pixel in one half: shift, scale, gate.
const SLOTS: usize = 3;

impl Checkpoint {
    /// Joins the halves, where there are any.
    pub(super) fn join_halves(&mut self) -> Result<(), CheckpointError> {
        let first: Vec<String> = self.names().filter(|n| n.contains(HALVES[0])).map(str::to_owned).collect();
        let channels = self.outputs("pixel_embedder.proj");
        for msa in first {
            let mlp = msa.replace(HALVES[0], HALVES[1]);
            let whole = msa.replace(HALVES[0], WHOLE).replace(".0.0.", ".0.");
            let (Some(a), Some(b)) = (self.get(&msa), self.get(&mlp)) else { continue };
            let is_fit = a.shape == b.shape
                && channels > 0
                && a.shape.first().is_some_and(|r| r.is_multiple_of(SLOTS * channels));
            if !is_fit {
                continue;
            }
            if self.tensors.contains_key(&whole) {
                return Err(CheckpointError::Ambiguous { path: self.shown(), name: whole });
            }
            let entry = joined(&a, &b, SLOTS * channels);
            self.tensors.remove(&msa);
            self.tensors.remove(&mlp);
            self.tensors.insert(whole, entry);
        }
        Ok(())
    }
}

/// Runs of `run` rows of `a` and `b` in turn.
fn joined(a: &TensorView<'_>, b: &TensorView<'_>, run: usize) -> Entry {
    let mut shape = a.shape.to_vec();
    let width: usize = shape[1..].iter().product();
    shape[0] *= 2;
    let is_plain = a.coding.is_none() && b.coding.is_none() && a.dtype == b.dtype;
    let dtype = if is_plain { a.dtype } else { DType::Bf16 };
    let halves = [a, b].map(|half| if is_plain { half.bytes.to_vec() } else { as_bf16(half) });
    let size = run * width * dtype.bits() / 8;
    let mut bytes = Vec::with_capacity(2 * halves[0].len());
    for (a, b) in halves[0].chunks_exact(size).zip(halves[1].chunks_exact(size)) {
        bytes.extend_from_slice(a);
        bytes.extend_from_slice(b);
    }
    Entry::plain(dtype, shape, Bytes::Owned(Arc::new(bytes)))
}

fn as_bf16(view: &TensorView<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 * view.len());
    let mut take = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    super::for_each_bf16(view, &mut take).expect("a vector takes everything");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_take_turns() {
        let (a, b): (Vec<u8>, Vec<u8>) = ((0..12).collect(), (100..112).collect());
        let (a, b) = (TensorView::plain(DType::U8, &[6, 2], &a), TensorView::plain(DType::U8, &[6, 2], &b));
        let whole = joined(&a, &b, 3);
        let Bytes::Owned(bytes) = whole.bytes else { panic!("made, so owned") };
        assert_eq!(whole.shape, [12, 2]);
        assert_eq!(
            *bytes,
            [(0..6).collect::<Vec<u8>>(), (100..106).collect(), (6..12).collect(), (106..112).collect()].concat()
        );
    }
}
