//! TMA, mbarriers and wgmma together, in the shape of a matrix product that specialises its warps.

use pid_engine::kernels::KernelCall;
use pid_engine::kernels::params::PidTensorMap;
use pid_engine::kernels::tensor_map::{Element, Swizzle, Tiled};

use super::params::PidMicroPipelineParams;
use super::{bf16_bits, hopper_drivers, small};
use crate::under_test::Device;

/// Of a `[rows, cols]` matrix without gaps.
fn map(
    device: &Device,
    element: Element,
    address: u64,
    [rows, cols]: [usize; 2],
    box_dims: [u32; 2],
    swizzle: Swizzle,
) -> PidTensorMap {
    let (dims, strides) = ([cols as u64, rows as u64], [cols as u64 * element.bytes()]);
    device.tensor_map(&Tiled { element, address, dims: &dims, strides: &strides, box_dims: &box_dims, swizzle })
}

/// `D = A B^T` for A `[m, k]`, B `[n, k]`.
pub fn test(device: &Device, kernel: &'static str, [m, n, k]: [usize; 3]) -> Result<(), String> {
    let a_bits: Vec<u16> = (0..m * k).map(|i| bf16_bits(small(i, 3))).collect();
    let b_bits: Vec<u16> = (0..n * k).map(|i| bf16_bits(small(i, 11))).collect();
    let (a, b, d) = (device.input(&a_bits), device.input(&b_bits), device.output::<f32>(m * n));
    let params = PidMicroPipelineParams {
        a: map(device, Element::Bf16, a.ptr() as u64, [m, k], [64, 64], Swizzle::Bytes128),
        b: map(device, Element::Bf16, b.ptr() as u64, [n, k], [64, 64], Swizzle::Bytes128),
        d: map(device, Element::F32, d.ptr() as u64, [m, n], [32, 64], Swizzle::None),
        num_k_tiles: k.div_ceil(64) as u32,
        reserved: [0; 31],
    };
    let grid = [n.div_ceil(64) as u32, m.div_ceil(128) as u32, 1];
    device.run(&[KernelCall::new(kernel, grid, 384, 108_544, &params)])?;
    for (i, got) in d.read()?.iter().enumerate() {
        let (row, col) = (i / n, i % n);
        let expected = (0..k).map(|at| small(row * k + at, 3) * small(col * k + at, 11)).sum::<i32>();
        if got.to_bits() != (expected as f32).to_bits() {
            return Err(format!("{kernel}: element ({row}, {col}) is {got}, expected {expected}"));
        }
    }
    Ok(())
}

#[test]
fn product() {
    for device in hopper_drivers() {
        for size in [[64, 64, 64], [200, 100, 648], [1, 4, 8]] {
            test(&device, "micro_pipeline", size).unwrap_or_else(|e| panic!("{}: {size:?}: {e}", device.name));
        }
    }
}
