//! A process that keeps records is killed; what it had been told is kept has to be there.
//!
//! The test starts itself once more as that process, which the variable `RETAIN_STORE_TO_KILL` tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use retain_core::{DecisionId, OutcomeEvent};
use retain_store::{LoggedDecision, Recorded, Store, StoreConfig};

use crate::common::{Place, START_MS, decision, id, on_each, outcome};

const VARIABLE: &str = "RETAIN_STORE_TO_KILL";
const NAME: &str = "kill::killed_at_any_point_nothing_acknowledged_is_lost_or_doubled";
/// Records of one process have numbers from a range of their own.
const RANGE: u64 = 1 << 32;

#[test]
fn killed_at_any_point_nothing_acknowledged_is_lost_or_doubled() {
    if let Ok(told) = std::env::var(VARIABLE) {
        return record_until_killed(&told);
    }
    let rounds = std::env::var("RETAIN_STORE_KILLS").map_or(20, |rounds| rounds.parse().unwrap());
    on_each(|place| {
        let mut acknowledged = BTreeSet::new();
        for round in 0..rounds {
            kill_after(1 + round * 37 % 101, round, place, &mut acknowledged);
            check_log(place, &acknowledged, round + 1);
        }
    });
}

/// Four threads that keep a decision, then its outcome, and say so once it is acknowledged.
fn record_until_killed(told: &str) {
    let (place, round) = told.split_once(' ').unwrap();
    let config = match place.strip_prefix("sqlite:") {
        Some(path) => StoreConfig::sqlite(path),
        None => StoreConfig::postgres(place.parse().unwrap()),
    };
    let store = Store::open(&config).unwrap();
    let first = round.parse::<u64>().unwrap() * RANGE;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in (first + thread..).step_by(4) {
                    assert_eq!(store.record_decision(decision(number)).wait().unwrap(), Recorded::New);
                    println!("kept decision {number}");
                    let report = outcome(number, "a", OutcomeEvent::Clicked);
                    assert_eq!(store.record_outcome(report, START_MS).wait().unwrap(), Recorded::New);
                    println!("kept outcome {number}");
                }
            });
        }
    });
}

/// Starts the process, kills it after so many acknowledgements, and adds all that it had given.
fn kill_after(n_acknowledged: u64, round: u64, place: &Place, acknowledged: &mut BTreeSet<(String, u64)>) {
    let told = match place {
        Place::Sqlite(_) => format!("sqlite:{} {round}", place.path().display()),
        Place::Postgres(database) => format!("{} {round}", database.text),
    };
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, told)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut n_read = 0;
    for line in BufReader::new(process.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((kind, number)) = line.strip_prefix("kept ").and_then(|kept| kept.split_once(' ')) else { continue };
        assert!(acknowledged.insert((kind.to_owned(), number.parse().unwrap())), "{line} twice");
        n_read += 1;
        if n_read == n_acknowledged {
            process.kill().unwrap();
        }
    }
    assert!(n_read >= n_acknowledged, "the process ended by itself");
    assert!(!process.wait().unwrap().success());
}

/// The whole log, in which each decision stands once.
fn read_log(store: &Store) -> BTreeMap<DecisionId, LoggedDecision> {
    let (mut log, mut after) = (BTreeMap::new(), None);
    loop {
        let page = store.matured(i64::MAX, after, 1_000).wait().unwrap();
        for logged in page.decisions {
            assert_eq!(log.insert(logged.decision.id, logged), None);
        }
        after = page.next;
        if after.is_none() {
            return log;
        }
    }
}

fn check_log(place: &Place, acknowledged: &BTreeSet<(String, u64)>, rounds: u64) {
    let store = place.open();
    let log = read_log(&store);
    for (kind, number) in acknowledged {
        let Some(kept) = log.get(&id(*number)) else { panic!("{kind} {number} is lost") };
        assert_eq!(kept.decision, decision(*number));
        if kind == "outcome" {
            assert_eq!(kept.outcomes, [outcome(*number, "a", OutcomeEvent::Clicked)]);
        }
    }
    let counts = store.counts().wait().unwrap();
    let n_decisions = acknowledged.iter().filter(|(kind, _)| kind == "decision").count() as u64;
    // What was on its way when a process was killed may be there too: one record of each thread in each round.
    assert!((n_decisions..=n_decisions + 4 * rounds).contains(&counts.decisions), "{counts:?}, acknowledged {n_decisions}");
    assert!(counts.outcomes <= counts.decisions, "{counts:?}");
    if let Place::Sqlite(_) = place {
        let file = rusqlite::Connection::open(place.path()).unwrap();
        let found: String = file.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
        assert_eq!(found, "ok");
    }
}
