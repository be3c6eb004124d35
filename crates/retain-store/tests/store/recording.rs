use retain_core::{Decision, OutcomeEvent};
use retain_store::{Counts, MAX_DECISIONS, Recorded, Store, StoreError};

use crate::common::{Place, START_MS, decision, id, nothing_decided, on_each, outcome, overriding};

#[test]
fn a_decision_comes_back_as_it_was() {
    on_each(|place| {
        let store = place.open();
        for given in [decision(1), nothing_decided(2)] {
            assert_eq!(store.record_decision(given.clone()).wait().unwrap(), Recorded::New);
            assert_eq!(store.record_decision(given.clone()).wait().unwrap(), Recorded::Known);
            let kept = store.decision(given.id).wait().unwrap().unwrap();
            assert_eq!(kept.decision, given);
            assert_eq!(kept.decision.expected_value.to_bits(), given.expected_value.to_bits());
            assert!(kept.outcomes.is_empty() && kept.overrides.is_empty());
        }
        assert_eq!(store.decision(id(3)).wait().unwrap(), None);
    });
}

#[test]
fn reports_come_back_oldest_first() {
    on_each(|place| {
        let store = place.open();
        store.record_decision(decision(1)).wait().unwrap();
        let late = outcome(1, "a", OutcomeEvent::Converted);
        let early = retain_core::Outcome { occurred_at_ms: START_MS, value: None, ..outcome(1, "b", OutcomeEvent::Clicked) };
        let other = overriding(1, "a", "call");
        for report in [&late, &early] {
            assert_eq!(store.record_outcome(report.clone(), START_MS).wait().unwrap(), Recorded::New);
        }
        store.record_override(other.clone(), START_MS).wait().unwrap();
        let kept = store.decision(id(1)).wait().unwrap().unwrap();
        assert_eq!((kept.outcomes, kept.overrides), (vec![early, late], vec![other]));
    });
}

#[test]
fn all_is_there_after_opening_again() {
    on_each(|place| {
        place.open().record_decisions((0..50).map(decision).collect()).wait().unwrap();
        let store = place.open();
        assert_eq!(store.counts().wait().unwrap(), Counts { decisions: 50, ..Counts::default() });
        assert_eq!(store.decision(id(49)).wait().unwrap().unwrap().decision, decision(49));
    });
}

#[test]
fn an_id_cannot_stand_for_two_decisions() {
    on_each(|place| {
        let store = place.open();
        store.record_decision(decision(1)).wait().unwrap();
        let other = Decision { action: "call".to_owned(), ..decision(1) };
        let refused = store.record_decision(other).wait().unwrap_err();
        assert!(matches!(refused, StoreError::DecisionDiffers { id: found } if found == id(1)), "{refused}");
        assert_eq!(store.decision(id(1)).wait().unwrap().unwrap().decision, decision(1));
    });
}

#[test]
fn several_decisions_are_kept_all_or_none() {
    on_each(|place| {
        let store = place.open();
        store.record_decision(decision(2)).wait().unwrap();
        let recorded = store.record_decisions(vec![decision(1), decision(2), decision(1)]).wait().unwrap();
        assert_eq!(recorded, [Recorded::New, Recorded::Known, Recorded::Known]);
        let differs = Decision { cost: 2.0, ..decision(2) };
        assert!(store.record_decisions(vec![decision(3), differs, decision(4)]).wait().is_err());
        let invalid = Decision { propensity: 0.0, ..decision(5) };
        assert!(store.record_decisions(vec![decision(3), invalid]).wait().is_err());
        let twice = vec![decision(6), Decision { cost: 2.0, ..decision(6) }];
        assert!(store.record_decisions(twice).wait().is_err());
        assert_eq!(store.counts().wait().unwrap().decisions, 2);
        assert_eq!(store.record_decisions(Vec::new()).wait().unwrap(), []);
        let too_many = store.record_decisions(vec![decision(9); MAX_DECISIONS + 1]).wait();
        assert!(matches!(too_many, Err(StoreError::Invalid { field: "decisions", .. })));
    });
}

