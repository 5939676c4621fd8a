//! Files as `torch.save` writes them, made without PyTorch.

use std::io::{Cursor, Write};

/// What a pickle holds.
#[derive(Clone)]
pub enum Object {
    Dict(Vec<(String, Object)>),
    List(Vec<Object>),
    Tuple(Vec<Object>),
    /// Storage class, shape, bytes.
    Tensor(&'static str, Vec<usize>, Vec<u8>),
    /// A float32 tensor as old versions save one from an Apple GPU: by an array of NumPy.
    FromArray(Vec<usize>, Vec<f32>),
    /// As [`Object::Tensor`], wrapped as a parameter.
    Parameter(Box<Object>),
    Int(i32),
}

/// A bf16 tensor.
pub fn bf16(shape: &[usize], bytes: &[u8]) -> Object {
    Object::Tensor("BFloat16Storage", shape.to_vec(), bytes.to_vec())
}

/// A float32 tensor.
pub fn f32(shape: &[usize], values: &[f32]) -> Object {
    Object::Tensor("FloatStorage", shape.to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// The bytes of the file.
pub fn save(object: &Object) -> Vec<u8> {
    let mut writer = Writer { pickle: vec![0x80, 2], storages: Vec::new() };
    writer.object(object);
    writer.pickle.push(b'.');
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("archive/data.pkl", options).unwrap();
    zip.write_all(&writer.pickle).unwrap();
    for (key, bytes) in writer.storages.iter().enumerate() {
        zip.start_file(format!("archive/data/{key}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

struct Writer {
    pickle: Vec<u8>,
    storages: Vec<Vec<u8>>,
}

impl Writer {
    fn raw(&mut self, bytes: &[u8]) {
        self.pickle.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.raw(b"X");
        self.raw(&(text.len() as u32).to_le_bytes());
        self.raw(text.as_bytes());
    }

    fn int(&mut self, value: i32) {
        self.raw(b"J");
        self.raw(&value.to_le_bytes());
    }

    fn ints(&mut self, values: &[usize]) {
        self.raw(b"(");
        values.iter().for_each(|v| self.int(*v as i32));
        self.raw(b"t");
    }

    fn object(&mut self, object: &Object) {
        match object {
            Object::Int(value) => self.int(*value),
            Object::Dict(items) => {
                self.raw(b"}(");
                for (key, value) in items {
                    self.text(key);
                    self.object(value);
                }
                self.raw(b"u");
            }
            Object::List(items) => {
                self.raw(b"](");
                items.iter().for_each(|item| self.object(item));
                self.raw(b"e");
            }
            Object::Tuple(items) => {
                self.raw(b"(");
                items.iter().for_each(|item| self.object(item));
                self.raw(b"t");
            }
            Object::Tensor(class, shape, bytes) => self.tensor(class, shape, bytes),
            Object::Parameter(tensor) => {
                self.raw(b"ctorch._utils\n_rebuild_parameter\n(");
                self.object(tensor);
                self.raw(b"\x88ccollections\nOrderedDict\n)RtR");
            }
            Object::FromArray(shape, values) => self.array(shape, values),
        }
    }

    fn tensor(&mut self, class: &str, shape: &[usize], bytes: &[u8]) {
        let count: usize = shape.iter().product();
        self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.raw(format!("ctorch\n{class}\n").as_bytes());
        self.text(&self.storages.len().to_string());
        self.text("cpu");
        self.int(count as i32);
        self.raw(b"tQ");
        self.int(0);
        self.ints(shape);
        let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        self.ints(&strides);
        self.raw(b"\x89ccollections\nOrderedDict\n)RtR");
        self.storages.push(bytes.to_vec());
    }

    fn array(&mut self, shape: &[usize], values: &[f32]) {
        self.raw(b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n(");
        self.raw(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n");
        self.ints(&[0]);
        self.raw(b"c_codecs\nencode\n(");
        self.text("b");
        self.text("latin1");
        self.raw(b"tRtR(");
        self.int(1);
        self.ints(shape);
        self.raw(b"cnumpy\ndtype\n(");
        self.text("f4");
        self.raw(b"\x89\x88tR(");
        self.int(3);
        self.text("<");
        self.raw(b"NNN");
        self.int(-1);
        self.int(-1);
        self.int(0);
        self.raw(b"tb\x89c_codecs\nencode\n(");
        let bytes = values.iter().flat_map(|v| v.to_le_bytes());
        let text: String = bytes.map(char::from).collect();
        self.text(&text);
        self.text("latin1");
        self.raw(b"tRtbctorch\nfloat32\n");
        self.text("mps:0");
        self.raw(b"\x89tR");
    }
}
