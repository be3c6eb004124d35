use retain_core::OutcomeEvent;
use retain_store::{Recorded, Store, StoreConfig, StoreError};

use crate::common::{START_MS, decision, id, on_postgres, outcome, sql};
use crate::proxy::{Mode, Proxy};
use crate::sqlite_trouble::until;

fn on_proxy(timeout_ms: u64, test: impl FnOnce(&Store, &Proxy, &str)) {
    on_postgres(|database| {
        let (proxy, address) = Proxy::before(&database.text);
        let config = StoreConfig { timeout_ms, ..StoreConfig::postgres(address.parse().unwrap()) };
        test(&Store::open(&config).unwrap(), &proxy, &database.text);
    });
}

#[test]
fn a_server_that_goes_and_comes_back_loses_nothing() {
    on_proxy(10_000, |store, proxy, _| {
        store.record_decision(decision(1)).wait().unwrap();
        assert_eq!(store.history("customer-1", 0).wait().unwrap().len(), 1);
        proxy.set(Mode::Cut);
        for _ in 0..50 {
            let refused = store.record_decision(decision(2)).wait().unwrap_err();
            assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
            assert!(matches!(store.history("customer-1", 0).wait(), Err(StoreError::Unavailable { .. })));
        }
        proxy.set(Mode::Open);
        until(|| store.record_decision(decision(2)).wait().is_ok());
        until(|| store.counts().wait().is_ok_and(|counts| counts.decisions == 2));
    });
}

#[test]
fn a_connection_that_is_lost_between_calls_is_made_again_unnoticed() {
    on_proxy(10_000, |store, _, url| {
        store.record_decision(decision(1)).wait().unwrap();
        sql(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'retain' AND datname = current_database()",
        );
        assert_eq!(store.record_decision(decision(2)).wait().unwrap(), Recorded::New);
        assert_eq!(store.history("customer-1", 0).wait().unwrap().len(), 1);
    });
}

#[test]
fn a_commit_whose_answer_is_lost_is_not_doubled() {
    for mode in [Mode::LoseNextAnswer, Mode::LoseNextCommit] {
        on_proxy(30_000, |store, proxy, url| {
            store.record_decision(decision(1)).wait().unwrap();
            proxy.set(mode);
            store.record_decision(decision(2)).wait().unwrap();
            proxy.set(mode);
            store.record_outcome(outcome(2, "a", OutcomeEvent::Clicked), START_MS).wait().unwrap();
            assert_eq!(store.record_decision(decision(2)).wait().unwrap(), Recorded::Known);
            let counted = sql(url, "SELECT (SELECT count(*) FROM decisions), (SELECT count(*) FROM outcomes)");
            assert_eq!(counted, [[Some("2".to_owned()), Some("1".to_owned())]], "{mode:?}");
        });
    }
}

#[test]
fn a_doubt_that_cannot_be_settled_in_time_is_told_and_settled_by_the_next_call() {
    on_proxy(500, |store, proxy, _| {
        store.record_decision(decision(1)).wait().unwrap();
        proxy.set(Mode::LoseNextAnswerAndCut);
        let doubt = store.record_decision(decision(2)).wait().unwrap_err();
        assert!(matches!(doubt, StoreError::NoAnswer { after_ms: 500 }), "{doubt}");
        assert!(matches!(
            store.record_decision(decision(3)).wait(),
            Err(StoreError::Unavailable { .. } | StoreError::NoAnswer { .. })
        ));
        proxy.set(Mode::Open);
        until(|| store.record_decision(decision(2)).wait().is_ok());
        until(|| store.decision(id(2)).wait().is_ok());
        assert_eq!(store.record_decision(decision(2)).wait().unwrap(), Recorded::Known);
    });
}
