//! The `pid` command.
fn main() {}
