//! `health` and `signals`: scores by rules, and what they are worth.

use std::fs;

use crate::support::{Folder, MODELS, Run, TELCO, TELCO_PLAYBOOK, column, retain};

const LABEL: [&str; 6] = ["--data", TELCO, "--target", "Churn", "--positive", "Yes"];

fn playbook(folder: &Folder) -> String {
    folder.file("telco.toml", TELCO_PLAYBOOK)
}

fn score(folder: &Folder, output: &str, more: &[&str]) -> Run {
    let (playbook, output) = (playbook(folder), folder.path(output));
    let fixed = ["health", "score", "--playbook", &playbook, "--input", TELCO, "--output", &output, "--entity", "customerID"];
    retain(&[&fixed, more].concat())
}

/// `health audit` and the like on the telco customers.
fn measure(verb: &[&str], playbook: &str, more: &[&str]) -> Run {
    retain(&[verb, &["--playbook", playbook, "--entity", "customerID"], &LABEL, more].concat())
}

#[test]
fn every_row_has_its_score_in_its_place() {
    let folder = Folder::new();
    let summary = score(&folder, "scores.csv", &["--format", "json"]).expect(0).json();
    assert_eq!((summary["n_rows"].as_u64(), summary["n_scored"].as_u64()), (Some(7043), Some(7043)));
    let of = |name: &str| column(&folder.path("scores.csv"), name);
    assert_eq!(of("customerID"), column(TELCO, "customerID"));
    // One month by the month: 60 % of 2.5 points. 34 months and one year: 60 % of 71.1 and 70 % of 40.
    let scores: Vec<f64> = of("score").iter().map(|text| text.parse().unwrap()).collect();
    assert!((scores[0] - 1.5).abs() < 1e-9 && (scores[1] - (0.6 * (60.0 + 400.0 / 36.0) + 28.0)).abs() < 1e-6, "{scores:?}");
    assert_eq!(
        (&of("band")[..2], &of("signals")[..2]),
        (&["critical".to_owned(), "healthy".to_owned()][..], &["new monthly".to_owned(), String::new()][..])
    );
    assert_eq!((of("health_stay")[0].as_str(), of("health_commitment")[0].as_str()), ("1.5", "0.0"));
    let fiber = column(TELCO, "InternetService")
        .into_iter()
        .map(|service| if service == "Fiber optic" { "fiber" } else { "" }.to_owned());
    assert_eq!(of("segments"), fiber.collect::<Vec<_>>());
    // To standard output it is the same.
    let playbook = playbook(&folder);
    let run = retain(&["health", "score", "--playbook", &playbook, "--input", TELCO, "--output", "-", "--entity", "customerID"]);
    assert_eq!(run.expect(0).stdout, fs::read_to_string(folder.path("scores.csv")).unwrap());
}

#[test]
fn an_earlier_result_tells_what_changed() {
    let folder = Folder::new();
    score(&folder, "before.parquet", &["--quiet"]).expect(0);
    score(&folder, "now.csv", &["--previous", &folder.path("before.parquet")]).expect(0);
    assert!(column(&folder.path("now.csv"), "direction").iter().all(|direction| direction == "steady"));
    let text = fs::read_to_string(folder.path("now.csv")).unwrap();
    let better = folder.file("better.csv", text.replacen("7590-VHVEG,1.5,", "7590-VHVEG,10.0,", 1));
    score(&folder, "later.csv", &["--previous", &better]).expect(0);
    let of = |name: &str| column(&folder.path("later.csv"), name)[0].clone();
    assert_eq!((of("change").as_str(), of("direction").as_str()), ("-8.5", "worsening"));
    score(&folder, "later.csv", &["--previous", TELCO]).expect(2).says("`health`, `score`, `band`");
}

#[test]
fn a_score_that_cannot_be_is_refused() {
    let folder = Folder::new();
    let own = folder.file("own.toml", "[playbook]\nname = \"own\"\ncurrency = \"EUR\"\n");
    let output = folder.path("scores.csv");
    retain(&["health", "score", "--playbook", &own, "--input", TELCO, "--output", &output]).expect(2).says("saas-health-a");
    let playbook = playbook(&folder);
    let run =
        retain(&["health", "score", "--playbook", &playbook, "--input", TELCO, "--output", &output, "--entity", "customerId"]);
    run.expect(2).says("did you mean `customerID`?");
    score(&folder, "scores.csv", &["--now", "yesterday"]).expect(2).says("`--now` is not a moment");
    assert!(!fs::exists(&output).unwrap());
}

