//! The header of a `.npy` file: a dictionary as Python writes it,
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).

/// Longest header read; numpy's own limit is 10000 bytes.
const MOST_BYTES: usize = 1 << 16;

/// What the header says of the array.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Type of an element: order of its bytes, kind, number of bytes, as in `<f4`; `None` for records.
    pub descr: Option<String>,
    /// Whether the first index is the fastest.
    pub is_fortran: bool,
    /// Extents as the file's indices go.
    pub shape: Vec<usize>,
    /// Where in the file the values begin.
    pub values_start: usize,
}

impl Header {
    /// Reads the header of a file that begins with numpy's magic bytes.
    ///
    /// # Errors
    /// What is wrong with it, for a sentence.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let number = |at: std::ops::Range<usize>| {
            let digits = bytes.get(at)?;
            Some(digits.iter().rev().fold(0usize, |n, byte| n << 8 | usize::from(*byte)))
        };
        // Format version 1 has 2 bytes of length, later ones 4.
        let (start, length) = match bytes.get(6) {
            Some(1) => (10, number(8..10)),
            Some(2 | 3) => (12, number(8..12)),
            Some(version) => return Err(format!("its format has version {version}; 1, 2 and 3 are known")),
            None => (0, None),
        };
        let text = length.filter(|n| *n <= MOST_BYTES).and_then(|n| bytes.get(start..)?.get(..n));
        let text = text.ok_or("it ends within its header, or that is longer than 64 KiB")?;
        let values_start = start + text.len();
        // Names of fields alone need not be ASCII.
        let text = String::from_utf8_lossy(text);
        dictionary(&text, values_start).ok_or_else(|| format!("its header is `{:.100}`", text.trim()))
    }
}

fn dictionary(text: &str, values_start: usize) -> Option<Header> {
    let mut literal = Literal { rest: text };
    let (mut descr, mut is_fortran, mut shape) = (None, None, None);
    literal.skip('{')?;
    while literal.skip('}').is_none() {
        let key = literal.text()?;
        literal.skip(':')?;
        match key {
            // A list of fields, with whatever types: nothing behind it is of use.
            "descr" if literal.skip('[').is_some() => {
                return Some(Header { descr: None, is_fortran: false, shape: Vec::new(), values_start });
            }
            "descr" => descr = Some(literal.text()?.to_owned()),
            "fortran_order" => is_fortran = Some(literal.truth()?),
            "shape" => shape = Some(literal.extents()?),
            _ => return None,
        }
        if literal.skip(',').is_none() {
            literal.skip('}')?;
            break;
        }
    }
    literal.rest.trim().is_empty().then_some(())?;
    Some(Header { descr: Some(descr?), is_fortran: is_fortran?, shape: shape?, values_start })
}

/// What is left of a Python literal. Functions return `None` where something else stands there.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn skip(&mut self, expected: char) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(expected)?;
        Some(())
    }

    /// A string without escapes.
    fn text(&mut self) -> Option<&'a str> {
        let rest = self.rest.trim_start();
        let quote = rest.chars().next().filter(|c| ['\'', '"'].contains(c))?;
        let (text, rest) = rest[1..].split_once(quote)?;
        self.rest = rest;
        Some(text)
    }

    fn truth(&mut self) -> Option<bool> {
        let rest = self.rest.trim_start();
        let (truth, rest) = match rest.strip_prefix("True") {
            Some(rest) => (true, rest),
            None => (false, rest.strip_prefix("False")?),
        };
        self.rest = rest;
        Some(truth)
    }

    /// A tuple of whole numbers; Python 2 wrote an L behind long ones.
    fn extents(&mut self) -> Option<Vec<usize>> {
        let mut extents = Vec::new();
        self.skip('(')?;
        while self.skip(')').is_none() {
            let rest = self.rest.trim_start();
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            extents.push(rest[..digits].parse().ok()?);
            self.rest = &rest[digits..];
            let _ = self.skip('L');
            if self.skip(',').is_none() {
                self.skip(')')?;
                break;
            }
        }
        Some(extents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(version: u8, text: &str) -> Result<Header, String> {
        let mut bytes = [b"\x93NUMPY".as_slice(), &[version, 0]].concat();
        let length = (text.len() as u32).to_le_bytes();
        bytes.extend(if version == 1 { &length[..2] } else { &length });
        bytes.extend(text.as_bytes());
        Header::read(&bytes)
    }

    #[test]
    fn what_python_writes() {
        let header = |descr: &str, is_fortran, shape: &[usize], values_start| {
            Ok(Header { descr: Some(descr.into()), is_fortran, shape: shape.into(), values_start })
        };
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n";
        assert_eq!(read(1, text), header("<f4", false, &[2, 3], 10 + text.len()));
        assert_eq!(read(2, text), header("<f4", false, &[2, 3], 12 + text.len()));
        // Any order of keys, either quotes, no spaces, no last comma; Python 2's long numbers; scalars.
        let text = "{\"shape\":(7L,),\"fortran_order\":True,\"descr\":\"|V2\"}";
        assert_eq!(read(3, text), header("|V2", true, &[7], 12 + text.len()));
        let text = "{'descr': '>f8', 'fortran_order': False, 'shape': ()}";
        assert_eq!(read(1, text), header(">f8", false, &[], 10 + text.len()));
        let records = "{'descr': [('a', '<f4'), ('b', '<f4', (2,))], 'fortran_order': False, 'shape': (3,)}";
        assert_eq!(read(1, records).map(|header| header.descr), Ok(None));
    }

    #[test]
    fn anything_else_is_refused() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}";
        assert!(read(1, good).is_ok());
        for cut in 0..good.len() {
            assert!(read(1, &good[..cut]).is_err(), "cut at {cut}");
        }
        for (part, other) in [
            ("2, 3", "2,, 3"),
            ("2, 3", "-2, 3"),
            ("2, 3", "2 3"),
            ("2, 3", "99999999999999999999"),
            ("(2, 3)", "[2, 3]"),
            ("False", "0"),
            ("'<f4'", "4"),
            ("'shape'", "'size'"),
            ("}", "} or more"),
            ("}", ", , }"),
        ] {
            let error = read(1, &good.replace(part, other)).unwrap_err();
            assert!(error.contains("its header is `{"), "{other}: {error}");
        }
        assert!(read(4, good).unwrap_err().contains("version 4"));
    }
}
