//! The sources know only what stands below them.

use std::fs;
use std::path::{Path, PathBuf};

use support::Environment;

/// Each part of src/, and the parts that it may use.
const LAYERS: [(&str, &[&str]); 8] = [
    ("nginx", &[]),
    ("zone", &["nginx"]),
    ("conf", &["balancer", "nginx", "zone"]),
    ("balancer", &["nginx", "zone"]),
    ("worker", &["balancer", "conf", "nginx", "zone"]),
    ("http", &["balancer", "conf", "nginx", "zone"]),
    ("abi", &["balancer", "conf", "nginx", "worker", "zone"]),
    ("module", &["abi", "balancer", "conf", "http", "nginx", "worker", "zone"]),
];

/// Every Rust file of a part: `part.rs` and what is in `part/`.
fn files(src: &Path, part: &str) -> Vec<PathBuf> {
    let inner = fs::read_dir(src.join(part)).into_iter().flatten().flatten();
    let inner =
        inner.map(|entry| entry.path()).filter(|path| path.extension() == Some("rs".as_ref()));
    inner.chain([src.join(part).with_extension("rs")]).collect()
}

#[test]
fn each_part_uses_only_the_parts_below_it() {
    let src = Environment::get().checkout.join("src");
    for (part, below) in LAYERS {
        let files = files(&src, part);
        assert!(files.iter().all(|file| file.is_file()), "{files:?}");
        for file in files {
            let text = fs::read_to_string(&file).expect("a source file");
            let used = text.split("crate::").skip(1);
            for name in used.filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next()) {
                let is_part = LAYERS.iter().any(|(other, _)| *other == name);
                let is_allowed = name == part || below.contains(&name);
                assert!(!is_part || is_allowed, "{} uses crate::{name}", file.display());
            }
        }
    }
}

#[test]
fn unsafe_stands_only_where_nginx_or_shared_memory_is_touched() {
    let src = Environment::get().checkout.join("src");
    for part in ["conf", "balancer", "worker", "http"] {
        for file in files(&src, part) {
            let text = fs::read_to_string(&file).expect("a source file");
            assert!(!text.contains("unsafe {"), "{}", file.display());
        }
    }
}