#[test]
fn rules_read_the_models_predictions() {
    let folder = Folder::new();
    let text = TELCO_PLAYBOOK.replace("features.MonthlyCharges > 80", "predictions.churn.probability >= 0.5");
    let playbook = folder.file("telco.toml", text);
    let (scores, health) = (folder.path("scores.csv"), folder.path("health.csv"));
    retain(&["score", "--model", "telco-churn", "--models", MODELS, "--input", TELCO, "--output", &scores]).expect(0);
    let without = retain(&["health", "score", "--playbook", &playbook, "--input", TELCO, "--output", &health]).expect(0);
    without.says("name the published models with `--models DIR`");
    // Whose row it is comes from the model.
    retain(&["health", "score", "--playbook", &playbook, "--models", MODELS, "--input", TELCO, "--output", &health]).expect(0);
    let likely = column(&scores, "probability").iter().map(|text| text.parse::<f64>().unwrap() >= 0.5).collect::<Vec<_>>();
    let fired =
        column(&health, "signals").iter().map(|signals| signals.split(' ').any(|one| one == "costly")).collect::<Vec<_>>();
    assert!(likely == fired && likely.contains(&true));
}

#[test]
fn a_score_is_held_against_who_left() {
    let folder = Folder::new();
    let playbook = playbook(&folder);
    let model = ["--model", "telco-churn", "--models", MODELS];
    let report = measure(&["health", "audit"], &playbook, &[&model[..], &["--format", "json"]].concat()).expect(0).json();
    let audit = &report["audit"];
    assert_eq!((audit["base_rate"]["n_hits"].as_u64(), audit["base_rate"]["n_rows"].as_u64()), (Some(1869), Some(7043)));
    let bands = audit["bands"].as_array().unwrap();
    assert_eq!(bands.iter().map(|band| band["churn"]["n_rows"].as_u64().unwrap()).sum::<u64>(), 7043);
    let rates: Vec<f64> = bands.iter().map(|band| band["churn"]["value"].as_f64().unwrap()).collect();
    assert!(rates.is_sorted(), "{rates:?}");
    let (of_score, of_model) =
        (audit["roc_auc"]["value"].as_f64().unwrap(), report["model"]["roc_auc"]["value"].as_f64().unwrap());
    assert!(of_score > 0.6 && of_model > of_score, "{of_score} {of_model}");
    let alerts = &report["model"]["equal_alerts"][1]["against"];
    assert_eq!(alerts["n_alerts"], bands[2]["churn"]["n_rows"]);
    let run = measure(&["health", "audit"], &playbook, &model).expect(0).says("was fitted to");
    let text = run.stdout;
    for part in ["in order", "critical", "telco-churn/1", "band or worse"] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn a_score_that_is_upside_down_fails() {
    let folder = Folder::new();
    let text = TELCO_PLAYBOOK
        .replace("[[0, 0], [24, 60], [60, 100]]", "[[0, 100], [60, 0]]")
        .replace("'Two year' ?", "'Month-to-month' ?");
    let upside_down = folder.file("telco.toml", text);
    let run = measure(&["health", "audit"], &upside_down, &[]).expect(3);
    assert!(run.stdout.contains("out of order: `healthy` loses more than `critical` (certain"), "{}", run.stdout);
}

#[test]
fn labels_that_are_not_there_are_told() {
    let folder = Folder::new();
    let playbook = playbook(&folder);
    let audit = |target: &str, positive: &str| {
        retain(&["health", "audit", "--playbook", &playbook, "--data", TELCO, "--target", target, "--positive", positive])
    };
    audit("Churn", "Left").expect(5).says("found `No`, `Yes`");
    audit("Chum", "Yes").expect(2).says("did you mean `Churn`?");
    let own = folder.file("own.toml", "[playbook]\nname = \"own\"\ncurrency = \"EUR\"\n");
    measure(&["signals", "audit"], &own, &[]).expect(2).says("early-warning");
    measure(&["health", "audit"], &own, &[]).expect(2).says("saas-health-a");
    measure(&["signals", "audit"], &playbook, &["--churned-at", "tenure"]).expect(2).says("--observed-at");
}

#[test]
fn signals_are_counted_by_hand_as_well() {
    let folder = Folder::new();
    let report = measure(&["signals", "audit"], &playbook(&folder), &["--format", "json"]).expect(0).json();
    let tenure: Vec<f64> = column(TELCO, "tenure").iter().map(|text| text.parse().unwrap()).collect();
    let left: Vec<bool> = column(TELCO, "Churn").iter().map(|text| text == "Yes").collect();
    let n_fired = tenure.iter().filter(|months| **months < 6.0).count() as u64;
    let n_found = tenure.iter().zip(&left).filter(|(months, left)| **months < 6.0 && **left).count() as u64;
    let new = &report["audit"]["signals"][0];
    assert_eq!((new["fired"]["n_hits"].as_u64(), new["precision"]["n_hits"].as_u64()), (Some(n_fired), Some(n_found)));
    assert_eq!(new["recall"]["value"].as_f64(), Some(n_found as f64 / 1869.0));
    assert_eq!(report["audit"]["overlaps"].as_array().unwrap().len(), 3);
    // Nearly everybody who leaves pays by the month.
    assert_eq!(report["audit"]["minimal_set"][0]["id"], "monthly");
    let text =
        measure(&["signals", "audit"], &playbook(&folder), &["--model", "telco-churn", "--models", MODELS]).expect(0).stdout;
    for part in ["Jaccard", "the fewest that find", "with as many alerts, telco-churn/1", "any"] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn a_lead_time_is_the_days_from_the_first_signal_to_the_leaving() {
    let folder = Folder::new();
    let playbook = folder.file(
        "own.toml",
        "[playbook]\nname = \"own\"\ncurrency = \"EUR\"\n[[signal]]\nid = \"silent\"\nwhen = \"features.logins < 2\"\n",
    );
    let table = "customer,seen,logins,left,left_at\n\
                 a,2026-01-01,0,yes,2026-01-31\na,2026-01-11,0,yes,2026-01-31\nb,2026-01-01,5,yes,2026-02-01\nb,2026-01-21,1,yes,2026-02-01\n\
                 c,2026-01-01,9,no,\n";
    let data = folder.file("seen.csv", table);
    let run = retain(&[
        "signals",
        "audit",
        "--playbook",
        &playbook,
        "--data",
        &data,
        "--target",
        "left",
        "--positive",
        "yes",
        "--entity",
        "customer",
        "--observed-at",
        "seen",
        "--churned-at",
        "left_at",
        "--format",
        "json",
    ]);
    let signal = &run.expect(0).json()["audit"]["signals"][0];
    // 30 days for one, 11 for the other.
    assert_eq!((signal["median_lead_days"].as_f64(), signal["n_leads"].as_u64()), (Some(20.5), Some(2)));
}

#[test]
fn weights_are_learned_within_the_leash_and_can_be_used() {
    let folder = Folder::new();
    let (playbook, learned) = (playbook(&folder), folder.path("learned.toml"));
    let run =
        measure(&["health", "fit"], &playbook, &["--leash", "0.1", "--capacity", "500", "--out", &learned, "--format", "json"]);
    let fit = run.expect(0).json()["fit"].clone();
    let weights = fit["weights"].as_array().unwrap();
    let of = |weight: &serde_json::Value, key: &str| weight[key].as_f64().unwrap();
    assert!(weights.iter().all(|weight| (of(weight, "fitted") - of(weight, "hand")).abs() <= 10.0 + 1e-6), "{weights:?}");
    assert!((weights.iter().map(|weight| of(weight, "fitted")).sum::<f64>() - 100.0).abs() < 1e-6);
    assert!(fit["hand_threshold"]["n_rows"].as_u64().unwrap() <= 500);
    // The learned score takes the place of the chosen one.
    let health = fs::read_to_string(&learned).unwrap();
    let (head, rest) = TELCO_PLAYBOOK.split_once("[health]").unwrap();
    let (_, tail) = rest.split_once("[[signal]]").unwrap();
    let better = folder.file("better.toml", format!("{head}{health}\n[[signal]]{tail}"));
    retain(&["playbook", "validate", &better, "--data", TELCO]).expect(0);
    let shown = retain(&["playbook", "show", &better, "--format", "json"]).expect(0).json();
    assert_eq!(shown["health"]["name"], "telco-health-fitted");
    let stay = shown["health"]["groups"][0]["weight"].as_f64().unwrap();
    assert!((stay - of(&weights[0], "fitted")).abs() <= 1e-4, "{stay}");
    measure(&["health", "fit"], &playbook, &["--leash", "3"]).expect(2).says("a share from 0 to 1");
    let text = measure(&["health", "fit"], &playbook, &["--out", "-"]).expect(0).stdout;
    assert!(text.contains("[[health.group.item]]") && !text.contains("roc_auc"), "{text}");
}
