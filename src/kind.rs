//! What a file is, told by its content: the kinds that people have in place of the one a command wants, and what to do.
//!
//! Every reader asks here before it calls a file damaged.

use std::fmt;

use serde_json::Value;

/// A kind of file that no reader of this crate takes where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    /// The text that Git keeps in place of a large file.
    Pointer { size: Option<u64> },
    /// HTML, with the page's title.
    WebPage { title: Option<String> },
    /// JSON with an error in it: a server's answer in place of the file.
    ErrorAnswer { message: String },
    /// JSON that says which files hold the tensors of a checkpoint.
    ShardIndex,
    /// JSON with settings of a network.
    Settings,
    /// Other JSON.
    Json,
    /// llama.cpp's and stable-diffusion.cpp's quantised weights.
    Gguf,
    /// An array of NumPy.
    Npy,
    /// A zip archive of NumPy arrays.
    Npz,
    /// A zip archive of other files, some of their names.
    Zip { names: Vec<String> },
    /// A pickle without an archive around it.
    Pickle,
    /// A picture, its format.
    Picture(&'static str),
    /// Something else that has a name.
    Named(&'static str),
    /// Packed by this program.
    Packed(&'static str),
    /// Zeros where a header should be.
    Zeros,
    /// Text, its beginning.
    Text(String),
}

/// Beginnings of files, and what they are.
const MAGICS: &[(&[u8], Kind)] = &[
    (b"GGUF", Kind::Gguf),
    (b"\x93NUMPY", Kind::Npy),
    (b"\x89PNG", Kind::Picture("PNG")),
    (b"\xff\xd8\xff", Kind::Picture("JPEG")),
    (b"GIF8", Kind::Picture("GIF")),
    (b"II*\0", Kind::Picture("TIFF")),
    (b"MM\0*", Kind::Picture("TIFF")),
    (b"\x89HDF\r\n\x1a\n", Kind::Named("an HDF5 file (Keras, MATLAB)")),
    (b"%PDF", Kind::Named("a PDF document")),
    (b"\x7fELF", Kind::Named("a program or library")),
    (b"ggml", Kind::Gguf),
    (b"tjgg", Kind::Gguf),
    (b"fmgg", Kind::Gguf),
    (b"\x1f\x8b", Kind::Packed("gzip")),
    (b"\x28\xb5\x2f\xfd", Kind::Packed("zstd")),
    (b"7z\xbc\xaf\x27\x1c", Kind::Packed("7-Zip")),
    (b"\xfd7zXZ\0", Kind::Packed("xz")),
    (b"BZh", Kind::Packed("bzip2")),
    (b"Rar!", Kind::Packed("RAR")),
];

/// Most of a JSON file that is looked at.
const MAX_JSON: usize = 64 << 20;

impl Kind {
    /// The kind of a file with that content; `None` when nothing can be said, and for checkpoints.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if let Some((_, kind)) = MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
            return Some(kind.clone());
        }
        match bytes {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => return Some(Self::Picture("WebP")),
            [_, _, _, _, b'T', b'F', b'L', b'3', ..] => return Some(Self::Named("a TensorFlow Lite model")),
            [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', ..] => return Some(Self::Picture("AVIF")),
            [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', ..] => return Some(Self::Picture("HEIC")),
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => return Some(Self::Named("a video")),
            // The first field is the version, the second the writer's name.
            [8, 1..=32, 0x12, 1..=64, b'a'..=b'z', ..] => return Some(Self::Named("an ONNX model")),
            [0x80, 2..=5, ..] => return Some(Self::Pickle),
            _ => {}
        }
        if bytes.starts_with(b"PK\x03\x04") {
            return Self::of_zip(bytes);
        }
        if bytes.get(257..262) == Some(b"ustar") {
            return Some(Self::Packed("tar"));
        }
        if bytes.len() >= 16 && bytes[..bytes.len().min(4096)].iter().all(|b| *b == 0) {
            return Some(Self::Zeros);
        }
        Self::of_text(bytes)
    }

    fn of_zip(bytes: &[u8]) -> Option<Self> {
        let archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).ok()?;
        let names: Vec<String> =
            archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).take(64).collect();
        let last = |name: &String| name.rsplit('/').next().unwrap_or_default().to_owned();
        if names.iter().any(|name| last(name) == "data.pkl") {
            return None;
        }
        if !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
            return Some(Self::Npz);
        }
        Some(Self::Zip { names: names.into_iter().take(4).collect() })
    }

    fn of_text(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        // A character may be cut in two at the end of what is looked at.
        let start = match std::str::from_utf8(&bytes[..bytes.len().min(4096)]) {
            Ok(text) => text,
            Err(e) if bytes.len() > 4096 && e.valid_up_to() + 4 > 4096 => {
                std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default()
            }
            Err(_) => return None,
        };
        let start = start.trim_start();
        if start.is_empty() || start.contains(|c: char| c.is_control() && !c.is_whitespace()) {
            return None;
        }
        let lower = start.to_ascii_lowercase();
        if start.starts_with("version https://git-lfs") || start.starts_with("version https://hawser") {
            let size = start.lines().find_map(|line| line.strip_prefix("size ")?.trim().parse().ok());
            return Some(Self::Pointer { size });
        }
        if lower.starts_with("/annex/objects/") || lower.starts_with("# xet version") {
            return Some(Self::Pointer { size: None });
        }
        let is_page =
            ["<!doctype html", "<html", "<head", "<body", "<script", "<!--"].iter().any(|s| lower.starts_with(s));
        if is_page || lower.starts_with("<?xml") && lower.contains("<html") {
            return Some(Self::WebPage { title: between(start, &lower, "<title", "</title>") });
        }
        if lower.starts_with("<?xml") || lower.starts_with("<error") {
            let message = between(start, &lower, "<message", "</message>");
            let message = message.or_else(|| between(start, &lower, "<code", "</code>"));
            return Some(Self::ErrorAnswer { message: message.unwrap_or_else(|| beginning(start)) });
        }
        let is_json = start.starts_with(['{', '[']) && bytes.len() <= MAX_JSON;
        if let Some(value) = is_json.then(|| serde_json::from_slice(bytes).ok()).flatten() {
            return Some(Self::of_json(&value));
        }
        Some(Self::Text(beginning(start)))
    }

    fn of_json(value: &Value) -> Self {
        if value.get("weight_map").is_some() {
            return Self::ShardIndex;
        }
        let answer =
            ["error", "message", "detail", "error_description"].iter().find_map(|key| match value.get(key)? {
                Value::String(text) => Some(text.clone()),
                Value::Object(inner) => inner.get("message").and_then(Value::as_str).map(str::to_owned),
                _ => None,
            });
        if let Some(message) = answer {
            return Self::ErrorAnswer { message: beginning(&message) };
        }
        let settings = ["_class_name", "architectures", "model_type", "hidden_size", "_diffusers_version"];
        if settings.iter().any(|key| value.get(key).is_some()) { Self::Settings } else { Self::Json }
    }
}

