//! Families of kernels: the portable ones, and those made for what some devices can do. A family says what it needs, which
//! kernels do an op, and how they are launched; a new one is a file or folder here and a line in [`FAMILIES`].

mod portable;
mod sm90;

use std::fmt;

pub use portable::Portable;
pub use sm90::Sm90;

use super::call::KernelCall;
use super::capabilities::{Capabilities, Capability};
use super::entry::Entry;
use super::op_call::OpCall;
use super::target::{LaunchError, Target};
use crate::weights::RowOrder;

/// All of them. Of several that a device can run, the first one with a kernel for an op does it.
pub static FAMILIES: &[&dyn Family] = &[&Sm90, &Portable];

/// Kernels that go together.
pub trait Family: Sync + fmt::Debug {
    /// What entries call it, and the name of its folder here.
    fn name(&self) -> &'static str;

    /// The one architecture that its kernels are compiled for, as nvcc names it; `None` where they are for all. The emulator
    /// is called by it: `emulator:sm_90a`.
    fn arch(&self) -> Option<&'static str>;

    /// What it needs of a device.
    fn needs(&self) -> &'static [Capability];

    /// The compute capability that the emulator has when it takes the place of a device for these.
    fn emulated(&self) -> (u32, u32);

    /// Its kernels by op.
    fn variants(&self) -> &'static [Variants];

    /// The launch of `entry`, one of its kernels or a faulty copy, for `call`.
    ///
    /// # Errors
    /// When the kernel does not take the sizes, or the target a tensor map.
    fn launch(&self, target: &dyn Target, entry: &Entry, call: &OpCall<'_>) -> Result<KernelCall, LaunchError>;

    /// The kernels that do `op`.
    fn of(&self, op: &str) -> Option<&'static Variants> {
        self.variants().iter().find(|variants| variants.op == op)
    }

    /// Whether a device has what it needs.
    fn runs_on(&self, device: &Capabilities) -> bool {
        device.have(self.needs())
    }

    /// What the emulator is called when it takes the place of a device for these.
    fn emulator(&self) -> String {
        match self.arch() {
            Some(arch) => format!("emulator:{arch}"),
            None => "emulator".into(),
        }
    }
}

/// The family called `name`.
pub fn named(name: &str) -> Option<&'static dyn Family> {
    FAMILIES.iter().copied().find(|family| family.name() == name)
}

/// The family whose device the emulator with `capability` takes the place of: the first one that such a device can run.
pub fn emulated_by(capability: (u32, u32)) -> &'static dyn Family {
    let device = Capabilities::of(capability);
    FAMILIES.iter().copied().find(|family| family.runs_on(&device)).unwrap_or(&Portable)
}

/// The launch of `entry` for `call`, by the family that it belongs to.
///
/// # Errors
/// As [`Family::launch`].
pub fn launch(target: &dyn Target, entry: &Entry, call: &OpCall<'_>) -> Result<KernelCall, LaunchError> {
    match named(entry.family) {
        Some(family) => family.launch(target, entry, call),
        None => Err(no_launch(entry)),
    }
}

fn no_launch(entry: &Entry) -> LaunchError {
    LaunchError::NoLaunch { kernel: entry.name, family: entry.family, op: entry.op }
}

/// The kernels of one family that do the same op.
#[derive(Clone, Debug)]
pub struct Variants {
    /// The op: its portable kernel's name.
    pub op: &'static str,
    /// Their names; the first one runs where nothing was measured.
    pub kernels: Vec<&'static str>,
    entries: Vec<&'static Entry>,
}

impl Variants {
    /// All kernels of `family`, by op. Of several that do the same the one in `defaults` comes first.
    pub fn of_family(family: &str, defaults: &[&str], entries: &'static [Entry]) -> Vec<Self> {
        let own = || entries.iter().filter(|entry| entry.family == family);
        let mut ops: Vec<&'static str> = own().map(|entry| entry.op).collect();
        ops.dedup();
        let of = |op| {
            let mut entries: Vec<&'static Entry> = own().filter(|entry| entry.op == op).collect();
            entries.sort_by_key(|entry| !defaults.contains(&entry.name));
            Self { op, kernels: entries.iter().map(|entry| entry.name).collect(), entries }
        };
        ops.into_iter().map(of).collect()
    }

    /// The kernel that runs where nothing was measured.
    pub fn default(&self) -> &'static Entry {
        self.entries[0]
    }

    /// The kernel called `name`.
    pub fn find(&self, name: &str) -> Option<&'static Entry> {
        self.entries.iter().copied().find(|entry| entry.name == name)
    }

    /// Whether all do products of `n` columns and inner size `k`: any of them can be taken when the weights are there.
    pub fn take(&self, n: u32, k: u32) -> bool {
        self.entries.iter().all(|entry| entry.takes(n, k))
    }

    /// The order in which they read the rows of a product's second operand, one for all.
    pub fn order(&self) -> RowOrder {
        self.default().order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_apart() {
        for (i, family) in FAMILIES.iter().enumerate() {
            for other in &FAMILIES[..i] {
                assert_ne!(family.name(), other.name());
                assert_ne!(family.emulator(), other.emulator());
            }
            assert!(family.runs_on(&Capabilities::of(family.emulated())), "{family:?}");
            assert_eq!(emulated_by(family.emulated()).name(), family.name());
            assert_eq!(named(family.name()).map(Family::name), Some(family.name()));
        }
        assert!(FAMILIES.last().is_some_and(|last| last.needs() == Portable.needs()), "what runs anywhere comes last");
        assert_eq!(emulated_by((7, 5)).name(), "portable");
    }

    #[test]
    fn variants_of_an_op_read_weights_alike() {
        for variants in FAMILIES.iter().flat_map(|family| family.variants()) {
            for entry in &variants.entries {
                assert_eq!(entry.order, variants.order(), "{}", entry.name);
                assert_eq!(variants.find(entry.name), Some(*entry));
            }
            assert_eq!(variants.kernels[0], variants.default().name);
        }
    }
}
