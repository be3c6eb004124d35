//! Effects of treatments through the whole process.

use std::fmt::Write;
use std::sync::OnceLock;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::support::{Folder, Run, column, columns, retain};

/// A model of two treatments, and the table it was trained on.
struct Trial {
    folder: Folder,
    bundle: String,
    table: String,
}

/// A mail helps those with a high `x`, a call does the same for everybody, and `bought` follows from `visit`.
fn table(n_rows: usize) -> String {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(4);
    let mut csv = "id,x,plan,sent,visit,bought\n".to_owned();
    for row in 0..n_rows {
        let (x, plan): (f64, &str) = (rng.random(), ["a", "b"][rng.random_range(0..2)]);
        let sent = ["none", "mail", "call"][rng.random_range(0..3)];
        let chance = 0.2
            + if sent == "mail" {
                0.4 * x
            } else if sent == "call" {
                0.1
            } else {
                0.0
            };
        let visit = rng.random::<f64>() < chance;
        let bought = visit && rng.random::<f64>() < 0.7;
        writeln!(csv, "c{row},{x:.4},{plan},{sent},{},{}", u8::from(visit), u8::from(bought)).unwrap();
    }
    csv
}

fn task(more: &str) -> String {
    format!(
        "[task]\nname = \"mails\"\nkind = \"uplift\"\ndefinition = \"came by\"\nhorizon_days = 14\n[table]\nentity = \"id\"\n\
         target = \"visit\"\npositive = 1\ntreatment = \"sent\"\ncontrol = \"none\"\n{more}\n[train]\nlearners = [\"logistic\"]\nbudget_seconds = 600\n"
    )
}

#[track_caller]
fn prints(run: &Run, texts: &[&str]) {
    for text in texts {
        assert!(run.stdout.contains(text), "`{text}` is not in:\n{}", run.stdout);
    }
}

fn trial() -> &'static Trial {
    static MODEL: OnceLock<Trial> = OnceLock::new();
    MODEL.get_or_init(|| {
        let folder = Folder::new();
        let config = folder.file("task.toml", task("exclude = [\"bought\"]"));
        let (table, bundle) = (folder.file("table.csv", table(3_000)), folder.path("model"));
        let run = retain(&["train", "--config", &config, "--data", &table, "--out", &bundle]).expect(0);
        prints(&run, &["above 0 is good", "conclusive", "best for each"]);
        Trial { folder, bundle, table }
    })
}

#[test]
fn scores_name_the_treatment_that_does_most_and_what_all_of_them_do() {
    let trial = trial();
    // What was done and what came of it is not asked of customers to be scored.
    let text = std::fs::read_to_string(&trial.table).unwrap();
    let features: String = text.lines().map(|line| line.split(',').take(3).collect::<Vec<_>>().join(",") + "\n").collect();
    let input = trial.folder.file("new.csv", features);
    let scores = trial.folder.path("scores.csv");
    retain(&["score", "--model", &trial.bundle, "--input", &input, "--output", &scores, "--explain", "1", "--details"]).expect(0);
    let names: Vec<String> = columns(&scores).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["id", "uplift", "low", "high", "uplift_call", "uplift_mail", "treatment", "band", "reason_1"]);
    let number = |name: &str| column(&scores, name).iter().map(|text| text.parse::<f64>().unwrap()).collect::<Vec<f64>>();
    let (uplift, call, mail) = (number("uplift"), number("uplift_call"), number("uplift_mail"));
    let (low, high, best) = (number("low"), number("high"), column(&scores, "treatment"));
    for row in 0..uplift.len() {
        assert_eq!(uplift[row], if best[row] == "mail" { mail[row] } else { call[row] });
        assert!(low[row] <= uplift[row] && uplift[row] <= high[row]);
    }
    let x: Vec<f64> = column(&input, "x").iter().map(|text| text.parse().unwrap()).collect();
    let at = |wanted: fn(f64) -> bool| {
        (0..x.len())
            .filter(|&row| wanted(x[row]))
            .map(|row| mail[row])
            .fold((0.0, 0.0), |(n, sum), effect| (n + 1.0, sum + effect))
    };
    let ((n_low, of_low), (n_high, of_high)) = (at(|x| x < 0.2), at(|x| x > 0.8));
    assert!(of_high / n_high > of_low / n_low + 0.15, "{of_high} of {n_high}, {of_low} of {n_low}");
}

#[test]
fn another_outcome_among_the_features_is_refused_by_name() {
    let Trial { folder, table, .. } = trial();
    let config = folder.file("leak.toml", task(""));
    let out = folder.path("leaking");
    let refused = retain(&["train", "--config", &config, "--data", table, "--out", &out]).expect(5);
    refused.says("`bought` sets apart").says("`exclude` it").says("allow = [\"bought\"]");
    let found = retain(&["data", "leakage", "--config", &config, "--data", table, "--format", "json"]).expect(5).json();
    assert_eq!(
        (found["findings"][0]["code"].as_str(), found["findings"][0]["columns"][0].as_str()),
        (Some("leak_outcome"), Some("bought"))
    );
    let allowed = folder.file("allowed.toml", task("allow = [\"bought\"]"));
    retain(&["data", "leakage", "--config", &allowed, "--data", table]).expect(0);
}

#[test]
fn every_verb_knows_effects() {
    let Trial { folder, bundle, table } = trial();
    let config = folder.file("profile.toml", task(""));
    prints(&retain(&["data", "profile", "--config", &config, "--data", table]).expect(0), &["treatment"]);
    let evaluated = retain(&["evaluate", "--model", bundle, "--data", table, "--format", "json"]).expect(0).json();
    let treatments = evaluated["treatments"].as_array().unwrap();
    assert_eq!((treatments.len(), treatments[0]["treatment"].as_str()), (2, Some("call")));
    assert_eq!(evaluated["measurement"]["evaluation"]["kind"], "uplift");
    let explained = retain(&["explain", "--model", bundle, "--input", table, "--id", "c7"]).expect(0);
    prints(&explained, &["mail changes it by", "in the effect"]);
    let explained = retain(&["explain", "--model", bundle, "--input", table, "--id", "c7", "--format", "json"]).expect(0).json();
    let sum: f64 = explained["contributions"].as_array().unwrap().iter().map(|one| one["contribution"].as_f64().unwrap()).sum();
    assert!((explained["base_margin"].as_f64().unwrap() + sum - explained["margin"].as_f64().unwrap()).abs() < 1e-9);
    assert_eq!(explained["effects"].as_array().unwrap().len(), 2);
    let gate = folder.file("gate.toml", "[[floor]]\nmetric = \"qini\"\nmin = 0.0\n");
    prints(&retain(&["gate", "--config", &gate, "--model", bundle]).expect(0), &["qini"]);
    prints(&retain(&["gate", "--config", &gate, "--model", bundle, "--data", table]).expect(0), &["qini"]);
    let card = std::fs::read_to_string(std::path::Path::new(bundle).join("MODEL_CARD.md")).unwrap();
    for text in ["## Effects", "## Formulas", "y_t − y_c · t / c", "Above 0 is good", "Quality of `mail`", "gain of choosing"]
    {
        assert!(card.contains(text), "{text}");
    }
}
