//! One connection to the file: statements that are prepared once, keys looked up one by one, which costs microseconds in the process.

use std::path::Path;
use std::sync::Arc;

use retain_core::{Decision, DecisionId, Money, Outcome, Override};
use rusqlite::{Params, params};

use super::place::OpenFiles;
use super::rows::{self, DECISION, Fields};
use super::store_error;
use crate::backend::{Connection, SizedDecision};
use crate::error::StoreError;
use crate::records::{Counts, Cursor, PastDecision};
use crate::rules::{NewRecords, Window};

pub(super) struct SqliteConnection {
    connection: rusqlite::Connection,
    place: Arc<str>,
    files: OpenFiles,
}

impl SqliteConnection {
    /// Takes over a connection that has read already, so that its files are there.
    pub(super) fn new(connection: rusqlite::Connection, path: &Path, place: Arc<str>) -> Result<Self, StoreError> {
        let unavailable = |error| StoreError::Unavailable { place: place.clone(), source: Arc::new(error) };
        let files = OpenFiles::remember(path).map_err(unavailable)?;
        Ok(Self { connection, place, files })
    }

    fn check_files(&self) -> Result<(), StoreError> {
        self.files.check().map_err(|error| StoreError::Unavailable { place: self.place.clone(), source: Arc::new(error) })
    }

    fn execute(&self, sql: &str, values: impl Params) -> Result<usize, StoreError> {
        let done = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        done.map_err(|error| store_error(&self.place, error))
    }

    /// Adds what a query finds to `found`.
    fn query<T>(
        &self,
        found: &mut Vec<T>,
        sql: &str,
        values: impl Params,
        read: fn(&Fields<'_>) -> Result<T, StoreError>,
    ) -> Result<(), StoreError> {
        let place = &self.place;
        let named = |error| store_error(place, error);
        let mut statement = self.connection.prepare_cached(sql).map_err(named)?;
        let mut rows = statement.query(values).map_err(named)?;
        while let Some(row) = rows.next().map_err(named)? {
            found.push(read(&Fields { row, place })?);
        }
        Ok(())
    }

    fn query_each<T>(
        &self,
        ids: &[DecisionId],
        sql: &str,
        read: fn(&Fields<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        ids.iter().try_for_each(|id| self.query(&mut found, sql, [id.to_string()], read))?;
        Ok(found)
    }

    fn insert_decision(&self, decision: &Decision) -> Result<(), StoreError> {
        let sql = "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let values = params![
            decision.id.to_string(),
            decision.customer_id,
            decision.decided_at_ms,
            decision.playbook,
            decision.playbook_sha256,
            decision.action,
            decision.channel,
            decision.propensity,
            decision.holdout,
            decision.expected_value,
            decision.cost,
            decision.currency,
            decision.window_closes_at_ms,
            decision.context,
            decision.candidates,
        ];
        self.execute(sql, values).map(drop)
    }

    fn insert_outcome(&self, outcome: &Outcome, reported_at_ms: i64) -> Result<(), StoreError> {
        let (id, kind, value) = (outcome.decision_id.to_string(), outcome.kind.as_str(), outcome.value.as_ref());
        let (amount, units) = (value.map(Money::amount), value.map(Money::minor_units));
        let currency = value.map(Money::currency);
        let values = params![id, outcome.key, kind, outcome.occurred_at_ms, reported_at_ms, amount, units, currency];
        self.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values).map(drop)
    }

    fn insert_override(&self, overriding: &Override, reported_at_ms: i64) -> Result<(), StoreError> {
        let Override { decision_id, key, action, who, why, occurred_at_ms } = overriding;
        let values = params![decision_id.to_string(), key, action, who, why, occurred_at_ms, reported_at_ms];
        self.execute("INSERT INTO overrides VALUES (?, ?, ?, ?, ?, ?, ?)", values).map(drop)
    }
}

