//! Survival, value and engagement models through the whole process: what `score` writes, and that the other verbs know the kind.

use std::fmt::Write;
use std::sync::OnceLock;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::support::{Folder, column, columns, retain, trained};

/// A small model of a kind, and the table it was trained on.
struct Trial {
    folder: Folder,
    bundle: String,
    table: String,
}

impl Trial {
    fn train(kind: &str, table_section: &str, csv: String) -> Self {
        let folder = Folder::new();
        let task = format!(
            "[task]\nname = \"of-a-kind\"\nkind = \"{kind}\"\ndefinition = \"made up\"\nhorizon_days = 90\n\
             [table]\nentity = \"id\"\n{table_section}\n[train]\nlearners = [\"logistic\"]\nbudget_seconds = 600\n"
        );
        let (config, table) = (folder.file("task.toml", task), folder.file("table.csv", csv));
        let bundle = folder.path("model");
        retain(&["train", "--config", &config, "--data", &table, "--out", &bundle]).expect(0);
        Self { folder, bundle, table }
    }

    fn score(&self, name: &str, more: &[&str]) -> String {
        let scores = self.folder.path(name);
        let mut arguments = vec!["score", "--model", &self.bundle, "--input", &self.table, "--output", &scores];
        arguments.extend(more);
        retain(&arguments).expect(0);
        scores
    }
}

/// Customers who use little leave early, for the price or the service; `age` is how many months they have been there today.
fn survival() -> &'static Trial {
    static MODEL: OnceLock<Trial> = OnceLock::new();
    MODEL.get_or_init(|| {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut csv = "id,usage,age,months,status\n".to_owned();
        for row in 0..900 {
            let usage: f64 = rng.random();
            let lost_after = rng.random_range(4..=12);
            let (mut months, mut status) = (lost_after, "active");
            for month in 1..=lost_after {
                if rng.random_bool(0.3 - 0.28 * usage) {
                    (months, status) = (month, if rng.random_bool(0.7) { "price" } else { "service" });
                    break;
                }
            }
            writeln!(csv, "c{row},{usage:.3},{},{months},{status}", row % 20).unwrap();
        }
        let roles = "target = \"status\"\npositive = [\"price\", \"service\"]\nduration = \"months\"\nexclude = [\"age\"]";
        Trial::train("survival", roles, csv)
    })
}

/// Customers whose amounts grow with their use; three in ten spend or do nothing.
fn amounts(kind: &str) -> Trial {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
    let mut csv = "id,usage,before,amount\n".to_owned();
    for row in 0..600 {
        let usage: f64 = rng.random();
        let mean = (1.0 + 2.0 * usage).exp();
        let amount = if rng.random_bool(0.3) { 0.0 } else { mean * rng.random_range(0.5..1.5) };
        writeln!(csv, "c{row},{usage:.3},{:.1},{amount:.2}", mean * rng.random_range(0.3..2.0)).unwrap();
    }
    Trial::train(kind, "target = \"amount\"\npast = \"before\"", csv)
}

fn names(path: &str) -> Vec<String> {
    columns(path).into_iter().map(|(name, _)| name).collect()
}

