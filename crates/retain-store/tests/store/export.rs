use std::fs::{self, File};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use retain_core::{Decision, OutcomeEvent};
use retain_store::StoreError;

use crate::common::{CLOSES_MS, DAY_MS, Place, START_MS, decision, id, nothing_decided, on_each, outcome, overriding};

fn read(path: &std::path::Path) -> Vec<arrow::array::RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

#[test]
fn an_export_holds_each_decision_once_with_its_reports() {
    on_each(|place| {
        let store = place.open();
        store.record_decisions(vec![decision(1), nothing_decided(2), decision(3)]).wait().unwrap();
        for (key, kind) in [("a", OutcomeEvent::Clicked), ("b", OutcomeEvent::Converted)] {
            store.record_outcome(outcome(1, key, kind), START_MS).wait().unwrap();
        }
        let worthless = retain_core::Outcome { value: None, ..outcome(3, "a", OutcomeEvent::Churned) };
        store.record_outcome(worthless, START_MS).wait().unwrap();
        store.record_override(overriding(3, "a", "call"), START_MS).wait().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions.parquet");
        assert_eq!(store.export(&path).unwrap(), 3);
        let [rows] = &read(&path)[..] else { panic!("three rows are one batch") };

        let text = |column: &str, row: usize| rows[column].as_string::<i32>().value(row).to_owned();
        assert_eq!((text("id", 0), text("id", 2)), (id(1).to_string(), id(3).to_string()));
        assert_eq!((text("context", 0), text("candidates", 1)), (decision(1).context, decision(2).candidates));
        assert_eq!(rows["decided_at"].as_primitive::<TimestampMillisecondType>().value(0), START_MS);
        assert_eq!(rows["window_closes_at"].as_primitive::<TimestampMillisecondType>().value(0), CLOSES_MS);
        assert_eq!(rows["propensity"].as_primitive::<Float64Type>().values(), &[0.1 + 0.2, 1.0, 0.1 + 0.2]);
        assert!(rows["channel"].is_null(1) && rows["holdout"].as_boolean().value(1));
        assert!(rows["overridden_by"].is_null(0));
        assert_eq!(text("overridden_by", 2), "call");

        let outcomes = rows["outcomes"].as_list::<i32>();
        assert_eq!(outcomes.offsets().iter().copied().collect::<Vec<_>>(), [0, 2, 2, 3]);
        let outcomes = outcomes.values().as_struct();
        let kinds: Vec<_> = outcomes["kind"].as_string::<i32>().iter().flatten().collect();
        assert_eq!(kinds, ["clicked", "converted", "churned"]);
        assert_eq!(outcomes["occurred_at"].as_primitive::<TimestampMillisecondType>().value(0), START_MS + DAY_MS);
        let values: Vec<_> = outcomes["value"].as_primitive::<Float64Type>().iter().collect();
        assert_eq!(values, [Some(-12.5), Some(-12.5), None]);
        assert_eq!(outcomes["value_minor_units"].as_primitive::<Int64Type>().value(0), -1_250);
        assert_eq!(rows["overrides"].as_list::<i32>().values().as_struct()["who"].as_string::<i32>().value(0), "Ana");
    });
}

#[test]
fn an_export_goes_over_pages() {
    on_each(|place| {
        let store = place.open();
        let long = |number| Decision { context: format!(r#"{{"a":"{}"}}"#, "x".repeat(10_000)), ..decision(number) };
        store.record_decisions((0..2_500).map(long).collect()).wait().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions.parquet");
        assert_eq!(store.export(&path).unwrap(), 2_500);
        let ids: Vec<_> = read(&path)
            .iter()
            .flat_map(|rows| rows["id"].as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let expected: Vec<_> = (0..2_500).map(|number| id(number).to_string()).collect();
        assert_eq!(ids, expected);
    });
}

#[test]
fn an_empty_log_is_a_file_with_columns() {
    let (place, folder) = (Place::sqlite(), tempfile::tempdir().unwrap());
    let path = folder.path().join("decisions.parquet");
    assert_eq!(place.open().export(&path).unwrap(), 0);
    assert_eq!(read(&path).iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 0);
    let schema = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap().schema().clone();
    assert_eq!(schema.fields().len(), 18);
}

#[test]
fn an_export_that_fails_leaves_nothing_behind() {
    let (place, folder) = (Place::sqlite(), tempfile::tempdir().unwrap());
    let store = place.open();
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("file"), "a folder that is not empty cannot be replaced").unwrap();
    for path in [taken, folder.path().join("missing/decisions.parquet")] {
        let refused = store.export(&path).unwrap_err();
        assert!(matches!(refused, StoreError::Export { .. }), "{refused}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
