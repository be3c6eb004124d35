use retain_core::{Outcome, OutcomeEvent, Override};
use retain_store::{CLOCK_TOLERANCE_MS, MAX_REPORTS, Recorded, StoreError};

use crate::common::{CLOSES_MS, DAY_MS, START_MS, decision, id, on_each, outcome, overriding};

const NOW_MS: i64 = START_MS + 2 * DAY_MS;

#[test]
fn the_same_report_twice_is_the_same_as_once() {
    on_each(|place| {
        let store = place.open();
        store.record_decisions(vec![decision(1), decision(2)]).wait().unwrap();
        let report = outcome(1, "a", OutcomeEvent::Converted);
        assert_eq!(store.record_outcome(report.clone(), NOW_MS).wait().unwrap(), Recorded::New);
        assert_eq!(store.record_outcome(report.clone(), NOW_MS + 1).wait().unwrap(), Recorded::Known);
        // A retry is answered the same however late it is.
        assert_eq!(store.record_outcome(report.clone(), CLOSES_MS + 1_000 * DAY_MS).wait().unwrap(), Recorded::Known);
        let changed = Outcome { value: None, ..report };
        let refused = store.record_outcome(changed, NOW_MS).wait().unwrap_err();
        assert!(matches!(&refused, StoreError::KeyReused { key, .. } if key == "a"), "{refused}");
        // A key names a report about one decision.
        assert_eq!(store.record_outcome(outcome(2, "a", OutcomeEvent::Churned), NOW_MS).wait().unwrap(), Recorded::New);
        // Two purchases are two outcomes.
        assert_eq!(store.record_outcome(outcome(1, "b", OutcomeEvent::Converted), NOW_MS).wait().unwrap(), Recorded::New);
        assert_eq!(store.counts().wait().unwrap().outcomes, 3);
    });
}

#[test]
fn a_report_on_an_unknown_decision_is_refused() {
    on_each(|place| {
        let store = place.open();
        let refused = store.record_outcome(outcome(1, "a", OutcomeEvent::Viewed), NOW_MS).wait();
        assert!(matches!(refused, Err(StoreError::UnknownDecision { id: found }) if found == id(1)));
        let refused = store.record_override(overriding(1, "a", "call"), NOW_MS).wait();
        assert!(matches!(refused, Err(StoreError::UnknownDecision { .. })));
    });
}

#[test]
fn contradictions_are_refused_both_ways_and_name_the_earlier_report() {
    on_each(|place| {
        let store = place.open();
        for (number, kind) in (0_u64..).zip(OutcomeEvent::ALL) {
            store.record_decision(decision(number)).wait().unwrap();
            store.record_outcome(outcome(number, "first", kind), NOW_MS).wait().unwrap();
            let Some(opposite) = kind.contradicts() else { continue };
            let refused = store.record_outcome(outcome(number, "second", opposite), NOW_MS).wait();
            let Err(StoreError::Contradiction { earlier, earlier_key, earlier_ms, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!((earlier, earlier_key.as_str(), earlier_ms), (kind, "first", START_MS + DAY_MS));
        }
    });
}

#[test]
fn what_does_not_contradict_may_all_be_true() {
    use OutcomeEvent::{Accepted, Churned, Clicked, Converted, Delivered, NotTaken, Viewed};
    on_each(|place| {
        let store = place.open();
        store.record_decision(decision(1)).wait().unwrap();
        let kinds = [Delivered, Viewed, Clicked, Accepted, NotTaken, Converted, Churned];
        for kind in kinds {
            assert_eq!(store.record_outcome(outcome(1, kind.as_str(), kind), NOW_MS).wait().unwrap(), Recorded::New);
        }
        assert_eq!(store.decision(id(1)).wait().unwrap().unwrap().outcomes.len(), kinds.len());
    });
}

#[test]
fn when_it_happened_decides_and_reports_may_be_late() {
    on_each(|place| {
        let store = place.open();
        store.record_decision(decision(1)).wait().unwrap();
        let at = |key: &str, occurred_at_ms| Outcome { occurred_at_ms, ..outcome(1, key, OutcomeEvent::Viewed) };
        let report = |key: &str, occurred_at_ms, now_ms| store.record_outcome(at(key, occurred_at_ms), now_ms).wait();
        let late = CLOSES_MS + 7 * DAY_MS;
        assert_eq!(report("a", CLOSES_MS, late).unwrap(), Recorded::New);
        assert_eq!(report("b", START_MS - CLOCK_TOLERANCE_MS, NOW_MS).unwrap(), Recorded::New);
        // A server whose clock has gone backwards takes it all the same.
        assert_eq!(report("c", NOW_MS, START_MS - DAY_MS).unwrap(), Recorded::New);
        assert!(matches!(report("d", CLOSES_MS + 1, CLOSES_MS), Err(StoreError::WindowClosed { .. })));
        assert!(matches!(report("d", CLOSES_MS, late + 1), Err(StoreError::ReportedTooLate { .. })));
        let early = START_MS - CLOCK_TOLERANCE_MS - 1;
        assert!(matches!(report("d", early, NOW_MS), Err(StoreError::BeforeDecision { .. })));
        assert!(matches!(report("d", -1, NOW_MS), Err(StoreError::Invalid { field: "occurred_at_ms", .. })));
        assert!(matches!(report("d", NOW_MS, i64::MAX), Err(StoreError::Invalid { field: "now_ms", .. })));
        let too_late = Override { occurred_at_ms: CLOSES_MS + 1, ..overriding(1, "a", "call") };
        assert!(matches!(store.record_override(too_late, NOW_MS).wait(), Err(StoreError::WindowClosed { .. })));
    });
}

#[test]
fn the_last_override_holds() {
    on_each(|place| {
        let store = place.open();
        store.record_decision(decision(1)).wait().unwrap();
        let last = Override { occurred_at_ms: START_MS + 9, ..overriding(1, "a", "call") };
        assert_eq!(store.record_override(last.clone(), NOW_MS).wait().unwrap(), Recorded::New);
        assert_eq!(store.record_override(overriding(1, "b", "letter"), NOW_MS).wait().unwrap(), Recorded::New);
        assert_eq!(store.record_override(last, NOW_MS).wait().unwrap(), Recorded::Known);
        let reused = store.record_override(overriding(1, "a", "letter"), NOW_MS).wait();
        assert!(matches!(reused, Err(StoreError::KeyReused { .. })));
        // Keys of outcomes are others.
        store.record_outcome(outcome(1, "a", OutcomeEvent::Viewed), NOW_MS).wait().unwrap();
        let history = store.history("customer-1", 0).wait().unwrap();
        assert_eq!(history[0].overridden.as_deref(), Some("call"));
    });
}

#[test]
fn reports_of_one_decision_are_bounded() {
    on_each(|place| {
        let store = place.open();
        store.record_decision(decision(1)).wait().unwrap();
        let report = |number: usize| store.record_outcome(outcome(1, &number.to_string(), OutcomeEvent::Clicked), NOW_MS);
        let pending: Vec<_> = (0..MAX_REPORTS).map(report).collect();
        for answer in pending {
            assert_eq!(answer.wait().unwrap(), Recorded::New);
        }
        let refused = report(MAX_REPORTS).wait();
        assert!(matches!(refused, Err(StoreError::TooManyReports { limit: MAX_REPORTS, .. })), "{refused:?}");
        assert_eq!(report(0).wait().unwrap(), Recorded::Known);
    });
}
