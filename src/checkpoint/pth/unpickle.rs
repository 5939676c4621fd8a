//! A pickle interpreter that builds containers, numbers, texts and tensor descriptions, and can do nothing
//! else. Every opcode makes at most one node, so memory is bounded by the pickle's length.

use std::collections::HashMap;
use std::ops::Range;

use super::PthError;
use super::globals::{Allowed, allowed};
use crate::checkpoint::DType;

/// Most dimensions of a tensor.
pub(super) const MAX_RANK: usize = 16;

/// Index of a node.
pub(super) type Id = usize;

/// A value. Containers hold indices, so that a value put into two places stays one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// `None`, floats, types: nothing that a tensor needs.
    Other,
    Bool(bool),
    Int(i64),
    Text(String),
    /// Bytes, by their place in the pickle.
    Bytes(Range<usize>),
    /// Bytes that old protocols write as the text of the same code points.
    Latin1(Id),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A name from the list of allowed ones.
    Global(Allowed),
    Storage {
        dtype: Option<DType>,
        /// A text.
        key: Id,
    },
    Tensor(TensorNode),
    /// A type of NumPy, `f4`; then its byte order.
    ArrayType {
        code: Id,
        is_big_endian: bool,
    },
    /// An array of NumPy: `(version, shape, type, is Fortran, bytes)` once it is known.
    Array(Option<Id>),
}

/// `storage[offset + sum index * stride]`, in elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorNode {
    pub dtype: DType,
    /// The text that names its storage.
    pub key: Id,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

/// What a pickle built.
#[derive(Debug)]
pub(super) struct Pickle {
    pub nodes: Vec<Node>,
    pub root: Id,
}

