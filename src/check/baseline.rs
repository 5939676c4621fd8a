//! A run against an earlier one.

use super::{Outcome, Row};

/// An error may grow to this many times the earlier one,
pub const ERROR_GROWTH: f64 = 2.0;
/// and in any case up to this share of its bound.
pub const ERROR_SHARE: f64 = 0.25;
/// A time may grow to this many times the earlier one, both as ratios to what their ceilings allow.
pub const TIME_GROWTH: f64 = 1.15;

/// The rules, for people.
pub fn rules() -> String {
    format!(
        "A regression is an error above {ERROR_GROWTH} times the baseline's and above {ERROR_SHARE} of its bound; a row of the \
         baseline that is missing; or, on the same kind of GPU, a time (over what the ceilings of its run allow) above \
         {TIME_GROWTH} times the baseline's."
    )
}

/// How a run compares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Each with kernel, case, before and after.
    pub regressions: Vec<String>,
    /// Rows that both have.
    pub compared: usize,
    /// Of those, rows whose times were compared.
    pub timed: usize,
    /// Rows of the baseline whose case did not run now, or that the filter leaves out.
    pub left_out: usize,
}

/// Compares `now` with `before`, as far as `filter` (see [`super::Options::filter`]) selected both.
pub fn compare(now: &Outcome, before: &Outcome, filter: Option<&str>) -> Comparison {
    let mut found = Comparison::default();
    let same_kind = now.device_kind() == before.device_kind();
    for old in &before.rows {
        let selected = filter.is_none_or(|f| old.id().contains(f));
        // A case that is gone altogether is told as left out: it may have been run with other options.
        if !selected || !now.cases.contains(&old.case) {
            found.left_out += 1;
            continue;
        }
        let Some(new) = now.rows.iter().find(|r| r.case == old.case && r.kernels == old.kernels) else {
            found.regressions.push(format!("{} in {}: in the baseline, not in this run", old.kernels, old.case));
            continue;
        };
        found.compared += 1;
        found.regressions.extend(errors(new, old));
        if let (true, Some(ratio), Some(earlier)) = (same_kind, new.ratio, old.ratio) {
            found.timed += 1;
            found.regressions.extend(time(new, ratio, earlier));
        }
    }
    found
}

fn errors(new: &Row, old: &Row) -> Vec<String> {
    let grown = |what: &str, before: f64, after: f64, bound: f64| {
        (after > ERROR_GROWTH * before && after > ERROR_SHARE * bound).then(|| {
            let Row { kernels, case, place, .. } = new;
            format!("{kernels} in {case}: {what} was {before:.2e}, is {after:.2e} (bound {bound:.2e}, {place})")
        })
    };
    let worst = grown("error", old.error, new.error, new.bound);
    let norm = grown("error in norm", old.norm_error, new.norm_error, new.norm_bound);
    worst.into_iter().chain(norm).collect()
}

fn time(new: &Row, ratio: f64, earlier: f64) -> Option<String> {
    (ratio > TIME_GROWTH * earlier).then(|| {
        let Row { kernels, case, .. } = new;
        format!("{kernels} in {case}: time was {earlier:.2} of its floor, is {ratio:.2}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(error: f64, ratio: Option<f64>) -> Row {
        Row { error, bound: 1e-2, ratio, place: "x".into(), ..Row::empty("case", "gemm_linear") }
    }

    fn outcome(device: &str, rows: Vec<Row>) -> Outcome {
        Outcome { device: device.into(), ceilings: None, cases: vec!["case".into()], rows }
    }

    fn regressions(now: Row, before: Row) -> Vec<String> {
        let gpu = |n: usize, row| outcome(&format!("NVIDIA X (cuda:{n})"), vec![row]);
        compare(&gpu(1, now), &gpu(0, before), None).regressions
    }

    #[test]
    fn errors_that_grow_are_regressions() {
        assert_eq!(regressions(row(2.9e-3, None), row(1.5e-3, None)), [""; 0], "within twice");
        assert_eq!(regressions(row(2.4e-3, None), row(1e-4, None)), [""; 0], "below a quarter of the bound");
        let found = regressions(row(4e-3, None), row(1.5e-3, None));
        assert_eq!(found, ["gemm_linear in case: error was 1.50e-3, is 4.00e-3 (bound 1.00e-2, x)"]);
    }

    #[test]
    fn times_are_compared_on_the_same_kind_of_gpu() {
        assert_eq!(regressions(row(0.0, Some(1.14)), row(0.0, Some(1.0))), [""; 0]);
        let found = regressions(row(0.0, Some(1.5)), row(0.0, Some(1.25)));
        assert_eq!(found, ["gemm_linear in case: time was 1.25 of its floor, is 1.50"]);
        let (now, before) = (row(0.0, Some(9.0)), row(0.0, Some(1.0)));
        let other = compare(&outcome("NVIDIA X", vec![now]), &outcome("NVIDIA Y", vec![before]), None);
        assert_eq!(other, Comparison { compared: 1, ..Comparison::default() });
    }

    #[test]
    fn missing_rows_are_regressions_unless_they_were_not_asked_for() {
        let (before, nothing) = (outcome("e", vec![row(0.0, None)]), outcome("e", Vec::new()));
        let found = compare(&nothing, &before, None).regressions;
        assert_eq!(found, ["gemm_linear in case: in the baseline, not in this run"]);
        assert_eq!(compare(&nothing, &before, Some("attention")).left_out, 1);
        let elsewhere = Outcome { cases: Vec::new(), ..nothing };
        assert_eq!(compare(&elsewhere, &before, None), Comparison { left_out: 1, ..Comparison::default() });
    }
}
