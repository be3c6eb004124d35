//! Batches as Arrow: columns of a stream as values of features, and answers as one record batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::ipc::writer::StreamWriter;
use retain_core::{Day, FeatureValue};
use retain_proto::v1;

use super::columns::ScoredBatch;
use crate::arrow_stream::{Decoded, FIELD, column_path};
use crate::config::Config;
use crate::status::{CallError, Violation};

/// The column that names the customers, where the request does not say another one.
const DEFAULT_ID_COLUMN: &str = "customer_id";
const SECONDS_PER_DAY: i64 = 86_400;

/// One column of a stream: what each record batch has of it.
pub(super) struct ArrowColumn {
    /// The first row of each array, rising; at least one array.
    parts: Vec<(usize, ArrayRef)>,
}

/// A request's stream, taken apart.
pub(crate) struct ArrowRequest {
    pub(crate) customer_ids: Vec<String>,
    pub(super) columns: Vec<(String, ArrowColumn)>,
}

impl ArrowRequest {
    /// Takes the column of ids out of a stream; the others are features.
    ///
    /// # Errors
    /// [`CallError::Invalid`] when the request names a column of ids that is not there, or whose ids are no texts or whole numbers.
    pub(crate) fn of(decoded: &Decoded, id_column: &str, config: &Config) -> Result<Self, CallError> {
        let wanted = if id_column.is_empty() { DEFAULT_ID_COLUMN } else { id_column };
        let position = decoded.names.iter().position(|name| name == wanted);
        if position.is_none() && !id_column.is_empty() {
            return Err(Violation::new("arrow_id_column", "NO_SUCH_COLUMN", "names no column of arrow_ipc").into());
        }
        let column = |position: usize| {
            let mut first = 0;
            let part = |batch: &RecordBatch| {
                let part = (first, batch.column(position).clone());
                first += batch.num_rows();
                part
            };
            // Rows are looked for from the end, where empty batches have none.
            ArrowColumn { parts: decoded.batches.iter().filter(|batch| batch.num_rows() > 0).map(part).collect() }
        };
        let customer_ids = match position {
            Some(position) => ids(&decoded.names[position], &column(position), decoded.n_rows, config)?,
            None => vec![String::new(); decoded.n_rows],
        };
        let names = decoded.names.iter().enumerate().filter(|(idx, _)| Some(*idx) != position);
        Ok(Self { customer_ids, columns: names.map(|(idx, name)| (name.clone(), column(idx))).collect() })
    }
}

/// The ids of all rows; blank where there is none.
fn ids(name: &str, column: &ArrowColumn, n_rows: usize, config: &Config) -> Result<Vec<String>, CallError> {
    let (mut ids, mut n_bytes) = (Vec::with_capacity(n_rows), 0_usize);
    for row in 0..n_rows {
        let (array, row) = column.part(row);
        let id = match value(array, row) {
            FeatureValue::Missing => String::new(),
            FeatureValue::Text(text) => {
                // A dictionary says a long text in few bytes many times.
                n_bytes = n_bytes.saturating_add(text.len());
                if n_bytes > config.max_batch_bytes {
                    return Err(
                        Violation::new(column_path(name), "TOO_LARGE", "has more bytes of ids than a batch may have").into()
                    );
                }
                text.to_owned()
            }
            _ => whole_number(array, row).ok_or_else(|| {
                let description = format!("should name customers by texts or whole numbers, found {}", array.data_type());
                CallError::from(Violation::new(column_path(name), "ARROW_TYPE", &description))
            })?,
        };
        ids.push(id);
    }
    Ok(ids)
}

/// A whole number with every digit.
fn whole_number(array: &ArrayRef, row: usize) -> Option<String> {
    fn text<T: ArrowPrimitiveType<Native: ToString>>(array: &ArrayRef, row: usize) -> String {
        array.as_primitive::<T>().value(row).to_string()
    }
    Some(match array.data_type() {
        DataType::Int8 => text::<Int8Type>(array, row),
        DataType::Int16 => text::<Int16Type>(array, row),
        DataType::Int32 => text::<Int32Type>(array, row),
        DataType::Int64 => text::<Int64Type>(array, row),
        DataType::UInt8 => text::<UInt8Type>(array, row),
        DataType::UInt16 => text::<UInt16Type>(array, row),
        DataType::UInt32 => text::<UInt32Type>(array, row),
        DataType::UInt64 => text::<UInt64Type>(array, row),
        _ => return None,
    })
}

impl ArrowColumn {
    /// Memory that the values take, about.
    pub(super) fn bytes(&self) -> usize {
        // Of the slice: all columns share the memory of the stream that they were read from.
        self.parts.iter().map(|(_, array)| array.to_data().get_slice_memory_size().unwrap_or(0)).sum()
    }

