//! What the log asks of a database. Two do it: `sqlite` and `postgres`. The rules are elsewhere (`rules`).

use std::sync::Arc;

use retain_core::{Decision, DecisionId, Outcome, Override, PastDecision};

use crate::error::StoreError;
use crate::records::{Counts, Cursor, Used};
use crate::rules::{NewRecords, Window};

/// One connection, owned by one thread, which may block.
pub(crate) trait Connection: Send {
    /// Begins a transaction that writes.
    fn begin(&mut self) -> Result<(), StoreError>;
    /// Ends it. When this returns, what was written survives the loss of power.
    fn commit(&mut self) -> Result<(), StoreError>;
    /// Undoes it, where there is one.
    fn rollback(&mut self);

    /// The decisions of these ids that there are, in any order.
    fn decisions(&mut self, ids: &[DecisionId]) -> Result<Vec<Decision>, StoreError>;
    /// Their windows, kept from other writers until the transaction ends.
    fn lock_windows(&mut self, ids: &[DecisionId]) -> Result<Vec<Window>, StoreError>;
    /// Their outcomes: those of one decision together, oldest first.
    fn outcomes(&mut self, ids: &[DecisionId]) -> Result<Vec<Outcome>, StoreError>;
    /// Their overrides: those of one decision together, oldest first.
    fn overrides(&mut self, ids: &[DecisionId]) -> Result<Vec<Override>, StoreError>;
    /// Writes new records.
    ///
    /// # Errors
    /// [`StoreError::Locked`] where another writer has just written a decision of the same id: look again.
    fn insert(&mut self, new: &NewRecords) -> Result<(), StoreError>;
    /// Removes decisions whose window closed before, with their reports, up to a number; says how many there were.
    fn remove(&mut self, closed_before_ms: i64, limit: usize) -> Result<u64, StoreError>;

    /// A customer's last decisions since a time, newest first, without their reports.
    fn past_decisions(&mut self, customer_id: &str, since_ms: i64, limit: usize) -> Result<Vec<PastDecision>, StoreError>;
    /// Decisions whose window closed before, in that order, after the cursor.
    fn matured(&mut self, closed_before_ms: i64, after: Option<Cursor>, limit: usize) -> Result<Vec<SizedDecision>, StoreError>;
    /// All decisions in the order of their ids, after one.
    fn ids(&mut self, after: Option<DecisionId>, limit: usize) -> Result<Vec<SizedDecision>, StoreError>;
    /// How often each action was decided for since a time.
    fn used(&mut self, since_ms: i64) -> Result<Vec<Used>, StoreError>;
    /// How many there are.
    fn counts(&mut self) -> Result<Counts, StoreError>;
}

/// A decision and how many bytes its long texts have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SizedDecision {
    pub(crate) cursor: Cursor,
    pub(crate) bytes: usize,
}

/// Where the log is, and how to come to it.
pub(crate) trait Database: Send + Sync {
    /// Makes or migrates the tables. Several processes may do so at once.
    fn prepare(&self) -> Result<(), StoreError>;
    /// Connects to tables that are there.
    fn connect(&self) -> Result<Box<dyn Connection>, StoreError>;
    /// How errors name it.
    fn place(&self) -> &Arc<str>;
    /// The same database over connections that answer a small question within microseconds and never wait for a lock, so that
    /// callers may ask on their own threads. Nothing for a database across the network.
    fn at_hand(&self) -> Option<Arc<dyn Database>> {
        None
    }
}
