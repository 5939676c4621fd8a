//! Charts of a report as inline SVG. Colours come from the page's style sheet.

use super::text::{optional, seconds};
use super::{Bench, LaunchRow};
use crate::output::svg::{Svg, escape};

const WIDTH: f64 = 1040.0;
/// Room for the names of ops.
const LEFT: f64 = 130.0;
const ROW: f64 = 26.0;
const BAR: f64 = 16.0;
/// Below the rows: the axis, its numbers and its title.
const AXIS: f64 = 44.0;

/// Rows of a chart, with a time axis at the bottom.
struct Canvas {
    svg: Svg,
    rows: usize,
    /// Seconds at the right end.
    longest: f64,
    right: f64,
}

impl Canvas {
    fn new(label: &str, rows: usize, longest: f64, right: f64) -> Self {
        let height = ROW * rows as f64 + AXIS;
        let svg = Svg::new(WIDTH, height, &format!(r#"role="img" aria-label="{}""#, escape(label)));
        let mut canvas = Self { svg, rows, longest: longest.max(f64::MIN_POSITIVE), right };
        canvas.axis();
        canvas
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT - self.right) * seconds / self.longest
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
        self.svg.text(x, y, anchor, &format!("class=\"{class}\""), text);
    }

    fn rect(&mut self, x: f64, y: f64, size: [f64; 2], class: &str, title: &str) {
        self.svg.titled_rect(x, y, size, &format!("class=\"{class}\""), title);
    }

    fn axis(&mut self) {
        let bottom = ROW * self.rows as f64;
        let step = tick(self.longest);
        let unit = if self.longest >= 1.0 {
            ("seconds", 1.0)
        } else if self.longest >= 1e-3 {
            ("milliseconds", 1e3)
        } else {
            ("microseconds", 1e6)
        };
        let digits = if step * unit.1 >= 1.0 { 0 } else { 2 };
        let mut at = 0.0;
        while at <= self.longest * 1.0001 {
            let x = self.x(at);
            self.svg.line([x, 0.0], [x, bottom], "class=\"grid\"");
            self.text(x, bottom + 16.0, "middle", "small", &format!("{:.digits$}", at * unit.1));
            at += step;
        }
        let middle = (LEFT + WIDTH - self.right) / 2.0;
        self.text(middle, bottom + 36.0, "middle", "small", unit.0);
    }
}

/// A round distance between five to ten lines on an axis of that length.
fn tick(longest: f64) -> f64 {
    let rough = longest / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [5.0, 2.0, 1.0].into_iter().find(|f| f * power <= rough).unwrap_or(1.0);
    factor * power
}

/// Time of each kind of op, its floor on top.
pub(super) fn bars(bench: &Bench) -> Option<String> {
    let rows: Vec<_> = bench.ops.iter().filter_map(|o| Some((o, o.seconds?))).collect();
    let longest = rows.iter().map(|(_, s)| *s).fold(0.0, f64::max);
    let mut canvas = Canvas::new("time of each kind of op against its floor", rows.len(), longest, 190.0);
    for (i, (op, time)) in rows.iter().enumerate() {
        let y = ROW * i as f64 + (ROW - BAR) / 2.0;
        let share = op.share.unwrap_or(0.0) * 100.0;
        canvas.text(LEFT - 8.0, y + 12.5, "end", "name", op.op);
        let width = canvas.x(*time) - LEFT;
        canvas.rect(LEFT, y, [width, BAR], "time", &format!("{}: {} ({share:.1}%)", op.op, seconds(*time)));
        if let Some(floor) = op.rates.floor_seconds {
            let width = canvas.x(floor) - LEFT;
            canvas.rect(LEFT, y, [width, BAR], "floor", &format!("{}: floor {}", op.op, seconds(floor)));
        }
        let percent = optional(op.rates.floor_percent, 0);
        let label = format!("{} · {share:.1}% · {percent}% of floor", seconds(*time));
        // A floor above the time sticks out further.
        let end = time.max(op.rates.floor_seconds.unwrap_or(0.0)).min(longest);
        let x = canvas.x(end) + 8.0;
        canvas.text(x, y + 12.5, "start", "small", &label);
    }
    (!rows.is_empty()).then(|| canvas.svg.finish())
}

/// Launches of one step in order, a lane for each kind of op.
pub(super) fn timeline(bench: &Bench, step: usize) -> Option<String> {
    let at = |launch: &LaunchRow| launch.seconds.as_ref().and_then(|runs| runs.get(step).copied());
    let launches: Vec<(&LaunchRow, f64)> =
        bench.launches.iter().filter(|l| l.phase == "step").filter_map(|l| Some((l, at(l)?))).collect();
    let mut lanes: Vec<(&str, f64)> = Vec::new();
    for (launch, time) in &launches {
        match lanes.iter_mut().find(|(op, _)| *op == launch.op) {
            Some((_, sum)) => *sum += time,
            None => lanes.push((launch.op, *time)),
        }
    }
    let longest = launches.iter().map(|(_, s)| s).sum();
    let mut canvas = Canvas::new("launches of one step", lanes.len(), longest, 90.0);
    for (i, (op, sum)) in lanes.iter().enumerate() {
        let y = ROW * i as f64;
        canvas.text(LEFT - 8.0, y + 17.5, "end", "name", op);
        canvas.text(WIDTH - 82.0, y + 17.5, "start", "small", &seconds(*sum));
        let (right, y) = (WIDTH - 90.0, y + ROW);
        canvas.svg.line([LEFT, y], [right, y], "class=\"lane\"");
    }
    let mut begin = 0.0;
    for (launch, time) in &launches {
        let lane = lanes.iter().position(|(op, _)| *op == launch.op).unwrap_or(0);
        let x = canvas.x(begin);
        // Thinner than this nobody sees it.
        let width = (canvas.x(begin + time) - x).max(1.0);
        let late = ["pixel", "noise", "sample"].iter().any(|p| launch.node.starts_with(p));
        let class = if late { "late" } else { "time" };
        let title =
            format!("{}: {}, {}% of floor", launch.node, seconds(*time), optional(launch.rates.floor_percent, 0));
        canvas.rect(x, ROW * lane as f64 + (ROW - BAR) / 2.0, [width, BAR], class, &title);
        begin += time;
    }
    (!launches.is_empty()).then(|| canvas.svg.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for (longest, expected) in [(1.0, 0.2), (0.37, 0.05), (12.0, 2.0), (99.0, 10.0), (0.0049, 0.0005)] {
            let step = tick(longest);
            assert!((step / expected - 1.0).abs() < 1e-9, "{longest}: {step}");
            assert!((5.0..=10.0).contains(&(longest / step)), "{longest}: {step}");
        }
    }
}
