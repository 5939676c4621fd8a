//! Where a network runs, and how a backend for it is made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::backend::cpu::CpuBackend;
use crate::error::Error;
use crate::exec::Backend;
use crate::graph::Graph;
use crate::kernels::family::{self, FAMILIES};
use crate::kernels::{self, KernelChoice, TuningFile};
use crate::models::pid::Policy;
use crate::weights::TensorSource;

/// Where the network runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The best device at hand: the first GPU, else the CPU.
    #[default]
    Auto,
    /// float32 on all cores.
    Cpu,
    /// bfloat16 on a GPU of NVIDIA's, compute capability 8.0 or newer.
    #[allow(missing_docs)]
    Cuda { ordinal: usize },
    /// The CUDA kernels on the host's cores, for tests: some fifty times slower than the CPU backend. It takes the place of
    /// a device of this compute capability, by which kernels are chosen: [`Device::EMULATOR`] has the portable ones.
    #[allow(missing_docs)]
    Emulator { capability: (u32, u32) },
}

impl Device {
    /// The portable kernels on the host's cores.
    pub const EMULATOR: Self = Self::Emulator { capability: (8, 0) };
    /// The kernels of sm_90a on the host's cores.
    pub const EMULATOR_SM_90A: Self = Self::Emulator { capability: (9, 0) };
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda { ordinal: 0 }),
            _ => match text.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(ordinal)) => Ok(Self::Cuda { ordinal }),
                _ => emulated(text),
            },
        }
    }
}

/// The emulator called `text`, in the place of a device for one of the families of kernels.
fn emulated(text: &str) -> Result<Device, String> {
    let family = FAMILIES.iter().find(|family| family.emulator() == text);
    let family = family.ok_or_else(|| {
        let emulators: Vec<String> = FAMILIES.iter().rev().map(|family| family.emulator()).collect();
        format!("unknown device `{text}`; known: auto, cpu, cuda, cuda:N, {}", emulators.join(", "))
    })?;
    Ok(Device::Emulator { capability: family.emulated() })
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { ordinal } => write!(f, "cuda:{ordinal}"),
            Self::Emulator { capability } => f.write_str(&family::emulated_by(*capability).emulator()),
        }
    }
}

/// Which kernels run, on a device that has any.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelOptions {
    pub(crate) choice: KernelChoice,
    pub(crate) tuning: TuningFile,
}

/// A backend, and the number formats that it computes in unless asked for others.
pub(crate) struct Opened {
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) precision: Policy,
    /// Whether it runs kernels, and so fused graphs in no other formats.
    pub(crate) fused: bool,
    /// Why it is not the device that one would expect.
    pub(crate) warning: Option<String>,
    /// Why a tuning table is not used, though there is one.
    pub(crate) tuning_problem: Option<String>,
}

impl Device {
    /// Makes the backend for networks like `graph`, whatever their size, whose weights are in `source`.
    ///
    /// # Errors
    /// When the device is not there, or cannot run this network.
    pub(crate) fn open(
        self,
        graph: &Graph,
        source: Arc<dyn TensorSource>,
        options: &KernelOptions,
    ) -> Result<Opened, Error> {
        match self {
            Self::Auto => Ok(automatic(graph, source, options)),
            Self::Cpu => Ok(cpu(source)),
            Self::Cuda { ordinal } => {
                supported(graph)?;
                let device = cuda(ordinal).map_err(|e| Error::Device(e.reason))?;
                Ok(on_kernels(device, source, options))
            }
            Self::Emulator { capability } => {
                supported(graph)?;
                Ok(on_kernels(emulator(capability)?, source, options))
            }
        }
    }
}

fn supported(graph: &Graph) -> Result<(), Error> {
    kernels::supports(graph).map_err(|e| Error::Device(e.to_string()))
}

fn cpu(source: Arc<dyn TensorSource>) -> Opened {
    let backend = Box::new(CpuBackend::new(source));
    Opened { backend, precision: Policy::F32, fused: false, warning: None, tuning_problem: None }
}

