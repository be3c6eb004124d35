use retain_eval::{BootstrapOptions, Labelled, Metric, compare, evaluate, evaluate_base_rate};

use crate::simulate::{Simulator, log_odds, row_numbers, sigmoid};

const TABLES: usize = 400;

fn options(seed: usize) -> BootstrapOptions {
    BootstrapOptions { resamples: 200, confidence: 0.95, seed: seed as u64 }
}

/// Of 400 intervals that cover 95 % of the time, 369 to 391 cover in 99.5 % of runs; 200 resamples cost a little more.
#[track_caller]
fn assert_covers(what: &str, covered: usize) {
    assert!((364..=394).contains(&covered), "{what}: {covered} of {TABLES} intervals cover the truth");
}

#[test]
fn the_interval_of_the_area_covers_it() {
    // Positives are N(1, 1), negatives N(0, 1): the area is Φ(1/√2).
    let truth = 0.760_249_938_906_523_7;
    let mut simulator = Simulator::new(11);
    let covered = (0..TABLES).filter(|table| {
        let target: Vec<f64> = (0..250).map(|_| f64::from(u8::from(simulator.uniform() < 0.3))).collect();
        let probability: Vec<f64> = target.iter().map(|label| sigmoid(simulator.normal() + label)).collect();
        let rows = Labelled::new(&target, &probability, &row_numbers(250)).unwrap();
        let area = evaluate(&rows, &[Metric::RocAuc], &options(*table)).metrics[0];
        (area.low..=area.high).contains(&truth)
    });
    assert_covers("roc_auc", covered.count());
}

#[test]
fn intervals_that_depend_on_the_base_rate_cover_too() {
    // p = u² for uniform u: mean log loss ∫ H(u²) du and mean Brier score ∫ u² (1 − u²) du = 1/3 − 1/5. Drawing positives and
    // negatives apart would cover calibration in the large about 7 times in 10.
    let entropy = |p: f64| -p * p.ln() - (1.0 - p) * (-p).ln_1p();
    let log_loss = (0..100_000).map(|i| entropy(((f64::from(i) + 0.5) / 1e5).powi(2))).sum::<f64>() / 1e5;
    let truths = [(Metric::CalibrationInTheLarge, 0.0), (Metric::LogLoss, log_loss), (Metric::BrierScore, 1.0 / 3.0 - 0.2)];
    let metrics = truths.map(|(metric, _)| metric);
    let mut covered = [0; 3];
    let mut simulator = Simulator::new(12);
    for table in 0..TABLES {
        let chances: Vec<f64> = (0..500).map(|_| simulator.uniform().powi(2)).collect();
        let rows = simulator.rows(&chances, |_, truth| truth);
        let evaluation = evaluate(&rows, &metrics, &options(table));
        for (count, (metric, truth)) in covered.iter_mut().zip(truths) {
            let measured = evaluation.get(metric).unwrap();
            *count += usize::from((measured.low..=measured.high).contains(&truth));
        }
    }
    truths.iter().zip(covered).for_each(|((metric, _), count)| assert_covers(metric.name(), count));
}

#[test]
fn the_difference_of_two_models_covers_its_truth() {
    // Outcomes follow p uniform on [0, 1]; the one model predicts p, the other ½: Brier scores 1/6 and 1/4.
    let mut simulator = Simulator::new(13);
    let covered = (0..TABLES).filter(|table| {
        let truths: Vec<f64> = (0..200).map(|_| simulator.uniform()).collect();
        let new = simulator.rows(&truths, |_, truth| truth);
        let champion = new.with_predictions(&[0.5; 200]).unwrap();
        let difference = compare(&new, &champion, &[Metric::BrierScore], &options(*table)).unwrap()[0];
        (difference.low..=difference.high).contains(&(1.0 / 12.0))
    });
    assert_covers("brier_score difference", covered.count());
}

#[test]
fn rows_of_one_customer_are_not_independent_evidence() {
    let mut simulator = Simulator::new(14);
    let truths = simulator.truths(200);
    let once = simulator.rows(&truths, |_, truth| truth);
    // The same 200 customers with nine rows each say no more than with one.
    let nine_times: Vec<usize> = (0..1800).map(|position| position % 200).collect();
    let repeated = once.subset(&nine_times).unwrap();
    let error = |rows: &Labelled| evaluate(rows, &[Metric::LogLoss], &BootstrapOptions::default()).metrics[0].standard_error;
    assert_eq!((repeated.n_rows(), repeated.n_groups()), (1800, 200));
    assert!((error(&repeated) / error(&once) - 1.0).abs() < 1e-9, "{} {}", error(&repeated), error(&once));
}

#[test]
fn the_interval_of_the_calibration_error_is_not_moved_up_by_noise() {
    // All log-odds 0.4 too high. Percentiles as they stand cover the error 3 times in 4; both figures are of 200 tables.
    let too_high = |_: &mut Simulator, truth: f64| sigmoid(log_odds(truth) + 0.4);
    let mut simulator = Simulator::new(15);
    let truths = simulator.truths(400_000);
    let truth = Metric::Ece10.measure(&simulator.rows(&truths, too_high)).unwrap();
    let mut covered = 0;
    for table in 0..200 {
        let truths = simulator.truths(400);
        let error = evaluate(&simulator.rows(&truths, too_high), &[Metric::Ece10], &options(table)).metrics[0];
        assert!(error.low >= 0.0 && error.low <= error.value && error.value <= error.high, "{error:?}");
        covered += usize::from((error.low..=error.high).contains(&truth));
    }
    assert!((163..=198).contains(&covered), "{covered} of 200 intervals cover {truth}");
}

#[test]
fn differences_are_positive_where_the_new_model_is_better() {
    let mut simulator = Simulator::new(16);
    let truths = simulator.truths(2000);
    let good = simulator.rows(&truths, |_, truth| truth);
    let noisy: Vec<f64> = truths.iter().map(|truth| sigmoid(2.0 * log_odds(*truth) + simulator.normal())).collect();
    let bad = good.with_predictions(&noisy).unwrap();
    for difference in compare(&good, &bad, &Metric::ALL, &BootstrapOptions::default()).unwrap() {
        assert!(difference.value > 0.0, "{difference:?}");
        assert!(difference.low <= difference.value && difference.value <= difference.high, "{difference:?}");
    }
    assert_eq!(
        compare(&good, &good.subset(&[0, 1]).unwrap(), &Metric::ALL, &options(0)).unwrap_err().to_string(),
        "the two models were measured on different rows"
    );
}

#[test]
fn the_base_rate_knows_nothing() {
    let mut simulator = Simulator::new(17);
    let truths = simulator.truths(1000);
    let rows = simulator.rows(&truths, |_, truth| truth);
    let baseline = evaluate_base_rate(&rows, 0.2, &Metric::ALL, &options(0)).unwrap();
    let value = |metric| baseline.get(metric).map(|measured| measured.value);
    assert_eq!((value(Metric::RocAuc), value(Metric::LiftAt10), value(Metric::CalibrationSlope)), (Some(0.5), Some(1.0), None));
    assert!(value(Metric::BrierSkill).unwrap() <= 0.0);
    assert!(evaluate_base_rate(&rows, 1.2, &Metric::ALL, &options(0)).is_err());
}
