//! Few numbers for many runs.

use serde::Serialize;

/// Seconds of several runs of the same thing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Mean of the two in the middle where their number is even.
    pub median: f64,
    /// Median distance from the median.
    pub mad: f64,
    /// The least that 95% of the runs do not exceed.
    pub p95: f64,
    /// Fastest run.
    pub min: f64,
    /// Slowest run.
    pub max: f64,
    /// Every run, in order.
    pub runs: Vec<f64>,
}

/// Distance from the median, in MADs, that makes a run an outlier.
const OUTLIER: f64 = 5.0;

impl Summary {
    /// Of at least one run.
    pub fn of(runs: Vec<f64>) -> Option<Self> {
        let sorted = sorted(&runs);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = middle(&sorted);
        let distances: Vec<f64> = runs.iter().map(|x| (x - median).abs()).collect();
        let rank = (0.95 * runs.len() as f64).ceil() as usize;
        Some(Self {
            median,
            mad: middle(&self::sorted(&distances)),
            p95: sorted[rank.clamp(1, sorted.len()) - 1],
            min,
            max,
            runs,
        })
    }

    /// Runs more than five MADs from the median.
    pub fn outliers(&self) -> usize {
        self.runs.iter().filter(|x| (*x - self.median).abs() > OUTLIER * self.mad).count()
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[half - 1] + sorted[half]) / 2.0 } else { sorted[half] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_known_runs() {
        assert_eq!(Summary::of(Vec::new()), None);
        let one = Summary::of(vec![3.0]).unwrap();
        assert_eq!((one.median, one.mad, one.p95, one.min, one.max), (3.0, 0.0, 3.0, 3.0, 3.0));
        let even = Summary::of(vec![4.0, 1.0, 2.0, 10.0]).unwrap();
        // Distances from 3: 1, 2, 1, 7.
        assert_eq!((even.median, even.mad, even.p95, even.min, even.max), (3.0, 1.5, 10.0, 1.0, 10.0));
        let odd = Summary::of(vec![5.0, 1.0, 3.0]).unwrap();
        assert_eq!((odd.median, odd.mad), (3.0, 2.0));
        let many = Summary::of((1..=100).map(f64::from).collect()).unwrap();
        assert_eq!((many.median, many.p95), (50.5, 95.0));
        assert_eq!(Summary::of((1..=20).map(f64::from).collect()).unwrap().p95, 19.0);
    }

    #[test]
    fn outliers_are_far_from_the_median() {
        let mut runs: Vec<f64> = (0..20).map(|i| 10.0 + f64::from(i % 3)).collect();
        assert_eq!(Summary::of(runs.clone()).unwrap().outliers(), 0);
        runs.push(30.0);
        assert_eq!(Summary::of(runs).unwrap().outliers(), 1);
    }
}
