use proptest::prelude::*;
use retain_eval::{
    BootstrapOptions, EvalError, Horizon, Labelled, Metric, calibration_table, compare, evaluate, kaplan_meier,
    survival_calibration_table, threshold_table,
};

use crate::simulate::{Simulator, row_numbers};

/// Actual value and prediction.
type ValueRow = (f64, f64);
/// Time, event and the survival at days 30, 90 and 200.
type SurvivalRow = (f64, bool, [f64; 3]);

const GRID: [f64; 3] = [30.0, 90.0, 200.0];

/// Tables of 1 to 60 rows, with ties, nothing, and amounts of all sizes.
fn value_tables() -> impl Strategy<Value = Vec<ValueRow>> {
    let amount =
        || prop_oneof![3 => (0_u8..=5).prop_map(f64::from), 3 => 0.0..=100.0, 1 => prop::sample::select(vec![0.0, 1e-9, 1e9])];
    prop::collection::vec((amount(), amount()), 1..60)
}

/// Tables of 1 to 60 rows, with ties of times among themselves and with the grid, and curves that fall to nothing or not at all.
fn survival_tables() -> impl Strategy<Value = Vec<SurvivalRow>> {
    let time = prop_oneof![prop::sample::select(vec![0.0, 1.0, 30.0, 90.0, 180.0, 200.0, 365.0]), 0.0..400.0];
    let share = || prop_oneof![prop::sample::select(vec![0.0, 0.5, 1.0]), 0.0..=1.0];
    let curve = (share(), share(), share()).prop_map(|(a, b, c)| [a, a * b, a * b * c]);
    prop::collection::vec((time, any::<bool>(), curve), 1..60)
}

fn values(rows: &[ValueRow]) -> Labelled {
    let (actual, expected): (Vec<f64>, Vec<f64>) = rows.iter().copied().unzip();
    let (low, high): (Vec<f64>, Vec<f64>) = expected.iter().map(|p| (p / 2.0, p * 2.0)).unzip();
    Labelled::values(&actual, &expected, Some((&low, &high)), &row_numbers(rows.len())).unwrap()
}

fn survival(rows: &[SurvivalRow]) -> Labelled {
    let times: Vec<f64> = rows.iter().map(|row| row.0).collect();
    let events: Vec<bool> = rows.iter().map(|row| row.1).collect();
    let curves: Vec<f64> = rows.iter().flat_map(|row| row.2).collect();
    Labelled::survival(&times, &events, &GRID, &curves, &row_numbers(rows.len())).unwrap()
}

fn all_of(rows: &Labelled) -> Vec<(Metric, Option<f64>)> {
    Metric::of_kind(rows.kind()).iter().map(|metric| (*metric, metric.measure(rows))).collect()
}

fn all_bits(rows: &Labelled) -> Vec<Option<u64>> {
    all_of(rows).into_iter().map(|(_, value)| value.map(f64::to_bits)).collect()
}

