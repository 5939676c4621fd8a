//! Where the sampler's noise comes from.

use super::philox;
use super::torch::TorchGenerator;

/// A source of standard normal noise; draw 0 starts the sampler, draw k follows step k - 1.
#[derive(Clone, Debug, PartialEq)]
pub enum NoiseSource {
    /// Counter-based: the same on every device.
    #[allow(missing_docs)]
    Philox { seed: u64 },
    /// What `torch.randn` draws in sequence from one CPU generator.
    #[allow(missing_docs)]
    TorchCpu { seed: u64 },
    /// The caller's, one `[B, 3, H, W]` per draw.
    Given(Vec<Vec<f32>>),
}

/// Noise that does not fit the decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum NoiseError {
    #[error("noise.{draw} is missing: the noise given has {given} draws; the sampler needs one per step (ode: one)")]
    Missing { draw: usize, given: usize },
    #[error("noise.{draw} has {found} values, the picture needs {expected} ([B, 3, H, W])")]
    Length { draw: usize, found: usize, expected: usize },
    #[error("noise.{draw}: element {index} is {value}; every value must be finite")]
    NotFinite { draw: usize, index: usize, value: String },
    #[error("draw {draw} of a torch-cpu generator was asked for after {drawn}: its draws come in sequence")]
    OutOfOrder { draw: usize, drawn: usize },
}

/// Noise of one decode.
#[derive(Clone, Debug)]
pub struct Noise(State);

#[derive(Clone, Debug)]
enum State {
    Philox(u64),
    Torch { generator: TorchGenerator, drawn: usize },
    Given(Vec<Vec<f32>>),
}

impl Noise {
    /// Noise from its first draw on.
    pub fn new(source: NoiseSource) -> Self {
        Self(match source {
            NoiseSource::Philox { seed } => State::Philox(seed),
            NoiseSource::TorchCpu { seed } => State::Torch { generator: TorchGenerator::new(seed), drawn: 0 },
            NoiseSource::Given(draws) => State::Given(draws),
        })
    }

    /// The seed, when the noise is Philox's and a device may draw it itself.
    pub fn philox_seed(&self) -> Option<u64> {
        match self.0 {
            State::Philox(seed) => Some(seed),
            State::Torch { .. } | State::Given(_) => None,
        }
    }

    /// Fills `out`, `[B, 3, H, W]`, with draw `draw`.
    ///
    /// # Errors
    /// When given noise is missing, of another length or not finite, or a sequential generator is asked out of
    /// order.
    pub fn fill(&mut self, draw: usize, out: &mut [f32]) -> Result<(), NoiseError> {
        match &mut self.0 {
            State::Philox(seed) => philox::normal(*seed, draw as u32, out),
            State::Torch { generator, drawn } => {
                if draw != *drawn {
                    return Err(NoiseError::OutOfOrder { draw, drawn: *drawn });
                }
                generator.normal(out);
                *drawn += 1;
            }
            State::Given(draws) => copy_given(draws, draw, out)?,
        }
        Ok(())
    }
}

fn copy_given(draws: &[Vec<f32>], draw: usize, out: &mut [f32]) -> Result<(), NoiseError> {
    let values = draws.get(draw).ok_or(NoiseError::Missing { draw, given: draws.len() })?;
    if values.len() != out.len() {
        return Err(NoiseError::Length { draw, found: values.len(), expected: out.len() });
    }
    if let Some(index) = values.iter().position(|v| !v.is_finite()) {
        return Err(NoiseError::NotFinite { draw, index, value: values[index].to_string() });
    }
    out.copy_from_slice(values);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/torch_cpu_randn.safetensors");

    fn worst(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    /// PyTorch's vector `log` and `sin` differ from ours in the last units: 2e-6.
    #[test]
    fn torch_cpu_parity() {
        let golden = Checkpoint::open(GOLDEN.as_ref()).unwrap();
        let mut compared = 0;
        for name in golden.names().filter(|n| !n.contains("sequence")) {
            let seed = name.split('.').nth(1).and_then(|s| s.strip_prefix("seed")).unwrap().parse().unwrap();
            let expected = golden.get(name).unwrap().to_f32();
            let mut drawn = vec![0.0; expected.len()];
            Noise::new(NoiseSource::TorchCpu { seed }).fill(0, &mut drawn).unwrap();
            assert!(worst(&drawn, &expected) <= 2e-6, "{name}: {:e}", worst(&drawn, &expected));
            compared += 1;
        }
        assert_eq!(compared, 18);
        let mut noise = Noise::new(NoiseSource::TorchCpu { seed: 7 });
        for k in 0..3 {
            let expected = golden.get(&format!("randn.seed7.sequence.{k}")).unwrap().to_f32();
            let mut drawn = vec![0.0; expected.len()];
            noise.fill(k, &mut drawn).unwrap();
            assert!(worst(&drawn, &expected) <= 2e-6, "sequence {k}");
        }
        assert!(matches!(noise.fill(1, &mut []), Err(NoiseError::OutOfOrder { .. })));
    }

    #[test]
    fn given_noise_must_fit() {
        let mut noise = Noise::new(NoiseSource::Given(vec![vec![0.5; 4], vec![f32::NAN; 4]]));
        let mut out = [0.0; 4];
        noise.fill(0, &mut out).unwrap();
        assert_eq!(out, [0.5; 4]);
        assert!(noise.fill(1, &mut out).unwrap_err().to_string().contains("noise.1: element 0 is NaN"));
        assert_eq!(noise.fill(2, &mut out), Err(NoiseError::Missing { draw: 2, given: 2 }));
        assert_eq!(noise.fill(0, &mut [0.0; 5]), Err(NoiseError::Length { draw: 0, found: 4, expected: 5 }));
    }
}
