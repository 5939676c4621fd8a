//! A plan as a picture: launches to the right, addresses upwards, a rectangle per tensor.

use super::{ByteSize, Plan};
use crate::graph::Graph;
use crate::output::svg::Svg;

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 640.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 110.0;
/// Height of the band that stands for the weights.
const BAND: f64 = 46.0;

/// Colours of the kinds of tensors, the largest first; the last is of all that are left.
const COLOURS: [&str; 8] = ["#5b8def", "#e8833a", "#3aa17e", "#d9534f", "#b07cc6", "#9db9f5", "#c9a227", "#8a8f98"];

/// A kind of tensor: the first word of its name.
fn kind(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

/// The kinds that have a colour of their own, those with the most bytes.
fn kinds<'a>(plan: &Plan, graph: &'a Graph) -> Vec<&'a str> {
    let mut bytes: Vec<(&str, usize)> = Vec::new();
    for (tensor, allocated) in graph.tensors.iter().zip(&plan.allocated_bytes) {
        match bytes.iter_mut().find(|(known, _)| *known == kind(&tensor.name)) {
            Some((_, sum)) => *sum += allocated,
            None => bytes.push((kind(&tensor.name), *allocated)),
        }
    }
    bytes.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
    bytes.into_iter().map(|(kind, _)| kind).take(COLOURS.len() - 1).collect()
}

struct Canvas<'a> {
    plan: &'a Plan,
    graph: &'a Graph,
    kinds: Vec<&'a str>,
    svg: Svg,
}

impl Plan {
    /// A self-contained SVG.
    pub fn to_svg(&self, graph: &Graph) -> String {
        let look = format!(r##"width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" fill="#222""##);
        let mut canvas = Canvas { plan: self, graph, kinds: kinds(self, graph), svg: Svg::new(WIDTH, HEIGHT, &look) };
        canvas.frame();
        canvas.tensors();
        canvas.marks();
        canvas.legend();
        canvas.svg.finish()
    }
}

impl Canvas<'_> {
    fn x(&self, launch: usize) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * launch as f64 / self.plan.launches.len().max(1) as f64
    }

    fn y(&self, byte: usize) -> f64 {
        let bottom = HEIGHT - BOTTOM - BAND - 6.0;
        bottom - (bottom - TOP) * byte as f64 / self.plan.arena_bytes.max(1) as f64
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, size: u32, text: &str) {
        self.svg.text(x, y, anchor, &format!("font-size=\"{size}\""), text);
    }

    fn frame(&mut self) {
        self.svg.rect(0.0, 0.0, [WIDTH, HEIGHT], "fill=\"#fff\"");
        let plan = self.plan;
        let size = |bytes: usize| ByteSize(bytes as u64).to_string();
        let title = format!(
            "Memory of one decode: peak {} = weights {} + constants {} + arena {}",
            size(plan.peak_bytes),
            size(plan.weights_bytes),
            size(plan.constants_bytes),
            size(plan.arena_bytes)
        );
        self.text(LEFT, 28.0, "start", 17, &title);
        let subtitle = format!("{} launches, {} without sharing", plan.launches.len(), size(plan.unshared_bytes));
        self.text(LEFT, 48.0, "start", 12, &subtitle);
        for tick in 0..=4 {
            let byte = plan.arena_bytes / 4 * tick;
            let y = self.y(byte);
            self.svg.line([LEFT, y], [WIDTH - RIGHT, y], "stroke=\"#e4e6ea\"");
            self.text(LEFT - 8.0, y + 4.0, "end", 11, &size(byte));
        }
        let y = HEIGHT - BOTTOM - BAND;
        let width = WIDTH - LEFT - RIGHT;
        self.svg.rect(LEFT, y, [width, BAND], r##"fill="#f3ecd9" stroke="#cdbb87""##);
        let label = format!(
            "weights and constants, resident: {} (not to scale)",
            size(plan.weights_bytes + plan.constants_bytes)
        );
        self.text(LEFT + width / 2.0, y + BAND / 2.0 + 4.0, "middle", 12, &label);
    }

    fn tensors(&mut self) {
        let mut shown: Vec<usize> = (0..self.graph.tensors.len()).collect();
        // Small ones last, so that they stay visible.
        shown.sort_by_key(|t| std::cmp::Reverse(self.plan.allocated_bytes[*t]));
        for index in shown {
            let (Some(offset), Some(live)) = (self.plan.offsets[index], self.plan.live[index].clone()) else {
                continue;
            };
            let tensor = &self.graph.tensors[index];
            let bytes = self.plan.allocated_bytes[index];
            let (x, y) = (self.x(live.start), self.y(offset + bytes));
            let (width, height) = (self.x(live.end) - x, self.y(offset) - y);
            let own = self.kinds.iter().position(|k| *k == kind(&tensor.name));
            let colour = COLOURS[own.unwrap_or(COLOURS.len() - 1)];
            let title = format!(
                "{} {:?} {}, {}, launches {} to {}",
                tensor.name,
                tensor.shape,
                tensor.format.element,
                ByteSize(bytes as u64),
                live.start,
                live.end - 1
            );
            let look = format!(r##"fill="{colour}" fill-opacity="0.8" stroke="#fff" stroke-width="0.6""##);
            self.svg.titled_rect(x, y, [width, height], &look, &title);
        }
    }

    fn marks(&mut self) {
        let bottom = HEIGHT - BOTTOM;
        let step = self.x(self.plan.step_start);
        self.svg.line([step, TOP], [step, bottom], r##"stroke="#222" stroke-dasharray="2 3""##);
        self.text(step + 5.0, bottom + 16.0, "start", 12, "every step");
        self.text(LEFT, bottom + 16.0, "start", 12, "once");
        let peak = (self.x(self.plan.peak_launch) + self.x(self.plan.peak_launch + 1)) / 2.0;
        self.svg.line([peak, TOP - 6.0], [peak, bottom], r##"stroke="#c0122d" stroke-width="1.4""##);
        let node = self.plan.launches.get(self.plan.peak_launch).map(|l| self.graph.nodes[l.node].name.clone());
        let live = ByteSize(self.plan.max_live_bytes as u64);
        let label = format!("most live: {live} at {}", node.unwrap_or_default());
        let anchor = if peak > WIDTH / 2.0 { "end" } else { "start" };
        self.text(peak, TOP - 9.0, anchor, 12, &label);
        self.text(WIDTH - RIGHT, bottom + 16.0, "end", 12, "launches");
    }

    fn legend(&mut self) {
        let y = HEIGHT - 52.0;
        let labels: Vec<&str> = self.kinds.iter().copied().chain(["others"]).collect();
        for (i, label) in labels.into_iter().enumerate() {
            let colour = if i == self.kinds.len() { COLOURS[COLOURS.len() - 1] } else { COLOURS[i] };
            let (x, y) = (LEFT + 285.0 * (i % 4) as f64, y + 24.0 * (i / 4) as f64);
            self.svg.rect(x, y - 11.0, [14.0, 14.0], &format!("fill=\"{colour}\""));
            self.text(x + 20.0, y, "start", 12, label);
        }
    }
}
