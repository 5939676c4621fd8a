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
