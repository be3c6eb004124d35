//! Delimited text (CSV and its relatives) into batches of text columns, with the checks that the `csv` crate leaves to us:
//! field counts, quotes that never close, NUL bytes, foreign encodings and the length of a record.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::error::{DataError, Warning};
use crate::table::{BATCH_ROWS, Content, check_columns};

const MAX_RECORD_BYTES: u64 = 16 << 20;
/// Keeps a batch of very wide or very long rows small.
const MAX_BATCH_CELLS: usize = 1 << 21;
const MAX_BATCH_BYTES: usize = 32 << 20;
/// Appended behind the last byte of the file: when it comes back as a record of its own, every quote was closed.
const SENTINEL: &[u8] = b"\n\x01end of table\x01\n";

/// How the text separates fields and lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    delimiter: u8,
    /// Lines end in CR LF; only needed to count lines, since `csv` accepts every ending.
    crlf: bool,
}

impl Dialect {
    /// Takes the candidate that occurs most often outside quotes in the header line.
    pub(crate) fn sniff(head: &[u8]) -> Self {
        let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        let candidates = [b',', b';', b'\t', b'|'];
        let (mut counts, mut quoted, mut last) = ([0_usize; 4], false, 0);
        for &byte in head.iter().skip_while(|byte| matches!(byte, b'\r' | b'\n')) {
            match byte {
                b'"' => quoted = !quoted,
                b'\n' | b'\r' if !quoted => break,
                _ if quoted => {}
                _ => candidates.iter().zip(&mut counts).filter(|(known, _)| **known == byte).for_each(|(_, count)| *count += 1),
            }
            last += 1;
        }
        // `max_by_key` would take the last of equals; the comma comes first.
        let best = (1..4).fold(0, |best, idx| if counts[idx] > counts[best] { idx } else { best });
        let blank = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        Self { delimiter: candidates[best], crlf: head.get(blank + last..).is_some_and(|rest| rest.starts_with(b"\r\n")) }
    }
}

/// The column names of the first line; also makes sure that a row follows.
pub(crate) fn read_header(name: &str, content: &Content, dialect: Dialect) -> Result<Vec<String>, DataError> {
    let mut records = Records::open(name, content, dialect)?;
    if !records.advance()? {
        return Err(DataError::Empty);
    }
    // A name is a name in any encoding: the same bytes give the same text on every reading.
    let columns: Vec<String> = records.record.iter().map(|field| decode(field).trim().to_owned()).collect();
    check_columns(&columns)?;
    records.n_columns = Some(columns.len());
    if !records.advance()? {
        return Err(DataError::NoRows { n_columns: columns.len() });
    }
    Ok(columns)
}

/// Batches of text columns.
pub(crate) struct DelimitedBatches {
    records: Records,
    column_idxs: Vec<usize>,
    schema: SchemaRef,
    n_columns: usize,
    foreign: Foreign,
}

/// Fields that were not UTF-8.
#[derive(Default)]
struct Foreign {
    first: Option<(u64, String)>,
    n_fields: usize,
}

impl DelimitedBatches {
    pub(crate) fn open(
        name: &str,
        content: &Content,
        dialect: Dialect,
        columns: &[String],
        column_idxs: &[usize],
    ) -> Result<Self, DataError> {
        let mut records = Records::open(name, content, dialect)?;
        records.advance()?;
        records.n_columns = Some(columns.len());
        let fields: Vec<_> = column_idxs.iter().map(|&idx| Field::new(&columns[idx], DataType::Utf8, true)).collect();
        let schema = Arc::new(Schema::new(fields));
        Ok(Self { records, column_idxs: column_idxs.to_vec(), schema, n_columns: columns.len(), foreign: Foreign::default() })
    }

    pub(crate) fn next_batch(&mut self) -> Result<Option<RecordBatch>, DataError> {
        let max_rows = BATCH_ROWS.min(MAX_BATCH_CELLS / self.n_columns).max(1);
        let mut builders: Vec<_> =
            self.column_idxs.iter().map(|_| StringBuilder::with_capacity(max_rows, max_rows * 8)).collect();
        let (mut n_rows, mut n_bytes) = (0, 0);
        while n_rows < max_rows && n_bytes < MAX_BATCH_BYTES && self.records.advance()? {
            for (builder, &column_idx) in builders.iter_mut().zip(&self.column_idxs) {
                let bytes = &self.records.record[column_idx];
                match std::str::from_utf8(bytes) {
                    Ok(text) => builder.append_value(text),
                    Err(_) => builder.append_value(self.foreign.decode(bytes, &self.records)),
                }
            }
            n_bytes += self.records.record.as_slice().len();
            n_rows += 1;
        }
        if n_rows == 0 {
            return Ok(None);
        }
        let columns = builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        Ok(Some(batch.expect("every builder took one value per row, under a schema of text columns")))
    }

    pub(crate) fn warning(&self) -> Option<Warning> {
        let (line, text) = self.foreign.first.as_ref()?;
        let message = format!(
            "{} fields are not UTF-8 and were read as Windows-1252; the first, on line {line}, became `{text}`",
            self.foreign.n_fields
        );
        Some(Warning::new("not_utf8", message))
    }
}

