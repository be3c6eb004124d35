//! What is done for customers, and what came of it: the playbook that is live, the log of decisions, and what was learned from it.
//!
//! `settings` is `[decisions]` of the server file, `live` the playbook as it was read, `log` the store while it may be out of reach, `look`
//! what is known of a customer, `supply` what is left of capacities, `turns` who has to wait for whom, `learn` what came of earlier decisions, `service` and `batch` the calls,
//! `answer` and `record` their messages.

mod answer;
mod batch;
mod learn;
mod live;
mod log;
mod look;
mod record;
mod service;
mod settings;
mod supply;
mod turns;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use retain_core::{Day, FeatureSpec};

use self::learn::LearnedFromLog;
use self::live::Live;
use self::log::Log;
use self::supply::Supplies;
use self::turns::Turns;
use crate::models::LiveSet;
use crate::status::CallError;
use crate::text::chain;

pub use live::PlaybookError;
pub(crate) use service::DecisionCalls;
pub use settings::DecisionSettings;

const DAY_MS: i64 = 86_400_000;
/// Between two removals of decisions that are too old.
const RETENTION_INTERVAL: Duration = Duration::from_hours(1);

/// All that decisions are made with and kept in.
#[derive(Debug)]
pub(crate) struct Decisions {
    settings: DecisionSettings,
    now: fn() -> Day,
    live: ArcSwap<Live>,
    log: Log,
    learned: ArcSwap<LearnedFromLog>,
    supplies: ArcSwap<Supplies>,
    turns: Turns,
}

/// A moment in milliseconds since 1970.
fn unix_ms(day: Day) -> i64 {
    (day.days() * DAY_MS as f64).round() as i64
}

impl Decisions {
    /// Reads the playbook. The log is opened by [`Decisions::run`].
    ///
    /// # Errors
    /// [`PlaybookError`] when the playbook cannot be used.
    pub(crate) fn new(settings: DecisionSettings, now: fn() -> Day) -> Result<Self, PlaybookError> {
        let live = Live::read(&settings.playbook)?;
        let supplies = Supplies::new(&live.playbook, unix_ms(now()));
        Ok(Self {
            settings,
            now,
            live: ArcSwap::from_pointee(live),
            log: Log::default(),
            learned: ArcSwap::default(),
            supplies: ArcSwap::from_pointee(supplies),
            turns: Turns::default(),
        })
    }

    /// The playbook for longer than a call.
    fn live_now(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// The server's clock, in milliseconds since 1970.
    fn now_ms(&self) -> i64 {
        unix_ms((self.now)())
    }

    fn live(&self) -> Guard<Arc<Live>> {
        self.live.load()
    }

    /// What rules read of customers' rows.
    pub(crate) fn rule_features(&self) -> Vec<FeatureSpec> {
        self.live().rule_features.clone()
    }

    /// Makes sure that every model of the playbook answers; the playbook's name.
    ///
    /// # Errors
    /// As a call that asks the first that does not.
    pub(crate) fn check_models(&self, set: &LiveSet) -> Result<String, CallError> {
        let live = self.live();
        live.addresses.iter().try_for_each(|address| set.select_one(address, "").map(drop))?;
        Ok(live.playbook.settings.name.clone())
    }

    /// Reads the playbook again.
    ///
    /// # Errors
    /// [`PlaybookError`]; the playbook before it stays.
    pub(crate) fn reload(&self) -> Result<(), PlaybookError> {
        let live = Live::read(&self.settings.playbook)?;
        if live.playbook.sha256() == self.live().playbook.sha256() {
            return Ok(());
        }
        tracing::info!(playbook = live.playbook.settings.name, sha256 = live.playbook.sha256(), "playbook is live");
        // What is left of its capacities is known at the next look; until then nobody has used any.
        let supplies = Supplies::new(&live.playbook, self.now_ms());
        self.live.store(Arc::new(live));
        self.supplies.store(Arc::new(supplies));
        self.learned.store(Arc::default());
        Ok(())
    }

    /// Opens the log, and from then on looks what came of decisions, and removes those that are too old. Never ends.
    pub(crate) async fn run(&self) {
        self.log.open(&self.settings.store).await;
        let mut looks = tokio::time::interval(Duration::from_secs(self.settings.learn_seconds));
        let mut trouble = None;
        let mut until_removal = Duration::ZERO;
        loop {
            looks.tick().await;
            let look = self.look().await;
            // Once for each reason.
            let error = look.err().map(|error| chain(&error));
            if let Some(error) = error.as_ref().filter(|error| trouble.as_ref() != Some(*error)) {
                tracing::warn!(reason = error, "nothing was learned from the log of decisions");
            }
            trouble = error;
            if until_removal.is_zero() {
                self.remove_old().await;
                until_removal = RETENTION_INTERVAL;
            }
            until_removal = until_removal.saturating_sub(Duration::from_secs(self.settings.learn_seconds));
        }
    }

    /// Counts what was used of capacities, and learns from decisions whose windows have closed.
    async fn look(&self) -> Result<(), CallError> {
        let store = self.log.store()?;
        let (live, supplies, asked_ms) = (self.live.load_full(), self.supplies.load_full(), self.now_ms());
        if !supplies.is_empty() {
            let mut counted = HashMap::new();
            for from_ms in supplies.periods(asked_ms) {
                counted.insert(from_ms, store.used_since(from_ms).await?);
            }
            supplies.refresh(&live.playbook, &counted, asked_ms);
        }
        let learned = self.learned.load_full().learn(&live.playbook, &store, asked_ms).await?;
        // A playbook that was read meanwhile learns for itself.
        if Arc::ptr_eq(&live, &self.live.load_full()) {
            self.learned.store(Arc::new(learned));
        }
        Ok(())
    }

    async fn remove_old(&self) {
        let (Ok(store), days) = (self.log.store(), i64::from(self.settings.retention_days)) else { return };
        if days == 0 {
            return;
        }
        let now_ms = self.now_ms();
        let removed = tokio::task::spawn_blocking(move || store.apply_retention(now_ms - days * DAY_MS, now_ms)).await;
        match removed {
            Ok(Ok(0)) => {}
            Ok(Ok(n_removed)) => tracing::info!(n_removed, "old decisions are removed"),
            Ok(Err(error)) => tracing::warn!(reason = chain(&error), "old decisions could not be removed"),
            Err(error) => tracing::error!(%error, "the removal of old decisions broke off"),
        }
    }

    /// Waits until the log is open, or could not be opened once.
    pub(crate) async fn tried(&self) {
        self.log.tried().await;
    }

    /// Lets go of the log: what was answered is in it already.
    pub(crate) fn close(&self) {
        self.log.close();
    }
}
