//! Build script: records the commit for `pid --version`.
fn main() {}
