//! What NVIDIA's management library tells of a GPU. It comes with the driver and is opened at run time; without it only
//! the CUDA version is known.

use cudarc::driver::{CudaContext, result, sys};
use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;

use crate::exec::Telemetry;
use crate::kernels::Processor;

/// Drivers install this name; the one without a number belongs to developers' packages.
const LIBRARY: &str = if cfg!(windows) { "nvml.dll" } else { "libnvidia-ml.so.1" };

/// Results of special functions per clock and multiprocessor, compute capability 8.0 to 10.0 and 12.0
/// (<https://docs.nvidia.com/cuda/cuda-c-programming-guide/#throughput-of-native-arithmetic-instructions>).
const EXP_PER_CLOCK: f64 = 16.0;

/// At the clock that the GPU is sold with; `None` for those with another rate.
pub(super) fn exp_per_second(context: &CudaContext, processor: Processor) -> Option<f64> {
    use sys::CUdevice_attribute as A;
    if processor.capability == (10, 3) {
        return None;
    }
    let kilohertz = context.attribute(A::CU_DEVICE_ATTRIBUTE_CLOCK_RATE).ok()?;
    (kilohertz > 0).then(|| f64::from(processor.multiprocessors) * f64::from(kilohertz) * 1e3 * EXP_PER_CLOCK)
}

/// What can be learnt now.
pub(super) fn read(context: &CudaContext) -> Telemetry {
    let mut telemetry = Telemetry::default();
    if let Ok(version) = super::driver_version() {
        telemetry.cuda_version = Some(format!("{}.{}", version / 1000, version % 1000 / 10));
    }
    let Ok(nvml) = Nvml::builder().lib_path(LIBRARY.as_ref()).init().or_else(|_| Nvml::init()) else {
        return telemetry;
    };
    telemetry.driver_version = nvml.sys_driver_version().ok();
    let Some(device) = uuid(context).and_then(|uuid| nvml.device_by_uuid(uuid).ok()) else { return telemetry };
    telemetry.sm_mhz = device.clock_info(Clock::SM).ok();
    telemetry.max_sm_mhz = device.max_clock_info(Clock::SM).ok();
    telemetry.memory_mhz = device.clock_info(Clock::Memory).ok();
    telemetry.temperature = device.temperature(TemperatureSensor::Gpu).ok();
    telemetry.power = device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1e3);
    telemetry.utilization = device.utilization_rates().ok().map(|u| u.gpu);
    telemetry.throttling = device.current_throttle_reasons().map(names).unwrap_or_default();
    if let Ok(processes) = device.running_compute_processes() {
        // This one has a context and is among them, in a container under a number that it does not know.
        telemetry.others = processes.len().saturating_sub(1);
        let own = std::process::id();
        let others = processes.iter().filter(|p| p.pid != own);
        let bytes = others.map(|p| match p.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        });
        telemetry.others_bytes = if processes.iter().any(|p| p.pid == own) { bytes.sum() } else { None };
    }
    telemetry
}

/// Reasons that lower clocks below what was asked for; an idle GPU's are no matter.
fn names(reasons: ThrottleReasons) -> Vec<String> {
    const NAMES: [(ThrottleReasons, &str); 6] = [
        (ThrottleReasons::SW_POWER_CAP, "power limit"),
        (ThrottleReasons::HW_SLOWDOWN, "hardware slowdown"),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, "heat (driver)"),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, "heat (hardware)"),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "power brake"),
        (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, "clocks set by the administrator"),
    ];
    NAMES.iter().filter(|(reason, _)| reasons.contains(*reason)).map(|(_, name)| (*name).to_owned()).collect()
}

/// `GPU-8-4-4-4-12`, which names a GPU whatever `CUDA_VISIBLE_DEVICES` says.
fn uuid(context: &CudaContext) -> Option<String> {
    let uuid = result::device::get_uuid(context.cu_device()).ok()?;
    let mut text = String::from("GPU");
    for (i, byte) in uuid.bytes.iter().enumerate() {
        if [0, 4, 6, 8, 10].contains(&i) {
            text.push('-');
        }
        text.push_str(&format!("{:02x}", *byte as u8));
    }
    Some(text)
}