/// Rows written three times, and whether the metrics are those of the rows written once.
fn check_repeated(rows: &Labelled) -> Result<(), TestCaseError> {
    let thrice: Vec<usize> = (0..3 * rows.n_rows()).map(|position| position % rows.n_rows()).collect();
    for ((metric, once), (_, repeated)) in all_of(rows).into_iter().zip(all_of(&rows.subset(&thrice).unwrap())) {
        match (once, repeated) {
            // Its statistic counts rows, and says so.
            _ if metric == Metric::DCalibrationP => {}
            (Some(once), Some(repeated)) => {
                prop_assert!((once - repeated).abs() <= 1e-9 * once.abs().max(1.0), "{metric}: {once} {repeated}");
            }
            (once, repeated) => prop_assert_eq!(once, repeated, "{}", metric),
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_metric_of_values_depends_on_the_order_of_rows(
        (rows, shuffled) in value_tables().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))
    ) {
        prop_assert_eq!(all_bits(&values(&rows)), all_bits(&values(&shuffled)));
    }

    #[test]
    fn no_metric_of_survival_depends_on_the_order_of_rows(
        (rows, shuffled) in survival_tables().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))
    ) {
        prop_assert_eq!(all_bits(&survival(&rows)), all_bits(&survival(&shuffled)));
    }

    #[test]
    fn metrics_of_values_are_within_their_range(rows in value_tables()) {
        for (metric, value) in all_of(&values(&rows)) {
            let Some(value) = value else { continue };
            let range = match metric {
                Metric::NormalizedGini | Metric::Spearman => -1.0..=1.0,
                Metric::TopTenthValue | Metric::IntervalCoverage => 0.0..=1.0,
                Metric::TotalBias => -1.0..=f64::MAX,
                Metric::PoissonD2 => f64::MIN..=1.0,
                _ => 0.0..=f64::MAX,
            };
            prop_assert!(range.contains(&value), "{metric} is {value}");
        }
    }

    #[test]
    fn metrics_of_survival_are_within_their_range(rows in survival_tables()) {
        for (metric, value) in all_of(&survival(&rows)) {
            let Some(value) = value else { continue };
            let range = match metric {
                Metric::SurvivalBias(_) => -1.0..=1.0,
                // Weights by inverse probability need not add up to the rows.
                Metric::SurvivalBrier(_) | Metric::IntegratedBrier => 0.0..=f64::MAX,
                _ => 0.0..=1.0 + 1e-12,
            };
            prop_assert!(range.contains(&value), "{metric} is {value}");
        }
    }

    #[test]
    fn repeated_rows_weigh_as_one_each(values_rows in value_tables(), survival_rows in survival_tables()) {
        check_repeated(&values(&values_rows))?;
        check_repeated(&survival(&survival_rows))?;
    }

    #[test]
    fn a_perfect_prediction_has_the_best_value_of_every_metric(rows in value_tables()) {
        let perfect = values(&rows.iter().map(|(actual, _)| (*actual, *actual)).collect::<Vec<_>>());
        let one = [Metric::NormalizedGini, Metric::Spearman, Metric::PoissonD2, Metric::IntervalCoverage];
        for (metric, value) in all_of(&perfect) {
            let Some(value) = value else { continue };
            match metric {
                metric if one.contains(&metric) => prop_assert!((value - 1.0).abs() < 1e-9, "{metric} is {value}"),
                Metric::TopTenthValue => {
                    let other = metric.measure(&values(&rows)).unwrap();
                    prop_assert!(other <= value + 1e-9, "{metric}: {other} above {value}");
                }
                Metric::IntervalWidth => {}
                _ => prop_assert!(value.abs() < 1e-9, "{metric} is {value}"),
            }
        }
    }

    #[test]
    fn a_perfect_curve_has_the_best_score(rows in survival_tables()) {
        let known: Vec<SurvivalRow> = rows
            .iter()
            .map(|(time, event, _)| (*time, *event, GRID.map(|day| f64::from(u8::from(!event || *time > day)))))
            .collect();
        for metric in [Metric::SurvivalBrier(Horizon::Days30), Metric::SurvivalBrier(Horizon::Days90), Metric::IntegratedBrier] {
            if let Some(score) = metric.measure(&survival(&known)) {
                prop_assert!(score.abs() < 1e-12, "{metric} is {score}");
            }
        }
    }

    #[test]
    fn without_censoring_survival_is_a_binary_outcome(rows in survival_tables()) {
        let seen: Vec<SurvivalRow> = rows.iter().map(|(time, _, curve)| (*time, true, *curve)).collect();
        let target: Vec<f64> = seen.iter().map(|(time, ..)| f64::from(u8::from(*time <= 90.0))).collect();
        let risk: Vec<f64> = seen.iter().map(|(.., curve)| 1.0 - curve[1]).collect();
        let binary = Labelled::new(&target, &risk, &row_numbers(seen.len())).unwrap();
        let pairs = [
            (Metric::SurvivalBrier(Horizon::Days90), Metric::BrierScore),
            (Metric::SurvivalBias(Horizon::Days90), Metric::CalibrationInTheLarge),
            (Metric::SurvivalEce(Horizon::Days90), Metric::Ece10),
        ];
        for (of_survival, of_binary) in pairs {
            let (found, expected) = (of_survival.measure(&survival(&seen)).unwrap(), of_binary.measure(&binary).unwrap());
            prop_assert!((found - expected).abs() < 1e-9, "{of_survival}: {found}, {of_binary}: {expected}");
        }
    }
}

/// Customers of up to three rows, half of whom bring nothing; predictions know the mean.
fn simulated_values(n: usize) -> Labelled {
    let mut simulator = Simulator::new(31);
    let means: Vec<f64> = (0..n).map(|_| (simulator.normal() + 1.0).exp()).collect();
    let actual: Vec<f64> =
        means.iter().map(|mean| if simulator.uniform() < 0.5 { 0.0 } else { 2.0 * mean * -simulator.uniform().ln() }).collect();
    let group: Vec<u32> = (0..n as u32).map(|row| row / 3).collect();
    Labelled::values(&actual, &means, None, &group).unwrap()
}

