//! How much memory the process took.

/// Most bytes this process has had resident so far, mapped files included; `None` where the system does not
/// tell (`VmHWM` in `/proc/self/status` on Linux).
pub fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}
