use std::fs;
use std::time::{Duration, Instant};

use retain_core::{Decision, OutcomeEvent};
use retain_store::{Recorded, Store, StoreConfig, StoreError};

use crate::common::{CLOSES_MS, DAY_MS, Place, START_MS, decision, id, outcome};

/// A decision of about 20 KB.
fn long(number: u64) -> Decision {
    Decision { context: format!(r#"{{"a":"{}"}}"#, "x".repeat(20_000)), ..decision(number) }
}

/// Asks until it is so; a minute is far more than it takes.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "it has not become so within a minute");
        std::thread::yield_now();
    }
}

#[test]
fn a_full_log_refuses_keeps_what_it_has_and_goes_on_when_there_is_room() {
    let place = Place::sqlite();
    let store = Store::open(&StoreConfig { max_bytes: Some(1 << 20), ..place.config() }).unwrap();
    let mut n_kept = 0;
    let refused = loop {
        match store.record_decision(long(n_kept)).wait() {
            Ok(_) => n_kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    assert!((10..60).contains(&n_kept), "{n_kept}");
    assert!(matches!(store.record_decision(long(n_kept)).wait(), Err(StoreError::Full { .. })));
    assert_eq!(store.counts().wait().unwrap().decisions, n_kept);
    assert_eq!(store.decision(id(0)).wait().unwrap().unwrap().decision, long(0));
    assert_eq!(store.apply_retention(i64::MAX, CLOSES_MS + 8 * DAY_MS).unwrap(), n_kept);
    assert_eq!(store.record_decision(long(n_kept)).wait().unwrap(), Recorded::New);
}

#[test]
fn of_a_group_only_what_does_not_fit_is_refused() {
    let place = Place::sqlite();
    let store = Store::open(&StoreConfig { max_bytes: Some(400 << 10), ..place.config() }).unwrap();
    let huge = |number| Decision { candidates: format!(r#"["{}"]"#, "x".repeat(262_000)), ..huge_context(number) };
    // While the writer is kept waiting, they come together.
    let other = rusqlite::Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let pending: Vec<_> = [decision(1), huge(2), decision(3)].into_iter().map(|given| store.record_decision(given)).collect();
    other.execute_batch("COMMIT").unwrap();
    let answers: Vec<_> = pending.into_iter().map(retain_store::Pending::wait).collect();
    assert!(matches!(answers[..], [Ok(Recorded::New), Err(StoreError::Full { .. }), Ok(Recorded::New)]), "{answers:?}");
    assert_eq!(store.counts().wait().unwrap().decisions, 2);
}

fn huge_context(number: u64) -> Decision {
    Decision { context: format!(r#"{{"a":"{}"}}"#, "x".repeat(262_000)), ..decision(number) }
}

#[test]
fn a_folder_that_vanishes_and_comes_back_loses_nothing() {
    let place = Place::sqlite();
    let folder = place.path().parent().unwrap().join("log");
    fs::create_dir(&folder).unwrap();
    let store = Store::open(&StoreConfig::sqlite(folder.join("decisions.sqlite"))).unwrap();
    store.record_decision(decision(1)).wait().unwrap();
    assert_eq!(store.history("customer-1", 0).wait().unwrap().len(), 1);
    let away = folder.with_extension("away");
    fs::rename(&folder, &away).unwrap();
    // Writing through the file that is open would succeed, and be lost.
    for _ in 0..3 {
        let refused = store.record_decision(decision(2)).wait().unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
        assert!(matches!(store.history("customer-1", 0).wait(), Err(StoreError::Unavailable { .. })));
    }
    fs::rename(&away, &folder).unwrap();
    until(|| store.record_decision(decision(2)).wait().is_ok());
    // Each reader finds the file again by itself.
    until(|| store.counts().wait().is_ok_and(|counts| counts.decisions == 2));
}

#[test]
fn no_empty_log_takes_the_place_of_one_that_was_removed() {
    let place = Place::sqlite();
    let store = place.open();
    store.record_decision(decision(1)).wait().unwrap();
    fs::remove_file(place.path()).unwrap();
    assert!(matches!(store.record_decision(decision(2)).wait(), Err(StoreError::Unavailable { .. })));
    fs::write(place.path(), "").unwrap();
    until(|| matches!(store.record_decision(decision(2)).wait(), Err(StoreError::NotALog { .. })));
    assert_eq!(fs::metadata(place.path()).unwrap().len(), 0);
}

#[test]
fn what_others_have_damaged_is_named() {
    let place = Place::sqlite();
    let store = place.open();
    store.record_decision(decision(1)).wait().unwrap();
    store.record_outcome(outcome(1, "a", OutcomeEvent::Viewed), START_MS).wait().unwrap();
    let other = rusqlite::Connection::open(place.path()).unwrap();
    other.execute("UPDATE outcomes SET kind = 'laughed'", ()).unwrap();
    let refused = store.decision(id(1)).wait().unwrap_err();
    let expected = format!("the decision log `{}` is damaged: `outcomes.kind` should be one of", place.path().display());
    assert!(refused.to_string().starts_with(&expected), "{refused}");
    assert_eq!(store.record_decision(decision(2)).wait().unwrap(), Recorded::New);
}
