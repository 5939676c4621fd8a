//! A folder of its own for each test, with a tiny model in it, and the command run there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::tensor::{Dtype, TensorView};

/// What a run of the command left.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The last line of standard output as JSON.
pub fn json(stdout: &str) -> serde_json::Value {
    let line = stdout.trim().lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {stdout}"))
}

/// A temporary working folder.
pub struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// With `w.safetensors` (config tiny), `l.safetensors` (1 x 16 x 3 x 2) and `c.safetensors`.
    pub fn with_model() -> Self {
        let sandbox = Self::new();
        let run = sandbox.pid(&["synth", "--config", "tiny", "--seed", "1", "--out", "w.safetensors"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        sandbox.latent("l.safetensors", &[1, 16, 3, 2], |i| ((i * 37) % 19) as f32 / 9.0 - 1.0);
        sandbox.tensor("c.safetensors", "caption", &[1, 8, 64], |i| ((i * 53) % 23) as f32 / 11.0 - 1.0);
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Names of everything in the folder, sorted.
    pub fn files(&self) -> Vec<String> {
        list(self.folder.path())
    }

    /// The command in the folder, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pid"));
        command.args(args).current_dir(self.folder.path());
        command
    }

    /// Runs a script of a shell, in which `"$0" "$@"` is the command with `args`.
    #[cfg(unix)]
    pub fn script(&self, shell: &str, script: &str, args: &[&str]) -> std::io::Result<Output> {
        let mut command = Command::new(shell);
        command.args(["-c", script, env!("CARGO_BIN_EXE_pid")]).args(args).current_dir(self.folder.path());
        command.output()
    }

    pub fn pid(&self, args: &[&str]) -> Run {
        self.command(args).output().unwrap().into()
    }

    /// `pid decode` of the sandbox's model, where `args` override the defaults.
    pub fn decode_args<'a>(&self, args: &[&'a str]) -> Vec<&'a str> {
        let defaults = [
            ("--checkpoint", "w.safetensors"),
            ("--latent", "l.safetensors"),
            ("--caption", "c.safetensors"),
            ("--out", "out.png"),
        ];
        let missing =
            defaults.iter().filter(|(flag, _)| !args.contains(flag)).flat_map(|(flag, value)| [*flag, *value]);
        ["decode"].into_iter().chain(missing).chain(args.iter().copied()).collect()
    }

    pub fn decode(&self, args: &[&str]) -> Run {
        self.pid(&self.decode_args(args))
    }

    /// Starts a decode and interrupts it as Ctrl-C would, once it is at work.
    #[cfg(unix)]
    pub fn interrupt(&self, args: &[&str]) -> Run {
        use std::process::Stdio;
        let mut command = self.command(&self.decode_args(args));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(700));
        let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(status.success(), "the decode ended before it could be interrupted");
        child.wait_with_output().unwrap().into()
    }

    pub fn latent(&self, name: &str, shape: &[usize], value: impl Fn(usize) -> f32) {
        self.tensor(name, "latent", shape, value);
    }

    /// Writes a safetensors file of one float32 tensor.
    pub fn tensor(&self, file: &str, name: &str, shape: &[usize], value: impl Fn(usize) -> f32) {
        let bytes: Vec<u8> = (0..shape.iter().product()).flat_map(|i| value(i).to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
        let file_bytes = safetensors::serialize([(name, view)], None).unwrap();
        fs::write(self.path(file), file_bytes).unwrap();
    }
}

fn list(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A file system of one page with a filler in it: every further write fails for want of space.
#[cfg(target_os = "linux")]
pub struct FullDisk {
    folder: tempfile::TempDir,
}

#[cfg(target_os = "linux")]
impl FullDisk {
    /// `None` without the privilege to mount.
    pub fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(folder.path())
            .stderr(std::process::Stdio::null())
            .status();
        if !status.is_ok_and(|s| s.success()) {
            return None;
        }
        let disk = Self { folder };
        // Fills the file system; the error at the end is the point.
        let _ = fs::write(disk.path().join("filler"), vec![0u8; 128 << 10]);
        Some(disk)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

#[cfg(target_os = "linux")]
impl Drop for FullDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.path()).status();
    }
}
