//! `playbook`: what is told of playbooks that are wrong, and what is shown of those that are right.

use std::fs;

use serde_json::Value;

use crate::support::{Folder, MODELS, TELCO, TELCO_PLAYBOOK, retain, retain_with_input};

/// The first line of a text that has `part`, from 1, and the column at which it begins.
fn place(text: &str, part: &str) -> (u64, u64) {
    let (line, found) = text.lines().enumerate().find(|(_, line)| line.contains(part)).unwrap();
    (line as u64 + 1, found.find(part).unwrap() as u64 + 1)
}

#[test]
fn a_good_playbook_is_good_with_its_table_and_models() {
    let folder = Folder::new();
    let file = folder.file("telco.toml", TELCO_PLAYBOOK);
    let run = retain(&["playbook", "validate", &file, "--data", TELCO, "--models", MODELS]).expect(0);
    assert!(
        run.stdout.contains("0 errors, 0 warnings; `telco`: 3 actions, 0 sequences, 3 signals, 1 segments"),
        "{}",
        run.stdout
    );
    let json = retain(&["playbook", "validate", &file, "--format", "json"]).expect(0).json();
    assert_eq!(json, Value::Array(Vec::new()));
}

#[test]
fn every_problem_has_its_place_and_a_fix() {
    let folder = Folder::new();
    let text = TELCO_PLAYBOOK.replace("cost = 12.0", "cost = \"much\"").replace("features.tenure < 6", "features.tenure <");
    let file = folder.file("telco.toml", &text);
    let run = retain(&["playbook", "validate", &file]).expect(2);
    let line = place(&text, "cost = \"much\"").0;
    assert!(run.stdout.contains(&format!("{file}:{line}:")), "{}", run.stdout);
    assert!(run.stdout.contains(": error: ") && run.stdout.contains("\n  fix: "), "{}", run.stdout);
    let problems = retain(&["playbook", "validate", &file, "--format", "json"]).expect(2).json();
    let problems = problems.as_array().unwrap();
    assert!(problems.len() >= 2, "{problems:?}");
    let rule = problems.iter().find(|one| one["line"] == place(&text, "features.tenure <\"").0).unwrap();
    assert_eq!((rule["severity"].as_str(), rule["file"].as_str()), (Some("error"), Some(file.as_str())));
}

#[test]
fn a_feature_that_nobody_has_is_told_with_the_nearest() {
    let folder = Folder::new();
    // One is read by an action, one by a signal, one by the health score.
    let text = TELCO_PLAYBOOK
        .replace("features.MonthlyCharges > 50", "features.MonthlyCharge > 50")
        .replace("features.tenure < 6", "features.tenures < 6")
        .replace("reads = \"features.Contract ==", "reads = \"features.Contrakt ==");
    let file = folder.file("telco.toml", &text);
    retain(&["playbook", "validate", &file]).expect(0);
    let problems = retain(&["playbook", "validate", &file, "--data", TELCO, "--format", "json"]).expect(2).json();
    let problems = problems.as_array().unwrap();
    assert_eq!(problems.len(), 3, "{problems:?}");
    for (wrong, right, snippet) in [
        ("MonthlyCharge", "MonthlyCharges", "features.MonthlyCharge >"),
        ("tenures", "tenure", "features.tenures"),
        ("Contrakt", "Contract", "features.Contrakt"),
    ] {
        let found = problems.iter().find(|one| one["what"].as_str().unwrap().contains(&format!("`{wrong}`"))).unwrap();
        assert_eq!(found["fix"], format!("did you mean `{right}`?"));
        assert_eq!(found["line"], place(&text, snippet).0, "{wrong}");
    }
}

#[test]
fn what_a_preset_reads_and_a_table_lacks_is_a_warning() {
    let folder = Folder::new();
    let text = TELCO_PLAYBOOK.replace("currency = ", "presets = [\"early-warning\"]\ncurrency = ");
    let file = folder.file("telco.toml", text);
    let run = retain(&["playbook", "validate", &file, "--data", TELCO]).expect(0);
    assert!(run.stdout.contains(": preset `early-warning`:") && run.stdout.contains(": warning: "), "{}", run.stdout);
    retain(&["playbook", "validate", &file, "--data", TELCO, "--strict"]).expect(2);
}

#[test]
fn a_model_that_is_not_published_is_told_where_it_is_named() {
    let folder = Folder::new();
    let text = TELCO_PLAYBOOK.replace("\"telco-churn\"", "\"telco-chum\"");
    let file = folder.file("telco.toml", &text);
    let problems =
        retain(&["playbook", "validate", &file, "--data", TELCO, "--models", MODELS, "--format", "json"]).expect(2).json();
    assert_eq!((problems[0]["line"].as_u64(), problems.as_array().unwrap().len()), (Some(place(&text, "telco-chum").0), 1));
}

#[test]
fn presets_are_listed_in_two_languages_and_shown() {
    let names = retain(&["playbook", "list", "--format", "json"]).expect(0).json();
    assert!(names.as_array().unwrap().iter().any(|preset| preset["name"] == "early-warning"));
    assert!(retain(&["playbook", "list"]).expect(0).stdout.contains("Signs of trouble"));
    assert!(retain(&["playbook", "list", "--language", "es"]).expect(0).stdout.contains("Indicadores de problemas"));
    // The text of a preset is one: put into a file, it is what `show` printed.
    let folder = Folder::new();
    let text = retain(&["playbook", "show", "early-warning"]).expect(0).stdout;
    let file = folder.file("own.toml", format!("[playbook]\nname = \"own\"\ncurrency = \"EUR\"\n\n{text}"));
    assert!(retain(&["playbook", "show", &file]).expect(0).stdout.contains("signals\n"));
    retain(&["playbook", "show", "early-warming"]).expect(2).says("did you mean the preset `early-warning`?");
}

#[test]
fn a_playbook_is_shown_in_short() {
    let folder = Folder::new();
    let file = folder.file("telco.toml", TELCO_PLAYBOOK);
    let run = retain(&["playbook", "show", &file]).expect(0);
    for part in [
        "call",
        "phone",
        "300 in 30 days",
        "telco-health",
        "churn = telco-churn",
        "features.Contract",
        "predictions.churn.probability",
    ] {
        assert!(run.stdout.contains(part), "`{part}` is not in:\n{}", run.stdout);
    }
    let json = retain(&["playbook", "show", &file, "--format", "json"]).expect(0).json();
    assert_eq!((json["actions"].as_array().unwrap().len(), json["health"]["groups"][0]["weight"].as_f64()), (3, Some(60.0)));
    let text = fs::read(&file).unwrap();
    assert_eq!(retain_with_input(&["playbook", "show", "-", "--format", "json"], &text).expect(0).json(), json);
}

#[test]
fn a_playbook_that_cannot_be_used_says_how_to_learn_more() {
    let folder = Folder::new();
    let file = folder.file("wrong.toml", "[playbok]\n");
    retain(&["playbook", "show", &file]).expect(2).says("retain playbook validate");
    retain(&["playbook", "validate", &folder.path("nothing.toml")]).expect(2).says("cannot read the playbook");
}
