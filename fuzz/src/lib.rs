//! What the fuzz targets share: an allocator that counts, so that no input makes a parser allocate more than its size
//! times a constant, and a file with the input's bytes for parsers that open files.

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, Once, OnceLock};

/// What the last panic said.
static LAST: Mutex<String> = Mutex::new(String::new());

/// Calls `parse`; a panic that leaves it is printed and ends the process. libfuzzer-sys would end it at any panic, and
/// print each: those that the library catches, of decoders, are no failure.
fn panics_end(parse: impl FnOnce()) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|info| *LAST.lock().unwrap_or_else(|e| e.into_inner()) = info.to_string()))
    });
    if panic::catch_unwind(AssertUnwindSafe(parse)).is_err() {
        eprintln!("{}", LAST.lock().unwrap_or_else(|e| e.into_inner()));
        std::process::abort();
    }
}

/// What a parser may allocate whatever the input: buffers of fixed size, threads, messages.
pub const BASE_BYTES: usize = 8 << 20;

/// The system's allocator, with the bytes that live and the most that have.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    PEAK.fetch_max(LIVE.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call is the system allocator's, with the caller's promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // Both may live while the values move.
        grown(bytes);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Runs `parse`, which reads `input` bytes.
///
/// A panic of `parse` ends the process, and so does having allocated more than [`BASE_BYTES`] and `factor` times the input
/// at one time.
pub fn bounded(input: usize, factor: usize, parse: impl FnOnce()) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    panics_end(parse);
    let peak = PEAK.load(Relaxed).saturating_sub(before);
    let allowed = BASE_BYTES + factor * input;
    panics_end(|| assert!(peak <= allowed, "{peak} bytes allocated for an input of {input}; {allowed} are allowed"));
}

/// Runs `parse` on a file of these bytes with this extension, as [`bounded`].
///
/// # Panics
/// When the file cannot be written.
pub fn bounded_file(bytes: &[u8], extension: &str, factor: usize, parse: impl FnOnce(&Path)) {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        // In memory where the system has such a place.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let folder = parent.join(format!("pid-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the input can be made");
        folder
    });
    let path = folder.join("input").with_extension(extension);
    std::fs::write(&path, bytes).expect("the input can be written to a file");
    bounded(bytes.len(), factor, || parse(&path));
}

/// Opens a checkpoint and reads all that it holds, as [`bounded_file`].
pub fn checkpoint(bytes: &[u8], extension: &str) {
    // The parsed header is larger than its text by less than this; four floats of every byte of a tensor.
    const FACTOR: usize = 64;
    bounded_file(bytes, extension, FACTOR, |path| {
        let Ok(file) = pid_engine::checkpoint::Checkpoint::open(path) else { return };
        for name in file.names() {
            if let Some(view) = file.get(name) {
                let _ = view.to_f32();
            }
        }
        let _ = file.fingerprint();
        let _ = file.detect_config();
        let _ = file.into_network();
    });
}
