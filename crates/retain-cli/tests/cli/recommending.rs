//! `recommend`: next best actions for a whole table.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use retain_core::{Decision, DecisionId, Outcome, OutcomeEvent};
use retain_store::{Store, StoreConfig};
use serde_json::Value;

use crate::support::{Folder, MODELS, Run, TELCO, TELCO_PLAYBOOK, column, retain};

const NOW: &str = "2026-03-01T12:00:00Z";
const DAY_MS: i64 = 86_400_000;
/// The same in milliseconds since 1970: 20,513 days and a half.
const NOW_MS: i64 = 20_513 * DAY_MS + DAY_MS / 2;

fn recommend(folder: &Folder, output: &str, more: &[&str]) -> Run {
    let (playbook, output) = (folder.file("telco.toml", TELCO_PLAYBOOK), folder.path(output));
    let fixed = [
        "recommend",
        "--playbook",
        &playbook,
        "--models",
        MODELS,
        "--input",
        TELCO,
        "--output",
        &output,
        "--now",
        NOW,
        "--format",
        "json",
    ];
    retain(&[&fixed, more].concat())
}

fn numbers(path: &str, name: &str) -> Vec<f64> {
    column(path, name).iter().map(|text| text.parse().unwrap()).collect()
}

fn n_of(actions: &[String], action: &str) -> usize {
    actions.iter().filter(|one| *one == action).count()
}

