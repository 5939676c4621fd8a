//! Convolutions and group norms of the adapter (`kernels/conv`).

mod conv3x3;
mod group_norm;
