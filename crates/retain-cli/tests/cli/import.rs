//! `import`: models of other libraries, which predict what they predicted there.
//!
//! The models and the raw scores of their rows come from `retain-import/tests/data`.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;

use serde::Deserialize;

use crate::support::{Folder, Run, column, retain};

#[derive(Deserialize)]
struct Case {
    columns: Vec<String>,
    rows: Vec<Vec<serde_json::Value>>,
    margins: Vec<f64>,
}

impl Case {
    /// The rows without infinities, which no table may have.
    fn read(name: &str) -> Self {
        let bytes = std::fs::read(model("expected.json")).unwrap();
        let mut all: HashMap<String, serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
        let case: Self = serde_json::from_value(all.remove(name).unwrap()).unwrap();
        let is_finite = |row: &[serde_json::Value]| row.iter().all(|cell| cell != "inf" && cell != "-inf");
        let kept = case.rows.into_iter().zip(case.margins).filter(|(row, _)| is_finite(row));
        let (rows, margins) = kept.unzip();
        Self { columns: case.columns, rows, margins }
    }

    /// A table with an `id`, the features and the label that `target` makes of a margin.
    fn table(&self, target: impl Fn(f64) -> String) -> String {
        let mut csv = format!("id,{},target\n", self.columns.join(","));
        for (id, (row, margin)) in self.rows.iter().zip(&self.margins).enumerate() {
            let cell = |value: &serde_json::Value| match value {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => format!("\"{text}\""),
                number => number.to_string(),
            };
            writeln!(csv, "{id},{},{}", row.iter().map(cell).collect::<Vec<_>>().join(","), target(*margin)).unwrap();
        }
        csv
    }
}

fn model(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../retain-import/tests/data");
    folder.join(name).to_str().unwrap().to_owned()
}

fn task(folder: &Folder, kind: &str, more: &str) -> String {
    let positive = if kind == "churn" { "positive = \"yes\"\n" } else { "" };
    let text = format!(
        "[task]\nname = \"imported\"\nkind = \"{kind}\"\ndefinition = \"left within the month\"\nhorizon_days = 30\n\n\
         [table]\nentity = \"id\"\ntarget = \"target\"\n{positive}{more}"
    );
    folder.file(&format!("{kind}.toml"), text)
}

fn import(from: &str, file: &str, config: &str, out: &str, more: &[&str]) -> Run {
    let mut arguments = vec!["import", "--from", from, "--file", file, "--config", config, "--out", out];
    arguments.extend(more);
    retain(&arguments)
}

fn scores(folder: &Folder, bundle: &str, table: &str, name: &str) -> Vec<f64> {
    let output = folder.path("scores.csv");
    retain(&["score", "--model", bundle, "--input", table, "--output", &output]).expect(0);
    column(&output, name).iter().map(|score| score.parse().unwrap()).collect()
}

#[track_caller]
fn agrees(found: &[f64], margins: &[f64], link: impl Fn(f64) -> f64, tolerance: f64) {
    assert!(found.len() == margins.len() && margins.len() >= 30, "{} and {}", found.len(), margins.len());
    for (row, (found, &margin)) in found.iter().zip(margins).enumerate() {
        let expected = link(margin);
        assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "row {row}: {found} for {expected}");
    }
}

fn yes_or_no(margin: f64) -> String {
    if margin.sin() + margin > 0.0 { "yes" } else { "no" }.to_owned()
}

#[test]
fn without_a_table_a_model_predicts_and_is_not_measured() {
    let folder = Folder::new();
    let case = Case::read("lightgbm_binary.txt");
    let (bundle, table) = (folder.path("bundle"), folder.file("table.csv", case.table(yes_or_no)));
    let said = import("lightgbm", &model("lightgbm_binary.txt"), &task(&folder, "churn", ""), &bundle, &[]).expect(0);
    assert!(said.stdout.contains("not measured") && said.stdout.contains("binary sigmoid:0.7"), "{}", said.stdout);
    agrees(&scores(&folder, &bundle, &table, "probability"), &case.margins, |m| 1.0 / (1.0 + (-0.7 * m).exp()), 1e-12);
    assert!(std::fs::read_to_string(format!("{bundle}/MODEL_CARD.md")).unwrap().contains("Not measured"));
    retain(&["explain", "--model", &bundle, "--input", &table, "--id", "3"]).expect(0);
    retain(&["evaluate", "--model", &bundle, "--data", &table]).expect(0);
    let floor = folder.file("gate.toml", "[[floor]]\nmetric = \"roc_auc\"\nmin = 0.5\n");
    // So few rows leave the verdict open.
    retain(&["gate", "--config", &floor, "--model", &bundle, "--data", &table, "--allow-inconclusive"]).expect(0);
    let registry = folder.path("models");
    retain(&["models", "publish", "--models", &registry, "--model", &bundle]).expect(0);
}

