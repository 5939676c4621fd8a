//! Compiles `kernels/*/*.cu` with nvcc, one cubin for each file and architecture, and PTX of the newest for cards to come.
//! A folder with an `arch.txt` is for the architecture in it alone (`kernels/sm90`). It writes `$OUT_DIR/cubins.rs`: the tables of cubins and the table of what ptxas says of each kernel
//! (`src/kernels/cubins.rs` includes it).
//!
//! Without nvcc the tables are empty and the crate builds all the same; with it `cfg(pid_has_cubins)` is set. The build
//! fails on a compiler warning, on local memory that `kernels/spills.txt` does not list, and on ptxas' C75xx notes.
//! A cubin is compiled again only when its source, a header it includes, the flags or the compiler have changed.
//!
//! Read from the environment: `PID_NVCC` (path of nvcc, or `off`), `CUDA_HOME`, `CUDA_PATH`, `PATH`, `PID_CUDA_ARCHS`
//! (`80,90a`: only these of [`PLAIN`] and of `arch.txt` files), and nvcc's own `NVCC_CCBIN`, `NVCC_PREPEND_FLAGS`, `NVCC_APPEND_FLAGS`.

mod ptxas;
mod sources;

use std::collections::VecDeque;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use ptxas::{Allowed, Usage};
use sources::Source;

/// Architectures that kernels are compiled for, as `PID_CUDA_ARCHS` names them: code for one runs on it and on later minor
/// versions of its major one. Those of a folder of their own, with an `a`, run on that one only.
const PLAIN: [&str; 7] = ["80", "86", "89", "90", "100", "110", "120"];

/// Whose PTX is kept beside its cubins, for the driver to compile on later architectures.
const NEWEST: &str = PLAIN[PLAIN.len() - 1];

/// Architectures of the kernels that test the intrinsics, most of which are specific.
const OF_TESTS: [&str; 4] = ["80", "90a", "100a", "120a"];

/// Flags of every compilation. No fast math: where a kernel wants an approximation it names the instruction. Source lines
/// for profilers quadruple a cubin: `NVCC_APPEND_FLAGS=-lineinfo` adds them.
const FLAGS: [&str; 7] = ["-std=c++17", "-O3", "-Xptxas", "-v", "-Werror", "all-warnings", "-cubin"];

/// Variables that change what is compiled, beside those that say where nvcc is.
const NVCC_VARIABLES: [&str; 3] = ["NVCC_CCBIN", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"];

/// One nvcc process to run: a source file for an architecture.
struct Job<'a> {
    source: &'a Source,
    arch: &'a str,
}

impl Job<'_> {
    /// Whether the file is for the architecture at all.
    fn is_wanted(&self) -> bool {
        match &self.source.arch {
            Some(arch) => self.arch == *arch,
            None if self.source.is_test => OF_TESTS.contains(&self.arch),
            None => PLAIN.contains(&self.arch),
        }
    }

    /// Whether PTX is kept, too.
    fn keeps_ptx(&self) -> bool {
        self.arch == NEWEST && !self.source.is_test
    }
}

/// The compiler: its path and all that the cubins depend on besides their sources.
struct Nvcc {
    path: PathBuf,
    /// Of the CUDA release.
    major: u32,
    /// Version text, flags and nvcc's environment.
    identity: String,
    /// What `nvcc --list-gpu-arch` names, `compute_80` and so on; nothing of one that does not say.
    architectures: Vec<String>,
}

/// A compiled [`Job`], with what ptxas printed.
struct Compiled<'a> {
    job: Job<'a>,
    usages: Vec<Usage>,
}

