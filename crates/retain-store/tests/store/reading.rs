use retain_core::{Decision, DecisionId, Outcome, OutcomeEvent};
use retain_store::{Counts, PastDecision, PastOutcome, Store, StoreError};

use crate::common::{DAY_MS, START_MS, decision, id, nothing_decided, on_each, outcome, overriding};

#[test]
fn history_is_of_one_customer_newest_first_and_sees_the_future() {
    on_each(|place| {
        let store = place.open();
        let at = |number, days| Decision {
            customer_id: "Ö'; --".to_owned(),
            decided_at_ms: START_MS + days * DAY_MS,
            ..decision(number)
        };
        let mut silent = nothing_decided(3);
        silent.customer_id = "Ö'; --".to_owned();
        store.record_decisions(vec![at(1, -10), at(2, -1), silent, at(4, 20), decision(5)]).wait().unwrap();
        store.record_outcome(outcome(2, "a", OutcomeEvent::Rejected), START_MS).wait().unwrap();
        let viewed = Outcome { occurred_at_ms: START_MS, ..outcome(2, "b", OutcomeEvent::Viewed) };
        store.record_outcome(viewed, START_MS).wait().unwrap();
        store.record_override(overriding(2, "a", "call"), START_MS).wait().unwrap();
        let history = store.history("Ö'; --", START_MS - DAY_MS).wait().unwrap();
        let ids: Vec<_> = history.iter().map(|past| past.id).collect();
        assert_eq!(ids, [id(4), id(3), id(2)]);
        assert_eq!((history[1].holdout, history[1].channel.as_deref()), (true, None));
        let expected = PastDecision {
            id: id(2),
            decided_at_ms: START_MS - DAY_MS,
            playbook: "telco".to_owned(),
            action: "discount_10".to_owned(),
            channel: Some("email".to_owned()),
            holdout: false,
            overridden_by: Some("call".to_owned()),
            outcomes: vec![
                PastOutcome { kind: OutcomeEvent::Viewed, occurred_at_ms: START_MS },
                PastOutcome { kind: OutcomeEvent::Rejected, occurred_at_ms: START_MS + DAY_MS },
            ],
        };
        assert_eq!(history[2], expected);
        assert_eq!(store.history("nobody", 0).wait().unwrap(), []);
        assert!(matches!(store.history("a\0b", 0).wait(), Err(StoreError::Invalid { field: "customer_id", .. })));
    });
}

fn all_matured(store: &Store, closed_before_ms: i64, limit: usize) -> Vec<(DecisionId, usize)> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.matured(closed_before_ms, after, limit).wait().unwrap();
        assert!(page.decisions.len() <= limit);
        found.extend(page.decisions.iter().map(|logged| (logged.decision.id, logged.outcomes.len())));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

#[test]
fn matured_decisions_come_in_the_order_of_their_windows_each_once() {
    on_each(|place| {
        let store = place.open();
        let closing = |number: u64, days: i64| Decision { window_closes_at_ms: START_MS + days * DAY_MS, ..decision(number) };
        // Many close at the same time, and the last of all has the first id.
        let decisions = (0..40).map(|number| closing(number, 9 - number as i64 / 10)).collect();
        store.record_decisions(decisions).wait().unwrap();
        store.record_outcome(outcome(39, "a", OutcomeEvent::Viewed), START_MS).wait().unwrap();
        let in_order = [30..40, 20..30, 10..20].into_iter().flatten();
        let expected: Vec<_> = in_order.map(|number| (id(number), usize::from(number == 39))).collect();
        for limit in [1, 7, 10, 1_000] {
            assert_eq!(all_matured(&store, START_MS + 9 * DAY_MS, limit), expected, "pages of {limit}");
        }
        assert_eq!(all_matured(&store, START_MS + 6 * DAY_MS, 10), []);
    });
}

#[test]
fn a_page_of_long_decisions_is_cut_short() {
    on_each(|place| {
        let store = place.open();
        let long = |number| Decision { context: format!(r#"{{"a":"{}"}}"#, "x".repeat(256_000)), ..decision(number) };
        store.record_decisions((0..50).map(long).collect()).wait().unwrap();
        let page = store.matured(i64::MAX, None, 1_000).wait().unwrap();
        assert!((1..50).contains(&page.decisions.len()), "{}", page.decisions.len());
        assert_eq!(all_matured(&store, i64::MAX, 1_000).len(), 50);
    });
}

#[test]
fn retention_removes_what_is_old_and_never_what_is_open() {
    on_each(|place| {
        let store = place.open();
        let closing = |number: u64| Decision { window_closes_at_ms: START_MS + number as i64 * DAY_MS, ..decision(number) };
        store.record_decisions((2..500).map(closing).collect()).wait().unwrap();
        for number in [2, 400] {
            store.record_outcome(outcome(number, "a", OutcomeEvent::Viewed), START_MS).wait().unwrap();
            store.record_override(overriding(number, "a", "call"), START_MS).wait().unwrap();
        }
        let now_ms = START_MS + 307 * DAY_MS;
        assert_eq!(store.apply_retention(START_MS + 10 * DAY_MS, now_ms).unwrap(), 8);
        assert_eq!(store.counts().wait().unwrap(), Counts { decisions: 490, outcomes: 1, overrides: 1 });
        // Reports may still come of what closed within the last seven days.
        assert_eq!(store.apply_retention(i64::MAX, now_ms).unwrap(), 290);
        assert!(store.decision(id(300)).wait().unwrap().is_some());
        let refused = store.record_outcome(outcome(2, "a", OutcomeEvent::Viewed), now_ms).wait();
        assert!(matches!(refused, Err(StoreError::UnknownDecision { .. })));
        assert_eq!(store.apply_retention(i64::MAX, i64::MIN).unwrap(), 0);
    });
}
