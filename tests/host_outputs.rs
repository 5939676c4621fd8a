//! Where results go, on a Unix: pipes, devices, links, files that are there already; what may not be written, and that it
//! is said before the work.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

// Other tests use the rest of it.
#[allow(dead_code)]
mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use common::{Run, Sandbox, json};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/astronaut.png");

fn make_fifo(sandbox: &Sandbox, name: &str) {
    assert!(Command::new("mkfifo").arg(sandbox.path(name)).status().unwrap().success());
}

fn is_fifo(sandbox: &Sandbox, name: &str) -> bool {
    fs::symlink_metadata(sandbox.path(name)).unwrap().file_type().is_fifo()
}

/// Runs `args` while somebody reads the named pipe `pipe`, and returns what came out of it.
fn read_while(sandbox: &Sandbox, pipe: &str, args: &[&str]) -> (Run, Vec<u8>) {
    let path = sandbox.path(pipe);
    let reader = std::thread::spawn(move || fs::read(path).unwrap());
    let run = sandbox.pid(args);
    (run, reader.join().unwrap())
}

#[test]
fn a_named_pipe_gets_the_bytes_of_the_file() {
    let sandbox = Sandbox::with_model();
    make_fifo(&sandbox, "pipe");
    let convert = ["convert", "w.safetensors", "--out"];
    let synth = ["synth", "--config", "tiny", "--seed", "3", "--out"];
    let plan = ["plan", "--config", "flux-v1.5", "--width", "512", "--height", "512", "--svg"];
    let encode = ["encode", "--image", PICTURE, "--out"];
    let preview = ["encode", "--image", PICTURE, "--out", "x.safetensors", "--preview"];
    let decode = sandbox.decode_args(&["--out", "pipe"]);
    let commands: [(&[&str], &str); 6] = [
        (&decode[..decode.len() - 1], "png"),
        (&convert, "safetensors"),
        (&synth, "safetensors"),
        (&plan, "svg"),
        (&encode, "safetensors"),
        (&preview, "png"),
    ];
    for (args, extension) in commands {
        let (run, through) = read_while(&sandbox, "pipe", &[args, &["pipe"]].concat());
        assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
        assert!(is_fifo(&sandbox, "pipe"), "{args:?}");
        let file = format!("file.{extension}");
        assert_eq!(sandbox.pid(&[args, &[&file]].concat()).code, 0);
        assert!(through == fs::read(sandbox.path(&file)).unwrap(), "{args:?}: {} bytes", through.len());
    }
    let files = ["c.safetensors", "file.png", "file.safetensors", "file.svg", "l.safetensors", "pipe"];
    assert_eq!(sandbox.files(), [&files[..], &["w.safetensors", "x.safetensors"]].concat());
}