/// Compiles the kernels where there is an nvcc and writes the tables.
///
/// # Errors
/// A message of one or more lines: bad variables, failed compilations, kernels that the gates refuse.
pub fn build() -> Result<(), String> {
    println!("cargo::rustc-check-cfg=cfg(pid_has_cubins)");
    // NOTE: not PATH, which differs between shells and editors: each change would compile the crate again.
    for name in ["PID_NVCC", "CUDA_HOME", "CUDA_PATH", "PID_CUDA_ARCHS"].iter().chain(&NVCC_VARIABLES) {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=kernels");
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: this is cargo's build script")?);
    let Some(path) = find()? else {
        return write(&out_dir.join("cubins.rs"), &tables(&[], &[], 0));
    };
    println!("cargo::rustc-cfg=pid_has_cubins");

    let nvcc = Nvcc::new(path)?;
    let sources = sources::all(Path::new("kernels"))?;
    let archs = archs(&sources, &nvcc)?;
    let allowed = ptxas::parse_allowed(&read("kernels/spills.txt")?)?;
    let jobs = sources.iter().flat_map(|source| archs.iter().map(move |&arch| Job { source, arch }));
    let jobs = jobs.filter(Job::is_wanted).collect();
    let compiled = nvcc.compile_all(jobs, &out_dir)?;
    let usages: Vec<&Usage> = compiled.iter().flat_map(|compiled| &compiled.usages).collect();
    ptxas::check_allowed(&usages, &allowed)?;
    write(&out_dir.join("cubins.rs"), &tables(&compiled, &allowed, nvcc.major))
}

/// The nvcc to use; `None` when there is none or `PID_NVCC=off`.
fn find() -> Result<Option<PathBuf>, String> {
    if let Some(path) = env::var_os("PID_NVCC") {
        return match path.to_str() {
            Some("off") => Ok(None),
            _ if Path::new(&path).is_file() => Ok(Some(path.into())),
            _ => Err(format!("PID_NVCC: no file {}; give the path of nvcc, or `off`", path.display())),
        };
    }
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(|home| Path::new(&home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = homes.chain(env::split_paths(&path)).chain([PathBuf::from(".cuda/bin")]);
    Ok(folders.map(|folder| folder.join("nvcc")).find(|nvcc| nvcc.is_file()))
}

/// The architectures to compile for: all, or those in `PID_CUDA_ARCHS`. What is made for one alone (`90a`) comes with what
/// runs on it besides (`90`).
fn archs<'a>(sources: &'a [Source], nvcc: &Nvcc) -> Result<Vec<&'a str>, String> {
    let mut known = PLAIN.to_vec();
    for arch in sources.iter().filter_map(|source| source.arch.as_deref()).chain(OF_TESTS) {
        if !known.contains(&arch) {
            known.push(arch);
        }
    }
    let Ok(text) = env::var("PID_CUDA_ARCHS") else {
        // CUDA 12 knows no 110, which is compiled where it can be.
        known.retain(|arch| nvcc.knows(arch));
        return Ok(known);
    };
    let wanted: Vec<&str> = text.split(',').map(str::trim).collect();
    if let Some(unknown) = wanted.iter().find(|wanted| !known.contains(wanted)) {
        let known = known.join(", ");
        return Err(format!("PID_CUDA_ARCHS={text}: `{unknown}` is none of {known} (a list with commas: 80,90a)"));
    }
    let is_wanted = |arch: &&str| wanted.iter().any(|wanted| wanted == arch || wanted.strip_suffix('a') == Some(arch));
    Ok(known.into_iter().filter(is_wanted).collect())
}

impl Nvcc {
    fn new(path: PathBuf) -> Result<Self, String> {
        let output = Command::new(&path).arg("--version").output();
        let output = output.map_err(|error| format!("{}: cannot run: {error}", path.display()))?;
        let version = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || !version.contains("release") {
            let first = version.lines().next().unwrap_or_default();
            return Err(format!("{} --version: {}, `{first}`: not an nvcc that runs", path.display(), output.status));
        }
        let major = version.split("release ").nth(1).and_then(|rest| rest.split('.').next()?.parse().ok());
        let major = major.ok_or_else(|| format!("{} --version: no release number in {version}", path.display()))?;
        let environment = NVCC_VARIABLES.map(|name| format!("{name}={:?}", env::var_os(name)));
        let identity = format!("{version}\n{}\n{}\n", FLAGS.join(" "), environment.join("\n"));
        let listed = Command::new(&path).arg("--list-gpu-arch").output();
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let architectures = listed.split_whitespace().map(str::to_owned).collect();
        Ok(Self { path, major, identity, architectures })
    }

    /// Whether it compiles for `arch`, `90a`.
    fn knows(&self, arch: &str) -> bool {
        let name = format!("compute_{}", arch.trim_end_matches('a'));
        self.architectures.is_empty() || self.architectures.contains(&name)
    }

    /// Runs the jobs, as many at a time as cargo says, and returns them in their order.
    ///
    /// # Errors
    /// What every failed job printed.
    fn compile_all<'a>(&self, jobs: Vec<Job<'a>>, out_dir: &Path) -> Result<Vec<Compiled<'a>>, String> {
        let num_workers = env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1).clamp(1, 64);
        let queue: Mutex<VecDeque<(usize, Job)>> = Mutex::new(jobs.into_iter().enumerate().collect());
        let next = || queue.lock().expect("no thread panics with the queue locked").pop_front();
        let work = || {
            let jobs = std::iter::from_fn(next);
            jobs.map(|(idx, job)| (idx, self.compile(job, out_dir))).collect::<Vec<_>>()
        };
        let mut results = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..num_workers).map(|_| scope.spawn(work)).collect();
            let joined = workers.into_iter().map(|worker| worker.join().expect("a worker returns its errors"));
            joined.flatten().collect::<Vec<_>>()
        });
        results.sort_by_key(|(idx, _)| *idx);
        let (compiled, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(|(_, result)| result.is_ok());
        if failed.is_empty() {
            return Ok(compiled.into_iter().filter_map(|(_, result)| result.ok()).collect());
        }
        Err(failed.into_iter().filter_map(|(_, result)| result.err()).collect::<Vec<_>>().join("\n"))
    }

    /// Compiles one file for one architecture, or takes the cubin of an earlier build that had the same inputs.
    fn compile<'a>(&self, job: Job<'a>, out_dir: &Path) -> Result<Compiled<'a>, String> {
        let Job { source, arch } = &job;
        let cubin = out_dir.join(cubin_name(&source.stem, arch));
        let log_path = cubin.with_extension("log");
        let key = sources::key(&[&self.identity, arch, &source.text]);
        let is_there = cubin.is_file() && (!job.keeps_ptx() || out_dir.join(ptx_name(&source.stem, arch)).is_file());
        let kept = fs::read_to_string(&log_path).ok().filter(|_| is_there);
        let log = match kept.as_deref().and_then(|kept| kept.split_once('\n')) {
            Some((kept_key, log)) if kept_key == key => log.to_owned(),
            _ => {
                // The log goes first and comes last: it vouches for the cubin, also when this build is interrupted.
                let _ = fs::remove_file(&log_path);
                let log = if job.keeps_ptx() {
                    self.run_keeping_ptx(&job, &cubin, &out_dir.join(ptx_name(&source.stem, arch)))?
                } else {
                    self.run(&job, &cubin, None)?
                };
                write(&log_path, &format!("{key}\n{log}"))?;
                log
            }
        };
        let usages = ptxas::parse(&source.stem, &format!("sm_{arch}"), &log)
            .map_err(|message| format!("{} for sm_{arch}: {message}", source.path.display()))?;
        Ok(Compiled { job, usages })
    }

    /// As [`Nvcc::run`]; the PTX that the cubin is made of is kept, with the zero byte that the driver wants at its end.
    fn run_keeping_ptx(&self, job: &Job, cubin: &Path, ptx: &Path) -> Result<String, String> {
        let between = cubin.with_extension("between");
        let failed = |error| format!("{}: {error}", between.display());
        let _ = fs::remove_dir_all(&between);
        fs::create_dir_all(&between).map_err(failed)?;
        let log = self.run(job, cubin, Some(&between))?;
        let files = fs::read_dir(&between).map_err(failed)?.filter_map(|entry| Some(entry.ok()?.path()));
        let found: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|ext| ext == "ptx")).collect();
        let [one] = &found[..] else {
            return Err(format!("{}: {} PTX files, one expected", between.display(), found.len()));
        };
        let mut text = fs::read(one).map_err(failed)?;
        text.push(0);
        fs::write(ptx, text).map_err(|error| format!("{}: {error}", ptx.display()))?;
        fs::remove_dir_all(&between).map_err(failed)?;
        Ok(log)
    }

    /// One nvcc process; returns what ptxas printed. Files in between are kept in a folder where there is one.
    fn run(&self, Job { source, arch }: &Job, cubin: &Path, between: Option<&Path>) -> Result<String, String> {
        let start = Instant::now();
        let mut command = Command::new(&self.path);
        command.args(FLAGS).args(["-I", "kernels", "-gencode", &format!("arch=compute_{arch},code=sm_{arch}")]);
        if let Some(folder) = between {
            command.arg("--keep").arg("--keep-dir").arg(folder);
        }
        let output = command.arg("-o").arg(cubin).arg(&source.path).output();
        let output = output.map_err(|error| format!("{}: cannot run: {error}", self.path.display()))?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            let stdout = String::from_utf8_lossy(&output.stdout);
            let release = self.identity.lines().find(|line| line.contains("release")).unwrap_or_default();
            let (file, nvcc, status) = (source.path.display(), self.path.display(), output.status);
            return Err(format!("{file} for sm_{arch}: {nvcc} ({release}): {status}\n{stdout}{log}"));
        }
        // Cargo keeps this line in the build script's `output` file and shows it with -vv.
        println!("compiled {} for sm_{arch} in {:.1} s", source.path.display(), start.elapsed().as_secs_f32());
        Ok(log)
    }
}

