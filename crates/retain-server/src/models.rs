//! The live set: which versions answer, under which aliases, and how it is read and swapped.
//!
//! Live are the versions that an alias points at; a version without an alias is published, but not served. A set is read, verified
//! and warmed up off the I/O threads and then swapped in whole, so that a call sees one set from beginning to end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use retain_core::{ModelAddress, ModelName, VersionSelector, nearest};
use retain_score::{Aliases, Bundle, BundleError, CheckRows, Manifest, ModelError, Registry, RegistryError, Scorer};
use tokio::sync::{Mutex, watch};

use crate::health::Health;
use crate::status::{CallError, Violation};
use crate::text::{chain, printable};

/// Most models that one request may name.
const MAX_ADDRESSES: usize = 100;

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

/// All models, as of one reading of the registry.
#[derive(Debug, Default)]
pub(crate) struct LiveSet {
    pub(crate) by_name: BTreeMap<ModelName, LiveVersions>,
    /// The champion of every model that has one, by name.
    champions: Vec<Arc<LiveModel>>,
}

/// A version, or a whole model, that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The model.
    pub name: String,
    /// The version; none when the model's aliases could not be read.
    pub version: Option<u32>,
    /// Why, in words.
    pub reason: String,
}

/// A version that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedModel {
    /// The model.
    pub name: String,
    /// The version.
    pub version: u32,
    /// The aliases it answers to.
    pub aliases: Vec<String>,
}

/// What the registry came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Versions that answer now, by name and version.
    pub live: Vec<LoadedModel>,
    /// What was refused.
    pub refused: Vec<Refusal>,
}

/// Why the registry was not read again; what was live stays so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// Another reload is under way.
    #[error("another reload is under way")]
    Running,
    /// The folder cannot be read.
    #[error("cannot read the models")]
    Registry(#[from] RegistryError),
    /// Models are live and the folder has none: an unmounted disk rather than a wish.
    #[error("there are no models in `{root}`")]
    Empty {
        /// The folder.
        root: PathBuf,
    },
    /// The reader itself failed; a mistake of ours.
    #[error("the reading of the models broke off")]
    BrokeOff,
}

/// Why one version is refused.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("the bundle says that it is `{found}`")]
    Misplaced { found: String },
}

/// The live set and the registry it came from.
#[derive(Debug)]
pub(crate) struct Models {
    registry: Registry,
    live: ArcSwap<LiveSet>,
    health: Health,
    reading: Mutex<()>,
    loaded: watch::Sender<bool>,
}

impl Models {
    /// Nothing is live until the first [`Models::reload`].
    pub(crate) fn new(registry: Registry, health: Health) -> Self {
        let live = ArcSwap::from_pointee(LiveSet::default());
        Self { registry, live, health, reading: Mutex::new(()), loaded: watch::Sender::new(false) }
    }

