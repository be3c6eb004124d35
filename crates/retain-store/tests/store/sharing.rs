use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::proptest;
use retain_core::{Decision, Outcome, OutcomeEvent};
use retain_store::{Pending, Recorded, Store, StoreConfig, StoreError};

use crate::common::{CLOSES_MS, DAY_MS, Place, START_MS, decision, id, on_each, outcome, overriding};

#[test]
fn of_many_callers_with_the_same_decision_one_is_the_first() {
    on_each(|place| {
        // Two stores on one database, as two servers have.
        let stores = [place.open(), place.open()];
        let n_new: usize = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..8)
                .map(|caller: usize| {
                    let store = stores[caller % 2].clone();
                    scope.spawn(move || {
                        let pending: Vec<_> = (0..40).map(|number| store.record_decision(decision(number))).collect();
                        let answers = pending.into_iter().map(|pending| pending.wait().unwrap());
                        answers.filter(|answer| *answer == Recorded::New).count()
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).sum()
        });
        assert_eq!(n_new, 40);
        assert_eq!(stores[0].counts().wait().unwrap().decisions, 40);
    });
}

#[test]
fn of_two_servers_that_are_told_opposites_one_is_refused() {
    on_each(|place| {
        let stores = [place.open(), place.open()];
        stores[0].record_decisions((0..60).map(decision).collect()).wait().unwrap();
        let report = |store: &Store, kind: OutcomeEvent| -> Vec<Pending<Recorded>> {
            (0..60).map(|number| store.record_outcome(outcome(number, kind.as_str(), kind), START_MS)).collect()
        };
        let accepted = report(&stores[0], OutcomeEvent::Accepted);
        let rejected = report(&stores[1], OutcomeEvent::Rejected);
        for answers in accepted.into_iter().zip(rejected) {
            let answers = [answers.0.wait(), answers.1.wait()];
            let n_kept = answers.iter().filter(|answer| matches!(answer, Ok(Recorded::New))).count();
            let n_refused = answers.iter().filter(|answer| matches!(answer, Err(StoreError::Contradiction { .. }))).count();
            assert_eq!((n_kept, n_refused), (1, 1), "{answers:?}");
        }
        assert_eq!(stores[0].counts().wait().unwrap().outcomes, 60);
    });
}

#[derive(Debug, Clone)]
enum Call {
    Decisions(Vec<Decision>),
    Outcome(Outcome),
    Override(retain_core::Override),
}

/// Calls on few decisions with few keys, so that they meet.
fn call() -> impl Strategy<Value = Call> {
    let some_decision = (0..5_u64, any::<bool>()).prop_map(|(number, other)| Decision { holdout: other, ..decision(number) });
    let when = prop_oneof![Just(START_MS - DAY_MS), Just(START_MS), Just(CLOSES_MS + 1)];
    let some_outcome = (0..5_u64, 0..3_usize, 3..7_usize, when).prop_map(|(number, key, kind, occurred_at_ms)| Outcome {
        occurred_at_ms,
        ..outcome(number, &key.to_string(), OutcomeEvent::ALL[kind])
    });
    let some_override = (0..5_u64, 0..3_usize, any::<bool>())
        .prop_map(|(number, key, call)| overriding(number, &key.to_string(), if call { "call" } else { "letter" }));
    prop_oneof![
        proptest::collection::vec(some_decision, 1..4).prop_map(Call::Decisions),
        some_outcome.prop_map(Call::Outcome),
        some_override.prop_map(Call::Override),
    ]
}

enum Answer {
    Several(Pending<Vec<Recorded>>),
    One(Pending<Recorded>),
}

impl Answer {
    fn wait(self) -> String {
        match self {
            Self::Several(pending) => format!("{:?}", pending.wait()),
            Self::One(pending) => format!("{:?}", pending.wait()),
        }
    }
}

fn begin(store: &Store, call: Call) -> Answer {
    match call {
        Call::Decisions(decisions) => Answer::Several(store.record_decisions(decisions)),
        Call::Outcome(outcome) => Answer::One(store.record_outcome(outcome, START_MS)),
        Call::Override(overriding) => Answer::One(store.record_override(overriding, START_MS)),
    }
}

fn check_groups(calls: &[Call]) {
    let (alone, together) = (Place::sqlite(), Place::sqlite());
    let (one, many) = (alone.open(), together.open());
    let expected: Vec<_> = calls.iter().map(|call| begin(&one, call.clone()).wait()).collect();
    let pending: Vec<_> = calls.iter().map(|call| begin(&many, call.clone())).collect();
    let found: Vec<_> = pending.into_iter().map(Answer::wait).collect();
    assert_eq!(found, expected);
    for number in 0..5 {
        assert_eq!(many.decision(id(number)).wait().unwrap(), one.decision(id(number)).wait().unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn calls_in_groups_are_answered_as_calls_alone(calls in proptest::collection::vec(call(), 1..40)) {
        check_groups(&calls);
    }
}

#[test]
fn more_calls_than_may_wait_are_refused_and_the_rest_is_kept() {
    let place = Place::sqlite();
    let store = Store::open(&StoreConfig { queue_len: 5, timeout_ms: 60_000, ..place.config() }).unwrap();
    let other = rusqlite::Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The writer holds some of them in its hands already, so a few more than five are taken.
    let mut pending = Vec::new();
    let n_waiting = loop {
        let answer = store.record_decision(decision(pending.len() as u64));
        if store.n_waiting() == 5 {
            let refused = store.record_decision(decision(1_000)).wait();
            let Err(StoreError::Busy { waiting }) = refused else { panic!("{refused:?}") };
            pending.push(answer);
            break waiting;
        }
        pending.push(answer);
    };
    assert_eq!(n_waiting, 5);
    other.execute_batch("COMMIT").unwrap();
    let n_pending = pending.len() as u64;
    pending.into_iter().for_each(|answer| assert_eq!(answer.wait().unwrap(), Recorded::New));
    assert_eq!(store.counts().wait().unwrap().decisions, n_pending);
}

#[test]
fn a_lock_that_others_keep_is_no_answer_and_nothing_is_doubled() {
    let place = Place::sqlite();
    let store = Store::open(&StoreConfig { timeout_ms: 200, ..place.config() }).unwrap();
    let other = rusqlite::Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.record_decision(decision(1)).wait().unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. } | StoreError::NoAnswer { after_ms: 200 }), "{refused}");
    // Reading goes on.
    assert_eq!(store.decision(id(1)).wait().unwrap(), None);
    other.execute_batch("COMMIT").unwrap();
    while store.record_decision(decision(1)).wait().is_err() {}
    assert_eq!(store.counts().wait().unwrap().decisions, 1);
}
