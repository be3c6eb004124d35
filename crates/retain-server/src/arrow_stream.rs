//! Arrow IPC streams of callers: weighed and checked message by message, and only then decoded.
//!
//! The decoder trusts what lengths and types say, and panics on some that do not hold together. So the walk here looks at
//! the flatbuffers alone, which are verified, and lets nothing through but flat columns of the types that features have, whose buffers
//! lie in the body, are as long as the rows ask for and are not longer together than the body. Decoding then copies nothing, but where a buffer
//! is not aligned. `layout` has the checks of one message.

mod layout;

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc;
use arrow::ipc::reader::StreamDecoder;

use self::layout::Columns;
use crate::config::Config;
use crate::status::{CallError, Violation, check_count};
use crate::text::printable;

/// The field of the request, as errors name it.
pub(crate) const FIELD: &str = "arrow_ipc";
/// Most record batches and dictionaries of one stream.
const MAX_MESSAGES: usize = 10_000;
/// Most letters of a column's name that a message repeats.
const QUOTED_CHARS: usize = 40;
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The batches of a stream, all of one schema; at least the schema is there.
pub(crate) struct Decoded {
    pub(crate) names: Vec<String>,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) n_rows: usize,
}

/// Reads a stream within the limits of the server.
///
/// # Errors
/// [`CallError::Invalid`] says what does not hold together, is too much, or is of a type that is not read.
pub(crate) fn decode(bytes: Vec<u8>, config: &Config) -> Result<Decoded, CallError> {
    let n_rows = check_stream(&bytes, config)?;
    let decode = || {
        let (mut decoder, mut batches) = (StreamDecoder::new(), Vec::new());
        let mut buffer = Buffer::from(bytes);
        while !buffer.is_empty() {
            batches.extend(decoder.decode(&mut buffer)?);
        }
        decoder.finish()?;
        Ok::<_, arrow::error::ArrowError>((decoder.schema(), batches))
    };
    // The checks leave no known way to a panic; one that is not known shall end in an answer too. Nothing of the decoder is used again.
    let decoded = catch_unwind(AssertUnwindSafe(decode)).map_err(|_| malformed("its parts do not fit together"))?;
    let (schema, batches) = decoded.map_err(|error| malformed(&error.to_string()))?;
    let schema = schema.ok_or_else(|| malformed("it has no schema"))?;
    let names = schema.fields().iter().map(|field| field.name().clone()).collect();
    Ok(Decoded { names, batches, n_rows })
}

/// Walks over the messages of a stream and counts its rows.
fn check_stream(bytes: &[u8], config: &Config) -> Result<usize, CallError> {
    let (mut rest, mut n_rows, mut n_messages, mut columns) = (bytes, 0_usize, 0, None);
    while let Some((metadata, after)) = next_message(rest)? {
        let message = ipc::root_as_message(metadata).map_err(|error| malformed(&error.to_string()))?;
        let n_bytes = usize::try_from(message.bodyLength()).ok().filter(|&n_bytes| n_bytes <= after.len());
        let n_bytes = n_bytes.ok_or_else(|| malformed("a message is longer than the stream"))?;
        rest = &after[n_bytes..];
        n_messages += 1;
        check_count(FIELD, n_messages, MAX_MESSAGES)?;
        let Some(columns) = &columns else {
            let schema = message.header_as_schema().filter(|_| n_bytes == 0);
            let schema = schema.ok_or_else(|| malformed("it does not begin with a schema"))?;
            // One column names the customers.
            columns = Some(Columns::of(&schema, config.max_features.saturating_add(1))?);
            continue;
        };
        if let Some(batch) = message.header_as_record_batch() {
            n_rows = n_rows.saturating_add(columns.check_batch(&batch, n_bytes)?);
            check_count(FIELD, n_rows, config.max_batch_rows)?;
        } else if let Some(dictionary) = message.header_as_dictionary_batch() {
            columns.check_dictionary(&dictionary, n_bytes)?;
        } else {
            return Err(malformed("it has something else than record batches and dictionaries"));
        }
    }
    columns.map(|_| n_rows).ok_or_else(|| malformed("it has no schema"))
}

/// Some bytes, and what follows them.
type Split<'b> = (&'b [u8], &'b [u8]);

/// The metadata of the next message and what follows it; none at the end of the stream.
fn next_message(bytes: &[u8]) -> Result<Option<Split<'_>>, CallError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let cut = || malformed("it is cut short");
    // Streams of old writers have the length alone.
    let bytes = bytes.strip_prefix(&CONTINUATION).unwrap_or(bytes);
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    match u32::from_le_bytes(*length) as usize {
        0 if rest.is_empty() => Ok(None),
        0 => Err(malformed("something stands behind its end")),
        length => rest.split_at_checked(length).map(Some).ok_or_else(cut),
    }
}

/// The path of a column: `arrow_ipc["tenure"]`.
pub(crate) fn column_path(name: &str) -> String {
    format!("{FIELD}[\"{}\"]", printable(name, QUOTED_CHARS))
}

fn malformed(what: &str) -> CallError {
    Violation::new(FIELD, "MALFORMED_ARROW", &format!("is no Arrow IPC stream that can be read: {what}")).into()
}

fn unsupported(what: &str) -> CallError {
    Violation::new(FIELD, "UNSUPPORTED_ARROW", what).into()
}