/// The text inside an element, `open` without its `>`.
fn between(text: &str, lower: &str, open: &str, close: &str) -> Option<String> {
    let start = lower.find(open)?;
    let start = start + lower[start..].find('>')? + 1;
    let end = start + lower[start..].find(close)?;
    Some(beginning(text.get(start..end)?)).filter(|t| !t.is_empty())
}

/// The first words, on one line.
fn beginning(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(80).collect();
    if short.len() < line.len() {
        short.push_str("...");
    }
    short
}

/// `what it is: what to do`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointer { size } => {
                f.write_str("a pointer of Git LFS in place of the file")?;
                if let Some(size) = size {
                    write!(f, " of {size} bytes")?;
                }
                f.write_str(": run `git lfs pull` in the clone, or download the file itself")
            }
            Self::WebPage { title } => {
                f.write_str("a web page")?;
                if let Some(title) = title {
                    write!(f, " (\"{title}\")")?;
                }
                f.write_str(
                    " in place of the file: the download needs a login, an accepted licence, or the address of the file itself (…/resolve/…, not …/blob/…)",
                )
            }
            Self::ErrorAnswer { message } => write!(
                f,
                "a server's answer (\"{message}\") in place of the file: download it again, logged in and with the licence accepted where it has one"
            ),
            Self::ShardIndex => f.write_str("the index of a checkpoint in several files, not tensors"),
            Self::Settings => f.write_str("JSON with a network's settings: the weights are in another file (.safetensors or .pth)"),
            Self::Json => f.write_str("JSON, not tensors"),
            Self::Gguf => f.write_str(
                "quantised as GGUF by llama.cpp or stable-diffusion.cpp, which is not read: take the .safetensors or .pth file it was made of",
            ),
            Self::Npy => f.write_str("one array of NumPy (.npy)"),
            Self::Npz => f.write_str("an archive of NumPy arrays (.npz)"),
            Self::Zip { names } => write!(
                f,
                "a zip archive that torch.save did not write (it holds {}): unpack it, and name the file inside",
                if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
            ),
            Self::Pickle => f.write_str(
                "a pickle without an archive (torch.save before 1.6, or with the old format): load it in PyTorch and torch.save it again",
            ),
            Self::Picture(format) => write!(f, "a picture ({format})"),
            Self::Named(name) => f.write_str(name),
            Self::Packed(program) => write!(f, "packed by {program}: unpack it first"),
            Self::Zeros => f.write_str("zeros where its header should be: the download reserved the room and did not finish"),
            Self::Text(beginning) => write!(f, "a text that begins \"{beginning}\""),
        }
    }
}

