//! A file that appears whole or not at all: written beside its place, synced, renamed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::exit::Complaint;
use crate::interrupt;

/// A file being written; dropped before [`WholeFile::commit`], it leaves nothing behind.
pub(crate) struct WholeFile {
    file: File,
    destination: PathBuf,
    /// None where the destination is a device or a pipe: nothing can be renamed over those.
    temporary: Option<PathBuf>,
}

impl WholeFile {
    /// Begins a file that will lie at `path`; a link is followed, so that its target is replaced and not the link.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let attempt = || format!("cannot write `{}`", path.display());
        let destination = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if destination.is_dir() {
            let message = format!("cannot write `{}`: it is a directory", path.display());
            return Err(Complaint::usage(message).hint("name a file inside it").into());
        }
        if destination.exists() && !destination.is_file() {
            let file = File::options().write(true).open(&destination).with_context(attempt)?;
            return Ok(Self { file, destination, temporary: None });
        }
        let Some(name) = destination.file_name() else {
            return Err(Complaint::usage(format!("`{}` is not the name of a file", path.display())).into());
        };
        let temporary = destination.with_file_name(format!(".{}.new-{}", name.to_string_lossy(), std::process::id()));
        let file = File::create(&temporary).with_context(attempt)?;
        interrupt::set_unfinished(&temporary);
        Ok(Self { file, destination, temporary: Some(temporary) })
    }

    /// Another handle to write through.
    pub(crate) fn handle(&self) -> Result<File> {
        self.file.try_clone().with_context(|| format!("cannot write `{}`", self.destination.display()))
    }

    /// Puts the file in its place.
    pub(crate) fn commit(mut self) -> Result<()> {
        let Some(temporary) = self.temporary.take() else { return Ok(()) };
        let attempt = || format!("cannot write `{}`", self.destination.display());
        let placed = self.file.sync_all().and_then(|()| fs::rename(&temporary, &self.destination));
        if placed.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        interrupt::clear_unfinished();
        placed.with_context(attempt)
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // Best effort: the error that ended the work is the one that matters.
            let _ = fs::remove_file(temporary);
            interrupt::clear_unfinished();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_appears_only_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.csv");
        fs::write(&path, "old").unwrap();
        let file = WholeFile::create(&path).unwrap();
        file.handle().unwrap().write_all(b"half").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let file = WholeFile::create(&path).unwrap();
        file.handle().unwrap().write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
