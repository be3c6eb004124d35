//! The log as callers see it: calls that are queued, and answers that are on their way.

use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use retain_core::{Decision, DecisionId, Outcome, Override, PastDecision};

use crate::backend::{Connection, Database};
use crate::check::{MAX_CUSTOMER_ID_BYTES, check_decision, check_outcome, check_override, time};
use crate::config::StoreConfig;
use crate::error::{Cause, StoreError};
use crate::link::Link;
use crate::pages::{load_page, past_with_reports};
use crate::pending::{Pending, no_answer};
use crate::queue::Queue;
use crate::records::{Counts, Cursor, LoggedDecision, Page, Recorded, Used};
use crate::rules::{Done, Request};
use crate::writer::{Write, Writer};

/// Most decisions of one call that keeps several.
pub const MAX_DECISIONS: usize = 10_000;
/// Most earlier decisions that [`Store::history`] gives; the newest.
pub const MAX_HISTORY: usize = 1_000;
/// Most decisions of a page.
pub const MAX_PAGE: usize = 1_000;
/// Decisions that one transaction of [`Store::apply_retention`] removes.
const REMOVED_AT_ONCE: usize = 200;
/// Bytes that a record takes beside its texts, about.
const RECORD_BYTES: usize = 256;

/// The log of decisions and what came of them. A clone is the same log.
///
/// Every call is queued when it is made and answered through a [`Pending`]. One thread writes, others read; when the last clone is
/// dropped they finish what is queued and end, and [`StoreThreads::join`] waits for that. [`Store::history`] alone need not wait for them.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    place: Arc<str>,
    timeout: Duration,
    late_ms: i64,
    writes: Arc<Queue<Write>>,
    reads: Arc<Queue<Read>>,
    /// For callers who read on their own thread; empty where that could make them wait.
    at_hand: Vec<Mutex<Link>>,
}

/// Closes the queues when the last clone of the store is gone.
impl Drop for Inner {
    fn drop(&mut self) {
        self.writes.close();
        self.reads.close();
    }
}

type Read = Box<dyn FnOnce(&mut Link) + Send>;

/// The threads of a log, to wait for their end with.
#[derive(Debug)]
pub struct StoreThreads(Vec<JoinHandle<()>>);

impl StoreThreads {
    /// Waits until all clones of the store are dropped and everything queued is done. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Closed`] if a thread broke off.
    pub fn join(self) -> Result<(), StoreError> {
        self.0.into_iter().try_for_each(|thread| thread.join().map_err(|_| StoreError::Closed))
    }
}

