use retain_core::ColumnKind;
use retain_data::{ColumnRole, DataError, Training};

use crate::support::{assert_contains, table_with, train, warning};

fn column(training: &Training, name: &str) -> (ColumnRole, Option<ColumnKind>) {
    let column = training.report.columns.iter().find(|column| column.name == name).unwrap();
    (column.role, column.kind)
}

#[track_caller]
fn kind(cell: impl Fn(usize) -> String) -> ColumnKind {
    column(&train(&table_with("x", cell), "").unwrap(), "x").1.unwrap()
}

#[track_caller]
fn dropped(cell: impl Fn(usize) -> String, code: &str) {
    let training = train(&table_with("x", &cell), "").unwrap();
    assert_eq!(column(&training, "x").0, ColumnRole::Dropped);
    assert_contains(&warning(&training, code), &["`x`", "left out"]);
    // Naming the column keeps it.
    let kept = train(&table_with("x", cell), "[columns.x]").unwrap();
    assert_eq!(column(&kept, "x").0, ColumnRole::Feature);
}

#[test]
fn kinds_follow_the_cells() {
    let pick = |words: &'static [&'static str]| move |row: usize| words[row % words.len()].to_owned();
    assert_eq!(kind(pick(&["1", "2.5", "-3e2", "NA", ""])), ColumnKind::Number);
    assert_eq!(kind(pick(&["0", "1"])), ColumnKind::Number);
    assert_eq!(kind(pick(&["yes", "No", "T", "false", ""])), ColumnKind::Boolean);
    assert_eq!(kind(pick(&["2026-01-31", "2026-01-31T10:00:00Z", ""])), ColumnKind::Date);
    assert_eq!(kind(pick(&["gold", "silver"])), ColumnKind::Category);
    assert_eq!(kind(pick(&["yes", "no", "no phone"])), ColumnKind::Category);
}

#[test]
fn a_few_cells_of_another_kind_are_rejected_and_many_make_categories() {
    let slips =
        |every: usize| move |row: usize| if row.is_multiple_of(every) { "oops".to_owned() } else { (row % 9).to_string() };
    let error = train(&table_with("x", slips(25)), "").unwrap_err();
    assert!(matches!(&error, DataError::RejectedCells { first, n_cells: 24, n_rows: 24 } if first.len() == 20), "{error}");
    let message = error.to_string();
    assert_contains(
        &message,
        &["row 1: column `x` should be a number, found `oops`", "… and 4 more", "[columns.x]", "missing = [...]"],
    );
    let mixed = train(&table_with("x", slips(10)), "").unwrap();
    assert_eq!(column(&mixed, "x").1, Some(ColumnKind::Category));
    assert_contains(&warning(&mixed, "mixed_column"), &["`x` mixes 540 numbers with 60 other texts"]);
    assert_eq!(
        column(&train(&table_with("x", slips(25)), "[columns.x]\nmissing = [\"oops\"]").unwrap(), "x").1,
        Some(ColumnKind::Number)
    );
}

#[test]
fn a_third_answer_beside_yes_and_no_makes_a_category() {
    let answer = |row: usize| if row % 50 == 7 { "unknown" } else { ["yes", "no"][row % 2] }.to_owned();
    let training = train(&table_with("x", answer), "").unwrap();
    assert_eq!(training.dataset.schema.features[1].categories, ["no", "unknown", "yes"]);
}

#[test]
fn decimal_commas_are_named() {
    let price = |row: usize| format!("\"{},{}\"", row % 40, row % 10);
    let training = train(&table_with("x", price), "").unwrap();
    assert_contains(&warning(&training, "decimal_comma"), &["column `x`", "decimal comma, such as `"]);
}

