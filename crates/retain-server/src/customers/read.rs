//! From files to a customer table: one thread reads, another one packs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use retain_core::nearest;
use retain_data::{Cells, TableBatches, TableSource};

use super::column::{ColumnError, Wanted};
use super::files::{FileState, Files};
use super::table::{Batch, BatchError, Table, TableBuilder};
use super::{CustomersError, FeatureTable};

/// Batches that wait to be packed.
const WAITING_BATCHES: usize = 4;

/// Reads these columns of the files.
pub(super) fn read_table(
    settings: &FeatureTable,
    entity: &str,
    wanted: &[Wanted],
    files: &Files,
) -> Result<Table, CustomersError> {
    let mut reading: Option<Reading> = None;
    for file in &files.0 {
        let failed = |source| CustomersError::Table { path: file.path.clone(), source };
        let source = TableSource::open(&file.path).map_err(failed)?;
        let layout = Layout::of(&source, settings, entity, wanted, &file.path)?;
        let reading = match &mut reading {
            Some(reading) => {
                reading.check_columns(&source, &file.path)?;
                reading
            }
            none => none.insert(Reading::new(&source, settings, wanted, &layout)?),
        };
        reading.add(&source, &layout, file)?;
    }
    // Files that changed meanwhile may be half the old and half the new ones.
    if Files::look(&settings.path)? != *files {
        return Err(CustomersError::Changed);
    }
    let table = reading.ok_or_else(|| CustomersError::EmptyFolder { path: settings.path.clone() })?.builder.finish();
    if table.n_customers() == 0 {
        return Err(CustomersError::NoIds { column: entity.to_owned() });
    }
    Ok(table)
}

/// Where the columns stand in the batches of one file.
struct Layout {
    /// Positions in the file, rising.
    idxs: Vec<usize>,
    /// Positions in a batch.
    entity: usize,
    observed: Option<usize>,
    columns: Vec<Option<usize>>,
}

impl Layout {
    fn of(
        source: &TableSource,
        settings: &FeatureTable,
        entity: &str,
        wanted: &[Wanted],
        path: &Path,
    ) -> Result<Self, CustomersError> {
        let required = |column: &str| {
            source.column_idx(column).ok_or_else(|| {
                let near = nearest(column, source.columns().iter().map(String::as_str));
                let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                CustomersError::NoColumn { path: path.to_owned(), column: column.to_owned(), hint }
            })
        };
        let entity = required(entity)?;
        let observed = settings.observed_at.as_deref().map(required).transpose()?;
        let columns: Vec<Option<usize>> = wanted.iter().map(|wanted| source.column_idx(&wanted.name)).collect();
        let idxs: BTreeSet<usize> = columns.iter().flatten().copied().chain([entity]).chain(observed).collect();
        let idxs: Vec<usize> = idxs.into_iter().collect();
        let place = |idx: usize| idxs.partition_point(|&known| known < idx);
        let (entity, observed) = (place(entity), observed.map(place));
        Ok(Self { columns: columns.into_iter().map(|idx| idx.map(place)).collect(), entity, observed, idxs })
    }
}

/// A table while its files are read.
struct Reading {
    builder: TableBuilder,
    /// The columns of the first file.
    names: BTreeSet<String>,
}

impl Reading {
    fn new(source: &TableSource, settings: &FeatureTable, wanted: &[Wanted], layout: &Layout) -> Result<Self, CustomersError> {
        if layout.columns.iter().all(Option::is_none) {
            let columns = wanted.iter().take(5).map(|wanted| format!("`{}`", wanted.name)).collect::<Vec<_>>().join(", ");
            return Err(CustomersError::NoFeatures { columns });
        }
        let asked = wanted.iter().zip(&layout.columns).map(|(wanted, place)| (wanted.clone(), place.is_some())).collect();
        let builder = TableBuilder::new(asked, settings.observed_at.as_deref());
        Ok(Self { builder, names: source.columns().iter().cloned().collect() })
    }

    /// A column that only some files have would be missing for some customers without a word.
    fn check_columns(&self, source: &TableSource, path: &Path) -> Result<(), CustomersError> {
        let names: BTreeSet<String> = source.columns().iter().cloned().collect();
        match names.symmetric_difference(&self.names).next() {
            None => Ok(()),
            Some(column) => Err(CustomersError::OtherColumns { path: path.to_owned(), column: column.clone() }),
        }
    }

    fn add(&mut self, source: &TableSource, layout: &Layout, file: &FileState) -> Result<(), CustomersError> {
        let failed = |source| CustomersError::Table { path: file.path.clone(), source };
        let batches = source.batches(&layout.idxs).map_err(failed)?;
        let written = file.modified();
        ahead(batches, |batches| {
            for batch in batches {
                let batch = batch.map_err(failed)?;
                let cells = |place: usize| Cells::of(batch.column(place));
                let columns = layout.columns.iter().flatten().map(|&place| cells(place)).collect();
                let (n_rows, ids, observed) = (batch.num_rows(), cells(layout.entity), layout.observed.map(cells));
                let added = self.builder.add(&Batch { n_rows, ids, observed, written, columns });
                added.map_err(|error| refused(error, &file.path))?;
            }
            Ok(())
        })
    }
}

type ReadBatch = <TableBatches as Iterator>::Item;

/// Lets a thread of its own read ahead of what is done with the batches.
fn ahead<T>(
    batches: TableBatches,
    work: impl FnOnce(Receiver<ReadBatch>) -> Result<T, CustomersError>,
) -> Result<T, CustomersError> {
    let (sender, receiver) = sync_channel(WAITING_BATCHES);
    thread::scope(|scope| {
        let reader = thread::Builder::new().name("customer table".to_owned()).spawn_scoped(scope, move || {
            for batch in batches {
                if sender.send(batch).is_err() {
                    break;
                }
            }
        });
        reader.map_err(|source| CustomersError::Thread { source })?;
        work(receiver)
    })
}

fn refused(error: BatchError, path: &Path) -> CustomersError {
    match error {
        BatchError::TooManyRows => CustomersError::TooLarge { what: "rows", limit: "4,294,967,295" },
        BatchError::TooManyIds => CustomersError::TooLarge { what: "bytes of customers' ids", limit: "4 GiB" },
        BatchError::Column { problem: ColumnError::TooManyTexts, .. } => {
            CustomersError::TooLarge { what: "bytes of different texts in one column", limit: "4 GiB" }
        }
        BatchError::Column { name, problem: ColumnError::MixedTypes } => {
            CustomersError::MixedTypes { path: path.to_owned(), column: name }
        }
    }
}
