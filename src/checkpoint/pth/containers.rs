//! Where a pickle's tensors lie: in dictionaries, lists and tuples, one in another, or bare.

use super::PthError;
use super::unpickle::{Id, Node, Pickle};

/// Containers that may lie in each other, and bytes of the keys down to a tensor: no more than files that people have,
/// and no room for names that outgrow the file.
const MAX_DEPTH: usize = 32;
const MAX_KEYS: usize = 512;
/// What a tensor is called that no container names.
const BARE: &str = "tensor";

/// Tensors (and arrays) by name.
pub(super) struct Found {
    /// Keys joined by dots; those around the only container of tensors are left out.
    pub tensors: Vec<(String, Id)>,
    /// The keys left out.
    pub container: String,
}

/// Walks the containers from the root; each node once.
pub(super) fn find(pickle: &Pickle) -> Result<Found, PthError> {
    if is_tensor(&pickle.nodes[pickle.root]) {
        return Ok(Found { tensors: vec![(BARE.to_owned(), pickle.root)], container: String::new() });
    }
    let mut walk = Walk { pickle, seen: vec![false; pickle.nodes.len()], found: Vec::new() };
    walk.container(pickle.root, "", 0)?;
    let mut containers: Vec<&str> = walk.found.iter().map(|(container, ..)| container.as_str()).collect();
    containers.dedup();
    let container = match containers.as_slice() {
        [only] => (*only).to_owned(),
        _ => String::new(),
    };
    let name = |(at, key, id): (String, String, Id)| match at
        .strip_prefix(&container)
        .unwrap_or(&at)
        .trim_start_matches('.')
    {
        "" => (key, id),
        inside => (format!("{inside}.{key}"), id),
    };
    Ok(Found { tensors: walk.found.into_iter().map(name).collect(), container })
}

fn is_tensor(node: &Node) -> bool {
    matches!(node, Node::Tensor(_) | Node::Array(Some(_)))
}

struct Walk<'a> {
    pickle: &'a Pickle,
    seen: Vec<bool>,
    /// Container, key and node of each tensor, those of a container together.
    found: Vec<(String, String, Id)>,
}

impl Walk<'_> {
    fn container(&mut self, id: Id, path: &str, depth: usize) -> Result<(), PthError> {
        if depth > MAX_DEPTH || std::mem::replace(&mut self.seen[id], true) {
            return Ok(());
        }
        let mut inner = Vec::new();
        let count = match &self.pickle.nodes[id] {
            Node::Tuple(items) | Node::List(items) => items.len(),
            Node::Dict(items) => items.len(),
            _ => return Ok(()),
        };
        for at in 0..count {
            let (key, value) = match &self.pickle.nodes[id] {
                Node::Dict(items) => (self.key(items[at].0), items[at].1),
                Node::Tuple(items) | Node::List(items) => (Some(at.to_string()), items[at]),
                _ => return Ok(()),
            };
            let node = &self.pickle.nodes[value];
            if !is_tensor(node) && !matches!(node, Node::Dict(_) | Node::List(_) | Node::Tuple(_)) {
                continue;
            }
            let Some(key) = key else { continue };
            if path.len() + key.len() > MAX_KEYS {
                return Err(PthError::LongKey(key));
            }
            if is_tensor(node) {
                self.found.push((path.to_owned(), key, value));
            } else {
                inner.push((key, value));
            }
        }
        for (key, value) in inner {
            let path = if path.is_empty() { key } else { format!("{path}.{key}") };
            self.container(value, &path, depth + 1)?;
        }
        Ok(())
    }

    /// The key's text, cut where it is too long.
    fn key(&self, id: Id) -> Option<String> {
        match &self.pickle.nodes[id] {
            // Enough to see that it is too long.
            Node::Text(text) => Some(text.chars().take(MAX_KEYS + 1).collect()),
            Node::Int(number) => Some(number.to_string()),
            _ => None,
        }
    }
}
