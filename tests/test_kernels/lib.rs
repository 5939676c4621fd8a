//! Kernels that the emulator knows in tests alone: a micro-test for each intrinsic (`kernels/tests`), and copies of the
//! kernels of one architecture that each lack a wait, a barrier or a guard. They enter the emulator's table of kernels by
//! being linked: `use pid_test_kernels as _;`. The command and embedders do not compile them.
