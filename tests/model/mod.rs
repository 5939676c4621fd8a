//! What tests of whole decodes share.

use std::path::{Path, PathBuf};

/// A file of the repository.
pub fn path(name: &str) -> PathBuf {
    // Cargo says where; a test binary carried to another machine is run in the repository's folder.
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| ".".into());
    Path::new(&root).join(name)
}

/// Of `a` from `b`.
pub fn relative_l2(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "lengths");
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(x, y)| f(f64::from(*x), f64::from(*y))).sum::<f64>();
    (sum(&|x, y| (x - y) * (x - y)) / sum(&|_, y| y * y)).sqrt()
}
