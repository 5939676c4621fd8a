//! Which tensors of a checkpoint are the network's.
//!
//! A network is known by the names of its tensors, whatever stands before them: `net.`, `model.diffusion_model.`,
//! `module.`, the keys of a `.pth`'s containers. Where several networks are inside, the averaged weights (EMA) are
//! those that PiD is released as; otherwise the caller chooses ([`super::OpenOptions::weights`]).

use std::collections::BTreeMap;

use super::{Checkpoint, CheckpointError, Entry};
use crate::models::pid::names;

/// Tensors that every network has, to find it by; several, so that a file that lacks one is told so.
const LANDMARKS: [&str; 4] = [
    "s_embedder.proj.weight",
    "pixel_embedder.proj.weight",
    "lq_proj.latent_proj.0.weight",
    "final_layer.linear.weight",
];
/// Parts of names that wrappers of PyTorch put between those of the network.
const WRAPPERS: [&str; 3] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];
/// Networks of the same shape that training keeps beside the one it makes.
const HELPERS: [&str; 4] = ["fake_score", "real_score", "teacher", "discriminator"];
/// First parts of names that files without a prefix hold beside the network.
const NEIGHBOURS: [&str; 14] = [
    "vae",
    "text_encoders",
    "text_encoder",
    "text_encoder_2",
    "first_stage_model",
    "cond_stage_model",
    "conditioner",
    "clip_vision",
    "model_ema",
    "net_ema",
    "fake_score",
    "real_score",
    "teacher",
    "discriminator",
];

/// A network inside a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// What stands before its names, with the last dot; may be empty.
    pub prefix: String,
    /// Those that may be the network's: no neighbours, no counters, nothing of training alone.
    pub tensors: usize,
}

impl Candidate {
    fn parts(&self) -> impl Iterator<Item = &str> {
        self.prefix.split('.').filter(|part| !part.is_empty())
    }

    fn is_helper(&self) -> bool {
        self.parts().any(|part| HELPERS.contains(&part))
    }

    fn is_average(&self) -> bool {
        self.parts().any(|part| part.to_lowercase().split(['_', '-']).any(|word| word == "ema"))
    }

    /// What `--weights` takes.
    fn key(&self) -> &str {
        if self.prefix.is_empty() { "." } else { self.prefix.trim_end_matches('.') }
    }

    /// Its name and size, for a message.
    fn shown(&self) -> String {
        let name = if self.prefix.is_empty() { "without a prefix (.)" } else { self.key() };
        format!("{name} ({} tensors)", self.tensors)
    }
}

/// Of each candidate, what `--weights` takes and how many tensors it has.
pub(super) fn listed(candidates: &[Candidate]) -> String {
    candidates.iter().map(Candidate::shown).collect::<Vec<_>>().join(", ")
}

impl Checkpoint {
    /// Keeps the network's own tensors, without prefix.
    pub(super) fn keep_network(&mut self) -> Result<String, CheckpointError> {
        self.unwrap_names()?;
        let candidates = self.candidates();
        let chosen = self.choose(&candidates)?;
        let longer: Vec<&str> =
            candidates.iter().map(|c| c.prefix.as_str()).filter(|p| p.len() > chosen.len()).collect();
        let mut kept = BTreeMap::new();
        let mut beside: BTreeMap<String, usize> = BTreeMap::new();
        for (name, entry) in std::mem::take(&mut self.tensors) {
            let own = name.strip_prefix(&chosen).filter(|_| !longer.iter().any(|p| name.starts_with(p)));
            match own {
                Some(own) if is_own(own, &entry) => {
                    kept.insert(own.to_owned(), entry);
                }
                Some(own) if is_training_only(own) => {}
                _ if name.rsplit('.').next() == Some(super::quantised::MARKER) => {}
                _ => *beside.entry(group(&name, &chosen, &candidates)).or_default() += 1,
            }
        }
        self.tensors = kept;
        if !beside.is_empty() {
            let groups = beside.iter().map(|(name, count)| format!("{name} ({count})")).collect::<Vec<_>>();
            let more = if groups.len() > SHOWN { format!(" and {} more", groups.len() - SHOWN) } else { String::new() };
            let shown = groups[..groups.len().min(SHOWN)].join(", ");
            self.warnings.push(format!("{}: tensors beside the network are ignored: {shown}{more}", self.shown()));
        }
        Ok(chosen)
    }

    /// Takes the wrappers' parts out of names.
    fn unwrap_names(&mut self) -> Result<(), CheckpointError> {
        let is_wrapped = |name: &str| name.split('.').any(|part| WRAPPERS.contains(&part));
        if !self.names().any(is_wrapped) {
            return Ok(());
        }
        let mut unwrapped = BTreeMap::new();
        for (name, entry) in std::mem::take(&mut self.tensors) {
            let short = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect::<Vec<_>>().join(".");
            if unwrapped.insert(short.clone(), entry).is_some() {
                return Err(CheckpointError::Ambiguous { path: self.shown(), name: short });
            }
        }
        self.tensors = unwrapped;
        Ok(())
    }

