//! The live set: which versions answer, under which aliases, and how it is read and swapped. `versions` does so for one model.
//!
//! Live are the versions that an alias points at; a version without an alias is published, but not served. A set is read, verified
//! and warmed up off the I/O threads and then swapped in whole, so that a call sees one set from beginning to end. A set that was
//! swapped out is freed by the server, not by the last call that used it.
//!
//! A reload (`Reload`, a hang-up signal) reads every byte again and finds what is damaged; a model whose bytes are the same is not
//! built again. `watching` reads what a `look` finds changed.

mod asked;
mod look;
mod versions;
mod watching;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use retain_core::{ModelAddress, ModelName, VersionSelector, nearest};
use retain_score::{Registry, RegistryError};
use tokio::sync::{Mutex, watch};

use crate::counts::{Count, Counts};
use crate::customers::{Customers, CustomersError, Patience};
use crate::health::Health;
use crate::mirror::{Mirror, StoreError};
use crate::text::chain;
use crate::traffic::Traffic;

pub(crate) use asked::{Alias, Asked};
use look::{Look, Looks, look};
use versions::OpenError;
pub(crate) use versions::{LiveModel, LiveVersions};

/// Most models that one request may name.
pub(crate) const MAX_ADDRESSES: usize = 100;
/// How often it is asked whether the last call has left a set that was swapped out.
const RETIRED_LOOK: Duration = Duration::from_millis(100);

/// All models, as of one reading of the registry.
#[derive(Debug, Default)]
pub(crate) struct LiveSet {
    pub(crate) by_name: BTreeMap<ModelName, LiveVersions>,
    /// What the directory looked like before it was read.
    looks: Looks,
}

/// How much is read of what an alias points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// What has been touched since the last reading.
    Changed,
    /// That, and what was refused then.
    Refused,
    /// Every byte.
    All,
}

/// One reading of the registry.
struct Reading<'r> {
    registry: &'r Registry,
    traffic: &'r Traffic,
    depth: Depth,
    /// A version that was verified a moment ago.
    fresh: Option<Arc<LiveModel>>,
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
    /// The object store that the folder is a copy of cannot be read.
    #[error("cannot read the models")]
    Store(#[from] StoreError),
    /// Models are live and the folder has none: an unmounted disk rather than a wish.
    #[error("there are no models in `{root}`")]
    Empty {
        /// The folder.
        root: PathBuf,
    },
    /// Calls that name customers by their id would have no answers from the new models.
    #[error("the customer table cannot be read for the new models")]
    Customers(#[source] Arc<CustomersError>),
    /// The reader itself failed; a mistake of ours.
    #[error("the reading of the models broke off")]
    BrokeOff,
}

impl ReloadError {
    /// Whether other models were copied from the object store all the same.
    fn is_of_some_models(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_of_some_models())
    }
}

/// Why an alias was not set; everything stays as it was but where [`SetAliasError::Reload`] says otherwise.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetAliasError {
    /// There is no such model, version or alias, or it cannot be read or written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The version failed its checks.
    #[error("`{name}/{version}` is refused")]
    Version { name: ModelName, version: u32, source: OpenError },
    /// The models come from an object store, which is only read.
    #[error("the models are in an object store: set the alias there")]
    ReadOnly,
    /// A reload is under way, or another alias is being set.
    #[error("a reload is under way")]
    Running,
    /// The alias is set, and could not be taken up.
    #[error("the alias is set and was not taken up")]
    Reload(#[from] ReloadError),
    /// The work itself failed; a mistake of ours.
    #[error("the setting of the alias broke off")]
    BrokeOff,
}

/// The live set and the registry it came from.
#[derive(Debug)]
pub(crate) struct Models {
    registry: Registry,
    /// Where the registry's folder is copied from, where it is a copy.
    mirror: Option<Mirror>,
    traffic: Traffic,
    live: ArcSwap<LiveSet>,
    health: Health,
    swaps: Count,
    refusals: Count,
    reading: Mutex<()>,
    loaded: watch::Sender<bool>,
    /// None where calls have to bring all features.
    customers: Option<Customers>,
}

impl Models {
    /// Nothing is live until the first [`Models::reload`].
    pub(crate) fn new(
        registry: Registry,
        mirror: Option<Mirror>,
        traffic: Traffic,
        health: Health,
        customers: Option<Customers>,
    ) -> Self {
        let live = ArcSwap::from_pointee(LiveSet::default());
        let (swaps, refusals) = (Count::default(), Count::default());
        Self {
            registry,
            mirror,
            traffic,
            live,
            health,
            swaps,
            refusals,
            reading: Mutex::new(()),
            loaded: watch::Sender::new(false),
            customers,
        }
    }

    /// The set as it is now.
    pub(crate) fn live(&self) -> Guard<Arc<LiveSet>> {
        self.live.load()
    }

