//! `data leakage`, and what `train` makes of its findings.

use retain_data::simulate_customers;

use crate::support::{Folder, retain, task};

/// Simulated customers with a column before the others that knows who left.
fn leaking() -> String {
    let line = |(position, line): (usize, &str)| match position {
        0 => format!("refund,{line}\n"),
        _ => format!("{},{line}\n", if line.ends_with(",yes") { "17.5" } else { "0" }),
    };
    simulate_customers(800, 9).csv.lines().enumerate().map(line).collect()
}

#[test]
fn a_certain_leak_refuses_training_until_the_task_allows_it() {
    let folder = Folder::new();
    let data = folder.file("table.csv", leaking());
    let out = folder.path("bundle");
    let config = folder.file("task.toml", task("\"logistic\""));
    let refused = retain(&["train", "--config", &config, "--data", &data, "--out", &out]).expect(5);
    refused.says("`refund` alone has a ROC AUC of 1.0000").says("allow = [\"refund\"]").says("hint: `retain data leakage`");
    assert!(!folder.names().contains(&"bundle".to_owned()));

    let run = retain(&["data", "leakage", "--config", &config, "--data", &data, "--format", "json"]).expect(5);
    let finding = run.json()["findings"][0].clone();
    assert_eq!((finding["code"].as_str(), finding["severity"].as_str()), (Some("leak_value"), Some("certain")));
    assert_eq!(finding["columns"][0], "refund");
    assert_eq!(run.json()["refused"], true);

    let text = task("\"logistic\"").replace("positive =", "allow = [\"refund\"]\npositive =");
    let config = folder.file("allowed.toml", text);
    retain(&["data", "leakage", "--config", &config, "--data", &data]).expect(0);
    let run = retain(&["train", "--config", &config, "--data", &data, "--out", &out]).expect(0).says("warning[leak_value]");
    assert!(!run.stderr.contains("too good to be true"), "{}", run.stderr);
    let card = std::fs::read_to_string(folder.path("bundle/MODEL_CARD.md")).unwrap();
    assert!(card.contains("column `refund` alone has a ROC AUC of 1.0000"), "{card}");
}

#[test]
fn customers_that_stand_twice_are_kept_together_and_counted() {
    let folder = Folder::new();
    let config = folder.file("task.toml", task("\"logistic\""));
    let csv = simulate_customers(600, 5).csv;
    let copies: Vec<String> = csv.lines().skip(1).take(300).map(|line| format!("again-{line}")).collect();
    let data = folder.file("table.csv", csv + &copies.join("\n"));
    let run = retain(&["data", "leakage", "--config", &config, "--data", &data, "--format", "json"]).expect(0);
    let twins = run.json()["twins"].clone();
    let n_twins = twins["n_customers"].as_u64().unwrap();
    // A few of the copies share too little that is rare.
    assert!((290..=300).contains(&n_twins), "{n_twins}");
    assert_eq!(twins["n_rows"].as_u64(), Some(2 * n_twins));
    assert!(twins["rows"].as_array().unwrap().iter().all(|rows| rows[1].as_u64() == rows[0].as_u64().map(|row| row + 600)));
    let text = retain(&["data", "leakage", "--config", &config, "--data", &data]).expect(0).stdout;
    for expected in ["900 rows", "0 certain, 1 likely", "leak_twins", "what one table cannot show:"] {
        assert!(text.contains(expected), "`{expected}` is not in:\n{text}");
    }
    let out = folder.path("bundle");
    let run = retain(&["train", "--config", &config, "--data", &data, "--out", &out]).expect(0).says("warning[leak_twins]");
    assert!(run.stdout.contains(&format!("{} customers", 900 - n_twins)), "{}", run.stdout);
}

#[test]
fn a_clean_table_says_so() {
    let folder = Folder::new();
    let config = folder.file("task.toml", task("\"logistic\""));
    let data = folder.file("table.csv", simulate_customers(600, 5).csv);
    let run = retain(&["data", "leakage", "--config", &config, "--data", &data]).expect(0);
    assert!(run.stdout.contains("600 rows, nothing found that knows the answer"), "{}", run.stdout);
}
