//! Policies judged by logs and in simulated worlds, through the whole process.

use std::fmt::Write;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_core::{Decision, DecisionId, Outcome, OutcomeEvent};
use retain_store::{Store, StoreConfig};

use crate::support::{Folder, retain, retain_with_input};

/// How often each of the three actions is rewarded.
const RATES: [(&str, f64); 3] = [("mail", 0.1), ("call", 0.2), ("gift", 0.5)];

/// A log of a policy with these probabilities of the actions.
fn log(n_rows: usize, probabilities: [f64; 3], seed: u64) -> String {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut csv = "customer,action,propensity,reward,slot\n".to_owned();
    for row in 0..n_rows {
        let uniform: f64 = rng.random();
        let action = if uniform < probabilities[0] { 0 } else { 2 - usize::from(uniform < probabilities[0] + probabilities[1]) };
        let rewarded = rng.random::<f64>() < RATES[action].1;
        let (name, propensity) = (RATES[action].0, probabilities[action]);
        writeln!(csv, "c{row},{name},{propensity},{},{}", u8::from(rewarded), row % 2).unwrap();
    }
    csv
}

const EVEN: [f64; 3] = [0.25, 0.25, 0.5];

#[test]
fn a_better_policy_is_promoted_a_worse_one_is_not_and_few_rows_say_nothing() {
    let folder = Folder::new();
    let (long, short) = (folder.file("log.csv", log(4000, EVEN, 1)), folder.file("short.csv", log(60, EVEN, 2)));
    let judge = |log: &str, policy: &str, code: i32| {
        let more = ["--customer", "customer", "--margin", "0.05", "--resamples", "200", "--format", "json"];
        let arguments = [&["policy", "evaluate", "--log", log, "--always", policy][..], &more].concat();
        retain(&arguments).expect(code).json()
    };
    let better = judge(&long, "gift", 0);
    assert_eq!(better["verdict"], "promoted");
    assert_eq!(better["estimates"].as_array().unwrap().len(), 8);
    let value = &better["value"];
    assert!(value["low"].as_f64().unwrap() < 0.5 && value["high"].as_f64().unwrap() > 0.5, "{value}");
    assert_eq!(judge(&long, "mail", 3)["verdict"], "not_better");
    assert_eq!(judge(&short, "gift", 4)["verdict"], "inconclusive");
}

#[test]
fn a_policy_is_told_by_its_log_or_by_its_probabilities() {
    let folder = Folder::new();
    let text = log(3000, EVEN, 1);
    let (table, judged) = (folder.file("log.csv", &text), folder.file("judged.csv", log(40_000, [0.1, 0.1, 0.8], 3)));
    let by_log = ["--policy-log", &judged, "--position", "slot", "--resamples", "100", "--quiet", "--format", "json"];
    let by_log = retain(&[&["policy", "evaluate", "--log", &table][..], &by_log].concat()).expect(0);
    assert_eq!(by_log.stderr, "");
    let by_log = by_log.json();
    let probabilities = folder.file("p.csv", format!("gift,mail,call\n{}", "0.8,0.1,0.1\n".repeat(3000)));
    let stated = ["policy", "evaluate", "--log", "-", "--policy-probabilities", &probabilities, "--resamples", "100"];
    let stated = retain_with_input(&[&stated[..], &["--format", "json"]].concat(), text.as_bytes()).expect(0).json();
    let value = |report: &serde_json::Value| report["value"]["value"].as_f64().unwrap();
    assert!((value(&by_log) - value(&stated)).abs() < 0.005, "{by_log} {stated}");
    // 0.8 × 0.5 + 0.1 × 0.2 + 0.1 × 0.1.
    assert!((value(&stated) - 0.43).abs() < 0.03, "{stated}");
    assert!((by_log["really_earned"].as_f64().unwrap() - 0.43).abs() < 0.01, "{by_log}");
}

#[test]
fn without_probabilities_the_model_speaks_alone_and_nothing_is_promoted() {
    let folder = Folder::new();
    let text = log(4000, EVEN, 1).replace("propensity", "unknown");
    let table = folder.file("log.csv", text);
    let run = retain(&["policy", "evaluate", "--log", &table, "--always", "gift", "--margin", "0.05"]).expect(4);
    let run = run.says("no logged probabilities");
    assert!(run.stdout.contains("dm alone") && run.stdout.contains("inconclusive"), "{}", run.stdout);
    assert!(!run.stdout.contains("snips"), "{}", run.stdout);
}

