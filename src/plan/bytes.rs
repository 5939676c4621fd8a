//! Numbers of bytes as people write them.

use std::fmt;
use std::str::FromStr;

/// Bytes; reads `8GiB`, `3.5GB`, `500 MB`, `1024`, shows decimal units: `3.41 GB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// The largest number that is shown exactly and not above this one.
    pub fn rounded_down(self) -> Self {
        Self(self.0 / self.last_digit() * self.last_digit())
    }

    /// The smallest number that is shown exactly and not below this one.
    pub fn rounded_up(self) -> Self {
        Self(self.0.div_ceil(self.last_digit()) * self.last_digit())
    }

    /// What the last digit stands for where it is shown.
    const fn last_digit(self) -> u64 {
        match self.0 {
            0..1_000 => 1,
            1_000..1_000_000 => 100,
            1_000_000..1_000_000_000 => 100_000,
            _ => 10_000_000,
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} B", self.0),
            1_000..1_000_000 => write!(f, "{:.1} kB", bytes / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", bytes / 1e6),
            _ => write!(f, "{:.2} GB", bytes / 1e9),
        }
    }
}

/// A text that is not a number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a number of bytes; write for example 8GiB, 3.5GB or 500MB")]
pub struct ByteSizeError(String);

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let fail = || ByteSizeError(text.into());
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let scale = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "kb" | "k" => 1e3,
            "mb" | "m" => 1e6,
            "gb" | "g" => 1e9,
            "tb" | "t" => 1e12,
            "kib" => 1024.0,
            "mib" => 1024.0 * 1024.0,
            "gib" => 1024.0 * 1024.0 * 1024.0,
            "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            _ => return Err(fail()),
        };
        let bytes = number.parse::<f64>().map_err(|_| fail())? * scale;
        if bytes.is_finite() && bytes < 1e18 { Ok(Self(bytes as u64)) } else { Err(fail()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows() {
        let read = |text: &str| text.parse::<ByteSize>().map(|b| b.0);
        assert_eq!(read("8GiB"), Ok(8 << 30));
        assert_eq!(read("3.5GB"), Ok(3_500_000_000));
        assert_eq!(read("500 mb"), Ok(500_000_000));
        assert_eq!(read("1024"), Ok(1024));
        for bad in ["", "GB", "-1GB", "1.2.3", "8 bananas", "1e9"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(ByteSize(3_412_000_000).to_string(), "3.41 GB");
        assert_eq!(ByteSize(999).to_string(), "999 B");
        for (bytes, down) in [(999, 999), (12_399, 12_300), (5_458_175, 5_400_000), (3_419_999_999, 3_410_000_000)] {
            assert_eq!(ByteSize(bytes).rounded_down(), ByteSize(down));
            assert_eq!(read(&ByteSize(down).to_string()), Ok(down));
        }
        for (bytes, up) in [(999, 999), (12_301, 12_400), (999_950_001, 1_000_000_000), (3_410_000_001, 3_420_000_000)]
        {
            assert_eq!(ByteSize(bytes).rounded_up(), ByteSize(up));
            assert_eq!(read(&ByteSize(up).to_string()), Ok(up));
        }
    }
}
