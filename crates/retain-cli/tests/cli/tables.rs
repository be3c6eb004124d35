//! Tables and tasks that training refuses: one message, the right code, and no bundle.

use std::fmt::Write;

use retain_data::simulate_customers;

use crate::support::{Folder, retain, task};

/// Trains on `table` and expects a refusal with `code` whose message contains `text`.
#[track_caller]
fn refuse(table: &[u8], task: &str, code: i32, text: &str) {
    let folder = Folder::new();
    let (config, data) = (folder.file("task.toml", task), folder.file("table.csv", table));
    refuse_files(&folder, &config, &data, code, text);
}

#[track_caller]
fn refuse_files(folder: &Folder, config: &str, data: &str, code: i32, text: &str) {
    let out = folder.path("bundle");
    let run = retain(&["train", "--config", config, "--data", data, "--out", &out]).expect(code).says(text).says("error: ");
    assert!(!run.stdout.contains("winner"), "{}", run.stdout);
    let left: Vec<String> = folder.names().into_iter().filter(|name| name.contains("bundle")).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn logistic() -> String {
    task("\"logistic\"")
}

fn customers() -> String {
    simulate_customers(600, 5).csv
}

/// The simulated table with another column before the label.
fn with_column(name: &str, value: impl Fn(usize) -> String, n_customers: usize) -> String {
    let csv = simulate_customers(n_customers, 5).csv;
    let mut table = String::new();
    for (row, line) in csv.lines().enumerate() {
        let (head, label) = line.rsplit_once(',').unwrap();
        let cell = if row == 0 { name.to_owned() } else { value(row) };
        writeln!(table, "{head},{cell},{label}").unwrap();
    }
    table
}

#[test]
fn a_table_without_the_target_names_the_nearest_column() {
    refuse(customers().replacen("churned", "churnd", 1).as_bytes(), &logistic(), 5, "`churnd`");
}

#[test]
fn a_table_with_one_class_is_refused() {
    let stayed: Vec<String> = customers().lines().filter(|line| !line.ends_with(",yes")).map(str::to_owned).collect();
    refuse(stayed.join("\n").as_bytes(), &logistic(), 5, "`churned`");
}

#[test]
fn empty_files_are_refused() {
    refuse(b"", &logistic(), 5, "empty");
    let header = customers().lines().next().unwrap().to_owned() + "\n";
    refuse(header.as_bytes(), &logistic(), 5, "no rows");
}

#[test]
fn a_torn_last_line_is_named() {
    let whole = customers();
    let torn = &whole[..whole.len() - 30];
    refuse(torn.as_bytes(), &logistic(), 5, "line 601");
}

#[test]
fn fifty_rows_are_too_few() {
    let few = customers().lines().take(51).collect::<Vec<_>>().join("\n");
    refuse(few.as_bytes(), &logistic(), 5, "too little data");
}

#[test]
fn words_in_a_number_column_are_named_with_row_and_column() {
    let mut lines: Vec<String> = customers().lines().map(str::to_owned).collect();
    let mut cells: Vec<String> = lines[7].split(',').map(str::to_owned).collect();
    "plenty".clone_into(&mut cells[1]);
    lines[7] = cells.join(",");
    let stated = logistic() + "[columns.tenure_months]\nkind = \"number\"\n";
    refuse(lines.join("\n").as_bytes(), &stated, 5, "row 7: column `tenure_months` should be a number, found `plenty`");
}

#[test]
fn a_header_that_names_a_column_twice_is_refused() {
    refuse(customers().replacen("noise", "plan", 1).as_bytes(), &logistic(), 5, "`plan` twice");
}

#[test]
fn wrong_paths_are_usage_errors() {
    let folder = Folder::new();
    let config = folder.file("task.toml", logistic());
    let data = folder.file("table.csv", customers());
    refuse_files(&folder, &config, &folder.path(""), 2, "is a directory");
    refuse_files(&folder, &config, &folder.path("nothing.csv"), 2, "does not exist");
    refuse_files(&folder, &folder.path("nothing.toml"), &data, 2, "nothing.toml");
    refuse_files(&folder, &folder.path(""), &data, 2, "directory");
}

#[test]
fn an_unknown_key_in_the_task_names_the_nearest() {
    refuse(customers().as_bytes(), &logistic().replace("horizon_days", "horizn_days"), 2, "horizon_days");
    refuse(customers().as_bytes(), "this is not toml", 2, "line 1");
}

#[test]
fn errors_are_json_when_results_are() {
    let folder = Folder::new();
    let config = folder.file("task.toml", logistic());
    let run = retain(&["train", "--format", "json", "--config", &config, "--data", "nothing.csv", "--out", &folder.path("b")]);
    let error: serde_json::Value = serde_json::from_str(&run.expect(2).stderr).unwrap();
    assert_eq!(error["error"]["exit_code"], 2);
    assert!(error["error"]["causes"][0].as_str().unwrap().contains("nothing.csv"), "{error}");
    let run = retain(&["trian", "--format", "json"]).expect(2);
    serde_json::from_str::<serde_json::Value>(&run.stderr).unwrap();
}

#[test]
fn odd_columns_are_trained_on_with_a_warning() {
    let folder = Folder::new();
    let config = folder.file("task.toml", logistic());
    let constant = folder.file("constant.csv", with_column("site", |_| "main".to_owned(), 600));
    retain(&["data", "profile", "--config", &config, "--data", &constant]).expect(0).says("`site`");
    let out = folder.path("bundle");
    retain(&["train", "--config", &config, "--data", &constant, "--out", &out]).expect(0).says("warning[").says("`site`");

    let wide = folder.file("wide.csv", with_column("token", |row| format!("token {row}"), 10_000));
    retain(&["data", "profile", "--config", &config, "--data", &wide]).expect(0).says("`token`");

    let latin: Vec<u8> = with_column("city", |row| if row % 2 == 0 { "Malmo".into() } else { "Malm@".into() }, 600)
        .bytes()
        .map(|byte| if byte == b'@' { 0xf6 } else { byte })
        .collect();
    let latin = folder.file("latin.csv", latin);
    let run = retain(&["data", "profile", "--format", "json", "--config", &config, "--data", &latin]).expect(0);
    assert!(run.json()["columns"].as_array().unwrap().iter().any(|column| column["name"] == "city" && column["n_distinct"] == 2));
    assert!(run.stderr.contains("1252"), "{}", run.stderr);
}
