use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use retain_core::FeatureValue;
use retain_data::{SimulationOptions, Task, simulate, simulate_customers};
use retain_eval::Metric;
use retain_score::{FILES, Scorer};

use crate::train_to_serve::{TASK, read, trained};

fn learners(task: &str, learners: &str) -> Task {
    Task::parse(&format!("{task}[train]\nlearners = {learners}\n")).unwrap()
}

#[test]
fn the_model_beats_the_base_rate_and_comes_near_the_truth() {
    let simulated = simulate_customers(4_000, 21);
    let task = learners(TASK, r#"["logistic", "boosting"]"#);
    let trained = trained(&task, &read(&simulated.csv, &task));
    let measured = &trained.metrics.validation;
    let log_loss = measured.evaluation.get(Metric::LogLoss).unwrap();
    let baseline = measured.baseline.get(Metric::LogLoss).unwrap();
    // The expected log loss of whoever knows the truth.
    let entropy = |p: &f64| -(p * p.ln() + (1.0 - p) * (1.0 - p).ln());
    let best = simulated.probability.iter().map(entropy).sum::<f64>() / 4_000.0;
    assert!(log_loss.high < baseline.low, "{log_loss:?} against {baseline:?}");
    assert!(log_loss.value < best + 0.3 * (baseline.value - best), "{} of {best} to {}", log_loss.value, baseline.value);
    let ece = measured.evaluation.get(Metric::Ece10).unwrap();
    assert!(ece.low < 0.02, "{ece:?}");
}

#[test]
fn every_learner_stands_on_the_leaderboard_and_one_has_won() {
    let simulated = simulate_customers(700, 5);
    let task = Task::parse(TASK).unwrap();
    let trained = trained(&task, &read(&simulated.csv, &task));
    let names: BTreeSet<&str> = trained.metrics.leaderboard.iter().map(|row| row.learner.as_str()).collect();
    assert!(names.is_superset(&BTreeSet::from(["boosting", "forest", "logistic", "tree"])), "{names:?}");
    assert_eq!(trained.metrics.leaderboard.iter().filter(|row| row.is_winner).count(), 1);
    assert!(trained.metrics.leaderboard[0].is_winner, "the winner comes first");
    assert_eq!(trained.bundle.manifest.learner, trained.metrics.leaderboard[0].learner);
}

#[test]
fn labels_without_a_pattern_give_no_better_than_the_base_rate() {
    let simulated = simulate_customers(1_500, 8);
    // Every customer gets the label of another one.
    let mut lines: Vec<(String, String)> =
        simulated.csv.lines().map(|line| line.rsplit_once(',').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap()).collect();
    let labels: Vec<String> = lines[1..].iter().map(|(_, label)| label.clone()).collect();
    for (position, line) in lines[1..].iter_mut().enumerate() {
        line.1.clone_from(&labels[(position * 619 + 311) % labels.len()]);
    }
    let lines: Vec<String> = lines.iter().map(|(features, label)| format!("{features},{label}")).collect();
    let csv = lines.join("\n");
    let task = learners(TASK, r#"["logistic", "boosting"]"#);
    let trained = trained(&task, &read(&csv, &task));
    let auc = trained.metrics.validation.evaluation.get(Metric::RocAuc).unwrap();
    assert!(auc.low < 0.53 && auc.value < 0.57, "{auc:?}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_one_thread_and_with_two() {
    let simulated = simulate_customers(700, 3);
    let task = Task::parse(TASK).unwrap();
    let training = read(&simulated.csv, &task);
    let folder = tempfile::tempdir().unwrap();
    let run = |threads: usize| {
        let path = folder.path().join(threads.to_string());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| trained(&task, &training)).bundle.write(&path).unwrap();
        path
    };
    let (one, two) = (run(1), run(2));
    for file in FILES.iter().chain(&["manifest.json"]) {
        let bytes = |path: &Path| fs::read(path.join(file)).unwrap();
        assert_eq!(bytes(&one), bytes(&two), "{file}");
    }
}

#[test]
fn dated_rows_are_judged_on_a_later_block_and_score_with_their_own_dates() {
    let options = SimulationOptions { n_customers: 400, n_snapshots: 8, missing_share: 0.02, seed: 4 };
    let simulated = simulate(&options);
    let task = TASK.replace("[table]", "[table]\nobserved_at = \"snapshot\"");
    let task = learners(&task, r#"["logistic", "boosting"]"#);
    let training = read(&simulated.csv, &task);
    let trained = trained(&task, &training);
    let evaluation = &trained.metrics.validation.evaluation;
    assert!(evaluation.n_rows < training.dataset.n_rows() / 2, "only the last block judges");
    assert!(trained.metrics.validation.measured_on.contains("latest block"));
    assert!(evaluation.get(Metric::RocAuc).unwrap().low > 0.6);
    let schema = &trained.bundle.schema;
    let signup = &schema.features[schema.feature_idx("signup_date").unwrap()];
    let observed = retain_core::Day::parse("2024-06-01").ok();
    assert_eq!(signup.encode(FeatureValue::Text("2024-05-02"), observed).unwrap().0, 30.0);
}

#[test]
fn a_direction_that_was_asked_for_is_kept() {
    let simulated = simulate_customers(1_200, 6);
    let task = format!("{TASK}[columns.support_calls]\nkind = \"number\"\nmonotone = \"decreasing\"\n");
    let task = Task::parse(&task).unwrap();
    let trained = trained(&task, &read(&simulated.csv, &task));
    assert!(trained.warnings.iter().any(|warning| warning.contains("`forest` cannot keep monotone constraints")));
    let bundle = trained.bundle;
    let calls = bundle.schema.feature_idx("support_calls").unwrap();
    let scorer = Scorer::new(bundle.manifest, bundle.schema, &bundle.model).unwrap();
    for check_row in &bundle.check_rows.rows {
        let mut row = check_row.encode(scorer.schema()).unwrap();
        let margins: Vec<f64> = (0..12)
            .map(|number| {
                row[calls] = f64::from(number);
                scorer.predict(&row).margin
            })
            .collect();
        assert!(margins.is_sorted_by(|a, b| a >= b), "{margins:?}");
    }
}

#[test]
fn a_column_that_knows_the_answer_is_pointed_at() {
    let simulated = simulate_customers(800, 9);
    let with_leak = |(position, line): (usize, &str)| match position {
        0 => format!("refund,{line}"),
        _ => format!("{},{line}", if line.ends_with(",yes") { "17.5" } else { "0" }),
    };
    let csv = simulated.csv.lines().enumerate().map(with_leak).collect::<Vec<_>>().join("\n");
    let task = learners(TASK, r#"["logistic"]"#);
    let trained = trained(&task, &read(&csv, &task));
    assert!(trained.warnings.iter().any(|warning| warning.contains("too good to be true") && warning.contains("`refund`")));
    assert!(trained.bundle.manifest.warnings.iter().any(|warning| warning.contains("`refund`")));
}
