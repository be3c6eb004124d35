use retain_data::{ColumnRole, DataError, Task, Training, read_labelled, read_training};

use crate::support::{assert_contains, source, warning};

fn task(more: &str) -> Task {
    let head = "[task]\nname = \"t\"\nkind = \"uplift\"\ndefinition = \"d\"\nhorizon_days = 30\n[table]\ntarget = \"visit\"\ntreatment = \"sent\"\n";
    Task::parse(&format!("{head}{more}")).unwrap()
}

/// 600 rows in turn of `none`, `mail` and `call`; every fourth comes.
fn table() -> String {
    let row = |row: usize| {
        format!("{},{},{},0.{}\n", row % 17, ["none", "mail", "call"][row % 3], u8::from(row.is_multiple_of(4)), 2 + row % 3)
    };
    format!("x,sent,visit,p\n{}", (0..600).map(row).collect::<String>())
}

fn read(csv: &str, more: &str) -> Result<Training, DataError> {
    read_training(&source(csv), &task(more))
}

#[track_caller]
fn refused(csv: &str, more: &str, expected: &[&str]) {
    assert_contains(&read(csv, more).unwrap_err().to_string(), expected);
}

const USUAL: &str = "positive = 1\ncontrol = \"none\"";

#[test]
fn every_other_value_is_a_treatment_and_none_is_a_feature() {
    let training = read(&table(), &format!("{USUAL}\nexclude = [\"p\"]")).unwrap();
    let spec = training.dataset.schema.treatment.clone().unwrap();
    assert_eq!((spec.treatments, training.dataset.n_features()), (vec!["call".to_owned(), "mail".to_owned()], 1));
    assert_eq!(training.dataset.treatment.as_ref().unwrap()[..4], [0, 2, 1, 0]);
    let sent = training.report.columns.iter().find(|column| column.name == "sent").unwrap();
    assert_eq!(sent.role, ColumnRole::Treatment);
}

#[test]
fn rows_of_other_arms_and_of_none_are_left_out_and_counted() {
    let csv = table().replacen("0,none,1", "0,,1", 1);
    let training = read(&csv, &format!("{USUAL}\ntreatments = [\"mail\"]\npropensity = \"p\"")).unwrap();
    assert_eq!((training.dataset.n_rows(), training.dataset.propensity.as_ref().unwrap()[0]), (399, 0.3));
    assert_contains(&warning(&training, "other_treatments"), &["200 rows of `sent`"]);
    assert_contains(&warning(&training, "untreated_rows"), &["1 rows have no value"]);
    // A labelled table is read in the same way.
    let again = read_labelled(&source(csv.as_str()), &training.dataset.schema, None).unwrap();
    assert_eq!(again.dataset.treatment, training.dataset.treatment);
}

#[test]
fn tables_without_something_to_compare_are_refused_by_name() {
    let table = table();
    refused(&table, &USUAL.replace("none", "nobody"), &["`sent` never has the value `nobody`", "`call` (200 rows)"]);
    refused(&table, &format!("{USUAL}\ntreatments = [\"letter\"]"), &["never has the value `letter`"]);
    refused(&table, &USUAL.replace("none", "nonne"), &["never has the value `nonne`", "the nearest to `nonne` is `none`"]);
    let error = read(&table, &USUAL.replace("none", "0")).unwrap_err().to_string();
    assert!(!error.contains("nearest"), "{error}");
    refused(
        &table.replace("sent", "sennt"),
        USUAL,
        &["`treatment` of the task names `sent`", "the nearest to `sent` is `sennt`"],
    );
    refused(&table.replace("mail", "none").replace("call", "none"), USUAL, &["has the control `none` only"]);
    let few: String = table
        .lines()
        .enumerate()
        .filter(|(n, line)| !line.contains("mail") || *n < 60)
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    refused(&few, USUAL, &["only 20 rows have `mail`", "at least 50"]);
    let uniform: String = table
        .lines()
        .map(|line| if line.contains("mail") { line.replace(",1,0", ",0,0") + "\n" } else { format!("{line}\n") })
        .collect();
    refused(&uniform, USUAL, &["200 rows with `mail`", "0 have the outcome `visit`"]);
    refused(&table.replace(",1,0", ",0,0"), USUAL, &["target `visit` never has the positive value `1`"]);
    let many =
        table.lines().enumerate().map(|(n, line)| line.replace("mail", &format!("m{}", n % 60)) + "\n").collect::<String>();
    refused(&many, USUAL, &["too many values", "at most 20 treatments"]);
    refused(&table.replace("0.2", "1.2"), &format!("{USUAL}\npropensity = \"p\""), &["probability above 0", "found `1.2`"]);
}