#[test]
fn with_a_table_a_model_is_measured() {
    let folder = Folder::new();
    for (from, name) in [("xgboost", "xgboost_logistic.ubj"), ("lightgbm", "lightgbm_binary.txt")] {
        let case = Case::read(name);
        let (bundle, table) = (folder.path("bundle"), folder.file("table.csv", case.table(yes_or_no)));
        let json = ["--data", &table, "--format", "json"];
        let said = import(from, &model(name), &task(&folder, "churn", ""), &bundle, &json).expect(0).json();
        assert!(said["metrics"]["validation"]["evaluation"]["metrics"][0]["value"].as_f64().unwrap() > 0.9, "{said}");
        let slope = if from == "lightgbm" { 0.7 } else { 1.0 };
        agrees(&scores(&folder, &bundle, &table, "probability"), &case.margins, |m| 1.0 / (1.0 + (-slope * m).exp()), 1e-6);
    }
}

#[test]
fn amounts_are_margins_or_their_exponentials() {
    let folder = Folder::new();
    for (from, name, is_log) in [("xgboost", "xgboost_dart.json", true), ("lightgbm", "lightgbm_forest.txt", false)] {
        let case = Case::read(name);
        let link = |margin: f64| if is_log { margin.exp() } else { margin.max(0.0) };
        let mut sorted = case.margins.clone();
        sorted.sort_by(f64::total_cmp);
        let (median, spread) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1] - sorted[0]);
        // The upper half has amounts, but for some near the median.
        let has_amount = |margin: f64| margin + 0.3 * spread * (1e3 * margin).sin() > median;
        let amount = |margin: f64| if has_amount(margin) { format!("{:.3}", link(margin) + 0.1) } else { "0".to_owned() };
        let (bundle, table) = (folder.path("bundle"), folder.file("table.csv", case.table(amount)));
        let config = task(&folder, "ltv", "");
        import(from, &model(name), &config, &bundle, &[]).expect(2).says("--data");
        import(from, &model(name), &config, &bundle, &["--data", &table]).expect(0);
        agrees(&scores(&folder, &bundle, &table, "expected_value"), &case.margins, link, if is_log { 2e-6 } else { 1e-12 });
        let chances = scores(&folder, &bundle, &table, "probability");
        assert!(chances.iter().any(|chance| *chance < 0.5) && chances.iter().any(|chance| *chance > 0.5), "{chances:?}");
        retain(&["evaluate", "--model", &bundle, "--data", &table]).expect(0);
        let explained = retain(&["explain", "--model", &bundle, "--input", &table, "--id", "3"]).expect(0);
        assert_eq!(explained.stdout.contains("in the expected amount itself"), !is_log, "{}", explained.stdout);
    }
}

#[test]
fn what_does_not_fit_the_task_is_refused() {
    let folder = Folder::new();
    let (churn, out) = (task(&folder, "churn", ""), folder.path("bundle"));
    import("xgboost", &model("xgboost_dart.json"), &churn, &out, &[]).expect(2).says("predicts an amount");
    import("lightgbm", &model("lightgbm_binary.txt"), &task(&folder, "ltv", ""), &out, &[])
        .expect(2)
        .says("predicts a probability");
    import("catboost", &model("catboost_symmetric.json"), &churn, &out, &[]).expect(2).says("--data");
    import("catboost", &model("xgboost_dart.json"), &churn, &out, &[]).expect(5).says("format=\"json\"");
    import("lightgbm", &folder.path("nothing"), &churn, &out, &[]).expect(2).says("cannot read the model");
    let excluded = task(&folder, "churn", "exclude = [\"plan\"]\n");
    import("lightgbm", &model("lightgbm_binary.txt"), &excluded, &out, &[]).expect(2).says("`plan`");
    let number = task(&folder, "churn", "\n[columns.plan]\nkind = \"number\"\n");
    import("lightgbm", &model("lightgbm_binary.txt"), &number, &out, &[]).expect(2).says("category");
    let churn = task(&folder, "churn", "");
    let table = folder.file("table.csv", "id,a,target\n1,2,yes\n2,3,no\n");
    import("lightgbm", &model("lightgbm_binary.txt"), &churn, &out, &["--data", &table]).expect(5).says("lacks");
    assert!(!folder.names().contains(&"bundle".to_owned()));
}
