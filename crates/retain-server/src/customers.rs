//! Customers by id: a table of feature rows that calls draw on when they name a customer.
//!
//! [`Customers`] reads the files that [`FeatureTable`] names, looks now and then whether they changed, and swaps the table whole.
//! `files` says whether they changed, `read` turns them into a `Table`, `column` and `packed` keep it small, `view` is what a call sees.

mod column;
mod error;
mod files;
mod lookup;
mod packed;
mod read;
mod table;
mod texts;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use retain_core::{Day, FeatureSpec};
use serde::Deserialize;
use tokio::sync::{Mutex, Notify, watch};

use self::column::Wanted;
use self::files::Files;
use self::read::read_table;
use self::table::Table;
use crate::models::LiveSet;
use crate::text::chain;

pub use error::CustomersError;
pub(crate) use lookup::Lookup;
pub(crate) use view::{StoredCells, StoredRow, View, unknown_customer};

/// How often it is asked whether the last call has let go of a table that was replaced.
const RETIRE_INTERVAL: Duration = Duration::from_millis(100);

/// Where the feature rows of customers are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureTable {
    /// A CSV or Parquet file, or a folder of them, all with the same columns; names that begin with `.` or `_` are passed over.
    pub path: PathBuf,
    /// The column that has the customers' ids. Default: the one that the live models name.
    pub entity: Option<String>,
    /// The column that says when a row was known; a row without counts as known when its file was written. Default: all rows do.
    pub observed_at: Option<String>,
    /// Seconds between two looks whether the files changed. A text file is taken when nothing changed for so long. Default 10.
    #[serde(default = "default_check_seconds")]
    pub check_seconds: u64,
}

fn default_check_seconds() -> u64 {
    10
}

/// What is in the customer table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CustomersReport {
    /// Distinct customers.
    pub n_customers: usize,
    /// Rows of the files.
    pub n_rows: usize,
    /// Rows that do not count because the same customer has a newer one, or one further down.
    pub n_superseded: usize,
    /// Rows without an id.
    pub n_without_id: usize,
    /// Rows that count as known when their file was written, for their date of observation is missing or is none.
    pub n_undated: usize,
    /// Columns that models read and the files do not have: missing for every customer.
    pub absent: Vec<String>,
    /// Columns with cells that do not fit what models read there, and how many: calls that draw on them are refused.
    pub bad_cells: Vec<(String, usize)>,
    /// Bytes of memory.
    pub memory_bytes: usize,
}

/// What came of the last look.
pub(crate) type Look = Result<CustomersReport, Arc<CustomersError>>;

/// Whether files have to be left alone for a while before they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// They have, and what was refused is not read again.
    Settled,
    /// They have; what was refused is read again.
    Retry,
    /// They are read as they are: somebody waits for the answer.
    None,
}

/// The customer table, and what it is read from.
#[derive(Debug)]
pub(crate) struct Customers {
    settings: FeatureTable,
    now: fn() -> Day,
    view: ArcSwapOption<View>,
    /// What rules read beside the models.
    rule_features: ArcSwap<Vec<FeatureSpec>>,
    progress: Mutex<Progress>,
    looked: watch::Sender<Option<Look>>,
    wake: Notify,
    /// What the thread that reads tables is given to do; none before the first.
    reader: Mutex<Option<std::sync::mpsc::Sender<Job>>>,
}

type Job = Box<dyn FnOnce() + Send>;

/// What was seen so far.
#[derive(Debug, Default)]
struct Progress {
    /// Models that will be live in a moment.
    prepared: Option<Arc<LiveSet>>,
    /// The files at the last look, and since when they were so.
    seen: Option<(Files, Instant)>,
    /// The files that the table was read from.
    taken: Option<Files>,
    refused: Option<Refused>,
}

/// Files that could not be read, what was wanted of them, and why they could not.
#[derive(Debug)]
struct Refused {
    files: Files,
    wanted: Vec<Wanted>,
    error: Arc<CustomersError>,
}