#[test]
fn every_customer_gets_an_action_or_none() {
    let folder = Folder::new();
    let summary = recommend(&folder, "actions.csv", &["--seed", "5"]).expect(0).json();
    let path = folder.path("actions.csv");
    let actions = column(&path, "action");
    assert_eq!(column(&path, "customerID"), column(TELCO, "customerID"));
    for taken in summary["actions"].as_array().unwrap() {
        let id = taken["action"].as_str().unwrap();
        assert_eq!(n_of(&actions, id) as u64, taken["n"].as_u64().unwrap(), "{id}");
        assert!(taken["n"].as_u64().unwrap() > 0, "{id}");
    }
    assert!(n_of(&actions, "call") <= 300, "there are 300 calls in 30 days");
    let phone = &summary["limits"][0];
    assert!(phone["name"] == "phone" && phone["shadow_price"].as_f64().unwrap() > 0.0, "{phone}");
    assert!(numbers(&path, "propensity").iter().all(|propensity| *propensity > 0.0 && *propensity <= 1.0));
    let cost: f64 = numbers(&path, "cost").iter().sum();
    assert!((cost - summary["total_cost"].as_f64().unwrap()).abs() < 1e-6);
    let value = &summary["expected_value"];
    assert!(value["low"].as_f64() < value["value"].as_f64() && value["value"].as_f64() < value["high"].as_f64());
    let held_out = column(&path, "reason").iter().filter(|reason| reason.contains("in the holdout")).count();
    assert_eq!(summary["n_holdout"].as_u64(), Some(held_out as u64));
    // About 5 % of 7,043, within four standard deviations.
    assert!((279..=426).contains(&held_out), "{held_out}");
    let sources: HashSet<String> = column(&path, "effect_source").into_iter().collect();
    assert_eq!(sources, HashSet::from([String::new(), "prior".to_owned()]));
    assert!(summary["gap"].as_f64().unwrap() < 0.01);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_explores_otherwise() {
    let folder = Folder::new();
    recommend(&folder, "one.csv", &["--seed", "5"]).expect(0);
    recommend(&folder, "two.csv", &["--seed", "5", "--threads", "1"]).expect(0);
    recommend(&folder, "other.csv", &["--seed", "6"]).expect(0);
    let bytes = |name: &str| fs::read(folder.path(name)).unwrap();
    assert_eq!(bytes("one.csv"), bytes("two.csv"));
    assert_ne!(bytes("one.csv"), bytes("other.csv"));
    recommend(&folder, "one.parquet", &["--seed", "5"]).expect(0);
    assert!(bytes("one.parquet").starts_with(b"PAR1"));
}

#[test]
fn capacities_and_the_budget_are_kept() {
    let folder = Folder::new();
    let summary =
        recommend(&folder, "actions.csv", &["--capacity", "call=10", "--budget", "500", "--seed", "1"]).expect(0).json();
    let path = folder.path("actions.csv");
    assert!(n_of(&column(&path, "action"), "call") <= 10);
    let cost: f64 = numbers(&path, "cost").iter().sum();
    assert!(cost <= 500.0 && cost > 450.0, "{cost}");
    assert!(summary["budget"]["shadow_price"].as_f64().unwrap() > 0.0, "{summary}");
    recommend(&folder, "none.csv", &["--capacity", "phone=0", "--capacity", "email=0"]).expect(0);
    assert_eq!(n_of(&column(&folder.path("none.csv"), "action"), "no_action"), 7043);
    for (capacity, told) in [("cal=1", "did you mean `call`?"), ("call", "--capacity call=40"), ("call=-1", "--capacity call=40")]
    {
        recommend(&folder, "wrong.csv", &["--capacity", capacity]).expect(2).says(told);
    }
    recommend(&folder, "wrong.csv", &["--capacity", "call=1", "--capacity", "call=2"]).expect(2).says("twice");
    recommend(&folder, "wrong.csv", &["--budget=-1"]).expect(2).says("an amount from 0 on");
    assert!(!Path::new(&folder.path("wrong.csv")).exists());
}

#[test]
fn a_customer_has_one_row_and_a_name() {
    let folder = Folder::new();
    let telco = fs::read_to_string(TELCO).unwrap();
    let second = telco.lines().nth(1).unwrap();
    let twice = folder.file("twice.csv", format!("{telco}{second}\n"));
    let (playbook, output) = (folder.file("telco.toml", TELCO_PLAYBOOK), folder.path("out.csv"));
    let run = |playbook: &str, input: &str| {
        retain(&["recommend", "--playbook", playbook, "--models", MODELS, "--input", input, "--output", &output])
    };
    run(&playbook, &twice).expect(5).says("rows 1 and 7044 are both about the customer `7590-VHVEG`");
    let nameless = folder.file("nameless.csv", telco.replacen("7590-VHVEG", "", 1));
    run(&playbook, &nameless).expect(5).says("row 1 does not say which customer");
    let own = folder
        .file("own.toml", "[playbook]\nname = \"own\"\ncurrency = \"EUR\"\nvalue_at_stake = 10\n[[action]]\nid = \"mail\"\n");
    run(&own, TELCO).expect(2).says("--entity");
    let without = TELCO_PLAYBOOK.replace("\"telco-churn\"", "\"nobody\"");
    run(&folder.file("without.toml", without), TELCO).expect(2).says("cannot find the model `nobody@champion` of the playbook");
    assert!(!Path::new(&output).exists());
}

#[test]
fn every_candidate_is_explained() {
    let folder = Folder::new();
    recommend(&folder, "actions.csv", &["--seed", "5", "--explain", "--language", "es"]).expect(0);
    let path = folder.path("actions.csv");
    let (actions, propensities) = (column(&path, "action"), numbers(&path, "propensity"));
    for (row, text) in column(&path, "candidates").iter().enumerate().take(500) {
        let candidates: Value = serde_json::from_str(text).unwrap();
        let candidates = candidates.as_array().unwrap();
        let propensity = |candidate: &Value| candidate["propensity"].as_f64().unwrap();
        assert_eq!(candidates.len(), 4);
        assert!((candidates.iter().map(propensity).sum::<f64>() - 1.0).abs() < 1e-9);
        let chosen = candidates.iter().find(|candidate| candidate["action"] == actions[row]).unwrap();
        assert!((propensity(chosen) - propensities[row]).abs() < 1e-12);
    }
    let reasons = column(&path, "reason");
    assert!(reasons.iter().any(|reason| reason.starts_with("Se espera que aporte")), "{}", reasons[0]);
    assert!(reasons.iter().any(|reason| reason.contains("Responde a: ") && reason.contains("Contract")));
}

/// The log's export with one call for each of these customers, five days ago.
fn export_of_calls(folder: &Folder, customers: &[String]) -> String {
    let store = Store::open(&StoreConfig::sqlite(folder.path("log.sqlite"))).unwrap();
    let decided_at_ms = NOW_MS - 5 * DAY_MS;
    for (position, customer) in customers.iter().enumerate() {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&(position as u64).to_be_bytes());
        let id = DecisionId::new(decided_at_ms, random);
        let decision = Decision {
            id,
            customer_id: customer.clone(),
            decided_at_ms,
            playbook: "telco".to_owned(),
            playbook_sha256: "0".repeat(64),
            action: "call".to_owned(),
            channel: Some("phone".to_owned()),
            propensity: 0.9,
            holdout: false,
            expected_value: 1.0,
            cost: 12.0,
            currency: "USD".to_owned(),
            window_closes_at_ms: decided_at_ms + 30 * DAY_MS,
            context: "{}".to_owned(),
            candidates: "[]".to_owned(),
        };
        store.record_decision(decision).wait().unwrap();
        let occurred_at_ms = decided_at_ms + 1;
        let outcome =
            Outcome { decision_id: id, key: "k".to_owned(), kind: OutcomeEvent::Delivered, occurred_at_ms, value: None };
        store.record_outcome(outcome, NOW_MS).wait().unwrap();
    }
    let path = folder.path("decisions.parquet");
    assert_eq!(store.export(Path::new(&path)).unwrap(), customers.len() as u64);
    path
}

