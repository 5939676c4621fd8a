//! Matrix products with their epilogues (`kernels/gemm`).

mod case;
mod embed;
mod emit;
mod fold;
mod latent_gate;
mod linear;
mod operands;
mod qkv;
mod residual;
mod swiglu;

/// Faulty kernels tested in this module.
pub const FAULTS: &[&str] = &[
    "gemm_embed_rows_no_inner_guard",
    "gemm_embed_rows_no_row_guard",
    "gemm_embed_rows_no_slot_barrier",
    "gemm_latent_gate_no_slot_barrier",
    "gemm_latent_gate_no_store_guard",
    "gemm_linear_no_column_guard",
    "gemm_linear_no_copy_wait",
    "gemm_linear_no_inner_guard",
    "gemm_linear_no_row_guard",
    "gemm_linear_no_slot_barrier",
    "gemm_linear_no_store_guard",
    "gemm_qkv_d72_no_copy_wait",
    "gemm_qkv_d72_no_slot_barrier",
    "gemm_qkv_d72_no_store_guard",
    "gemm_residual_no_slot_barrier",
    "gemm_residual_no_store_guard",
    "gemm_swiglu_no_slot_barrier",
    "gemm_swiglu_no_store_guard",
];
