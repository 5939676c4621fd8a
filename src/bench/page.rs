//! A report as one page: nothing is loaded, no script is needed, every element is closed (the page is XML too).

use std::fmt::Write;

use super::charts::{bars, timeline};
use super::text::{self, OP_COLUMNS, op_cells, phases, total_cells};
use super::{Bench, Summary};
use crate::output::svg::escape;

const STYLE: &str = "
:root { color-scheme: light dark; --ground: #fbfbfa; --ink: #1c2126; --dim: #5f6972; --line: #dfe3e6; --time: #8fb4d9;
  --late: #e0a96d; --floor: #2b5c8f; --warn: #fdf1d8; --card: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181b; --ink: #e4e7ea; --dim: #98a2ab; --line: #343b42;
  --time: #4d7eb0; --late: #b98142; --floor: #b9d6f2; --warn: #3d3116; --card: #1c2024; } }
body { margin: 0 auto; max-width: 1120px; padding: 24px 20px 60px; background: var(--ground); color: var(--ink);
  font: 15px/1.45 system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; }
h1 { font-size: 24px; margin: 0 0 2px; } h2 { font-size: 17px; margin: 34px 0 6px; }
p { margin: 4px 0 12px; color: var(--dim); } p.lead { font-size: 17px; color: var(--ink); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; overflow-x: auto; }
.warning { background: var(--warn); border-radius: 6px; padding: 8px 12px; margin: 8px 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; font-size: 13.5px; }
th, td { padding: 3px 8px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--dim); font-weight: 600; }
table.facts td { text-align: left; white-space: normal; } table.facts td:first-child { color: var(--dim); width: 90px; }
tr:last-child td { border-bottom: none; }
tr.total td { font-weight: 600; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 13px; }
svg text.small { font-size: 12px; fill: var(--dim); } svg .grid, svg .lane { stroke: var(--line); stroke-width: 1; }
.time { fill: var(--time); } .late { fill: var(--late); } .floor { fill: var(--floor); }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin: 0 5px 0 14px; vertical-align: -1px; }
.key.time { background: var(--time); } .key.late { background: var(--late); } .key.floor { background: var(--floor); }
.drawing { background: #ffffff; } .drawing svg text { fill: #222222; font-size: revert-layer; }
";

impl Bench {
    /// The page, UTF-8.
    pub fn page(&self) -> String {
        let title = format!("pid bench: {}x{} on {}", self.width, self.height, self.device);
        let mut out = format!(
            "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head><meta charset=\"utf-8\"/>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{0}</title>\n\
             <style>{STYLE}</style></head>\n<body>\n<h1>{0}</h1>\n",
            escape(&title)
        );
        self.lead(&mut out);
        for warning in &self.warnings {
            let _ = writeln!(out, "<div class=\"warning\">{}</div>", escape(warning));
        }
        out.push_str("<div class=\"card\"><table class=\"facts\">\n");
        for (name, value) in text::header(self) {
            let _ = writeln!(out, "<tr><td>{name}</td><td>{}</td></tr>", escape(&value));
        }
        out.push_str("</table></div>\n");
        self.phases(&mut out);
        self.charts(&mut out);
        self.ops_table(&mut out);
        self.memory(&mut out);
        out.push_str("<h2>How to read this</h2>\n");
        for note in &self.notes {
            let _ = writeln!(out, "<p>{}</p>", escape(note));
        }
        out.push_str("</body>\n</html>\n");
        out
    }

    /// The one number that matters.
    fn lead(&self, out: &mut String) {
        let line = match &self.seconds {
            Some(s) => {
                let of = |s: &Summary| {
                    format!("{} (MAD {}, {} runs)", text::seconds(s.median), text::seconds(s.mad), s.runs.len())
                };
                let floor = self
                    .floor_seconds
                    .map_or_else(String::new, |f| format!("; floor of its launches {}", text::seconds(f)));
                format!("A decode takes {}{floor}.", of(s.device.as_ref().unwrap_or(&s.decode)))
            }
            None => format!("A decode is {}FLOP; no times.", text::amount(self.work.flop)),
        };
        let _ = writeln!(out, "<p class=\"lead\">{}</p>", escape(&line));
    }

    fn phases(&self, out: &mut String) {
        let Some(seconds) = &self.seconds else { return };
        out.push_str("<h2>Phases</h2>\n<div class=\"card\"><table>\n<tr><th>phase</th><th>median</th><th>MAD</th><th>p95</th><th>min</th><th>runs</th></tr>\n");
        for (name, s) in phases(seconds) {
            let mut cells = [s.median, s.mad, s.p95, s.min].map(text::seconds);
            if s.runs.len() == 1 {
                cells[1..].iter_mut().for_each(|c| *c = "-".into());
            }
            let cells: String = cells.iter().map(|c| format!("<td>{c}</td>")).collect();
            let _ = writeln!(out, "<tr><td>{name}</td>{cells}<td>{}</td></tr>", s.runs.len());
        }
        out.push_str("</table></div>\n");
    }

    fn charts(&self, out: &mut String) {
        if let Some(chart) = bars(self) {
            let _ = write!(
                out,
                "<h2>Time by op, against its floor</h2>\n<p>One decode, every launch timed.\
                 <span class=\"key time\"></span>time<span class=\"key floor\"></span>floor</p>\n\
                 <div class=\"card\">{chart}</div>\n"
            );
        }
        // The first step may still warm something up.
        let step = usize::from(self.num_steps > 1);
        if let Some(chart) = timeline(self, step) {
            let _ = write!(
                out,
                "<h2>Launches of step {}</h2>\n<p>In order, end to end.<span class=\"key time\"></span>patch blocks and gates\
                 <span class=\"key late\"></span>pixel blocks and sampler</p>\n<div class=\"card\">{chart}</div>\n",
                step + 1
            );
        }
    }

    fn ops_table(&self, out: &mut String) {
        out.push_str("<h2>Ops</h2>\n<div class=\"card\"><table>\n<tr>");
        for column in OP_COLUMNS {
            let _ = write!(out, "<th>{column}</th>");
        }
        out.push_str("</tr>\n");
        let mut line = |class: &str, cells: [String; 10]| {
            let cells: String = cells.iter().map(|c| format!("<td>{}</td>", escape(c))).collect();
            let _ = writeln!(out, "<tr{class}>{cells}</tr>");
        };
        self.ops.iter().for_each(|row| line("", op_cells(row)));
        line(" class=\"total\"", total_cells(self));
        out.push_str("</table></div>\n");
    }

    fn memory(&self, out: &mut String) {
        out.push_str("<h2>Memory over the plan</h2>\n<div class=\"card drawing\">");
        out.push_str(&self.memory_svg);
        out.push_str("</div>\n");
    }
}