impl Customers {
    /// Nothing is read before the first [`Customers::look`].
    pub(crate) fn new(settings: FeatureTable, now: fn() -> Day) -> Self {
        Self {
            settings,
            now,
            view: ArcSwapOption::empty(),
            rule_features: ArcSwap::default(),
            progress: Mutex::default(),
            looked: watch::Sender::new(None),
            wake: Notify::new(),
            reader: Mutex::new(None),
        }
    }

    /// The table as it is now; none before it was read once.
    pub(crate) fn view(&self) -> Guard<Option<Arc<View>>> {
        self.view.load()
    }

    /// Says which columns rules read; the next look reads those that were not read before.
    pub(crate) fn set_rule_features(&self, features: Vec<FeatureSpec>) {
        if **self.rule_features.load() != features {
            self.rule_features.store(Arc::new(features));
            self.wake();
        }
    }

    /// Whether there is a table.
    pub(crate) fn is_loaded(&self) -> bool {
        self.view.load().is_some()
    }

    /// What came of the last look, after there was one that ended in a table or in a refusal.
    pub(crate) async fn looked(&self) -> Look {
        let mut looked = self.looked.subscribe();
        let broke_off = || Err(Arc::new(CustomersError::BrokeOff));
        // The sender lives as long as `self`, so waiting cannot fail.
        looked.wait_for(Option::is_some).await.map_or_else(|_| broke_off(), |look| look.clone().unwrap_or_else(broke_off))
    }

    /// Asks for a look soon.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until it is time to look again, or somebody asks for it.
    pub(crate) async fn next_look(&self) -> Patience {
        tokio::select! {
            () = tokio::time::sleep(self.between()) => Patience::Settled,
            () = self.wake.notified() => Patience::Retry,
        }
    }

