//! The files of `demo/`, which come with the program.

use std::path::{Path, PathBuf};

use crate::cli::report::CliError;
use crate::cli::shown;

/// Weights of the demo model.
pub(super) const WEIGHTS: &str = "demo.safetensors";
/// A picture that they were not trained on.
pub(super) const PICTURE: &str = "chelsea.png";

/// Where `name` lies: in a folder `demo` beside the program, or in the sources that it was built from.
///
/// # Errors
/// When it is in neither; `flag` names a file of the user's instead.
pub(super) fn find(name: &str, flag: &str) -> Result<PathBuf, CliError> {
    let beside = std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_path_buf));
    let folders: Vec<PathBuf> =
        beside.into_iter().chain([env!("CARGO_MANIFEST_DIR").into()]).map(|place| place.join("demo")).collect();
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        let places = folders.iter().map(|f| shown(f)).collect::<Vec<_>>().join(" and ");
        CliError::failed(format!(
            "{name} is not in {places}: put the repository's folder demo/ there, name a file with {flag}, or take --synthetic"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_with_the_program_is_found() {
        assert!(find(WEIGHTS, "--checkpoint").is_ok() && find(PICTURE, "--image").is_ok());
        let error = format!("{:?}", find("none.png", "--image").unwrap_err());
        assert!(error.contains("none.png is not in") && error.contains("--image"), "{error}");
    }
}