#[test]
fn logs_that_cannot_be_judged_by_are_refused() {
    let folder = Folder::new();
    let text = log(50, EVEN, 1);
    let table = folder.file("log.csv", &text);
    let evaluate = |more: &[&str]| retain(&[&["policy", "evaluate"], more].concat());
    evaluate(&["--log", &table]).expect(2).says("--uniform");
    evaluate(&["--uniform"]).expect(2).says("--log");
    evaluate(&["--log", &table, "--uniform", "--action", "actoin"]).expect(2).says("did you mean `action`?");
    evaluate(&["--log", &table, "--always", "fax"]).expect(2).says("it has `");
    evaluate(&["--log", &table, "--greedy"]).expect(2);
    evaluate(&["--log", "-", "--policy-log", "-"]).expect(2).says("standard input");
    evaluate(&["--log", &table, "--uniform", "--reward", "action"]).expect(5).says("row 1: `action` should be a number");
    evaluate(&["--log", &table, "--uniform", "--propensity", "slot"]).expect(5).says("`propensity` should be");
    evaluate(&["--log", &table, "--uniform", "--margin", "nan"]).expect(2);
    let probabilities = folder.file("p.csv", "gift,mail,call\n0.8,0.1,0.1\n");
    evaluate(&["--log", &table, "--policy-probabilities", &probabilities]).expect(5).says("each of the log's 50, found 1");
    let wrong = folder.file("wrong.csv", format!("gift,mail\n{}", "0.8,0.1\n".repeat(50)));
    evaluate(&["--log", &table, "--policy-probabilities", &wrong]).expect(5).says("sum of probabilities");
    let elsewhere = folder.file("elsewhere.csv", text.replace(",1\n", ",0\n"));
    evaluate(&["--log", &table, "--policy-log", &elsewhere, "--position", "slot"]).expect(5).says("no row at position `1`");
    let holed = folder.file("holed.csv", text.replacen("mail", "", 1));
    evaluate(&["--log", &holed, "--uniform"]).expect(5).says("`action` should be a name");
}

/// A decision log: the odd customers, who may have the call, get it half of the time, and stay then.
fn stored(folder: &Folder, n_decisions: u64) -> String {
    let path = folder.path("decisions.sqlite");
    let (store, threads) = Store::open_with_threads(&StoreConfig::sqlite(&path)).unwrap();
    for idx in 0..n_decisions {
        let may_call = idx % 2 == 1;
        let called = may_call && idx % 4 == 1;
        let holdout = idx % 10 == 0;
        let decided_at_ms = 1_700_000_000_000 + idx as i64;
        let (p_call, p_nothing) = if may_call { (0.5, 0.5) } else { (0.0, 1.0) };
        let decision = Decision {
            id: DecisionId::new(decided_at_ms, [7; 10]),
            customer_id: format!("c{idx}"),
            decided_at_ms,
            playbook: "calls".to_owned(),
            playbook_sha256: "0".repeat(64),
            action: if called { "call" } else { "no_action" }.to_owned(),
            channel: called.then(|| "phone".to_owned()),
            propensity: if may_call { 0.5 } else { 1.0 },
            holdout,
            expected_value: 0.0,
            cost: 0.0,
            currency: "USD".to_owned(),
            window_closes_at_ms: decided_at_ms + 86_400_000,
            context: "{}".to_owned(),
            candidates: format!(
                r#"[{{"action":"call","eligible":{may_call},"propensity":{p_call},"rank":1}},
                   {{"action":"no_action","eligible":true,"propensity":{p_nothing},"rank":2}}]"#
            ),
        };
        let id = decision.id;
        store.record_decision(decision).wait().unwrap();
        if !called {
            let (key, occurred_at_ms) = ("left".to_owned(), decided_at_ms + 1000);
            let left = Outcome { decision_id: id, key, kind: OutcomeEvent::Churned, occurred_at_ms, value: None };
            store.record_outcome(left, occurred_at_ms).wait().unwrap();
        }
    }
    drop(store);
    threads.join().unwrap();
    path
}

