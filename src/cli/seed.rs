//! `--seed`: a number of 64 bits, or one that is drawn.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

/// The seed of a command's noise or weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seed {
    /// What generators take.
    pub(super) value: u64,
    /// Whether `random` was asked for, so that the number has to be told.
    pub(super) is_drawn: bool,
}

/// Bits of a drawn seed: JSON's numbers carry no more everywhere.
const DRAWN_BITS: u32 = 53;

impl Seed {
    fn draw() -> Self {
        // The standard library keys its hash tables by the system's random numbers.
        let value = RandomState::new().hash_one(std::process::id()) >> (u64::BITS - DRAWN_BITS);
        Self { value, is_drawn: true }
    }
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "random" {
            return Ok(Self::draw());
        }
        // A negative number is the 64 bits that it has in two's complement, as with torch.manual_seed.
        let value = text.parse().or_else(|_| text.parse().map(i64::cast_unsigned));
        let value = value.map_err(|_| {
            format!(
                "give a whole number from {} to {}, or `random`, which draws one and says which",
                i64::MIN,
                u64::MAX
            )
        })?;
        Ok(Self { value, is_drawn: false })
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_numbers_of_64_bits_are_seeds() {
        let parsed = |text: &str| text.parse::<Seed>().map(|seed| seed.value);
        assert_eq!(parsed("7"), Ok(7));
        assert_eq!(parsed("-1"), Ok(u64::MAX));
        assert_eq!(parsed("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parsed("-9223372036854775808"), Ok(1 << 63));
        for wrong in ["18446744073709551616", "-9223372036854775809", "1.5", "0x10", "", "-", "Random"] {
            assert!(parsed(wrong).is_err_and(|e| e.contains("or `random`")), "{wrong}");
        }
    }

    #[test]
    fn drawn_seeds_differ_and_fit_json() {
        let drawn: std::collections::BTreeSet<u64> = (0..100).map(|_| Seed::draw().value).collect();
        assert_eq!(drawn.len(), 100);
        assert!(drawn.iter().all(|seed| *seed < 1 << DRAWN_BITS) && drawn.iter().any(|seed| *seed >> 50 > 0));
    }
}
