//! Where the products of sm_90a that end in bulk stores (`kernels/gemm/boxes_sm90.cuh`) put their results: the output maps
//! of `PidTmaGemmStores`.

use super::params::{
    PidLatentGateParams, PidLinearParams, PidPixelModulateParams, PidQkvParams, PidResidualParams, PidRows,
    PidSwiGluParams, PidTensorMap,
};
use super::tensor_map::{Element, Planes, Swizzle};
use crate::backend::device::{DeviceError, Driver};

/// Columns and rows of a box.
const BOX: [u32; 2] = [64, 16];
/// Columns of a head.
const HEAD: u32 = 64;

/// A bf16 output. Buffers that hold a range of rows only are named by where row 0 would lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// `[rows, columns]` by stream row.
    Stream(*mut u16, u32),
    /// `[joint rows, columns]`.
    Joint(*mut u16, u32),
    /// q, k and v, `[B, heads, N, 64]` each, and the heads.
    Heads([*mut u16; 3], u32),
}

impl Output {
    /// Whether the rows of one sample stand apart from the next one's.
    pub(super) fn is_by_sample(self) -> bool {
        !matches!(self, Self::Stream(..))
    }

    /// The maps of `segments` runs of `segment_rows` rows, of which `rows` are all.
    pub(super) fn maps(
        self,
        driver: &dyn Driver,
        rows: &PidRows,
        [segment_rows, segments]: [u32; 2],
    ) -> Result<[PidTensorMap; 3], DeviceError> {
        // `plane_rows`: from the first row of a plane to the next one's.
        let map = |base: *mut u16, first: u64, columns: u32, plane_rows: u32, planes: u32| {
            let planes = Planes {
                address: (base as u64).wrapping_add(first * Element::Bf16.bytes() * u64::from(columns)),
                dims: [columns, segment_rows, planes],
                apart: plane_rows,
                box_dims: BOX,
                swizzle: Swizzle::Bytes128,
            };
            planes.map(driver)
        };
        match self {
            Self::Stream(base, columns) => Ok([map(base, rows.first.into(), columns, rows.per_sample, segments)?; 3]),
            Self::Joint(base, columns) => {
                Ok([map(base, first_joint_row(rows, 1), columns, rows.joint_per_sample, segments)?; 3])
            }
            Self::Heads([q, k, v], heads) => {
                let part =
                    |base| map(base, first_joint_row(rows, heads), HEAD, rows.joint_per_sample, segments * heads);
                Ok([part(q)?, part(k)?, part(v)?])
            }
        }
    }
}

/// The joint row of the first of `rows`, where each sample has its rows `times` times.
pub(super) fn first_joint_row(rows: &PidRows, times: u32) -> u64 {
    let (sample, token) = (rows.first / rows.per_sample, rows.first % rows.per_sample);
    u64::from(sample) * u64::from(times) * u64::from(rows.joint_per_sample) + u64::from(rows.joint_first + token)
}

/// The parameters of a product whose A lies by rows.
pub trait RowsProduct: Copy {
    /// What bulk stores can write; `None` where no kernel of the product has any.
    fn output(&self) -> Option<Output> {
        None
    }
}

impl RowsProduct for PidLinearParams {
    fn output(&self) -> Option<Output> {
        Some(Output::Stream(self.output, self.gemm.n))
    }
}

impl RowsProduct for PidSwiGluParams {
    fn output(&self) -> Option<Output> {
        Some(Output::Joint(self.output, self.gemm.n / 2))
    }
}

impl RowsProduct for PidQkvParams {
    fn output(&self) -> Option<Output> {
        Some(Output::Heads([self.q, self.k, self.v], self.heads))
    }
}

impl RowsProduct for PidResidualParams {}
impl RowsProduct for PidLatentGateParams {}
impl RowsProduct for PidPixelModulateParams {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_heads_are_those_of_the_sample() {
        let rows =
            |first| PidRows { first, count: 5, per_sample: 40, joint_per_sample: 50, joint_first: 10, reserved: 0 };
        assert_eq!(first_joint_row(&rows(85), 1), 2 * 50 + 10 + 5);
        assert_eq!(first_joint_row(&rows(85), 24), 2 * 24 * 50 + 10 + 5);
    }
}
