//! The boundary to decoders of untrusted files that other people wrote: a panic in one is an error like any other.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread is within [`guarded`].
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, whose panic becomes an error and prints nothing. What `work` borrows mutably is not to be used after an
/// error. The first call puts a panic hook before the process's own, which keeps every other thread's messages as they
/// are; where panics abort, they still do.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            if !IS_GUARDED.get() {
                usual(info);
            }
        }));
    });
    let before = IS_GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(before);
    result.map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        format!("its decoder gave up: {message}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_errors() {
        assert_eq!(guarded(|| 3), Ok(3));
        let values = [1, 2];
        let beyond = values.len();
        assert!(guarded(|| values[beyond]).unwrap_err().contains("index out of bounds"));
        assert!(!IS_GUARDED.get());
    }
}