    /// Whether predictions are to be had, and the server is not about to stop.
    pub(crate) fn is_ready(&self) -> bool {
        !self.health.is_closed() && self.can_predict()
    }

    fn can_predict(&self) -> bool {
        self.live().with_champion().next().is_some() && self.customers.as_ref().is_none_or(Customers::is_loaded)
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn customers(&self) -> Option<&Customers> {
        self.customers.as_ref()
    }

    /// Looks whether the customer table changed, and says so to those who watch the health.
    pub(crate) async fn look_at_customers(&self, patience: Patience) {
        if let Some(customers) = &self.customers {
            // A failure is logged where it happens.
            let live = self.live.load_full();
            let _ = customers.look(&live, patience).await;
            self.say_health().await;
        }
    }

    /// Looks at the customer table now and then, for as long as it is polled.
    pub(crate) async fn watch_customers(&self) {
        let Some(customers) = &self.customers else { return };
        let mut patience = Patience::Settled;
        loop {
            self.look_at_customers(patience).await;
            patience = customers.next_look().await;
        }
    }

    async fn say_health(&self) {
        self.health.set_predicting(|| self.can_predict()).await;
    }

    /// What happened so far.
    pub(crate) fn counts(&self) -> Counts {
        Counts { model_swaps: self.swaps.get(), model_refusals: self.refusals.get(), ..Counts::default() }
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

    /// Points an alias at a version that passes its checks, and reloads; refuses while a reload runs.
    ///
    /// Goes on to its end when the caller does not wait for it, as a reload does.
    pub(crate) async fn set_alias(
        self: &Arc<Self>,
        name: ModelName,
        alias: String,
        version: u32,
    ) -> Result<Arc<LiveSet>, SetAliasError> {
        let models = self.clone();
        let set = tokio::spawn(async move { models.set_alias_once(name, alias, version).await });
        set.await.unwrap_or(Err(SetAliasError::BrokeOff))
    }

    async fn set_alias_once(&self, name: ModelName, alias: String, version: u32) -> Result<Arc<LiveSet>, SetAliasError> {
        if self.mirror.is_some() {
            return Err(SetAliasError::ReadOnly);
        }
        let _reading = self.reading.try_lock().map_err(|_| SetAliasError::Running)?;
        let registry = self.registry.clone();
        let set = tokio::task::spawn_blocking(move || {
            registry.check_alias(&name, &alias)?;
            registry.resolve(&ModelAddress { name: name.clone(), selector: VersionSelector::Version(version) })?;
            let refused = |source| SetAliasError::Version { name: name.clone(), version, source };
            let model = LiveModel::open(&registry, &name, version).map_err(refused)?;
            registry.set_alias(&name, &alias, version)?;
            Ok::<_, SetAliasError>(Arc::new(model))
        });
        let fresh = set.await.unwrap_or(Err(SetAliasError::BrokeOff))?;
        let read = self.read_registry(Depth::Changed, Some(fresh)).await;
        Ok(read.inspect_err(|error| self.fail(error))?)
    }

    async fn reload_once(&self) -> Result<Arc<LiveSet>, ReloadError> {
        let _reading = self.reading.lock().await;
        let copied = self.copy_store().await.inspect_err(|error| self.fail(error));
        // What was copied before the server began is better than nothing, and is checked as anything else.
        if let Err(error) = &copied
            && !error.is_of_some_models()
            && !self.live().by_name.is_empty()
        {
            return copied.map(|()| self.live().clone());
        }
        let read = self.read_registry(Depth::All, None).await.inspect_err(|error| self.fail(error))?;
        copied.map(|()| read)
    }

    /// Makes the folder like the store that it is a copy of, where it is one.
    async fn copy_store(&self) -> Result<(), ReloadError> {
        match &self.mirror {
            Some(mirror) => Ok(mirror.sync().await?),
            None => Ok(()),
        }
    }

    fn fail(&self, error: &ReloadError) {
        tracing::error!(reason = chain(error), "models stay as they were");
        self.refusals.add(1);
    }

    /// Reads the registry and swaps the set; the caller holds the lock, and logs what goes wrong.
    async fn read_registry(&self, depth: Depth, fresh: Option<Arc<LiveModel>>) -> Result<Arc<LiveSet>, ReloadError> {
        let (registry, traffic, before) = (self.registry.clone(), self.traffic.clone(), self.live.load_full());
        let known = before.clone();
        // Reading and verifying files would hold up the calls on the I/O threads.
        let read = tokio::task::spawn_blocking(move || {
            LiveSet::read(&Reading { registry: &registry, traffic: &traffic, depth, fresh }, &known)
        });
        let result = read.await.unwrap_or(Err(ReloadError::BrokeOff));
        if let Ok(set) = &result {
            if let Some(customers) = &self.customers
                && let Err(error) = customers.prepare(&before, set).await
            {
                self.loaded.send_replace(true);
                return Err(ReloadError::Customers(error));
            }
            // Retired sets are freed when nobody holds them any more.
            drop(before);
            self.swap(set, depth);
        }
        self.say_health().await;
        self.loaded.send_replace(true);
        result
    }

    fn swap(&self, set: &Arc<LiveSet>, depth: Depth) {
        let before = self.live.swap(set.clone());
        self.refusals.add(set.log(&before, depth));
        if depth == Depth::All {
            set.warn_of_shares(&self.traffic);
        }
        if !set.answers_as(&before) {
            self.swaps.add(1);
        }
        tokio::spawn(async move {
            // Otherwise the last call that uses the set would free it, and its caller would wait for that.
            while Arc::strong_count(&before) > 1 {
                tokio::time::sleep(RETIRED_LOOK).await;
            }
            tokio::task::spawn_blocking(move || drop(before)).await
        });
    }
}

impl LiveSet {
    /// Reads and verifies what an alias points at; what is refused stays as it was `before`.
    fn read(reading: &Reading<'_>, before: &Self) -> Result<Arc<Self>, ReloadError> {
        let looks = look(reading.registry)?;
        if looks.is_empty() && !before.by_name.is_empty() {
            return Err(ReloadError::Empty { root: reading.registry.root().to_owned() });
        }
        let (none, unseen) = (LiveVersions::default(), Look::default());
        let read = |(name, look): (&ModelName, &Look)| {
            let (versions, seen) = (before.by_name.get(name).unwrap_or(&none), before.looks.get(name).unwrap_or(&unseen));
            (name.clone(), reading.versions(name, look, versions, seen))
        };
        let mut by_name: BTreeMap<_, _> = looks.iter().map(read).collect();
        if reading.depth != Depth::All {
            // A folder that is gone may be on its way, or its disk may be: only those who ask for a reload say that they mean it.
            let gone = before.by_name.iter().filter(|(name, _)| !looks.contains_key(*name));
            by_name.extend(gone.map(|(name, versions)| (name.clone(), versions.gone(name))));
        }
        for (name, versions) in &mut by_name {
            versions.share = reading.traffic.share(name);
        }
        Ok(Arc::new(Self { by_name, looks }))
    }

    /// Shares of models that there are not do nothing, most often because a name is misspelt.
    fn warn_of_shares(&self, traffic: &Traffic) {
        for name in traffic.challenger_shares.keys().filter(|name| !self.by_name.keys().any(|known| known.as_str() == *name)) {
            let near = nearest(name, self.by_name.keys().map(ModelName::as_str));
            tracing::warn!(model.name = name, did_you_mean = near, "`traffic.challenger_shares` names a model that there is not");
        }
    }

    /// Every version that answers.
    pub(crate) fn models(&self) -> impl Iterator<Item = &Arc<LiveModel>> {
        self.by_name.values().flat_map(|versions| versions.versions.values())
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

    /// The models that have a champion.
    fn with_champion(&self) -> impl Iterator<Item = &ModelName> {
        self.by_name.iter().filter(|(_, versions)| versions.by_alias("champion").is_some()).map(|(name, _)| name)
    }

    /// Whether the same versions answer to the same aliases.
    fn answers_as(&self, other: &Self) -> bool {
        let answers = |set: &Self| set.by_name.values().map(LiveVersions::n_answers).sum::<usize>();
        let same = |(name, model): (&ModelName, &LiveVersions)| {
            model.n_answers() == 0 || other.by_name.get(name).is_some_and(|other| model.answers_as(other))
        };
        answers(self) == answers(other) && self.by_name.iter().all(same)
    }

    /// Tells what this reading has changed, and returns how many refusals are new. A reload tells every refusal: somebody has asked.
    fn log(&self, before: &Self, depth: Depth) -> u64 {
        let (now, earlier) = (self.report(), before.report());
        for model in now.live.iter().filter(|model| !earlier.live.contains(model)) {
            let aliases = model.aliases.join(",");
            tracing::info!(model.name = model.name, model.version = model.version, aliases, "model is live");
        }
        let mut n_refused = 0;
        for refusal in now.refused.iter().filter(|refusal| depth == Depth::All || !earlier.refused.contains(refusal)) {
            tracing::error!(model.name = refusal.name, model.version = refusal.version, reason = refusal.reason, "model refused");
            n_refused += 1;
        }
        for name in before.with_champion().filter(|name| !self.with_champion().any(|with| with == *name)) {
            tracing::warn!(model.name = name.as_str(), "model has no champion any more");
        }
        if now.live.is_empty() {
            tracing::warn!("no model is live");
        }
        n_refused
    }
}
