//! Decisions put together with what was reported of them.

use std::collections::HashMap;

use retain_core::DecisionId;

use crate::backend::{Connection, SizedDecision};
use crate::error::StoreError;
use crate::records::{LoggedDecision, Page, PastDecision, PastOutcome};

/// Bytes of long texts after which a page is full, so that memory is bounded.
const PAGE_BYTES: usize = 8 << 20;

/// A page of the decisions that were found when `limit` were asked for: as many of the first as fit, at least one.
pub(crate) fn page(connection: &mut dyn Connection, found: &[SizedDecision], limit: usize) -> Result<Page, StoreError> {
    let mut bytes = 0_usize;
    let fits = |decision: &&SizedDecision| {
        bytes = bytes.saturating_add(decision.bytes);
        bytes <= PAGE_BYTES
    };
    let n_fitting = found.iter().take_while(fits).count().max(1).min(found.len());
    let taken = &found[..n_fitting];
    let is_last = n_fitting == found.len() && found.len() < limit;
    let next = if is_last { None } else { taken.last().map(|last| last.cursor) };
    let ids: Vec<_> = taken.iter().map(|decision| decision.cursor.id).collect();
    Ok(Page { decisions: load_page(connection, &ids)?, next })
}

/// The decisions of these ids with their reports, in the order of the ids; those that are gone are left out.
pub(crate) fn load_page(connection: &mut dyn Connection, ids: &[DecisionId]) -> Result<Vec<LoggedDecision>, StoreError> {
    let mut logged: Vec<_> = connection
        .decisions(ids)?
        .into_iter()
        .map(|decision| LoggedDecision { decision, outcomes: Vec::new(), overrides: Vec::new() })
        .collect();
    let places = places(ids.iter().copied());
    logged.sort_by_key(|logged| places.get(&logged.decision.id).copied());
    let at = self::places(logged.iter().map(|logged| logged.decision.id));
    for outcome in connection.outcomes(ids)? {
        if let Some(at) = at.get(&outcome.decision_id) {
            logged[*at].outcomes.push(outcome);
        }
    }
    for overriding in connection.overrides(ids)? {
        if let Some(at) = at.get(&overriding.decision_id) {
            logged[*at].overrides.push(overriding);
        }
    }
    Ok(logged)
}

/// A customer's last decisions with what a contact policy asks of their reports.
pub(crate) fn past_with_reports(
    connection: &mut dyn Connection,
    customer_id: &str,
    since_ms: i64,
    limit: usize,
) -> Result<Vec<PastDecision>, StoreError> {
    let mut past = connection.past_decisions(customer_id, since_ms, limit)?;
    if past.is_empty() {
        return Ok(past);
    }
    let ids: Vec<_> = past.iter().map(|decision| decision.id).collect();
    let at = places(ids.iter().copied());
    for outcome in connection.outcomes(&ids)? {
        if let Some(at) = at.get(&outcome.decision_id) {
            past[*at].outcomes.push(PastOutcome { kind: outcome.kind, occurred_at_ms: outcome.occurred_at_ms });
        }
    }
    for overriding in connection.overrides(&ids)? {
        if let Some(at) = at.get(&overriding.decision_id) {
            // They come oldest first: the last one stays.
            past[*at].overridden_by = Some(overriding.action);
        }
    }
    Ok(past)
}

fn places(ids: impl Iterator<Item = DecisionId>) -> HashMap<DecisionId, usize> {
    ids.enumerate().map(|(at, id)| (id, at)).collect()
}
