//! A pickle interpreter that builds containers, numbers, texts and tensor descriptions, and can do nothing
//! else. Every opcode makes at most one node, so memory is bounded by the pickle's length.

use std::collections::HashMap;

use super::PthError;
use crate::checkpoint::DType;

/// Index of a node.
pub(super) type Id = usize;

/// A value. Containers hold indices, so that a value put into two places stays one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// `None`, booleans, floats, bytes: nothing that a tensor needs.
    Other,
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A name from the list of allowed ones.
    Global(Allowed),
    Storage {
        dtype: Option<DType>,
        key: String,
    },
    Tensor(TensorNode),
}

/// `storage[offset + sum index * stride]`, in elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorNode {
    pub dtype: DType,
    pub key: String,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

/// The only names a pickle may mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    OrderedDict,
    RebuildTensorV2,
    RebuildTensorV3,
    RebuildParameter,
    /// A typed storage; `None` is an untyped one.
    StorageClass(Option<DType>),
    DTypeName(DType),
    /// `torch.Size`: a tuple.
    Size,
}

fn allowed(module: &str, name: &str) -> Result<Allowed, PthError> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Allowed::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Allowed::RebuildTensorV2,
        ("torch._utils", "_rebuild_tensor_v3") => Allowed::RebuildTensorV3,
        ("torch._utils", "_rebuild_parameter") => Allowed::RebuildParameter,
        ("torch.storage", "UntypedStorage") | ("torch", "UntypedStorage") => Allowed::StorageClass(None),
        ("torch", "Size") => Allowed::Size,
        ("torch", name) => match dtype_of(name) {
            Some((true, dtype)) => Allowed::StorageClass(Some(dtype)),
            Some((false, dtype)) => Allowed::DTypeName(dtype),
            None => return Err(PthError::Global(format!("{module} {name}"))),
        },
        _ => return Err(PthError::Global(format!("{module} {name}"))),
    })
}

/// `(is a storage class, type)`.
fn dtype_of(name: &str) -> Option<(bool, DType)> {
    Some(match name {
        "DoubleStorage" => (true, DType::F64),
        "FloatStorage" => (true, DType::F32),
        "HalfStorage" => (true, DType::F16),
        "BFloat16Storage" => (true, DType::Bf16),
        "LongStorage" => (true, DType::I64),
        "IntStorage" => (true, DType::I32),
        "ShortStorage" => (true, DType::I16),
        "CharStorage" => (true, DType::I8),
        "ByteStorage" => (true, DType::U8),
        "BoolStorage" => (true, DType::Bool),
        "float64" => (false, DType::F64),
        "float32" => (false, DType::F32),
        "float16" => (false, DType::F16),
        "bfloat16" => (false, DType::Bf16),
        "float8_e4m3fn" => (false, DType::F8E4M3),
        "int64" => (false, DType::I64),
        "int32" => (false, DType::I32),
        "int16" => (false, DType::I16),
        "int8" => (false, DType::I8),
        "uint8" => (false, DType::U8),
        "bool" => (false, DType::Bool),
        _ => return None,
    })
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
            b'N' | 0x88 | 0x89 => self.push(Node::Other),
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
            // BUILD sets attributes (an OrderedDict's _metadata); they are of no use here.
            b'b' => drop(self.pop()?),
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
            _ => self.skip(length),
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
            (Some(Node::Text(tag)), Some(Node::Global(Allowed::StorageClass(dtype))), Some(Node::Text(key)))
                if tag == "storage" =>
            {
                let storage = Node::Storage { dtype: *dtype, key: key.clone() };
                self.push(storage);
                Ok(())
            }
            _ => bad("a persistent id that is no storage"),
        }
    }

    /// A call, of one of the few functions whose meaning is built in.
    fn reduce(&mut self) -> Result<(), PthError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Node::Tuple(items) = &self.nodes[arguments] else { return bad("call without a tuple of arguments") };
        let Node::Global(global) = self.nodes[function] else { return bad("call of what is no function") };
        let items = items.clone();
        match global {
            Allowed::OrderedDict => self.push(Node::Dict(Vec::new())),
            Allowed::Size => match items.first() {
                Some(tuple) => self.stack.push(*tuple),
                None => return bad("torch.Size without sizes"),
            },
            // (data, requires_grad, hooks): the tensor itself.
            Allowed::RebuildParameter => match items.first() {
                Some(data) => self.stack.push(*data),
                None => return bad("a parameter without data"),
            },
            Allowed::RebuildTensorV2 | Allowed::RebuildTensorV3 => {
                let tensor = self.tensor(&items, global == Allowed::RebuildTensorV3)?;
                self.push(Node::Tensor(tensor));
            }
            Allowed::StorageClass(_) | Allowed::DTypeName(_) => return bad("call of a type"),
        }
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
        Ok(TensorNode { dtype, key: key.clone(), offset: *offset, shape, strides })
    }

    fn integers(&self, node: Option<&Node>) -> Result<Vec<i64>, PthError> {
        let Some(Node::Tuple(items)) = node else { return bad("sizes that are no tuple") };
        let integer = |id: &Id| match self.nodes[*id] {
            Node::Int(value) => Ok(value),
            _ => bad("a size that is no integer"),
        };
        items.iter().map(integer).collect()
    }
}
