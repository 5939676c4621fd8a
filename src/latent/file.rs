//! Tensors from files, told apart by content: safetensors (ComfyUI's `.latent` too), `.pt` and `.pth`, `.npy`, `.npz`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::input::{self, fail};
use super::{InputError, LatentFrame, check_finite, npy};
use crate::checkpoint::{Checkpoint, FileBytes};
use crate::sampler::NoiseSource;

/// A tensor read from a file, float32, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its name in the file, or the file's for `.npy`.
    pub name: String,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// The values.
    pub data: Vec<f32>,
}

/// Names under which programs keep what we call by the first of each row. The first, where it is there, is meant; else
/// the only one of the others; else the only tensor of the file.
const NAMES: [&[&str]; 2] = [
    // diffusers and InvokeAI; ComfyUI's files; ComfyUI's latents in memory, as saved by torch.save.
    &["latent", "latents", COMFY_TENSOR, "samples"],
    // diffusers; transformers.
    &["caption", "prompt_embeds", "last_hidden_state"],
];

/// The tensor of ComfyUI's SaveLatent node.
const COMFY_TENSOR: &str = "latent_tensor";
/// The tensor, without values, that tells newer files of that node.
const COMFY_VERSION: &str = "latent_format_version_0";
/// What ComfyUI's LoadLatent multiplies the values of older files by: they were saved scaled for Stable Diffusion 1.
const COMFY_UNSCALE: f32 = 1.0 / 0.18215;

/// A file of tensors, read once: a pipe can be one.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    store: Store,
}

enum Store {
    Npy(FileBytes),
    Npz(FileBytes, Vec<String>),
    Tensors(Checkpoint),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Npy(_) => "Npy",
            Self::Npz(..) => "Npz",
            Self::Tensors(_) => "Tensors",
        })
    }
}

