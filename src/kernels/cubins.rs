//! The compiled kernels: a cubin for every file `kernels/<folder>/<file>.cu` and architecture, PTX of the newest, and what
//! ptxas says of each kernel in it. The build script writes the tables; they are empty when it finds no nvcc.
//!
//! The kernels of `kernels/tests` are in [`TEST_CUBINS`], which only tests name: the linker leaves it out of `pid`.

/// Whether the crate was built with an nvcc at hand. Without one, [`CUBINS`], [`TEST_CUBINS`] and [`PTXAS`] are empty.
pub const BUILT: bool = cfg!(pid_has_cubins);

/// One kernel file, compiled for one architecture, or as PTX, which the driver compiles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cubin {
    /// Name of the source without folder and extension: `linear` for `kernels/gemm/linear.cu`.
    pub file: &'static str,
    /// `sm_80`, with an `a` (`sm_90a`) when it runs on this compute capability only; `compute_120` of PTX.
    pub arch: &'static str,
    /// The ELF image, which starts at a multiple of 16 bytes; of PTX its text and a zero byte.
    pub bytes: &'static [u8],
}

impl Cubin {
    /// Whether it is PTX.
    pub fn is_ptx(&self) -> bool {
        self.arch.starts_with(PTX)
    }
}

/// What the architecture of PTX begins with.
const PTX: &str = "compute_";

/// Compute capabilities of Tegra, whose code is not that of other devices of their major version (CUDA C++ Programming
/// Guide, "Binary Compatibility"). 11.0, Tegra too, has an architecture of its own.
const TEGRA: [(u32, u32); 4] = [(7, 2), (8, 7), (8, 8), (10, 1)];

/// Whether a device of this compute capability is a Tegra that only code for it alone could run on.
pub fn is_tegra(compute_capability: (u32, u32)) -> bool {
    TEGRA.contains(&compute_capability)
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
/// The one made for the capability itself, else that of the highest lower minor version, else PTX of a lower architecture:
/// `sm_80`, `sm_86` and `sm_89` run on the same major version from theirs upwards but for Tegra, those with an `a` on their own
/// capability only (CUDA C++ Programming Guide, "Binary Compatibility").
/// `None` when there is none, or no such file.
pub fn best<'a>(cubins: &'a [Cubin], file: &str, compute_capability: (u32, u32)) -> Option<&'a Cubin> {
    let rank = |cubin: &&Cubin| rank(cubin.arch, compute_capability);
    cubins.iter().filter(|cubin| cubin.file == file && rank(cubin).is_some()).max_by_key(rank)
}

/// How well code for `arch` suits a device: whether it is compiled, its version, and whether it is specific. `None` when it
/// cannot run.
fn rank(arch: &str, device: (u32, u32)) -> Option<(bool, u32, bool)> {
    let (number, is_compiled) = match arch.strip_prefix(PTX) {
        Some(number) => (number, false),
        None => (arch.strip_prefix("sm_")?, true),
    };
    let (number, is_specific) = number.strip_suffix('a').map_or((number, false), |number| (number, true));
    let number: u32 = number.parse().ok()?;
    let own = (number / 10, number % 10);
    let runs = if !is_compiled {
        own <= device
    } else if is_specific || is_tegra(device) {
        own == device
    } else {
        own.0 == device.0 && own.1 <= device.1
    };
    runs.then_some((is_compiled, number, is_specific))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::family::{self, Family};
    use crate::kernels::table::ENTRIES;

    /// Which of `archs` a device of each compute capability gets, with PTX or without.
    fn chosen(archs: &[&'static str], capability: (u32, u32)) -> Option<&'static str> {
        let cubins: Vec<Cubin> = archs.iter().map(|arch| Cubin { file: "gemm", arch, bytes: &[] }).collect();
        assert_eq!(best(&cubins, "attention", capability), None);
        best(&cubins, "gemm", capability).map(|cubin| cubin.arch)
    }

    /// From 7.5 on every compute capability that there is, and one to come.
    const CAPABILITIES: [(u32, u32); 14] = [
        (7, 5),
        (8, 0),
        (8, 6),
        (8, 7),
        (8, 8),
        (8, 9),
        (9, 0),
        (10, 0),
        (10, 1),
        (10, 3),
        (11, 0),
        (12, 0),
        (12, 1),
        (13, 0),
    ];

    #[test]
    fn capabilities_get_the_nearest_code() {
        let all = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100", "sm_110", "sm_120", "compute_120"];
        let expected = [
            None,
            Some("sm_80"),
            Some("sm_86"),
            None,
            None,
            Some("sm_89"),
            Some("sm_90a"),
            Some("sm_100"),
            None,
            Some("sm_100"),
            Some("sm_110"),
            Some("sm_120"),
            Some("sm_120"),
            Some("compute_120"),
        ];
        assert_eq!(CAPABILITIES.map(|capability| chosen(&all, capability)), expected);
        // The order of the table does not matter.
        let mut reversed = all;
        reversed.reverse();
        assert_eq!(CAPABILITIES.map(|capability| chosen(&reversed, capability)), expected);
    }

    #[test]
    fn what_was_not_built_is_done_without_or_refused() {
        let run_by = |archs: &[&'static str]| -> Vec<(u32, u32)> {
            CAPABILITIES.into_iter().filter(|capability| chosen(archs, *capability).is_some()).collect()
        };
        assert_eq!(run_by(&["sm_80"]), [(8, 0), (8, 6), (8, 9)]);
        assert_eq!(run_by(&["sm_86"]), [(8, 6), (8, 9)]);
        assert_eq!(run_by(&["sm_90a"]), [(9, 0)]);
        assert_eq!(run_by(&["sm_100"]), [(10, 0), (10, 3)]);
        assert_eq!(run_by(&["sm_120"]), [(12, 0), (12, 1)]);
        assert_eq!(run_by(&["compute_120"]), [(12, 0), (12, 1), (13, 0)]);
        assert_eq!(run_by(&["compute_80"]), CAPABILITIES[1..], "any driver compiles PTX, Tegra's too");
        assert_eq!(run_by(&[]), []);
        // Compiled code first, though the PTX is of a later version.
        assert_eq!(chosen(&["sm_120", "compute_121"], (12, 1)), Some("sm_120"));
    }

    #[test]
    fn images_are_aligned_elf_files_or_ptx() {
        for cubin in CUBINS.iter().chain(TEST_CUBINS) {
            let Cubin { file, arch, bytes } = cubin;
            if cubin.is_ptx() {
                let text = std::ffi::CStr::from_bytes_with_nul(bytes).expect("one zero byte, at the end");
                assert!(text.to_string_lossy().contains(".target sm_"), "{file} {arch}");
            } else {
                assert!(bytes.starts_with(b"\x7fELF"), "{file} {arch}");
            }
            assert_eq!(bytes.as_ptr() as usize % 16, 0, "{file} {arch}");
        }
    }

    /// Every kernel of the portable family, on every architecture; those of a family of one architecture on that.
    #[test]
    fn every_kernel_of_the_table_is_built() {
        let built: Vec<&str> = PTXAS.iter().map(|row| row.arch).collect();
        for entry in ENTRIES {
            let arch = family::named(entry.family).and_then(Family::arch);
            for built in &built {
                let is_for = arch.map_or(!built.ends_with('a'), |arch| arch == *built);
                let is_there = PTXAS.iter().any(|row| row.kernel == entry.name && row.arch == *built);
                assert_eq!(is_there, is_for, "{} for {built}", entry.name);
            }
        }
    }
}
