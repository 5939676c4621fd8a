//! How long work tells how far it is, and asks whether to stop.

/// Is told about work of a known number of bytes.
pub trait Progress: Sync {
    /// `what` begins; it will take `total_bytes`.
    fn start(&self, what: &str, total_bytes: u64);
    /// `bytes` more are done.
    fn advance(&self, bytes: u64);
    /// The work ended, well or not.
    fn finish(&self);
    /// Whether the work should stop with an error.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Tells nobody and never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
}