    /// Makes the table ready for models that will be live in a moment, beside those that are: their columns are read where they were not.
    ///
    /// # Errors
    /// When they cannot be, so that calls which the models before them answer would have no answer.
    pub(crate) async fn prepare(&self, live: &Arc<LiveSet>, next: &Arc<LiveSet>) -> Result<(), Arc<CustomersError>> {
        let mut progress = self.progress.lock().await;
        let before = progress.prepared.replace(next.clone());
        // The first reading may take its time: nobody waits for models that were not there before.
        if !self.is_loaded() {
            return Ok(());
        }
        let look = self.look_once(&mut progress, live, Patience::Retry).await;
        match (look, &*self.view()) {
            (Err(error), Some(view)) if next.models().next().is_some() && !view.can_serve(next) => {
                progress.prepared = before;
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Looks at the files and reads them where they, or the columns that models want, have changed.
    pub(crate) async fn look(&self, live: &Arc<LiveSet>, patience: Patience) -> Look {
        let mut progress = self.progress.lock().await;
        self.look_once(&mut progress, live, patience).await
    }

    async fn look_once(&self, progress: &mut Progress, live: &Arc<LiveSet>, patience: Patience) -> Look {
        let look = self.read_changes(progress, live, patience).await;
        match look.as_ref().map_err(AsRef::as_ref) {
            // Soon it will be known.
            Err(CustomersError::Unsettled | CustomersError::Changed) => {
                tracing::info!(path = %self.settings.path.display(), "customer table is being written");
                return look;
            }
            Err(CustomersError::NoModels) | Ok(_) => {}
            Err(error) => self.log_refusal(error),
        }
        self.looked.send_replace(Some(look.clone()));
        look
    }

    /// Once for each reason: the same words every ten seconds would fill the log.
    fn log_refusal(&self, error: &CustomersError) {
        let reason = chain(error);
        let is_known = matches!(&*self.looked.borrow(), Some(Err(known)) if chain(known.as_ref()) == reason);
        if !is_known {
            tracing::error!(reason, path = %self.settings.path.display(), "customer table refused");
        }
    }

    async fn read_changes(&self, progress: &mut Progress, live: &Arc<LiveSet>, patience: Patience) -> Look {
        let sets: Vec<Arc<LiveSet>> = std::iter::once(live.clone()).chain(progress.prepared.clone()).collect();
        if sets.iter().all(|set| set.models().next().is_none()) {
            return Err(Arc::new(CustomersError::NoModels));
        }
        let rules = self.rule_features.load_full();
        let path = self.settings.path.clone();
        let files = blocking(move || Files::look(&path)).await?;
        let same_for = progress.see(&files);
        let is_taken = progress.taken.as_ref() == Some(&files);
        if let Some(view) = self.view.load_full().filter(|_| is_taken) {
            if sets.iter().all(|set| view.serves(set)) && view.serves_rules(&rules) {
                return Ok(report(&view.table));
            }
            let anew = View::of(view.table.clone(), &sets, rules.clone());
            if sets.iter().all(|set| anew.serves(set)) && anew.serves_rules(&rules) {
                self.view.store(Some(Arc::new(anew)));
                return Ok(report(&view.table));
            }
        }
        let wanted = wanted_columns(&sets, &rules);
        let is_settled = || is_taken || same_for >= self.between() || files.are_settled((self.now)(), self.between());
        if patience != Patience::None && !is_settled() {
            return Err(Arc::new(CustomersError::Unsettled));
        }
        match &progress.refused {
            Some(refused) if patience == Patience::Settled && refused.is_of(&files, &wanted) => Err(refused.error.clone()),
            _ => self.read(progress, files, wanted, (&sets, rules)).await,
        }
    }

    async fn read(
        &self,
        progress: &mut Progress,
        files: Files,
        wanted: Vec<Wanted>,
        (sets, rules): (&[Arc<LiveSet>], Arc<Vec<FeatureSpec>>),
    ) -> Look {
        let entity = self.settings.entity.clone().map_or_else(|| entity_of(sets), Ok);
        let (settings, asked, of) = (self.settings.clone(), wanted.clone(), files.clone());
        let began = Instant::now();
        let read = match entity {
            Ok(entity) => self.on_own_thread(move || read_table(&settings, &entity, &asked, &of)).await,
            Err(error) => Err(Arc::new(error)),
        };
        match read {
            Ok(table) => {
                (progress.taken, progress.refused) = (Some(files), None);
                Ok(self.swap(table, sets, rules, began.elapsed()))
            }
            Err(error) => {
                progress.refused = Some(Refused { files, wanted, error: error.clone() });
                // What changed while it was read is looked at again.
                if matches!(*error, CustomersError::Changed) {
                    progress.refused = None;
                }
                Err(error)
            }
        }
    }

    /// Allocators keep what a thread has given back for the same thread: one that reads all tables uses the memory of the last but one.
    async fn on_own_thread(
        &self,
        work: impl FnOnce() -> Result<Table, CustomersError> + Send + 'static,
    ) -> Result<Table, Arc<CustomersError>> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let job: Job = Box::new(move || {
            // Nobody waits any more where the server has stopped.
            let _ = sender.send(work());
        });
        let mut reader = self.reader.lock().await;
        let sent = match reader.as_ref() {
            Some(jobs) => jobs.send(job).map_err(|unsent| unsent.0),
            None => Err(job),
        };
        if let Err(job) = sent {
            // The first one, or one after a reading that broke off.
            let (jobs, of_thread) = std::sync::mpsc::channel::<Job>();
            let run = move || of_thread.into_iter().for_each(|job| job());
            let started = std::thread::Builder::new().name("customers".to_owned()).spawn(run);
            started.map_err(|source| Arc::new(CustomersError::Thread { source }))?;
            let _ = jobs.send(job);
            *reader = Some(jobs);
        }
        drop(reader);
        receiver.await.unwrap_or(Err(CustomersError::BrokeOff)).map_err(Arc::new)
    }

    fn swap(&self, table: Table, sets: &[Arc<LiveSet>], rules: Arc<Vec<FeatureSpec>>, took: Duration) -> CustomersReport {
        let report = report(&table);
        report.log(took);
        let view = Arc::new(View::of(Arc::new(table), sets, rules));
        if let Some(before) = self.view.swap(Some(view)) {
            tokio::spawn(retire(before));
        }
        report
    }

    fn between(&self) -> Duration {
        Duration::from_secs(self.settings.check_seconds)
    }
}

impl Progress {
    /// Notes the files of a look, and tells how long they have been so.
    fn see(&mut self, files: &Files) -> Duration {
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != files) {
            self.seen = Some((files.clone(), Instant::now()));
        }
        self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }
}

impl Refused {
    fn is_of(&self, files: &Files, wanted: &[Wanted]) -> bool {
        self.files == *files && self.wanted == wanted
    }
}

impl CustomersReport {
    fn log(&self, took: Duration) {
        tracing::info!(
            customers = self.n_customers,
            rows = self.n_rows,
            superseded = self.n_superseded,
            without_id = self.n_without_id,
            undated = self.n_undated,
            bytes = self.memory_bytes,
            seconds = took.as_secs_f64(),
            "customer table is live"
        );
        for column in &self.absent {
            tracing::warn!(column, "the customer table has no such column, which models read: it is missing for every customer");
        }
        for (column, cells) in &self.bad_cells {
            tracing::warn!(
                column,
                cells,
                "cells of the customer table do not fit what models read there: calls for these customers are refused"
            );
        }
    }
}

fn report(table: &Table) -> CustomersReport {
    let table::Counts { rows, superseded, without_id, undated } = table.counts;
    CustomersReport {
        n_customers: table.n_customers(),
        n_rows: rows,
        n_superseded: superseded,
        n_without_id: without_id,
        n_undated: undated,
        absent: table.absent().map(str::to_owned).collect(),
        bad_cells: table.bad_cells().map(|(column, n_bad)| (column.to_owned(), n_bad)).collect(),
        memory_bytes: table.memory_bytes(),
    }
}

/// What the models of these sets and rules read, each once.
fn wanted_columns(sets: &[Arc<LiveSet>], rules: &[FeatureSpec]) -> Vec<Wanted> {
    let mut wanted: BTreeMap<&str, Vec<Wanted>> = BTreeMap::new();
    let by_models = sets.iter().flat_map(|set| set.models()).flat_map(|model| &model.scorer.schema().features);
    for feature in by_models.chain(rules) {
        let same_name = wanted.entry(&feature.name).or_default();
        if same_name.iter().all(|known| !known.is_of(feature)) {
            same_name.push(Wanted::of(feature));
        }
    }
    wanted.into_values().flatten().collect()
}

/// The column that the models name their customers by.
fn entity_of(sets: &[Arc<LiveSet>]) -> Result<String, CustomersError> {
    let models = sets.iter().flat_map(|set| set.models());
    let entities: BTreeSet<&String> = models.filter_map(|model| model.scorer.schema().entity.as_ref()).collect();
    let mut entities = entities.into_iter();
    match (entities.next(), entities.len()) {
        (None, _) => Err(CustomersError::NoEntity),
        (Some(only), 0) => Ok(only.clone()),
        (Some(first), _) => {
            let columns =
                std::iter::once(first).chain(entities).map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ");
            Err(CustomersError::SeveralEntities { columns })
        }
    }
}

/// Work on files would hold up the calls on the I/O threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CustomersError> + Send + 'static,
) -> Result<T, Arc<CustomersError>> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(CustomersError::BrokeOff)).map_err(Arc::new)
}

/// Gives back the memory of a table when the last call has let go of it, which then does not have to do it.
async fn retire(view: Arc<View>) {
    while Arc::strong_count(&view) > 1 {
        tokio::time::sleep(RETIRE_INTERVAL).await;
    }
    // Work that breaks off has still dropped it.
    let _ = tokio::task::spawn_blocking(move || drop(view)).await;
}
