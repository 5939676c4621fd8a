//! How much memory the process took, and how much there is.

/// Most bytes this process has had resident so far, mapped files included; `None` where the system does not
/// tell (`VmHWM` in `/proc/self/status` on Linux).
pub fn peak_resident_bytes() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

/// Bytes that can be had without swapping; `None` where the system does not tell (`MemAvailable` in
/// `/proc/meminfo` on Linux).
pub fn available_bytes() -> Option<u64> {
    field("/proc/meminfo", "MemAvailable:")
}

/// A line `name   123 kB` of a file of the proc file system, in bytes.
fn field(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn linux_tells() {
        assert!(super::peak_resident_bytes().is_some_and(|b| b > 1 << 20));
        assert!(super::available_bytes().is_some_and(|b| b > 1 << 20));
    }
}
