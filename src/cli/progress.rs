//! Progress bars on a terminal, silence in a pipe.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::signals;
use crate::exec::{DecodePhase, Observer};
use crate::progress::Progress;

/// Bars on stderr when it is a terminal and nobody asked for JSON.
#[derive(Debug)]
pub(super) struct TerminalProgress {
    shown: bool,
    bar: ProgressBar,
}

impl TerminalProgress {
    pub(super) fn new(json: bool) -> Self {
        let shown = !json && std::io::stderr().is_terminal();
        Self { shown, bar: ProgressBar::hidden() }
    }

    /// A bar over the launches of a decode.
    pub(super) fn observer(&self) -> StepBar {
        let bar = if self.shown {
            ProgressBar::new(0).with_style(style("{prefix:14} {bar:40} {pos}/{len}  {elapsed}"))
        } else {
            ProgressBar::hidden()
        };
        StepBar { bar }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// One bar per phase of a decode.
#[derive(Debug)]
pub(super) struct StepBar {
    bar: ProgressBar,
}

impl Observer for StepBar {
    fn phase(&mut self, phase: DecodePhase) {
        match phase {
            DecodePhase::Prepare => self.bar.set_prefix("adapter"),
            DecodePhase::Step { index, steps } => self.bar.set_prefix(format!("step {} of {steps}", index + 1)),
            DecodePhase::Done => self.bar.finish_and_clear(),
        }
        self.bar.set_position(0);
    }

    fn uploaded(&mut self, done: usize, total: usize) {
        if done == 0 {
            self.bar.set_prefix("upload, MB");
            self.bar.set_length(total as u64 / 1_000_000);
        }
        self.bar.set_position(done as u64 / 1_000_000);
        if done == total {
            self.bar.set_prefix("adapter");
        }
    }

    fn launched(&mut self, index: usize, count: usize) {
        self.bar.set_length(count as u64);
        self.bar.set_position(index as u64 + 1);
    }

    fn cancelled(&self) -> bool {
        signals::is_stopping()
    }
}

impl Progress for TerminalProgress {
    fn start(&self, what: &str, total_bytes: u64) {
        if self.shown {
            self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
        self.bar.set_style(style("{prefix:14} {bar:40} {bytes}/{total_bytes}  {elapsed}"));
        self.bar.set_prefix(what.to_owned());
        self.bar.set_length(total_bytes);
        self.bar.set_position(0);
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn cancelled(&self) -> bool {
        signals::is_stopping()
    }
}
