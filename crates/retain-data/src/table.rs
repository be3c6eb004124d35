//! Opens a feature table and streams it as Arrow batches, whatever its format.
//!
//! [`TableSource`] looks at the content, not at the file's name: Parquet by its magic number, anything else as delimited text.
//! Both come out in five Arrow types ([`crate::cells::Cells`]). Meaning is given to cells elsewhere.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::delimited::{DelimitedBatches, Dialect};
use crate::error::{DataError, Warning};
use crate::parquet_table::{ParquetBatches, ParquetLayout};

/// Most rows in one batch.
pub(crate) const BATCH_ROWS: usize = 8192;
/// Most columns of a table.
pub(crate) const MAX_COLUMNS: usize = 100_000;
/// A pipe cannot be read twice, so it is kept in memory; this is as much as is kept.
const MAX_PIPE_BYTES: u64 = 4 << 30;
/// Enough to tell a format and to find the delimiter.
const HEAD_BYTES: usize = 64 << 10;

/// A table that was opened and has a valid header; its rows can be read any number of times.
#[derive(Debug, Clone)]
pub struct TableSource {
    name: String,
    content: Content,
    format: Format,
    columns: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    File(std::path::PathBuf),
    Memory(Bytes),
}

#[derive(Debug, Clone)]
enum Format {
    Delimited(Dialect),
    Parquet(ParquetLayout),
}

/// The rows of a table, batch by batch, in the order of the file.
///
/// A batch has at most 8192 rows and only the columns that were asked for, each as Utf8, Int64, Float64, Boolean or
/// Timestamp(Microsecond) without a zone (UTC). After an error there are no more batches.
pub struct TableBatches {
    reader: BatchReader,
    failed: bool,
}

enum BatchReader {
    Delimited(Box<DelimitedBatches>),
    Parquet(ParquetBatches),
}

impl TableSource {
    /// Opens a CSV or Parquet file; `-` reads standard input into memory, at most 4 GiB.
    ///
    /// Delimited text: separated by `,`, `;`, tab or `|`, in UTF-8 (with or without a byte order mark) or Windows-1252.
    ///
    /// # Errors
    /// [`DataError`] when there is no such file, or its header is not that of a table with rows.
    pub fn open(path: &Path) -> Result<TableSource, DataError> {
        let name = path.display().to_string();
        if path.as_os_str() == "-" {
            return Self::from_bytes("standard input", read_pipe(&name, std::io::stdin().lock())?);
        }
        let metadata = std::fs::metadata(path).map_err(|error| DataError::io(&name, error))?;
        if metadata.is_dir() {
            return Err(DataError::Directory { path: path.to_owned() });
        }
        if !metadata.is_file() {
            let pipe = File::open(path).map_err(|error| DataError::io(&name, error))?;
            return Self::from_bytes(&name, read_pipe(&name, pipe)?);
        }
        Self::from_content(name, Content::File(path.to_owned()))
    }

    /// A table that is already in memory, called `name` in messages.
    ///
    /// # Errors
    /// As [`TableSource::open`].
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<TableSource, DataError> {
        Self::from_content(name.to_owned(), Content::Memory(Bytes::from(bytes)))
    }

    fn from_content(name: String, content: Content) -> Result<TableSource, DataError> {
        let mut head = Vec::new();
        let reader = content.reader().map_err(|error| DataError::io(&name, error))?;
        reader.take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(|error| DataError::io(&name, error))?;
        let (format, columns) = if head.starts_with(b"PAR1") {
            let layout = ParquetLayout::read(&name, &content)?;
            let columns = layout.column_names();
            (Format::Parquet(layout), columns)
        } else {
            refuse_other_formats(&head)?;
            let dialect = Dialect::sniff(&head);
            let columns = crate::delimited::read_header(&name, &content, dialect)?;
            (Format::Delimited(dialect), columns)
        };
        Ok(Self { name, content, format, columns })
    }

