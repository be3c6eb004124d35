//! The prediction log: what was predicted for whom and from which values, as Parquet files, where the settings name a folder.
//!
//! A call hands over numbers that it has anyway and goes on; `writer` gathers them on a thread of its own. Between them is a `queue`
//! that is bounded by bytes and drops what does not fit. `shadow` scores what a model's shadow would have said, on another thread.
//! Streams, batches and `ModelInfer` are logged as `Predict` is; explanations and comparisons are not.

mod part;
mod queue;
mod rows;
mod shadow;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use retain_core::Day;
use retain_score::Prediction;
use serde::Deserialize;

use crate::config::ConfigError;
use crate::counts::{Count, Counts};
use crate::models::{Alias, Asked, LiveModel};
use queue::{Items, Queue, queue};
use shadow::ShadowCall;
pub(crate) use shadow::ShadowCustomers;
use writer::Writer;

/// Bytes that an item takes beside its texts and lists, about.
const ITEM_BYTES: usize = 256;

/// Where predictions are logged, and when a file is complete. The files hold customers' identifiers and values.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictionLogSettings {
    /// The folder; files stand in `NAME/VERSION/` below it. It is made where it is missing.
    pub folder: PathBuf,
    /// Most rows of one file. Default 1,000,000.
    #[serde(default = "rotate_rows")]
    pub rotate_rows: u64,
    /// Seconds after which a file is completed, however small. Default 300; so much may be lost when the machine breaks down.
    #[serde(default = "rotate_seconds")]
    pub rotate_seconds: u64,
    /// Bytes after which a file is completed, about. Default 128 MiB.
    #[serde(default = "rotate_bytes")]
    pub rotate_bytes: u64,
    /// Most memory of predictions that wait to be written, and as much again of calls that wait for a shadow. More are dropped and
    /// counted. Default 64 MiB.
    #[serde(default = "queue_bytes")]
    pub queue_bytes: u64,
}

use PredictionLogSettings as Settings;

fn rotate_rows() -> u64 {
    1_000_000
}

fn rotate_seconds() -> u64 {
    300
}

fn rotate_bytes() -> u64 {
    128 << 20
}

fn queue_bytes() -> u64 {
    64 << 20
}

impl PredictionLogSettings {
    /// The default settings for a folder.
    pub fn new(folder: PathBuf) -> Self {
        let (rotate_rows, rotate_seconds) = (rotate_rows(), rotate_seconds());
        Self { folder, rotate_rows, rotate_seconds, rotate_bytes: rotate_bytes(), queue_bytes: queue_bytes() }
    }

    /// Refuses limits that cannot be.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with what was found.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for (key, found, most, expected) in [
            ("prediction_log.rotate_rows", self.rotate_rows, 1 << 30, "a whole number from 1 to 1073741824"),
            ("prediction_log.rotate_seconds", self.rotate_seconds, 86_400, "a number of seconds from 1 to 86400"),
            ("prediction_log.rotate_bytes", self.rotate_bytes, 1 << 40, "a number of bytes from 1 to 2^40"),
            ("prediction_log.queue_bytes", self.queue_bytes, 1 << 40, "a number of bytes from 1 to 2^40"),
        ] {
            if !(1..=most).contains(&found) {
                return Err(ConfigError::Value { key, expected, found: found.to_string() });
            }
        }
        Ok(())
    }
}

/// What one version has predicted in one call.
struct Predicted {
    model: Arc<LiveModel>,
    alias: Option<Alias>,
    /// When, by the server's clock.
    day: Day,
    request_id: Option<Arc<str>>,
    rows: PredictedRows,
}

/// For whom, from which values, and what.
pub(crate) enum PredictedRows {
    /// One customer.
    One { customer_id: String, values: Vec<f64>, prediction: Prediction },
    /// Several, whose values lie one row after another.
    Many { customer_ids: Vec<String>, values: Vec<f64>, predictions: Vec<Prediction> },
}

impl PredictedRows {
    fn each(&self, mut visit: impl FnMut(&str, &[f64], &Prediction)) {
        match self {
            Self::One { customer_id, values, prediction } => visit(customer_id, values, prediction),
            Self::Many { customer_ids, values, predictions } => {
                let rows = values.chunks_exact((values.len() / predictions.len().max(1)).max(1));
                customer_ids.iter().zip(rows).zip(predictions).for_each(|((id, row), prediction)| visit(id, row, prediction));
            }
        }
    }

    fn n_rows(&self) -> usize {
        match self {
            Self::One { .. } => 1,
            Self::Many { predictions, .. } => predictions.len(),
        }
    }

    fn bytes(&self) -> usize {
        let text = |text: &String| size_of::<String>() + text.len();
        match self {
            Self::One { customer_id, values, .. } => text(customer_id) + size_of_val(&values[..]),
            Self::Many { customer_ids, values, predictions } => {
                customer_ids.iter().map(text).sum::<usize>() + size_of_val(&values[..]) + size_of_val(&predictions[..])
            }
        }
    }
}

/// What happened to the rows.
#[derive(Debug, Default)]
struct LogCounts {
    written: Count,
    /// By the writer; what the queue dropped is counted there.
    dropped: Count,
    /// Rows that a shadow could not read.
    unread: Count,
}