fn ptx_name(stem: &str, arch: &str) -> String {
    format!("{stem}.compute_{arch}.ptx")
}

fn cubin_name(stem: &str, arch: &str) -> String {
    format!("{stem}.sm_{arch}.cubin")
}

/// Holds an image in the table of cubins.
const ALIGNED: &str = "
/// The driver reads an ELF image in place: its 8-byte fields are aligned when the image is.
#[repr(C, align(16))]
struct Aligned<const N: usize>([u8; N]);
";

/// The Rust source of the tables.
fn tables(compiled: &[Compiled], allowed: &[Allowed], major: u32) -> String {
    let (mut cubins, mut test_cubins) = (String::new(), String::new());
    let mut rows = String::new();
    for Compiled { job, usages } in compiled {
        let Job { source, arch } = job;
        let stem = &source.stem;
        let mut images = vec![(cubin_name(stem, arch), format!("sm_{arch}"))];
        if job.keeps_ptx() {
            images.push((ptx_name(stem, arch), format!("compute_{arch}")));
        }
        let table = if source.is_test { &mut test_cubins } else { &mut cubins };
        for (name, arch) in images {
            let bytes = format!("&Aligned(*include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}\"))).0");
            let _ = writeln!(table, "    Cubin {{ file: {stem:?}, arch: {arch:?}, bytes: {bytes} }},");
        }
        for usage in usages {
            let allowed = allowed.iter().find(|allowed| allowed.covers(usage)).map_or(0, |allowed| allowed.bytes);
            let _ = writeln!(rows, "    {},", usage.row(allowed));
        }
    }
    let aligned = if compiled.is_empty() { "" } else { ALIGNED };
    format!(
        "/// Major CUDA release of the nvcc that made the kernels; 0 without.\npub const CUDA_MAJOR: u32 = {major};\n\n\
         /// Every kernel file for every architecture built.\npub static CUBINS: &[Cubin] = &[\n{cubins}];\n\n\
         /// The same of the kernels that only tests launch. No program that leaves it alone contains it.\n\
         pub static TEST_CUBINS: &[Cubin] = &[\n{test_cubins}];\n\n\
         /// What ptxas says of every kernel.\npub static PTXAS: &[PtxasRow] = &[\n{rows}];\n{aligned}"
    )
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