fn numbers(path: &str, name: &str) -> Vec<f64> {
    column(path, name).iter().map(|text| text.parse().unwrap()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn survival_scores_are_a_probability_and_with_details_the_curve() {
    let scores = survival().score("scores.csv", &[]);
    assert_eq!(names(&scores), ["id", "probability"]);
    let details = survival().score("details.csv", &["--details", "--explain", "1"]);
    let curve =
        ["median_days", "restricted_mean_days", "survival_30", "survival_60", "survival_90", "survival_180", "survival_365"];
    let causes = ["probability_price", "probability_service"];
    let expected: Vec<&str> = ["id", "probability"].into_iter().chain(curve).chain(causes).chain(["band", "reason_1"]).collect();
    assert_eq!(names(&details), expected);
    assert_eq!(column(&details, "probability"), column(&scores, "probability"));
    let probability = numbers(&details, "probability");
    let by_cause = numbers(&details, "probability_price").into_iter().zip(numbers(&details, "probability_service"));
    for (whole, (price, service)) in probability.iter().zip(by_cause) {
        assert!((whole - price - service).abs() < 1e-9 && price > service, "{whole} {price} {service}");
    }
    // Three months of 30.4 days are a little more than the 90 days that the column tells.
    for (leaves, stays) in probability.iter().zip(numbers(&details, "survival_90")) {
        assert!(stays >= 1.0 - leaves && stays - (1.0 - leaves) < 0.02, "{leaves} {stays}");
    }
    let median = column(&details, "median_days");
    assert!(median.iter().any(String::is_empty) && median.iter().any(|days| !days.is_empty()), "some never reach it");
}

#[test]
fn customers_who_came_so_far_are_asked_of_what_is_left() {
    let whole = numbers(&survival().score("whole.csv", &[]), "probability");
    let rest = survival().score("rest.csv", &["--elapsed", "age", "--details"]);
    let probability = numbers(&rest, "probability");
    // The customers of age 0 are those of every twentieth row.
    assert!((0..900).step_by(20).all(|row| probability[row] == whole[row]));
    assert_ne!(probability[1], whole[1]);
    assert!(probability.iter().all(|p| (0.0..=1.0).contains(p)));
    // At 19 months nothing was seen any more but the last hazard: no share half a year on.
    assert!(column(&rest, "survival_180")[19].is_empty() && !column(&rest, "survival_90")[19].is_empty());
    let model = survival();
    let out = model.folder.path("no.csv");
    let score = |model: &str, table: &str, column: &str| {
        retain(&["score", "--model", model, "--input", table, "--output", &out, "--elapsed", column])
    };
    score(&model.bundle, &model.table, "ages").expect(5).says("`age`");
    score(&trained().model, &trained().holdout, "tenure_months").expect(2).says("`--elapsed` is for survival models");
    let bad = model.folder.file("bad.csv", "id,usage,age\nx,0.5,-1\ny,0.5,2\n");
    score(&model.bundle, &bad, "age").expect(5).says("row 1: column `age` should be a duration of 0 or more, found `-1`");
    assert_eq!(column(&out, "probability").iter().filter(|text| text.is_empty()).count(), 1);
}

#[test]
fn the_other_verbs_know_a_survival_model() {
    let Trial { folder, bundle: model, table } = survival();
    let evaluated = retain(&["evaluate", "--format", "json", "--model", model, "--data", table]).expect(0).json();
    let metrics = evaluated["measurement"]["evaluation"]["metrics"].as_array().unwrap();
    let value = |name: &str| metrics.iter().find(|m| m["metric"] == name).unwrap()["value"].as_f64().unwrap();
    assert!(value("uno_c") > 0.6 && value("survival_bias_90d").abs() < 0.05 && value("integrated_brier") < 0.25);
    let gate = folder.file(
        "gate.toml",
        "[[floor]]\nmetric = \"uno_c\"\nmin = 0.55\n[[beats]]\nbaseline = \"base_rate\"\nmetric = \"integrated_brier\"\n\
         [[non_inferiority]]\nmetric = \"integrated_brier\"\nmargin = 0.01\n",
    );
    retain(&["gate", "--config", &gate, "--model", model, "--champion", model, "--data", table]).expect(0);
    let explained = retain(&["explain", "--model", model, "--input", table, "--id", "c7"]).expect(0);
    assert!(explained.stdout.contains("survival within 90 days") && explained.stdout.contains("mean log-odds of leaving"));
    retain(&["models", "show", model]).expect(0);
}

#[test]
fn amounts_are_scored_with_their_limits_and_the_chance_that_the_kind_asks_for() {
    for (kind, share) in [("ltv", 0.7), ("engagement", 0.3)] {
        let model = amounts(kind);
        let scores = model.score("scores.csv", &[]);
        let names_of_amounts = ["id", "probability", "expected_value", "low", "high"];
        assert_eq!(names(&scores), names_of_amounts, "{kind}");
        // The chance of any value, and the chance of no activity.
        assert!((mean(&numbers(&scores, "probability")) - share).abs() < 0.03, "{kind}");
        let (expected, low, high) = (numbers(&scores, "expected_value"), numbers(&scores, "low"), numbers(&scores, "high"));
        assert!(expected.iter().zip(&low).zip(&high).all(|((expected, low), high)| low <= high && *expected >= 0.0));
        assert!((mean(&expected) / mean(&numbers(&model.table, "amount")) - 1.0).abs() < 0.1, "{kind}");
        let details = model.score("details.csv", &["--details"]);
        let bands = column(&details, "band");
        let mean_of = |band: &str| {
            mean(&expected.iter().zip(&bands).filter(|(_, of)| *of == band).map(|(value, _)| *value).collect::<Vec<_>>())
        };
        assert!(mean_of("low") < mean_of("medium") && mean_of("medium") < mean_of("high"), "{kind}");
        assert!(names(&details).contains(&"decline_probability".to_owned()), "the task names what was before");
        let evaluated = retain(&["evaluate", "--model", &model.bundle, "--data", &model.table]).expect(0).stdout;
        assert!(evaluated.contains("normalized_gini") && evaluated.contains("chance of any amount"), "{evaluated}");
        let explained = retain(&["explain", "--model", &model.bundle, "--input", &model.table, "--id", "c7"]).expect(0).stdout;
        assert!(explained.contains("expected ") && explained.contains("in the logarithm of the expected amount"), "{explained}");
    }
}

#[test]
fn churn_has_the_columns_it_always_had_and_a_band_on_request() {
    let model = survival();
    let scores = model.folder.path("churn.csv");
    let score = |more: &[&str]| {
        let mut arguments = vec!["score", "--model", &trained().model, "--input", &trained().holdout, "--output", &scores];
        arguments.extend(more);
        retain(&arguments).expect(0);
        names(&scores)
    };
    assert_eq!(score(&[]), ["customer_id", "probability"]);
    assert_eq!(score(&["--details"]), ["customer_id", "probability", "band"]);
}

#[test]
fn tables_that_no_model_of_the_kind_can_be_learned_from_end_with_5_and_leave_nothing() {
    let folder = Folder::new();
    let out = folder.path("model");
    let refuse = |kind: &str, roles: &str, csv: String, says: &[&str]| {
        let task = format!(
            "[task]\nname = \"refused\"\nkind = \"{kind}\"\ndefinition = \"made up\"\nhorizon_days = 90\n\
             [table]\nentity = \"id\"\n{roles}\n[train]\nlearners = [\"logistic\"]\n"
        );
        let (config, table) = (folder.file("refused.toml", task), folder.file("refused.csv", csv));
        let run = retain(&["train", "--config", &config, "--data", &table, "--out", &out]).expect(5);
        says.iter().fold(run, |run, text| run.says(text));
        assert!(!std::path::Path::new(&out).exists(), "{kind} {roles}");
    };
    let rows = |header: &str, row: &dyn Fn(usize) -> String| (0..400).fold(header.to_owned(), |csv, at| csv + &row(at));
    let followed = |months: &dyn Fn(usize) -> String| {
        rows("id,usage,months,status\n", &|at| {
            format!("c{at},{},{},{}\n", at * 7919 % 101, months(at), ["stays", "left"][at / 3 % 2])
        })
    };
    let survival = "target = \"status\"\npositive = \"left\"\nduration = \"months\"";
    refuse("survival", survival, followed(&|_| "0".into()), &["all durations of the 400 rows are 0"]);
    refuse("survival", survival, followed(&|at| (at % 2).to_string()), &["90 days", "30 days", "lower `horizon_days`"]);
    let gap = |at: usize| if at == 4 { String::new() } else { (at % 9).to_string() };
    refuse("survival", survival, followed(&gap), &["row 5: column `months`", "found nothing", "remove their rows"]);
    let spent = |past: &dyn Fn(usize) -> &'static str, most: &str| {
        rows("id,usage,before,amount\n", &|at| {
            let amount = if at == 9 { most.to_owned() } else { (at * 31 % 97).to_string() };
            format!("c{at},{},{},{amount}\n", at * 7919 % 101, past(at))
        })
    };
    let amount = "target = \"amount\"\npast = \"before\"";
    refuse("ltv", amount, spent(&|at| ["few", "many"][at % 2], "3"), &["column `before` should be a number", "`few`"]);
    refuse("engagement", amount, spent(&|at| ["1", "2"][at % 2], "1e300"), &["`c9`", "1e15", "hint: "]);
}