    /// What the table is called in messages: its path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The column names, in the order of the file, each once.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The position of a column by name.
    pub fn column_idx(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// Reads the table from its beginning; batches have the columns at these positions, in ascending order of position.
    ///
    /// # Errors
    /// [`DataError`] when the file cannot be opened, or a chosen column has a type that is not read.
    pub fn batches(&self, column_idxs: &[usize]) -> Result<TableBatches, DataError> {
        let reader = match &self.format {
            Format::Delimited(dialect) => {
                let batches = DelimitedBatches::open(&self.name, &self.content, *dialect, &self.columns, column_idxs)?;
                BatchReader::Delimited(Box::new(batches))
            }
            Format::Parquet(layout) => BatchReader::Parquet(layout.open(&self.name, &self.content, column_idxs)?),
        };
        Ok(TableBatches { reader, failed: false })
    }

    /// SHA-256 of the file's bytes, in lower-case hexadecimal.
    ///
    /// # Errors
    /// [`DataError::Io`] when reading fails.
    pub fn sha256(&self) -> Result<String, DataError> {
        let failed = |error| DataError::io(&self.name, error);
        let mut reader = self.content.reader().map_err(failed)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; HEAD_BYTES];
        loop {
            let n_bytes = reader.read(&mut buffer).map_err(failed)?;
            if n_bytes == 0 {
                return Ok(hex::encode(hasher.finalize()));
            }
            hasher.update(&buffer[..n_bytes]);
        }
    }
}

impl TableBatches {
    /// What the reader had to do to the text so far, such as reading it as Windows-1252.
    pub fn warnings(&self) -> Vec<Warning> {
        match &self.reader {
            BatchReader::Delimited(batches) => batches.warning().into_iter().collect(),
            BatchReader::Parquet(_) => Vec::new(),
        }
    }
}

impl Iterator for TableBatches {
    type Item = Result<RecordBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = match &mut self.reader {
            BatchReader::Delimited(batches) => batches.next_batch().transpose(),
            BatchReader::Parquet(batches) => batches.next_batch().transpose(),
        };
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

impl Content {
    pub(crate) fn reader(&self) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::File(path) => Box::new(File::open(path)?),
            Self::Memory(bytes) => Box::new(Cursor::new(bytes.clone())),
        })
    }
}

fn read_pipe(name: &str, mut pipe: impl Read) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    // What is no table is refused by its beginning: `/dev/zero` never ends.
    pipe.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut bytes).map_err(|error| DataError::io(name, error))?;
    if !bytes.starts_with(b"PAR1") {
        refuse_other_formats(&bytes)?;
    }
    pipe.take(MAX_PIPE_BYTES).read_to_end(&mut bytes).map_err(|error| DataError::io(name, error))?;
    if bytes.len() as u64 > MAX_PIPE_BYTES {
        return Err(DataError::TooLarge {
            place: name.to_owned(),
            what: "more bytes than are kept in memory",
            limit: "4 GiB".into(),
        });
    }
    Ok(bytes)
}

/// Names the formats that people mistake for CSV.
fn refuse_other_formats(head: &[u8]) -> Result<(), DataError> {
    let known: [(&[u8], &str); 8] = [
        (b"\xff\xfe", "text in UTF-16"),
        (b"\xfe\xff", "text in UTF-16"),
        (b"\x1f\x8b", "compressed with gzip: unpack it first"),
        (b"PK\x03\x04", "a zip archive or an Excel workbook: save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"),
        (b"ARROW1", "an Arrow IPC file: write it as Parquet"),
        (b"ORC", "an ORC file: write it as Parquet"),
    ];
    if let Some((_, found)) = known.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(DataError::Format { found: (*found).to_owned() });
    }
    // UTF-16 without a byte order mark: every other byte of Latin text is zero.
    let n_zeros: usize = head.iter().map(|&byte| usize::from(byte == 0)).sum();
    if n_zeros > 0 {
        let found = if n_zeros * 3 > head.len() { "text in UTF-16" } else { "binary: it has NUL bytes" };
        return Err(DataError::Format { found: found.to_owned() });
    }
    Ok(())
}

/// Checks what both formats ask of column names.
pub(crate) fn check_columns(columns: &[String]) -> Result<(), DataError> {
    if columns.len() > MAX_COLUMNS {
        let limit = format!("{MAX_COLUMNS} columns");
        return Err(DataError::TooLarge { place: "header".into(), what: "more columns than are read", limit });
    }
    if let Some(position) = columns.iter().position(|name| name.trim().is_empty()) {
        return Err(DataError::UnnamedColumn { position: position + 1, n_columns: columns.len() });
    }
    let mut seen = std::collections::HashMap::new();
    for (position, name) in columns.iter().enumerate() {
        if let Some(first) = seen.insert(name, position) {
            return Err(DataError::DuplicateColumn { name: name.clone(), first: first + 1, second: position + 1 });
        }
    }
    Ok(())
}