/// Interprets a pickle.
pub(super) fn run(bytes: &[u8]) -> Result<Pickle, PthError> {
    let mut machine =
        Machine { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    loop {
        let start = machine.at;
        let located = |error| match error {
            PthError::Pickle { message, .. } => PthError::Pickle { at: start, message },
            other => other,
        };
        if let Some(root) = machine.step().map_err(located)? {
            return Ok(Pickle { nodes: machine.nodes, root });
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

fn bad<T>(message: impl Into<String>) -> Result<T, PthError> {
    Err(PthError::Pickle { at: 0, message: message.into() })
}

impl<'a> Machine<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], PthError> {
        match self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end)) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => bad(format!("it ends {count} bytes too early")),
        }
    }

    /// A little-endian number of `count` (at most 8) bytes.
    fn number(&mut self, count: usize) -> Result<u64, PthError> {
        Ok(self.take(count)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn length(&mut self, count: usize) -> Result<usize, PthError> {
        usize::try_from(self.number(count)?).or_else(|_| bad("a length beyond memory"))
    }

    fn line(&mut self) -> Result<&'a str, PthError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(end) = rest.iter().position(|b| *b == b'\n') else { return bad("a line without end") };
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).or_else(|_| bad("a line that is no text"))
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    fn pop(&mut self) -> Result<Id, PthError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return bad("the stack is empty");
        }
        self.stack.pop().map_or_else(|| bad("the stack is empty"), Ok)
    }

    fn top(&self) -> Result<Id, PthError> {
        self.stack.last().copied().map_or_else(|| bad("the stack is empty"), Ok)
    }

    /// Everything above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>, PthError> {
        let Some(mark) = self.marks.pop() else { return bad("no mark") };
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn tuple(&mut self, count: usize) -> Result<(), PthError> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn text(&mut self, length: usize) -> Result<(), PthError> {
        let text = std::str::from_utf8(self.take(length)?).or_else(|_| bad("a text that is not UTF-8"))?;
        self.push(Node::Text(text.to_owned()));
        Ok(())
    }

    fn skip(&mut self, length: usize) -> Result<(), PthError> {
        self.take(length)?;
        self.push(Node::Other);
        Ok(())
    }

    fn memoize(&mut self, key: u32) -> Result<(), PthError> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), PthError> {
        match self.memo.get(&key) {
            Some(id) => self.stack.push(*id),
            None => return bad(format!("memo {key} is empty")),
        }
        Ok(())
    }

    /// One opcode; the result when it was STOP.
    fn step(&mut self) -> Result<Option<Id>, PthError> {
        let opcode = self.take(1)?[0];
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => {
                let protocol = self.number(1)?;
                if !(2..=5).contains(&protocol) {
                    return bad(format!("pickle protocol {protocol}, expected 2 to 5"));
                }
            }
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => self.stack.push(self.top()?),
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(opcode)?,
            b'N' => self.push(Node::Other),
            0x88 | 0x89 => self.push(Node::Bool(opcode == 0x88)),
            b'K' | b'M' | b'J' | 0x8a | b'G' => self.numeric(opcode)?,
            b'X' | 0x8c | 0x8d | b'C' | b'B' | 0x8e => self.textual(opcode)?,
            b')' | b't' | 0x85 | 0x86 | 0x87 | b']' | b'}' | b'a' | b'e' | b's' | b'u' => self.container(opcode)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Node::Global(allowed(module, name)?));
            }
            0x93 => self.stack_global()?,
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            _ => return bad(format!("opcode {opcode:#04x}, which torch.save does not write")),
        }
        Ok(None)
    }

    fn memory(&mut self, opcode: u8) -> Result<(), PthError> {
        match opcode {
            b'q' => {
                let key = self.number(1)? as u32;
                self.memoize(key)
            }
            b'r' => {
                let key = self.number(4)? as u32;
                self.memoize(key)
            }
            0x94 => self.memoize(self.memo.len() as u32),
            b'h' => {
                let key = self.number(1)? as u32;
                self.recall(key)
            }
            _ => {
                let key = self.number(4)? as u32;
                self.recall(key)
            }
        }
    }

    fn numeric(&mut self, opcode: u8) -> Result<(), PthError> {
        let value = match opcode {
            b'K' => self.number(1)? as i64,
            b'M' => self.number(2)? as i64,
            b'J' => i64::from(self.number(4)? as u32 as i32),
            b'G' => return self.skip(8),
            _ => {
                let count = self.length(1)?;
                if count > 8 {
                    // Longer than any size or stride.
                    return self.skip(count);
                }
                let bits = self.number(count)?;
                let unused = 64 - 8 * count as u32;
                if count == 0 { 0 } else { ((bits << unused) as i64) >> unused }
            }
        };
        self.push(Node::Int(value));
        Ok(())
    }

    fn textual(&mut self, opcode: u8) -> Result<(), PthError> {
        let length = self.length(match opcode {
            b'X' | b'B' => 4,
            0x8c | b'C' => 1,
            _ => 8,
        })?;
        match opcode {
            b'X' | 0x8c | 0x8d => self.text(length),
            _ => {
                self.take(length)?;
                self.push(Node::Bytes(self.at - length..self.at));
                Ok(())
            }
        }
    }

    fn container(&mut self, opcode: u8) -> Result<(), PthError> {
        match opcode {
            b')' => self.push(Node::Tuple(Vec::new())),
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items));
            }
            0x85..=0x87 => self.tuple(usize::from(opcode - 0x84))?,
            b']' => self.push(Node::List(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])?;
            }
            _ => {
                let items = self.pop_mark()?;
                self.set_items(items)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), PthError> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::List(list) => list.extend(items),
            _ => return bad("appends to what is no list"),
        }
        Ok(())
    }

    fn set_items(&mut self, items: Vec<Id>) -> Result<(), PthError> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Dict(dict) if items.len().is_multiple_of(2) => {
                dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            _ => return bad("sets items of what is no dict"),
        }
        Ok(())
    }

    fn stack_global(&mut self) -> Result<(), PthError> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Node::Text(module), Node::Text(name)) = (&self.nodes[module], &self.nodes[name]) else {
            return bad("a global whose name is no text");
        };
        let global = allowed(module, name)?;
        self.push(Node::Global(global));
        Ok(())
    }

    /// `('storage', class, key, location, elements)`.
    fn persistent(&mut self) -> Result<(), PthError> {
        let id = self.pop()?;
        let Node::Tuple(items) = &self.nodes[id] else { return bad("a persistent id that is no tuple") };
        let node = |i: usize| items.get(i).map(|id| &self.nodes[*id]);
        match (node(0), node(1), node(2)) {
            (Some(Node::Text(tag)), Some(Node::Global(Allowed::StorageClass(dtype))), Some(Node::Text(_)))
                if tag == "storage" =>
            {
                let storage = Node::Storage { dtype: *dtype, key: items[2] };
                self.push(storage);
                Ok(())
            }
            _ => bad("a persistent id that is no storage"),
        }
    }

    /// BUILD sets attributes. Those of NumPy's types and arrays are what they are; others (an OrderedDict's _metadata) are
    /// of no use here.
    fn build(&mut self) -> Result<(), PthError> {
        let state = self.pop()?;
        let top = self.top()?;
        let order = self.items(state).and_then(|items| items.get(1)).map(|id| &self.nodes[*id]);
        let is_big = matches!(order, Some(Node::Text(order)) if order == ">");
        match &mut self.nodes[top] {
            Node::ArrayType { is_big_endian, .. } => *is_big_endian = is_big,
            Node::Array(held) => *held = Some(state),
            _ => {}
        }
        Ok(())
    }

    /// The items of a tuple.
    fn items(&self, id: Id) -> Option<&[Id]> {
        match &self.nodes[id] {
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// A call, of one of the few functions whose meaning is built in.
    fn reduce(&mut self) -> Result<(), PthError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Node::Global(global) = self.nodes[function] else { return bad("call of what is no function") };
        self.call(global, arguments)
    }

    fn call(&mut self, global: Allowed, arguments: Id) -> Result<(), PthError> {
        let Some(items) = self.items(arguments) else { return bad("call without a tuple of arguments") };
        let first = items.first().copied();
        let with_first = |what: &str| first.map_or_else(|| bad(format!("{what} without arguments")), Ok);
        let node = match global {
            Allowed::OrderedDict => Node::Dict(Vec::new()),
            Allowed::Size | Allowed::RebuildFromTensor => {
                let first = with_first("torch.Size or a parameter")?;
                self.stack.push(first);
                return Ok(());
            }
            Allowed::RebuildFromArray => {
                let array = with_first("an array's tensor")?;
                if !matches!(self.nodes[array], Node::Array(_)) {
                    return bad("a device's tensor without an array");
                }
                self.stack.push(array);
                return Ok(());
            }
            Allowed::RebuildFromType => {
                let (Some(Node::Global(inner)), Some(inner_arguments)) =
                    (first.map(|id| &self.nodes[id]), items.get(2))
                else {
                    return bad("a tensor of a class without its function");
                };
                if *inner == Allowed::RebuildFromType {
                    return bad("a class of a class");
                }
                return self.call(*inner, *inner_arguments);
            }
            Allowed::RebuildTensorV2 | Allowed::RebuildTensorV3 => {
                Node::Tensor(self.tensor(items, global == Allowed::RebuildTensorV3)?)
            }
            Allowed::ArrayReconstruct => Node::Array(None),
            Allowed::ArrayType => Node::ArrayType { code: with_first("numpy.dtype")?, is_big_endian: false },
            Allowed::Encode => Node::Latin1(with_first("encode")?),
            Allowed::Ignored => Node::Other,
            Allowed::StorageClass(_) | Allowed::DTypeName(_) => return bad("call of a type"),
        };
        self.push(node);
        Ok(())
    }

    /// `(storage, offset, shape, strides, requires_grad, hooks[, dtype])`.
    fn tensor(&self, items: &[Id], with_dtype: bool) -> Result<TensorNode, PthError> {
        let node = |i: usize| items.get(i).map(|id| &self.nodes[*id]);
        let Some(Node::Storage { dtype, key }) = node(0) else { return bad("a tensor without storage") };
        let Some(Node::Int(offset)) = node(1) else { return bad("a tensor without offset") };
        let dtype = match (with_dtype, node(6)) {
            (true, Some(Node::Global(Allowed::DTypeName(dtype)))) => Some(*dtype),
            (true, _) => return bad("a tensor without type"),
            (false, _) => *dtype,
        };
        let Some(dtype) = dtype else { return bad("a tensor of an untyped storage") };
        let (shape, strides) = (self.integers(node(2))?, self.integers(node(3))?);
        if shape.len() != strides.len() {
            return bad(format!("{} sizes and {} strides", shape.len(), strides.len()));
        }
        Ok(TensorNode { dtype, key: *key, offset: *offset, shape, strides })
    }

    fn integers(&self, node: Option<&Node>) -> Result<Vec<i64>, PthError> {
        let Some(Node::Tuple(items)) = node else { return bad("sizes that are no tuple") };
        if items.len() > MAX_RANK {
            return bad(format!("{} dimensions, at most {MAX_RANK} are read", items.len()));
        }
        let integer = |id: &Id| match self.nodes[*id] {
            Node::Int(value) => Ok(value),
            _ => bad("a size that is no integer"),
        };
        items.iter().map(integer).collect()
    }
}
