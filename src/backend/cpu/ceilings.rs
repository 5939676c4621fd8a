//! What the CPU does at most: a large copy on all cores, and a product as the network's are done.

use std::sync::Arc;
use std::time::Instant;

use super::gemm::{Factor, tiles};
use crate::exec::Ceilings;
use crate::parallel;
use crate::weights::{DType, TensorView};
use crate::weights::{PrepareError, TensorSource, WeightStore};
use crate::weights::{Recipe, Weight};

/// Rows, columns and inner size: the feed-forward of a real-size network on 1024 tokens.
const PRODUCT: [usize; 3] = [1024, 8192, 1536];
/// Bytes copied: above the caches of most machines.
const COPY_BYTES: usize = 256 << 20;
/// Runs, of which the fastest counts; one before does not.
const RUNS: usize = 5;

pub(super) fn measure() -> Result<Ceilings, PrepareError> {
    let [rows, cols, inner] = PRODUCT;
    Ok(Ceilings {
        copy_bytes_per_second: 2.0 * COPY_BYTES as f64 / copy(),
        product_flop_per_second: 2.0 * (rows * cols * inner) as f64 / product()?,
        product_shape: PRODUCT,
        exp_per_second: None,
    })
}

/// Seconds of the fastest run.
fn fastest(mut run: impl FnMut()) -> f64 {
    run();
    let seconds = (0..RUNS).map(|_| {
        let begin = Instant::now();
        run();
        begin.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min).max(f64::MIN_POSITIVE)
}

fn copy() -> f64 {
    let from = vec![1u8; COPY_BYTES];
    let mut to = vec![0u8; COPY_BYTES];
    let piece = COPY_BYTES.div_ceil(rayon::current_num_threads());
    fastest(|| {
        parallel::pieces(&mut to, piece, &|n, to| to.copy_from_slice(&from[n * piece..][..to.len()]));
        std::hint::black_box(&mut to);
    })
}

/// One stored bf16 matrix.
#[derive(Debug)]
struct Stored {
    bytes: Vec<u8>,
    shape: [usize; 2],
}

impl TensorSource for Stored {
    fn tensor(&self, _name: &str) -> Option<TensorView<'_>> {
        Some(TensorView::plain(DType::Bf16, &self.shape, &self.bytes))
    }
}

fn product() -> Result<f64, PrepareError> {
    let [rows, cols, inner] = PRODUCT;
    // Values from 1 to 2 in bf16, no two neighbours alike.
    let bytes = (0..cols * inner).flat_map(|i| (0x3f80 | (i as u16).wrapping_mul(37) & 0x7f).to_le_bytes()).collect();
    let store = WeightStore::new(Arc::new(Stored { bytes, shape: [cols, inner] }));
    let weight = Weight::new(cols, inner, Recipe::Stored("product".into()));
    let matrix = store.matrix(&weight)?;
    let a: Vec<f32> = (0..rows * inner).map(|i| (i % 61) as f32 / 61.0 - 0.5).collect();
    Ok(fastest(|| {
        let factors = [Factor { a: &a, weight: &matrix, cols_per_unit: 1 }];
        tiles(rows, cols, &factors, &|tile| {
            std::hint::black_box(tile.values);
        });
    }))
}
