//! Teacher or student, by name: the two are networks of one shape, and nothing in their tensors tells them apart.
//!
//! What counts is the name of the file and of its own folder, and metadata that name the network. A name says "teacher" in
//! one of two published forms: NVIDIA's (`PiD_v1pt5_..._undistilled`) and Comfy-Org's, whose students have `4step` in their
//! names (`pid_1.5_flux1_1024_to_4096_4step_bf16.safetensors`) and whose teachers lack it. Any other mention of
//! "undistilled" says nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a name says of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Teacher,
    Student,
}

/// Storage and file endings, which follow a network's name.
const ENDINGS: &[&str] = &[
    "safetensors",
    "pth",
    "pt",
    "ckpt",
    "bin",
    "bf16",
    "fp16",
    "f16",
    "fp32",
    "f32",
    "fp8",
    "mxfp8",
    "nvfp4",
    "int8",
    "convrot",
    "scaled",
    "e4m3",
    "e4m3fn",
    "e5m2",
    "ema",
    "model",
    "quantized",
];
/// Generators whose latents the networks decode, as names spell them.
const BACKBONES: &[&str] =
    &["flux", "flux1", "flux2", "sd3", "sdxl", "qwenimage", "qwen", "zimage", "dinov2", "siglip", "official", "pid"];
/// Metadata that hold the network's own name.
const NAMES: &[&str] =
    &["experiment", "experiment_name", "name", "model_name", "checkpoint", "modelspec.title", "title"];
/// Links followed.
const MAX_LINKS: usize = 16;

/// Why the network of `path` and `metadata` is a teacher, in the words of a message; `None` for a student.
pub(super) fn evidence(path: Option<&Path>, metadata: &BTreeMap<String, String>) -> Option<String> {
    for place in path.map(places).unwrap_or_default() {
        // The place itself before the link to it, the file before its folder.
        let folder = place.parent().and_then(Path::file_name);
        for (name, what) in [(place.file_name(), "file"), (folder, "folder")] {
            let Some(name) = name.map(|n| n.to_string_lossy()) else { continue };
            match says(&name, what == "file") {
                Some(Says::Teacher) => return Some(format!("its {what} is called {name}")),
                Some(Says::Student) => return None,
                None => {}
            }
        }
    }
    let named = NAMES.iter().filter_map(|key| Some((key, metadata.get(*key)?)));
    named
        .filter_map(|(key, value)| Some((key, value, says(last_component(value), false)?)))
        .find_map(|(key, value, says)| (says == Says::Teacher).then(|| format!("its metadata say {key} = {value}")))
}

/// A name may be given with its folders.
fn last_component(value: &str) -> &str {
    value.trim_end_matches('/').rsplit('/').next().unwrap_or(value)
}

/// The file's resolved place, then the links on the way to it from the last to the first, absolute each, with their
/// folders resolved: a hub's cache resolves to a file whose name is its hash, and only the link has a name.
fn places(path: &Path) -> Vec<PathBuf> {
    let absolute = |path: &Path| {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let folder = whole.parent().and_then(|folder| folder.canonicalize().ok());
        folder.zip(whole.file_name()).map_or(whole.clone(), |(folder, name)| folder.join(name))
    };
    // As typed, should a folder's link have a name that the folder lacks.
    let typed = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut places = vec![typed, absolute(path)];
    while places.len() < MAX_LINKS {
        let Some(last) = places.last() else { break };
        let Ok(target) = std::fs::read_link(last) else { break };
        let target = last.parent().map_or(target.clone(), |folder| folder.join(target));
        places.push(absolute(&target));
    }
    places.reverse();
    places
}