    /// The value of a row.
    pub(super) fn value(&self, row: usize) -> FeatureValue<'_> {
        let (array, row) = self.part(row);
        value(array, row)
    }

    fn part(&self, row: usize) -> (&ArrayRef, usize) {
        let part = self.parts.partition_point(|(first, _)| *first <= row) - 1;
        let (first, array) = &self.parts[part];
        (array, row - first)
    }
}

/// A cell as the value that a call would have sent: all numbers as doubles, all dates as points in time.
fn value(array: &ArrayRef, row: usize) -> FeatureValue<'_> {
    if array.is_null(row) {
        return FeatureValue::Missing;
    }
    match array.data_type() {
        DataType::Boolean => FeatureValue::Boolean(array.as_boolean().value(row)),
        DataType::Int8 => number::<Int8Type>(array, row),
        DataType::Int16 => number::<Int16Type>(array, row),
        DataType::Int32 => number::<Int32Type>(array, row),
        DataType::Int64 => FeatureValue::Number(array.as_primitive::<Int64Type>().value(row) as f64),
        DataType::UInt8 => number::<UInt8Type>(array, row),
        DataType::UInt16 => number::<UInt16Type>(array, row),
        DataType::UInt32 => number::<UInt32Type>(array, row),
        DataType::UInt64 => FeatureValue::Number(array.as_primitive::<UInt64Type>().value(row) as f64),
        DataType::Float16 => number::<Float16Type>(array, row),
        DataType::Float32 => number::<Float32Type>(array, row),
        DataType::Float64 => number::<Float64Type>(array, row),
        DataType::Utf8 => FeatureValue::Text(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => FeatureValue::Text(array.as_string::<i64>().value(row)),
        DataType::Utf8View => FeatureValue::Text(array.as_string_view().value(row)),
        DataType::Date32 => day(i64::from(array.as_primitive::<Date32Type>().value(row)), 1, SECONDS_PER_DAY),
        DataType::Date64 => day(array.as_primitive::<Date64Type>().value(row), 1_000, 1),
        DataType::Timestamp(unit, _) => timestamp(array, *unit, row),
        DataType::Dictionary(key, _) => entry(array, key, row),
        // The columns of a stream that was checked are of these types; null columns have no other values.
        _ => FeatureValue::Missing,
    }
}

fn number<T: ArrowPrimitiveType<Native: Into<f64>>>(array: &ArrayRef, row: usize) -> FeatureValue<'_> {
    FeatureValue::Number(array.as_primitive::<T>().value(row).into())
}

fn timestamp(array: &ArrayRef, unit: TimeUnit, row: usize) -> FeatureValue<'_> {
    match unit {
        TimeUnit::Second => day(array.as_primitive::<TimestampSecondType>().value(row), 1, 1),
        TimeUnit::Millisecond => day(array.as_primitive::<TimestampMillisecondType>().value(row), 1_000, 1),
        TimeUnit::Microsecond => day(array.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000, 1),
        TimeUnit::Nanosecond => day(array.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000, 1),
    }
}

/// A point in time of so many parts of a second, or so many seconds each; the same bits as its text.
fn day(count: i64, per_second: i64, seconds_each: i64) -> FeatureValue<'static> {
    let seconds = count.div_euclid(per_second).saturating_mul(seconds_each);
    let nanos = count.rem_euclid(per_second) * (1_000_000_000 / per_second);
    FeatureValue::Day(Day::from_instant(seconds, nanos as u32))
}

fn entry<'a>(array: &'a ArrayRef, key: &DataType, row: usize) -> FeatureValue<'a> {
    let position = match key {
        DataType::Int8 => array.as_dictionary::<Int8Type>().key(row),
        DataType::Int16 => array.as_dictionary::<Int16Type>().key(row),
        DataType::Int32 => array.as_dictionary::<Int32Type>().key(row),
        DataType::Int64 => array.as_dictionary::<Int64Type>().key(row),
        DataType::UInt8 => array.as_dictionary::<UInt8Type>().key(row),
        DataType::UInt16 => array.as_dictionary::<UInt16Type>().key(row),
        DataType::UInt32 => array.as_dictionary::<UInt32Type>().key(row),
        _ => array.as_dictionary::<UInt64Type>().key(row),
    };
    let values = array.as_any_dictionary().values();
    // A key beyond the dictionary would have been refused in decoding.
    position.filter(|&position| position < values.len()).map_or(FeatureValue::Missing, |position| value(values, position))
}

