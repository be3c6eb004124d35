//! Whole runs on customers whose amounts are planted, and on tables that hardly have any.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_data::{TableSource, Task, Training, read_training};
use retain_eval::Metric;
use retain_score::{Model, Predictor, sigmoid};

use crate::train::{Preference, TrainError, TrainOptions, Trained, train};

/// Spread of the logarithm of an amount.
const SIGMA: f64 = 0.8;

/// The chance of buying, and the mean of the logarithm of what is bought.
fn truth(visits: f64, basket: f64) -> (f64, f64) {
    (sigmoid(-0.5 + 1.2 * visits), 3.0 + 0.7 * basket)
}

fn true_mean(visits: f64, basket: f64) -> f64 {
    let (chance, log) = truth(visits, basket);
    chance * (log + 0.5 * SIGMA * SIGMA).exp()
}

/// About a standard normal number.
fn normal(rng: &mut Xoshiro256PlusPlus) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

/// Customers who buy or do not, and spend log-normally if they do; `past` is the same window before.
fn customers(n_rows: usize, seed: u64) -> String {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut csv = "id,visits,basket,past,spend\n".to_owned();
    for row in 0..n_rows {
        let (visits, basket) = (rng.random_range(-1.5..1.5), rng.random_range(-1.5..1.5));
        let (chance, log) = truth(visits, basket);
        let mut drawn = || if rng.random_bool(chance) { (log + SIGMA * normal(&mut rng)).exp() } else { 0.0 };
        let (past, spend) = (drawn(), drawn());
        writeln!(csv, "c{row},{visits:.4},{basket:.4},{past:.2},{spend:.2}").unwrap();
    }
    csv
}

fn task(kind: &str, learners: &str, more: &str) -> Task {
    let text = format!(
        "[task]\nname = \"a\"\nkind = \"{kind}\"\ndefinition = \"spend\"\nhorizon_days = 90\n\
         [table]\nentity = \"id\"\ntarget = \"spend\"\n{more}\n[train]\nlearners = {learners}\n"
    );
    Task::parse(&text).unwrap()
}

fn read(csv: &str, task: &Task) -> Result<Training, retain_data::DataError> {
    read_training(&TableSource::from_bytes("customers.csv", csv.as_bytes().to_vec()).unwrap(), task)
}

fn trained_within(csv: &str, task: &Task, budget: Duration) -> Result<Trained, TrainError> {
    let training = read(csv, task).unwrap();
    let options = TrainOptions { seed: 3, started: Instant::now(), budget, resamples: 30, prefer: Preference::Accurate };
    train(task, &training.dataset, &training.report, None, &options, &|_, _, _| ())
}

fn trained(csv: &str, task: &Task) -> Result<Trained, TrainError> {
    trained_within(csv, task, Duration::from_mins(20))
}

fn value(trained: &Trained, metric: Metric) -> f64 {
    trained.metrics.validation.evaluation.get(metric).unwrap().value
}

/// Mean over a grid of `predicted / true mean − 1`, and of its absolute value.
fn errors(trained: &Trained) -> (f64, f64) {
    let predictor = Predictor::new(&trained.bundle.model, &trained.bundle.schema).unwrap();
    let grid = [-1.2, -0.6, 0.0, 0.6, 1.2];
    let error = |visits: f64, basket: f64| {
        let row: Vec<f64> = trained
            .bundle
            .schema
            .features
            .iter()
            .map(|feature| match feature.name.as_str() {
                "visits" => visits,
                "basket" => basket,
                _ => f64::NAN,
            })
            .collect();
        predictor.predict(&row).expected_value.unwrap() / true_mean(visits, basket) - 1.0
    };
    let errors: Vec<f64> = grid.iter().flat_map(|&visits| grid.iter().map(move |&basket| error(visits, basket))).collect();
    (errors.iter().sum::<f64>() / 25.0, errors.iter().map(|error| error.abs()).sum::<f64>() / 25.0)
}

