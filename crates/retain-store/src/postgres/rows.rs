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

/// The columns of a decision, in the order of [`decision`].
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
}

/// Of [`DECISION`].
pub(super) fn decision(fields: &Fields<'_>) -> Result<Decision, StoreError> {
    Ok(Decision {
        id: fields.id(0)?,
        customer_id: fields.get(1)?,
        decided_at_ms: fields.get(2)?,
        playbook: fields.get(3)?,
        playbook_sha256: fields.get(4)?,
        action: fields.get(5)?,
        channel: fields.get(6)?,
        propensity: fields.get(7)?,
        holdout: fields.get(8)?,
        expected_value: fields.get(9)?,
        cost: fields.get(10)?,
        currency: fields.get(11)?,
        window_closes_at_ms: fields.get(12)?,
        context: fields.get(13)?,
        candidates: fields.get(14)?,
    })
}

/// Of `id, decided_at_ms, window_closes_at_ms`.
pub(super) fn window(fields: &Fields<'_>) -> Result<Window, StoreError> {
    Ok(Window { id: fields.id(0)?, decided_at_ms: fields.get(1)?, closes_at_ms: fields.get(2)? })
}

/// Of `id, window_closes_at_ms, bytes`.
pub(super) fn sized(fields: &Fields<'_>) -> Result<SizedDecision, StoreError> {
    let cursor = Cursor { id: fields.id(0)?, window_closes_at_ms: fields.get(1)? };
    Ok(SizedDecision { cursor, bytes: fields.get::<i64>(2)? as usize })
}

/// Of `id, decided_at_ms, playbook, action, channel, holdout`.
pub(super) fn past_decision(fields: &Fields<'_>) -> Result<PastDecision, StoreError> {
    Ok(PastDecision {
        id: fields.id(0)?,
        decided_at_ms: fields.get(1)?,
        playbook: fields.get(2)?,
        action: fields.get(3)?,
        channel: fields.get(4)?,
        holdout: fields.get(5)?,
        overridden_by: None,
        outcomes: Vec::new(),
    })
}

/// Of `decision_id, key, kind, occurred_at_ms, value_minor_units, currency`.
pub(super) fn outcome(fields: &Fields<'_>) -> Result<Outcome, StoreError> {
    let value = match (fields.get::<Option<i64>>(4)?, fields.get::<Option<&str>>(5)?) {
        (Some(units), Some(currency)) => {
            Some(Money::new(currency, units).map_err(|error| fields.damaged("outcomes.currency", &error))?)
        }
        _ => None,
    };
    let kind = fields.parse(2, "outcomes.kind")?;
    Ok(Outcome { decision_id: fields.id(0)?, key: fields.get(1)?, kind, occurred_at_ms: fields.get(3)?, value })
}

/// Of `decision_id, key, action, who, why, occurred_at_ms`.
pub(super) fn overriding(fields: &Fields<'_>) -> Result<Override, StoreError> {
    Ok(Override {
        decision_id: fields.id(0)?,
        key: fields.get(1)?,
        action: fields.get(2)?,
        who: fields.get(3)?,
        why: fields.get(4)?,
        occurred_at_ms: fields.get(5)?,
    })
}