/// The log, as calls see it.
pub(crate) struct PredictionLog {
    settings: Settings,
    now: fn() -> Day,
    predicted: Arc<Queue<Predicted>>,
    shadows: Queue<ShadowCall>,
    counts: Arc<LogCounts>,
    state: Mutex<State>,
}

/// The two threads: the shadow's first, because it adds to what the writer writes.
enum State {
    Waiting(Box<(Items<ShadowCall>, Items<Predicted>)>),
    Running { shadow: JoinHandle<()>, writer: JoinHandle<()> },
    Ended,
}

impl PredictionLog {
    /// Nothing is written until [`PredictionLog::start`]; `now` is the clock.
    pub(crate) fn new(settings: Settings, now: fn() -> Day) -> Self {
        let max_bytes = usize::try_from(settings.queue_bytes).unwrap_or(usize::MAX);
        let ((shadows, calls), (predicted, items)) = (queue(max_bytes), queue(max_bytes));
        let state = Mutex::new(State::Waiting(Box::new((calls, items))));
        Self { settings, now, predicted: Arc::new(predicted), shadows, counts: Arc::default(), state }
    }

    /// Begins to write, on threads of its own.
    pub(crate) fn start(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Waiting(ends) = std::mem::replace(&mut *state, State::Ended) else { return };
        let (calls, items) = *ends;
        let (predicted, counts) = (self.predicted.clone(), self.counts.clone());
        let score = move |call: Option<ShadowCall>| call.into_iter().for_each(|call| shadow::score(call, &predicted, &counts));
        let shadow = move || calls.run(score);
        let writer = Writer::new(self.settings.clone(), self.counts.clone());
        let threads = spawn("shadow", shadow).and_then(|shadow| {
            let writer = spawn("prediction-log", move || writer.run(items))?;
            Ok(State::Running { shadow, writer })
        });
        match threads {
            Ok(running) => *state = running,
            // The queues have lost their readers: everything is dropped and counted.
            Err(error) => tracing::error!(reason = %error, "the prediction log has no thread to write it; predictions go on"),
        }
        let folder = self.settings.folder.display();
        tracing::info!(%folder, "predictions are logged with customers' values");
    }

    /// Begins the entries of one call.
    pub(crate) fn call(&self, request_id: Option<Arc<str>>) -> LoggedCall<'_> {
        LoggedCall { log: self, day: (self.now)(), request_id, shadows: Vec::new() }
    }

    /// Takes nothing more, and waits until what was handed over is written. Blocks.
    pub(crate) fn close(&self) {
        let state = std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Ended);
        self.shadows.close();
        if let State::Running { shadow, writer } = state {
            join(shadow);
            self.predicted.close();
            join(writer);
        }
    }

    /// Adds what happened here.
    pub(crate) fn count(&self, counts: &mut Counts) {
        counts.logged_rows = self.counts.written.get();
        counts.log_rows_dropped = self.counts.dropped.get() + self.predicted.n_dropped();
        counts.shadow_rows_dropped = self.counts.unread.get() + self.shadows.n_dropped();
    }
}

impl std::fmt::Debug for PredictionLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What waits in the queues are customers' values.
        f.debug_struct("PredictionLog").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The entries of one call.
pub(crate) struct LoggedCall<'l> {
    log: &'l PredictionLog,
    day: Day,
    request_id: Option<Arc<str>>,
    shadows: Vec<Arc<LiveModel>>,
}

impl LoggedCall<'_> {
    /// Hands over what one version has predicted, or drops it.
    pub(crate) fn add(&self, model: &Arc<LiveModel>, alias: Option<Alias>, rows: PredictedRows) {
        let (model, day, request_id) = (model.clone(), self.day, self.request_id.clone());
        offer(&self.log.predicted, Predicted { model, alias, day, request_id, rows });
    }

    /// Notes the shadow of a version that has answered.
    pub(crate) fn add_shadow(&mut self, asked: &Asked<'_>) {
        // Champion and challenger of one call have the same.
        let shadow = asked.shadow().filter(|shadow| !self.shadows.iter().any(|known| Arc::ptr_eq(known, shadow)));
        self.shadows.extend(shadow.cloned());
    }

    /// Hands over the call's values to the shadows, where there are any, or drops them.
    pub(crate) fn end(self, observed: Option<Day>, customers: impl FnOnce() -> ShadowCustomers) {
        if !self.shadows.is_empty() {
            let Self { log, day, request_id, shadows: models } = self;
            let call = ShadowCall { models, day, observed, request_id, customers: customers() };
            let (bytes, n_rows) = (call.bytes(), call.n_rows());
            log.shadows.offer(call, bytes, n_rows);
        }
    }
}

impl Drop for PredictionLog {
    fn drop(&mut self) {
        // The threads write what they have, and end; nobody waits for them.
        self.shadows.close();
        self.predicted.close();
    }
}

fn offer(queue: &Queue<Predicted>, predicted: Predicted) {
    let (bytes, n_rows) = (ITEM_BYTES + predicted.rows.bytes(), predicted.rows.n_rows());
    queue.offer(predicted, bytes, n_rows);
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the prediction log broke off");
    }
}

impl Writer {
    /// Writes until the queue is closed and empty, and completes all files.
    fn run(mut self, items: Items<Predicted>) {
        self.begin_folder();
        items.run(|predicted| match predicted {
            Some(predicted) => self.write(predicted),
            None => self.finish_due(),
        });
        self.finish_all();
    }
}
