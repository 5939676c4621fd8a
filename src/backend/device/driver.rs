//! The few things a backend asks of a device.

use std::fmt;
use std::time::Instant;

use crate::exec::{DeviceError, Telemetry};
use crate::kernels::{KernelCall, Target};

/// A device with memory and kernels. Addresses are the device's own.
pub trait Driver: Target + Send + Sync + fmt::Debug {
    /// For people: `NVIDIA H100 (cuda:0)`, `emulator`.
    fn name(&self) -> String;
    /// Bytes free now; `None` when it cannot tell.
    fn free_bytes(&self) -> Option<u64>;
    /// `bytes` (above 0) of memory, 16-byte aligned at least.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`].
    fn allocate(&self, bytes: usize) -> Result<u64, DeviceError>;
    /// Gives back what [`Driver::allocate`] gave.
    fn free(&self, address: u64, bytes: usize);
    /// Copies to the device; done when it returns.
    ///
    /// # Errors
    /// When the device fails.
    fn upload(&self, address: u64, bytes: &[u8]) -> Result<(), DeviceError>;
    /// Copies from the device after all calls before.
    ///
    /// # Errors
    /// When the device, or a call before, fails.
    fn download(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError>;
    /// `bytes` (above 0) of the host's memory that the device copies from at full speed: its address.
    ///
    /// # Errors
    /// When there is none.
    fn allocate_host(&self, bytes: usize) -> Result<u64, DeviceError>;
    /// Gives back what [`Driver::allocate_host`] gave.
    fn free_host(&self, address: u64, bytes: usize);
    /// Runs commands as if in order. May return before they are done; [`Driver::download`] waits.
    ///
    /// # Errors
    /// When a call cannot be launched, or, if the device tells at once, fails.
    fn run(&self, commands: &[Command]) -> Result<(), DeviceError>;
    /// Runs commands in order, to their end; seconds by the device's own clock where it has one.
    ///
    /// # Errors
    /// As [`Driver::run`].
    fn run_timed(&self, commands: &[Command]) -> Result<f64, DeviceError> {
        let begin = Instant::now();
        self.run(commands)?;
        Ok(begin.elapsed().as_secs_f64())
    }
    /// As [`Driver::run`], to their end; seconds as [`Driver::run_timed`] counts them.
    ///
    /// # Errors
    /// As [`Driver::run`].
    fn replay_timed(&self, commands: &[Command]) -> Result<f64, DeviceError> {
        self.run_timed(commands)
    }
    /// Copies within the device, `times` times over, to the end; seconds as [`Driver::run_timed`] counts them.
    ///
    /// # Errors
    /// When the device fails.
    fn copy_timed(&self, to: u64, from: u64, bytes: usize, times: usize) -> Result<f64, DeviceError> {
        let mut host = vec![0; bytes];
        let begin = Instant::now();
        for _ in 0..times {
            self.download(from, &mut host)?;
            self.upload(to, &host)?;
        }
        Ok(begin.elapsed().as_secs_f64())
    }
    /// Whether times taken on it tell anything.
    fn is_hardware(&self) -> bool {
        true
    }
    /// Exponentials per second at most, where known.
    fn exp_per_second(&self) -> Option<f64> {
        None
    }
    /// State of the device now, where it tells.
    fn telemetry(&self) -> Option<Telemetry> {
        None
    }
    /// Whether commands should be collected and handed over many at a time (a recorded graph), rather than one by one.
    fn collects(&self) -> bool;
}

/// One thing for a device to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// A kernel: after all commands before it.
    Launch(Labelled),
    /// Part of the weights: before all kernels after it, beside those before it as far as [`Upload::after`] allows.
    Upload(Upload),
}

impl Command {
    /// The launch of `call` for node `label`.
    pub fn launch(label: &str, call: KernelCall) -> Self {
        Self::Launch(Labelled { label: label.into(), call })
    }
}

/// A copy from the host's memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upload {
    /// Address on the device.
    pub to: u64,
    /// Address of the host's memory, from [`Driver::allocate_host`].
    pub from: u64,
    /// How much.
    pub bytes: usize,
    /// Position in the list of the last kernel that reads what is overwritten; `None` when none before it does.
    pub after: Option<usize>,
}

/// A call and the node it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Labelled {
    /// The graph's node.
    pub label: String,
    /// What to launch.
    pub call: KernelCall,
}
