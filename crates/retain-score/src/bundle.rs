//! A model bundle on disk: written whole or not at all, and believed only after its checksums, its model and its check rows.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use retain_core::{FeatureSchema, SchemaError};
use sha2::{Digest, Sha256};

use crate::check_rows::{CheckRowError, CheckRows};
use crate::format::FormatError;
use crate::manifest::{BUNDLE_FORMAT_VERSION, Manifest};
use crate::model::{Model, ModelError};
use crate::predictor::Predictor;

/// The file that names the others.
pub const MANIFEST: &str = "manifest.json";
/// The files of a bundle beside its manifest.
pub const FILES: [&str; 6] = ["schema.json", "model.bin", "metrics.json", "reference.json", "check_rows.json", "MODEL_CARD.md"];
/// No file of a bundle may be larger; a model of the size allowed stays far below.
const MAX_FILE_BYTES: u64 = 4 << 30;
const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// Room that is made for a file before it is read; more is made when so many bytes have come.
const MAX_ROOM_BYTES: u64 = 64 << 20;

/// A bundle in memory, as written or as read and verified.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// What it is.
    pub manifest: Manifest,
    /// What it expects of a row.
    pub schema: FeatureSchema,
    /// The model.
    pub model: Model,
    /// Rows with their expected outputs.
    pub check_rows: CheckRows,
    /// `metrics.json`.
    pub metrics: Vec<u8>,
    /// `reference.json`.
    pub reference: Vec<u8>,
    /// `MODEL_CARD.md`.
    pub card: String,
    /// Bytes of all files together, where it was read.
    pub size_bytes: u64,
}

/// Why a bundle is not believed, or could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// There is no bundle in this folder.
    #[error("`{path}` is not a model bundle: it has no manifest.json")]
    NotABundle {
        /// The folder.
        path: PathBuf,
    },
    /// A file of the bundle is not there.
    #[error("bundle `{path}`: the file `{file}` is missing")]
    MissingFile {
        /// The folder.
        path: PathBuf,
        /// The file.
        file: String,
    },
    /// A file could not be read or written.
    #[error("bundle `{path}`: cannot {action}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What was tried, on which file.
        action: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Something stands in a file's place that is not a file: reading it might never end.
    #[error("bundle `{path}`: `{file}` is not a regular file")]
    NotAFile {
        /// The folder.
        path: PathBuf,
        /// The file.
        file: String,
    },
    /// A file is larger than any bundle's.
    #[error("bundle `{path}`: `{file}` has {found} bytes, more than the {limit} allowed")]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// The file.
        file: String,
        /// Its size.
        found: u64,
        /// What is allowed.
        limit: u64,
    },
    /// Written by a newer build.
    #[error("bundle `{path}`: format version {found}, this build reads up to {supported}; use a newer retain")]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// The bundle's version.
        found: u32,
        /// The newest known.
        supported: u32,
    },
    /// A JSON file that does not hold what it should.
    #[error("bundle `{path}`: `{file}` is not what it should be")]
    Json {
        /// The folder.
        path: PathBuf,
        /// The file.
        file: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A file's bytes are not those that were written.
    #[error("bundle `{path}`: the checksum of `{file}` is wrong: the manifest says {expected}, the file has {found}")]
    Checksum {
        /// The folder.
        path: PathBuf,
        /// The file.
        file: String,
        /// SHA-256 in the manifest.
        expected: String,
        /// SHA-256 of the bytes.
        found: String,
    },
    /// The schema does not hold together.
    #[error("bundle `{path}`: `schema.json`")]
    Schema {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        source: SchemaError,
    },
    /// `model.bin` is not a model.
    #[error("bundle `{path}`: `model.bin`")]
    Format {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        source: FormatError,
    },
    /// The model does not hold together, or does not fit the schema.
    #[error("bundle `{path}`: `model.bin`")]
    Model {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        source: ModelError,
    },
    /// The model and the schema have different numbers of features.
    #[error("bundle `{path}`: `model.bin` has {found} features, `schema.json` has {expected}")]
    FeatureCount {
        /// The folder.
        path: PathBuf,
        /// Features of the schema.
        expected: usize,
        /// Features of the model.
        found: usize,
    },
    /// The model does not give the answers it gave when it was made.
    #[error("bundle `{path}`: `check_rows.json`")]
    CheckRows {
        /// The folder.
        path: PathBuf,
        /// Which row and how.
        source: CheckRowError,
    },
    /// The place to write to is taken.
    #[error("`{path}` exists and is not empty")]
    Exists {
        /// The folder.
        path: PathBuf,
    },
}