#[track_caller]
fn check_refused(store: &Store, field: &str, change: impl FnOnce(&mut Decision)) {
    let mut changed = decision(1);
    change(&mut changed);
    match store.record_decision(changed).wait() {
        Err(StoreError::Invalid { field: found, .. }) => assert_eq!(found, field),
        other => panic!("{field}: {other:?}"),
    }
}

#[test]
fn what_cannot_be_kept_is_refused_by_its_field() {
    let place = Place::sqlite();
    let store = place.open();
    check_refused(&store, "customer_id", |decision| decision.customer_id.clear());
    check_refused(&store, "customer_id", |decision| decision.customer_id = "x".repeat(513));
    check_refused(&store, "customer_id", |decision| decision.customer_id.push('\0'));
    check_refused(&store, "playbook", |decision| decision.playbook.clear());
    check_refused(&store, "playbook_sha256", |decision| decision.playbook_sha256 = "A".repeat(64));
    check_refused(&store, "action", |decision| decision.action = "ä".repeat(129));
    check_refused(&store, "channel", |decision| decision.channel = Some(String::new()));
    check_refused(&store, "propensity", |decision| decision.propensity = 0.0);
    check_refused(&store, "propensity", |decision| decision.propensity = 1.0 + f64::EPSILON);
    check_refused(&store, "propensity", |decision| decision.propensity = f64::NAN);
    check_refused(&store, "expected_value", |decision| decision.expected_value = f64::INFINITY);
    check_refused(&store, "cost", |decision| decision.cost = f64::NAN);
    check_refused(&store, "currency", |decision| decision.currency = "eur".to_owned());
    check_refused(&store, "decided_at_ms", |decision| decision.decided_at_ms = -1);
    check_refused(&store, "window_closes_at_ms", |decision| decision.window_closes_at_ms = i64::MAX);
    check_refused(&store, "window_closes_at_ms", |decision| decision.window_closes_at_ms = START_MS - 1);
    check_refused(&store, "context", |decision| decision.context = "[]".to_owned());
    check_refused(&store, "context", |decision| decision.context = "{".to_owned());
    check_refused(&store, "context", |decision| decision.context = format!(r#"{{"a":"{}"}}"#, "x".repeat(256 << 10)));
    check_refused(&store, "context", |decision| decision.context = "{\"a\":".repeat(40_000));
    check_refused(&store, "candidates", |decision| decision.candidates = "{}".to_owned());
    assert_eq!(store.counts().wait().unwrap().decisions, 0);
}

#[test]
fn what_is_just_within_the_limits_is_kept_by_both() {
    on_each(|place| {
        let store = place.open();
        let largest = Decision {
            customer_id: "ü".repeat(256),
            propensity: f64::MIN_POSITIVE,
            expected_value: f64::MAX,
            cost: -0.0,
            decided_at_ms: 0,
            window_closes_at_ms: 253_402_300_799_999,
            context: format!(r#"{{"a":"{}"}}"#, "x".repeat((256 << 10) - 8)),
            candidates: " []".to_owned(),
            ..decision(1)
        };
        store.record_decision(largest.clone()).wait().unwrap();
        assert_eq!(store.decision(id(1)).wait().unwrap().unwrap().decision, largest);
        let report = retain_core::Outcome { key: "k".repeat(256), ..outcome(1, "", OutcomeEvent::Viewed) };
        store.record_outcome(report.clone(), START_MS).wait().unwrap();
        assert_eq!(store.decision(id(1)).wait().unwrap().unwrap().outcomes, [report]);
        for key in [String::new(), "k".repeat(257), "\0".to_owned()] {
            let refused = store.record_outcome(outcome(1, &key, OutcomeEvent::Clicked), START_MS).wait();
            assert!(matches!(refused, Err(StoreError::Invalid { field: "key", .. })), "{refused:?}");
        }
        let refused =
            store.record_override(retain_core::Override { why: "w".repeat(1_001), ..overriding(1, "k", "call") }, START_MS);
        assert!(matches!(refused.wait(), Err(StoreError::Invalid { field: "why", .. })));
    });
}

#[test]
fn calls_can_be_awaited() {
    let place = Place::sqlite();
    let store = place.open();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        assert_eq!(store.record_decision(decision(1)).await.unwrap(), Recorded::New);
        assert_eq!(store.history("customer-1", 0).await.unwrap().len(), 1);
        store.ping().await.unwrap();
    });
}
