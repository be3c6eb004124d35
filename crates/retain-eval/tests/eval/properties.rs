use proptest::prelude::*;
use retain_eval::{BootstrapOptions, Labelled, Metric, compare, evaluate};

use crate::simulate::{Simulator, row_numbers};

/// Tables of 1 to 60 rows, with ties, certainties and tiny probabilities.
fn tables() -> impl Strategy<Value = Vec<(bool, f64)>> {
    let probability = prop_oneof![
        3 => (0_u8..=10).prop_map(|tenths| f64::from(tenths) / 10.0),
        3 => 0.0..=1.0,
        1 => prop::sample::select(vec![0.0, 1.0, 1e-300, 1e-17, 1.0 - 1e-16, f64::MIN_POSITIVE]),
    ];
    prop::collection::vec((any::<bool>(), probability), 1..60)
}

fn labelled(rows: &[(bool, f64)]) -> Labelled {
    let target: Vec<f64> = rows.iter().map(|(positive, _)| f64::from(u8::from(*positive))).collect();
    let probability: Vec<f64> = rows.iter().map(|(_, probability)| *probability).collect();
    Labelled::new(&target, &probability, &row_numbers(rows.len())).unwrap()
}

fn all_bits(labelled: &Labelled) -> Vec<Option<u64>> {
    Metric::ALL.iter().map(|metric| metric.measure(labelled).map(f64::to_bits)).collect()
}

proptest! {
    #[test]
    fn no_metric_depends_on_the_order_of_rows(
        (rows, shuffled) in tables().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))
    ) {
        prop_assert_eq!(all_bits(&labelled(&rows)), all_bits(&labelled(&shuffled)));
    }

    #[test]
    fn metrics_are_finite_and_within_their_range(rows in tables()) {
        let rows = labelled(&rows);
        for metric in Metric::ALL {
            let Some(value) = metric.measure(&rows) else { continue };
            let range = match metric {
                Metric::RocAuc | Metric::AveragePrecision | Metric::BrierScore | Metric::Ece10 => 0.0..=1.0,
                Metric::LogLoss => 0.0..=36.05,
                Metric::LiftAt10 => 0.0..=rows.n_rows() as f64 + 1e-9,
                Metric::CalibrationInTheLarge => -1.0..=1.0,
                _ => f64::MIN..=f64::MAX,
            };
            prop_assert!(range.contains(&value), "{metric} is {value}");
        }
    }

    #[test]
    fn ranking_metrics_see_the_order_alone(rows in tables()) {
        // Halving is exact, so rows that differ stay apart and ties stay ties.
        let halved: Vec<_> = rows.iter().map(|(positive, p)| (*positive, if *p > 1e-290 { p / 2.0 } else { *p })).collect();
        for metric in [Metric::RocAuc, Metric::AveragePrecision, Metric::LiftAt10] {
            prop_assert_eq!(metric.measure(&labelled(&rows)), metric.measure(&labelled(&halved)));
        }
    }

    #[test]
    fn swapping_the_classes_mirrors_the_area(rows in tables()) {
        let swapped: Vec<_> = rows.iter().map(|(positive, p)| (!positive, *p)).collect();
        let areas = [&rows, &swapped].map(|rows| Metric::RocAuc.measure(&labelled(rows)));
        if let [Some(area), Some(other)] = areas {
            prop_assert!((area + other - 1.0).abs() < 1e-15);
        }
    }

    #[test]
    fn log_loss_and_brier_score_are_least_at_the_observed_rate(positives in 1_usize..30, negatives in 1_usize..30, p in 0.0..=1.0) {
        let rate = positives as f64 / (positives + negatives) as f64;
        let constant = |p: f64| labelled(&[vec![(true, p); positives], vec![(false, p); negatives]].concat());
        for metric in [Metric::LogLoss, Metric::BrierScore] {
            prop_assert!(metric.measure(&constant(rate)).unwrap() <= metric.measure(&constant(p)).unwrap() + 1e-12);
        }
        prop_assert!(Metric::Ece10.measure(&constant(rate)).unwrap() < 1e-12);
    }

    #[test]
    fn recalibration_is_defined_unless_predictions_separate_the_classes(rows in tables()) {
        // Away from 0 and 1, where clipping would make ties.
        let rows: Vec<_> = rows.into_iter().map(|(positive, p)| (positive, p.clamp(1e-9, 1.0 - 1e-9))).collect();
        prop_assert_eq!(Metric::CalibrationSlope.measure(&labelled(&rows)).is_none(), is_separated(&rows));
    }

    #[test]
    fn recalibrated_predictions_have_slope_one_and_intercept_zero(rows in tables()) {
        let rows: Vec<_> = rows.into_iter().map(|(positive, p)| (positive, p.clamp(0.001, 0.999))).collect();
        let table = labelled(&rows);
        let fit = [Metric::CalibrationSlope, Metric::CalibrationIntercept].map(|metric| metric.measure(&table));
        if let [Some(slope), Some(intercept)] = fit {
            // A steep fit sends predictions to where a probability has no digits left.
            prop_assume!(slope.abs() < 2.0 && slope.abs() > 0.01 && intercept.abs() < 5.0);
            let again = |p: f64| 1.0 / (1.0 + (-(intercept + slope * (p / (1.0 - p)).ln())).exp());
            let again = labelled(&rows.iter().map(|(positive, p)| (*positive, again(*p))).collect::<Vec<_>>());
            prop_assert!((Metric::CalibrationSlope.measure(&again).unwrap() - 1.0).abs() < 1e-6);
            prop_assert!(Metric::CalibrationIntercept.measure(&again).unwrap().abs() < 1e-6);
            prop_assert!(Metric::CalibrationInTheLarge.measure(&again).unwrap().abs() < 1e-9);
        }
    }
}