/// A device that runs kernels; a build without them has none.
#[cfg(any(feature = "cuda", feature = "emulator"))]
pub(crate) type KernelDevice = Arc<dyn crate::backend::device::Driver>;
/// A device that runs kernels: there is none in this build.
#[cfg(not(any(feature = "cuda", feature = "emulator")))]
pub(crate) enum KernelDevice {}

#[cfg(any(feature = "cuda", feature = "emulator"))]
fn on_kernels(device: KernelDevice, source: Arc<dyn TensorSource>, options: &KernelOptions) -> Opened {
    let selection = kernels::Selection::new(&*device, options.choice);
    // Where there is nothing to choose, nothing is read.
    let found = if selection.has_variants() { options.tuning.read(&device.name()) } else { Ok(None) };
    let (tuning, tuning_problem) = match found {
        Ok(tuning) => (tuning, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let selection = selection.tuned(tuning.map(Arc::new));
    let backend = crate::backend::device::DeviceBackend::new(device, source).with_kernels(selection);
    Opened { backend: Box::new(backend), precision: Policy::BF16, fused: true, warning: None, tuning_problem }
}

#[cfg(not(any(feature = "cuda", feature = "emulator")))]
fn on_kernels(device: KernelDevice, _source: Arc<dyn TensorSource>, _options: &KernelOptions) -> Opened {
    match device {}
}

/// Why a GPU is not used.
pub(crate) struct Refusal {
    pub(crate) reason: String,
    /// Whether there is none, rather than one that cannot be used.
    pub(crate) is_absence: bool,
}

/// The first GPU, when there is one that can run the network, else the CPU.
fn automatic(graph: &Graph, source: Arc<dyn TensorSource>, options: &KernelOptions) -> Opened {
    let refusal = match cuda(0) {
        Ok(device) => match kernels::supports(graph) {
            Ok(()) => return on_kernels(device, source, options),
            Err(unsupported) => Refusal { reason: unsupported.to_string(), is_absence: false },
        },
        Err(refusal) => refusal,
    };
    let warning = (!refusal.is_absence).then(|| format!("on the CPU, not the GPU: {}", refusal.reason));
    Opened { warning, ..cpu(source) }
}

/// GPU `ordinal`.
#[cfg(feature = "cuda")]
pub(crate) fn cuda(ordinal: usize) -> Result<KernelDevice, Refusal> {
    match crate::backend::cuda::Cuda::open(ordinal) {
        Ok(cuda) => Ok(Arc::new(cuda)),
        Err(e) => Err(Refusal { reason: e.to_string(), is_absence: e.is_absence() }),
    }
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn cuda(ordinal: usize) -> Result<KernelDevice, Refusal> {
    Err(Refusal { reason: format!("cuda:{ordinal}: this build lacks the feature `cuda`"), is_absence: true })
}

/// The kernels for a device of that compute capability, on the host.
#[cfg(feature = "emulator")]
pub(crate) fn emulator(capability: (u32, u32)) -> Result<KernelDevice, Error> {
    let emulator = crate::backend::emulator::Emulator::default().with_capability(capability);
    // Enough for pairs of blocks to keep the cores of a usual machine busy; the same everywhere, as grids follow from it.
    Ok(Arc::new(emulator.with_multiprocessors(16)))
}

#[cfg(not(feature = "emulator"))]
pub(crate) fn emulator(_capability: (u32, u32)) -> Result<KernelDevice, Error> {
    Err(Error::Device("emulator: this build lacks the feature `emulator`".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, device) in [
            ("auto", Device::Auto),
            ("cpu", Device::Cpu),
            ("cuda:3", Device::Cuda { ordinal: 3 }),
            ("emulator", Device::EMULATOR),
            ("emulator:sm_90a", Device::EMULATOR_SM_90A),
        ] {
            assert_eq!(text.parse(), Ok(device));
            assert_eq!(device.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda { ordinal: 0 }));
        for bad in ["tpu", "cuda:", "cuda:x", "cuda:-1", "emulator:sm_10"] {
            assert!(bad.parse::<Device>().unwrap_err().contains(bad), "{bad}");
        }
    }
}
