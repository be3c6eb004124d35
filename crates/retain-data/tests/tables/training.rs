use retain_core::Day;
use retain_data::{DataError, SimulationOptions, Task, read_labelled, read_training, simulate, simulate_customers};

use crate::support::{assert_contains, source, table_with, task_text, train, warning};

fn letters(row: usize) -> String {
    ["a", "b", "c"][row % 3].to_owned()
}

#[track_caller]
fn refused(csv: &str, task_text: &str, expected: &[&str]) {
    let error = read_training(&source(csv), &Task::parse(task_text).unwrap()).unwrap_err();
    assert_contains(&error.to_string(), expected);
}

#[test]
fn a_table_becomes_a_dataset() {
    let training = train(&table_with("x", letters), "").unwrap();
    let (dataset, report) = (&training.dataset, &training.report);
    assert_eq!((dataset.n_rows(), dataset.n_features(), dataset.n_positives(), dataset.n_groups()), (600, 2, 300, 600));
    assert_eq!((&dataset.entity[1], dataset.target[0], dataset.target[1]), (&"c1".to_owned(), 1.0, 0.0));
    assert_eq!(dataset.columns[0][..3], [0.0, 7.0, 14.0]);
    assert_eq!(dataset.columns[1][..4], [0.0, 1.0, 2.0, 0.0]);
    let usage = &dataset.schema.features[0];
    assert_eq!((usage.min, usage.max, usage.typical), (Some(0.0), Some(100.0), Some(49.5)));
    assert_eq!(dataset.schema.features[1].typical, Some(0.0));
    assert_eq!((report.n_rows, report.reference, report.observed), (600, None, None));
    assert_contains(&warning(&training, "few_positives"), &["only 300 positive rows"]);
}

#[test]
fn columns_that_are_not_there_are_told_with_the_nearest() {
    let csv = table_with("plan", letters);
    refused(
        &csv,
        &task_text("", "").replace("\"left\"\npos", "\"lef\"\npos"),
        &["`target` of the task names `lef`", "is `left`"],
    );
    refused(&csv, &task_text("entity = \"ids\"", ""), &["`entity` of the task names `ids`", "is `id`"]);
    refused(&csv, &task_text("exclude = [\"usag\"]", ""), &["`exclude` of the task names `usag`", "is `usage`"]);
    refused(&csv, &task_text("", "[columns.plam]"), &["`[columns.plam]` of the task", "is `plan`"]);
    refused(&csv, &task_text("", "[value]\nrevenue = \"money\""), &["`revenue` of the task names `money`"]);
}

#[test]
fn a_status_of_several_values_is_positive_against_the_rest_and_says_so() {
    let rows: String = (0..600).map(|row| format!("{},{}\n", row % 10, ["yes", "no", "maybe"][row % 3])).collect();
    let table = source(format!("x,left\n{rows}"));
    let training = read_training(&table, &Task::parse(&task_text("", "")).unwrap()).unwrap();
    assert_eq!(training.dataset.n_positives(), 200);
    assert_contains(&warning(&training, "several_labels"), &["has 3 values", "`maybe` (200 rows)", "`yes` means it happened"]);
}

