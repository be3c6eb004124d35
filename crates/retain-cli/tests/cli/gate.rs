//! `gate`: verdicts and exit codes.

use std::fs;

use retain_data::simulate_customers;

use crate::support::{Folder, copy_of_model, retain, text_of, trained};

/// Runs a gate file on the hold-out rows.
fn gate(folder: &Folder, text: &str, more: &[&str]) -> crate::support::Run {
    let file = folder.file("gate.toml", text);
    let trained = trained();
    let mut arguments = vec!["gate", "--config", &file, "--model", &trained.model, "--data", &trained.holdout];
    arguments.extend(more);
    retain(&arguments)
}

fn floor(min: f64) -> String {
    format!("[[floor]]\nmetric = \"roc_auc\"\nmin = {min}\n")
}

const NON_INFERIORITY: &str = "[[non_inferiority]]\nmetric = \"log_loss\"\nmargin = 0.01\n";

#[test]
fn a_floor_passes_fails_or_cannot_be_told() {
    let folder = Folder::new();
    assert!(gate(&folder, &floor(0.6), &[]).expect(0).stdout.contains("pass"));
    assert!(gate(&folder, &floor(0.99), &[]).expect(3).stdout.contains("fail"));
    let evaluation = retain(&["evaluate", "--format", "json", "--model", &trained().model, "--data", &trained().holdout]).json();
    let auc = evaluation["measurement"]["evaluation"]["metrics"][0]["value"].as_f64().unwrap();
    assert!(gate(&folder, &floor(auc), &[]).expect(4).stdout.contains("inconclusive"));
    gate(&folder, &floor(auc), &["--allow-inconclusive"]).expect(0);
}

#[test]
fn without_data_the_stored_evaluation_counts() {
    let folder = Folder::new();
    let file = folder.file("gate.toml", floor(0.6));
    retain(&["gate", "--config", &file, "--model", &trained().model]).expect(0);
    let file = folder.file("gate.toml", NON_INFERIORITY);
    retain(&["gate", "--config", &file, "--model", &trained().model]).expect(2).says("--data");
}

#[test]
fn a_champion_is_compared_on_the_same_rows() {
    let folder = Folder::new();
    let champion = copy_of_model(&folder, "champion");
    let json = gate(&folder, NON_INFERIORITY, &["--champion", text_of(&champion), "--format", "json"]).stdout;
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["champion"], "simulated/1");
    assert_eq!(report["checks"][0]["kind"], "non_inferiority");
    assert_eq!(report["checks"][0]["value"].as_f64(), Some(0.0));
}

#[test]
fn a_champion_that_is_missing_or_predicts_something_else_ends_with_6() {
    let folder = Folder::new();
    gate(&folder, NON_INFERIORITY, &[]).expect(6);
    gate(&folder, NON_INFERIORITY, &["--champion", &folder.path("nothing")]).expect(6);
    let damaged = copy_of_model(&folder, "damaged");
    fs::write(damaged.join("model.bin"), b"no model").unwrap();
    gate(&folder, &floor(0.6), &["--champion", text_of(&damaged)]).expect(6).says("model.bin");

    let other = crate::support::task("\"logistic\"").replace("horizon_days = 30", "horizon_days = 90");
    let config = folder.file("other.toml", other);
    let data = folder.file("other.csv", simulate_customers(600, 9).csv);
    let model = folder.path("other");
    retain(&["train", "--config", &config, "--data", &data, "--out", &model]).expect(0);
    gate(&folder, NON_INFERIORITY, &["--champion", &model]).expect(6).says("predicts something else");
}

#[test]
fn slices_and_serving_limits_are_checked() {
    let folder = Folder::new();
    let slice = "[[slice]]\nby = [\"contract\"]\nmetric = \"roc_auc\"\nmin = 0.5\n";
    let run = gate(&folder, slice, &["--allow-inconclusive"]);
    assert!(run.stdout.contains("contract=monthly"), "{}\n{}", run.stdout, run.stderr);
    gate(&folder, &slice.replace("contract", "contrcat"), &[]).expect(2).says("did you mean `contract`?");
    gate(&folder, "[[serving]]\np99_ms = 1000.0\nmodel_mb = 100\nparity_max_abs = 1e-12\n", &[]).expect(0);
    gate(&folder, "[[serving]]\nmodel_mb = 0.000001\n", &[]).expect(7);
}

#[test]
fn a_baseline_of_the_past_is_a_column_of_numbers() {
    let folder = Folder::new();
    let beats = |column: &str| format!("[[beats]]\nmetric = \"roc_auc\"\nbaseline = \"past\"\ncolumn = \"{column}\"\n");
    gate(&folder, &beats("contrcat"), &[]).expect(2).says("did you mean `contract`?");
    gate(&folder, &beats("contract"), &[]).expect(5).says("column `contract` should be a number, found `");
    let holdout = fs::read_to_string(&trained().holdout).unwrap();
    let with_past = |value: &str| {
        let rows = holdout.lines().enumerate().map(|(row, line)| format!("{line},{}\n", if row == 0 { "past" } else { value }));
        folder.file("past.csv", rows.collect::<String>())
    };
    let run = |value: &str| {
        let file = folder.file("gate.toml", beats("past"));
        retain(&["gate", "--config", &file, "--model", &trained().model, "--data", &with_past(value)])
    };
    assert!(run("0.25").expect(0).stdout.contains("against the column `past`"));
    run("2.5").expect(2).says("should lie within [0, 1], found `2.5`");
    run("").expect(5).says("found `missing` in row 1");
}

#[test]
fn reports_are_written_in_the_format_of_their_ending() {
    let folder = Folder::new();
    let reports = ["gate.json", "gate.xml", "gate.md"].map(|name| folder.path(name));
    gate(&folder, &floor(0.6), &["--report", &reports[0], "--report", &reports[1], "--report", &reports[2]]).expect(0);
    let [json, xml, markdown] = reports.map(|path| fs::read_to_string(path).unwrap());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["verdict"], "pass");
    assert!(xml.starts_with("<?xml") && markdown.starts_with("### Gate"));
    assert!(gate(&folder, &floor(0.6), &["--format", "junit"]).expect(0).stdout.starts_with("<?xml"));
    gate(&folder, &floor(0.6), &["--report", &folder.path("gate.pdf")]).expect(2);
}

#[test]
fn a_gate_file_with_a_slip_is_refused() {
    let folder = Folder::new();
    gate(&folder, "[[flor]]\nmetric = \"roc_auc\"\nmin = 0.5\n", &[]).expect(2).says("`floor`");
    gate(&folder, "", &[]).expect(2).says("no checks");
    gate(&folder, "[[floor]]\nmetric = \"uno_c\"\nmin = 0.5\n", &[]).expect(2).says("expected one of roc_auc, ");
    gate(&folder, "[[floor]]\nmodel = \"other\"\nmetric = \"roc_auc\"\nmin = 0.5\n", &[]).expect(2).says("`other`");
}

#[test]
fn a_report_without_a_folder_is_refused_before_the_verdict() {
    let folder = Folder::new();
    let report = folder.path("missing/report.xml");
    let run = gate(&folder, &floor(0.5), &["--report", &report]).expect(2).says("there is no folder");
    assert_eq!(run.stdout, "");
}
