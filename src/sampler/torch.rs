//! What `torch.randn` draws on the CPU: MT19937, then Box-Muller in one of two ways by length (PyTorch
//! `aten/src/ATen/native/cpu/DistributionTemplates.h`, `ATen/core/DistributionsHelper.h`).

use rand_mt::Mt;

/// A CPU generator of PyTorch, `torch.Generator().manual_seed(seed)`.
#[derive(Clone, Debug)]
pub(super) struct TorchGenerator {
    engine: Box<Mt>,
    /// The second of a pair of doubles, kept for the next scalar draw.
    cached: Option<f64>,
}

impl TorchGenerator {
    pub(super) fn new(seed: u64) -> Self {
        Self { engine: Box::new(Mt::new(seed as u32)), cached: None }
    }

    /// The next `torch.randn` of `out.len()` elements.
    pub(super) fn normal(&mut self, out: &mut [f32]) {
        if out.len() < 16 {
            out.iter_mut().for_each(|x| *x = self.scalar() as f32);
            return;
        }
        out.iter_mut().for_each(|x| *x = self.uniform());
        let (blocks, rest) = out.as_chunks_mut::<16>();
        blocks.iter_mut().for_each(box_muller);
        if !rest.is_empty() {
            // The last 16 elements, which overlap the block before, are drawn anew.
            let start = out.len() - 16;
            let mut last = [0.0; 16];
            last.iter_mut().for_each(|x| *x = self.uniform());
            box_muller(&mut last);
            out[start..].copy_from_slice(&last);
        }
    }

    fn scalar(&mut self) -> f64 {
        if let Some(cached) = self.cached.take() {
            return cached;
        }
        let (u1, u2) = (self.uniform_double(), self.uniform_double());
        let radius = (-2.0 * (-u2).ln_1p()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * u1).sin_cos();
        self.cached = Some(radius * sin);
        radius * cos
    }

    /// 24 bits in [0, 1).
    fn uniform(&mut self) -> f32 {
        (self.engine.next_u32() & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0)
    }

    /// 53 bits in [0, 1); the first word is the high one.
    fn uniform_double(&mut self) -> f64 {
        let bits = self.engine.next_u64() & ((1 << 53) - 1);
        bits as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

/// Uniforms j and j + 8 become a pair of normals.
fn box_muller(block: &mut [f32; 16]) {
    for j in 0..8 {
        let (u1, u2) = (1.0 - block[j], block[j + 8]);
        let radius = (-2.0 * u1.ln()).sqrt();
        let (sin, cos) = (std::f32::consts::TAU * u2).sin_cos();
        block[j] = radius * cos;
        block[j + 8] = radius * sin;
    }
}
