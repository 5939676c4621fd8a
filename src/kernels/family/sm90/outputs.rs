//! Where the products that end in bulk stores (`kernels/sm90/boxes.cuh`) put their results: the output maps of
//! `PidTmaGemmStores`.

use crate::kernels::op_call::Output;
use crate::kernels::params::{PidRows, PidTensorMap};
use crate::kernels::target::{LaunchError, Target};
use crate::kernels::tensor_map::{Element, Planes, Swizzle};

/// Columns of a head.
const HEAD: u32 = 64;

/// The maps of `output` by boxes of so many columns and rows: of `segments` runs of `segment_rows` rows, of which `rows` are all.
pub(super) fn maps(
    target: &dyn Target,
    store_box: [u32; 2],
    output: Output,
    rows: &PidRows,
    [segment_rows, segments]: [u32; 2],
) -> Result<[PidTensorMap; 3], LaunchError> {
    // `plane_rows`: from the first row of a plane to the next one's.
    let map = |base: *mut u16, first: u64, columns: u32, plane_rows: u32, planes: u32| {
        let planes = Planes {
            address: (base as u64).wrapping_add(first * Element::Bf16.bytes() * u64::from(columns)),
            dims: [columns, segment_rows, planes],
            apart: plane_rows,
            box_dims: store_box,
            swizzle: Swizzle::Bytes128,
        };
        planes.map(target)
    };
    match output {
        Output::Stream(base, columns) => Ok([map(base, rows.first.into(), columns, rows.per_sample, segments)?; 3]),
        Output::Joint(base, columns) => {
            Ok([map(base, first_joint_row(rows, 1), columns, rows.joint_per_sample, segments)?; 3])
        }
        Output::Heads([q, k, v], heads) => {
            let part = |base| map(base, first_joint_row(rows, heads), HEAD, rows.joint_per_sample, segments * heads);
            Ok([part(q)?, part(k)?, part(v)?])
        }
    }
}

/// The joint row of the first of `rows`, where each sample has its rows `times` times.
pub(super) fn first_joint_row(rows: &PidRows, times: u32) -> u64 {
    let (sample, token) = (rows.first / rows.per_sample, rows.first % rows.per_sample);
    u64::from(sample) * u64::from(times) * u64::from(rows.joint_per_sample) + u64::from(rows.joint_first + token)
}

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
