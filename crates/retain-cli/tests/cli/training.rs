//! `train`: reproducible, and careful about where it writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use retain_data::simulate_customers;

use crate::support::{Folder, retain, task, trained};

fn files(bundle: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(bundle).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_one_thread_and_two() {
    let folder = Folder::new();
    let config = folder.file("task.toml", task("\"logistic\", \"boosting\""));
    let data = folder.file("table.csv", simulate_customers(600, 5).csv);
    let train = |threads: &str, seed: &str, name: &str| {
        let out = folder.path(name);
        let run = ["train", "--config", &config, "--data", &data, "--out", &out, "--threads", threads, "--seed", seed];
        retain(&run).expect(0);
        files(&out)
    };
    let (one, two) = (train("1", "5", "one"), train("2", "5", "two"));
    assert_eq!(one.len(), 7);
    for (name, bytes) in &one {
        assert!(two[name] == *bytes, "{name} differs");
    }
    assert_ne!(train("2", "6", "three")["manifest.json"], one["manifest.json"]);
}

#[test]
fn training_prints_what_it_found_and_chose() {
    let folder = Folder::new();
    let config = folder.file("task.toml", task("\"logistic\", \"tree\""));
    let (out, test) = (folder.path("bundle"), trained().holdout.as_str());
    let table = folder.file("table.csv", simulate_customers(600, 5).csv);
    let arguments = ["train", "--config", &config, "--data", &table, "--test", test, "--out", &out];
    let text = retain(&arguments).expect(0).stdout;
    for expected in
        ["tenure_months", "leaderboard", "ROC AUC", "logistic", "tree", "base rate", "winner: ", "calibration: ", "--test"]
    {
        assert!(text.contains(expected), "`{expected}` is not in:\n{text}");
    }
    let mut json = arguments.to_vec();
    json.extend(["--format", "json", "--quiet"]);
    let run = retain(&json).expect(0);
    assert_eq!(run.json()["metrics"]["leaderboard"].as_array().unwrap().len(), 2);
    assert!(run.json()["metrics"]["test"]["evaluation"]["n_rows"].as_u64().unwrap() > 1000);
    assert_eq!(run.stderr, "");
}

#[test]
fn only_a_bundle_is_replaced() {
    let folder = Folder::new();
    let config = folder.file("task.toml", task("\"logistic\""));
    let data = folder.file("table.csv", simulate_customers(600, 5).csv);
    let out = folder.path("bundle");
    let train = |seed: &str| retain(&["train", "--config", &config, "--data", &data, "--out", &out, "--seed", seed]);
    train("1").expect(0);
    let before = files(&out);
    train("2").expect(0);
    assert_ne!(files(&out)["manifest.json"], before["manifest.json"]);
    assert_eq!(folder.names(), ["bundle", "table.csv", "task.toml"]);

    fs::remove_dir_all(&out).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(Path::new(&out).join("thesis.txt"), "mine").unwrap();
    train("1").expect(2).says("holds something that is not a bundle");
    assert_eq!(files(&out).len(), 1);
}

#[test]
fn published_versions_never_change() {
    let folder = Folder::new();
    let models = folder.path("models");
    retain(&["models", "publish", "--model", &trained().model, "--models", &models, "--promote"]).expect(0);
    let config = folder.file("task.toml", task("\"logistic\""));
    for version in ["1", "2"] {
        let out = format!("{models}/simulated/{version}");
        let run = retain(&["train", "--config", &config, "--data", &trained().training, "--out", &out]);
        run.expect(2).says("published versions never change");
    }
}
