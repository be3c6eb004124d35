//! Damaged bundles: every verb that loads a model refuses them, names the file, and writes nothing.

use std::fs;
use std::path::Path;

use crate::support::{Folder, copy_of_model, retain, text_of, trained};

/// Damages a copy of the bundle with `harm` and expects every verb to refuse it with code 5 and `text`.
#[track_caller]
fn refuse(harm: impl Fn(&Path), text: &str) {
    let folder = Folder::new();
    let models = folder.path("models");
    let bundle = trained();
    retain(&["models", "publish", "--model", &bundle.model, "--models", &models, "--promote"]).expect(0);
    let published = Path::new(&models).join("simulated").join("1");
    let loose = copy_of_model(&folder, "loose");
    harm(&published);
    harm(&loose);
    let (model, scores) = (text_of(&loose), folder.path("scores.csv"));
    retain(&["score", "--model", model, "--input", &bundle.holdout, "--output", &scores]).expect(5).says(text);
    retain(&["evaluate", "--model", model, "--data", &bundle.holdout]).expect(5).says(text);
    retain(&["explain", "--model", model, "--input", &bundle.holdout, "--id", "C0000001"]).expect(5).says(text);
    retain(&["serve", "--models", &models, "--listen", "127.0.0.1:0"]).expect(5).says("simulated/1");
    retain(&["models", "verify", "--models", &models]).expect(5).says("simulated/1");
    assert!(!Path::new(&scores).exists());
    assert!(folder.names().iter().all(|name| !name.contains("scores")), "{:?}", folder.names());
}

#[test]
fn a_flipped_byte_is_found() {
    refuse(
        |bundle| {
            let mut bytes = fs::read(bundle.join("model.bin")).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(bundle.join("model.bin"), bytes).unwrap();
        },
        "`model.bin`",
    );
}

#[test]
fn a_truncated_model_is_found() {
    refuse(
        |bundle| {
            let bytes = fs::read(bundle.join("model.bin")).unwrap();
            fs::write(bundle.join("model.bin"), &bytes[..bytes.len() / 2]).unwrap();
        },
        "`model.bin`",
    );
}

#[test]
fn a_missing_file_is_named() {
    refuse(|bundle| fs::remove_file(bundle.join("check_rows.json")).unwrap(), "`check_rows.json`");
}

#[test]
fn a_newer_format_asks_for_a_newer_build() {
    refuse(
        |bundle| {
            let text = fs::read_to_string(bundle.join("manifest.json")).unwrap();
            let newer = text.replacen("\"format_version\": 2", "\"format_version\": 99", 1);
            assert_ne!(text, newer);
            fs::write(bundle.join("manifest.json"), newer).unwrap();
        },
        "format version 99",
    );
}

#[test]
fn a_folder_without_a_bundle_is_a_usage_error() {
    let folder = Folder::new();
    let holdout = &trained().holdout;
    retain(&["evaluate", "--model", &folder.path(""), "--data", holdout]).expect(2).says("not a model bundle");
    retain(&["evaluate", "--model", "nobody@champion", "--models", &folder.path("models"), "--data", holdout])
        .expect(2)
        .says("no model `nobody`");
    retain(&["evaluate", "--model", "No Such Model", "--data", holdout]).expect(2).says("No Such Model");
}
