//! What the emulator and a GPU share: weights in kernel layout, one arena, launches lowered to kernel calls. A
//! [`Driver`] is all that tells them apart.

pub(crate) mod ceilings;
mod constants;
mod driver;
mod memory;
mod prepare;
mod rotary;
mod session;
mod slots;

pub use driver::{Command, Driver, Labelled, Upload};
pub(crate) use memory::{Buffer, HostBuffer};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::exec::{Backend, Ceilings, ExecError, Observer, Session, Telemetry};
use crate::kernels::{Constant, KernelChoice, RotaryKey, Selection};
use crate::plan::{Iteration, Program};
use crate::weights::Weight;
use crate::weights::{Form, TensorSource, WeightStore};

/// Runs programs on a device of kernels. Weights, constants and angles stay on the device from the first decode that
/// needs them; so does the arena of the last size.
#[derive(Debug)]
pub struct DeviceBackend {
    driver: Arc<dyn Driver>,
    selection: Selection,
    store: WeightStore,
    resident: Mutex<Resident>,
}

/// What stays on the device between decodes.
#[derive(Debug, Default)]
struct Resident {
    /// Held by each decode that reads them.
    weights: HashMap<(Weight, Form), Arc<WeightBuffer>>,
    /// Weights that are copied to the device when launches need them.
    streamed: HashMap<(Weight, Form), Arc<HostBuffer>>,
    /// By the key of their values. A [`Constant`] names weights by graph index; [`ConstantKey`] does not.
    constants: HashMap<ConstantKey, HashMap<u64, u64>>,
    constant_buffers: Vec<Buffer>,
    rotary: HashMap<RotaryKey, (Buffer, Buffer)>,
    zeros: Option<Arc<Buffer>>,
    ones: Option<Arc<Buffer>>,
    /// Free arenas; a session takes one of its size or makes one.
    arenas: Vec<Buffer>,
}

/// A weight on the device.
#[derive(Debug)]
struct WeightBuffer {
    buffer: Buffer,
    /// Elements from row to row.
    stride: usize,
}

/// A [`Constant`] of one checkpoint, whatever the graph.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ConstantKey {
    constant: Constant,
    weight: Option<Weight>,
}

impl DeviceBackend {
    /// A backend on `driver`, reading weights from `source`; the default kernels for it.
    pub fn new(driver: Arc<dyn Driver>, source: Arc<dyn TensorSource>) -> Self {
        let selection = Selection::new(&*driver, KernelChoice::Auto);
        Self { driver, selection, store: WeightStore::new(source), resident: Mutex::default() }
    }

    /// The same with other kernels.
    #[must_use]
    pub fn with_kernels(self, selection: Selection) -> Self {
        Self { selection, ..self }
    }

    fn resident(&self) -> std::sync::MutexGuard<'_, Resident> {
        // Maps stay whole when a thread panics: entries are inserted after they are made.
        self.resident.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for DeviceBackend {
    fn session<'a>(
        &'a self,
        program: &'a Program,
        steps: &'a [Iteration<'a>],
        observer: &mut dyn Observer,
    ) -> Result<Box<dyn Session + 'a>, ExecError> {
        Ok(Box::new(session::DeviceSession::new(self, program, steps, observer)?))
    }

    fn name(&self) -> String {
        self.driver.name()
    }

    fn has_choices(&self) -> bool {
        self.selection.has_variants()
    }

    fn ceilings(&self) -> Result<Option<Ceilings>, ExecError> {
        if self.driver.is_hardware() {
            Ok(Some(ceilings::measure(&self.driver, &self.selection, None)?))
        } else {
            Ok(None)
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        if self.driver.is_hardware() { self.driver.free_bytes() } else { None }
    }

    fn telemetry(&self) -> Option<Telemetry> {
        self.driver.telemetry()
    }
}
