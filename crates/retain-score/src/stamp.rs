//! What the file system says of a bundle's files: enough to see that somebody has touched them, without reading them.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::bundle::{FILES, MANIFEST};

/// Size, times and identity of every file of a bundle. Links are followed: a link that leads elsewhere is another stamp.
///
/// Two equal stamps mean that nobody has touched the files, as far as the file system tells; what they hold is known only after
/// [`crate::Bundle::read`]. Take the stamp before reading: then a change while reading shows in the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleStamp(Vec<Option<FileStamp>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    size: u64,
    modified: Option<SystemTime>,
    identity: Identity,
}

/// Which file it is, where the system numbers files, and when anything about it changed last.
#[cfg(unix)]
type Identity = (u64, u64, i64, i64);
#[cfg(not(unix))]
type Identity = ();

impl BundleStamp {
    /// The stamp of the bundle in this folder. Files that are not there, or cannot be asked, are part of the stamp too.
    pub fn of(path: &Path) -> Self {
        let names = std::iter::once(MANIFEST).chain(FILES);
        Self(names.map(|name| fs::metadata(path.join(name)).ok().map(|metadata| FileStamp::of(&metadata))).collect())
    }
}

impl FileStamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { size: metadata.len(), modified: metadata.modified().ok(), identity: identity(metadata) }
    }
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_metadata: &fs::Metadata) -> Identity {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_size_another_file_and_a_missing_file_are_other_stamps() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let stamp = || BundleStamp::of(folder.path());
        let nothing = stamp();
        write(MANIFEST, "{}");
        write("model.bin", "12");
        let first = stamp();
        assert_ne!(first, nothing);
        assert_eq!(first, stamp());
        write("model.bin", "123");
        let longer = stamp();
        assert_ne!(longer, first);
        // Another file of the same size in its place.
        write("other", "456");
        fs::rename(folder.path().join("other"), folder.path().join("model.bin")).unwrap();
        assert_ne!(stamp(), longer);
    }
}