/// What the name of a file, a folder or a network says.
fn says(name: &str, is_file: bool) -> Option<Says> {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let end = words.iter().rposition(|word| !ENDINGS.contains(word)).map_or(0, |last| last + 1);
    let words = &words[..end];
    if words.iter().any(|w| matches!(*w, "4step" | "4steps" | "distill" | "distilled" | "student")) {
        return Some(Says::Student);
    }
    let (last, head) = words.split_last()?;
    let is_pid = words.first() == Some(&"pid");
    if *last == "undistilled" && (is_pid || head.iter().all(|w| BACKBONES.contains(w)))
        || is_pid && words.contains(&"teacher")
    {
        return Some(Says::Teacher);
    }
    // pid_1.5_flux1_1024_to_4096: two sizes at the end. People keep students in folders of such names.
    let is_size = |word: &str| word.len() >= 3 && word.bytes().all(|b| b.is_ascii_digit());
    match words {
        [.., from, "to", to] if is_file && is_pid && is_size(from) && is_size(to) => Some(Says::Teacher),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_names_are_told_apart() {
        for name in [
            "PiD_v1pt5_res2kto4k_sr4x_official_flux_undistilled",
            "PiD_v1pt5_res2kto4k_sr4x_qwenimage_undistilled.pth",
            "PiD_v1pt5_res2kto4k_sr4x_official_flux2_undistilled_bf16.safetensors",
            "pid_1.5_flux1_1024_to_4096_bf16.safetensors",
            "pid_1.5_qwenimage_1024_to_4096_int8_convrot.safetensors",
            "flux_undistilled",
            "pid_v1pt5_teacher_flux_h1024_d4",
        ] {
            assert_eq!(says(name, true), Some(Says::Teacher), "{name}");
        }
        for name in [
            "PiD_v1pt5_res2kto4k_sr4x_official_flux_distill_4step",
            "PiD_res2kto4k_sr4x_official_flux2_distill_4step_2606",
            "pid_1.5_flux1_1024_to_4096_4step_bf16.safetensors",
            "student_of_undistilled.pth",
        ] {
            assert_eq!(says(name, true), Some(Says::Student), "{name}");
        }
        for name in [
            "better_than_undistilled",
            "undistilled-versus-ours",
            "w.safetensors",
            "model_ema_bf16.pth",
            "pid_from_undistilled_v2",
            "this is the undistilled",
            "",
        ] {
            assert_eq!(says(name, true), None, "{name}");
        }
        assert_eq!(says("pid_1.5_flux1_1024_to_4096", false), None);
    }

    #[test]
    fn metadata_count_where_they_name_the_network() {
        let evidence = |key: &str, value: &str| evidence(None, &[(key.to_owned(), value.to_owned())].into());
        assert!(evidence("experiment", "flux_undistilled").is_some());
        assert!(evidence("checkpoint", "checkpoints/PiD_v1pt5_official_flux_undistilled/").is_some());
        assert!(evidence("teacher", "PiD_v1pt5_official_flux_undistilled").is_none());
        assert!(evidence("title", "distilled from the undistilled teacher").is_none());
    }

    #[test]
    #[cfg(unix)]
    fn the_last_link_with_a_name_decides() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let teacher = "PiD_v1pt5_official_flux_undistilled";
        for folder in [teacher, "blobs", "PiD_v1pt5_official_flux_distill_4step"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        let is_teacher = |name: &str| evidence(Some(&at(name)), &BTreeMap::new()).is_some();
        // A hub's cache.
        std::fs::write(at("blobs/0123abcd"), "").unwrap();
        std::os::unix::fs::symlink("../blobs/0123abcd", at(teacher).join("model_ema_bf16.pth")).unwrap();
        assert!(is_teacher(&format!("{teacher}/model_ema_bf16.pth")) && !is_teacher("blobs/0123abcd"));
        // Links to the folder and to the file in it.
        std::os::unix::fs::symlink(teacher, at("flux")).unwrap();
        std::os::unix::fs::symlink("flux/model_ema_bf16.pth", at("w.pth")).unwrap();
        assert!(is_teacher("flux/model_ema_bf16.pth") && is_teacher("w.pth"));
        // What a student is called elsewhere does not count.
        std::fs::write(at("PiD_v1pt5_official_flux_distill_4step/model.pth"), "").unwrap();
        std::os::unix::fs::symlink("../PiD_v1pt5_official_flux_distill_4step/model.pth", at(teacher).join("s.pth"))
            .unwrap();
        assert!(!is_teacher(&format!("{teacher}/s.pth")));
    }
}
