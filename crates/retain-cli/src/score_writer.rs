//! Writes scored rows as CSV or Parquet: the entity, the answers, `reason_1 …`.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use arrow::array::{ArrayRef, Float64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use retain_data::Names;

use crate::answer::Answers;
use crate::exit::Complaint;
use crate::output::write_stdout;
use crate::whole_file::WholeFile;

/// Rows of a Parquet row group: what is held in memory before it is written.
const ROW_GROUP_ROWS: usize = 65_536;

/// The columns of the result behind the entity: first those with numbers, then those with texts.
pub(crate) struct ResultColumns {
    pub(crate) numbers: Vec<String>,
    pub(crate) texts: Vec<String>,
}

/// The first column of the result: who was scored.
pub(crate) struct Entity<'a> {
    /// Name of the column.
    pub(crate) name: &'a str,
    /// Whether the input has whole numbers there: a Parquet result then has them too, and can be joined with it.
    pub(crate) is_integer: bool,
}

/// Where scored rows go.
pub(crate) struct ScoreWriter {
    path: PathBuf,
    sink: Sink,
}

/// How scored rows are written; on any thread.
#[derive(Debug, Clone)]
pub(crate) struct ScoreFormat {
    schema: SchemaRef,
    is_parquet: bool,
}

/// Rows as they are written.
pub(crate) enum Encoded {
    Lines(Vec<u8>),
    Batch(RecordBatch),
}

/// Where a table goes, chosen by the ending of its path.
pub(crate) enum Sink {
    Stdout,
    Csv(File, WholeFile),
    Parquet(Box<ArrowWriter<File>>, WholeFile),
}

impl ScoreWriter {
    /// Begins the result at `path`: Parquet for `.parquet` and `.pq`, CSV for `.csv` and for devices; `-` is CSV on standard output.
    pub(crate) fn create(path: &Path, entity: &Entity<'_>, of: ResultColumns) -> Result<(Self, ScoreFormat)> {
        if of.numbers.iter().chain(&of.texts).any(|name| name == entity.name) {
            let message = format!("the entity column is called `{}`, and so is a column of the result", entity.name);
            return Err(Complaint::usage(message)
                .hint("rename the entity column; a model that knows it has to be trained again")
                .into());
        }
        let schema = Arc::new(schema(entity, of));
        let mut sink = Sink::create(path, &schema)?;
        let header = csv_lines(|csv| csv.write_record(schema.fields().iter().map(|field| field.name())))?;
        sink.write_text(&header, path)?;
        let format = ScoreFormat { schema, is_parquet: matches!(sink, Sink::Parquet(..)) };
        Ok((Self { path: path.to_owned(), sink }, format))
    }

    /// Adds rows.
    pub(crate) fn write(&mut self, rows: &Encoded) -> Result<()> {
        match (rows, &mut self.sink) {
            (Encoded::Batch(batch), Sink::Parquet(writer, _)) => writer.write(batch).with_context(|| attempt(&self.path)),
            (Encoded::Lines(lines), sink) => sink.write_text(lines, &self.path),
            (Encoded::Batch(_), _) => Err(anyhow!("rows for Parquet cannot be written as CSV")),
        }
    }

    /// Completes the result and puts it in its place.
    pub(crate) fn finish(self) -> Result<()> {
        self.sink.finish(&self.path)
    }
}

fn attempt(path: &Path) -> String {
    format!("cannot write `{}`", path.display())
}

impl Sink {
    /// Writes lines of CSV; a Parquet file has none.
    pub(crate) fn write_text(&mut self, bytes: &[u8], path: &Path) -> Result<()> {
        match self {
            Self::Stdout => write_stdout(bytes),
            Self::Csv(file, _) => file.write_all(bytes).with_context(|| attempt(path)),
            Self::Parquet(..) => Ok(()),
        }
    }

