//! What came of earlier decisions: the policy's learner, fed from the log page by page.

use retain_core::OutcomeEvent;
use retain_policy::learn::{LearnedEffects, OfSegment};
use retain_policy::playbook::Playbook;
use retain_store::{Cursor, MAX_PAGE, Store};

use crate::status::CallError;

/// Pages that one look reads at most; the rest comes with the next.
const PAGES_AT_ONCE: usize = 200;

/// Effects as far as they were learned, and how far the log was read for them.
#[derive(Debug, Clone, Default)]
pub(super) struct LearnedFromLog {
    effects: LearnedEffects,
    after: Option<Cursor>,
}

impl LearnedFromLog {
    /// What was learned, for customers of one segment.
    pub(super) fn of(&self, segment: Option<usize>) -> OfSegment<'_> {
        self.effects.of(segment)
    }

    /// Goes on with decisions whose outcomes can no longer change.
    ///
    /// # Errors
    /// When the log cannot be read; what was learned before stays.
    pub(super) async fn learn(&self, playbook: &Playbook, store: &Store, now_ms: i64) -> Result<Self, CallError> {
        let mut next = self.clone();
        let closed_before_ms = now_ms.saturating_sub(store.late_ms());
        for _ in 0..PAGES_AT_ONCE {
            let page = store.matured(closed_before_ms, next.after, MAX_PAGE).await?;
            for logged in page.decisions.iter().filter(|logged| logged.overrides.is_empty()) {
                let outcomes: Vec<OutcomeEvent> = logged.outcomes.iter().map(|outcome| outcome.kind).collect();
                next.effects.add(playbook, &logged.decision, &outcomes);
            }
            // The last page says nothing of where to go on: decisions that close later come behind its last one.
            let Some(after) = page.next else {
                next.after = page.decisions.last().map(|last| Cursor::behind(&last.decision)).or(next.after);
                break;
            };
            next.after = Some(after);
        }
        next.effects.conclude(playbook);
        Ok(next)
    }
}
