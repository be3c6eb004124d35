//! What a record has to be before a database sees it: the same for every database.
//!
//! PostgreSQL takes no NUL in texts and SQLite does, so nobody may. Times are within 1970 and 9999, where both can print them.

use retain_core::{Decision, Outcome, Override, check_currency};
use serde::de::IgnoredAny;

use crate::error::StoreError;

/// Most bytes of a customer's id.
pub const MAX_CUSTOMER_ID_BYTES: usize = 512;
/// Most bytes of a key.
pub const MAX_KEY_BYTES: usize = 256;
/// Most bytes of a name: of a playbook, an action, a channel.
pub const MAX_NAME_BYTES: usize = 256;
/// Most bytes of who and why.
pub const MAX_NOTE_BYTES: usize = 1_000;
/// Most bytes of a context and of a list of candidates.
pub const MAX_JSON_BYTES: usize = 256 << 10;
/// The last millisecond of the year 9999.
const MAX_TIME_MS: i64 = 253_402_300_799_999;

/// Refuses a decision that cannot be kept or cannot be learned from.
pub(crate) fn check_decision(decision: &Decision) -> Result<(), StoreError> {
    text("customer_id", &decision.customer_id, 1, MAX_CUSTOMER_ID_BYTES, "1 to 512 bytes of text without NUL")?;
    name("playbook", &decision.playbook)?;
    name("action", &decision.action)?;
    decision.channel.as_deref().map_or(Ok(()), |channel| name("channel", channel))?;
    let digest = decision.playbook_sha256.as_bytes();
    if digest.len() != 64 || !digest.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(found("playbook_sha256", "64 digits from 0 to 9 and a to f", &decision.playbook_sha256));
    }
    if !(decision.propensity > 0.0 && decision.propensity <= 1.0) {
        return Err(StoreError::invalid("propensity", "above 0 and at most 1", decision.propensity.to_string()));
    }
    for (field, number) in [("expected_value", decision.expected_value), ("cost", decision.cost)] {
        if !number.is_finite() {
            return Err(StoreError::invalid(field, "a finite number", number.to_string()));
        }
    }
    check_currency(&decision.currency)
        .map_err(|_| found("currency", "three capital letters such as `USD`", &decision.currency))?;
    time("decided_at_ms", decision.decided_at_ms)?;
    time("window_closes_at_ms", decision.window_closes_at_ms)?;
    if decision.window_closes_at_ms < decision.decided_at_ms {
        let closes = decision.window_closes_at_ms.to_string();
        return Err(StoreError::invalid("window_closes_at_ms", "not before `decided_at_ms`", closes));
    }
    json("context", &decision.context, b'{', "a JSON object of at most 262144 bytes")?;
    json("candidates", &decision.candidates, b'[', "a JSON array of at most 262144 bytes")
}

/// Refuses an outcome that cannot be kept.
pub(crate) fn check_outcome(outcome: &Outcome) -> Result<(), StoreError> {
    key(&outcome.key)?;
    time("occurred_at_ms", outcome.occurred_at_ms)
}

/// Refuses an override that cannot be kept.
pub(crate) fn check_override(overriding: &Override) -> Result<(), StoreError> {
    key(&overriding.key)?;
    name("action", &overriding.action)?;
    text("who", &overriding.who, 1, MAX_NOTE_BYTES, "1 to 1000 bytes of text without NUL")?;
    text("why", &overriding.why, 0, MAX_NOTE_BYTES, "at most 1000 bytes of text without NUL")?;
    time("occurred_at_ms", overriding.occurred_at_ms)
}

fn name(field: &'static str, value: &str) -> Result<(), StoreError> {
    text(field, value, 1, MAX_NAME_BYTES, "1 to 256 bytes of text without NUL")
}

fn key(value: &str) -> Result<(), StoreError> {
    text("key", value, 1, MAX_KEY_BYTES, "1 to 256 bytes of text without NUL")
}

fn text(field: &'static str, value: &str, least: usize, most: usize, expected: &'static str) -> Result<(), StoreError> {
    if value.len() < least || value.len() > most {
        return Err(StoreError::invalid(field, expected, format!("{} bytes", value.len())));
    }
    if value.contains('\0') { Err(StoreError::invalid(field, expected, "a NUL")) } else { Ok(()) }
}

/// Times of records, as milliseconds.
pub(crate) fn time(field: &'static str, value: i64) -> Result<(), StoreError> {
    if (0..=MAX_TIME_MS).contains(&value) {
        Ok(())
    } else {
        Err(StoreError::invalid(field, "milliseconds from 1970 to 9999", value.to_string()))
    }
}

fn json(field: &'static str, value: &str, opening: u8, expected: &'static str) -> Result<(), StoreError> {
    if value.len() > MAX_JSON_BYTES {
        return Err(StoreError::invalid(field, expected, format!("{} bytes", value.len())));
    }
    if value.trim_ascii_start().as_bytes().first() != Some(&opening) {
        // A context holds a customer's values; they stay out of messages.
        return Err(StoreError::invalid(field, expected, "something else"));
    }
    serde_json::from_str::<IgnoredAny>(value).map_err(|error| StoreError::invalid(field, expected, error.to_string()))?;
    Ok(())
}

/// An error that shows the beginning of what was found.
fn found(field: &'static str, expected: &'static str, value: &str) -> StoreError {
    let beginning: String = value.chars().take(40).collect();
    StoreError::invalid(field, expected, format!("`{}`", beginning.escape_debug()))
}