#[test]
fn targets_that_are_no_labels_are_described() {
    let labels = |words: &[&str]| {
        let rows: String = (0..600).map(|row| format!("{},{}\n", row % 10, words[row % words.len()])).collect();
        format!("x,left\n{rows}")
    };
    let text = task_text("", "");
    refused(&labels(&["yes"]), &text, &["one value only: `yes` (600 rows)"]);
    refused(&labels(&[""]), &text, &["no value in any row"]);
    refused(&labels(&["gone", "here"]), &text, &["never has the positive value `yes`", "`gone` (300 rows), `here` (300 rows)"]);
    let many: Vec<String> = (0..25).map(|word| format!("word {word}")).chain(["yes".to_owned()]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    refused(&labels(&many), &text, &["too many values for a label", "and 20 others"]);
    let words: Vec<String> = (0..600).map(|word| format!("word {word}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    refused(&labels(&words), &text, &["never has the positive value", "and 594 others"]);
    refused(
        &labels(&[["yes"; 1].as_slice(), &["no"; 9]].concat()),
        &text,
        &["60 positive and 540 negative rows", "at least 100", "±0.0"],
    );
}

#[test]
fn labels_agree_by_meaning() {
    for (values, positive) in [
        (["1", "0"], "1"),
        (["1.0", "0.0"], "1"),
        (["1", "0"], "true"),
        (["True", "False"], "1"),
        (["2.0", "1"], "2"),
        (["no", "yes"], "no"),
        (["NA", "ok"], "NA"),
    ] {
        let rows: String = (0..600).map(|row| format!("{},{}\n", row % 10, values[usize::from(row % 3 > 0)])).collect();
        let task = Task::parse(&task_text("", "").replace("\"yes\"", &format!("\"{positive}\""))).unwrap();
        let training = read_training(&source(format!("x,left\n{rows}")), &task).unwrap();
        assert_eq!(training.dataset.n_positives(), 200, "{values:?} {positive}");
    }
}

#[test]
fn rows_without_a_label_are_left_out_and_counted() {
    let csv = table_with("x", letters).replace("c7,49,b,no", "c7,broken,b,").replace("c8,56,c,yes", "c8,56,c,NA");
    let training = train(&csv, "").unwrap();
    assert_eq!((training.dataset.n_rows(), training.dataset.entity[7].as_str()), (598, "c9"));
    assert_contains(&warning(&training, "unlabelled_rows"), &["2 rows have no value in target `left`"]);
}

#[test]
fn rows_are_named_by_number_without_an_entity_and_grouped_by_their_group() {
    let csv = table_with("house", |row| if row == 5 { String::new() } else { format!("h{}", row % 50) });
    let grouped =
        read_training(&source(csv), &Task::parse(&task_text("group = \"house\"\nexclude = [\"id\"]", "")).unwrap()).unwrap();
    assert_eq!(
        (grouped.dataset.n_groups(), grouped.dataset.entity[0].as_str(), grouped.dataset.entity[599].as_str()),
        (51, "1", "600")
    );
    assert_eq!((grouped.dataset.group[0], grouped.dataset.group[50], grouped.dataset.group[51]), (0, 0, 1));
}

#[test]
fn dates_count_to_the_observation_of_their_row() {
    let options = SimulationOptions { n_customers: 300, n_snapshots: 3, missing_share: 0.0, seed: 5 };
    let csv = simulate(&options).csv;
    let text = task_text("entity = \"customer_id\"\nobserved_at = \"snapshot\"", "").replace("\"left\"\npos", "\"churned\"\npos");
    let training = read_training(&source(csv.clone()), &Task::parse(&text).unwrap()).unwrap();
    let dataset = &training.dataset;
    let (age, tenure) =
        (dataset.schema.feature_idx("signup_date").unwrap(), dataset.schema.feature_idx("tenure_months").unwrap());
    for row in 0..dataset.n_rows() {
        assert_eq!(dataset.columns[age][row], 30.0 * dataset.columns[tenure][row]);
    }
    assert_eq!(dataset.n_groups(), 300);
    assert_eq!(training.report.observed.map(|(first, last)| format!("{first} {last}")).unwrap(), "2024-01-01 2024-03-01");
    let broken = csv.replacen(",2024-01-31,", ",31.01.2024,", 1).replacen(",2024-01-31,", ",,", 1);
    refused(
        &broken,
        &text,
        &["2 cells in 2 rows", "row 2: column `snapshot` should be an ISO date", "found `31.01.2024`", "row 5"],
    );
}

#[test]
fn without_observations_dates_count_to_the_latest_with_a_warning() {
    let csv = table_with("since", |row| Day::from_days(19_000.0 + (row * 7 % 100) as f64).to_string());
    let training = train(&csv, "").unwrap();
    assert_eq!(training.report.reference.unwrap().days(), 19_099.0);
    assert_eq!(training.dataset.columns[1][0], 99.0);
    assert_contains(&warning(&training, "no_observation_date"), &["2022-04-17", "`observed_at`"]);
}

#[test]
fn another_table_is_read_by_the_schema() {
    let training = train(&table_with("x", letters), "").unwrap();
    let schema = &training.dataset.schema;
    let other = table_with("x", |row| if row == 0 { "new".into() } else { letters(row) })
        .replace("id,", "id,extra,")
        .replace("\nc", "\nz,c");
    let other = other.replace("id,extra,", "extra,id,");
    let labelled = read_labelled(&source(other), schema, None).unwrap();
    assert_eq!(
        (labelled.dataset.columns[1][0], labelled.dataset.n_rows(), labelled.dataset.entity[3].as_str()),
        (3.0, 600, "c3")
    );
    assert_contains(&warning(&labelled, "extra_columns"), &["1 columns", "`extra`"]);
    let error = read_labelled(&source("usagee,left\n1,yes\n2,no\n"), schema, None).unwrap_err();
    assert_contains(&error.to_string(), &["the model names `usage`, `x`, `id`", "nearest to `usage` is `usagee`"]);
    let error = read_labelled(&source("id,usage,x\n1,1,a\n"), schema, None).unwrap_err();
    assert!(matches!(error, DataError::UnknownColumn { .. }), "{error}");
    let error = read_labelled(&source("id,usage,x,left\n1,1,a,yes\n"), schema, None).unwrap_err();
    assert!(matches!(error, DataError::OneClass { .. }), "{error}");
}

#[test]
fn reading_twice_gives_the_same_bits() {
    let csv = simulate_customers(2000, 9).csv;
    let text = task_text("entity = \"customer_id\"", "").replace("\"left\"\npos", "\"churned\"\npos");
    let task = Task::parse(&text).unwrap();
    let read = || read_training(&source(csv.clone()), &task).unwrap();
    let (first, second) = (read(), read());
    assert_eq!(first.report, second.report);
    assert_eq!(first.dataset.schema, second.dataset.schema);
    for (a, b) in first.dataset.columns.iter().zip(&second.dataset.columns) {
        assert!(a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits()));
    }
}
