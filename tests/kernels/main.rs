//! Every kernel against a plain computation: on the emulator always, on a GPU with `PID_TEST_DEVICE=cuda:0`.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used)]

mod attention;
mod conv;
mod faults;
mod gemm;
mod micro;
mod pixel;
mod rows;
mod sampler;
mod sanitizers;
mod third_family;
mod under_test;
mod values;

// Micro-tests and faulty copies enter the emulator's table by being linked.
use pid_test_kernels as _;
