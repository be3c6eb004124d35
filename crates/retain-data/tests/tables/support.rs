use std::fmt::Write;

use retain_data::{DataError, TableSource, Task, Training, read_training};

/// A task on the columns `id` and `left`, followed by more sections.
pub(crate) fn task(more: &str) -> Task {
    Task::parse(&task_text("entity = \"id\"", more)).unwrap()
}

/// A task with these lines added to `[table]`, and more sections.
pub(crate) fn task_text(table: &str, more: &str) -> String {
    format!(
        "[task]\nname = \"t\"\nkind = \"churn\"\ndefinition = \"left\"\nhorizon_days = 30\n\
         [table]\ntarget = \"left\"\npositive = \"yes\"\n{table}\n{more}\n"
    )
}

/// 600 rows with the columns `id`, `usage`, one more, and `left`, half of them `yes`; `cell` writes the additional column.
pub(crate) fn table_with(name: &str, cell: impl Fn(usize) -> String) -> String {
    let mut csv = format!("id,usage,{name},left\n");
    for row in 0..600 {
        writeln!(csv, "c{row},{},{},{}", row * 7 % 101, cell(row), if row % 2 == 0 { "yes" } else { "no" }).unwrap();
    }
    csv
}

pub(crate) fn source(csv: impl Into<Vec<u8>>) -> TableSource {
    TableSource::from_bytes("test.csv", csv.into()).unwrap()
}

pub(crate) fn train(csv: &str, more: &str) -> Result<Training, DataError> {
    read_training(&source(csv), &task(more))
}

/// Every cell of the table as text, row after row.
pub(crate) fn cells(table: &TableSource) -> Result<Vec<Vec<String>>, DataError> {
    use arrow::array::AsArray;
    let all: Vec<usize> = (0..table.columns().len()).collect();
    let mut rows = Vec::new();
    for batch in table.batches(&all)? {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            rows.push(batch.columns().iter().map(|column| column.as_string::<i32>().value(row).to_owned()).collect());
        }
    }
    Ok(rows)
}

#[track_caller]
pub(crate) fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[track_caller]
pub(crate) fn warning(training: &Training, code: &str) -> String {
    let found = training.report.warnings.iter().find(|warning| warning.code == code);
    found.unwrap_or_else(|| panic!("no `{code}` among {:?}", training.report.warnings)).message.clone()
}
