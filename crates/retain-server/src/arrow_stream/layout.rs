//! What the columns of a stream are made of, and whether a record batch has it.

use std::collections::HashMap;

use arrow::ipc::{self, DateUnit, Precision, TimeUnit, Type};

use super::{column_path, malformed, unsupported};
use crate::status::{CallError, Violation, check_count};
use crate::text::printable;

/// Most letters of a column's name that a message repeats.
const QUOTED_CHARS: usize = 40;
/// Bytes of a text in a column of views, or of where it is.
const VIEW_BYTES: i64 = 16;

/// The columns of a stream, all of types that are read.
pub(super) struct Columns {
    layouts: Vec<Layout>,
    /// What the values of each dictionary are.
    dictionaries: HashMap<i64, Layout>,
}

/// Which buffers a column has, behind the one that says which values are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// None at all, not even that one.
    Nothing,
    /// A bit for each row.
    Bits,
    /// So many bytes for each row.
    Fixed(i64),
    /// For each row an offset of so many bytes, one more behind them, and texts.
    Offsets(i64),
    /// For each row a view, and any number of buffers with texts.
    Views,
}

impl Columns {
    /// The columns of a schema.
    ///
    /// # Errors
    /// [`CallError::Invalid`] names the first column of a type that is not read.
    pub(super) fn of(schema: &ipc::Schema<'_>, max_columns: usize) -> Result<Self, CallError> {
        if schema.endianness() != ipc::Endianness::Little {
            return Err(unsupported("should be little-endian"));
        }
        let fields = schema.fields().ok_or_else(|| malformed("its schema has no columns"))?;
        check_count(super::FIELD, fields.len(), max_columns)?;
        let mut columns = Self { layouts: Vec::with_capacity(fields.len()), dictionaries: HashMap::new() };
        for field in fields {
            let is_flat = field.children().is_none_or(|children| children.is_empty());
            let layout = columns.layout(&field)?.filter(|_| is_flat).ok_or_else(|| not_read(&field))?;
            columns.layouts.push(layout);
        }
        Ok(columns)
    }

    /// How a column is laid out; none for types that are not read.
    fn layout(&mut self, field: &ipc::Field<'_>) -> Result<Option<Layout>, CallError> {
        let Some(values) = plain(field) else { return Ok(None) };
        let Some(dictionary) = field.dictionary() else { return Ok(Some(values)) };
        if !matches!(values, Layout::Offsets(_) | Layout::Views) {
            return Ok(None);
        }
        if *self.dictionaries.entry(dictionary.id()).or_insert(values) != values {
            return Err(malformed("columns share a dictionary and differ in its type"));
        }
        Ok(dictionary.indexType().and_then(integer))
    }

    /// How many rows a record batch has, whose body has so many bytes.
    pub(super) fn check_batch(&self, batch: &ipc::RecordBatch<'_>, n_bytes: usize) -> Result<usize, CallError> {
        check_batch(batch, &self.layouts, n_bytes)
    }

    /// Checks a dictionary, whose body has so many bytes.
    pub(super) fn check_dictionary(&self, dictionary: &ipc::DictionaryBatch<'_>, n_bytes: usize) -> Result<(), CallError> {
        // A long chain of small ones, each copied behind all before it, would take time without end.
        if dictionary.isDelta() {
            return Err(unsupported("should have whole dictionaries: one that adds to another is not read"));
        }
        let layout = self.dictionaries.get(&dictionary.id()).ok_or_else(|| malformed("a dictionary is of no column"))?;
        let values = dictionary.data().ok_or_else(|| malformed("a dictionary has no values"))?;
        check_batch(&values, &[*layout], n_bytes).map(drop)
    }
}

fn not_read(field: &ipc::Field<'_>) -> CallError {
    let name = printable(field.name().unwrap_or_default(), QUOTED_CHARS);
    let kind = field.type_type().variant_name().unwrap_or("an unknown type");
    let found = if field.dictionary().is_some() { format!("a dictionary of {kind}") } else { kind.to_owned() };
    let description =
        format!("should be of a type for numbers, booleans, texts, dictionaries of texts, dates or timestamps, found {found}");
    Violation::new(column_path(&name), "ARROW_TYPE", &description).into()
}

/// The layout of a type, dictionaries aside.
fn plain(field: &ipc::Field<'_>) -> Option<Layout> {
    match field.type_type() {
        Type::Null => Some(Layout::Nothing),
        Type::Bool => Some(Layout::Bits),
        Type::Int => integer(field.type_as_int()?),
        Type::FloatingPoint => match field.type_as_floating_point()?.precision() {
            Precision::HALF => Some(Layout::Fixed(2)),
            Precision::SINGLE => Some(Layout::Fixed(4)),
            Precision::DOUBLE => Some(Layout::Fixed(8)),
            _ => None,
        },
        Type::Utf8 => Some(Layout::Offsets(4)),
        Type::LargeUtf8 => Some(Layout::Offsets(8)),
        Type::Utf8View => Some(Layout::Views),
        Type::Date => match field.type_as_date()?.unit() {
            DateUnit::DAY => Some(Layout::Fixed(4)),
            DateUnit::MILLISECOND => Some(Layout::Fixed(8)),
            _ => None,
        },
        Type::Timestamp => {
            let units = [TimeUnit::SECOND, TimeUnit::MILLISECOND, TimeUnit::MICROSECOND, TimeUnit::NANOSECOND];
            units.contains(&field.type_as_timestamp()?.unit()).then_some(Layout::Fixed(8))
        }
        _ => None,
    }
}

