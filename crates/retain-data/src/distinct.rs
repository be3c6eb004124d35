//! The distinct texts of a column: for models that know categories by number or by hash, and whose texts a table has to tell.

use std::collections::BTreeSet;

use crate::cells::Cells;
use crate::error::DataError;
use crate::table::TableSource;

/// More distinct texts than this are no categories; the first ones are returned.
const MAX_TEXTS: usize = 1_000_000;

/// The distinct texts of a column in byte order, as they stand but for blanks around them; cells without a value are left out. None where
/// the table has no such column.
///
/// # Errors
/// [`DataError`] when the table cannot be read to its end.
pub fn distinct_texts(source: &TableSource, column: &str) -> Result<Option<Vec<String>>, DataError> {
    let Some(position) = source.column_idx(column) else { return Ok(None) };
    let mut texts = BTreeSet::new();
    for batch in source.batches(&[position])? {
        let batch = batch?;
        let cells = Cells::of(batch.column(0));
        for text in (0..batch.num_rows()).map(|row| cells.text(row)) {
            let text = text.trim();
            if texts.len() < MAX_TEXTS && !text.is_empty() && !texts.contains(text) {
                texts.insert(text.to_owned());
            }
        }
    }
    Ok(Some(texts.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_once_and_in_order() {
        let source = TableSource::from_bytes("t", b"plan,n\nsilver,1\ngold,2\n silver ,3\n,4\n".to_vec()).unwrap();
        assert_eq!(distinct_texts(&source, "plan").unwrap().unwrap(), ["gold", "silver"]);
        assert_eq!(distinct_texts(&source, "n").unwrap().unwrap(), ["1", "2", "3", "4"]);
        assert_eq!(distinct_texts(&source, "x").unwrap(), None);
    }
}
