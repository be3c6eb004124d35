//! One connection to PostgreSQL with the runtime that drives it. Every step has the call's timeout, after which the connection is given up.

use std::collections::HashMap;
use std::future::Future;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use retain_core::{Decision, DecisionId, Money, Outcome, Override};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::rows::{self, DECISION, Fields};
use super::store_error;
use super::tls::Tls;
use crate::backend::{Connection, SizedDecision};
use crate::error::StoreError;
use crate::records::{Counts, Cursor, PastDecision};
use crate::rules::{NewRecords, Window};

type Values<'v> = &'v [&'v (dyn ToSql + Sync)];

pub(super) struct PostgresConnection {
    runtime: Runtime,
    client: Client,
    statements: HashMap<&'static str, Statement>,
    place: Arc<str>,
    timeout: Duration,
    is_in_transaction: bool,
}

impl PostgresConnection {
    pub(super) fn open(config: &Config, tls: Option<&Tls>, place: Arc<str>, timeout: Duration) -> Result<Self, StoreError> {
        let unavailable = |error: Error| StoreError::Unavailable { place: place.clone(), source: Arc::new(error) };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(unavailable)?;
        let connecting = async {
            if let Some(tls) = tls {
                let (client, connection) = config.connect(tls.clone()).await?;
                tokio::spawn(connection);
                Ok(client)
            } else {
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(connection);
                Ok(client)
            }
        };
        let client = in_time(&runtime, &place, timeout, connecting)?;
        let mut connection = Self { runtime, client, statements: HashMap::new(), place, timeout, is_in_transaction: false };
        connection.set_up()?;
        Ok(connection)
    }

    /// A commit is on the disk when it is answered, whatever the server's default; the server gives up before the caller does.
    fn set_up(&mut self) -> Result<(), StoreError> {
        let ms = self.timeout.as_millis();
        self.batch(&format!(
            "SET statement_timeout = {ms}; SET idle_in_transaction_session_timeout = {ms};
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        ))
    }

    /// Runs statements that have no parameters.
    pub(super) fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        in_time(&self.runtime, &self.place, self.timeout, self.client.batch_execute(sql))
    }

    /// The one number that a query finds.
    pub(super) fn number(&mut self, sql: &'static str) -> Result<i64, StoreError> {
        let row = in_time(&self.runtime, &self.place, self.timeout, self.client.query_one(sql, &[]))?;
        row.try_get(0).map_err(|error| store_error(&self.place, error))
    }

    fn statement(&mut self, sql: &'static str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = in_time(&self.runtime, &self.place, self.timeout, self.client.prepare(sql))?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    fn rows(&mut self, sql: &'static str, values: Values<'_>) -> Result<Vec<Row>, StoreError> {
        let statement = self.statement(sql)?;
        in_time(&self.runtime, &self.place, self.timeout, self.client.query(&statement, values))
    }

    fn query<T>(
        &mut self,
        sql: &'static str,
        values: Values<'_>,
        read: fn(&Fields<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.rows(sql, values)?;
        rows.iter().map(|row| read(&Fields { row, place: &self.place })).collect()
    }

    fn execute(&mut self, sql: &'static str, values: Values<'_>) -> Result<u64, StoreError> {
        let statement = self.statement(sql)?;
        in_time(&self.runtime, &self.place, self.timeout, self.client.execute(&statement, values))
    }

    fn insert_decisions(&mut self, decisions: &[Arc<Decision>]) -> Result<(), StoreError> {
        let sql = "INSERT INTO decisions SELECT id::uuid, customer_id, decided, playbook, sha, action, channel, propensity, holdout, \
                   expected, cost, currency, closes, context::json, candidates::json \
                   FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::float8[], \
                   $9::bool[], $10::float8[], $11::float8[], $12::text[], $13::bigint[], $14::text[], $15::text[]) \
                   AS new (id, customer_id, decided, playbook, sha, action, channel, propensity, holdout, expected, cost, currency, \
                   closes, context, candidates) ORDER BY id ON CONFLICT (id) DO NOTHING";
        let n_inserted = self.execute(
            sql,
            &[
                &column(decisions, |decision| decision.id.to_string()),
                &column(decisions, |decision| decision.customer_id.as_str()),
                &column(decisions, |decision| decision.decided_at_ms),
                &column(decisions, |decision| decision.playbook.as_str()),
                &column(decisions, |decision| decision.playbook_sha256.as_str()),
                &column(decisions, |decision| decision.action.as_str()),
                &column(decisions, |decision| decision.channel.as_deref()),
                &column(decisions, |decision| decision.propensity),
                &column(decisions, |decision| decision.holdout),
                &column(decisions, |decision| decision.expected_value),
                &column(decisions, |decision| decision.cost),
                &column(decisions, |decision| decision.currency.as_str()),
                &column(decisions, |decision| decision.window_closes_at_ms),
                &column(decisions, |decision| decision.context.as_str()),
                &column(decisions, |decision| decision.candidates.as_str()),
            ],
        )?;
        if n_inserted == decisions.len() as u64 {
            return Ok(());
        }
        let source = Arc::new(Error::other("another writer has just kept a decision of the same id"));
        Err(StoreError::Locked { place: self.place.clone(), source })
    }

    fn insert_outcomes(&mut self, outcomes: &[(Arc<Outcome>, i64)]) -> Result<(), StoreError> {
        let sql = "INSERT INTO outcomes SELECT id::uuid, key, kind, occurred, reported, value, units, currency \
                   FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::float8[], $7::bigint[], $8::text[]) \
                   AS new (id, key, kind, occurred, reported, value, units, currency)";
        let values: [&(dyn ToSql + Sync); 8] = [
            &column(outcomes, |(outcome, _)| outcome.decision_id.to_string()),
            &column(outcomes, |(outcome, _)| outcome.key.as_str()),
            &column(outcomes, |(outcome, _)| outcome.kind.as_str()),
            &column(outcomes, |(outcome, _)| outcome.occurred_at_ms),
            &column(outcomes, |(_, reported_at_ms)| *reported_at_ms),
            &column(outcomes, |(outcome, _)| outcome.value.as_ref().map(Money::amount)),
            &column(outcomes, |(outcome, _)| outcome.value.as_ref().map(Money::minor_units)),
            &column(outcomes, |(outcome, _)| outcome.value.as_ref().map(Money::currency)),
        ];
        self.execute(sql, &values).map(drop)
    }

    fn insert_overrides(&mut self, overrides: &[(Arc<Override>, i64)]) -> Result<(), StoreError> {
        let sql = "INSERT INTO overrides SELECT id::uuid, key, action, who, why, occurred, reported \
                   FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[]) \
                   AS new (id, key, action, who, why, occurred, reported)";
        let values: [&(dyn ToSql + Sync); 7] = [
            &column(overrides, |(overriding, _)| overriding.decision_id.to_string()),
            &column(overrides, |(overriding, _)| overriding.key.as_str()),
            &column(overrides, |(overriding, _)| overriding.action.as_str()),
            &column(overrides, |(overriding, _)| overriding.who.as_str()),
            &column(overrides, |(overriding, _)| overriding.why.as_str()),
            &column(overrides, |(overriding, _)| overriding.occurred_at_ms),
            &column(overrides, |(_, reported_at_ms)| *reported_at_ms),
        ];
        self.execute(sql, &values).map(drop)
    }
}

impl Connection for PostgresConnection {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.batch("BEGIN")?;
        self.is_in_transaction = true;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.batch("COMMIT")?;
        self.is_in_transaction = false;
        Ok(())
    }

    fn rollback(&mut self) {
        if std::mem::take(&mut self.is_in_transaction) {
            // Where the connection is lost, so is the transaction.
            let _ = self.batch("ROLLBACK");
        }
    }

    fn decisions(&mut self, ids: &[DecisionId]) -> Result<Vec<Decision>, StoreError> {
        self.query(DECISION, &[&texts(ids)], rows::decision)
    }

    fn lock_windows(&mut self, ids: &[DecisionId]) -> Result<Vec<Window>, StoreError> {
        let sql = "SELECT id::text, decided_at_ms, window_closes_at_ms FROM decisions WHERE id = ANY($1::text[]::uuid[]) \
                   ORDER BY decisions.id FOR NO KEY UPDATE";
        self.query(sql, &[&texts(ids)], rows::window)
    }

    fn outcomes(&mut self, ids: &[DecisionId]) -> Result<Vec<Outcome>, StoreError> {
        let sql = "SELECT decision_id::text, key, kind, occurred_at_ms, value_minor_units, currency FROM outcomes \
                   WHERE decision_id = ANY($1::text[]::uuid[]) ORDER BY outcomes.decision_id, occurred_at_ms, key";
        self.query(sql, &[&texts(ids)], rows::outcome)
    }

    fn overrides(&mut self, ids: &[DecisionId]) -> Result<Vec<Override>, StoreError> {
        let sql = "SELECT decision_id::text, key, action, who, why, occurred_at_ms FROM overrides \
                   WHERE decision_id = ANY($1::text[]::uuid[]) ORDER BY overrides.decision_id, occurred_at_ms, key";
        self.query(sql, &[&texts(ids)], rows::overriding)
    }

    fn insert(&mut self, new: &NewRecords) -> Result<(), StoreError> {
        if !new.decisions.is_empty() {
            self.insert_decisions(&new.decisions)?;
        }
        if !new.outcomes.is_empty() {
            self.insert_outcomes(&new.outcomes)?;
        }
        if !new.overrides.is_empty() {
            self.insert_overrides(&new.overrides)?;
        }
        Ok(())
    }

    fn remove(&mut self, closed_before_ms: i64, limit: usize) -> Result<u64, StoreError> {
        let sql = "DELETE FROM decisions WHERE id IN (SELECT id FROM decisions WHERE window_closes_at_ms < $1 \
                   ORDER BY window_closes_at_ms, id LIMIT $2)";
        self.execute(sql, &[&closed_before_ms, &(limit as i64)])
    }

    fn past_decisions(&mut self, customer_id: &str, since_ms: i64, limit: usize) -> Result<Vec<PastDecision>, StoreError> {
        let sql = "SELECT id::text, decided_at_ms, playbook, action, channel, holdout FROM decisions \
                   WHERE customer_id = $1 AND decided_at_ms >= $2 ORDER BY decided_at_ms DESC, decisions.id DESC LIMIT $3";
        self.query(sql, &[&customer_id, &since_ms, &(limit as i64)], rows::past_decision)
    }

    fn matured(&mut self, closed_before_ms: i64, after: Option<Cursor>, limit: usize) -> Result<Vec<SizedDecision>, StoreError> {
        let sql = "SELECT id::text, window_closes_at_ms, (octet_length(context::text) + octet_length(candidates::text))::bigint \
                   FROM decisions WHERE window_closes_at_ms < $1 AND (window_closes_at_ms, id) > ($2, $3::text::uuid) \
                   ORDER BY window_closes_at_ms, decisions.id LIMIT $4";
        let after = after.unwrap_or(Cursor { window_closes_at_ms: i64::MIN, id: least_id() });
        let id = after.id.to_string();
        self.query(sql, &[&closed_before_ms, &after.window_closes_at_ms, &id, &(limit as i64)], rows::sized)
    }

    fn ids(&mut self, after: Option<DecisionId>, limit: usize) -> Result<Vec<SizedDecision>, StoreError> {
        let sql = "SELECT id::text, window_closes_at_ms, (octet_length(context::text) + octet_length(candidates::text))::bigint \
                   FROM decisions WHERE $1::text IS NULL OR id > $1::text::uuid ORDER BY decisions.id LIMIT $2";
        self.query(sql, &[&after.map(|id| id.to_string()), &(limit as i64)], rows::sized)
    }

    fn counts(&mut self) -> Result<Counts, StoreError> {
        Ok(Counts {
            decisions: self.number("SELECT count(*) FROM decisions")? as u64,
            outcomes: self.number("SELECT count(*) FROM outcomes")? as u64,
            overrides: self.number("SELECT count(*) FROM overrides")? as u64,
        })
    }
}

/// Waits for a step on this thread; one that takes longer than a call may has lost its connection.
fn in_time<T>(
    runtime: &Runtime,
    place: &Arc<str>,
    timeout: Duration,
    step: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, StoreError> {
    let Ok(done) = runtime.block_on(async { tokio::time::timeout(timeout, step).await }) else {
        let source = Arc::new(Error::new(ErrorKind::TimedOut, "the server does not answer"));
        return Err(StoreError::Unavailable { place: place.clone(), source });
    };
    done.map_err(|error| store_error(place, error))
}

fn column<'r, R, T>(records: &'r [R], read: impl Fn(&'r R) -> T) -> Vec<T> {
    records.iter().map(read).collect()
}

fn texts(ids: &[DecisionId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// The id before all others.
fn least_id() -> DecisionId {
    DecisionId::from_bytes([0; 16])
}