impl Foreign {
    fn decode<'b>(&mut self, bytes: &'b [u8], records: &Records) -> Cow<'b, str> {
        let text = decode(bytes);
        self.n_fields += 1;
        if self.first.is_none() {
            self.first = Some((records.line(), crate::task::shorten(&text)));
        }
        text
    }
}

/// UTF-8 where it is valid, Windows-1252 otherwise: every byte means something there.
fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

/// Record after record, each checked.
struct Records {
    name: String,
    reader: csv::Reader<Bounded>,
    record: csv::ByteRecord,
    n_columns: Option<usize>,
    crlf: bool,
    start_line: u64,
}

impl Records {
    fn open(name: &str, content: &Content, dialect: Dialect) -> Result<Self, DataError> {
        let input = content.reader().map_err(|error| DataError::io(name, error))?;
        let bounded = Bounded { input, n_bytes: 0, ended: false, sentinel: SENTINEL, since_record: 0 };
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(dialect.delimiter)
            .buffer_capacity(1 << 16)
            .from_reader(bounded);
        let record = csv::ByteRecord::new();
        Ok(Self { name: name.to_owned(), reader, record, n_columns: None, crlf: dialect.crlf, start_line: 1 })
    }

    /// Reads the next record that is not blank into `self.record`; false at the end of the table.
    fn advance(&mut self) -> Result<bool, DataError> {
        loop {
            if !self.read()? {
                return Ok(false);
            }
            let blank = self.record.len() == 1 && self.record[0].trim_ascii().is_empty();
            if !blank || self.n_columns == Some(1) {
                break;
            }
        }
        self.check_record()?;
        Ok(true)
    }

    fn read(&mut self) -> Result<bool, DataError> {
        self.start_line = self.reader.position().line();
        self.reader.get_mut().since_record = 0;
        let more = self.reader.read_byte_record(&mut self.record).map_err(|error| self.failure(error))?;
        let source = self.reader.get_ref();
        if !more || !source.ended {
            return Ok(more);
        }
        let past_end = self.reader.position().byte().saturating_sub(source.n_bytes);
        if past_end > 1 {
            let name = SENTINEL.trim_ascii();
            return if self.record.len() == 1 && &self.record[0] == name { Ok(false) } else { Err(self.open_quote()) };
        }
        Ok(true)
    }

    fn check_record(&mut self) -> Result<(), DataError> {
        if self.record.as_slice().contains(&0) {
            return Err(DataError::Format { found: format!("binary: line {} has a NUL byte", self.line()) });
        }
        let found = self.record.len();
        let Some(expected) = self.n_columns.filter(|&expected| expected != found) else { return Ok(()) };
        let line = self.line();
        let last = matches!(self.read(), Ok(false));
        let hint = match (last && found < expected, found > expected) {
            (true, _) => "; it is the last line: the file may be cut short",
            (_, true) => "; a text with the delimiter in it has to be quoted",
            _ => "",
        };
        Err(DataError::FieldCount { line, found, expected, hint })
    }

    /// The line on which the current record starts, from 1.
    ///
    /// `csv` counts from the end of the record before, so blank lines in between have to be taken out again: of the line feeds
    /// seen since then, all that stand neither inside the record nor at its end came before it.
    fn line(&self) -> u64 {
        let inside = self.record.as_slice().split(|&byte| byte == b'\n').count() as u64 - 1;
        let source = self.reader.get_ref();
        let at_appended_end = source.ended && self.reader.position().byte() > source.n_bytes;
        let at_end = u64::from(!self.crlf || at_appended_end);
        self.reader.position().line().saturating_sub(inside + at_end).max(self.start_line)
    }

    fn open_quote(&self) -> DataError {
        // The record swallowed everything to the end, so it starts where the one before ended.
        DataError::OpenQuote { line: self.start_line + u64::from(self.crlf && self.start_line > 1) }
    }

    fn failure(&self, error: csv::Error) -> DataError {
        match error.into_kind() {
            csv::ErrorKind::Io(source)
                if source.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<RecordTooLong>) =>
            {
                let place = format!("line {}", self.start_line);
                let limit = format!("{} MiB", MAX_RECORD_BYTES >> 20);
                DataError::TooLarge { place, what: "one row is longer than is read, a quote may be open", limit }
            }
            csv::ErrorKind::Io(source) => DataError::io(&self.name, source),
            other => DataError::io(&self.name, std::io::Error::other(format!("{other:?}"))),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a record is too long")]
struct RecordTooLong;

/// Bounds the bytes that one record may take, and appends the sentinel at the end.
struct Bounded {
    input: Box<dyn Read + Send>,
    n_bytes: u64,
    ended: bool,
    sentinel: &'static [u8],
    since_record: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.since_record > MAX_RECORD_BYTES {
            return Err(std::io::Error::other(RecordTooLong));
        }
        if !self.ended {
            let n_bytes = self.input.read(buffer)?;
            self.n_bytes += n_bytes as u64;
            self.since_record += n_bytes as u64;
            if n_bytes > 0 || buffer.is_empty() {
                return Ok(n_bytes);
            }
            self.ended = true;
        }
        self.sentinel.read(buffer)
    }
}