/// Exponential times lost at random and at day 240; curves know the hazard.
fn simulated_survival(n: usize) -> Labelled {
    let mut simulator = Simulator::new(32);
    let grid: Vec<f64> = (1..=8).map(|month| 30.0 * f64::from(month)).collect();
    let (mut times, mut events, mut curves) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..n {
        let hazard = (0.8 * simulator.normal() - 5.0).exp();
        let event = (-simulator.uniform().ln() / hazard).ceil();
        let lost = (-300.0 * simulator.uniform().ln()).ceil().min(240.0);
        times.push(event.min(lost));
        events.push(event <= lost);
        curves.extend(grid.iter().map(|day| (-hazard * day).exp()));
    }
    Labelled::survival(&times, &events, &grid, &curves, &row_numbers(n)).unwrap()
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    for rows in [simulated_values(500), simulated_survival(300)] {
        let metrics = Metric::of_kind(rows.kind());
        let other = rows.with_predictions(&rows.predictions().iter().map(|p| p * 0.75).collect::<Vec<_>>()).unwrap();
        let with_threads = |n: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            let options = BootstrapOptions { resamples: 100, ..BootstrapOptions::default() };
            let both = pool.install(|| (evaluate(&rows, metrics, &options), compare(&rows, &other, metrics, &options)));
            (serde_json::to_string(&both.0).unwrap(), serde_json::to_string(&both.1.unwrap()).unwrap())
        };
        let evaluation = with_threads(1);
        assert_eq!(evaluation, with_threads(2));
        assert!(evaluation.0.starts_with(&format!("{{\"kind\":\"{}\"", rows.kind())), "{}", evaluation.0);
    }
}

#[test]
fn the_intervals_of_values_cover_their_truths() {
    // Values are exponential of mean 1, predictions 1.2 for all: bias 0.2, mean absolute error 1.2 + 2 exp(−1.2) − 1.
    let truths = [(Metric::TotalBias, 0.2), (Metric::Mae, 0.2 + 2.0 * (-1.2_f64).exp())];
    let (mut simulator, mut covered) = (Simulator::new(33), [0; 2]);
    for seed in 0..200 {
        let actual: Vec<f64> = (0..400).map(|_| -(1.0 - simulator.uniform()).ln()).collect();
        let rows = Labelled::values(&actual, &[1.2; 400], None, &row_numbers(400)).unwrap();
        let evaluation =
            evaluate(&rows, &truths.map(|(metric, _)| metric), &BootstrapOptions { seed, resamples: 200, confidence: 0.95 });
        for (count, (metric, truth)) in covered.iter_mut().zip(truths) {
            let measured = evaluation.get(metric).unwrap();
            *count += usize::from((measured.low..=measured.high).contains(&truth));
        }
    }
    // Of 200 intervals that cover 95 % of the time, 178 to 199 do in 999 of 1,000 runs.
    assert!(covered.iter().all(|count| (178..=199).contains(count)), "{covered:?}");
}

#[test]
fn true_curves_are_calibrated_and_better_than_kaplan_meier() {
    let rows = simulated_survival(4000);
    let value = |metric: Metric| metric.measure(&rows).unwrap();
    for horizon in Horizon::ALL {
        assert!(value(Metric::SurvivalBias(horizon)).abs() < 0.02 && value(Metric::SurvivalEce(horizon)) < 0.05);
    }
    assert!(value(Metric::DCalibrationP) > 0.01, "{}", value(Metric::DCalibrationP));
    assert!(value(Metric::UnoC) > 0.65, "{}", value(Metric::UnoC));
    // The same curve for everybody knows no order, and is calibrated in the large.
    let mut simulator = Simulator::new(34);
    let times: Vec<f64> = (0..4000).map(|_| (-150.0 * simulator.uniform().ln()).ceil()).collect();
    let grid: Vec<f64> = (1..=8).map(|month| 30.0 * f64::from(month)).collect();
    let curve = kaplan_meier(&times, &[true; 4000], &grid).unwrap();
    assert!(curve.windows(2).all(|pair| pair[1] < pair[0]));
    let baseline = rows.with_constant(&curve).unwrap();
    assert_eq!(Metric::UnoC.measure(&baseline), Some(0.5));
    let differences = compare(&rows, &baseline, &[Metric::IntegratedBrier, Metric::UnoC], &BootstrapOptions::default()).unwrap();
    assert!(differences.iter().all(|difference| difference.low > 0.0), "{differences:?}");
}