impl Bundle {
    /// Reads a bundle and believes nothing: checksums, formats, the model's structure, and the check rows' answers.
    ///
    /// # Errors
    /// [`BundleError`] names the folder, the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        Ok(Self::open(path)?.0)
    }

    /// As [`Bundle::read`], and keeps the compiled model that scored the check rows.
    ///
    /// # Errors
    /// As [`Bundle::read`].
    pub fn open(path: &Path) -> Result<(Self, Predictor), BundleError> {
        let bundle = Self::parse(path)?;
        let predictor = verified(path, bundle.model.clone(), &bundle.schema, &bundle.check_rows)?;
        Ok((bundle, predictor))
    }

    /// As [`Bundle::open`], for a caller who needs the model to score alone and no second copy of it.
    pub(crate) fn open_to_score(path: &Path) -> Result<(Manifest, FeatureSchema, Predictor), BundleError> {
        let Self { manifest, schema, model, check_rows, .. } = Self::parse(path)?;
        let predictor = verified(path, model, &schema, &check_rows)?;
        Ok((manifest, schema, predictor))
    }

    /// What the files say, in the right form and with the right checksums; the model is still to be verified.
    fn parse(path: &Path) -> Result<Self, BundleError> {
        let (manifest, manifest_bytes) = read_manifest(path)?;
        let files = read_files(path, &manifest)?;
        let file = |name: &str| files.get(name).map_or(&[][..], Vec::as_slice);
        let json = |name: &str, source| BundleError::Json { path: path.to_owned(), file: name.to_owned(), source };

        let schema: FeatureSchema = serde_json::from_slice(file("schema.json")).map_err(|source| json("schema.json", source))?;
        let schema = schema.indexed().map_err(|source| BundleError::Schema { path: path.to_owned(), source })?;
        let (model, n_features) =
            Model::decode(file("model.bin")).map_err(|source| BundleError::Format { path: path.to_owned(), source })?;
        if n_features != schema.n_features() {
            return Err(BundleError::FeatureCount { path: path.to_owned(), expected: schema.n_features(), found: n_features });
        }
        let check_rows: CheckRows =
            serde_json::from_slice(file("check_rows.json")).map_err(|source| json("check_rows.json", source))?;
        for name in ["metrics.json", "reference.json"] {
            serde_json::from_slice::<serde::de::IgnoredAny>(file(name)).map_err(|source| json(name, source))?;
        }
        Ok(Self {
            schema,
            model,
            check_rows,
            metrics: file("metrics.json").to_vec(),
            reference: file("reference.json").to_vec(),
            card: String::from_utf8_lossy(file("MODEL_CARD.md")).into_owned(),
            size_bytes: files.values().map(|bytes| bytes.len() as u64).sum::<u64>() + manifest_bytes,
            manifest,
        })
    }

    /// Reads the bundle at `path` again and compares its checksums with a manifest that was believed before; the model is not built.
    ///
    /// False when another manifest lies there: then [`Bundle::open`] has to say what that is.
    ///
    /// # Errors
    /// [`BundleError`] when a file is missing, cannot be read, or is not what was written.
    pub fn is_intact(path: &Path, manifest: &Manifest) -> Result<bool, BundleError> {
        if read_manifest(path)?.0 != *manifest {
            return Ok(false);
        }
        // One file at a time: a model may be large, and this one is in memory already.
        for name in FILES {
            read_checked(path, name, manifest)?;
        }
        Ok(true)
    }

    /// Writes the bundle to the folder `path`: first beside it, synced to disk, then renamed into place.
    ///
    /// An empty folder at `path` is replaced; the checksums in the manifest are made here.
    ///
    /// # Errors
    /// [`BundleError::Exists`] when something stands at `path`; [`BundleError::Io`] when the disk refuses. Nothing is left half written.
    pub fn write(&self, path: &Path) -> Result<(), BundleError> {
        if is_taken(path) {
            return Err(BundleError::Exists { path: path.to_owned() });
        }
        let written = self.write_beside(path, |temporary| fs::rename(temporary, path));
        match written {
            // Somebody else wrote to the same place meanwhile.
            Err(BundleError::Io { .. }) if is_taken(path) => Err(BundleError::Exists { path: path.to_owned() }),
            other => other,
        }
    }

    /// Writes the bundle over another one at `path`, which is gone only once the new one is complete.
    ///
    /// # Errors
    /// As [`Bundle::write`]; a folder that holds something else than a bundle is left alone.
    pub fn replace(&self, path: &Path) -> Result<(), BundleError> {
        if !is_taken(path) {
            return self.write(path);
        }
        if !path.join(MANIFEST).is_file() || holds_strangers(path) {
            return Err(BundleError::Exists { path: path.to_owned() });
        }
        self.write_beside(path, |temporary| {
            let old = beside(path, "old");
            fs::rename(path, &old)?;
            if let Err(error) = fs::rename(temporary, path) {
                // The old bundle goes back to its place; if that fails too, it still lies beside it.
                let _ = fs::rename(&old, path);
                return Err(error);
            }
            fs::remove_dir_all(&old)
        })
    }

    fn write_beside(&self, path: &Path, place: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), BundleError> {
        let temporary = beside(path, "new");
        let result = self.write_files(path, &temporary).and_then(|()| {
            place(&temporary).map_err(|source| io_error(path, "rename the new bundle into place".to_owned(), source))?;
            sync_folder(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")));
            Ok(())
        });
        if result.is_err() {
            // Best effort: the error that matters is the one being returned.
            let _ = fs::remove_dir_all(&temporary);
        }
        result
    }

    /// Writes all files into `folder`; errors speak of `path`, where they are to end up.
    fn write_files(&self, path: &Path, folder: &Path) -> Result<(), BundleError> {
        fs::create_dir_all(folder).map_err(|source| io_error(path, "create the folder".to_owned(), source))?;
        let mut files = self.file_bytes(path)?;
        let mut manifest = self.manifest.clone();
        manifest.files = files.iter().map(|(name, bytes)| ((*name).to_owned(), sha256(bytes))).collect();
        manifest.schema_sha256 = manifest.files.get("schema.json").cloned().unwrap_or_default();
        files.insert(MANIFEST, pretty_json(path, MANIFEST, &manifest)?);
        for (name, bytes) in &files {
            write_synced(&folder.join(name), bytes).map_err(|source| io_error(path, format!("write `{name}`"), source))?;
        }
        sync_folder(folder);
        Ok(())
    }

    fn file_bytes(&self, path: &Path) -> Result<BTreeMap<&'static str, Vec<u8>>, BundleError> {
        let bytes = [
            pretty_json(path, "schema.json", &self.schema)?,
            self.model.encode(self.schema.n_features()),
            self.metrics.clone(),
            self.reference.clone(),
            pretty_json(path, "check_rows.json", &self.check_rows)?,
            self.card.clone().into_bytes(),
        ];
        Ok(FILES.into_iter().zip(bytes).collect())
    }
}

