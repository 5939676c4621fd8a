//! Matrix products with their epilogues (`kernels/gemm`).

mod linear;
mod operands;

/// Faulty kernels tested in this module.
pub const FAULTS: &[&str] = linear::FAULTS;
