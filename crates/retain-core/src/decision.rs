//! What was decided for a customer and what came of it: the records that the policy makes, the store keeps and the server sends.
//!
//! A [`Decision`] is one choice among actions with the exact probability it was chosen with; an [`Outcome`] is something that
//! happened after it; an [`Override`] says that a person did something else. Times are milliseconds since 1970-01-01 UTC.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::money::Money;

/// The action that is always there: to leave the customer alone.
pub const NO_ACTION: &str = "no_action";

/// Names one decision: a UUID of version 7, so that ids sort by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecisionId(Uuid);

impl DecisionId {
    /// Makes an id from the time and ten random bytes; both enter from the caller.
    pub fn new(unix_ms: i64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms.max(0) as u64, &random).into_uuid())
    }

    /// The id as 16 bytes, which sort by time.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Reads back [`DecisionId::as_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for DecisionId {
    type Err = DecisionIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // One way to write an id, so that the same id is the same text everywhere.
        if text.len() != 36 {
            return Err(DecisionIdError);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| DecisionIdError)
    }
}

/// A text that is no decision id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("should be a decision id such as `01932c07-1a2b-7c3d-8e4f-5a6b7c8d9e0f`")]
pub struct DecisionIdError;

/// One choice for one customer, as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Its name.
    pub id: DecisionId,
    /// For whom.
    pub customer_id: String,
    /// When, by the server's clock.
    pub decided_at_ms: i64,
    /// The playbook's name.
    pub playbook: String,
    /// The SHA-256 of the playbook as it was read, in hex.
    pub playbook_sha256: String,
    /// What was chosen; [`NO_ACTION`] where it was to do nothing.
    pub action: String,
    /// How the action reaches the customer; absent for [`NO_ACTION`].
    pub channel: Option<String>,
    /// The exact probability that this action was chosen, above 0 and at most 1.
    pub propensity: f64,
    /// Whether the customer is in the holdout, which gets no action whatever the policy would choose.
    pub holdout: bool,
    /// What the action was expected to bring beyond doing nothing, net of its cost, in the playbook's currency.
    pub expected_value: f64,
    /// What the action costs, in the playbook's currency.
    pub cost: f64,
    /// The currency of both.
    pub currency: String,
    /// From when on outcomes no longer count.
    pub window_closes_at_ms: i64,
    /// Features, predictions and assessment that the decision was made from, as a JSON object.
    pub context: String,
    /// Every candidate with its rules, effect, value and probability, as a JSON array; for off-policy evaluation and for people.
    pub candidates: String,
}

/// A decision as the next one for the same customer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastDecision {
    /// Its name.
    pub id: DecisionId,
    /// The playbook it is from.
    pub playbook: String,
    /// What was chosen.
    pub action: String,
    /// How the action reached the customer.
    pub channel: Option<String>,
    /// When, by the server's clock of that time.
    pub decided_at_ms: i64,
    /// Whether the customer was in the holdout.
    pub holdout: bool,
    /// What has happened since, and when.
    pub outcomes: Vec<(OutcomeEvent, i64)>,
    /// What a person did instead; [`NO_ACTION`] for nothing.
    pub overridden: Option<String>,
}

/// Something that happened after a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// After which.
    pub decision_id: DecisionId,
    /// The sender's name for this report: the same key with the same content is the same outcome once more.
    pub key: String,
    /// What happened.
    pub kind: OutcomeEvent,
    /// When it happened, by the sender.
    pub occurred_at_ms: i64,
    /// What it was worth.
    pub value: Option<Money>,
}

/// That a person did something else than what was decided: the logged probability no longer applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// What was overridden.
    pub decision_id: DecisionId,
    /// As [`Outcome::key`].
    pub key: String,
    /// What was done instead; [`NO_ACTION`] for nothing.
    pub action: String,
    /// Who did it.
    pub who: String,
    /// Why.
    pub why: String,
    /// When, by the sender.
    pub occurred_at_ms: i64,
}

/// What can happen after a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeEvent {
    /// The message reached the customer.
    Delivered,
    /// The customer saw it.
    Viewed,
    /// The customer followed it.
    Clicked,
    /// The customer took the offer.
    Accepted,
    /// The customer turned the offer down.
    Rejected,
    /// The action was carried out.
    Taken,
    /// The action was not carried out.
    NotTaken,
    /// The customer bought.
    Converted,
    /// The customer stayed to the end of the window.
    Retained,
    /// The customer left.
    Churned,
}

impl OutcomeEvent {
    /// All kinds, in the order of a customer's way.
    pub const ALL: [Self; 10] = [
        Self::Delivered,
        Self::Viewed,
        Self::Clicked,
        Self::Accepted,
        Self::Rejected,
        Self::Taken,
        Self::NotTaken,
        Self::Converted,
        Self::Retained,
        Self::Churned,
    ];

    /// The kind's name in files and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Viewed => "viewed",
            Self::Clicked => "clicked",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Taken => "taken",
            Self::NotTaken => "not_taken",
            Self::Converted => "converted",
            Self::Retained => "retained",
            Self::Churned => "churned",
        }
    }

    /// The kind that cannot be true of the same decision as well.
    pub fn contradicts(self) -> Option<Self> {
        match self {
            Self::Accepted => Some(Self::Rejected),
            Self::Rejected => Some(Self::Accepted),
            Self::Taken => Some(Self::NotTaken),
            Self::NotTaken => Some(Self::Taken),
            Self::Retained => Some(Self::Churned),
            Self::Churned => Some(Self::Retained),
            Self::Delivered | Self::Viewed | Self::Clicked | Self::Converted => None,
        }
    }
}

impl fmt::Display for OutcomeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for OutcomeEvent {
    type Err = OutcomeEventError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|event| event.as_str() == text).ok_or_else(|| OutcomeEventError(text.to_owned()))
    }
}

/// A text that names no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "should be one of delivered, viewed, clicked, accepted, rejected, taken, not_taken, converted, retained, churned; found `{0}`"
)]
pub struct OutcomeEventError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_sorts_by_time() {
        let early = DecisionId::new(1_700_000_000_000, [255; 10]);
        let late = DecisionId::new(1_700_000_000_001, [0; 10]);
        assert!(early < late);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(DecisionId::from_bytes(*late.as_bytes()), late);
        for bad in ["", "no id", "01932c071a2b7c3d8e4f5a6b7c8d9e0f", "{01932c07-1a2b-7c3d-8e4f-5a6b7c8d9e0f}"] {
            assert_eq!(bad.parse::<DecisionId>(), Err(DecisionIdError), "{bad}");
        }
    }

    #[test]
    fn contradiction_goes_both_ways() {
        for event in OutcomeEvent::ALL {
            assert_eq!(event.as_str().parse(), Ok(event));
            if let Some(other) = event.contradicts() {
                assert_eq!(other.contradicts(), Some(event));
            }
        }
    }
}
