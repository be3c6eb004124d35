//! Whether a name still stands for the file that was opened by it.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// The file and the log beside it, as they were when they were opened.
pub(super) struct OpenFiles {
    files: [(PathBuf, Identity); 2],
}

#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = ();

impl OpenFiles {
    /// Remembers both. The log is there once the connection has read or written anything.
    pub(super) fn remember(path: &Path) -> Result<Self, Error> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let known = |path: PathBuf| identity(&path).map(|identity| (path, identity));
        Ok(Self { files: [known(path.to_owned())?, known(log.into())?] })
    }

    /// Fails if either is gone or another one has its name.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.files.iter().try_for_each(|(path, opened)| match identity(path)? {
            found if found == *opened => Ok(()),
            _ => Err(Error::new(ErrorKind::NotFound, "another file has taken the place of the one that was opened")),
        })
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Result<Identity, Error> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Elsewhere a file that is open cannot be removed.
#[cfg(not(unix))]
fn identity(path: &Path) -> Result<Identity, Error> {
    fs::metadata(path).map(drop)
}