#[test]
fn linear_parts_find_the_planted_mean_and_the_limits_hold() {
    let trained = trained(&customers(6_000, 1), &task("ltv", "[\"logistic\"]", "")).unwrap();
    let (bias, error) = errors(&trained);
    // The order of customers is what the blend was chosen by; the mean of each customer alone is met less exactly.
    assert!(bias.abs() < 0.1 && error < 0.3, "{bias} {error}");
    assert!(value(&trained, Metric::TotalBias).abs() < 0.01);
    assert!((value(&trained, Metric::IntervalCoverage) - 0.9).abs() < 0.015);
    let chance = &trained.metrics.heads[0];
    assert_eq!(chance.answer, "there is any amount");
    assert!(chance.measurement.evaluation.get(Metric::RocAuc).unwrap().value > 0.7);
    let Model::Amount(model) = &trained.bundle.model else { panic!("an amount") };
    assert!(model.decline.is_none() && model.value.interval.is_some());
}

#[test]
fn boosted_parts_do_too_and_the_blend_is_no_worse_than_its_members() {
    let trained = trained(&customers(3_000, 2), &task("ltv", "[\"logistic\", \"boosting\"]", "")).unwrap();
    let (bias, error) = errors(&trained);
    assert!(bias.abs() < 0.15 && error < 0.35, "{bias} {error}");
    let rows = &trained.metrics.leaderboard;
    assert!(rows.iter().any(|row| row.learner.starts_with("tweedie 1.8")), "{rows:?}");
    assert!(rows.iter().any(|row| row.learner.ends_with("with its own spread")));
    assert!(rows.is_sorted_by(|a, b| a.selection_loss <= b.selection_loss) && rows[0].is_winner);
    let blend = rows.iter().find(|row| row.learner == "blend");
    assert!(
        blend.is_none_or(|blend| blend.selection_loss < rows.iter().map(|row| row.selection_loss).fold(1.0, f64::min) + 0.005)
    );
}

#[test]
fn engagement_has_a_decline_and_stands_beside_the_past() {
    let trained = trained(&customers(3_000, 3), &task("engagement", "[\"logistic\"]", "past = \"past\"")).unwrap();
    assert_eq!(trained.metrics.validation.baseline_is, "the past, scaled");
    let of = |measurement: &crate::Measurement, metric| {
        [&measurement.evaluation, &measurement.baseline].map(|evaluation| evaluation.get(metric).unwrap().value)
    };
    let [model, past] = of(&trained.metrics.validation, Metric::Spearman);
    assert!(model > past + 0.02, "{model} {past}");
    let answers: Vec<&str> = trained.metrics.heads.iter().map(|head| head.answer.as_str()).collect();
    assert_eq!(answers, ["there is no activity", "the amount falls to 50 % of what it was, or less"]);
    for head in &trained.metrics.heads {
        let [model, baseline] = of(&head.measurement, Metric::RocAuc);
        assert!(model > baseline, "{}: {model} {baseline}", head.answer);
        assert!(of(&head.measurement, Metric::CalibrationInTheLarge)[0].abs() < 0.02);
    }
    let Model::Amount(model) = &trained.bundle.model else { panic!("an amount") };
    assert!(model.decline.is_some());
}

#[test]
fn dated_rows_are_judged_on_the_latest_block() {
    let mut csv = customers(3_000, 4).replace("id,visits", "day,id,visits");
    csv = csv
        .lines()
        .enumerate()
        .map(|(at, line)| match at {
            0 => format!("{line}\n"),
            _ => format!("2024-{:02}-01,{line}\n", 1 + at % 12),
        })
        .collect();
    let task = task("ltv", "[\"logistic\"]", "observed_at = \"day\"\npast = \"past\"");
    let trained = trained(&csv, &task).unwrap();
    assert!(trained.metrics.validation.measured_on.starts_with("the latest block"));
    assert!(value(&trained, Metric::TotalBias).abs() < 0.15 && (value(&trained, Metric::IntervalCoverage) - 0.9).abs() < 0.05);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let (csv, task) = (customers(1_500, 5), task("ltv", "[\"logistic\", \"boosting\"]", "past = \"past\""));
    let [first, second] = [1, 2].map(|n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| trained(&csv, &task).unwrap().bundle)
    });
    assert_eq!(first.model, second.model);
    assert_eq!(first.metrics, second.metrics);
    assert_eq!(first.card, second.card);
}

