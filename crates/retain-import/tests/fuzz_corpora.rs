//! The files that fuzzing found worth keeping, through the same checks, without a fuzzer: see `crates/fuzz/README.md`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, missing_docs, reason = "tests stop where they cannot go on")]

use std::fs;
use std::path::{Path, PathBuf};

/// Shared with the fuzz package, which needs a C++ compiler and a nightly toolchain to be built.
#[path = "../../fuzz/src/lib.rs"]
#[allow(
    unreachable_pub,
    dead_code,
    unused_imports,
    reason = "public in its own package, where targets use what only changes files"
)]
mod fuzz;

/// Checks every file of the corpus, naming the one that fails.
#[track_caller]
fn check(name: &str) {
    let (_, target) = fuzz::TARGETS.into_iter().find(|(known, _)| *known == name).unwrap();
    let files = files_of(&corpora().join(name));
    assert!(!files.is_empty(), "the corpus of {name} is empty");
    for file in files {
        let bytes = fs::read(&file).unwrap();
        if let Err(panic) = std::panic::catch_unwind(|| target(&bytes)) {
            eprintln!("the file is {}", file.display());
            std::panic::resume_unwind(panic);
        }
    }
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn models() {
    check("model");
}

#[test]
fn made_models() {
    check("made_model");
}

#[test]
fn bundles() {
    check("bundle");
}

#[test]
fn lightgbm() {
    check("lightgbm");
}

#[test]
fn xgboost_json() {
    check("xgboost_json");
}

#[test]
fn xgboost_ubjson() {
    check("xgboost_ubjson");
}

#[test]
fn catboost() {
    check("catboost");
}

/// A target without a test here would let its corpus rot.
#[test]
fn every_corpus_has_a_target() {
    let corpora = files_of(&corpora());
    let mut names: Vec<&str> = fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let found: Vec<&str> = corpora.iter().map(|folder| folder.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(found, names);
}
