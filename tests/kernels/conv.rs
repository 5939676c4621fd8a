pub const FAULTS: &[&str] = &[];
