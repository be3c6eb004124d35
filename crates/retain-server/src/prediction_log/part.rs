//! One Parquet file of the log while it grows: written beside its place, synced, and renamed once it is complete.

use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::DateTime;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::Settings;
use super::rows::{Row, Rows};
use crate::models::LiveModel;

/// Cells that are gathered, in all files together, before they become columns of a file.
const BUFFERED_CELLS: usize = 1 << 18;
/// Memory of row groups, in all files together, before one is written out.
const GROUP_BYTES: usize = 16 << 20;
/// What the name of a file ends with until it is complete.
const SUFFIX: &str = ".unfinished";
/// No server lets a file grow for more than a day.
const ABANDONED_AFTER: Duration = Duration::from_hours(48);

/// A file that is not complete yet.
pub(super) struct Part {
    place: PathBuf,
    temporary: PathBuf,
    writer: ArrowWriter<File>,
    rows: Rows,
    n_rows: u64,
    began: Instant,
}

impl Part {
    /// Begins a file for a version, in a folder of its own below `folder`; `time` is that of its first row.
    pub(super) fn begin(folder: &Path, model: &Arc<LiveModel>, time: i64) -> Result<Self, Error> {
        let manifest = model.scorer.manifest();
        let folder = folder.join(manifest.name.as_str()).join(manifest.version.to_string());
        fs::create_dir_all(&folder)?;
        // Several servers may write to one folder.
        let random = RandomState::new().hash_one(std::process::id());
        let time = DateTime::from_timestamp_micros(time).unwrap_or_default().format("%Y%m%dT%H%M%SZ");
        let name = format!("{time}-{random:016x}.parquet");
        let (temporary, place) = (folder.join(format!(".{name}{SUFFIX}")), folder.join(name));
        let rows = Rows::new(model);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let file = File::create_new(&temporary)?;
        let writer = ArrowWriter::try_new(file, rows.schema().clone(), Some(properties)).map_err(Error::other)?;
        Ok(Self { place, temporary, writer, rows, n_rows: 0, began: Instant::now() })
    }

    /// Adds a row; as one of `n_parts` it may take its part of the memory.
    pub(super) fn push(&mut self, row: &Row<'_>, n_parts: usize) -> Result<(), Error> {
        self.rows.push(row);
        self.n_rows += 1;
        if self.rows.n_cells() * n_parts >= BUFFERED_CELLS {
            self.write_rows()?;
            if self.writer.in_progress_size() * n_parts >= GROUP_BYTES {
                self.writer.flush().map_err(Error::other)?;
            }
        }
        Ok(())
    }

    fn write_rows(&mut self) -> Result<(), Error> {
        let batch = self.rows.take().map_err(Error::other)?;
        self.writer.write(&batch).map_err(Error::other)
    }

    /// Whether it holds what this model has predicted.
    pub(super) fn is_of(&self, model: &Arc<LiveModel>) -> bool {
        Arc::ptr_eq(self.rows.model(), model)
    }

    /// Rows that are lost when the file is.
    pub(super) fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// When it was begun.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Whether the next row belongs into the next file.
    pub(super) fn is_due(&self, settings: &Settings) -> bool {
        // What is gathered will take less once it is compressed.
        let bytes = self.writer.bytes_written() + self.writer.in_progress_size();
        self.n_rows >= settings.rotate_rows
            || bytes as u64 >= settings.rotate_bytes
            || self.began.elapsed().as_secs() >= settings.rotate_seconds
    }

    /// Completes the file and puts it in its place.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.write_rows()?;
        self.writer.finish().map_err(Error::other)?;
        self.writer.inner().sync_all()?;
        fs::rename(&self.temporary, &self.place)?;
        // The rename lasts through a power cut where the system lets a folder be synced.
        if let Some(folder) = self.place.parent().and_then(|folder| File::open(folder).ok()) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

/// Removes what servers that broke off have left below `folder`: such a file has no end and cannot be read.
pub(super) fn remove_abandoned(folder: &Path) {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries(folder).flat_map(|model| entries(&model)).flat_map(|version| entries(&version)) {
        let is_ours =
            path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with('.') && name.ends_with(SUFFIX));
        let written = path.metadata().and_then(|file| file.modified()).ok().and_then(|time| time.elapsed().ok());
        if is_ours && written.is_some_and(|ago| ago > ABANDONED_AFTER) {
            tracing::warn!(file = %path.display(), "a part of the prediction log that was never completed is removed");
            let _ = fs::remove_file(&path);
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Nothing lies there any more once the file is in its place.
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_was_left_unfinished_is_removed_once_nobody_can_be_writing_it() {
        let folder = tempfile::tempdir().unwrap();
        let version = folder.path().join("telco/1");
        fs::create_dir_all(&version).unwrap();
        let file = |name: &str, hours: u64| {
            let path = version.join(name);
            let written = SystemTime::now() - Duration::from_hours(hours);
            File::create_new(&path).unwrap().set_modified(written).unwrap();
            path
        };
        let (old, young) = (file(".a.parquet.unfinished", 49), file(".b.parquet.unfinished", 47));
        let (complete, foreign) = (file("c.parquet", 99), file(".d", 99));
        remove_abandoned(folder.path());
        assert!(!old.exists() && young.exists() && complete.exists() && foreign.exists());
    }
}
