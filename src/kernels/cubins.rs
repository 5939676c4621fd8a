//! The compiled kernels: a cubin for every file `kernels/<family>/<file>.cu` and architecture, and what ptxas says of
//! each kernel in it. The build script writes the tables; they are empty when it finds no nvcc.
//!
//! The kernels of `kernels/tests` are in [`TEST_CUBINS`], which only tests name: the linker leaves it out of `pid`.

/// Whether the crate was built with an nvcc at hand. Without one, [`CUBINS`], [`TEST_CUBINS`] and [`PTXAS`] are empty.
pub const BUILT: bool = cfg!(pid_has_cubins);

/// One kernel file, compiled for one architecture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cubin {
    /// Name of the source without folder and extension: `linear` for `kernels/gemm/linear.cu`.
    pub file: &'static str,
    /// `sm_80`, or with an `a` (`sm_90a`) when it runs on this compute capability only.
    pub arch: &'static str,
    /// The ELF image, which starts at a multiple of 16 bytes.
    pub bytes: &'static [u8],
}

impl std::fmt::Debug for Cubin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, arch, bytes } = self;
        write!(f, "{file} for {arch} ({} bytes)", bytes.len())
    }
}

/// What one kernel takes on one architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtxasRow {
    /// Name of the source, as in [`Cubin::file`].
    pub file: &'static str,
    /// Name of the entry point, or of a function that is called from one and not inlined.
    pub kernel: &'static str,
    /// `sm_80`, as in [`Cubin::arch`].
    pub arch: &'static str,
    /// Registers a thread; 0 for a function that is no entry point.
    pub registers: u32,
    /// Static shared memory of a block; what a launch asks for is not in it.
    pub smem_bytes: u32,
    /// Bytes of registers stored to local memory, a thread.
    pub spill_store_bytes: u32,
    /// Bytes of registers loaded again from local memory, a thread.
    pub spill_load_bytes: u32,
    /// Local memory of a thread, spilled registers and arrays.
    pub stack_bytes: u32,
    /// What `kernels/spills.txt` allows for the largest of the three figures above; 0 when it has no line.
    pub allowed_local_bytes: u32,
}

include!(concat!(env!("OUT_DIR"), "/cubins.rs"));

/// The one of `cubins` with `file` to load on a device of this compute capability (`(8, 6)` for 8.6).
///
/// The one made for the capability itself, else that of the highest lower minor version: `sm_80`, `sm_86` and `sm_89`
/// run on the same major version from theirs upwards, those with an `a` on their own capability only
/// (CUDA C++ Programming Guide, "Binary Compatibility").
/// `None` when there is none, or no such file.
pub fn best<'a>(cubins: &'a [Cubin], file: &str, compute_capability: (u32, u32)) -> Option<&'a Cubin> {
    let rank = |cubin: &&Cubin| rank(cubin.arch, compute_capability);
    cubins.iter().filter(|cubin| cubin.file == file && rank(cubin).is_some()).max_by_key(rank)
}

/// How well code for `arch` suits a device: its minor version, and whether it is specific. `None` when it cannot run.
fn rank(arch: &str, (major, minor): (u32, u32)) -> Option<(u32, bool)> {
    let number = arch.strip_prefix("sm_")?;
    let (number, specific) = number.strip_suffix('a').map_or((number, false), |number| (number, true));
    let number: u32 = number.parse().ok()?;
    let (arch_major, arch_minor) = (number / 10, number % 10);
    let runs = arch_major == major && if specific { arch_minor == minor } else { arch_minor <= minor };
    runs.then_some((arch_minor, specific))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_get_the_nearest_code() {
        let archs = ["sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120a"];
        let cubins: Vec<Cubin> = archs.map(|arch| Cubin { file: "gemm", arch, bytes: &[] }).to_vec();
        let arch = |capability| best(&cubins, "gemm", capability).map(|cubin| cubin.arch);
        let cases = [
            ((7, 5), None),
            ((8, 0), Some("sm_80")),
            ((8, 6), Some("sm_86")),
            ((8, 7), Some("sm_86")),
            ((8, 9), Some("sm_89")),
            ((9, 0), Some("sm_90a")),
            ((10, 0), Some("sm_100a")),
            ((10, 3), None),
            ((11, 0), None),
            ((12, 0), Some("sm_120a")),
            ((12, 1), None),
        ];
        for (capability, expected) in cases {
            assert_eq!(arch(capability), expected, "{capability:?}");
        }
        assert_eq!(best(&cubins, "attention", (8, 0)), None);
    }

    #[test]
    fn images_are_aligned_elf_files() {
        for Cubin { file, arch, bytes } in CUBINS.iter().chain(TEST_CUBINS) {
            assert!(bytes.starts_with(b"\x7fELF"), "{file} {arch}");
            assert_eq!(bytes.as_ptr() as usize % 16, 0, "{file} {arch}");
        }
    }
}
