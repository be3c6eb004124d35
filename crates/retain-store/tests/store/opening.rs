use std::error::Error;

use retain_store::{PostgresUrl, Recorded, Store, StoreConfig, StoreError};

use crate::common::{Place, decision, on_each, on_postgres, sql};

#[test]
fn tables_of_a_newer_program_are_refused_by_their_version() {
    on_each(|place| {
        drop(place.open());
        let newer = "UPDATE schema_version SET version = 99";
        match place {
            Place::Sqlite(_) => assert_eq!(rusqlite::Connection::open(place.path()).unwrap().execute(newer, ()).unwrap(), 1),
            Place::Postgres(database) => drop(sql(&database.text, newer)),
        }
        let refused = Store::open(&place.config()).unwrap_err();
        assert!(matches!(refused, StoreError::SchemaNewer { found: 99, known: 1, .. }), "{refused}");
    });
}

#[test]
fn many_may_open_a_new_log_at_once() {
    on_each(|place| {
        std::thread::scope(|scope| {
            let opening: Vec<_> = (0..8_u64)
                .map(|number| scope.spawn(move || place.open().record_decision(decision(number)).wait().unwrap()))
                .collect();
            opening.into_iter().for_each(|opened| assert_eq!(opened.join().unwrap(), Recorded::New));
        });
        assert_eq!(place.open().counts().wait().unwrap().decisions, 8);
    });
}

#[test]
fn a_file_of_something_else_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "no database, and longer than the header of one would have to be: ".repeat(20)).unwrap();
    let database = folder.path().join("other.sqlite");
    rusqlite::Connection::open(&database).unwrap().execute_batch("CREATE TABLE decisions (id INTEGER)").unwrap();
    for path in [text, database] {
        let before = std::fs::read(&path).unwrap();
        let refused = Store::open(&StoreConfig::sqlite(&path)).unwrap_err();
        assert!(matches!(refused, StoreError::NotALog { .. }), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let path = "/nowhere/decisions.sqlite";
    let refused = Store::open(&StoreConfig::sqlite(path)).unwrap_err();
    assert_eq!(refused.to_string(), "the decision log `/nowhere/decisions.sqlite` cannot be reached");
    assert!(refused.source().unwrap().to_string().contains("unable to open database file"));
}

#[test]
fn a_server_that_is_missing_is_named_without_its_password() {
    // Port 1 is one that nothing listens on.
    let url: PostgresUrl = "postgresql://ana:secret@127.0.0.1:1/retain".parse().unwrap();
    assert_eq!(format!("{url:?}"), "PostgresUrl(postgresql://ana@127.0.0.1:1/retain)");
    let config = StoreConfig::postgres(url);
    assert!(!format!("{config:?}").contains("secret"));
    let refused = Store::open(&config).unwrap_err();
    assert_eq!(refused.to_string(), "the decision log `postgresql://ana@127.0.0.1:1/retain` cannot be reached");
    assert!(!format!("{refused:?}").contains("secret"));
    let unread = "postgresql://ana:secret@:x:/".parse::<PostgresUrl>().unwrap_err();
    assert!(!format!("{unread} {unread:?}").contains("secret"), "{unread:?}");
}

#[track_caller]
fn check_setting(json: &str, expected: &str) {
    let config = serde_json::from_str::<StoreConfig>(json).map_err(|error| error.to_string());
    let found = config.and_then(|config| config.check().map_err(|error| error.to_string()));
    match found {
        Ok(()) => assert_eq!("", expected, "{json}"),
        Err(error) => assert!(!expected.is_empty() && error.contains(expected), "{json}: {error}"),
    }
}

#[test]
fn settings_that_cannot_be_are_refused() {
    check_setting(r#"{"path": "a"}"#, "");
    check_setting(r#"{"postgres": "postgresql://localhost/a"}"#, "");
    check_setting("{}", "`path` should be");
    check_setting(r#"{"path": "a", "postgres": "postgresql://localhost/a"}"#, "absent beside `postgres`");
    check_setting(r#"{"path": "a", "paht": "b"}"#, "unknown field");
    check_setting(r#"{"path": "a", "group_len": 0}"#, "`group_len` should be a whole number from 1 to 4096, found `0`");
    check_setting(r#"{"path": "a", "timeout_ms": 600001}"#, "timeout_ms");
    check_setting(r#"{"path": "a", "late_days": 0}"#, "");
    check_setting(r#"{"path": "a", "late_days": 4000}"#, "late_days");
    check_setting(r#"{"path": "a", "postgres_root_certificates": "b"}"#, "postgres_root_certificates");
    check_setting(r#"{"postgres": "postgresql://localhost/a", "max_bytes": 1}"#, "max_bytes");
    check_setting(r#"{"postgres": "secret"}"#, "`postgres` should be an address");
    check_setting(r#"{"postgres": "postgresql://localhost/a?sslmode=require"}"#, "with `postgres_root_certificates`");
    let missing = r#"{"postgres": "postgresql://localhost/a", "postgres_root_certificates": "/nowhere/a.pem"}"#;
    check_setting(missing, "a PEM file of certificates");
}

#[test]
fn a_connection_is_encrypted_where_certificates_are_named() {
    let Ok(certificates) = std::env::var("RETAIN_TEST_POSTGRES_CERTIFICATES") else {
        return println!("passed over: `RETAIN_TEST_POSTGRES_CERTIFICATES` names none");
    };
    on_postgres(|database| {
        let mut config = StoreConfig::postgres(format!("{}?sslmode=require", database.text).parse().unwrap());
        config.postgres_root_certificates = Some(certificates.into());
        let store = Store::open(&config).unwrap();
        store.record_decision(decision(1)).wait().unwrap();
        let encrypted = "SELECT count(*) > 0 AND bool_and(ssl) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) \
                         WHERE application_name = 'retain' AND datname = current_database()";
        assert_eq!(sql(&database.text, encrypted), [[Some("t".to_owned())]]);
        // The server's certificate is for `localhost` and 127.0.0.1, and this name is another one for the same machine.
        let elsewhere = database.text.replace("127.0.0.1", "127.0.0.2");
        let mut config = StoreConfig { postgres: Some(elsewhere.parse().unwrap()), ..config };
        config.timeout_ms = 2_000;
        assert!(matches!(Store::open(&config), Err(StoreError::Unavailable { .. })));
    });
}
