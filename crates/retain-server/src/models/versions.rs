//! One model of the registry: its aliases are read, the versions they point at are verified and warmed up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use retain_core::{ModelAddress, ModelName, VersionSelector};
use retain_score::{Aliases, Bundle, BundleError, CheckRows, Manifest, Reference, Registry, Scorer};

use super::look::{Look, aliases_file};
use super::{Depth, Reading, Refusal};
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
    /// Share of the customers that the challenger answers, where there is one.
    pub(super) share: f64,
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
    /// An answer of a version means the same model for as long as the server runs.
    #[error("another bundle stands in its place, and a published version does not change; publish it under a number of its own")]
    Replaced,
}

impl Reading<'_> {
    /// Reads and verifies what the aliases of a model point at; what is refused stays as it was `before`.
    pub(super) fn versions(&self, name: &ModelName, look: &Look, before: &LiveVersions, seen: &Look) -> LiveVersions {
        if self.depth == Depth::Changed && look == seen && self.fresh.as_ref().is_none_or(|fresh| !fresh.is_of(name)) {
            return before.clone();
        }
        if !before.aliases.is_empty() && !look.has_aliases {
            let path = aliases_file(self.registry, name);
            return before.refusing(name, chain(&AliasesGone { path }));
        }
        if let Some(trouble) = &look.trouble {
            return before.refusing(name, trouble.clone());
        }
        let mut read =
            LiveVersions { published: look.published.clone(), wanted: look.aliases.clone(), ..LiveVersions::default() };
        for version in look.wanted() {
            match self.version(name, version, before, look.is_unchanged(version, seen)) {
                Ok(model) => drop(read.versions.insert(version, model)),
                Err(refusal) => read.refused.push(refusal),
            }
        }
        for (alias, version) in &look.aliases {
            read.point(alias.clone(), *version, before);
        }
        read
    }

    /// One version: as it is in memory where that is still right, read from disk otherwise.
    fn version(
        &self,
        name: &ModelName,
        version: u32,
        before: &LiveVersions,
        is_unchanged: bool,
    ) -> Result<Arc<LiveModel>, Refusal> {
        let (known, refusal) = (before.versions.get(&version), before.refusal_of(version));
        let is_asked = |fresh: &&Arc<LiveModel>| fresh.is_of(name) && fresh.scorer.manifest().version == version;
        // What was verified a moment ago is not refused for what was found earlier.
        let fresh = self.fresh.as_ref().filter(is_asked);
        if is_unchanged && self.depth != Depth::All && fresh.is_none() {
            match (refusal, known) {
                (Some(refusal), _) if self.depth == Depth::Changed => return Err(refusal.clone()),
                (None, Some(known)) => return Ok(known.clone()),
                _ => {}
            }
        }
        let found = match known {
            Some(known) => known.still(self.registry).map(|()| known.clone()),
            None => match fresh {
                Some(fresh) => Ok(fresh.clone()),
                None => LiveModel::open(self.registry, name, version).map(Arc::new),
            },
        };
        found.map_err(|error| Refusal { name: name.to_string(), version: Some(version), reason: chain(&error) })
    }
}

impl LiveVersions {
    /// As it was, and told why nothing could be read of it.
    fn refusing(&self, name: &ModelName, reason: String) -> Self {
        Self { refused: vec![Refusal { name: name.to_string(), version: None, reason }], ..self.clone() }
    }

    /// As it was, although its folder is gone.
    pub(super) fn gone(&self, name: &ModelName) -> Self {
        if self.versions.is_empty() {
            return Self::default();
        }
        self.refusing(name, "the model's folder is gone; it stays live until it is back or the models are reloaded".to_owned())
    }

    /// How many aliases are answered.
    pub(super) fn n_answers(&self) -> usize {
        self.aliases.len()
    }

    /// Whether the same versions answer to the same aliases.
    pub(super) fn answers_as(&self, other: &Self) -> bool {
        let same = |(version, model): (&u32, &Arc<LiveModel>)| {
            other.versions.get(version).is_some_and(|other| Arc::ptr_eq(model, other))
        };
        self.aliases == other.aliases && self.versions.iter().all(same)
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
    /// Whether it is a version of this model.
    fn is_of(&self, name: &ModelName) -> bool {
        self.scorer.manifest().name == *name
    }

    /// Whether its files are still what it was made of, to the last byte.
    fn still(&self, registry: &Registry) -> Result<(), OpenError> {
        let manifest = self.scorer.manifest();
        if Bundle::is_intact(&registry.path(&manifest.name, manifest.version), manifest)? {
            return Ok(());
        }
        // What is wrong with the other one may be worth more to know than that it is another one.
        Self::open(registry, &manifest.name, manifest.version)?;
        Err(OpenError::Replaced)
    }

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