#[test]
fn tables_say_what_came_by_tenth() {
    let rows = simulated_values(3000);
    let table = calibration_table(&rows, 0.95);
    assert_eq!(table.iter().map(|bin| bin.n_rows).collect::<Vec<_>>(), [300; 10]);
    assert!(table.windows(2).all(|pair| pair[0].highest <= pair[1].lowest && pair[0].mean_prediction < pair[1].mean_prediction));
    let within = table.iter().filter(|bin| (bin.observed.low..=bin.observed.high).contains(&bin.mean_prediction)).count();
    assert!(within >= 7, "{table:?}");
    assert_eq!(table.iter().map(|bin| bin.n_positives as usize).sum::<usize>(), rows.n_positives());
    assert!(threshold_table(&rows).is_empty() && survival_calibration_table(&rows, 90.0, 0.95).is_empty());

    let rows = simulated_survival(3000);
    let table = survival_calibration_table(&rows, 90.0, 0.95);
    assert_eq!(table.iter().map(|bin| bin.n_rows).sum::<u64>(), 3000);
    let within = table.iter().filter(|bin| (bin.observed.low..=bin.observed.high).contains(&bin.mean_prediction)).count();
    assert!(within >= 7 && table.len() == 10, "{table:?}");
    assert_eq!(calibration_table(&rows, 0.95), survival_calibration_table(&rows, 240.0, 0.95));
    assert!(survival_calibration_table(&rows, 241.0, 0.95).is_empty());
    let wide = survival_calibration_table(&rows, 90.0, 0.999);
    assert!(
        wide.iter()
            .zip(&table)
            .all(|(wide, narrow)| wide.observed.high - wide.observed.low > narrow.observed.high - narrow.observed.low)
    );
}

#[test]
fn what_is_no_value_or_no_curve_is_refused_with_its_row() {
    let group = [0, 1];
    let error = |actual: &[f64], expected: &[f64], interval| Labelled::values(actual, expected, interval, &group).unwrap_err();
    assert_eq!(error(&[1.0], &[1.0], None), EvalError::Length { column: "group", found: 2, expected: 1 });
    assert_eq!(error(&[1.0, 2.0], &[1.0], None), EvalError::Length { column: "expected", found: 1, expected: 2 });
    let infinite = EvalError::Amount { row: 2, column: "expected", found: f64::INFINITY };
    assert_eq!(error(&[1.0, 2.0], &[1.0, f64::INFINITY], None), infinite);
    let upside_down = EvalError::Interval { row: 1, low: 2.0, high: 1.0 };
    assert_eq!(error(&[1.0, 2.0], &[1.0, 2.0], Some((&[2.0, 0.0], &[1.0, 0.0]))), upside_down);

    let error = |times: &[f64], grid: &[f64], curves: &[f64]| {
        Labelled::survival(times, &[true, false], grid, curves, &group).unwrap_err()
    };
    assert!(matches!(error(&[1.0, f64::NAN], &[1.0], &[0.5; 2]), EvalError::Time { row: 2, .. }));
    assert_eq!(error(&[1.0, 2.0], &[0.0], &[0.5; 2]), EvalError::Grid { position: 1, found: 0.0, before: 0.0 });
    assert_eq!(error(&[1.0, 2.0], &[1.0], &[0.5; 3]), EvalError::Length { column: "survival", found: 3, expected: 2 });
    let rising = EvalError::Survival { row: 2, day: 2.0, found: 0.6, before: 0.5 };
    assert_eq!(error(&[1.0, 2.0], &[1.0, 2.0], &[0.5, 0.5, 0.5, 0.6]), rising);
    assert_eq!(rising.to_string(), "row 2: survival at day 2 should lie within [0, 1] and not above 0.5, found `0.6`");
    let rows = Labelled::survival(&[1.0, 2.0], &[true, false], &[1.0, 2.0], &[0.5; 4], &group).unwrap();
    assert_eq!(rows.with_constant(&[0.5]).unwrap_err(), EvalError::Length { column: "prediction", found: 1, expected: 2 });
}

#[test]
fn extreme_amounts_give_finite_numbers_or_none() {
    let (huge, tiny) = (1e100, 1e-300);
    let rows = Labelled::values(&[tiny, 0.0, 0.0, -huge, huge], &[-huge, huge, 0.0, tiny, huge], None, &[0, 1, 2, 3, 4]).unwrap();
    for rows in [rows.subset(&[0, 1, 2]).unwrap(), rows] {
        let evaluation = evaluate(&rows, &Metric::OF_VALUES, &BootstrapOptions::default());
        let numbers = evaluation.metrics.iter().flat_map(|m| [m.value, m.low, m.high, m.standard_error]);
        assert!(evaluation.metrics.len() > 2 && numbers.into_iter().all(f64::is_finite), "{evaluation:?}");
        let bins = calibration_table(&rows, 0.95);
        assert!(bins.iter().all(|bin| bin.observed.low.is_finite() && bin.observed.high.is_finite()), "{bins:?}");
    }
    let error = Labelled::values(&[2.0 * huge], &[0.0], None, &[0]).unwrap_err();
    assert!(error.to_string().starts_with("row 1: `actual` should be a number within ±1e100, found `2"), "{error}");
}
