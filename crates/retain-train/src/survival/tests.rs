//! Whole runs on customers whose hazards are planted, and on tables that no model can be learned from.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_data::{TableSource, Task, Training, read_training};
use retain_eval::Metric;
use retain_score::{Model, Predictor, sigmoid};

use crate::train::{Preference, TrainError, TrainOptions, Trained, train};

const MONTH: f64 = 365.25 / 12.0;
const N_MONTHS: usize = 12;

/// A customer's chances of leaving in a month for the price and for the service: usage protects from one, tickets lead to the other.
fn true_hazards(usage: f64, tickets: f64, month: usize) -> [f64; 2] {
    let early = if month < 3 { 0.8 } else { 0.0 };
    [sigmoid(-2.6 - 0.9 * usage + early), sigmoid(-3.4 + 0.8 * tickets)]
}

/// The true share still there after each month, and the shares that have left for each reason by then.
fn truth(usage: f64, tickets: f64) -> Vec<(f64, [f64; 2])> {
    let (mut stays, mut left) = (1.0, [0.0; 2]);
    (0..N_MONTHS)
        .map(|month| {
            let hazards = true_hazards(usage, tickets, month);
            left = [left[0] + stays * hazards[0], left[1] + stays * hazards[1]];
            stays *= 1.0 - hazards[0] - hazards[1];
            (stays, left)
        })
        .collect()
}

/// A table of customers, most of whom are lost sight of after a random number of months.
fn customers(n_rows: usize, seed: u64) -> String {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut csv = "id,usage,tickets,months,status\n".to_owned();
    for row in 0..n_rows {
        let (usage, tickets) = (rng.random_range(-1.5..1.5), f64::from(rng.random_range(0_u8..4)) - 1.5);
        let lost_after = rng.random_range(3..=N_MONTHS);
        let mut outcome = (lost_after, "active");
        for month in 0..lost_after {
            let [price, service] = true_hazards(usage, tickets, month);
            let drawn: f64 = rng.random();
            if drawn < price + service {
                outcome = (month + 1, if drawn < price { "price" } else { "service" });
                break;
            }
        }
        writeln!(csv, "c{row},{usage:.4},{tickets},{},{}", outcome.0, outcome.1).unwrap();
    }
    csv
}

fn task(positive: &str, horizon_days: u32) -> Task {
    let text = format!(
        "[task]\nname = \"s\"\nkind = \"survival\"\ndefinition = \"left\"\nhorizon_days = {horizon_days}\n\
         [table]\nentity = \"id\"\ntarget = \"status\"\npositive = {positive}\nduration = \"months\"\n\
         [train]\nlearners = [\"logistic\"]\n"
    );
    Task::parse(&text).unwrap()
}

fn read(csv: &str, task: &Task) -> Result<Training, retain_data::DataError> {
    read_training(&TableSource::from_bytes("customers.csv", csv.as_bytes().to_vec()).unwrap(), task)
}

fn trained(csv: &str, task: &Task) -> Result<Trained, TrainError> {
    let training = read(csv, task).unwrap();
    let options = TrainOptions {
        seed: 3,
        started: Instant::now(),
        budget: Duration::from_mins(20),
        resamples: 30,
        prefer: Preference::Accurate,
    };
    train(task, &training.dataset, &training.report, None, &options, &|_, _, _| ())
}

#[test]
fn planted_hazards_of_two_ways_of_leaving_are_found() {
    let task = task("[\"price\", \"service\"]", 180);
    let trained = trained(&customers(4_000, 1), &task).unwrap();
    let Model::Hazard(hazard) = &trained.bundle.model else { panic!("no hazard") };
    assert_eq!((hazard.period_ends.len(), hazard.horizon_days), (N_MONTHS, 6.0 * MONTH));
    let predictor = Predictor::new(&trained.bundle.model, &trained.bundle.schema).unwrap();
    assert_eq!(predictor.causes(), ["price", "service"]);
    let (mut gaps, mut cause_gaps, mut n) = (0.0, 0.0, 0.0);
    for usage in [-1.2, -0.4, 0.4, 1.2] {
        for tickets in [-1.5, -0.5, 0.5, 1.5] {
            let curve = predictor.survival(&[usage, tickets], 0.0).unwrap();
            for (month, (stays, left)) in truth(usage, tickets).into_iter().enumerate() {
                let found = [curve.left_by_cause[0][month], curve.left_by_cause[1][month]];
                assert!((curve.survival[month] + found[0] + found[1] - 1.0).abs() < 1e-12);
                gaps += (curve.survival[month] - stays).abs();
                cause_gaps += (found[0] - left[0]).abs() + (found[1] - left[1]).abs();
                n += 1.0;
            }
        }
    }
    assert!(gaps / n < 0.025 && cause_gaps / n < 0.04, "{} {}", gaps / n, cause_gaps / n);
    let evaluation = &trained.metrics.validation;
    let better = |metric| evaluation.evaluation.get(metric).unwrap().value - evaluation.baseline.get(metric).unwrap().value;
    assert!(better(Metric::UnoC) > 0.1 && better(Metric::IntegratedBrier) < -0.01);
    assert_eq!(trained.metrics.baseline_prediction.len(), N_MONTHS);
    assert!(trained.bundle.card.contains("| Ways of leaving | price, service |"));
}