/// Whether a threshold has all positives on one side and all negatives on the other, rows at it allowed on both.
fn is_separated(rows: &[(bool, f64)]) -> bool {
    let of = |class: bool| rows.iter().filter(move |(positive, _)| *positive == class).map(|(_, p)| *p);
    rows.iter().any(|(_, threshold)| {
        let above = |class| of(class).all(|p| p >= *threshold) && of(!class).all(|p| p <= *threshold);
        above(true) || above(false)
    })
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    let mut simulator = Simulator::new(3);
    let truths = simulator.truths(500);
    let new = simulator.rows(&truths, |_, truth| truth);
    let champion = new.with_predictions(&truths.iter().map(|truth| truth.sqrt()).collect::<Vec<_>>()).unwrap();
    let with_threads = |n: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        let options = BootstrapOptions { resamples: 150, ..BootstrapOptions::default() };
        let both = pool.install(|| (evaluate(&new, &Metric::ALL, &options), compare(&new, &champion, &Metric::ALL, &options)));
        (serde_json::to_string(&both.0).unwrap(), serde_json::to_string(&both.1.unwrap()).unwrap())
    };
    assert_eq!(with_threads(1), with_threads(2));
    assert_eq!(with_threads(1), with_threads(3));
}

#[test]
fn seeds_differ_and_repeat() {
    let mut simulator = Simulator::new(4);
    let truths = simulator.truths(300);
    let rows = simulator.rows(&truths, |_, truth| truth);
    let low = |seed| {
        let options = BootstrapOptions { seed, resamples: 100, ..BootstrapOptions::default() };
        evaluate(&rows, &[Metric::LogLoss], &options).metrics[0].low
    };
    assert_eq!(low(1), low(1));
    assert_ne!(low(1), low(2));
}

#[test]
fn an_evaluation_survives_json() {
    let mut simulator = Simulator::new(5);
    let truths = simulator.truths(200);
    let rows = simulator.rows(&truths, |_, truth| truth);
    let evaluation = evaluate(&rows, &Metric::ALL, &BootstrapOptions { resamples: 50, ..BootstrapOptions::default() });
    let text = serde_json::to_string(&evaluation).unwrap();
    assert_eq!(serde_json::from_str::<retain_eval::Evaluation>(&text).unwrap(), evaluation);
    assert!(text.contains("\"metric\":\"roc_auc\""), "{text}");
    assert!(serde_json::from_str::<retain_eval::Evaluation>(&text.replace("roc_auc", "rocauc")).is_err());
}

#[test]
fn options_out_of_bounds_are_held_within() {
    let rows = labelled(&[(true, 0.9), (false, 0.1), (true, 0.4), (false, 0.6)]);
    let options = BootstrapOptions { resamples: 0, confidence: f64::NAN, seed: 0 };
    let evaluation = evaluate(&rows, &[Metric::LogLoss], &options);
    assert_eq!((evaluation.resamples, evaluation.resamples_asked, evaluation.confidence), (1, 0, 0.5));
    assert_eq!(BootstrapOptions::default().resamples_for(1_000_000), 400);
    assert_eq!(BootstrapOptions::default().resamples_for(1_000_000_000), 200);
}
