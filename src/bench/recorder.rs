//! Watches a decode and keeps when things happened.

use std::time::{Duration, Instant};

use crate::exec::{DecodePhase, Observer};

/// What is taken beside the times of the phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The decode as users run it; the device's clock around what is replayed.
    Whole,
    /// Every launch by itself.
    Launches,
}

/// Marks of one decode.
pub(super) struct Recorder<'a> {
    inner: &'a mut dyn Observer,
    mode: Mode,
    prepare: Option<Instant>,
    steps: Vec<Instant>,
    last_launch: Instant,
    upload: Option<(Instant, Duration)>,
    device_seconds: Option<f64>,
    /// By launch of the plan, a time for each run.
    launches: Vec<Vec<f64>>,
}

/// Seconds of one decode by phase.
#[derive(Clone, Debug, Default)]
pub(super) struct Phases {
    pub upload: Option<f64>,
    pub prepare: f64,
    pub steps: Vec<f64>,
    /// From the last launch to the picture.
    pub image: f64,
}

impl<'a> Recorder<'a> {
    /// A recorder of a decode of a plan with `launches` launches.
    pub(super) fn new(inner: &'a mut dyn Observer, mode: Mode, launches: usize) -> Self {
        Self {
            inner,
            mode,
            prepare: None,
            steps: Vec::new(),
            last_launch: Instant::now(),
            upload: None,
            device_seconds: None,
            launches: vec![Vec::new(); launches],
        }
    }

    /// Phases of the decode that ended at `end`.
    pub(super) fn phases(&self, end: Instant) -> Phases {
        let upload = self.upload.map(|(_, took)| took.as_secs_f64());
        let ends = self.steps.iter().skip(1).chain([&self.last_launch]);
        let prepare = self.prepare.zip(self.steps.first()).map_or(0.0, |(from, to)| (*to - from).as_secs_f64());
        Phases {
            upload,
            prepare: (prepare - upload.unwrap_or(0.0)).max(0.0),
            steps: self.steps.iter().zip(ends).map(|(from, to)| (*to - *from).as_secs_f64()).collect(),
            image: (end - self.last_launch).as_secs_f64(),
        }
    }

    pub(super) fn device_seconds(&self) -> Option<f64> {
        self.device_seconds
    }

    pub(super) fn into_launches(self) -> Vec<Vec<f64>> {
        self.launches
    }
}

impl Observer for Recorder<'_> {
    fn wants_times(&self) -> bool {
        self.mode == Mode::Launches
    }

    fn timed(&mut self, _step: Option<usize>, launch: usize, seconds: f64) {
        self.launches[launch].push(seconds);
    }

    fn wants_device_seconds(&self) -> bool {
        self.mode == Mode::Whole
    }

    fn device_seconds(&mut self, seconds: f64) {
        self.device_seconds = Some(seconds);
    }

    fn uploaded(&mut self, done: usize, total: usize) {
        let (begin, _) = *self.upload.get_or_insert_with(|| (Instant::now(), Duration::ZERO));
        self.upload = Some((begin, begin.elapsed()));
        self.inner.uploaded(done, total);
    }

    fn phase(&mut self, phase: DecodePhase) {
        match phase {
            DecodePhase::Prepare => self.prepare = Some(Instant::now()),
            DecodePhase::Step { .. } => self.steps.push(Instant::now()),
            DecodePhase::Done => {}
        }
        self.inner.phase(phase);
    }

    fn launched(&mut self, index: usize, count: usize) {
        self.last_launch = Instant::now();
        self.inner.launched(index, count);
    }

    fn cancelled(&self) -> bool {
        self.inner.cancelled()
    }
}