/// The compiled model, after it has given the check rows' answers.
fn verified(path: &Path, model: Model, schema: &FeatureSchema, check_rows: &CheckRows) -> Result<Predictor, BundleError> {
    let predictor = Predictor::of(model, schema).map_err(|source| BundleError::Model { path: path.to_owned(), source })?;
    let verified = check_rows.verify(schema, &predictor);
    verified.map_err(|source| BundleError::CheckRows { path: path.to_owned(), source })?;
    Ok(predictor)
}

/// The manifest and its size in bytes.
fn read_manifest(path: &Path) -> Result<(Manifest, u64), BundleError> {
    let bytes = match read_file(path, MANIFEST, MAX_MANIFEST_BYTES) {
        Err(BundleError::MissingFile { .. }) => return Err(BundleError::NotABundle { path: path.to_owned() }),
        other => other?,
    };
    Ok((parse_manifest(path, &bytes)?, bytes.len() as u64))
}

fn parse_manifest(path: &Path, bytes: &[u8]) -> Result<Manifest, BundleError> {
    #[derive(serde::Deserialize)]
    struct Version {
        format_version: u32,
    }
    let json = |source| BundleError::Json { path: path.to_owned(), file: MANIFEST.to_owned(), source };
    // The version first: a newer manifest may well have other fields.
    let version: Version = serde_json::from_slice(bytes).map_err(json)?;
    if version.format_version > BUNDLE_FORMAT_VERSION {
        let (found, supported) = (version.format_version, BUNDLE_FORMAT_VERSION);
        return Err(BundleError::NewerFormat { path: path.to_owned(), found, supported });
    }
    serde_json::from_slice(bytes).map_err(json)
}

