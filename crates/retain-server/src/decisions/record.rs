//! `RecordOutcome` and `RecordOverride`: reports on decisions, from messages to records.

use prost_types::Timestamp;
use retain_core::{DecisionId, Money, Outcome, OutcomeEvent, Override};
use retain_proto::v1;
use retain_store::{Recorded, Store, StoreError};

use super::log::Log;
use crate::convert::observed_at;
use crate::status::{CallError, Violation, Violations};

const MS_PER_DAY: f64 = 86_400_000.0;

/// Keeps an outcome; `now_ms` is the server's clock.
pub(super) async fn outcome(
    log: &Log,
    request: v1::RecordOutcomeRequest,
    now_ms: i64,
) -> Result<v1::RecordOutcomeResponse, CallError> {
    let mut violations = Violations::default();
    let id = decision_id(&request.decision_id, &mut violations);
    let kind = event(request.kind, &mut violations);
    let value = request.value.and_then(|value| money(&value, &mut violations));
    let occurred_at_ms = occurred_at(request.occurred_at.as_ref(), now_ms, &mut violations);
    key(&request.idempotency_key, &mut violations);
    violations.check()?;
    let (Some(decision_id), Some(kind)) = (id, kind) else { return Err(CallError::Internal) };
    let outcome = Outcome { decision_id, key: request.idempotency_key, kind, occurred_at_ms, value };
    let store = log.store()?;
    let recorded = match store.record_outcome(outcome.clone(), now_ms).await {
        Err(StoreError::KeyReused { .. }) if request.occurred_at.is_none() && is_known(&store, &outcome).await? => {
            Recorded::Known
        }
        recorded => recorded?,
    };
    Ok(v1::RecordOutcomeResponse { already_recorded: recorded == Recorded::Known })
}

/// Keeps that a person did something else; `is_action` tells the ids of the playbook.
pub(super) async fn overriding(
    log: &Log,
    request: v1::RecordOverrideRequest,
    is_action: impl Fn(&str) -> Result<(), Violation>,
    now_ms: i64,
) -> Result<v1::RecordOverrideResponse, CallError> {
    let mut violations = Violations::default();
    let id = decision_id(&request.decision_id, &mut violations);
    let occurred_at_ms = occurred_at(request.occurred_at.as_ref(), now_ms, &mut violations);
    key(&request.idempotency_key, &mut violations);
    if let Err(violation) = is_action(&request.action) {
        violations.push(|| violation);
    }
    violations.check()?;
    let Some(decision_id) = id else { return Err(CallError::Internal) };
    let is_timed = request.occurred_at.is_some();
    let v1::RecordOverrideRequest { idempotency_key: key, action, who, why, .. } = request;
    let overriding = Override { decision_id, key, action, who, why, occurred_at_ms };
    let store = log.store()?;
    let recorded = match store.record_override(overriding.clone(), now_ms).await {
        Err(StoreError::KeyReused { .. }) if !is_timed && is_known_override(&store, &overriding).await? => Recorded::Known,
        recorded => recorded?,
    };
    Ok(v1::RecordOverrideResponse { already_recorded: recorded == Recorded::Known })
}

/// Whether the log has this report but for its time: who sends it again without one says the same.
async fn is_known(store: &Store, outcome: &Outcome) -> Result<bool, CallError> {
    let logged = store.decision(outcome.decision_id).await?;
    let same = |known: &Outcome| known.key == outcome.key && known.kind == outcome.kind && known.value == outcome.value;
    Ok(logged.is_some_and(|logged| logged.outcomes.iter().any(same)))
}

/// The same of what a person did.
async fn is_known_override(store: &Store, overriding: &Override) -> Result<bool, CallError> {
    let logged = store.decision(overriding.decision_id).await?;
    let same = |known: &Override| *known == Override { occurred_at_ms: known.occurred_at_ms, ..overriding.clone() };
    Ok(logged.is_some_and(|logged| logged.overrides.iter().any(same)))
}

fn decision_id(text: &str, violations: &mut Violations) -> Option<DecisionId> {
    let id = text.parse();
    if let Err(error) = &id {
        violations.push(|| Violation::new("decision_id", "INVALID_DECISION_ID", &format!("{error}")));
    }
    id.ok()
}

fn key(key: &str, violations: &mut Violations) {
    if key.is_empty() {
        let what = "should name the report, so that sending it again does nothing";
        violations.push(|| Violation::new("idempotency_key", "KEY_REQUIRED", what));
    }
}

fn event(number: i32, violations: &mut Violations) -> Option<OutcomeEvent> {
    let event = match v1::OutcomeKind::try_from(number) {
        Ok(v1::OutcomeKind::Delivered) => OutcomeEvent::Delivered,
        Ok(v1::OutcomeKind::Viewed) => OutcomeEvent::Viewed,
        Ok(v1::OutcomeKind::Clicked) => OutcomeEvent::Clicked,
        Ok(v1::OutcomeKind::Accepted) => OutcomeEvent::Accepted,
        Ok(v1::OutcomeKind::Rejected) => OutcomeEvent::Rejected,
        Ok(v1::OutcomeKind::Taken) => OutcomeEvent::Taken,
        Ok(v1::OutcomeKind::NotTaken) => OutcomeEvent::NotTaken,
        Ok(v1::OutcomeKind::Converted) => OutcomeEvent::Converted,
        Ok(v1::OutcomeKind::Retained) => OutcomeEvent::Retained,
        Ok(v1::OutcomeKind::Churned) => OutcomeEvent::Churned,
        Ok(v1::OutcomeKind::Unspecified) | Err(_) => {
            let description = format!("should say what happened, found the number {number}");
            violations.push(|| Violation::new("kind", "UNKNOWN_ENUM_VALUE", &description));
            return None;
        }
    };
    Some(event)
}

fn money(value: &v1::Money, violations: &mut Violations) -> Option<Money> {
    let money = Money::new(&value.currency, value.minor_units);
    if let Err(error) = &money {
        violations.push(|| Violation::new("value.currency", "INVALID_CURRENCY", &error.to_string()));
    }
    money.ok()
}

fn occurred_at(timestamp: Option<&Timestamp>, now_ms: i64, violations: &mut Violations) -> i64 {
    if timestamp.is_none() {
        return now_ms;
    }
    let mut found = Violations::default();
    let Some(day) = observed_at(timestamp, &mut found) else {
        let what = "should lie in the years 1 to 9999, nanos from 0 to 999999999";
        violations.push(|| Violation::new("occurred_at", "INVALID_TIMESTAMP", what));
        return now_ms;
    };
    (day.days() * MS_PER_DAY).round() as i64
}
