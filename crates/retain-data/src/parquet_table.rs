//! Parquet into batches of the five column types that the rest of the crate reads.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use crate::error::DataError;
use crate::table::{BATCH_ROWS, Content, check_columns};

const MAX_BATCH_CELLS: usize = 1 << 21;

/// The footer of a Parquet file, read once.
#[derive(Debug, Clone)]
pub(crate) struct ParquetLayout {
    metadata: ArrowReaderMetadata,
}

/// Batches of a Parquet file.
pub(crate) struct ParquetBatches {
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
}

impl ParquetLayout {
    pub(crate) fn read(name: &str, content: &Content) -> Result<Self, DataError> {
        let options = ArrowReaderOptions::new();
        let metadata = match content {
            Content::File(path) => {
                let file = File::open(path).map_err(|error| DataError::io(name, error))?;
                unpanicked(|| ArrowReaderMetadata::load(&file, options))
            }
            Content::Memory(bytes) => unpanicked(|| ArrowReaderMetadata::load(bytes, options)),
        };
        let layout = Self { metadata: metadata? };
        let columns = layout.column_names();
        check_columns(&columns)?;
        match layout.metadata.metadata().file_metadata().num_rows() {
            _ if columns.is_empty() => Err(DataError::Empty),
            n_rows if n_rows <= 0 => Err(DataError::NoRows { n_columns: columns.len() }),
            _ => Ok(layout),
        }
    }

    pub(crate) fn column_names(&self) -> Vec<String> {
        self.metadata.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    pub(crate) fn open(&self, name: &str, content: &Content, column_idxs: &[usize]) -> Result<ParquetBatches, DataError> {
        let fields = self.metadata.schema().fields();
        let chosen = column_idxs.iter().map(|&idx| canonical_field(&fields[idx])).collect::<Result<Vec<_>, _>>()?;
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), column_idxs.iter().copied());
        let batch_rows = BATCH_ROWS.min(MAX_BATCH_CELLS / fields.len().max(1)).max(1);
        let metadata = self.metadata.clone();
        let reader = match content {
            Content::File(path) => {
                let file = File::open(path).map_err(|error| DataError::io(name, error))?;
                let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
                unpanicked(|| builder.with_projection(mask).with_batch_size(batch_rows).build())
            }
            Content::Memory(bytes) => {
                let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), metadata);
                unpanicked(|| builder.with_projection(mask).with_batch_size(batch_rows).build())
            }
        };
        Ok(ParquetBatches { reader: reader?, schema: Arc::new(Schema::new(chosen)) })
    }
}

impl ParquetBatches {
    pub(crate) fn next_batch(&mut self) -> Result<Option<RecordBatch>, DataError> {
        let Some(batch) = unpanicked(|| self.reader.next().transpose())? else { return Ok(None) };
        let pairs = batch.columns().iter().zip(self.schema.fields());
        let columns = pairs.map(|(array, field)| canonical_array(array, field)).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        batch.map(Some).map_err(|error| damaged(&error))
    }
}

fn canonical_field(field: &Field) -> Result<Field, DataError> {
    let target = canonical_type(field.data_type()).ok_or_else(|| DataError::ColumnType {
        column: field.name().clone(),
        found: crate::task::shorten(&field.data_type().to_string()),
        hint: "; flatten it, or name it under `exclude`",
    })?;
    Ok(Field::new(field.name(), target, true))
}

/// The type a column is read as, or none for types without a place in a feature table.
fn canonical_type(found: &DataType) -> Option<DataType> {
    use DataType as T;
    Some(match found {
        T::Boolean => T::Boolean,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 => T::Int64,
        // Identifiers above 2^63 keep every digit as text, and texts that hold numbers are read as numbers.
        T::UInt64 | T::Null | T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Binary | T::LargeBinary | T::BinaryView => T::Utf8,
        T::Float16 | T::Float32 | T::Float64 | T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) => {
            T::Float64
        }
        T::Date32 | T::Date64 | T::Timestamp(..) => T::Timestamp(TimeUnit::Microsecond, None),
        T::Dictionary(_, values) => canonical_type(values)?,
        _ => return None,
    })
}

fn canonical_array(array: &ArrayRef, field: &Field) -> Result<ArrayRef, DataError> {
    let target = field.data_type();
    if array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    // `safe` would turn what does not fit into missing values without a word.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let failed = |error: arrow::error::ArrowError| DataError::Parquet { message: format!("column `{}`: {error}", field.name()) };
    let DataType::Timestamp(TimeUnit::Microsecond, None) = target else {
        return cast_with_options(array, target, &options).map_err(failed);
    };
    // A zone says how to print an instant, not which instant it is: keep the instant and drop the zone.
    let zone = match array.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let zoned = cast_with_options(array, &DataType::Timestamp(TimeUnit::Microsecond, zone), &options).map_err(failed)?;
    Ok(Arc::new(zoned.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<Arc<str>>)))
}

/// Runs a step of the Parquet reader and turns its panics into errors.
///
/// parquet 59 panics on some damaged files (a page that names a dictionary that is not there, an embedded Arrow schema cut
/// short); the property test on mutated files finds them. Its state is not used again: [`crate::TableBatches`] ends after an error.
fn unpanicked<T, E: std::fmt::Display>(step: impl FnOnce() -> Result<T, E>) -> Result<T, DataError> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(result) => result.map_err(|error| damaged(&error)),
        Err(_) => Err(DataError::Parquet { message: "its pages do not fit its footer".to_owned() }),
    }
}

fn damaged(error: &dyn std::fmt::Display) -> DataError {
    let message: String = error.to_string().chars().take(300).collect();
    DataError::Parquet { message }
}