#[test]
fn a_stated_kind_holds() {
    let digits = |row: usize| (row % 3).to_string();
    let training = train(&table_with("x", digits), "[columns.x]\nkind = \"category\"").unwrap();
    assert_eq!(training.dataset.schema.features[1].categories, ["0", "1", "2"]);
    let error = train(&table_with("x", digits), "[columns.x]\nkind = \"boolean\"").unwrap_err().to_string();
    assert_contains(&error, &["200 cells in 200 rows", "row 3: column `x` should be yes or no"]);
    let error = train(&table_with("x", digits), "[columns.x]\nkind = \"date\"").unwrap_err().to_string();
    assert_contains(&error, &["600 cells in 600 rows", "row 1: column `x` should be an ISO date"]);
    let error =
        train(&table_with("x", |row| ["a", "b"][row / 2 % 2].into()), "[columns.x]\nmonotone = \"increasing\"").unwrap_err();
    assert_contains(&error.to_string(), &["column `x` is a category", "`monotone`"]);
}

#[test]
fn stated_missing_markers_replace_the_usual_ones() {
    let countries = |row: usize| ["NA", "DE", "?"][row % 3].to_owned();
    let training = train(&table_with("x", countries), "[columns.x]\nmissing = [\"?\"]").unwrap();
    assert_eq!(training.dataset.schema.features[1].categories, ["DE", "NA"]);
    assert!(training.dataset.columns[1][2].is_nan());
    let sentinel = train(
        &table_with("x", |row| if row % 2 == 0 { "-1".into() } else { row.to_string() }),
        "[columns.x]\nmissing = [\"-1\"]",
    );
    assert_eq!(sentinel.unwrap().dataset.schema.features[1].min, Some(1.0));
}

#[test]
fn columns_without_use_are_dropped_by_name_unless_the_task_names_them() {
    dropped(|_| "same".to_owned(), "constant_column");
    dropped(|_| "5".to_owned(), "constant_column");
    dropped(|row| format!("text {row}"), "id_like_column");
    dropped(|row| (1000 + row * 3).to_string(), "id_like_column");
    let blank = train(&table_with("x", |_| String::new()), "").unwrap();
    assert_contains(&warning(&blank, "constant_column"), &["`x` has no value at all"]);
    // One value or nothing is information, and numbers in no order are too.
    assert_eq!(kind(|row| if row % 3 == 0 { "5".into() } else { String::new() }), ColumnKind::Number);
    assert_eq!(kind(|row| (row * 7919 % 10_007).to_string()), ColumnKind::Number);
}

#[test]
fn rare_categories_are_folded_and_thousands_of_them_still_train() {
    let training =
        train(&table_with("x", |row| if row < 500 { format!("c{}", row % 10) } else { format!("rare {row}") }), "").unwrap();
    assert_eq!(training.dataset.schema.features[1].categories.len(), 10);
    assert_eq!(training.dataset.columns[1][599], 10.0);
    assert_contains(&warning(&training, "rare_categories"), &["100 rarer texts, 100 rows (16.7 %)", "10 categories are kept"]);
    let mut wide = String::from("id,usage,x,left\n");
    for row in 0..40_000 {
        wide += &format!("c{row},{},v{},{}\n", row % 10, row % 10_000, ["yes", "no"][row % 2]);
    }
    assert_contains(
        &warning(&train(&wide, "").unwrap(), "id_like_column"),
        &["`x` has 10000 different texts", "none in 10 rows"],
    );
    let many: String = wide
        .lines()
        .skip(1)
        .enumerate()
        .map(|(row, line)| line.replace(&format!("v{}", row % 10_000), &format!("v{}", row % 2000)) + "\n")
        .collect();
    let many = train(&format!("id,usage,x,left\n{many}"), "").unwrap();
    assert_eq!(many.dataset.schema.features[1].categories.len(), 1024);
    assert!(many.dataset.schema.features[1].categories.is_sorted());
}

#[test]
fn a_table_of_identifiers_has_nothing_to_learn_from() {
    let csv: String = (0..400).map(|row| format!("c{row},{row},{}\n", ["yes", "no"][row % 2])).collect();
    let error = train(&format!("id,row,left\n{csv}"), "").unwrap_err().to_string();
    assert_contains(&error, &["no column is left to learn from", "`row`", "grow from row to row"]);
}
