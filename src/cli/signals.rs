//! What signals do to the command: the first asks the running work to stop, which then says so itself; where that takes
//! too long, or with the second, the process ends. Exit 1 either way, and no unfinished file stays. A signal that is
//! ignored when the command starts (`nohup`, a job in the background of a script) stays ignored.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::report::CliError;
use crate::output;

static STOPPING: AtomicBool = AtomicBool::new(false);
/// Whether somebody has begun to say how the command ends.
static ENDING: AtomicBool = AtomicBool::new(false);

/// How long work may take to stop by itself. A launch of a large decode on a CPU takes longer, and a pipe that nobody
/// reads for ever.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the running work should stop.
pub(super) fn is_stopping() -> bool {
    STOPPING.load(Ordering::Relaxed)
}

/// Stops before results get their names.
pub(super) fn check() -> Result<(), CliError> {
    if is_stopping() { Err(CliError::failed("stopped on request; nothing was written")) } else { Ok(()) }
}

/// Claims the right to print how the command ends, before the work's own result is printed. Where a signal was faster, it
/// does not return.
pub(super) fn begin_to_end() {
    if ENDING.swap(true, Ordering::SeqCst) {
        loop {
            std::thread::park();
        }
    }
}

/// Ends the process, from whatever thread.
fn end(name: &str, json: bool) -> ! {
    // Of two threads that come here one waits for the process to end.
    static ONCE: Mutex<()> = Mutex::new(());
    let _once = ONCE.lock().unwrap_or_else(PoisonError::into_inner);
    output::abandon();
    if !ENDING.swap(true, Ordering::SeqCst) {
        let _ = CliError::failed(format!("stopped on request ({name})")).print(json);
    }
    exit()
}

#[cfg(unix)]
fn exit() -> ! {
    // Without the destructors of threads that are still at work.
    signal_hook::low_level::exit(1)
}

#[cfg(not(unix))]
fn exit() -> ! {
    std::process::exit(1)
}

fn after_the_first(name: String, json: bool) {
    STOPPING.store(true, Ordering::Relaxed);
    std::thread::spawn(move || {
        std::thread::sleep(PATIENCE);
        end(&name, json)
    });
}

/// From now on signals are handled as said above; `json` is how the command reports.
#[cfg(unix)]
pub(super) fn handle(json: bool) {
    use signal_hook::consts::*;
    use signal_hook::low_level::signal_name;

    // All that end a process by default and come from outside: keys, `kill`, a closed terminal, batch systems, limits.
    let ends = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU, SIGIO];
    let caught: Vec<i32> = ends.into_iter().filter(|signal| !is_ignored(*signal)).collect();
    // A file above the process's limit is then an error of the write. (SIGPIPE is ignored by Rust's runtime.)
    let limit = signal_hook::flag::register(SIGXFSZ, std::sync::Arc::default());
    let signals = limit.and_then(|_| signal_hook::iterator::Signals::new(caught));
    let mut signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            super::report::say(format_args!("warning: signals will end the process at once: {error}"));
            return;
        }
    };
    std::thread::spawn(move || {
        let name = |signal| signal_name(signal).unwrap_or("a signal");
        if let Some(signal) = signals.forever().next() {
            after_the_first(name(signal).to_owned(), json);
        }
        if let Some(signal) = signals.forever().next() {
            end(name(signal), json);
        }
    });
}

#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is set, and the old one is written to memory of ours of that very type.
    let is_known = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } == 0;
    // SAFETY: the call above has written it, and zeros would be one as well: numbers, and no handler.
    is_known && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// From now on Ctrl-C is handled as said above; `json` is how the command reports.
#[cfg(not(unix))]
pub(super) fn handle(json: bool) {
    let handled = ctrlc::set_handler(move || {
        if is_stopping() {
            end("Ctrl-C", json);
        }
        after_the_first("Ctrl-C".to_owned(), json);
    });
    if let Err(error) = handled {
        super::report::say(format_args!("warning: Ctrl-C will end the process at once: {error}"));
    }
}