#[test]
fn what_is_left_of_the_curve_is_that_of_customers_who_came_so_far() {
    let trained = trained(&customers(4_000, 2), &task("[\"price\", \"service\"]", 90)).unwrap();
    let predictor = Predictor::new(&trained.bundle.model, &trained.bundle.schema).unwrap();
    let row = [-0.5, 0.5];
    let chances = truth(row[0], row[1]);
    let expected = 1.0 - chances[6].0 / chances[3].0;
    let found = predictor.predict_after(&row, 4.0 * MONTH).probability;
    assert!((found - expected).abs() < 0.05, "{found} instead of {expected}");
    // Early months are the risky ones: who came through them is safer.
    assert!(found < predictor.predict(&row).probability);
}

#[test]
fn the_number_of_threads_does_not_change_the_model() {
    let (csv, task) = (customers(600, 4), task("[\"price\", \"service\"]", 90));
    let with_threads = |n_threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| trained(&csv, &task).unwrap().bundle)
    };
    let (one, two) = (with_threads(1), with_threads(2));
    assert_eq!(one.model, two.model);
    assert_eq!(one.metrics, two.metrics);
}

#[test]
fn tables_without_an_answer_are_refused_in_words() {
    let csv = customers(400, 5);
    let message = |csv: &str, task: &Task| trained(csv, task).unwrap_err().to_string();
    let beyond = message(&csv, &task("[\"price\", \"service\"]", 720));
    assert!(beyond.contains("720 days") && beyond.contains("365 days"), "{beyond}");
    let few = csv.replacen(",price\n", ",moved\n", 3);
    let few = message(&few, &task("[\"price\", \"moved\"]", 90));
    assert!(few.contains("only 3 customers left as `moved`"), "{few}");
    let stopped: String =
        csv.lines().map(|line| line.rsplitn(3, ',').collect::<Vec<_>>()).fold(String::new(), |mut text, parts| {
            let months = if parts[1] == "months" { "months" } else { "0" };
            writeln!(text, "{},{months},{}", parts[2], parts[0]).unwrap();
            text
        });
    let stopped = message(&stopped, &task("[\"price\", \"service\"]", 90));
    assert!(stopped.contains("all durations") && stopped.contains("are 0"), "{stopped}");
    let one = csv.lines().map(|line| line.split_once(',').unwrap().1).fold(String::new(), |mut text, rest| {
        writeln!(text, "{},{rest}", if text.is_empty() { "id" } else { "same" }).unwrap();
        text
    });
    assert!(message(&one, &task("[\"price\", \"service\"]", 90)).contains("customer"));
}

#[test]
fn bad_durations_and_labels_are_refused_when_the_table_is_read() {
    let csv = customers(400, 6);
    let refused = |csv: &str| read(csv, &task("[\"price\", \"service\"]", 90)).unwrap_err().to_string();
    let first = csv.lines().nth(1).unwrap();
    let with_months = |months: &str| {
        let mut cells: Vec<&str> = first.split(',').collect();
        cells[3] = months;
        csv.replacen(first, &cells.join(","), 1)
    };
    for (months, says) in [("-2", "0 or more, found `-2`"), ("", "0 or more"), ("soon", "`soon`")] {
        let error = refused(&with_months(months));
        assert!(error.contains("column `months`") && error.contains(says), "{error}");
    }
    let nobody = csv.replace(",price\n", ",active\n").replace(",service\n", ",active\n");
    assert!(refused(&nobody).contains("price"));
    let everybody = csv.replace(",active\n", ",price\n");
    assert!(read(&everybody, &task("[\"price\", \"service\"]", 90)).is_ok(), "all leaving is no fault of a survival table");
}