#[test]
#[cfg(feature = "emulator")]
fn a_check_writes_into_pipes() {
    let sandbox = Sandbox::new();
    make_fifo(&sandbox, "pipe.xml");
    let args = ["check", "--device", "emulator", "--filter", "v1.5-loud/gemm_linear", "--junit", "pipe.xml"];
    let (run, through) = read_while(&sandbox, "pipe.xml", &[&args[..], &["--save", "-"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(through.starts_with(b"<?xml") && through.ends_with(b"</testsuites>\n"));
    let saved: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(saved["rows"].is_array() && run.stderr.contains("case/kernels"), "{}", run.stderr);
    assert_eq!(sandbox.files(), ["pipe.xml"]);
}

#[test]
fn devices_stay_devices() {
    let sandbox = Sandbox::with_model();
    symlink("/dev/null", sandbox.path("null.png")).unwrap();
    let before = sandbox.files();
    for out in ["/dev/null", "null.png", "/proc/self/fd/1"] {
        let run = sandbox.decode(&["--out", out]);
        assert_eq!(run.code, 0, "{out}: {}", run.stderr);
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        assert_eq!(sandbox.files(), before, "{out}");
    }
    let run = sandbox.pid(&["demo", "--synthetic", "--size", "64", "--device", "cpu", "--out", "/dev/null", "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(json(&run.stdout)["plan"].is_null() && !Path::new("/dev/null-plan.svg").exists());
    let twice = ["encode", "--image", PICTURE, "--out", "/dev/null", "--preview", "/dev/null"];
    assert_eq!(sandbox.pid(&twice).code, 0);
    if Path::new("/dev/full").exists() {
        let run = sandbox.decode(&["--out", "/dev/full", "--json"]);
        assert!(run.code == 1 && run.stderr.contains("/dev/full cannot be written: No space"), "{}", run.stderr);
        assert!(json(&run.stdout)["error"].is_string());
    }
}

#[test]
fn standard_output_takes_a_result_and_leaves_the_report() {
    let sandbox = Sandbox::with_model();
    assert_eq!(sandbox.decode(&["--out", "a.png"]).code, 0);
    let expected = fs::read(sandbox.path("a.png")).unwrap();
    for out in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let output = sandbox.command(&sandbox.decode_args(&["--out", out, "--json"])).output().unwrap();
        assert!(output.stdout == expected, "{out}");
        let report = json(&String::from_utf8(output.stderr).unwrap());
        assert_eq!(report["width"], 64, "{out}");
    }
    // Into a file behind what is there already, as the shell opened it.
    let script = "(printf before; \"$0\" \"$@\" --out /dev/stdout) > all 2> messages";
    let args = sandbox.decode_args(&["--out", "-"]);
    let args = &args[..args.len() - 2];
    assert!(sandbox.script("sh", script, args).unwrap().status.success());
    assert!(fs::read(sandbox.path("all")).unwrap() == [b"before", &expected[..]].concat());
    // An error does not get among the bytes.
    let run = sandbox.decode(&["--out", "-", "--latent", "absent.npy", "--json"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.contains("{\"error\":\"absent.npy"), "{}", run.stderr);
    // Results and messages in one pipe are a broken result.
    let both = "exec \"$0\" \"$@\" --out - 2>&1 | cat";
    let output = sandbox.script("sh", both, args).unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("is where standard error goes"), "{output:?}");
}

#[test]
fn process_substitution_and_descriptors_are_written_into() {
    let sandbox = Sandbox::with_model();
    let args = sandbox.decode_args(&["--out", "-"]);
    let args = &args[..args.len() - 2];
    assert_eq!(sandbox.decode(&["--out", "a.png"]).code, 0);
    let script = "\"$0\" \"$@\" --out /dev/fd/7 7> b.png";
    assert!(sandbox.script("sh", script, args).unwrap().status.success());
    let picture = |name| fs::read(sandbox.path(name)).unwrap();
    assert!(picture("a.png") == picture("b.png"));
    let script = "\"$0\" \"$@\" --out >(cat > c.png); wait $!";
    match sandbox.script("bash", script, args) {
        Ok(output) => assert!(output.status.success() && picture("a.png") == picture("c.png")),
        Err(_) => println!("skipped: no bash"),
    }
    let run = sandbox.decode(&["--out", "/dev/stdin"]);
    assert!(run.code == 1 && run.stderr.contains("reading only"), "{}", run.stderr);
}

#[test]
fn a_batch_goes_into_a_pipe_picture_by_picture() {
    let sandbox = Sandbox::with_model();
    sandbox.latent("two.safetensors", &[2, 16, 3, 2], |i| ((i * 37) % 19) as f32 / 9.0 - 1.0);
    let decode = |out| sandbox.command(&sandbox.decode_args(&["--latent", "two.safetensors", "--out", out])).output();
    let output = decode("-").unwrap();
    assert_eq!(decode("a.png").unwrap().status.code(), Some(0));
    let pictures = ["a-0.png", "a-1.png"].map(|name| fs::read(sandbox.path(name)).unwrap());
    assert!(output.stdout == pictures.concat() && pictures[1].starts_with(PNG));
}

#[test]
fn the_reader_of_a_pipe_sees_the_end_when_the_work_fails() {
    let sandbox = Sandbox::with_model();
    make_fifo(&sandbox, "pipe");
    let (run, through) = read_while(&sandbox, "pipe", &sandbox.decode_args(&["--latent", "no.npy", "--out", "pipe"]));
    assert_eq!((run.code, through.len()), (1, 0));
    // And one that goes before there is something to read is not waited for.
    let slow = [1, 16, 14, 14];
    sandbox.latent("large.safetensors", &slow, |i| ((i * 37) % 19) as f32 / 9.0 - 1.0);
    let path = sandbox.path("pipe");
    let reader = std::thread::spawn(move || drop(fs::File::open(path).unwrap()));
    let run = sandbox.decode(&["--latent", "large.safetensors", "--out", "pipe"]);
    reader.join().unwrap();
    assert!(run.code == 1 && run.stderr.contains("pipe: its reader has gone"), "{}", run.stderr);
}

#[test]
fn links_are_written_through() {
    let sandbox = Sandbox::with_model();
    fs::create_dir(sandbox.path("sub")).unwrap();
    fs::write(sandbox.path("sub/old.png"), "old").unwrap();
    symlink("sub/old.png", sandbox.path("one.png")).unwrap();
    symlink(sandbox.path("one.png"), sandbox.path("two.png")).unwrap();
    symlink("sub/new.png", sandbox.path("dangling.png")).unwrap();
    let before = sandbox.files();
    for (out, target) in [("two.png", "sub/old.png"), ("dangling.png", "sub/new.png")] {
        let run = sandbox.decode(&["--out", out, "--json"]);
        assert_eq!((run.code, &json(&run.stdout)["out"][0]), (0, &out.into()), "{}", run.stderr);
        assert!(fs::read(sandbox.path(target)).unwrap().starts_with(PNG));
        assert!(["one.png", "two.png", "dangling.png"].iter().all(|link| sandbox.path(link).is_symlink()));
    }
    assert_eq!(sandbox.files(), before);
    assert_eq!(fs::read_dir(sandbox.path("sub")).unwrap().count(), 2);
    // A batch's names are links of their own.
    symlink("sub/b.png", sandbox.path("b-1.png")).unwrap();
    sandbox.latent("two.safetensors", &[2, 16, 3, 2], |i| ((i * 37) % 19) as f32 / 9.0 - 1.0);
    assert_eq!(sandbox.decode(&["--latent", "two.safetensors", "--out", "b.png"]).code, 0);
    assert!(sandbox.path("b-1.png").is_symlink() && sandbox.path("sub/b.png").exists());
    symlink("circle.png", sandbox.path("circle.png")).unwrap();
    symlink("nowhere/a.png", sandbox.path("lost.png")).unwrap();
    for (out, words) in [("circle.png", "links"), ("lost.png", "nowhere does not exist")] {
        let run = sandbox.decode(&["--out", out]);
        assert!(run.code == 1 && run.stderr.contains(words), "{}", run.stderr);
        assert!(sandbox.path(out).is_symlink());
    }
}

#[test]
fn permissions_of_what_was_there_stay() {
    let sandbox = Sandbox::with_model();
    for mode in [0o600, 0o664, 0o755] {
        fs::write(sandbox.path("a.png"), "old").unwrap();
        fs::set_permissions(sandbox.path("a.png"), PermissionsExt::from_mode(mode)).unwrap();
        let before = fs::metadata(sandbox.path("a.png")).unwrap();
        assert_eq!(sandbox.decode(&["--out", "a.png"]).code, 0);
        let after = fs::metadata(sandbox.path("a.png")).unwrap();
        let owner = |there: &fs::Metadata| (there.uid(), there.gid(), there.mode() & 0o7777);
        assert_eq!(owner(&after), owner(&before));
        assert!(after.len() > 1000);
    }
}

/// Runs a command that must fail with `code`, say `words`, and change nothing.
fn refused(sandbox: &Sandbox, args: &[&str], code: i32, words: &str) {
    let contents = || sandbox.files().iter().map(|f| fs::read(sandbox.path(f)).ok()).collect::<Vec<_>>();
    let before = (sandbox.files(), contents());
    let run = sandbox.pid(args);
    assert!(run.code == code && run.stderr.contains(words), "{args:?}: {} {}", run.code, run.stderr);
    assert!(before == (sandbox.files(), contents()), "{args:?} changed something");
    let with_json = sandbox.pid(&[args, &["--json"]].concat());
    assert!(with_json.code == code && json(&with_json.stdout)["error"].is_string(), "{args:?}");
}

#[test]
fn names_say_what_is_written() {
    let sandbox = Sandbox::with_model();
    fs::copy(sandbox.path("w.safetensors"), sandbox.path("model.pth")).unwrap();
    let size = ["plan", "--config", "flux-v1.5", "--width", "512", "--height", "512", "--svg"];
    let cases: [(&[&str], &str, &str); 8] = [
        (&["convert", "model.pth", "--out"], "model.pth", "a checkpoint is written as .safetensors"),
        (&["convert", "model.pth", "--out"], "model", "a checkpoint is written as .safetensors"),
        (&["synth", "--config", "tiny", "--out"], "w.pth", "a checkpoint is written as .safetensors"),
        (&size, "plan.png", "a drawing is written as .svg"),
        (&["check", "--device", "emulator", "--save"], "a.xml", "a table is written as .json"),
        (&["check", "--device", "emulator", "--junit"], "a.json", "a JUnit result is written as .xml"),
        (&["bench", "--tune", "--tuning"], "a.toml", "a table is written as .json"),
        (&["encode", "--image", PICTURE, "--out"], "a.png", "a latent is written as .safetensors"),
    ];
    for (args, out, words) in cases {
        refused(&sandbox, &[args, &[out]].concat(), 1, words);
    }
    make_fifo(&sandbox, "pipe.png");
    let run = sandbox.pid(&["synth", "--config", "tiny", "--out", "pipe.png"]);
    assert!(run.code == 1 && run.stderr.contains("pipe.png: a checkpoint is written"), "{}", run.stderr);
}

#[test]
fn what_is_read_is_never_written_over() {
    let sandbox = Sandbox::with_model();
    fs::hard_link(sandbox.path("l.safetensors"), sandbox.path("hard.safetensors")).unwrap();
    fs::hard_link(sandbox.path("w.safetensors"), sandbox.path("model.pth")).unwrap();
    symlink("w.safetensors", sandbox.path("soft.safetensors")).unwrap();
    fs::write(sandbox.path("base.json"), "{}").unwrap();
    let words = "is read and would be written over";
    for out in ["hard.safetensors", "soft.safetensors", "../{}/c.safetensors"] {
        let folder = sandbox.path("").canonicalize().unwrap();
        let out = out.replace("{}", folder.file_name().unwrap().to_str().unwrap());
        refused(&sandbox, &sandbox.decode_args(&["--out", &out]), 2, words);
    }
    refused(&sandbox, &["convert", "w.safetensors", "--out", "w.safetensors"], 2, words);
    refused(&sandbox, &["convert", "model.pth", "--out", "./soft.safetensors"], 2, words);
    let check = ["check", "--device", "emulator", "--baseline", "base.json", "--save", "base.json"];
    refused(&sandbox, &check, 2, words);
    // Nor is one result written over another.
    symlink("x.json", sandbox.path("x.xml")).unwrap();
    let twice = ["check", "--device", "emulator", "--junit", "x.xml", "--save", "x.json"];
    refused(&sandbox, &twice, 2, "--save and --junit both name x.json");
    let twice = ["encode", "--image", PICTURE, "--out", "-", "--preview", "/dev/fd/1"];
    assert_eq!(sandbox.pid(&twice).code, 2);
}

#[test]
fn what_cannot_be_written_is_said_before_the_work() {
    let sandbox = Sandbox::with_model();
    fs::write(sandbox.path("kept.png"), "kept").unwrap();
    fs::set_permissions(sandbox.path("kept.png"), PermissionsExt::from_mode(0o444)).unwrap();
    let long = format!("{}.png", "x".repeat(252));
    let socket = std::os::unix::net::UnixListener::bind(sandbox.path("socket.png")).unwrap();
    let mut cases = vec![("kept.png", "is read-only"), (&long, "File name too long"), ("socket.png", "is a socket")];
    if cfg!(target_os = "linux") {
        // Not even root makes a file there.
        cases.push(("/sys/a.png", "/sys/a.png cannot be made in the folder /sys: "));
    }
    for (out, words) in cases {
        // The work would begin by opening it.
        let run = sandbox.decode(&["--out", out, "--checkpoint", "absent.safetensors"]);
        assert!(run.code == 1 && run.stderr.contains(words), "{out}: {}", run.stderr);
        assert!(!run.stderr.contains(".pid-"), "{}", run.stderr);
    }
    drop(socket);
    assert_eq!(fs::read(sandbox.path("kept.png")).unwrap(), b"kept");
    let page = ["bench", "--report", "new/page", "--checkpoint", "absent.safetensors"];
    refused(&sandbox, &page, 1, "absent.safetensors");
}

/// A batch's names are known once the latent is read, which is still before the decode.
#[test]
fn every_name_of_a_batch_is_proved() {
    let sandbox = Sandbox::with_model();
    sandbox.latent("two.safetensors", &[2, 16, 200, 200], |i| ((i * 37) % 19) as f32 / 9.0 - 1.0);
    fs::create_dir(sandbox.path("a-1.png")).unwrap();
    let long = format!("{}.png", "x".repeat(250));
    fs::write(sandbox.path("k-0.png"), "kept").unwrap();
    fs::set_permissions(sandbox.path("k-0.png"), PermissionsExt::from_mode(0o444)).unwrap();
    for (out, words) in [("a.png", "a-1.png is a directory"), (&long, "too long"), ("k.png", "k-0.png is read-only")] {
        let begin = std::time::Instant::now();
        refused(&sandbox, &sandbox.decode_args(&["--latent", "two.safetensors", "--out", out]), 1, words);
        assert!(begin.elapsed().as_secs() < 30, "the decode itself takes minutes");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn names_that_are_no_unicode_keep_their_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::with_model();
    sandbox.latent("two.safetensors", &[2, 16, 3, 2], |i| ((i * 37) % 19) as f32 / 9.0 - 1.0);
    let args = sandbox.decode_args(&["--latent", "two.safetensors", "--out", "x"]);
    let mut command = sandbox.command(&args[..args.len() - 1]);
    assert!(command.arg(OsStr::from_bytes(b"caf\xe9.png")).output().unwrap().status.success());
    for name in [&b"caf\xe9-0.png"[..], b"caf\xe9-1.png"] {
        assert!(sandbox.path("").join(OsStr::from_bytes(name)).is_file(), "{:?}", sandbox.files());
    }
    let mut demo = sandbox.command(&["demo", "--synthetic", "--size", "64", "--device", "cpu", "--out"]);
    assert!(demo.arg(OsStr::from_bytes(b"d\xe9.png")).output().unwrap().status.success());
    assert!(sandbox.path("").join(OsStr::from_bytes(b"d\xe9-plan.svg")).is_file(), "{:?}", sandbox.files());
}
