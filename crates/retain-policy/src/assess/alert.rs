//! Alerts: raised once when something begins, not again while it lasts, nor soon after.
//!
//! What is kept between two looks is an [`AlertState`], which goes in and comes out: nothing is remembered here.

use serde::{Deserialize, Serialize};

use super::definitions::{Alert, AlertBudget, Severity};
use crate::rule::{Answer, Values};

const MS_PER_DAY: f64 = 86_400_000.0;

/// What is kept of an alert for one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AlertState {
    /// Whether it was raised and has not ended.
    pub active: bool,
    /// When it was last raised, in milliseconds since 1970.
    pub raised_at_ms: Option<i64>,
}

/// What a look at an alert came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertEvent {
    /// It begins: tell somebody.
    Raised,
    /// It was raised before and goes on.
    Continues,
    /// It has ended.
    Ended,
    /// It would begin, though it was raised too short a while ago; it is raised if it still holds after that.
    CoolingDown,
    /// There is nothing.
    Quiet,
    /// Something is missing to say whether it begins; nothing changes.
    Unknown,
}

/// What is to be told and to be kept of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AlertNow {
    /// What happened.
    pub event: AlertEvent,
    /// What to keep for the next look.
    pub state: AlertState,
}

impl Alert {
    /// Looks at the alert for one customer.
    pub fn look(&self, values: &Values<'_>, before: AlertState, now_ms: i64) -> AlertNow {
        // A clock that was set back must not silence an alert until the old time comes round again.
        let before = AlertState { raised_at_ms: before.raised_at_ms.map(|raised| raised.min(now_ms)), ..before };
        let kept = |event| AlertNow { event, state: before };
        if before.active {
            return if self.ends(values) {
                AlertNow { event: AlertEvent::Ended, state: AlertState { active: false, ..before } }
            } else {
                kept(AlertEvent::Continues)
            };
        }
        match self.enter.test(values) {
            Answer::Yes if self.cools(before, now_ms) => kept(AlertEvent::CoolingDown),
            Answer::Yes => AlertNow { event: AlertEvent::Raised, state: AlertState { active: true, raised_at_ms: Some(now_ms) } },
            Answer::No => kept(AlertEvent::Quiet),
            Answer::Unknown(_) | Answer::Fault(_) => kept(AlertEvent::Unknown),
        }
    }

    fn ends(&self, values: &Values<'_>) -> bool {
        match &self.leave {
            Some(leave) => leave.test(values) == Answer::Yes,
            None => self.enter.test(values) == Answer::No,
        }
    }

    fn cools(&self, before: AlertState, now_ms: i64) -> bool {
        before.raised_at_ms.is_some_and(|raised| (now_ms.saturating_sub(raised) as f64) < self.cooldown_days * MS_PER_DAY)
    }
}

/// Which of the alerts that were raised are sent, when `sent` of the period's budget are used up: the most severe first, then those
/// that come first. One answer per alert, in order.
pub fn within_budget(raised: &[Severity], budget: AlertBudget, sent: u32) -> Vec<bool> {
    let left = budget.max.saturating_sub(sent) as usize;
    let mut order: Vec<usize> = (0..raised.len()).collect();
    order.sort_by_key(|&idx| raised[idx]);
    let mut chosen = vec![false; raised.len()];
    order.into_iter().take(left).for_each(|idx| chosen[idx] = true);
    chosen
}
