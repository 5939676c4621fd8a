//! What `torch.randn` draws on the CPU: MT19937, then Box-Muller in one of two ways by length (PyTorch
//! `aten/src/ATen/native/cpu/DistributionTemplates.h`, `ATen/core/DistributionsHelper.h`).

const STATE: usize = 624;
const MIDDLE: usize = 397;

/// The 32-bit Mersenne Twister (Matsumoto and Nishimura, 1998).
#[derive(Clone, Debug)]
struct Mt19937 {
    state: Vec<u32>,
    next: usize,
}

impl Mt19937 {
    fn new(seed: u32) -> Self {
        let mut state = Vec::with_capacity(STATE);
        let mut word = seed;
        for i in 1..=STATE as u32 {
            state.push(word);
            word = 1_812_433_253u32.wrapping_mul(word ^ (word >> 30)).wrapping_add(i);
        }
        Self { state, next: STATE }
    }

    fn twist(&mut self) {
        for i in 0..STATE {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + MIDDLE) % STATE] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }

    fn word(&mut self) -> u32 {
        if self.next == STATE {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// 24 bits in [0, 1).
    fn uniform(&mut self) -> f32 {
        (self.word() & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0)
    }

    /// 53 bits in [0, 1).
    fn uniform_double(&mut self) -> f64 {
        let (high, low) = (u64::from(self.word()), u64::from(self.word()));
        let bits = (high << 32 | low) & ((1 << 53) - 1);
        bits as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

/// A CPU generator of PyTorch, `torch.Generator().manual_seed(seed)`.
#[derive(Clone, Debug)]
pub(super) struct TorchGenerator {
    engine: Mt19937,
    /// The second of a pair of doubles, kept for the next scalar draw.
    cached: Option<f64>,
}

impl TorchGenerator {
    pub(super) fn new(seed: u64) -> Self {
        Self { engine: Mt19937::new(seed as u32), cached: None }
    }

    /// The next `torch.randn` of `out.len()` elements.
    pub(super) fn normal(&mut self, out: &mut [f32]) {
        if out.len() < 16 {
            out.iter_mut().for_each(|x| *x = self.scalar() as f32);
            return;
        }
        out.iter_mut().for_each(|x| *x = self.engine.uniform());
        let (blocks, rest) = out.as_chunks_mut::<16>();
        blocks.iter_mut().for_each(box_muller);
        if !rest.is_empty() {
            // The last 16 elements, which overlap the block before, are drawn anew.
            let start = out.len() - 16;
            let mut last = [0.0; 16];
            last.iter_mut().for_each(|x| *x = self.engine.uniform());
            box_muller(&mut last);
            out[start..].copy_from_slice(&last);
        }
    }

    fn scalar(&mut self) -> f64 {
        if let Some(cached) = self.cached.take() {
            return cached;
        }
        let (u1, u2) = (self.engine.uniform_double(), self.engine.uniform_double());
        let radius = (-2.0 * (-u2).ln_1p()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * u1).sin_cos();
        self.cached = Some(radius * sin);
        radius * cos
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