impl Connection for SqliteConnection {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.check_files()?;
        self.rollback();
        if !self.connection.is_autocommit() {
            let source = Arc::new(std::io::Error::other("an earlier transaction cannot be undone"));
            return Err(StoreError::Unavailable { place: self.place.clone(), source });
        }
        self.execute("BEGIN IMMEDIATE", ()).map(drop)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.execute("COMMIT", ())?;
        self.check_files()
    }

    fn rollback(&mut self) {
        // SQLite undoes some failures by itself. Where this fails, the next `begin` finds out.
        if !self.connection.is_autocommit() {
            let _ = self.execute("ROLLBACK", ());
        }
    }

    fn decisions(&mut self, ids: &[DecisionId]) -> Result<Vec<Decision>, StoreError> {
        self.query_each(ids, &format!("SELECT {DECISION} FROM decisions WHERE id = ?"), rows::decision)
    }

    fn lock_windows(&mut self, ids: &[DecisionId]) -> Result<Vec<Window>, StoreError> {
        // The transaction keeps all others from writing.
        let sql = "SELECT id, decided_at_ms, window_closes_at_ms FROM decisions WHERE id = ?";
        self.query_each(ids, sql, rows::window)
    }

    fn outcomes(&mut self, ids: &[DecisionId]) -> Result<Vec<Outcome>, StoreError> {
        let sql = "SELECT decision_id, key, kind, occurred_at_ms, value_minor_units, currency FROM outcomes \
                   WHERE decision_id = ? ORDER BY occurred_at_ms, key";
        self.query_each(ids, sql, rows::outcome)
    }

    fn overrides(&mut self, ids: &[DecisionId]) -> Result<Vec<Override>, StoreError> {
        let sql = "SELECT decision_id, key, action, who, why, occurred_at_ms FROM overrides \
                   WHERE decision_id = ? ORDER BY occurred_at_ms, key";
        self.query_each(ids, sql, rows::overriding)
    }

    fn insert(&mut self, new: &NewRecords) -> Result<(), StoreError> {
        new.decisions.iter().try_for_each(|decision| self.insert_decision(decision))?;
        new.outcomes.iter().try_for_each(|(outcome, reported)| self.insert_outcome(outcome, *reported))?;
        new.overrides.iter().try_for_each(|(overriding, reported)| self.insert_override(overriding, *reported))
    }

    fn remove(&mut self, closed_before_ms: i64, limit: usize) -> Result<u64, StoreError> {
        let sql = "DELETE FROM decisions WHERE id IN (SELECT id FROM decisions WHERE window_closes_at_ms < ? \
                   ORDER BY window_closes_at_ms, id LIMIT ?)";
        self.execute(sql, params![closed_before_ms, limit as i64]).map(|n_removed| n_removed as u64)
    }

    fn past_decisions(&mut self, customer_id: &str, since_ms: i64, limit: usize) -> Result<Vec<PastDecision>, StoreError> {
        self.check_files()?;
        let sql = "SELECT id, decided_at_ms, playbook, action, channel, holdout FROM decisions \
                   WHERE customer_id = ? AND decided_at_ms >= ? ORDER BY decided_at_ms DESC, id DESC LIMIT ?";
        let mut found = Vec::new();
        self.query(&mut found, sql, params![customer_id, since_ms, limit as i64], rows::past_decision)?;
        Ok(found)
    }

    fn matured(&mut self, closed_before_ms: i64, after: Option<Cursor>, limit: usize) -> Result<Vec<SizedDecision>, StoreError> {
        self.check_files()?;
        let sql = "SELECT id, window_closes_at_ms, octet_length(context) + octet_length(candidates) FROM decisions \
                   WHERE window_closes_at_ms < ? AND (window_closes_at_ms, id) > (?, ?) ORDER BY window_closes_at_ms, id LIMIT ?";
        let (closes, id) = after.map_or((i64::MIN, String::new()), |cursor| (cursor.window_closes_at_ms, cursor.id.to_string()));
        let mut found = Vec::new();
        self.query(&mut found, sql, params![closed_before_ms, closes, id, limit as i64], rows::sized)?;
        Ok(found)
    }

    fn ids(&mut self, after: Option<DecisionId>, limit: usize) -> Result<Vec<SizedDecision>, StoreError> {
        self.check_files()?;
        let sql = "SELECT id, window_closes_at_ms, octet_length(context) + octet_length(candidates) FROM decisions \
                   WHERE id > ? ORDER BY id LIMIT ?";
        let after = after.map_or(String::new(), |id| id.to_string());
        let mut found = Vec::new();
        self.query(&mut found, sql, params![after, limit as i64], rows::sized)?;
        Ok(found)
    }

    fn counts(&mut self) -> Result<Counts, StoreError> {
        self.check_files()?;
        let count = |sql: &str| -> Result<u64, StoreError> {
            let counted = self.connection.query_row(sql, (), |row| row.get::<_, i64>(0));
            counted.map(|counted| counted as u64).map_err(|error| store_error(&self.place, error))
        };
        Ok(Counts {
            decisions: count("SELECT count(*) FROM decisions")?,
            outcomes: count("SELECT count(*) FROM outcomes")?,
            overrides: count("SELECT count(*) FROM overrides")?,
        })
    }
}