/// The answers for a stream, as a stream of one record batch; of `predictions` the model and the warnings are left.
pub(crate) fn arrow_response(
    customer_ids: &[String],
    ages: &[f64],
    scored: ScoredBatch,
) -> Result<v1::PredictBatchResponse, CallError> {
    let ScoredBatch { errors, mut predictions, .. } = scored;
    let texts = |text: &dyn Fn(&Violation) -> String| -> ArrayRef {
        Arc::new(errors.iter().map(|error| error.as_ref().map(text)).collect::<StringArray>())
    };
    let ids: StringArray = customer_ids.iter().map(|id| (!id.is_empty()).then_some(id)).collect();
    let statuses: StringArray = errors.iter().map(|error| Some(if error.is_some() { "INVALID" } else { "OK" })).collect();
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("customer_id".to_owned(), Arc::new(ids)),
        ("status".to_owned(), Arc::new(statuses)),
        ("error_field".to_owned(), texts(&|error| error.field.clone())),
        ("error_reason".to_owned(), texts(&|error| error.reason.to_owned())),
        ("error_description".to_owned(), texts(&|error| error.description.clone())),
    ];
    if !ages.is_empty() {
        columns.push(("stored_age_seconds".to_owned(), numbers(ages)));
    }
    let names = prefixes(&predictions);
    for (name, prediction) in names.iter().zip(&mut predictions) {
        let bands: StringArray = prediction.bands.iter().map(|&band| band_name(band)).collect();
        columns.push((format!("{name}.probability"), numbers(&std::mem::take(&mut prediction.probabilities))));
        columns.push((format!("{name}.band"), Arc::new(bands)));
        columns.push((format!("{name}.margin"), numbers(&std::mem::take(&mut prediction.margins))));
        if !prediction.expected_values.is_empty() {
            columns.push((format!("{name}.expected_value"), numbers(&std::mem::take(&mut prediction.expected_values))));
        }
        prediction.bands.clear();
    }
    let arrow_ipc = stream_of(columns).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as Arrow");
        CallError::Internal
    })?;
    Ok(v1::PredictBatchResponse { predictions, arrow_ipc, ..v1::PredictBatchResponse::default() })
}

/// What the columns of each model begin with. One version that answers to two addresses has a `#2` behind the second.
fn prefixes(predictions: &[v1::BatchPrediction]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(predictions.len());
    for prediction in predictions {
        let first = prefix(prediction, predictions);
        let mut name = first.clone();
        let mut number = 1;
        while names.contains(&name) {
            number += 1;
            name = format!("{first}#{number}");
        }
        names.push(name);
    }
    names
}

/// What the columns of a model begin with: its name, or its name and version where several versions of it answer.
fn prefix(prediction: &v1::BatchPrediction, all: &[v1::BatchPrediction]) -> String {
    let Some(model) = &prediction.model else { return String::new() };
    let n_versions = all.iter().filter_map(|other| other.model.as_ref()).filter(|other| other.name == model.name).count();
    if n_versions > 1 { format!("{}/{}", model.name, model.version) } else { model.name.clone() }
}

fn band_name(band: i32) -> Option<&'static str> {
    match v1::Band::try_from(band) {
        Ok(v1::Band::Low) => Some("LOW"),
        Ok(v1::Band::Medium) => Some("MEDIUM"),
        Ok(v1::Band::High) => Some("HIGH"),
        Ok(v1::Band::Unspecified) | Err(_) => None,
    }
}

/// Numbers, null where there is none.
fn numbers(values: &[f64]) -> ArrayRef {
    Arc::new(values.iter().map(|&value| (!value.is_nan()).then_some(value)).collect::<Float64Array>())
}

fn stream_of(columns: Vec<(String, ArrayRef)>) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(&batch)?;
    writer.into_inner()
}

/// Refuses what stands beside a stream and says the same.
///
/// # Errors
/// [`CallError::Invalid`] names the field.
pub(crate) fn check_alone(request: &v1::PredictBatchRequest) -> Result<(), CallError> {
    for (field, stands) in [("columns", !request.columns.is_empty()), ("customer_ids", !request.customer_ids.is_empty())] {
        if stands {
            return Err(Violation::new(field, "EXCLUSIVE", &format!("stands beside {FIELD}: one of them should")).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_every_prediction_have_names_of_their_own() {
        let prediction = |name: &str, version| v1::BatchPrediction {
            model: Some(v1::ModelVersion { name: name.to_owned(), version, ..v1::ModelVersion::default() }),
            ..v1::BatchPrediction::default()
        };
        assert_eq!(prefixes(&[prediction("telco", 1), prediction("gym", 1)]), ["telco", "gym"]);
        let twice = [prediction("telco", 1), prediction("telco", 2), prediction("telco", 1)];
        assert_eq!(prefixes(&twice), ["telco/1", "telco/2", "telco/1#2"]);
    }
}