impl Store {
    /// Opens the log, makes or migrates its tables, and starts its threads. Blocks for as long as that takes.
    ///
    /// # Errors
    /// What is wrong with the settings, the file or the database.
    pub fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        Self::open_with_threads(config).map(|(store, _)| store)
    }

    /// As [`Store::open`], with the threads to wait for at the end.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with_threads(config: &StoreConfig) -> Result<(Self, StoreThreads), StoreError> {
        config.check()?;
        let database = config.database()?;
        let (place, timeout, late_ms) = (database.place().clone(), config.timeout(), config.late_ms());
        let writes = Arc::new(Queue::new(config.queue_len, config.queue_bytes));
        let reads = Arc::new(Queue::new(config.queue_len, usize::MAX));
        let link = |database: Arc<dyn Database>| (0..config.readers).map(|_| Mutex::new(Link::new(database.clone()))).collect();
        let at_hand = database.at_hand().map_or(Vec::new(), link);
        // From here on the threads end when this is dropped, also where one of them does not start.
        let inner = Arc::new(Inner { place, timeout, late_ms, writes: writes.clone(), reads: reads.clone(), at_hand });
        let writer = Writer { link: Link::new(database.clone()), queue: writes, group_len: config.group_len, late_ms, timeout };
        let mut threads = vec![start_writer(writer, database.clone())?];
        for _ in 0..config.readers {
            let (reads, mut link) = (reads.clone(), Link::new(database.clone()));
            let run = move || {
                while let Some(taken) = reads.take(1, usize::MAX) {
                    for read in taken {
                        read(&mut link);
                    }
                }
            };
            threads.push(spawn("store-reader", run)?);
        }
        Ok((Self { inner }, StoreThreads(threads)))
    }

    /// How errors name the database: the file, or the address without its password.
    pub fn place(&self) -> &str {
        &self.inner.place
    }

    /// For how long after its window a decision's reports are taken.
    pub fn late_ms(&self) -> i64 {
        self.inner.late_ms
    }

    /// How many calls wait to be written.
    pub fn n_waiting(&self) -> usize {
        self.inner.writes.len()
    }

    /// Keeps a decision. Once the answer is there, it is on the disk.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], [`StoreError::DecisionDiffers`], and what can befall every call: [`StoreError::Busy`],
    /// [`StoreError::Locked`], [`StoreError::Full`], [`StoreError::Unavailable`], [`StoreError::NoAnswer`].
    pub fn record_decision(&self, decision: Decision) -> Pending<Recorded> {
        self.record(check_decision(&decision).map(|()| (bytes(&decision), Request::Decisions(vec![Arc::new(decision)]))))
    }

    /// Keeps up to [`MAX_DECISIONS`] decisions, all or none. The answers are in their order.
    ///
    /// # Errors
    /// As [`Store::record_decision`].
    pub fn record_decisions(&self, decisions: Vec<Decision>) -> Pending<Vec<Recorded>> {
        let checked = match decisions.len() {
            n_decisions if n_decisions > MAX_DECISIONS => {
                Err(StoreError::invalid("decisions", "at most 10000", n_decisions.to_string()))
            }
            _ => decisions.iter().try_for_each(check_decision),
        };
        let total = decisions.iter().map(bytes).sum();
        let request = || Request::Decisions(decisions.into_iter().map(Arc::new).collect());
        self.write(checked.map(|()| (total, request())), |done| match done {
            Done::Recorded(answers) => answers,
            Done::Removed(_) | Done::Nothing => Vec::new(),
        })
    }

    /// Keeps what happened after a decision, reported at `now_ms`.
    ///
    /// A key names one report about one decision: the same report once more is [`Recorded::Known`], however late. When it happened
    /// decides whether it is in the window (its end included); a report may come up to `late_days` after the window, and what
    /// happened may lie up to [`crate::CLOCK_TOLERANCE_MS`] before the decision.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], [`StoreError::UnknownDecision`], [`StoreError::KeyReused`], [`StoreError::Contradiction`],
    /// [`StoreError::WindowClosed`], [`StoreError::ReportedTooLate`], [`StoreError::BeforeDecision`],
    /// [`StoreError::TooManyReports`], and as [`Store::record_decision`].
    pub fn record_outcome(&self, outcome: Outcome, now_ms: i64) -> Pending<Recorded> {
        let checked = check_outcome(&outcome).and_then(|()| time("now_ms", now_ms));
        let size = RECORD_BYTES + outcome.key.len();
        self.record(checked.map(|()| (size, Request::Outcome { outcome: Arc::new(outcome), now_ms })))
    }

    /// Keeps that a person did something else, reported at `now_ms`. Keys and times are as for [`Store::record_outcome`]; keys of
    /// overrides are apart from those of outcomes. A decision may be overridden again: what happened last holds.
    ///
    /// # Errors
    /// As [`Store::record_outcome`], without contradictions.
    pub fn record_override(&self, overriding: Override, now_ms: i64) -> Pending<Recorded> {
        let checked = check_override(&overriding).and_then(|()| time("now_ms", now_ms));
        let Override { key, action, who, why, .. } = &overriding;
        let size = RECORD_BYTES + key.len() + action.len() + who.len() + why.len();
        self.record(checked.map(|()| (size, Request::Override { overriding: Arc::new(overriding), now_ms })))
    }

    /// A decision with its reports, if it is in the log.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], and what can befall every call.
    pub fn decision(&self, id: DecisionId) -> Pending<Option<LoggedDecision>> {
        self.read(move |connection| load_page(connection, &[id]).map(|found| found.into_iter().next()))
    }

    /// A customer's decisions since a time, newest first, at most [`MAX_HISTORY`]; those that a clock put into the future are there too.
    /// From a SQLite file they are read on the caller's thread where a connection is free, which takes as long as the disk does.
    ///
    /// # Errors
    /// As [`Store::decision`], and [`StoreError::Invalid`] for what cannot be a customer's id.
    pub fn history(&self, customer_id: &str, since_ms: i64) -> Pending<Vec<PastDecision>> {
        if customer_id.len() > MAX_CUSTOMER_ID_BYTES || customer_id.contains('\0') {
            let found = format!("{} bytes", customer_id.len());
            let error = StoreError::invalid("customer_id", "at most 512 bytes of text without NUL", found);
            return Pending::of(self.inner.timeout, |_| Err(error));
        }
        // A row or two that are mostly in memory: handing them from thread to thread would take ten times as long as reading them.
        if let Some(found) = self.read_here(|connection| past_with_reports(connection, customer_id, since_ms, MAX_HISTORY)) {
            return Pending::there(found, self.inner.timeout);
        }
        let customer_id = customer_id.to_owned();
        self.read(move |connection| past_with_reports(connection, &customer_id, since_ms, MAX_HISTORY))
    }

    /// Reads on the caller's thread; nothing where all connections for that are taken or fail, so that a reader has to tell.
    fn read_here<T>(&self, read: impl FnMut(&mut dyn Connection) -> Result<T, StoreError>) -> Option<T> {
        let mut link = self.inner.at_hand.iter().find_map(|link| link.try_lock().ok())?;
        link.read(read).ok()
    }

    /// The next decisions whose window closed before a time, with their reports, in the order in which the windows closed.
    ///
    /// A page has up to `limit` decisions ([`MAX_PAGE`] at most), fewer where they are long. Reports may still come until
    /// [`Store::late_ms`] after the window: who needs what no longer changes asks with `now − late_ms`.
    ///
    /// # Errors
    /// As [`Store::decision`].
    pub fn matured(&self, closed_before_ms: i64, after: Option<Cursor>, limit: usize) -> Pending<Page> {
        let limit = limit.clamp(1, MAX_PAGE);
        self.read(move |connection| {
            let found = connection.matured(closed_before_ms, after, limit)?;
            crate::pages::page(connection, &found, limit)
        })
    }

    /// The next decisions in the order of their ids, which is that of time.
    pub(crate) fn all(&self, after: Option<DecisionId>) -> Pending<Page> {
        self.read(move |connection| {
            let found = connection.ids(after, MAX_PAGE)?;
            crate::pages::page(connection, &found, MAX_PAGE)
        })
    }

    /// How often each action was decided for since a time, by action and channel; not for doing nothing. Overridden decisions count.
    ///
    /// # Errors
    /// What can befall every call.
    pub fn used_since(&self, since_ms: i64) -> Pending<Vec<Used>> {
        self.read(move |connection| connection.used(since_ms))
    }

    /// How much the log holds. Counts, so it takes a while on a large one.
    ///
    /// # Errors
    /// What can befall every call.
    pub fn counts(&self) -> Pending<Counts> {
        self.read(|connection| connection.counts())
    }

    /// Comes back once the writer has begun and ended a transaction: whether the log can be written to, and how fast.
    ///
    /// # Errors
    /// What can befall every call.
    pub fn ping(&self) -> Pending<()> {
        self.write(Ok((0, Request::Ping)), |_| ())
    }

    /// Removes decisions whose window closed before a time, with their reports, and says how many. Never one that reports may
    /// still come of: `now_ms` tells. Works in small transactions between other calls; room in a SQLite file is used again, and
    /// the file does not shrink. Blocks until it is done.
    ///
    /// # Errors
    /// What can befall every call; what was removed before stays so.
    pub fn apply_retention(&self, closed_before_ms: i64, now_ms: i64) -> Result<u64, StoreError> {
        let closed_before_ms = closed_before_ms.min(now_ms.saturating_sub(self.inner.late_ms));
        let mut n_removed = 0;
        loop {
            let request = Request::Remove { closed_before_ms, limit: REMOVED_AT_ONCE };
            let removed = |done| if let Done::Removed(n_removed) = done { n_removed } else { 0 };
            match self.write(Ok((0, request)), removed).wait()? {
                0 => return Ok(n_removed),
                removed => n_removed += removed,
            }
        }
    }

    fn record(&self, request: Result<(usize, Request), StoreError>) -> Pending<Recorded> {
        self.write(request, |done| match done {
            Done::Recorded(answers) => answers.first().copied().unwrap_or(Recorded::Known),
            Done::Removed(_) | Done::Nothing => Recorded::Known,
        })
    }

    fn write<T: Send + 'static>(
        &self,
        request: Result<(usize, Request), StoreError>,
        read: impl FnOnce(Done) -> T + Send + 'static,
    ) -> Pending<T> {
        let inner = &self.inner;
        Pending::of(inner.timeout, |sender| {
            let (bytes, request) = request?;
            // Nobody may wait for the answer any more.
            let reply = Box::new(move |done: Result<Done, StoreError>| drop(sender.send(done.map(read))));
            inner.writes.offer(Write { request, reply, deadline: Instant::now() + inner.timeout }, bytes)
        })
    }

    fn read<T: Send + 'static>(
        &self,
        mut read: impl FnMut(&mut dyn Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<T> {
        let timeout = self.inner.timeout;
        let deadline = Instant::now() + timeout;
        Pending::of(timeout, |sender| {
            let read: Read = Box::new(move |link| {
                // What nobody waits for is not read.
                let is_awaited = Instant::now() < deadline && !sender.is_closed();
                let found = if is_awaited { link.read(&mut read) } else { Err(no_answer(timeout)) };
                drop(sender.send(found));
            });
            self.inner.reads.offer(read, 0)
        })
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("place", &self.inner.place).finish_non_exhaustive()
    }
}

/// Starts the writer and waits until it has prepared the tables. On its own thread, because that may run a runtime of its own.
fn start_writer(mut writer: Writer, database: Arc<dyn Database>) -> Result<JoinHandle<()>, StoreError> {
    let (sender, prepared) = mpsc::channel();
    let run = move || {
        let result = database.prepare().and_then(|()| writer.link.connection().map(drop));
        let is_ready = result.is_ok();
        if sender.send(result).is_ok() && is_ready {
            writer.run();
        }
    };
    let thread = spawn("store-writer", run)?;
    prepared.recv().unwrap_or(Err(StoreError::Closed))?;
    Ok(thread)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|error| {
        let source: Cause = Arc::new(error);
        StoreError::Unavailable { place: name.into(), source }
    })
}

fn bytes(decision: &Decision) -> usize {
    RECORD_BYTES + decision.customer_id.len() + decision.context.len() + decision.candidates.len()
}
