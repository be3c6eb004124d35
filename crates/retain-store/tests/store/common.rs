//! A log of its own for each test, and records to keep in it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use retain_core::{Decision, DecisionId, Money, NO_ACTION, Outcome, OutcomeEvent, Override};
use retain_store::{PostgresUrl, Store, StoreConfig};
use tempfile::TempDir;
use tokio_postgres::NoTls;

pub(crate) const DAY_MS: i64 = 86_400_000;
/// When the first decision is made.
pub(crate) const START_MS: i64 = 1_750_000_000_000;
/// When the windows of decisions close that are made at the start.
pub(crate) const CLOSES_MS: i64 = START_MS + 30 * DAY_MS;

/// An empty database, which goes away with it.
pub(crate) enum Place {
    Sqlite(TempDir),
    Postgres(TestDatabase),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) fn config(&self) -> StoreConfig {
        match self {
            Self::Sqlite(folder) => StoreConfig::sqlite(folder.path().join("decisions.sqlite")),
            Self::Postgres(database) => StoreConfig::postgres(database.url.clone()),
        }
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(&self.config()).unwrap()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.config().path.unwrap()
    }
}

/// Runs a test on SQLite, and on PostgreSQL where there is one.
#[track_caller]
pub(crate) fn on_each(test: impl Fn(&Place)) {
    test(&Place::sqlite());
    on_postgres(|database| test(&Place::Postgres(database)));
}

/// Runs a test on PostgreSQL, where there is one.
#[track_caller]
pub(crate) fn on_postgres(test: impl FnOnce(TestDatabase)) {
    match std::env::var("RETAIN_TEST_POSTGRES") {
        Ok(url) => test(TestDatabase::create(&url)),
        Err(_) => println!("passed over on PostgreSQL: `RETAIN_TEST_POSTGRES` names none"),
    }
}

/// A database with a name of its own on the server.
pub(crate) struct TestDatabase {
    pub(crate) url: PostgresUrl,
    pub(crate) text: String,
    name: String,
    server: String,
}

impl TestDatabase {
    fn create(server: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("retain_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        sql(server, &format!("CREATE DATABASE {name}"));
        let text = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        Self { url: text.parse().unwrap(), text, name, server: server.to_owned() }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        sql(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// Runs statements on a PostgreSQL and gives the texts of the rows that they find.
pub(crate) fn sql(url: &str, statements: &str) -> Vec<Vec<Option<String>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let messages = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.simple_query(statements).await.unwrap()
    });
    let row = |message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

pub(crate) fn id(number: u64) -> DecisionId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    DecisionId::new(START_MS, random)
}

/// A decision made at the start.
pub(crate) fn decision(number: u64) -> Decision {
    Decision {
        id: id(number),
        customer_id: format!("customer-{}", number % 7),
        decided_at_ms: START_MS,
        playbook: "telco".to_owned(),
        playbook_sha256: "0123456789abcdef".repeat(4),
        action: "discount_10".to_owned(),
        channel: Some("email".to_owned()),
        propensity: 0.1 + 0.2,
        holdout: false,
        expected_value: -1.0 / 3.0,
        cost: 1e-300,
        currency: "EUR".to_owned(),
        window_closes_at_ms: CLOSES_MS,
        context: r#"{ "tenure": 1.50, "b": 2, "a": "Ö \" \\", "b": null }"#.to_owned(),
        candidates: r#"[{"action": "no_action", "probability": 0.7}]"#.to_owned(),
    }
}

pub(crate) fn nothing_decided(number: u64) -> Decision {
    Decision { action: NO_ACTION.to_owned(), channel: None, holdout: true, propensity: 1.0, ..decision(number) }
}

/// Something that happened a day after the decision.
pub(crate) fn outcome(number: u64, key: &str, kind: OutcomeEvent) -> Outcome {
    let value = Some(Money::new("EUR", -1_250).unwrap());
    Outcome { decision_id: id(number), key: key.to_owned(), kind, occurred_at_ms: START_MS + DAY_MS, value }
}

pub(crate) fn overriding(number: u64, key: &str, action: &str) -> Override {
    Override {
        decision_id: id(number),
        key: key.to_owned(),
        action: action.to_owned(),
        who: "Ana".to_owned(),
        why: "called before".to_owned(),
        occurred_at_ms: START_MS + 1,
    }
}