/// A table of one feature with these amounts.
fn table(amounts: impl Iterator<Item = String>) -> String {
    let mut csv = "id,x,spend\n".to_owned();
    for (row, amount) in amounts.enumerate() {
        writeln!(csv, "c{row},{},{amount}", row * 7919 % 101).unwrap();
    }
    csv
}

fn check_finite(trained: &Trained) {
    let predictor = Predictor::new(&trained.bundle.model, &trained.bundle.schema).unwrap();
    for x in [f64::NAN, 0.0, 50.0, 1e300, -1e300] {
        let prediction = predictor.predict(&[x]);
        let (low, high) = prediction.limits.unwrap();
        let expected = prediction.expected_value.unwrap();
        assert!(expected.is_finite() && expected >= 0.0 && low <= high && high.is_finite(), "{prediction:?}");
        assert!((0.0..=1.0).contains(&prediction.probability));
    }
}

#[test]
fn amounts_of_next_to_nobody_and_of_everybody_make_models() {
    let both = task("ltv", "[\"logistic\", \"boosting\"]", "");
    let rare = |row: usize| if row.is_multiple_of(100) { format!("{}", 10 + row) } else { "0".to_owned() };
    check_finite(&trained(&table((0..12_000).map(rare)), &both).unwrap());
    let always = trained(&table((0..600).map(|row| format!("{}", 1 + row % 13))), &both).unwrap();
    check_finite(&always);
    assert!(always.metrics.heads.is_empty(), "nothing tells those with an amount from those without");
    let huge = |row: usize| format!("{}", if row.is_multiple_of(3) { 0.0 } else { 1e14 / (1.0 + row as f64).powi(4) });
    check_finite(&trained(&table((0..600).map(huge)), &both).unwrap());
}

#[test]
fn what_cannot_be_trained_says_so() {
    let linear = task("ltv", "[\"logistic\"]", "");
    let message = |csv: &str, task: &Task| trained(csv, task).unwrap_err().to_string();
    let too_large = table((0..200).map(|row| if row == 7 { "1e300".to_owned() } else { (row % 5).to_string() }));
    assert_eq!(message(&too_large, &linear), "`spend` of customer `c7` should be an amount from 0 to 1e15, found 1e300");
    let amounts = table((0..200).map(|row| (row % 5).to_string()));
    let only_tree = message(&amounts, &task("ltv", "[\"tree\"]", ""));
    assert!(only_tree.contains("none of the learners tree learns amounts"), "{only_tree}");
    let one_customer = amounts
        .lines()
        .map(|line| if line.starts_with('i') { line.to_owned() } else { format!("c{}", &line[line.find(',').unwrap()..]) });
    let one_customer = message(&one_customer.collect::<Vec<_>>().join("\n"), &linear);
    assert!(one_customer.contains('1'), "{one_customer}");
    let late = trained_within(&amounts, &linear, Duration::ZERO);
    assert!(matches!(late, Err(TrainError::OutOfTime { .. })), "{:?}", late.err());
    for amounts in [["0"; 3], ["5"; 3], ["-1", "2", "3"]] {
        let csv = table((0..300).map(|row| amounts[row % 3].to_owned()));
        let error = read(&csv, &linear).unwrap_err().to_string();
        assert!(error.contains("spend"), "{error}");
    }
}