#[test]
fn a_decision_log_is_judged_by_what_was_possible() {
    let folder = Folder::new();
    let path = stored(&folder, 600);
    let judge = |more: &[&str]| {
        let arguments = [&["policy", "evaluate", "--store", &path, "--resamples", "100", "--format", "json"], more].concat();
        retain(&arguments)
    };
    // The odd half stays when it is called, and only it can be called; the holdout is among the even.
    let always = judge(&["--always", "call", "--margin", "0.1"]).expect(0).says("60 decisions of the holdout are left out");
    let always = always.json();
    assert_eq!(always["diagnostics"]["n_rows"], 540);
    let value = always["value"]["value"].as_f64().unwrap();
    assert!((value - 300.0 / 540.0).abs() < 0.06, "{value}");
    let first = judge(&["--greedy"]).expect(0).json();
    assert_eq!(first["value"], always["value"]);
    let never = judge(&["--always", "no_action", "--margin", "0"]).expect(3).json();
    assert!(never["value"]["value"].as_f64().unwrap() < 0.05, "{never}");
    judge(&["--uniform", "--goal", "convert", "--playbook", "calls"]).expect(0);
    judge(&["--uniform", "--playbook", "mails"]).expect(2).says("it has `calls`");
    judge(&["--uniform", "--action", "action"]).expect(2);
}

#[test]
fn what_is_no_decision_log_is_refused_and_not_made() {
    let folder = Folder::new();
    let missing = folder.path("missing.sqlite");
    retain(&["policy", "evaluate", "--store", &missing, "--uniform"]).expect(2).says("check the path");
    assert!(folder.names().is_empty(), "{:?}", folder.names());
    let text = folder.file("log.csv", log(2000, EVEN, 1));
    retain(&["policy", "evaluate", "--store", &text, "--uniform"]).expect(2).says("no decision log");
    let empty = folder.file("empty.sqlite", "");
    retain(&["policy", "evaluate", "--store", &empty, "--uniform"]).expect(2).says("no decision log");
}

#[test]
fn the_learner_comes_near_the_oracle_and_the_same_seed_gives_the_same_bytes() {
    let simulate = |seed: &str| {
        let worlds = ["policy", "simulate", "--decisions", "5000", "--seeds", "2", "--seed", seed, "--format", "json"];
        retain(&worlds).expect(0)
    };
    let (first, again, other) = (simulate("5"), simulate("5"), simulate("50"));
    assert_eq!(first.stdout, again.stdout);
    assert_ne!(first.stdout, other.stdout);
    let report = first.json();
    let policies = report["policies"].as_array().unwrap();
    let share = |idx: usize| policies[idx]["share_of_oracle"]["mean"].as_f64().unwrap();
    let names: Vec<&str> = policies.iter().map(|policy| policy["policy"].as_str().unwrap()).collect();
    assert_eq!(names, ["learner", "priors", "random", "do_nothing", "oracle"]);
    assert!(share(0) > share(1) && share(1) > share(2) && share(2) > share(3), "{report}");
    assert_eq!(share(3), 0.0);
    assert!(policies.iter().all(|policy| policy["violations"] == 0), "{report}");
    let text = retain(&["policy", "simulate", "--decisions", "200", "--seeds", "1", "--world", "hard"]).expect(0);
    assert!(text.stdout.contains("share of the oracle") && text.stdout.contains("worlds `hard`"), "{}", text.stdout);
    let folder = Folder::new();
    let playbook = folder.file("playbook.toml", "[playbook]\nname = \"p\"\ncurrency = \"USD\"\nvalue_at_stake = \"features.worth\"\n[[action]]\nid = \"tips\"\ncost = 1.0\n");
    let own = retain(&["policy", "simulate", "--decisions", "500", "--seeds", "1", "--playbook", &playbook, "--format", "json"]);
    assert_eq!(own.expect(0).json()["policies"][0]["runs"][0]["uses"].as_array().unwrap().len(), 2);
    retain(&["policy", "simulate", "--playbook", "absent.toml"]).expect(2).says("absent.toml");
    retain(&["policy", "simulate", "--decisions", "0"]).expect(2);
}