#[test]
fn earlier_decisions_count() {
    let folder = Folder::new();
    recommend(&folder, "before.csv", &["--seed", "5"]).expect(0);
    let before = folder.path("before.csv");
    let called = column(&before, "customerID").into_iter().zip(column(&before, "action")).filter(|(_, action)| action == "call");
    let called: Vec<String> = called.map(|(customer, _)| customer).take(40).collect();
    assert_eq!(called.len(), 40);
    let history = export_of_calls(&folder, &called);
    let summary = recommend(&folder, "after.csv", &["--seed", "5", "--history", &history]).expect(0).json();
    let after = folder.path("after.csv");
    let again = column(&after, "customerID").into_iter().zip(column(&after, "action"));
    assert!(again.filter(|(_, action)| action == "call").all(|(customer, _)| !called.contains(&customer)));
    // What the period has seen is gone.
    assert_eq!(summary["limits"][0]["capacity"], 260);
    recommend(&folder, "wrong.csv", &["--history", TELCO]).expect(5).says("the Parquet file that the log of decisions exports");
    recommend(&folder, "wrong.csv", &["--history", &folder.path("none.parquet")])
        .expect(2)
        .says("cannot read the earlier decisions");
}

#[test]
fn the_log_is_exported_and_counted() {
    let folder = Folder::new();
    let (place, file) = (folder.path("log.sqlite"), folder.path("again.parquet"));
    retain(&["decisions", "count", "--store", &place]).expect(2).says("there is no decision log");
    export_of_calls(&folder, &["a".to_owned(), "b".to_owned()]);
    let counted = retain(&["decisions", "count", "--store", &place, "--format", "json"]).expect(0).json();
    assert_eq!((counted["decisions"].as_u64(), counted["outcomes"].as_u64()), (Some(2), Some(2)));
    let exported = retain(&["decisions", "export", "--store", &place, "--output", &file, "--format", "json"]).expect(0).json();
    assert_eq!(exported["decisions"].as_u64(), Some(2));
    assert_eq!(&fs::read(&file).unwrap()[..4], b"PAR1");
}
