//! The header of a safetensors file: names, types, shapes and where the bytes are.
//!
//! The `safetensors` crate refuses a file for one tensor of a type it does not know, for padding after the JSON, and for
//! bytes after the last tensor; here the first two are read and the third is a warning. What could make a tensor's
//! bytes another tensor's stays an error.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::DType;

/// Largest header read, as in the `safetensors` crate.
const MAX_HEADER: u64 = 100_000_000;
/// Bytes of the header's length.
const LENGTH: usize = 8;

/// A tensor of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Described {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// Its bytes, from the beginning of the file.
    pub range: Range<usize>,
}

/// What a file says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Header {
    pub tensors: Vec<Described>,
    pub metadata: BTreeMap<String, String>,
    /// Bytes after the last tensor.
    pub trailing: usize,
    /// Whether the JSON is padded with zeros, rather than with spaces.
    pub is_zero_padded: bool,
}

/// Whether `bytes` starts as a safetensors file does.
pub(super) fn is_likely(bytes: &[u8]) -> bool {
    length(bytes).is_some() && bytes.get(LENGTH) == Some(&b'{')
}

fn length(bytes: &[u8]) -> Option<usize> {
    let length = u64::from_le_bytes(*bytes.first_chunk()?);
    usize::try_from(length).ok().filter(|_| length <= MAX_HEADER)
}

/// Reads the header of the safetensors file `bytes`. Nothing is allocated beyond the header's own size.
pub(super) fn read(bytes: &[u8]) -> Result<Header, String> {
    let length =
        length(bytes).ok_or("its first 8 bytes are no length of a header; it is another kind of file, or damaged")?;
    let start = LENGTH + length;
    let text = bytes.get(LENGTH..start).ok_or_else(|| {
        format!(
            "its header has {length} bytes, the whole file {}: the download or the copy did not finish",
            bytes.len()
        )
    })?;
    let zeros = text.iter().rev().take_while(|b| **b == 0).count();
    let text = std::str::from_utf8(&text[..length - zeros]).map_err(|e| format!("its header is no text: {e}"))?;
    let entries: Entries = serde_json::from_str(text).map_err(|e| format!("its header is damaged: {e}"))?;
    let mut header = Header { metadata: entries.metadata, is_zero_padded: zeros > 0, ..Header::default() };
    for (name, info) in entries.tensors {
        header.tensors.push(describe(name, info, start, bytes.len())?);
    }
    let end = check_order(&mut header.tensors, start)?;
    header.trailing = bytes.len() - end;
    Ok(header)
}

fn describe(name: String, info: Info, start: usize, file: usize) -> Result<Described, String> {
    let dtype = DType::of_code(&info.dtype);
    let [from, to] = info.data_offsets;
    let range = start.checked_add(from).zip(start.checked_add(to)).filter(|(from, to)| from <= to);
    let Some((from, to)) = range else { return Err(format!("damaged: tensor {name} is at {:?}", info.data_offsets)) };
    if to > file {
        return Err(format!("tensor {name} ends at byte {to} of {file}: the download or the copy did not finish"));
    }
    let elements = info.shape.iter().try_fold(1usize, |n, e| n.checked_mul(*e));
    let needed = elements.and_then(|n| dtype.bytes_of(n));
    if dtype != DType::Unknown && needed != Some(to - from) {
        let shape = &info.shape;
        return Err(format!("damaged: tensor {name} {dtype} {shape:?} has {} bytes", to - from));
    }
    Ok(Described { name, dtype, shape: info.shape, range: from..to })
}

/// Sorts by place, and refuses overlaps, holes and names that occur twice. The end of the last tensor.
fn check_order(tensors: &mut [Described], start: usize) -> Result<usize, String> {
    tensors.sort_by_key(|t| (t.range.start, t.range.end));
    let mut end = start;
    for tensor in tensors.iter() {
        if tensor.range.start != end {
            return Err(format!(
                "damaged: tensor {} begins at byte {}, expected {end}",
                tensor.name, tensor.range.start
            ));
        }
        end = tensor.range.end;
    }
    let mut names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("two of its tensors are called {}", pair[0])),
        None => Ok(end),
    }
}

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// The JSON object as written, a name that occurs twice twice.
#[derive(Default)]
struct Entries {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, Info)>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Entries::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        entries.metadata = texts(map.next_value()?).map_err(A::Error::custom)?;
                    } else if name.len() > MAX_NAME {
                        map.next_value::<IgnoredAny>()?;
                        return Err(A::Error::custom(format!("a name of {} bytes", name.len())));
                    } else {
                        entries.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Longest name of a tensor.
const MAX_NAME: usize = 1024;

/// Metadata as texts; what is none (some programs write numbers) as its JSON.
fn texts(metadata: Value) -> Result<BTreeMap<String, String>, String> {
    let object = match metadata {
        Value::Null => return Ok(BTreeMap::new()),
        Value::Object(object) => object,
        other => return Err(format!("metadata {other}, expected an object")),
    };
    let text = |value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(object.into_iter().map(|(key, value)| (key, text(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, padding: &[u8], data: &[u8]) -> Vec<u8> {
        let length = (header.len() + padding.len()) as u64;
        [&length.to_le_bytes()[..], header.as_bytes(), padding, data].concat()
    }

    const TWO: &str = r#"{"__metadata__":{"n":3,"t":"x"},"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;

    #[test]
    fn padding_and_trailing_bytes_are_told() {
        let plain = read(&file(TWO, b"   ", &[0; 6])).unwrap();
        assert_eq!((plain.trailing, plain.is_zero_padded, plain.tensors.len()), (0, false, 2));
        assert_eq!(plain.metadata, [("n", "3"), ("t", "x")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        let odd = read(&file(TWO, &[0; 5], &[0; 9])).unwrap();
        assert_eq!((odd.trailing, odd.is_zero_padded), (3, true));
        assert_eq!(odd.tensors[0].range.len(), 4);
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for (header, word) in [
            (TWO.replace("[4,6]", "[3,5]"), "begins at byte"),
            (TWO.replace("[4,6]", "[5,7]"), "begins at byte"),
            (TWO.replace("[4,6]", "[6,4]"), "[6, 4]"),
            (TWO.replace("[4,6]", "[4,18446744073709551615]"), "18446744073709551615"),
            (TWO.replace("\"a\"", "\"b\""), "two of its tensors are called b"),
            (TWO.replace("[2]", "[3]"), "has 2 bytes"),
            (TWO.replace("[2]", "[4611686018427387904,4611686018427387904]"), "has 2 bytes"),
        ] {
            let error = read(&file(&header, b"", &[0; 8])).unwrap_err();
            assert!(error.contains(word), "{header}: {error}");
        }
        let error = read(&file(TWO, b"", &[0; 5])).unwrap_err();
        assert!(error.contains("did not finish"), "{error}");
    }

    #[test]
    fn unknown_types_are_read() {
        let header =
            TWO.replace("U8", "F3_E1M1").replace("F32", "F64").replace("[0,4]", "[0,8]").replace("[4,6]", "[8,9]");
        let read = read(&file(&header, b"", &[0; 9])).unwrap();
        assert_eq!(read.tensors.iter().map(|t| t.dtype).collect::<Vec<_>>(), [DType::F64, DType::Unknown]);
    }
}
