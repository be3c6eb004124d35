//! Records as rows of PostgreSQL, and back. What is read is checked again: others can write to the tables.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use retain_core::{Decision, DecisionId, Money, Outcome, Override};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::backend::SizedDecision;
use crate::error::StoreError;
use crate::records::{Cursor, PastDecision};
use crate::rules::Window;

/// The columns of a decision, in the order of [`Fields::decision`].
pub(super) const DECISION: &str = "SELECT id::text, customer_id, decided_at_ms, playbook, playbook_sha256, action, channel, propensity, \
     holdout, expected_value, cost, currency, window_closes_at_ms, context::text, candidates::text FROM decisions \
     WHERE id = ANY($1::text[]::uuid[])";

/// A row and the name of its database.
pub(super) struct Fields<'r> {
    pub(super) row: &'r Row,
    pub(super) place: &'r Arc<str>,
}

impl<'r> Fields<'r> {
    fn get<T: FromSql<'r>>(&self, at: usize) -> Result<T, StoreError> {
        self.row.try_get(at).map_err(|error| self.damaged("row", &error))
    }

    fn parse<T: FromStr<Err: Display>>(&self, at: usize, column: &'static str) -> Result<T, StoreError> {
        self.get::<&str>(at)?.parse().map_err(|error: T::Err| self.damaged(column, &error))
    }

    fn damaged(&self, column: &'static str, problem: &impl Display) -> StoreError {
        StoreError::Damaged { place: self.place.clone(), column, problem: problem.to_string() }
    }

    fn id(&self, at: usize) -> Result<DecisionId, StoreError> {
        self.parse(at, "id")
    }

    pub(super) fn decision(&self) -> Result<Decision, StoreError> {
        Ok(Decision {
            id: self.id(0)?,
            customer_id: self.get(1)?,
            decided_at_ms: self.get(2)?,
            playbook: self.get(3)?,
            playbook_sha256: self.get(4)?,
            action: self.get(5)?,
            channel: self.get(6)?,
            propensity: self.get(7)?,
            holdout: self.get(8)?,
            expected_value: self.get(9)?,
            cost: self.get(10)?,
            currency: self.get(11)?,
            window_closes_at_ms: self.get(12)?,
            context: self.get(13)?,
            candidates: self.get(14)?,
        })
    }

    /// Of `id, decided_at_ms, window_closes_at_ms`.
    pub(super) fn window(&self) -> Result<Window, StoreError> {
        Ok(Window { id: self.id(0)?, decided_at_ms: self.get(1)?, window_closes_at_ms: self.get(2)? })
    }

    /// Of `id, window_closes_at_ms, bytes`.
    pub(super) fn sized(&self) -> Result<SizedDecision, StoreError> {
        let cursor = Cursor { id: self.id(0)?, window_closes_at_ms: self.get(1)? };
        Ok(SizedDecision { cursor, bytes: self.get::<i64>(2)? as usize })
    }

    /// Of `id, decided_at_ms, playbook, action, channel, holdout`.
    pub(super) fn past_decision(&self) -> Result<PastDecision, StoreError> {
        Ok(PastDecision {
            id: self.id(0)?,
            decided_at_ms: self.get(1)?,
            playbook: self.get(2)?,
            action: self.get(3)?,
            channel: self.get(4)?,
            holdout: self.get(5)?,
            overridden_by: None,
            outcomes: Vec::new(),
        })
    }

    /// Of `decision_id, key, kind, occurred_at_ms, value_minor_units, currency`.
    pub(super) fn outcome(&self) -> Result<Outcome, StoreError> {
        let value = match (self.get::<Option<i64>>(4)?, self.get::<Option<&str>>(5)?) {
            (Some(units), Some(currency)) => {
                Some(Money::new(currency, units).map_err(|error| self.damaged("outcomes.currency", &error))?)
            }
            _ => None,
        };
        let kind = self.parse(2, "outcomes.kind")?;
        Ok(Outcome { decision_id: self.id(0)?, key: self.get(1)?, kind, occurred_at_ms: self.get(3)?, value })
    }

    /// Of `decision_id, key, action, who, why, occurred_at_ms`.
    pub(super) fn overriding(&self) -> Result<Override, StoreError> {
        Ok(Override {
            decision_id: self.id(0)?,
            key: self.get(1)?,
            action: self.get(2)?,
            who: self.get(3)?,
            why: self.get(4)?,
            occurred_at_ms: self.get(5)?,
        })
    }
}
