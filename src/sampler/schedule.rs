//! Times of the distilled student.

use std::fmt;

/// Times the released checkpoints were distilled for (DMD2, four steps).
const TIMES: [f64; 5] = [0.999, 0.866, 0.634, 0.342, 0.0];

/// How the sampler moves from one time to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sampler {
    /// `x = (1 - t') x0 + t' noise`, fresh noise each time: what the student was distilled with.
    #[default]
    Sde,
    /// `x += (t' - t) v`.
    Ode,
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sde => "sde",
            Self::Ode => "ode",
        })
    }
}

/// One pass of the sampler's loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// From 0.
    pub index: usize,
    /// Time at which the network is called, in (0, 1].
    pub t: f64,
    /// Time reached; 0 after the last step.
    pub t_next: f64,
}

/// Times of one decode.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Steps + 1 times, the last one 0.
    pub times: Vec<f64>,
    /// How the sampler moves.
    pub sampler: Sampler,
}

/// A number of steps that the student cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{steps} steps: expected 1 to 4; the network was distilled for the four times 0.999, 0.866, 0.634, 0.342, and {reason}"
)]
pub struct ScheduleError {
    steps: usize,
    reason: &'static str,
}

impl Schedule {
    /// The schedule of `steps` steps: the trained times, or those of them at `round(linspace(0, 4, steps + 1))`
    /// (half to even); one step starts at t = 1.
    ///
    /// # Errors
    /// For anything but 1 to 4 steps.
    pub fn new(steps: usize, sampler: Sampler) -> Result<Self, ScheduleError> {
        let times = match steps {
            0 => return Err(ScheduleError { steps, reason: "without a step there is only noise" }),
            1 => vec![1.0, 0.0],
            2..=4 => (0..=steps).map(|i| TIMES[(4.0 * i as f64 / steps as f64).round_ties_even() as usize]).collect(),
            _ => return Err(ScheduleError { steps, reason: "more steps would repeat one of them" }),
        };
        Ok(Self { times, sampler })
    }

    /// The steps in order.
    pub fn steps(&self) -> Vec<Step> {
        let pairs = self.times.windows(2).enumerate();
        pairs.map(|(index, pair)| Step { index, t: pair[0], t_next: pair[1] }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trained_times_and_their_subsets() {
        let times = |n| Schedule::new(n, Sampler::Sde).unwrap().times;
        assert_eq!(times(4), TIMES);
        assert_eq!(times(3), [0.999, 0.866, 0.342, 0.0]);
        assert_eq!(times(2), [0.999, 0.634, 0.0]);
        assert_eq!(times(1), [1.0, 0.0]);
    }

    #[test]
    fn other_counts_are_refused() {
        for n in [0, 5, 6, 7, 8, 50] {
            let text = Schedule::new(n, Sampler::Ode).unwrap_err().to_string();
            assert!(text.contains(&n.to_string()) && text.contains("1 to 4"), "{text}");
        }
    }
}
