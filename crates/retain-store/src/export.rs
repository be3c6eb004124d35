//! The log as a Parquet file, for whoever learns from it elsewhere: one row for each decision, with its reports as lists.
//!
//! | column | type | |
//! |---|---|---|
//! | `id`, `customer_id`, `playbook`, `playbook_sha256`, `action`, `currency` | text | as in the log |
//! | `decided_at`, `window_closes_at` | timestamp, ms, UTC | |
//! | `channel` | text or null | |
//! | `propensity`, `expected_value`, `cost` | double | |
//! | `holdout` | boolean | |
//! | `context`, `candidates` | text | JSON |
//! | `overridden_by` | text or null | what was done instead, by the last override |
//! | `outcomes` | list of `key`, `kind`, `occurred_at`, `value`, `value_minor_units`, `currency` | oldest first; three may be null |
//! | `overrides` | list of `key`, `action`, `who`, `why`, `occurred_at` | oldest first |

mod columns;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::error::{Cause, StoreError};
use crate::store::Store;
use columns::batch;

/// Memory of a row group before it is written out.
const GROUP_BYTES: usize = 16 << 20;

impl Store {
    /// Writes all decisions with their reports to a Parquet file, in the order of their ids, and says how many there are.
    ///
    /// The file is written beside its place, synced and renamed, so that it is whole or not there. Memory is bounded by some tens of
    /// megabytes, whatever the log's size. Decisions that are recorded meanwhile may be in it. Blocks until it is done.
    ///
    /// # Errors
    /// [`StoreError::Export`] for the file, and what can befall every call for the log.
    pub fn export(&self, path: &Path) -> Result<u64, StoreError> {
        let unfinished = unfinished(path);
        let exported = self.write_rows(&unfinished).and_then(|n_rows| {
            fs::rename(&unfinished, path).map_err(|error| failed(path, error))?;
            sync_folder(path);
            Ok(n_rows)
        });
        if exported.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        exported
    }

    fn write_rows(&self, path: &Path) -> Result<u64, StoreError> {
        let file = File::create(path).map_err(|error| failed(path, error))?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let schema = batch(&[]).map_err(|error| failed(path, error))?.schema();
        let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(|error| failed(path, error))?;
        let (mut n_rows, mut after) = (0, None);
        loop {
            let page = self.all(after).wait()?;
            let rows = batch(&page.decisions).map_err(|error| failed(path, error))?;
            writer.write(&rows).map_err(|error| failed(path, error))?;
            if writer.in_progress_size() >= GROUP_BYTES {
                writer.flush().map_err(|error| failed(path, error))?;
            }
            n_rows += page.decisions.len() as u64;
            let Some(next) = page.next else { break };
            after = Some(next.id);
        }
        writer.finish().map_err(|error| failed(path, error))?;
        writer.inner().sync_all().map_err(|error| failed(path, error))?;
        Ok(n_rows)
    }
}

/// Hidden beside the file's place, on the same disk.
fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.unfinished"))
}

/// The rename lasts through a power cut where the system lets a folder be synced.
fn sync_folder(path: &Path) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(folder) = File::open(parent) {
        let _ = folder.sync_all();
    }
}

fn failed(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    let source: Cause = Arc::new(error);
    StoreError::Export { path: path.to_owned(), source }
}
