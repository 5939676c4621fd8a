//! Every kernel against a plain computation: on the emulator always, on a GPU with `PID_TEST_DEVICE=cuda:0`.
#![cfg(feature = "emulator")]

mod sanitizers;