fn integer(int: ipc::Int<'_>) -> Option<Layout> {
    matches!(int.bitWidth(), 8 | 16 | 32 | 64).then(|| Layout::Fixed(i64::from(int.bitWidth() / 8)))
}

/// The rows of a batch, all of whose parts are there and lie in its body.
fn check_batch(batch: &ipc::RecordBatch<'_>, layouts: &[Layout], n_bytes: usize) -> Result<usize, CallError> {
    // What is compressed may grow without a limit.
    if batch.compression().is_some() {
        return Err(unsupported("should not be compressed"));
    }
    let n_rows = usize::try_from(batch.length()).map_err(|_| malformed("a record batch has less than no rows"))?;
    let nodes = batch.nodes().ok_or_else(|| malformed("a record batch has no columns"))?;
    if nodes.len() != layouts.len() {
        return Err(malformed("a record batch has other columns than the schema"));
    }
    let mut buffers = Lengths::of(batch, n_bytes)?;
    for (node, layout) in nodes.iter().zip(layouts) {
        if node.length() != batch.length() || !(0..=node.length()).contains(&node.null_count()) {
            return Err(malformed("a column is not as long as its record batch"));
        }
        if !buffers.have(*layout, node).unwrap_or(false) {
            return Err(malformed("a column has fewer values than its record batch has rows"));
        }
    }
    if buffers.lengths.next().is_some() || buffers.n_variadic.next().is_some() {
        return Err(malformed("a record batch has more values than its columns"));
    }
    Ok(n_rows)
}

/// The lengths of the buffers of a record batch, to be taken one after another.
struct Lengths {
    lengths: std::vec::IntoIter<i64>,
    /// How many buffers with texts each column of views has.
    n_variadic: std::vec::IntoIter<i64>,
}

impl Lengths {
    fn of(batch: &ipc::RecordBatch<'_>, n_bytes: usize) -> Result<Self, CallError> {
        let limit = n_bytes as i64;
        let (mut lengths, mut total) = (Vec::new(), 0_i64);
        for buffer in batch.buffers().into_iter().flatten() {
            let (offset, length) = (buffer.offset(), buffer.length());
            if offset < 0 || length < 0 || offset.checked_add(length).is_none_or(|end| end > limit) {
                return Err(malformed("the values of a record batch do not lie within it"));
            }
            total = total.saturating_add(length);
            lengths.push(length);
        }
        // What several columns share would be checked, and where it is not aligned copied, for each of them.
        if total > limit {
            return Err(malformed("columns of a record batch share their values"));
        }
        let n_variadic: Vec<i64> = batch.variadicBufferCounts().into_iter().flatten().collect();
        Ok(Self { lengths: lengths.into_iter(), n_variadic: n_variadic.into_iter() })
    }

    /// Takes the buffers of a column; none when there are too few, false when one is too short.
    fn have(&mut self, layout: Layout, node: &ipc::FieldNode) -> Option<bool> {
        let n_rows = node.length();
        let bits = n_rows / 8 + i64::from(n_rows % 8 > 0);
        if layout == Layout::Nothing {
            return Some(node.null_count() == n_rows);
        }
        let is_present = self.lengths.next()?;
        let has_nulls = node.null_count() == 0 || is_present >= bits;
        let has_values = match layout {
            Layout::Nothing => true,
            Layout::Bits => self.lengths.next()? >= bits,
            Layout::Fixed(width) => holds(self.lengths.next()?, n_rows, width),
            Layout::Offsets(width) => {
                let offsets = self.lengths.next()?;
                self.lengths.next()?;
                // Without rows the one offset may be left out.
                holds(offsets, n_rows.saturating_add(1), width) || (n_rows == 0 && offsets == 0)
            }
            Layout::Views => {
                let views = self.lengths.next()?;
                for _ in 0..self.n_variadic.next()? {
                    self.lengths.next()?;
                }
                holds(views, n_rows, VIEW_BYTES)
            }
        };
        Some(has_nulls && has_values)
    }
}

/// Whether a buffer has so many values of a width, and no part of one behind them.
fn holds(length: i64, n_values: i64, width: i64) -> bool {
    n_values.checked_mul(width).is_some_and(|needed| length >= needed) && length % width == 0
}
