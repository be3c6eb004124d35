use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{Field, Int32Type, Schema, i256};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use retain_core::{ColumnKind, FeatureSchema, FeatureSpec};
use retain_data::{RowReader, TableSource};

use crate::support::assert_contains;

pub(crate) fn written(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let fields: Vec<Field> = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// Encodes a column of three rows, the last of them null, as a feature of this kind.
#[track_caller]
fn check(array: ArrayRef, kind: ColumnKind, expected: [f64; 2]) {
    let mut spec = FeatureSpec::new("x", kind);
    if kind == ColumnKind::Category {
        spec.set_categories(vec!["7".into(), "a".into(), "b".into()]);
    }
    let schema = FeatureSchema::new(vec![spec], None, "y".into(), "1".into(), None).unwrap();
    let kind_of_array = array.data_type().clone();
    let table = TableSource::from_bytes("t", written(vec![("x", array)])).unwrap();
    let mut reader = RowReader::open(&table, &schema, Some(retain_core::Day::from_days(100.0))).unwrap();
    let batch = reader.next().unwrap().unwrap();
    assert!(batch.rejected.is_empty(), "{kind_of_array}: {:?}", batch.rejected);
    assert_eq!(batch.rows.values()[..2], expected, "{kind_of_array}");
    assert!(batch.rows.values()[2].is_nan(), "{kind_of_array}");
}

#[test]
fn numbers_of_every_width_are_numbers() {
    let number = ColumnKind::Number;
    check(Arc::new(Int8Array::from(vec![Some(-1), Some(2), None])), number, [-1.0, 2.0]);
    check(Arc::new(Int16Array::from(vec![Some(-1), Some(2), None])), number, [-1.0, 2.0]);
    check(Arc::new(Int32Array::from(vec![Some(-1), Some(2), None])), number, [-1.0, 2.0]);
    check(Arc::new(Int64Array::from(vec![Some(-1), Some(2), None])), number, [-1.0, 2.0]);
    check(Arc::new(UInt8Array::from(vec![Some(1), Some(2), None])), number, [1.0, 2.0]);
    check(Arc::new(UInt16Array::from(vec![Some(1), Some(2), None])), number, [1.0, 2.0]);
    check(Arc::new(UInt32Array::from(vec![Some(1), Some(u32::MAX), None])), number, [1.0, f64::from(u32::MAX)]);
    check(Arc::new(UInt64Array::from(vec![Some(1), Some(u64::MAX), None])), number, [1.0, u64::MAX as f64]);
    check(Arc::new(Float32Array::from(vec![Some(0.5), Some(2.0), None])), number, [0.5, 2.0]);
    check(Arc::new(Float64Array::from(vec![Some(0.5), Some(2.0), Some(f64::NAN)])), number, [0.5, 2.0]);
    let decimal = Decimal128Array::from(vec![Some(150), Some(-25), None]).with_precision_and_scale(10, 2).unwrap();
    check(Arc::new(decimal), number, [1.5, -0.25]);
    let wide =
        Decimal256Array::from(vec![Some(i256::from(150)), Some(i256::from(-25)), None]).with_precision_and_scale(60, 2).unwrap();
    check(Arc::new(wide), number, [1.5, -0.25]);
}

#[test]
fn texts_booleans_and_numbers_can_be_categories() {
    let category = ColumnKind::Category;
    let texts = [Some("a"), Some("b"), None];
    check(Arc::new(StringArray::from_iter(texts)), category, [1.0, 2.0]);
    check(Arc::new(LargeStringArray::from_iter(texts)), category, [1.0, 2.0]);
    check(Arc::new(StringViewArray::from_iter(texts)), category, [1.0, 2.0]);
    check(Arc::new(BinaryArray::from_iter(texts)), category, [1.0, 2.0]);
    check(Arc::new(texts.into_iter().collect::<DictionaryArray<Int32Type>>()), category, [1.0, 2.0]);
    check(Arc::new(Int64Array::from(vec![Some(7), Some(8), None])), category, [0.0, 3.0]);
    check(Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])), ColumnKind::Boolean, [1.0, 0.0]);
}

#[test]
fn dates_and_instants_of_every_unit_are_days() {
    let date = ColumnKind::Date;
    let days = [100.0, 98.5];
    check(Arc::new(Date32Array::from(vec![Some(0), Some(1), None])), date, [100.0, 99.0]);
    check(Arc::new(Date64Array::from(vec![Some(0), Some(86_400_000), None])), date, [100.0, 99.0]);
    check(Arc::new(TimestampSecondArray::from(vec![Some(0), Some(129_600), None])), date, days);
    check(Arc::new(TimestampMillisecondArray::from(vec![Some(0), Some(129_600_000), None])), date, days);
    let zoned = TimestampMicrosecondArray::from(vec![Some(0), Some(129_600_000_000), None]).with_timezone("+02:00");
    check(Arc::new(zoned), date, days);
    check(Arc::new(TimestampNanosecondArray::from(vec![Some(0), Some(129_600_000_000_000), None])), date, days);
}

#[test]
fn identifiers_keep_every_digit() {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![9_007_199_254_740_993, i64::MIN]));
    let big: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, 1]));
    for (array, expected) in [(ids, ["9007199254740993", "-9223372036854775808"]), (big, ["18446744073709551615", "1"])] {
        let x: ArrayRef = Arc::new(Int8Array::from(vec![1, 2]));
        let table = TableSource::from_bytes("t", written(vec![("id", array), ("x", x)])).unwrap();
        let spec = FeatureSpec::new("x", ColumnKind::Number);
        let schema = FeatureSchema::new(vec![spec], Some("id".into()), "y".into(), "1".into(), None).unwrap();
        let batch = RowReader::open(&table, &schema, None).unwrap().next().unwrap().unwrap();
        assert_eq!(batch.entity.iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn types_without_a_place_in_a_table_are_refused_by_column_and_only_when_read() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]);
    let span: ArrayRef = Arc::new(Time64MicrosecondArray::from(vec![1]));
    let bytes = written(vec![("x", Arc::new(Int8Array::from(vec![1]))), ("tags", Arc::new(list)), ("hour", span)]);
    let table = TableSource::from_bytes("t", bytes).unwrap();
    assert_eq!(table.batches(&[0]).unwrap().next().unwrap().unwrap().num_columns(), 1);
    for (idx, name) in [(1, "`tags`"), (2, "`hour`")] {
        let error = table.batches(&[idx]).map(|_| ()).unwrap_err().to_string();
        assert_contains(&error, &[name, "exclude"]);
    }
}

#[test]
fn an_instant_too_far_away_is_an_error_and_not_another_day() {
    let table = TableSource::from_bytes("t", written(vec![("x", Arc::new(TimestampSecondArray::from(vec![i64::MAX])))])).unwrap();
    let error = table.batches(&[0]).unwrap().next().unwrap().unwrap_err().to_string();
    assert_contains(&error, &["column `x`"]);
}

#[test]
fn files_are_told_by_content_and_damage_is_told() {
    let bytes = written(vec![("x", Arc::new(Int8Array::from(vec![1, 2])))]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(TableSource::open(&path).unwrap().columns(), ["x"]);
    let cut = TableSource::from_bytes("t", bytes[..bytes.len() - 7].to_vec()).unwrap_err().to_string();
    assert_contains(&cut, &["the Parquet file cannot be read"]);
    let empty = TableSource::from_bytes("t", written(vec![("x", Arc::new(Int8Array::from(Vec::<i8>::new())))])).unwrap_err();
    assert_contains(&empty.to_string(), &["a header with 1 columns and no rows"]);
}