    /// The set as it is now.
    pub(crate) fn live(&self) -> Guard<Arc<LiveSet>> {
        self.live.load()
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Waits until the registry has been read once.
    pub(crate) async fn loaded(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    /// As [`Models::reload`], but refuses while another one runs: callers from outside shall not pile up.
    pub(crate) async fn reload_unless_running(self: &Arc<Self>) -> Result<Arc<LiveSet>, ReloadError> {
        if self.reading.try_lock().is_err() {
            return Err(ReloadError::Running);
        }
        self.reload().await
    }

    /// Reads the registry, swaps the set and says so to those who watch the health; waits for its turn.
    ///
    /// Goes on to its end when the caller does not wait for it: a call that is cancelled leaves no half-done reload.
    pub(crate) async fn reload(self: &Arc<Self>) -> Result<Arc<LiveSet>, ReloadError> {
        let models = self.clone();
        tokio::spawn(async move { models.reload_once().await }).await.unwrap_or(Err(ReloadError::BrokeOff))
    }

    async fn reload_once(&self) -> Result<Arc<LiveSet>, ReloadError> {
        let _reading = self.reading.lock().await;
        let (registry, before) = (self.registry.clone(), self.live.load_full());
        // Reading and verifying files would hold up the calls on the I/O threads.
        let read = tokio::task::spawn_blocking(move || LiveSet::read(&registry, &before));
        let result = read.await.unwrap_or(Err(ReloadError::BrokeOff));
        match &result {
            Ok(set) => {
                set.log();
                self.live.store(set.clone());
            }
            Err(error) => tracing::error!(reason = chain(error), "models stay as they were"),
        }
        self.health.set_predicting(!self.live().champions.is_empty()).await;
        self.loaded.send_replace(true);
        result
    }
}

impl LiveSet {
    /// Reads and verifies everything that an alias points at; what is refused stays as it was `before`.
    fn read(registry: &Registry, before: &Self) -> Result<Arc<Self>, ReloadError> {
        let names = registry.names()?;
        if names.is_empty() && !before.by_name.is_empty() {
            return Err(ReloadError::Empty { root: registry.root().to_owned() });
        }
        let none = LiveVersions::default();
        let read = |name: ModelName| {
            let versions = LiveVersions::read(registry, &name, before.by_name.get(&name).unwrap_or(&none));
            (name, versions)
        };
        let by_name: BTreeMap<_, _> = names.into_iter().map(read).collect();
        let champions = by_name.values().filter_map(|versions| versions.by_alias("champion").cloned()).collect();
        Ok(Arc::new(Self { by_name, champions }))
    }

    /// The models that a request names, each version once, in the order asked for; all champions when it names none.
    pub(crate) fn select(&self, addresses: &[String]) -> Result<Vec<&Arc<LiveModel>>, CallError> {
        self.require_any()?;
        if addresses.is_empty() {
            return self.require_champion().map(|champions| champions.iter().collect());
        }
        if addresses.len() > MAX_ADDRESSES {
            let description = format!("names {} models, at most {MAX_ADDRESSES} are allowed", addresses.len());
            return Err(Violation::new("models", "TOO_MANY_MODELS", &description).into());
        }
        let mut selected: Vec<&Arc<LiveModel>> = Vec::with_capacity(addresses.len());
        for (position, address) in addresses.iter().enumerate() {
            let model = self.find(address, || format!("models[{position}]"))?;
            if !selected.iter().any(|known| Arc::ptr_eq(known, model)) {
                selected.push(model);
            }
        }
        Ok(selected)
    }

    /// The one model that a request names; the only champion when it names none.
    pub(crate) fn select_one(&self, address: &str) -> Result<&Arc<LiveModel>, CallError> {
        self.require_any()?;
        if !address.is_empty() {
            return self.find(address, || "model".to_owned());
        }
        match self.require_champion()? {
            [only] => Ok(only),
            several => {
                let description = format!("should name a model, for {} have a champion", several.len());
                Err(Violation::new("model", "MODEL_REQUIRED", &description).into())
            }
        }
    }

    /// What is live and what was refused.
    pub(crate) fn report(&self) -> LoadReport {
        let live = self.by_name.iter().flat_map(|(name, model)| {
            let loaded = |&version: &u32| LoadedModel { name: name.to_string(), version, aliases: model.aliases_of(version) };
            model.versions.keys().map(loaded)
        });
        let refused = self.by_name.values().flat_map(|model| model.refused.iter().cloned());
        LoadReport { live: live.collect(), refused: refused.collect() }
    }

    fn require_any(&self) -> Result<(), CallError> {
        if self.by_name.values().all(|model| model.versions.is_empty()) {
            return Err(CallError::NotLoaded { description: "no model is loaded".to_owned() });
        }
        Ok(())
    }

    fn require_champion(&self) -> Result<&[Arc<LiveModel>], CallError> {
        if self.champions.is_empty() {
            return Err(CallError::NotLoaded { description: "no model has a champion".to_owned() });
        }
        Ok(&self.champions)
    }

    fn find(&self, address: &str, field: impl Fn() -> String) -> Result<&Arc<LiveModel>, CallError> {
        let address: ModelAddress = address.parse().map_err(|error: retain_core::AddressError| {
            CallError::from(Violation::new(field(), "INVALID_MODEL_ADDRESS", &error.to_string()))
        })?;
        let unknown = |reason, description: String| {
            CallError::UnknownModel(Violation::new(field(), reason, &format!("names {description}")))
        };
        let Some(model) = self.by_name.get(&address.name) else {
            let near = nearest(address.name.as_str(), self.by_name.keys().map(ModelName::as_str));
            let hint = near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            return Err(unknown("MODEL_NOT_FOUND", format!("`{}`, which is not a model here{hint}", address.name)));
        };
        let found = match &address.selector {
            VersionSelector::Alias(alias) => model.by_alias(alias),
            VersionSelector::Version(version) => model.versions.get(version),
        };
        found.ok_or_else(|| match model.why_not(&address) {
            Ok(description) => unknown("VERSION_NOT_FOUND", description),
            Err(refused) => refused,
        })
    }

    fn log(&self) {
        let report = self.report();
        for model in &report.live {
            let aliases = model.aliases.join(",");
            tracing::info!(model.name = model.name, model.version = model.version, aliases, "model is live");
        }
        for refusal in &report.refused {
            tracing::error!(model.name = refusal.name, model.version = refusal.version, reason = refusal.reason, "model refused");
        }
        if report.live.is_empty() {
            tracing::warn!("no model is live");
        }
    }
}

impl LiveVersions {
    fn read(registry: &Registry, name: &ModelName, before: &Self) -> Self {
        let found = registry.aliases(name).and_then(|aliases| Ok((aliases, registry.versions(name)?)));
        let (wanted, published) = match found {
            Ok(found) => found,
            Err(error) => {
                let refusal = Refusal { name: name.to_string(), version: None, reason: chain(&error) };
                return Self { refused: vec![refusal], ..before.clone() };
            }
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

    fn by_alias(&self, alias: &str) -> Option<&Arc<LiveModel>> {
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
    fn why_not(&self, address: &ModelAddress) -> Result<String, CallError> {
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
    fn open(registry: &Registry, name: &ModelName, version: u32) -> Result<Self, OpenError> {
        let bundle = Bundle::read(&registry.path(name, version))?;
        let Manifest { name: found_name, version: found_version, .. } = &bundle.manifest;
        if (found_name, *found_version) != (name, version) {
            return Err(OpenError::Misplaced { found: bundle.manifest.address() });
        }
        let scorer = Scorer::new(bundle.manifest, bundle.schema, &bundle.model)?;
        warm_up(&scorer, &bundle.check_rows);
        let metrics_json = String::from_utf8_lossy(&bundle.metrics).into_owned();
        Ok(Self { has_dates: scorer.schema().has_dates(), scorer, metrics_json, card: bundle.card })
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
