//! What a device's multiprocessors can do, by compute capability: the one place that knows.

use std::fmt;

/// Something that kernels need and not every device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Capability {
    /// `mma.sync` on bf16, `ldmatrix` and `cp.async`.
    Bf16Mma = 1,
    /// Bulk copies by tensor maps (TMA), mbarriers that count bytes, and clusters.
    BulkCopies = 2,
    /// Bulk copies into several blocks of a cluster, in hardware.
    Multicast = 4,
    /// `wgmma`.
    Wgmma = 8,
    /// `tcgen05`, with tensor memory.
    Tcgen05 = 16,
    /// `mma.sync` with scales of blocks of 32 or 16.
    BlockScaledMma = 32,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Bf16Mma, Self::BulkCopies, Self::Multicast, Self::Wgmma, Self::Tcgen05, Self::BlockScaledMma];
}

/// The facts of one compute capability.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Major and minor.
    pub compute: (u32, u32),
    /// Bytes of dynamic shared memory that a block may have.
    pub shared_bytes: u32,
    /// Registers of a multiprocessor.
    pub registers: u32,
}

impl Capabilities {
    /// Those of compute capability `compute` (CUDA C++ Programming Guide, "Compute Capabilities"; what `a` targets take, as
    /// ptxas of CUDA 13.0 has it).
    pub const fn of(compute: (u32, u32)) -> Self {
        let kilobytes = match compute {
            (..=7, _) => 64,
            (8, 0 | 7) => 163,
            (8, _) | (12.., _) => 99,
            _ => 227,
        };
        Self { compute, shared_bytes: kilobytes * 1024, registers: 65536 }
    }

    /// Whether the device has it.
    pub const fn has(&self, what: Capability) -> bool {
        let (major, minor) = self.compute;
        match what {
            Capability::Bf16Mma => major >= 8,
            Capability::BulkCopies => major >= 9,
            // On 12.x a call into the driver's code takes its place.
            Capability::Multicast => major >= 9 && major < 12,
            Capability::Wgmma => major == 9 && minor == 0,
            Capability::Tcgen05 => major == 10 || major == 11,
            Capability::BlockScaledMma => major == 12,
        }
    }

    /// Whether it has all of `needed`.
    pub fn have(&self, needed: &[Capability]) -> bool {
        needed.iter().all(|what| self.has(*what))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compute: (major, minor), shared_bytes, .. } = self;
        let has: Vec<Capability> = Capability::ALL.into_iter().filter(|what| self.has(*what)).collect();
        write!(f, "{major}.{minor}: {has:?}, {shared_bytes} bytes of shared memory a block")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_follow_the_compute_capability() {
        use Capability::{Bf16Mma, BlockScaledMma, BulkCopies, Multicast, Tcgen05, Wgmma};
        let cases: [((u32, u32), &[Capability], u32); 9] = [
            ((7, 5), &[], 64),
            ((8, 0), &[Bf16Mma], 163),
            ((8, 6), &[Bf16Mma], 99),
            ((8, 9), &[Bf16Mma], 99),
            ((9, 0), &[Bf16Mma, BulkCopies, Multicast, Wgmma], 227),
            ((10, 0), &[Bf16Mma, BulkCopies, Multicast, Tcgen05], 227),
            ((10, 3), &[Bf16Mma, BulkCopies, Multicast, Tcgen05], 227),
            ((12, 0), &[Bf16Mma, BulkCopies, BlockScaledMma], 99),
            ((12, 1), &[Bf16Mma, BulkCopies, BlockScaledMma], 99),
        ];
        for (compute, has, kilobytes) in cases {
            let facts = Capabilities::of(compute);
            for what in Capability::ALL {
                assert_eq!(facts.has(what), has.contains(&what), "{compute:?} {what:?}");
            }
            assert_eq!(facts.shared_bytes, kilobytes * 1024, "{compute:?}");
            assert!(facts.have(has));
        }
        assert!(!Capabilities::of((10, 0)).have(&[BulkCopies, Wgmma]));
    }
}
