//! The files of the customer table: which there are, whether they changed, and whether they are whole.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use retain_core::Day;

use super::CustomersError;

/// Most files of a folder.
const MAX_FILES: usize = 10_000;

/// The files as they were at one look, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files(pub(super) Vec<FileState>);

/// What tells whether a file is another one than it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileState {
    pub(super) path: PathBuf,
    n_bytes: u64,
    modified: SystemTime,
    inode: u64,
}

impl Files {
    /// Looks at a file, or at the files of a folder whose names begin with neither `.` nor `_`.
    pub(super) fn look(path: &Path) -> Result<Self, CustomersError> {
        let read = |source| CustomersError::Read { path: path.to_owned(), source };
        if !fs::metadata(path).map_err(read)?.is_dir() {
            return Ok(Self(vec![FileState::look(path.to_owned())?]));
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b".") || name.as_encoded_bytes().starts_with(b"_"))
            {
                continue;
            }
            files.push(FileState::look(path)?);
            if files.len() > MAX_FILES {
                return Err(CustomersError::TooLarge { what: "files in one folder", limit: "10,000" });
            }
        }
        if files.is_empty() {
            return Err(CustomersError::EmptyFolder { path: path.to_owned() });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self(files))
    }

    /// Whether nobody seems to write them any more: they were written long enough ago. Parquet says by itself whether it is whole.
    pub(super) fn are_settled(&self, now: Day, after: Duration) -> bool {
        let is_old = |file: &FileState| (now.days() - file.modified().days()) * 86_400.0 >= after.as_secs_f64();
        self.0.iter().all(|file| is_old(file) || file.is_parquet())
    }
}

impl FileState {
    fn look(path: PathBuf) -> Result<Self, CustomersError> {
        let read = |source| CustomersError::Read { path: path.clone(), source };
        let metadata = fs::metadata(&path).map_err(read)?;
        if !metadata.is_file() {
            return Err(CustomersError::NotAFile { path });
        }
        let modified = metadata.modified().map_err(read)?;
        Ok(Self { n_bytes: metadata.len(), modified, inode: inode(&metadata), path })
    }

    /// When it was written.
    pub(super) fn modified(&self) -> Day {
        let seconds = match self.modified.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => after.as_secs_f64(),
            Err(before) => -before.duration().as_secs_f64(),
        };
        Day::from_seconds(seconds)
    }

    fn is_parquet(&self) -> bool {
        let mut head = [0; 4];
        File::open(&self.path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == *b"PAR1"
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_its_visible_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", "_SUCCESS", ".a.csv.crc"] {
            fs::write(folder.path().join(name), "id\n1\n").unwrap();
        }
        let files = Files::look(folder.path()).unwrap();
        let names: Vec<_> = files.0.iter().map(|file| file.path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.csv", "b.csv"]);
        assert_eq!(files, Files::look(folder.path()).unwrap());
        fs::write(folder.path().join("a.csv"), "id\n1\n2\n").unwrap();
        assert_ne!(files, Files::look(folder.path()).unwrap());
        fs::create_dir(folder.path().join("c.csv")).unwrap();
        assert!(matches!(Files::look(folder.path()), Err(CustomersError::NotAFile { .. })));
    }

    #[test]
    fn folders_without_files_and_paths_without_anything_are_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Files::look(folder.path()), Err(CustomersError::EmptyFolder { .. })));
        assert!(matches!(Files::look(&folder.path().join("none")), Err(CustomersError::Read { .. })));
    }

    #[test]
    fn text_is_taken_when_it_was_left_alone_and_parquet_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (text, parquet) = (folder.path().join("a.csv"), folder.path().join("a.parquet"));
        fs::write(&text, "id\n1\n").unwrap();
        fs::write(&parquet, "PAR1").unwrap();
        let ten = Duration::from_secs(10);
        let files = Files::look(&text).unwrap();
        let after = |seconds: f64| Day::from_days(files.0[0].modified().days() + seconds / 86_400.0);
        assert!(!files.are_settled(after(5.0), ten));
        assert!(files.are_settled(after(11.0), ten));
        assert!(Files::look(&parquet).unwrap().are_settled(after(0.0), ten));
    }
}
