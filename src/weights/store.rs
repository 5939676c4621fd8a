//! Prepared weights: rows gathered from the mapped checkpoint and widened to float32 when a
//! product needs them; only products of two stored matrices are made ahead.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::{PrepareError, Recipe, TensorSource, TensorView, Weight};
use crate::product::product;

/// Prepared weights of one checkpoint; products are computed at first use and kept.
#[derive(Debug)]
pub struct WeightStore {
    source: Arc<dyn TensorSource>,
    products: Mutex<HashMap<Weight, Arc<Vec<f32>>>>,
}

impl WeightStore {
    /// Weights of `source`.
    pub fn new(source: Arc<dyn TensorSource>) -> Self {
        Self { source, products: Mutex::default() }
    }

    /// The prepared weight.
    ///
    /// # Errors
    /// When the checkpoint lacks a source tensor or holds it in another size.
    pub fn matrix<'a>(&'a self, weight: &'a Weight) -> Result<Matrix<'a>, PrepareError> {
        let views = self.views(weight)?;
        let product = match weight.recipe {
            Recipe::Product { .. } | Recipe::ProductBias { .. } => Some(self.product(weight, &views)),
            _ => None,
        };
        Ok(Matrix { weight, views, product })
    }

    fn views(&self, weight: &Weight) -> Result<Vec<TensorView<'_>>, PrepareError> {
        let sources = weight.sources();
        let expected = source_elements(weight);
        let mut views = Vec::with_capacity(sources.len());
        for (name, expected) in sources.into_iter().zip(expected) {
            let view = self.source.tensor(name).ok_or_else(|| PrepareError::Missing { name: name.into() })?;
            if view.len() < expected {
                return Err(PrepareError::Misshapen { name: name.into(), found: view.len(), expected });
            }
            views.push(view);
        }
        Ok(views)
    }

    fn product(&self, weight: &Weight, views: &[TensorView<'_>]) -> Arc<Vec<f32>> {
        let mut products = self.products.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(products.entry(weight.clone()).or_insert_with(|| Arc::new(compute_product(weight, views))))
    }
}

/// Elements that each of [`Weight::sources`] must have at least.
fn source_elements(weight: &Weight) -> Vec<usize> {
    let (rows, cols) = (weight.rows, weight.cols);
    match weight.recipe {
        Recipe::Stored(_) | Recipe::ConvTaps { .. } => vec![rows * cols],
        Recipe::Interleave { .. } => vec![rows / 2 * cols; 2],
        Recipe::Columns { width, .. } => vec![rows * width],
        Recipe::PixelSlots { count, slots, .. } => vec![rows / count * slots * cols],
        Recipe::Product { inner, .. } => vec![rows * inner, inner * cols],
        Recipe::ProductBias { inner, .. } => vec![cols * inner, inner, cols],
    }
}

/// `left x right` (or `left x right + add`, `[1, cols]`) in float32.
fn compute_product(weight: &Weight, views: &[TensorView<'_>]) -> Vec<f32> {
    let left = views[0].to_f32();
    let right = views[1].to_f32();
    match weight.recipe {
        Recipe::ProductBias { inner, .. } => {
            let mut out = views[2].to_f32();
            for (o, row) in out.iter_mut().zip(left.chunks_exact(inner)) {
                *o += row.iter().zip(&right).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32;
            }
            out
        }
        _ => product(&left, &right, weight.rows, weight.cols),
    }
}

/// A weight `[rows, cols]` whose rows are widened on demand.
#[derive(Clone, Debug)]
pub struct Matrix<'a> {
    weight: &'a Weight,
    views: Vec<TensorView<'a>>,
    product: Option<Arc<Vec<f32>>>,
}

impl Matrix<'_> {
    /// Outputs.
    pub fn rows(&self) -> usize {
        self.weight.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.weight.cols
    }

    /// Rows `range` as float32 into `out` `[range.len(), cols]`.
    pub fn widen_rows(&self, range: Range<usize>, out: &mut [f32]) {
        let cols = self.cols();
        if let Some(product) = &self.product {
            out.copy_from_slice(&product[range.start * cols..range.end * cols]);
            return;
        }
        for (row, out) in range.zip(out.chunks_exact_mut(cols)) {
            match self.weight.stored_row(row) {
                Some((source, start)) => self.views[source].widen(start, out),
                None => self.widen_taps(row, out),
            }
        }
    }

    /// One row of a convolution: stored `[in, 9]`, wanted `[9, in]`.
    fn widen_taps(&self, row: usize, out: &mut [f32]) {
        let channels = out.len() / 9;
        let mut stored = vec![0.0; out.len()];
        self.views[0].widen(row * out.len(), &mut stored);
        for (tap, out) in out.chunks_exact_mut(channels).enumerate() {
            for (c, value) in out.iter_mut().enumerate() {
                *value = stored[c * 9 + tap];
            }
        }
    }

    /// All elements.
    pub fn to_vector(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.weight.elements()];
        self.widen_rows(0..self.rows(), &mut out);
        out
    }
}
