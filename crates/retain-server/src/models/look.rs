//! A look at the models directory that reads no bundle: enough to see what has changed since the last one.
//!
//! Links are followed, for mounted volumes are made of them: the root, a model's folder, a version's folder and single files may be
//! links. Names from requests and from alias files never lead out of the root: a model's name has no dots and slashes, and a version
//! is a number. Where a link leads is the choice of whoever may write to the directory; a link that is bent shows as other files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use retain_core::ModelName;
use retain_score::{Aliases, BundleStamp, Registry, RegistryError};

use crate::text::chain;

/// What one model's folder looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Where the registry points the aliases.
    pub(super) aliases: Aliases,
    /// All versions in the registry, rising.
    pub(super) published: Vec<u32>,
    /// The files of the versions that an alias points at.
    stamps: BTreeMap<u32, BundleStamp>,
    /// Why the aliases or the versions could not be read.
    pub(super) trouble: Option<String>,
    /// Whether there is an alias file at all.
    pub(super) has_aliases: bool,
}

/// What the whole directory looks like.
pub(super) type Looks = BTreeMap<ModelName, Look>;

impl Look {
    /// Looks at one model. The stamps are taken here, before anything of the bundles is read.
    pub(super) fn at(registry: &Registry, name: &ModelName) -> Self {
        let has_aliases = aliases_file(registry, name).exists();
        match registry.aliases(name).and_then(|aliases| Ok((aliases, registry.versions(name)?))) {
            Ok((aliases, published)) => {
                let wanted: BTreeSet<u32> = aliases.values().copied().collect();
                let stamp = |version| (version, BundleStamp::of(&registry.path(name, version)));
                let stamps = wanted.into_iter().map(stamp).collect();
                Self { aliases, published, stamps, trouble: None, has_aliases }
            }
            Err(error) => Self { trouble: Some(chain(&error)), has_aliases, ..Self::default() },
        }
    }

    /// The versions that an alias points at, rising.
    pub(super) fn wanted(&self) -> impl Iterator<Item = u32> {
        self.stamps.keys().copied()
    }

    /// Whether a version's files look as they did before.
    pub(super) fn is_unchanged(&self, version: u32, before: &Self) -> bool {
        self.stamps.get(&version).is_some_and(|stamp| before.stamps.get(&version) == Some(stamp))
    }
}

/// Looks at every model.
///
/// # Errors
/// [`RegistryError::Io`] when the root cannot be read.
pub(super) fn look(registry: &Registry) -> Result<Looks, RegistryError> {
    Ok(names(registry)?.into_iter().map(|name| (name.clone(), Look::at(registry, &name))).collect())
}

/// The models that have a version, and those that should have: a folder with aliases whose bundles have lost their manifests.
fn names(registry: &Registry) -> Result<BTreeSet<ModelName>, RegistryError> {
    let mut names: BTreeSet<ModelName> = registry.names()?.into_iter().collect();
    // The registry has just read this folder; if it is gone now, there is nothing to add.
    for entry in std::fs::read_dir(registry.root()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_str().and_then(|name| ModelName::new(name).ok());
        names.extend(name.filter(|name| aliases_file(registry, name).is_file()));
    }
    Ok(names)
}

/// Where a model's aliases stand.
pub(super) fn aliases_file(registry: &Registry, name: &ModelName) -> PathBuf {
    registry.root().join(name.as_str()).join("aliases.json")
}
