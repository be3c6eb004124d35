use retain_core::{Decision, Outcome, OutcomeEvent};

use crate::common::{Place, START_MS, decision, nothing_decided, on_each, outcome, overriding, sql};

/// The queries under the README's heading, as they stand there.
fn queries() -> Vec<&'static str> {
    let readme = include_str!("../../../../README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("Decisions in SQL\n")).unwrap();
    section.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// What a query finds, as texts; numbers as the shortest text that is the same number.
fn rows(place: &Place, query: &str) -> Vec<Vec<String>> {
    let plain = |value: Option<String>| match value {
        Some(text) => text.parse::<f64>().map_or(text, |number| number.to_string()),
        None => "null".to_owned(),
    };
    match place {
        Place::Sqlite(_) => {
            let file = rusqlite::Connection::open(place.path()).unwrap();
            let mut statement = file.prepare(query).unwrap();
            let n_columns = statement.column_count();
            let value = |row: &rusqlite::Row<'_>, at: usize| match row.get::<_, rusqlite::types::Value>(at).unwrap() {
                rusqlite::types::Value::Null => None,
                rusqlite::types::Value::Integer(number) => Some(number.to_string()),
                rusqlite::types::Value::Real(number) => Some(number.to_string()),
                rusqlite::types::Value::Text(text) => Some(text),
                rusqlite::types::Value::Blob(_) => panic!("no column is bytes"),
            };
            let found = statement.query_map((), |row| Ok((0..n_columns).map(|at| plain(value(row, at))).collect())).unwrap();
            found.map(Result::unwrap).collect()
        }
        Place::Postgres(database) => {
            sql(&database.text, query).into_iter().map(|row| row.into_iter().map(plain).collect()).collect()
        }
    }
}

/// Four decisions to act, of which one was overridden, and two of the holdout.
fn keep_some(place: &Place) {
    let store = place.open();
    let of = |number: u64, given: Decision| Decision {
        customer_id: if number < 2 { "7590-VHVEG".to_owned() } else { given.customer_id.clone() },
        decided_at_ms: START_MS + number as i64 * 1_000,
        propensity: 0.25,
        ..given
    };
    let acting = (0..4).map(|number| of(number, decision(number)));
    let holdout = (4..6).map(|number| of(number, nothing_decided(number)));
    store.record_decisions(acting.chain(holdout).collect()).wait().unwrap();
    for (number, key, kind) in [
        (0, "a", OutcomeEvent::Clicked),
        (1, "a", OutcomeEvent::Converted),
        (1, "b", OutcomeEvent::Converted),
        (3, "a", OutcomeEvent::Converted),
        (4, "a", OutcomeEvent::Churned),
    ] {
        let worth = (kind == OutcomeEvent::Converted).then(|| retain_core::Money::new("EUR", 1_250).unwrap());
        let occurred_at_ms = START_MS + 60_000;
        store.record_outcome(Outcome { occurred_at_ms, value: worth, ..outcome(number, key, kind) }, START_MS).wait().unwrap();
    }
    store.record_override(overriding(3, "a", "call"), START_MS).wait().unwrap();
}

#[test]
fn the_queries_of_the_readme_work_on_both() {
    on_each(|place| {
        keep_some(place);
        let [by_action, story, holdout] = queries()[..] else { panic!("three queries") };
        let texts = |row: &[&str]| row.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(rows(place, by_action), [texts(&["discount_10", "3", "0.25", "1"]), texts(&["no_action", "2", "0.25", "0"])]);
        let at = "2025-06-15 15:06:40.000";
        let converted =
            texts(&["2025-06-15 15:06:41.000", "discount_10", "email", "converted", "2025-06-15 15:07:40.000", "12.5"]);
        let clicked = texts(&[at, "discount_10", "email", "clicked", "2025-06-15 15:07:40.000", "null"]);
        assert_eq!(rows(place, story), [clicked, converted.clone(), converted]);
        let (no, yes) = if matches!(place, Place::Sqlite(_)) { ("0", "1") } else { ("f", "t") };
        assert_eq!(rows(place, holdout), [texts(&[no, "4", "0", "9.375"]), texts(&[yes, "2", "0.5", "0"])]);
    });
}
