//! `train`: reproducible, and careful about where it writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use retain_data::simulate_customers;

use crate::support::{Folder, command, copy_of_model, retain, task, text_of, trained};

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
    for expected in [
        "tenure_months",
        "leaderboard",
        "ROC AUC",
        "logistic",
        "tree",
        "base rate",
        "least log loss: ",
        "calibration: ",
        "--test",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in:\n{text}");
    }
    let mut json = arguments.to_vec();
    json.extend(["--format", "json", "--quiet"]);
    let run = retain(&json).expect(0);
    let leaderboard = run.json()["metrics"]["leaderboard"].clone();
    let learners: Vec<&str> = leaderboard.as_array().unwrap().iter().map(|row| row["learner"].as_str().unwrap()).collect();
    assert!(["logistic", "tree"].iter().all(|learner| learners.contains(learner)), "{learners:?}");
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

#[test]
fn a_folder_with_more_than_a_bundle_is_not_replaced() {
    let folder = Folder::new();
    let config = folder.file("task.toml", task("\"logistic\""));
    let train = |out: &str| retain(&["train", "--config", &config, "--data", &trained().training, "--out", out]);
    let bundle = copy_of_model(&folder, "bundle");
    fs::write(bundle.join("thesis.txt"), "mine").unwrap();
    train(text_of(&bundle)).expect(2).says("holds something that is not a bundle");
    assert_eq!(fs::read_to_string(bundle.join("thesis.txt")).unwrap(), "mine");

    // Many programs have a file of this name.
    let site = folder.path("site");
    fs::create_dir(&site).unwrap();
    fs::write(Path::new(&site).join("manifest.json"), "{\"name\": \"a web page\"}").unwrap();
    train(&site).expect(2).says("holds something that is not a bundle");
    assert_eq!(files(&site).len(), 1);
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_the_training() {
    let folder = Folder::new();
    // A table that cannot be read: the place has to be refused first.
    let train = |out: &str| retain(&["train", "--config", "nothing.toml", "--data", "nothing.csv", "--out", out]);
    train("/dev/null").expect(2).says("holds something that is not a bundle");
    train(&folder.path(&"a".repeat(250))).expect(2).says("cannot write to `--out");
    let bundle = copy_of_model(&folder, "bundle");
    train(text_of(&bundle.join("inner"))).expect(2).says("lies inside a bundle");
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_and_stays_a_link() {
    let folder = Folder::new();
    let config = folder.file("task.toml", task("\"logistic\""));
    let link = folder.path("link");
    let train = || retain(&["train", "--config", &config, "--data", &trained().training, "--out", &link]);
    std::os::unix::fs::symlink(folder.path("nowhere"), &link).unwrap();
    train().expect(2).says("holds something that is not a bundle");
    fs::create_dir(folder.path("nowhere")).unwrap();
    train().expect(0);
    assert!(Path::new(&link).is_symlink());
    assert_eq!(files(&folder.path("nowhere")).len(), 7);
}

#[cfg(unix)]
#[test]
fn paths_that_are_not_utf8_are_no_reason_to_panic() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    let config = folder.file("task.toml", task("\"logistic\""));
    let out = Path::new(&folder.path("")).join(std::ffi::OsStr::from_bytes(b"o\xff"));
    let arguments = ["train", "--format", "json", "--config", &config, "--data", &trained().training, "--out"];
    let status = command(&arguments).arg(&out).output().unwrap();
    assert_eq!(status.status.code(), Some(0), "{}", String::from_utf8_lossy(&status.stderr));
    assert!(out.join("manifest.json").is_file());
    let refused = command(&["--format", "json"]).arg(std::ffi::OsStr::from_bytes(b"tr\xff")).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[test]
fn the_leaderboard_fits_into_120_columns() {
    let folder = Folder::new();
    let config = folder.file("task.toml", task("\"logistic\", \"tree\""));
    let (table, out) = (&trained().training, folder.path("bundle"));
    let run = retain(&["train", "--config", &config, "--data", table, "--test", table, "--out", &out]).expect(0);
    let board =
        run.stdout.lines().skip_while(|line| !line.starts_with("leaderboard")).take_while(|line| !line.starts_with("measured"));
    let widths: Vec<usize> = board.map(|line| line.chars().count()).collect();
    assert!(widths.len() >= 8 && widths.iter().all(|width| *width <= 120), "{}", run.stdout);
    run.says("warning[training_table]");
}
