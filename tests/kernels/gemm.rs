//! Matrix products with their epilogues (`kernels/gemm`).

mod case;
mod embed;
mod emit;
mod fold;
mod latent_gate;
mod linear;
pub mod operands;
mod qkv;
mod residual;
mod swiglu;

const LISTS: &[&[&str]] =
    &[embed::FAULTS, latent_gate::FAULTS, linear::FAULTS, qkv::FAULTS, residual::FAULTS, swiglu::FAULTS];

/// Faulty kernels tested in this module: those that each file catches.
pub const FAULTS: &[&str] = &joined::<{ count(LISTS) }>(LISTS);

const KERNEL_LISTS: &[&[&str]] =
    &[latent_gate::KERNELS, linear::SM_90, qkv::D64, qkv::D72, residual::KERNELS, swiglu::KERNELS];

/// Kernels that have forms for sm_90a, and these.
pub const KERNELS: &[&str] = &joined::<{ count(KERNEL_LISTS) }>(KERNEL_LISTS);

const fn count(lists: &[&[&str]]) -> usize {
    let (mut total, mut i) = (0, 0);
    while i < lists.len() {
        total += lists[i].len();
        i += 1;
    }
    total
}

const fn joined<const N: usize>(lists: &[&[&'static str]]) -> [&'static str; N] {
    let mut all = [""; N];
    let (mut at, mut i) = (0, 0);
    while i < lists.len() {
        let mut j = 0;
        while j < lists[i].len() {
            all[at] = lists[i][j];
            at += 1;
            j += 1;
        }
        i += 1;
    }
    all
}
