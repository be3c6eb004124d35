//! Writes scored rows as CSV or Parquet: the entity, the answers, `reason_1 …`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::answer::Answer;
use crate::exit::Complaint;
use crate::output::write_stdout;
use crate::whole_file::WholeFile;

/// Rows of a Parquet row group: what is held in memory before it is written.
const ROW_GROUP_ROWS: usize = 65_536;

/// One row of the result: as many numbers and texts as there are columns of them; what lacks is left empty.
pub(crate) type ScoredRow = Answer;

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
    columns: Vec<String>,
    n_numbers: usize,
    is_integer: bool,
    sink: Sink,
}

/// Where a table goes, chosen by the ending of its path.
pub(crate) enum Sink {
    Stdout,
    Csv(File, WholeFile),
    Parquet(Box<ArrowWriter<File>>, WholeFile),
}

impl ScoreWriter {
    /// Begins the result at `path`: Parquet for `.parquet` and `.pq`, CSV for `.csv` and for devices; `-` is CSV on standard output.
    pub(crate) fn create(path: &Path, entity: &Entity<'_>, of: ResultColumns) -> Result<Self> {
        let n_numbers = of.numbers.len();
        let columns: Vec<String> = std::iter::once(entity.name.to_owned()).chain(of.numbers).chain(of.texts).collect();
        if columns[1..].contains(&columns[0]) {
            let message = format!("the entity column is called `{}`, and so is a column of the result", entity.name);
            return Err(Complaint::usage(message).hint("rename the entity column and train again").into());
        }
        let sink = Sink::create(path, &schema(&columns, n_numbers, entity.is_integer))?;
        let mut writer = Self { path: path.to_owned(), columns, n_numbers, is_integer: entity.is_integer, sink };
        writer.write_header()?;
        Ok(writer)
    }

    fn write_header(&mut self) -> Result<()> {
        let header = self.columns.clone();
        self.write_csv(|csv| csv.write_record(&header))
    }

    /// Adds rows; both slices have one entry per row.
    pub(crate) fn write(&mut self, entity: &[String], rows: &[ScoredRow]) -> Result<()> {
        let (n_numbers, n_texts) = (self.n_numbers, self.columns.len() - 1 - self.n_numbers);
        if let Sink::Parquet(writer, _) = &mut self.sink {
            let schema = schema(&self.columns, n_numbers, self.is_integer);
            let batch = record_batch(schema, n_numbers, self.is_integer, entity, rows);
            return writer.write(&batch.context("cannot build the rows of the result")?).with_context(|| attempt(&self.path));
        }
        self.write_csv(|csv| {
            for (entity, row) in entity.iter().zip(rows) {
                csv.write_field(entity)?;
                for position in 0..n_numbers {
                    // `{:?}` is the shortest text that reads back to the same bits.
                    csv.write_field(number_of(row, position).map_or_else(String::new, |number| format!("{number:?}")))?;
                }
                for position in 0..n_texts {
                    csv.write_field(text_of(row, position).unwrap_or_default())?;
                }
                csv.write_record(None::<&[u8]>)?;
            }
            Ok(())
        })
    }

    /// Formats lines in memory and writes them at once; a Parquet file has none.
    fn write_csv(&mut self, lines: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> csv::Result<()>) -> Result<()> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        lines(&mut csv).context("cannot write CSV")?;
        let bytes = csv.into_inner().context("cannot write CSV")?;
        self.sink.write_text(&bytes, &self.path)
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
                let compression = WriterProperties::builder().set_compression(Compression::SNAPPY);
                let properties = compression.set_max_row_group_row_count(Some(ROW_GROUP_ROWS)).build();
                let writer = ArrowWriter::try_new(whole.handle()?, Arc::new(schema.clone()), Some(properties));
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

fn number_of(row: &ScoredRow, position: usize) -> Option<f64> {
    row.numbers.get(position).copied().flatten()
}

fn text_of(row: &ScoredRow, position: usize) -> Option<&str> {
    row.texts.get(position).map(String::as_str)
}

fn schema(columns: &[String], n_numbers: usize, is_integer: bool) -> Schema {
    let field = |(position, name): (usize, &String)| match position {
        0 if is_integer => Field::new(name, DataType::Int64, true),
        0 => Field::new(name, DataType::Utf8, false),
        _ if position <= n_numbers => Field::new(name, DataType::Float64, true),
        _ => Field::new(name, DataType::Utf8, true),
    };
    Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>())
}

fn record_batch(
    schema: Schema,
    n_numbers: usize,
    is_integer: bool,
    entity: &[String],
    rows: &[ScoredRow],
) -> Result<RecordBatch, ArrowError> {
    let entity: ArrayRef = if is_integer {
        // Numbers came as numbers, so the only text that is none is the empty one of a missing entity.
        Arc::new(entity.iter().map(|name| name.parse().ok()).collect::<Int64Array>())
    } else {
        Arc::new(entity.iter().map(|name| Some(name.as_str())).collect::<StringArray>())
    };
    let mut arrays: Vec<ArrayRef> = vec![entity];
    for position in 0..n_numbers {
        arrays.push(Arc::new(rows.iter().map(|row| number_of(row, position)).collect::<Float64Array>()));
    }
    for position in 0..schema.fields().len() - 1 - n_numbers {
        arrays.push(Arc::new(rows.iter().map(|row| text_of(row, position)).collect::<StringArray>()));
    }
    RecordBatch::try_new(Arc::new(schema), arrays)
}
