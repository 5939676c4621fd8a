//! Why a checkpoint cannot be used.

use std::fmt;

use super::pth::PthError;
use crate::models::pid::ConfigError;
use crate::output::OutputError;

/// A checkpoint that cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CheckpointError {
    #[error("{path}: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("{path} is a directory; {advice}")]
    Directory { path: String, advice: String },
    #[error(
        "{path} is no regular file: a checkpoint is mapped into memory, which a pipe or a device cannot be; write it to a file and name that"
    )]
    NotMappable { path: String },
    #[error("{path} is empty: the download or the copy did not finish")]
    Empty { path: String },
    #[error("{path} is not a usable safetensors file: {message}")]
    Safetensors { path: String, message: String },
    #[error("{path} is {kind}")]
    Kind { path: String, kind: crate::kind::Kind },
    #[error("{path}: {message}")]
    Shards { path: String, message: String },
    #[error("{path}: {source}")]
    Pth { path: String, source: PthError },
    #[error(
        "{path} is an undistilled teacher ({evidence}): it needs many steps and guidance, and this engine runs the distilled four-step student; use the checkpoint whose name ends in distill_4step (or has 4step in it), or, if it is a student after all, --student"
    )]
    Teacher { path: String, evidence: String },
    #[error(
        "{path} holds no PiD network: of the tensors that one has (s_embedder.proj.weight, ...) it has none, under any prefix; it holds {found}"
    )]
    NoNetwork { path: String, found: String },
    #[error("{path} holds several networks: {candidates}; choose one with --weights KEY")]
    Networks { path: String, candidates: String },
    #[error("{path}: {found} for --weights {key}; it holds {candidates}")]
    Weights { path: String, key: String, found: &'static str, candidates: String },
    #[error("{path}: two of its tensors have the name {name}")]
    Ambiguous { path: String, name: String },
    #[error(
        "{path} is quantised as {what}, which is not read; what is: bf16, f16, f32, and float8, int8 and mxfp8 as ComfyUI writes them"
    )]
    Quantised { path: String, what: String },
    #[error("{path} does not fit the network ({config}): {mismatch}")]
    Mismatch { path: String, config: String, mismatch: Box<Mismatch> },
    #[error("{path}: {source}")]
    Config { path: String, source: ConfigError },
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("stopped on request; nothing was written")]
    Cancelled,
}

/// Every difference between a checkpoint and what its network needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Needed, not there: name and shape.
    pub missing: Vec<String>,
    /// There, not needed.
    pub unexpected: Vec<String>,
    /// There in another shape.
    pub misshapen: Vec<String>,
    /// There in a storage type that weights cannot have.
    pub untyped: Vec<String>,
}

/// Names shown of each kind.
const SHOWN: usize = 12;

impl Mismatch {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|(_, list)| list.is_empty())
    }

    fn lists(&self) -> [(&'static str, &Vec<String>); 4] {
        [
            ("missing", &self.missing),
            ("misshapen", &self.misshapen),
            ("unexpected", &self.unexpected),
            ("of unusable storage type", &self.untyped),
        ]
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (kind, list) in self.lists().into_iter().filter(|(_, list)| !list.is_empty()) {
            let comma = if first { "" } else { "; " };
            first = false;
            write!(f, "{comma}{} {kind}: {}", list.len(), list[..list.len().min(SHOWN)].join(", "))?;
            if list.len() > SHOWN {
                write!(f, " and {} more", list.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}
