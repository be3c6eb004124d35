use std::path::PathBuf;

use retain_data::{ColumnRole, TableSource, Task, Training, read_training};

fn train(file: &str, table: &str) -> Option<Training> {
    let Some(folder) = std::env::var_os("RETAIN_DATA_DIR").map(PathBuf::from) else {
        eprintln!("skipped: RETAIN_DATA_DIR does not name the folder with the public churn tables");
        return None;
    };
    let text = format!("[task]\nname = \"t\"\nkind = \"churn\"\ndefinition = \"left\"\nhorizon_days = 30\n[table]\n{table}");
    Some(read_training(&TableSource::open(&folder.join(file)).unwrap(), &Task::parse(&text).unwrap()).unwrap())
}

#[track_caller]
fn check(training: Option<Training>, n_rows: usize, n_positives: usize, dropped: &[&str]) {
    let Some(training) = training else { return };
    assert_eq!((training.dataset.n_rows(), training.dataset.n_positives()), (n_rows, n_positives));
    let found = training.report.columns.iter().filter(|column| column.role == ColumnRole::Dropped);
    assert_eq!(found.map(|column| column.name.as_str()).collect::<Vec<_>>(), dropped, "{:?}", training.report.warnings);
}

#[test]
fn telco_has_its_published_counts() {
    let training = train("telco_churn/telco_churn.csv", "entity = \"customerID\"\ntarget = \"Churn\"\npositive = \"Yes\"");
    if let Some(training) = &training {
        let charges = training.dataset.schema.feature_idx("TotalCharges").unwrap();
        assert_eq!(training.dataset.columns[charges].iter().filter(|value| value.is_nan()).count(), 11);
        assert_eq!(training.dataset.n_features(), 19);
    }
    check(training, 7043, 1869, &[]);
}

#[test]
fn bank_drops_its_row_number_and_names() {
    let training = train("bank_churn/bank_churn.csv", "entity = \"CustomerId\"\ntarget = \"Exited\"\npositive = \"1\"");
    check(training, 10_000, 2037, &["RowNumber"]);
}

#[test]
fn internet_service_has_its_published_counts() {
    check(
        train("internet_service_churn/internet_service_churn.csv", "entity = \"id\"\ntarget = \"churn\"\npositive = \"1\""),
        72_274,
        40_050,
        &[],
    );
}
