use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, StringArray};
use proptest::prelude::*;
use retain_core::{ColumnKind, Day, FeatureSchema, FeatureSpec, FeatureValue};
use retain_data::{RowReader, TableSource, Task, read_labelled, read_training, simulate_customers};

use crate::parquet_table::written;
use crate::support::{cells, source, task_text};

fn simulated_task() -> Task {
    Task::parse(&task_text("entity = \"customer_id\"", "").replace("\"left\"\npos", "\"churned\"\npos")).unwrap()
}

fn schema() -> FeatureSchema {
    let mut word = FeatureSpec::new("word", ColumnKind::Category);
    word.set_categories(vec!["NA".into(), "x".into()]);
    let mut number = FeatureSpec::new("number", ColumnKind::Number);
    number.missing = vec!["-1".to_owned()].into();
    (number.min, number.max) = (Some(0.0), Some(5.0));
    let features = vec![word, number, FeatureSpec::new("date", ColumnKind::Date), FeatureSpec::new("flag", ColumnKind::Boolean)];
    FeatureSchema::new(features, None, "y".into(), "1".into(), None).unwrap()
}

/// Reads bytes in every way there is; only a panic that comes through fails.
fn read_all(bytes: Vec<u8>) {
    let Ok(table) = TableSource::from_bytes("t", bytes) else { return };
    let reference = Some(Day::from_days(20_000.0));
    let _ = read_training(&table, &simulated_task());
    let _ = read_labelled(&table, &schema(), reference);
    if let Ok(reader) = RowReader::open(&table, &schema(), reference) {
        reader.for_each(|_| ());
    }
    let all: Vec<usize> = (0..table.columns().len()).collect();
    if let Ok(batches) = table.batches(&all) {
        batches.for_each(|_| ());
    }
}

/// Overwrites, removes and inserts bytes.
fn mutate(mut bytes: Vec<u8>, edits: &[(usize, u8, u8)]) -> Vec<u8> {
    for &(place, what, byte) in edits {
        let at = place % bytes.len().max(1);
        match what % 4 {
            0 => bytes.insert(at.min(bytes.len()), byte),
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            2 => bytes.truncate(at.max(8)),
            _ if !bytes.is_empty() => bytes[at] = byte,
            _ => {}
        }
    }
    bytes
}

fn cell_text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            " ",
            "NA",
            "-1",
            "-1.0",
            "3",
            "7.5",
            "1e999",
            "x",
            " x ",
            "yes",
            "0",
            "2026-01-31",
            "2026-13-01"
        ])
        .prop_map(str::to_owned),
        "[ -~äß\n\"]{0,6}",
    ]
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read_all(bytes);
    }

    #[test]
    fn mutated_tables_never_panic(edits in prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 0..8)) {
        read_all(mutate(simulate_customers(400, 1).csv.into_bytes(), &edits));
    }

    #[test]
    fn task_files_never_panic(text in "\\PC{0,80}", edits in prop::collection::vec((any::<usize>(), any::<u8>(), 32_u8..127), 0..6)) {
        let _ = Task::parse(&text);
        let _ = Task::parse(&String::from_utf8_lossy(&mutate(task_text("exclude = [\"a\"]", "[columns.a]").into_bytes(), &edits)));
    }

    #[test]
    fn what_is_written_is_read(rows in prop::collection::vec([cell_text(), cell_text()], 1..40)) {
        let quoted = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
        let body: String = rows.iter().map(|row| row.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n").collect();
        prop_assert_eq!(cells(&source(format!("a,b\n{body}"))).unwrap(), rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>());
    }

    #[test]
    fn columns_encode_as_single_values_do(rows in prop::collection::vec([cell_text(), cell_text(), cell_text(), cell_text()], 1..30)) {
        let quoted = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
        let body: String = rows.iter().map(|row| row.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n").collect();
        let (schema, reference) = (schema(), Some(Day::from_days(20_000.0)));
        let table = source(format!("word,number,date,flag\n{body}"));
        let batch = RowReader::open(&table, &schema, reference).unwrap().next().unwrap().unwrap();
        for (row, texts) in rows.iter().enumerate() {
            let mut expected = vec![0.0; 4];
            let values = texts.iter().map(|text| FeatureValue::Text(text));
            let ok = schema.encode_row(values, reference, &mut expected, |_, _| {}).is_ok();
            prop_assert_eq!(batch.row_ok[row], ok, "{:?}", texts);
            let same = batch.rows.row(row).iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
            prop_assert!(!ok || same, "{:?}: {:?} {:?}", texts, batch.rows.row(row), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn mutated_parquet_never_panics(edits in prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..4), tail in any::<bool>()) {
        let words: ArrayRef = Arc::new(StringArray::from_iter_values((0..50).map(|row| format!("w{}", row % 7))));
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..50));
        let floats = (0..50).map(|row| (row % 5 > 0).then_some(f64::from(row)));
        let floats: ArrayRef = Arc::new(floats.collect::<Float64Array>());
        let bytes = written(vec![("word", words), ("number", numbers), ("date", floats)]);
        // Half of the cases damage the footer, where the lengths are.
        let (start, length) = if tail { (bytes.len() * 2 / 3, bytes.len() / 3) } else { (4, bytes.len() - 4) };
        let mut damaged = bytes.clone();
        for (place, _, byte) in edits {
            damaged[start + place % length] = byte;
        }
        read_all(damaged);
    }
}

#[test]
fn a_simulated_table_comes_back_cell_by_cell() {
    let csv = simulate_customers(1500, 4).csv;
    let dataset = read_training(&source(csv.clone()), &simulated_task()).unwrap().dataset;
    let names: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    for (row, line) in csv.lines().skip(1).enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(dataset.entity[row], fields[0]);
        assert_eq!(dataset.target[row] == 1.0, *fields.last().unwrap() == "yes");
        for (spec, column) in dataset.schema.features.iter().zip(&dataset.columns) {
            let text = fields[names.iter().position(|name| *name == spec.name).unwrap()];
            let shown = spec.display(column[row]);
            let same = shown == text || (text.is_empty() && shown == "missing") || shown.parse::<f64>().ok() == text.parse().ok();
            assert!(same, "row {row}, {}: {text} became {shown}", spec.name);
        }
    }
}
