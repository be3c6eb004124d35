//! The folder of published models: `<root>/<name>/<version>/` and `<root>/<name>/aliases.json`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use retain_core::{ModelAddress, ModelName, VersionSelector, nearest};

use crate::bundle::{Bundle, BundleError, MANIFEST, beside, open_file, sync_folder, write_synced};

/// Which version each alias of a model points at: `champion`, `challenger`, `shadow`.
pub type Aliases = BTreeMap<String, u32>;

/// The aliases that a model may have.
const ALIASES: [&str; 3] = ["champion", "challenger", "shadow"];
const ALIASES_FILE: &str = "aliases.json";
const MAX_ALIASES_BYTES: u64 = 64 << 10;

/// A folder of published models.
#[derive(Debug, Clone)]
pub struct Registry {
    root: PathBuf,
}

/// A published version and the aliases that point at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    /// The model.
    pub name: ModelName,
    /// The version.
    pub version: u32,
    /// Aliases that point here.
    pub aliases: Vec<String>,
}

/// What publishing came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The version the bundle has now.
    pub version: u32,
    /// Where it lies.
    pub path: PathBuf,
    /// False when the same bundle had been published before: nothing was written.
    pub is_new: bool,
}

/// Why a model was not found, or not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The folder cannot be read or written.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no model of this name.
    #[error("there is no model `{name}` in `{root}`{}", hint(.nearest.as_deref()))]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The registry.
        root: PathBuf,
        /// A name like it.
        nearest: Option<String>,
    },
    /// The model has no such version.
    #[error("model `{name}` has no version {version} in `{root}`")]
    UnknownVersion {
        /// The model.
        name: String,
        /// The version.
        version: u32,
        /// The registry.
        root: PathBuf,
    },
    /// The alias points nowhere.
    #[error("model `{name}` has no `{alias}`{}", hint(.nearest.as_deref()))]
    UnknownAlias {
        /// The model.
        name: String,
        /// The alias.
        alias: String,
        /// An alias like it.
        nearest: Option<String>,
    },
    /// `aliases.json` is not what it should be.
    #[error("`{path}` should be an object of alias and version")]
    Aliases {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The bundle itself.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

fn unknown_alias(name: &ModelName, alias: &str) -> RegistryError {
    let nearest = nearest(alias, ALIASES).map(str::to_owned);
    RegistryError::UnknownAlias { name: name.to_string(), alias: alias.to_owned(), nearest }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RegistryError {
    move |source| RegistryError::Io { action, path: path.to_owned(), source }
}

impl Registry {
    /// The registry in this folder; it need not exist yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The names of all models that have at least one version, in order.
    ///
    /// # Errors
    /// [`RegistryError::Io`] when the folder cannot be read; a folder that does not exist has no models.
    pub fn names(&self) -> Result<Vec<ModelName>, RegistryError> {
        let mut names = Vec::new();
        for entry in Self::entries(&self.root)? {
            let Ok(name) = ModelName::new(&entry) else { continue };
            if !self.versions(&name)?.is_empty() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The versions of a model, rising; empty when there is no such model.
    ///
    /// # Errors
    /// [`RegistryError::Io`] when the folder cannot be read.
    pub fn versions(&self, name: &ModelName) -> Result<Vec<u32>, RegistryError> {
        let folder = self.root.join(name.as_str());
        let mut versions: Vec<u32> = Self::entries(&folder)?
            .iter()
            .filter(|entry| !entry.starts_with('0'))
            .filter_map(|entry| entry.parse().ok())
            .filter(|version: &u32| folder.join(version.to_string()).join(MANIFEST).is_file())
            .collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// Every version of every model with its aliases.
    ///
    /// # Errors
    /// [`RegistryError`] when a folder or an alias file cannot be read.
    pub fn list(&self) -> Result<Vec<VersionInfo>, RegistryError> {
        let mut list = Vec::new();
        for name in self.names()? {
            let aliases = self.aliases(&name)?;
            for version in self.versions(&name)? {
                let here = aliases.iter().filter(|(_, target)| **target == version).map(|(alias, _)| alias.clone()).collect();
                list.push(VersionInfo { name: name.clone(), version, aliases: here });
            }
        }
        Ok(list)
    }

    /// Where each alias of a model points.
    ///
    /// # Errors
    /// [`RegistryError::Aliases`] when the file is not what it should be.
    pub fn aliases(&self, name: &ModelName) -> Result<Aliases, RegistryError> {
        let path = self.root.join(name.as_str()).join(ALIASES_FILE);
        match fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Aliases::new()),
            Err(error) => return Err(io("read", &path)(error)),
            Ok(metadata) if !metadata.is_file() || metadata.len() > MAX_ALIASES_BYTES => {
                return Err(io("read", &path)(std::io::Error::other("it is not a file of a few lines")));
            }
            Ok(_) => {}
        }
        let mut bytes = Vec::new();
        // Bounded again: the file may have been replaced a moment ago.
        open_file(&path).and_then(|file| file.take(MAX_ALIASES_BYTES).read_to_end(&mut bytes)).map_err(io("read", &path))?;
        let aliases: Aliases =
            serde_json::from_slice(&bytes).map_err(|source| RegistryError::Aliases { path: path.clone(), source })?;
        match aliases.keys().find(|alias| !ALIASES.contains(&alias.as_str())) {
            None => Ok(aliases),
            Some(unknown) => Err(unknown_alias(name, unknown)),
        }
    }

    /// Refuses what is no alias.
    ///
    /// # Errors
    /// [`RegistryError::UnknownAlias`] for another alias than `champion`, `challenger` or `shadow`.
    pub fn check_alias(&self, name: &ModelName, alias: &str) -> Result<(), RegistryError> {
        if ALIASES.contains(&alias) { Ok(()) } else { Err(unknown_alias(name, alias)) }
    }

    /// Points an alias at a version that exists.
    ///
    /// # Errors
    /// [`RegistryError::UnknownAlias`] for another alias than `champion`, `challenger` or `shadow`;
    /// [`RegistryError::UnknownVersion`] when there is no such version.
    pub fn set_alias(&self, name: &ModelName, alias: &str, version: u32) -> Result<(), RegistryError> {
        self.check_alias(name, alias)?;
        self.require_version(name, version)?;
        let folder = self.root.join(name.as_str());
        // Two promotions at once would each write back what the other had not yet changed.
        let lock = File::open(&folder).and_then(|folder| folder.lock().map(|()| folder)).map_err(io("lock", &folder))?;
        let mut aliases = self.aliases(name)?;
        aliases.insert(alias.to_owned(), version);
        let path = folder.join(ALIASES_FILE);
        let temporary = beside(&path, "new");
        let mut bytes =
            serde_json::to_vec_pretty(&aliases).map_err(|source| RegistryError::Aliases { path: path.clone(), source })?;
        bytes.push(b'\n');
        write_synced(&temporary, &bytes).map_err(io("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(io("write", &path))?;
        sync_folder(&folder);
        drop(lock);
        Ok(())
    }

    /// The folder of the version that an address means.
    ///
    /// # Errors
    /// [`RegistryError`] when there is no such model, version or alias.
    pub fn resolve(&self, address: &ModelAddress) -> Result<PathBuf, RegistryError> {
        let version = match &address.selector {
            VersionSelector::Version(version) => *version,
            VersionSelector::Alias(alias) => {
                self.require_model(&address.name)?;
                let aliases = self.aliases(&address.name)?;
                *aliases.get(alias).ok_or_else(|| RegistryError::UnknownAlias {
                    name: address.name.to_string(),
                    alias: alias.clone(),
                    nearest: nearest(alias, aliases.keys().map(String::as_str)).map(str::to_owned),
                })?
            }
        };
        self.require_version(&address.name, version)?;
        Ok(self.path(&address.name, version))
    }

    /// Publishes a verified bundle under the next free version, or finds that the same bundle is already there.
    ///
    /// Two bundles are the same when all their files but the manifest are byte for byte equal.
    ///
    /// # Errors
    /// [`RegistryError`] when the folder cannot be read or written.
    pub fn publish(&self, bundle: &Bundle) -> Result<Published, RegistryError> {
        let name = &bundle.manifest.name;
        let versions = self.versions(name)?;
        for &version in &versions {
            let path = self.path(name, version);
            if Bundle::read(&path).is_ok_and(|known| known.manifest.files == bundle.manifest.files) {
                return Ok(Published { version, path, is_new: false });
            }
        }
        let mut version = versions.last().map_or(1, |last| last + 1);
        loop {
            let path = self.path(name, version);
            let mut numbered = bundle.clone();
            numbered.manifest.version = version;
            match numbered.write(&path) {
                // Somebody else took the number between looking and writing.
                Err(BundleError::Exists { .. }) if version < u32::MAX => version += 1,
                other => return other.map(|()| Published { version, path, is_new: true }).map_err(Into::into),
            }
        }
    }

    /// The folder of a version, whether or not it exists.
    pub fn path(&self, name: &ModelName, version: u32) -> PathBuf {
        self.root.join(name.as_str()).join(version.to_string())
    }

    fn require_model(&self, name: &ModelName) -> Result<(), RegistryError> {
        if !self.versions(name)?.is_empty() {
            return Ok(());
        }
        let names = self.names()?;
        let nearest = nearest(name.as_str(), names.iter().map(ModelName::as_str)).map(str::to_owned);
        Err(RegistryError::UnknownModel { name: name.to_string(), root: self.root.clone(), nearest })
    }

    fn require_version(&self, name: &ModelName, version: u32) -> Result<(), RegistryError> {
        self.require_model(name)?;
        if self.versions(name)?.contains(&version) {
            return Ok(());
        }
        Err(RegistryError::UnknownVersion { name: name.to_string(), version, root: self.root.clone() })
    }

    /// Names of the visible entries of a folder; none when it does not exist.
    fn entries(folder: &Path) -> Result<Vec<String>, RegistryError> {
        let entries = match fs::read_dir(folder) {
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            other => other.map_err(io("read", folder))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io("read", folder))?;
            if let Ok(name) = entry.file_name().into_string()
                && !name.starts_with('.')
            {
                names.push(name);
            }
        }
        Ok(names)
    }
}
