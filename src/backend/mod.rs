//! Devices that run programs.

pub mod cpu;
