//! What each kernel declares of itself (`kernels/entry.h`): all that is known of it besides its code. Tile sizes, bytes of
//! shared memory and the like come from here alone; no name is read for its meaning.

use super::capabilities::Capability;
use super::table::ENTRIES;
use super::target::LaunchError;
use crate::weights::RowOrder;

/// What the tensor cores multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperandFormat {
    /// Nothing: the kernel does without them.
    None,
    /// bf16.
    Bf16,
}

/// A kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of the entry point.
    pub name: &'static str,
    /// What it computes: the name of the portable kernel that does the same.
    pub op: &'static str,
    /// The family it belongs to (`super::family`).
    pub family: &'static str,
    /// What a block computes at a time. Of a product rows, columns, and inner columns of a slice; of attention queries, keys
    /// of a tile, and columns of a head; of others items along x.
    pub tile: [u32; 3],
    /// Of a convolution, tokens of the grid along x and y that a tile's rows are; zeros where rows are rows.
    pub grid_tile: [u32; 2],
    /// Columns and rows of a box of results that a bulk store writes; zeros where threads store.
    pub store_box: [u32; 2],
    /// Slices, or tiles of keys, that shared memory holds at a time.
    pub stages: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Blocks of a multiprocessor, at least.
    pub min_blocks: u32,
    /// Blocks of a cluster, along x.
    pub cluster: u32,
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
    /// Registers of a thread of the producer and of the consumers, after `setmaxnreg`; zeros where all keep the launch's.
    pub registers: [u32; 2],
    /// What it needs of a device.
    pub needs: &'static [Capability],
    /// What the tensor cores multiply.
    pub operands: OperandFormat,
    /// The order in which it reads the rows of a product's second operand.
    pub order: RowOrder,
    /// A product's columns are a multiple of this.
    pub n_multiple: u32,
    /// A product's inner size is a multiple of this.
    pub k_multiple: u32,
    /// Whether consumers have tiles in turn.
    pub ping_pong: bool,
}

impl Entry {
    /// The entry called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        ENTRIES.iter().find(|entry| entry.name == name)
    }

    /// Those of `family` that compute `op`.
    pub fn of(family: &str, op: &str) -> impl Iterator<Item = &'static Self> {
        ENTRIES.iter().filter(move |entry| entry.family == family && entry.op == op)
    }

    /// Whether it does products of `n` columns and inner size `k`.
    pub fn takes(&self, n: u32, k: u32) -> bool {
        n.is_multiple_of(self.n_multiple) && k.is_multiple_of(self.k_multiple)
    }

    /// Whether results leave by bulk stores.
    pub fn has_bulk_stores(&self) -> bool {
        self.store_box != [0, 0]
    }

    /// As [`Entry::takes`].
    ///
    /// # Errors
    /// Names the size that it does not take.
    pub fn check(&self, n: u32, k: u32) -> Result<(), LaunchError> {
        for (size, value, multiple) in [("n", n, self.n_multiple), ("k", k, self.k_multiple)] {
            if !value.is_multiple_of(multiple) {
                return Err(LaunchError::Size { kernel: self.name, size, value, multiple });
            }
        }
        Ok(())
    }

    /// Registers that a thread has at its launch, at most.
    pub fn launch_registers(&self) -> u32 {
        (65536 / (self.threads * self.min_blocks) / 8 * 8).min(255)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Capabilities;
    use crate::kernels::family::FAMILIES;

    #[test]
    fn entries_are_of_families_that_have_what_they_need() {
        for (i, entry) in ENTRIES.iter().enumerate() {
            assert!(ENTRIES[..i].iter().all(|other| other.name != entry.name), "{} is there twice", entry.name);
            let family = FAMILIES.iter().find(|family| family.name() == entry.family);
            let family = family.unwrap_or_else(|| panic!("{}: no family {}", entry.name, entry.family));
            let device = Capabilities::of(family.emulated());
            assert!(device.have(entry.needs), "{}: {device:?} lacks what it needs", entry.name);
            assert!(entry.shared_bytes <= device.shared_bytes, "{}: {} bytes", entry.name, entry.shared_bytes);
            let portable = Entry::of("portable", entry.op).next();
            assert_eq!(
                portable.map(|e| e.name),
                Some(entry.op),
                "{}: an op is named by its portable kernel",
                entry.name
            );
        }
    }

    /// Producers and consumers share out what the launch gave all.
    #[test]
    fn registers_are_those_of_the_launch() {
        for entry in ENTRIES.iter().filter(|entry| entry.registers != [0, 0]) {
            let [producer, consumer] = entry.registers;
            let consumers = entry.threads / 128 - 1;
            assert!(producer + consumers * consumer <= (consumers + 1) * entry.launch_registers(), "{entry:?}");
        }
    }

    #[test]
    fn a_size_that_a_kernel_does_not_take_is_named() {
        let entry = Entry::find("gemm_swiglu").expect("the portable kernel");
        assert_eq!(entry.check(128, 64), Ok(()));
        let error = entry.check(96, 64).unwrap_err().to_string();
        assert_eq!(error, "gemm_swiglu: n = 96, a multiple of 64 expected");
        let error = entry.check(128, 12).unwrap_err().to_string();
        assert_eq!(error, "gemm_swiglu: k = 12, a multiple of 8 expected");
    }
}