/// The message for a file that is not `expected`.
pub(crate) fn unexpected(bytes: &[u8], expected: &str) -> String {
    match Kind::of(bytes) {
        Some(kind) => format!("it is {kind}; expected {expected}"),
        None => format!("expected {expected}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named() {
        let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2728364102\n";
        for (bytes, words) in [
            (&lfs[..], &["Git LFS", "2728364102", "git lfs pull"][..]),
            (b"<!DOCTYPE html><html><title>Sign in</title>", &["web page", "Sign in", "login"]),
            (b"\n<HTML lang=en><head><TITLE lang=x>\n A  b</TITLE>", &["\"A b\""]),
            (b"{\"error\": \"Invalid username or password.\"}", &["Invalid username", "answer"]),
            (b"{\"error\":{\"message\":\"Entry not found\"}}", &["Entry not found"]),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", &["AccessDenied"]),
            (b"{\"metadata\":{},\"weight_map\":{}}", &["index", "several files"]),
            (b"{\"_class_name\":\"FluxTransformer2DModel\"}", &["settings", ".safetensors"]),
            (b"GGUF\x03\0\0\0", &["GGUF", "llama.cpp"]),
            (b"\x93NUMPY\x01\0", &["NumPy", ".npy"]),
            (b"Access to model is restricted. You must be authenticated", &["text", "Access to model"]),
            (b"\x1f\x8b\x08\0", &["gzip", "unpack"]),
            (b"\x89HDF\r\n\x1a\n", &["HDF5"]),
            (&[0; 64], &["zeros", "did not finish"]),
            (b"\x80\x02\x8a\x0a", &["torch.save it again"]),
            (b"RIFF\0\0\0\0WEBPVP8 ", &["WebP"]),
        ] {
            let text = Kind::of(bytes).unwrap().to_string();
            assert!(words.iter().all(|w| text.contains(w)), "{text}");
        }
        assert_eq!(Kind::of(b"\x01\x02\x03\xfe\xff"), None);
        assert_eq!(Kind::of(b""), None);
    }
}
