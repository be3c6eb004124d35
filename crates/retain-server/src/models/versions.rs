//! One model of the registry: its aliases are read, the versions they point at are verified and warmed up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use retain_core::{ModelAddress, ModelName, VersionSelector};
use retain_score::{Aliases, Bundle, BundleError, CheckRows, Manifest, Reference, Registry, Scorer};

use super::Refusal;
use crate::observed::Observed;
use crate::status::CallError;
use crate::text::{chain, printable};

/// A version that answers.
#[derive(Debug)]
pub(crate) struct LiveModel {
    pub(crate) scorer: Scorer,
    /// `metrics.json` as it stands in the bundle.
    pub(crate) metrics_json: String,
    /// `MODEL_CARD.md` as it stands in the bundle.
    pub(crate) card: String,
    /// Whether rows need a day of observation; the schema would have to be walked to know.
    pub(crate) has_dates: bool,
    /// What it is seen to do while it is live.
    pub(crate) observed: Arc<Observed>,
}

/// One model: its versions that answer, and what else was found of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct LiveVersions {
    /// Versions that answer.
    pub(crate) versions: BTreeMap<u32, Arc<LiveModel>>,
    /// Where the aliases point, as this server answers them; all targets stand in `versions`.
    pub(crate) aliases: Aliases,
    /// Where the registry points them; elsewhere than `aliases` where that was refused.
    wanted: Aliases,
    /// All versions in the registry, rising.
    pub(crate) published: Vec<u32>,
    /// What was refused when the registry was read.
    pub(crate) refused: Vec<Refusal>,
}

/// A model whose aliases are gone while its versions are there: damage, for aliases that are not wanted are taken out of the file.
#[derive(Debug, thiserror::Error)]
#[error("the file `{path}` is missing")]
struct AliasesGone {
    path: PathBuf,
}

/// Why one version is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("the bundle says that it is `{found}`")]
    Misplaced { found: String },
}

/// Where a model's aliases stand.
pub(super) fn aliases_file(registry: &Registry, name: &ModelName) -> PathBuf {
    registry.root().join(name.as_str()).join("aliases.json")
}

impl LiveVersions {
    /// Reads and verifies what the aliases point at; what is refused stays as it was `before`.
    pub(super) fn read(registry: &Registry, name: &ModelName, before: &Self) -> Self {
        let refused = |error: &dyn std::error::Error| {
            let refusal = Refusal { name: name.to_string(), version: None, reason: chain(error) };
            Self { refused: vec![refusal], ..before.clone() }
        };
        let path = aliases_file(registry, name);
        if !before.aliases.is_empty() && !path.exists() {
            return refused(&AliasesGone { path });
        }
        let found = registry.aliases(name).and_then(|aliases| Ok((aliases, registry.versions(name)?)));
        let (wanted, published) = match found {
            Ok(found) => found,
            Err(error) => return refused(&error),
        };
        let mut read = Self { published, wanted: wanted.clone(), ..Self::default() };
        for version in wanted.values().copied().collect::<BTreeSet<_>>() {
            match LiveModel::open(registry, name, version) {
                Ok(model) => {
                    read.versions.insert(version, Arc::new(model));
                }
                Err(error) => {
                    read.refused.push(Refusal { name: name.to_string(), version: Some(version), reason: chain(&error) });
                }
            }
        }
        for (alias, version) in wanted {
            read.point(alias, version, before);
        }
        read
    }

    /// Points an alias at its version, or where it was refused, at what the alias meant before.
    fn point(&mut self, alias: String, version: u32, before: &Self) {
        if self.versions.contains_key(&version) {
            self.aliases.insert(alias, version);
            return;
        }
        // The version's files may have been damaged after it was loaded: then what is in memory is still sound.
        let fallback = if before.versions.contains_key(&version) { Some(version) } else { before.aliases.get(&alias).copied() };
        if let Some((version, model)) = fallback.and_then(|version| Some((version, before.versions.get(&version)?))) {
            self.versions.entry(version).or_insert_with(|| model.clone());
            self.aliases.insert(alias, version);
        }
    }