    /// Completes the file and puts it in its place.
    pub(crate) fn finish(self, path: &Path) -> Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::Csv(_, whole) => whole.commit(),
            Self::Parquet(writer, whole) => {
                writer.close().with_context(|| attempt(path))?;
                whole.commit()
            }
        }
    }

    /// Begins the file at `path`: Parquet for `.parquet` and `.pq`, CSV for `.csv` and for devices; `-` is CSV on standard output.
    pub(crate) fn create(path: &Path, schema: &Schema) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
        let is_device = path.exists() && !path.is_file() && !path.is_dir();
        match extension.as_str() {
            "parquet" | "pq" => {
                let whole = WholeFile::create(path)?;
                let writer = ArrowWriter::try_new(whole.handle()?, Arc::new(schema.clone()), Some(properties(schema)));
                Ok(Self::Parquet(Box::new(writer.with_context(|| attempt(path))?), whole))
            }
            "csv" => Self::csv(path),
            _ if is_device => Self::csv(path),
            _ => {
                let message = format!("`{}` ends in neither `.csv` nor `.parquet`", path.display());
                Err(Complaint::usage(message).hint("the ending chooses the format; `-` is CSV on standard output").into())
            }
        }
    }

    fn csv(path: &Path) -> Result<Self> {
        let whole = WholeFile::create(path)?;
        Ok(Self::Csv(whole.handle()?, whole))
    }
}

fn properties(schema: &Schema) -> WriterProperties {
    let mut properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    properties = properties.set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for field in schema.fields().iter().filter(|field| *field.data_type() != DataType::Utf8) {
        // Numbers hardly ever repeat here: looking them up takes longer than it saves.
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), false);
    }
    properties.build()
}

impl ScoreFormat {
    /// The rows of these customers as they are written.
    pub(crate) fn encode(&self, entity: &Names, answers: &Answers) -> Result<Encoded> {
        if self.is_parquet {
            let batch = self.record_batch(entity, answers).context("cannot build the rows of the result")?;
            return Ok(Encoded::Batch(batch));
        }
        let lines = csv_lines(|csv| {
            for (row, entity) in entity.iter().enumerate() {
                csv.write_field(entity.as_bytes())?;
                for column in &answers.numbers {
                    // `{:?}` is the shortest text that reads back to the same bits.
                    csv.write_field(column[row].map_or_else(String::new, |number| format!("{number:?}")))?;
                }
                for column in &answers.texts {
                    csv.write_field(column[row].as_bytes())?;
                }
                csv.write_record(None::<&[u8]>)?;
            }
            Ok(())
        })?;
        Ok(Encoded::Lines(lines))
    }

    fn record_batch(&self, entity: &Names, answers: &Answers) -> Result<RecordBatch, ArrowError> {
        let numbers = |column: &Vec<Option<f64>>| Arc::new(Float64Array::from_iter(column)) as ArrayRef;
        let texts = |column: &Vec<Cow<'_, str>>| {
            Arc::new(column.iter().map(|text| (!text.is_empty()).then_some(text)).collect::<StringArray>()) as ArrayRef
        };
        let names = std::iter::once(entity.to_array());
        let arrays = names.chain(answers.numbers.iter().map(numbers)).chain(answers.texts.iter().map(texts));
        RecordBatch::try_new(Arc::clone(&self.schema), arrays.collect())
    }
}

/// Formats lines in memory.
fn csv_lines(lines: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> csv::Result<()>) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    lines(&mut csv).context("cannot write CSV")?;
    csv.into_inner().context("cannot write CSV")
}

fn schema(entity: &Entity<'_>, of: ResultColumns) -> Schema {
    let entity = if entity.is_integer {
        Field::new(entity.name, DataType::Int64, true)
    } else {
        Field::new(entity.name, DataType::Utf8, false)
    };
    let numbers = of.numbers.into_iter().map(|name| Field::new(name, DataType::Float64, true));
    let texts = of.texts.into_iter().map(|name| Field::new(name, DataType::Utf8, true));
    Schema::new(std::iter::once(entity).chain(numbers).chain(texts).collect::<Vec<_>>())
}