    /// The networks inside, by prefix.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let prefix = |name: &str| {
            LANDMARKS.iter().find_map(|landmark| {
                let prefix = name.strip_suffix(landmark)?;
                (prefix.is_empty() || prefix.ends_with('.')).then(|| prefix.to_owned())
            })
        };
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for prefix in self.names().filter_map(prefix) {
            if found.len() < MAX_NETWORKS {
                found.insert(prefix, 0);
            }
        }
        let prefixes: Vec<String> = found.keys().cloned().collect();
        for (name, entry) in &self.tensors {
            let prefix = prefixes.iter().filter(|p| name.starts_with(p.as_str())).max_by_key(|p| p.len());
            let Some(prefix) = prefix.filter(|p| is_own(&name[p.len()..], entry)) else { continue };
            *found.entry(prefix.clone()).or_default() += 1;
        }
        found.into_iter().map(|(prefix, tensors)| Candidate { prefix, tensors }).collect()
    }

    /// The prefix of the network to take; says so where there was a choice.
    fn choose(&mut self, candidates: &[Candidate]) -> Result<String, CheckpointError> {
        if candidates.is_empty() {
            return Err(self.no_network());
        }
        if let Some(key) = self.options.weights.clone() {
            return self.choose_by_key(&key, candidates);
        }
        let own: Vec<&Candidate> = candidates.iter().filter(|c| !c.is_helper()).collect();
        let averages: Vec<&Candidate> = own.iter().copied().filter(|c| c.is_average()).collect();
        let most = own.iter().map(|c| c.tensors).max().unwrap_or(0);
        match (own.as_slice(), averages.as_slice(), candidates) {
            ([only], ..) => Ok(only.prefix.clone()),
            ([], _, [only]) => Ok(only.prefix.clone()),
            (_, [average], _) if average.tensors == most => {
                let others: Vec<Candidate> = own.iter().filter(|c| c != &average).map(|c| (*c).clone()).collect();
                self.warnings.push(format!(
                    "{}: of its networks the averaged one is taken, {}; --weights takes another: {}",
                    self.shown(),
                    average.shown(),
                    listed(&others)
                ));
                Ok(average.prefix.clone())
            }
            _ => Err(CheckpointError::Networks { path: self.shown(), candidates: listed(candidates) }),
        }
    }

    fn choose_by_key(&self, key: &str, candidates: &[Candidate]) -> Result<String, CheckpointError> {
        let wanted: Vec<&str> = key.split('.').filter(|part| !part.is_empty()).collect();
        let whole = |c: &Candidate| {
            let parts = self.container.split('.').filter(|part| !part.is_empty()).chain(c.parts());
            parts.map(str::to_owned).collect::<Vec<_>>()
        };
        let exact = candidates.iter().filter(|c| whole(c) == wanted || c.parts().eq(wanted.iter().copied()));
        let begins = candidates.iter().filter(|c| {
            !wanted.is_empty() && whole(c).iter().map(String::as_str).take(wanted.len()).eq(wanted.iter().copied())
        });
        let found: Vec<&Candidate> = exact.collect();
        let found = if found.is_empty() { begins.collect() } else { found };
        match found.as_slice() {
            [only] => Ok(only.prefix.clone()),
            _ => Err(CheckpointError::Weights {
                path: self.shown(),
                key: key.to_owned(),
                found: if found.is_empty() { "no network" } else { "several networks" },
                candidates: listed(candidates),
            }),
        }
    }

    /// Why there is nothing to take.
    fn no_network(&self) -> CheckpointError {
        if let Some(message) = self.path.as_deref().and_then(super::shards::advice) {
            return CheckpointError::Shards { path: self.shown(), message };
        }
        if let Some(what) = super::quantised::foreign(self.names()) {
            return CheckpointError::Quantised { path: self.shown(), what };
        }
        let names: Vec<&str> = self.names().take(3).collect();
        let count = self.tensors.len();
        let found = match names.as_slice() {
            [] => "no tensors at all".to_owned(),
            [only] if count == 1 => format!("one tensor, {only}"),
            _ => format!("{count} tensors, {} ...", names.join(", ")),
        };
        CheckpointError::NoNetwork { path: self.shown(), found }
    }
}

/// Networks looked for in one file.
const MAX_NETWORKS: usize = 64;
/// Groups shown of what is ignored.
const SHOWN: usize = 8;

/// Whether a tensor called so without prefix may be the network's.
fn is_own(name: &str, entry: &Entry) -> bool {
    !is_neighbour(name) && !is_counter(name, entry) && !is_training_only(name)
}

fn is_training_only(name: &str) -> bool {
    names::TRAINING_ONLY.iter().any(|start| name.starts_with(start))
}

/// Whether a tensor without prefix is of another part of a merged file.
fn is_neighbour(name: &str) -> bool {
    name.split_once('.').is_some_and(|(first, _)| NEIGHBOURS.contains(&first))
}

/// Whether it counts something of an average (`num_updates`, `decay`): a number beside the network's parts.
fn is_counter(name: &str, entry: &Entry) -> bool {
    !name.contains('.') && entry.shape.iter().product::<usize>() <= 1 && name != super::quantised::MARKER
}

/// What a tensor beside the network is part of.
fn group(name: &str, chosen: &str, candidates: &[Candidate]) -> String {
    if let Some(own) = name.strip_prefix(chosen).filter(|_| !chosen.is_empty()) {
        return own.split('.').next().unwrap_or(own).to_owned();
    }
    let other = candidates.iter().filter(|c| name.starts_with(&c.prefix)).max_by_key(|c| c.prefix.len());
    match other.filter(|c| !c.prefix.is_empty()) {
        Some(candidate) => candidate.key().to_owned(),
        None => name.split('.').next().unwrap_or(name).to_owned(),
    }
}