fn read_files(path: &Path, manifest: &Manifest) -> Result<BTreeMap<&'static str, Vec<u8>>, BundleError> {
    let mut files = BTreeMap::new();
    for name in FILES {
        files.insert(name, read_checked(path, name, manifest)?);
    }
    Ok(files)
}

fn read_checked(path: &Path, name: &str, manifest: &Manifest) -> Result<Vec<u8>, BundleError> {
    let bytes = read_file(path, name, MAX_FILE_BYTES)?;
    let expected = manifest.files.get(name).cloned().unwrap_or_default();
    let found = sha256(&bytes);
    if found != expected {
        return Err(BundleError::Checksum { path: path.to_owned(), file: name.to_owned(), expected, found });
    }
    Ok(bytes)
}

fn read_file(path: &Path, name: &str, limit: u64) -> Result<Vec<u8>, BundleError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => BundleError::MissingFile { path: path.to_owned(), file: name.to_owned() },
        _ => io_error(path, format!("read `{name}`"), source),
    };
    // Asked before opening: opening a pipe waits for its other end.
    let metadata = fs::metadata(path.join(name)).map_err(failed)?;
    if !metadata.is_file() {
        return Err(BundleError::NotAFile { path: path.to_owned(), file: name.to_owned() });
    }
    let file = open_file(&path.join(name)).map_err(failed)?;
    let found = metadata.len();
    let mut bytes = Vec::with_capacity(found.min(MAX_ROOM_BYTES) as usize);
    // The size is asked again by reading: a file may grow, and some files have no size.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(BundleError::TooLarge { path: path.to_owned(), file: name.to_owned(), found, limit });
    }
    Ok(bytes)
}

/// Opens a file to read, and does not wait for a pipe's other end, should one have taken the file's place a moment ago.
pub(crate) fn open_file(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options.open(path)
}

fn io_error(path: &Path, action: String, source: std::io::Error) -> BundleError {
    BundleError::Io { path: path.to_owned(), action, source }
}

fn pretty_json(path: &Path, name: &str, value: &impl serde::Serialize) -> Result<Vec<u8>, BundleError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|source| BundleError::Json {
        path: path.to_owned(),
        file: name.to_owned(),
        source,
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Lower-case hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn is_taken(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.exists(),
    }
}

/// Whether a folder holds anything that is no part of a bundle.
fn holds_strangers(path: &Path) -> bool {
    let is_ours = |name: &std::ffi::OsStr| FILES.iter().chain([&MANIFEST]).any(|ours| name == *ours);
    fs::read_dir(path)
        .map_or(true, |entries| entries.into_iter().any(|entry| entry.map_or(true, |entry| !is_ours(&entry.file_name()))))
}

/// A hidden name in the same folder, so that a rename never crosses file systems.
pub(crate) fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // The process's number would not do: threads share it, and containers on one volume may have the same. Every
    // `RandomState` has other keys.
    let random = RandomState::new().hash_one(std::process::id());
    path.with_file_name(format!(".{name}.{what}-{random:016x}"))
}

pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a rename last through a power cut, where the system lets a folder be synced; elsewhere the rename alone has to do.
pub(crate) fn sync_folder(folder: &Path) {
    if let Ok(handle) = File::open(folder) {
        let _ = handle.sync_all();
    }
}