impl TensorFile {
    /// Opens a file of any kind; `-` is standard input. Regular files are mapped, anything else is read into memory.
    ///
    /// # Errors
    /// When the file cannot be read, or is of none of the kinds.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        Self::of_contents(path, input::read(path)?)
    }

    /// As [`Self::open`], of contents that were read already; `path` is what messages name.
    ///
    /// # Errors
    /// As there.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, InputError> {
        Self::of_contents(path, FileBytes::Read(bytes))
    }

    fn of_contents(path: &Path, contents: FileBytes) -> Result<Self, InputError> {
        let store = if npy::is_npy(&contents) {
            Store::Npy(contents)
        } else if let Some(names) = npy::npz_names(&contents) {
            Store::Npz(contents, names)
        } else {
            let opened = match contents {
                FileBytes::Mapped(_) => Checkpoint::open(path),
                FileBytes::Read(bytes) => Checkpoint::from_bytes(path, bytes),
            };
            // The error names the path itself.
            Store::Tensors(opened.map_err(|e| fail(path, &format!("expected a .safetensors or .npy file: {e}")))?)
        };
        Ok(Self { path: path.to_path_buf(), store })
    }

    /// The file's metadata; only safetensors files have any.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        match &self.store {
            Store::Tensors(file) => file.metadata().clone(),
            Store::Npy(_) | Store::Npz(..) => BTreeMap::new(),
        }
    }

    /// The tensor called `wanted` or by another of its usual names, or the only one of the file. Values are not checked
    /// here. What was assumed about them, and what is odd about the file, is added to `warnings`.
    ///
    /// # Errors
    /// When the file holds several tensors and none is called so, or several are; or when it is damaged.
    pub fn tensor(&self, wanted: &str, warnings: &mut Vec<String>) -> Result<NamedTensor, InputError> {
        let names = self.names();
        let aliases = NAMES.into_iter().find(|row| row[0] == wanted).unwrap_or_default();
        let known: Vec<&str> = aliases.iter().copied().filter(|alias| names.iter().any(|n| n == alias)).collect();
        let filled: Vec<&str> = names.iter().map(String::as_str).filter(|name| self.has_values(name)).collect();
        let name = match (known.as_slice(), filled.as_slice()) {
            _ if names.iter().any(|n| n == wanted) => wanted,
            ([only], _) | ([], [only]) => only,
            ([], []) => return Err(fail(&self.path, "holds no tensor")),
            ([], several) => {
                return Err(fail(&self.path, &format!("holds no tensor `{wanted}`, but {}", listed(several))));
            }
            (several, _) => {
                let message = format!("holds {}; call the one that is meant `{wanted}`", listed(several));
                return Err(fail(&self.path, &message));
            }
        };
        self.take(name, warnings)
    }

    /// The latent, and the space that its file tells it to be in.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn latent(&self, warnings: &mut Vec<String>) -> Result<(NamedTensor, Option<LatentFrame>), InputError> {
        let mut tensor = self.tensor(NAMES[0][0], warnings)?;
        if tensor.name != COMFY_TENSOR || !matches!(self.store, Store::Tensors(_)) {
            return Ok((tensor, None));
        }
        if !self.names().iter().any(|name| name == COMFY_VERSION) {
            tensor.data.iter_mut().for_each(|v| *v *= COMFY_UNSCALE);
            warnings.push(format!(
                "latent: an older file of ComfyUI (without {COMFY_VERSION}): its values are divided by 0.18215, as ComfyUI does"
            ));
        }
        Ok((tensor, Some(LatentFrame::ComfyUi)))
    }

    /// The sampler's noise: tensors `noise.0`, `noise.1`, ... as far as there are, or the only tensor.
    ///
    /// # Errors
    /// As [`Self::tensor`], or when a value is not finite.
    pub fn noise(&self, warnings: &mut Vec<String>) -> Result<NoiseSource, InputError> {
        let names = self.names();
        let numbered = (0..).map(|k| format!("noise.{k}")).take_while(|name| names.contains(name));
        let mut draws =
            numbered.map(|name| self.take(&name, warnings)).collect::<Result<Vec<NamedTensor>, InputError>>()?;
        if draws.is_empty() {
            draws.push(self.tensor("noise.0", warnings)?);
        }
        for (k, draw) in draws.iter().enumerate() {
            check_finite(&format!("{} noise.{k}", input::shown(&self.path)), &draw.data)?;
        }
        Ok(NoiseSource::Given(draws.into_iter().map(|d| d.data).collect()))
    }

    fn names(&self) -> Vec<String> {
        match &self.store {
            Store::Npy(_) => vec![self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()],
            Store::Npz(_, names) => names.clone(),
            Store::Tensors(file) => file.names().map(str::to_owned).collect(),
        }
    }

    /// Whether the tensor has any; markers have none.
    fn has_values(&self, name: &str) -> bool {
        match &self.store {
            Store::Tensors(file) => file.get(name).is_some_and(|view| !view.is_empty()),
            Store::Npy(_) | Store::Npz(..) => true,
        }
    }

    fn take(&self, name: &str, warnings: &mut Vec<String>) -> Result<NamedTensor, InputError> {
        match &self.store {
            Store::Npy(bytes) => npy::read_npy(&self.path, bytes, name, warnings),
            Store::Npz(bytes, _) => npy::read_npz(&self.path, bytes, name, warnings),
            Store::Tensors(file) => {
                let view = file.get(name).ok_or_else(|| fail(&self.path, &format!("holds no tensor `{name}`")))?;
                for warning in file.warnings() {
                    // A file is often asked for several tensors.
                    if !warnings.contains(warning) {
                        warnings.push(warning.clone());
                    }
                }
                if !view.dtype.is_readable() {
                    let message = format!("tensor `{name}` is of type {}; save it as float32", view.dtype);
                    return Err(fail(&self.path, &message));
                }
                Ok(NamedTensor { name: name.into(), shape: view.shape.to_vec(), data: view.to_f32() })
            }
        }
    }
}

/// Up to eight names for a message.
fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(8).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 8 { format!("{shown} and {} more", names.len() - 8) } else { shown }
}

/// Reads one tensor of a file: [`TensorFile::tensor`] for those who need nothing else of it.
///
/// # Errors
/// As [`TensorFile::open`] and [`TensorFile::tensor`].
pub fn read_tensor(path: &Path, wanted: &str) -> Result<NamedTensor, InputError> {
    TensorFile::open(path)?.tensor(wanted, &mut Vec::new())
}