    /// The version that answers to an alias.
    pub(super) fn by_alias(&self, alias: &str) -> Option<&Arc<LiveModel>> {
        self.versions.get(self.aliases.get(alias)?)
    }

    /// The aliases that this server answers with a version.
    pub(crate) fn aliases_of(&self, version: u32) -> Vec<String> {
        self.aliases.iter().filter(|(_, target)| **target == version).map(|(alias, _)| alias.clone()).collect()
    }

    /// Why a version was refused, if it was.
    pub(crate) fn refusal_of(&self, version: u32) -> Option<&Refusal> {
        self.refused.iter().find(|refusal| refusal.version == Some(version))
    }

    /// Why nothing answers to this address: a description when there is no such thing, an error when there is but it was refused.
    pub(super) fn why_not(&self, address: &ModelAddress) -> Result<String, CallError> {
        let refused = |version: u32| CallError::NotLoaded {
            description: format!("`{}/{version}` was refused when it was loaded; see ListModels", address.name),
        };
        match &address.selector {
            VersionSelector::Version(version) if self.refusal_of(*version).is_some() => Err(refused(*version)),
            VersionSelector::Version(version) if self.published.contains(version) => {
                Ok(format!("`{address}`, which is published but not served: no alias points at it"))
            }
            VersionSelector::Version(_) => Ok(format!("`{address}`, which is not published")),
            VersionSelector::Alias(alias) if self.wanted.contains_key(alias) => Err(refused(self.wanted[alias])),
            VersionSelector::Alias(_) if self.refused.iter().any(|refusal| refusal.version.is_none()) => {
                Err(CallError::NotLoaded { description: format!("the aliases of `{}` could not be read", address.name) })
            }
            VersionSelector::Alias(alias) => {
                let known = self.aliases.keys().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
                let known = if known.is_empty() { "none".to_owned() } else { known };
                Ok(format!("the alias `{alias}`, which `{}` does not have; it has {}", address.name, printable(&known, 80)))
            }
        }
    }
}

impl LiveModel {
    pub(super) fn open(registry: &Registry, name: &ModelName, version: u32) -> Result<Self, OpenError> {
        let (bundle, predictor) = Bundle::open(&registry.path(name, version))?;
        let Manifest { name: found_name, version: found_version, .. } = &bundle.manifest;
        if (found_name, *found_version) != (name, version) {
            return Err(OpenError::Misplaced { found: bundle.manifest.address() });
        }
        // Nothing that is answered depends on it.
        let reference = Reference::read(&bundle.reference, &bundle.schema)
            .inspect_err(|error| {
                let reason = chain(error);
                tracing::warn!(model.name = name.as_str(), model.version = version, reason, "drift will not be told");
            })
            .ok();
        let observed = Arc::new(Observed::new(&bundle.schema, reference));
        let scorer = Scorer::of(bundle.manifest, bundle.schema, predictor);
        warm_up(&scorer, &bundle.check_rows);
        let metrics_json = String::from_utf8_lossy(&bundle.metrics).into_owned();
        Ok(Self { has_dates: scorer.schema().has_dates(), scorer, metrics_json, card: bundle.card, observed })
    }
}

/// Brings the model into the caches before its first caller waits for it.
fn warm_up(scorer: &Scorer, check_rows: &CheckRows) {
    // The rows gave their answers a moment ago, when the bundle was read; here only the touching counts.
    let rows: Vec<_> = check_rows.rows.iter().filter_map(|row| row.encode(scorer.schema()).ok()).collect();
    for row in &rows {
        std::hint::black_box(scorer.predict(row));
    }
    if let Some(row) = rows.first() {
        std::hint::black_box(scorer.explain(row));
    }
}
