use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Golden {
    sizes: Sizes,
    rates: Vec<Rates>,
    amounts: Vec<Amounts>,
}

#[derive(Deserialize)]
struct Sizes {
    rates: Vec<Size>,
    amounts: Vec<Size>,
}

#[derive(Deserialize)]
struct Size {
    #[serde(default)]
    base: f64,
    #[serde(default)]
    sd: f64,
    effect: f64,
    power: f64,
    alpha: f64,
    ratio: f64,
    n: f64,
}

#[derive(Deserialize)]
struct Rates {
    arms: Vec<(u64, u64)>,
    comparisons: Vec<Expected>,
    sample_ratio_p_value: f64,
}

#[derive(Deserialize)]
struct Expected {
    difference: f64,
    low: f64,
    high: f64,
    p_value: f64,
    adjusted_p_value: Option<f64>,
}

#[derive(Deserialize)]
struct Amounts {
    customer: Vec<u64>,
    arm: Vec<usize>,
    value: Vec<f64>,
    covariate: Option<Vec<f64>>,
    #[serde(flatten)]
    expected: Expected,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../tests/golden/experiment.json")).unwrap()
}

#[track_caller]
fn assert_near(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{found} is not {expected}");
}

#[track_caller]
fn assert_same(found: &Comparison, expected: &Expected) {
    assert_near(found.difference, expected.difference);
    assert_near(found.low, expected.low);
    assert_near(found.high, expected.high);
    assert_near(found.p_value, expected.p_value);
    assert_near(found.adjusted_p_value, expected.adjusted_p_value.unwrap_or(expected.p_value));
}

/// Rows of one customer each: so many positives of so many, arm by arm.
fn rate_rows(arms: &[(u64, u64)]) -> Vec<ExperimentRow> {
    let mut rows = Vec::new();
    for (arm, &(positives, n)) in arms.iter().enumerate() {
        for idx in 0..n {
            let outcome = f64::from(u8::from(idx < positives));
            rows.push(ExperimentRow { customer: rows.len() as u64, arm, outcome, covariate: None });
        }
    }
    rows
}

#[test]
fn sample_sizes_equal_statsmodels() {
    let check = |measure, size: &Size| {
        let treated = 1.0 / (1.0 + size.ratio);
        let shares = vec![1.0 - treated, treated];
        let design = Design { shares, alpha: size.alpha, power: size.power, ..Design::even(measure) };
        let plan = design.customers_for(size.effect, None).unwrap();
        assert_eq!(plan.customers[1], size.n.ceil() as u64);
        assert_eq!(plan.customers[0], (size.n * size.ratio).ceil() as u64);
        if size.effect > 0.0 {
            let found = design.detectable_effect(plan.total()).unwrap();
            assert!(found <= size.effect && found > 0.99 * size.effect, "{found} {}", size.effect);
        }
    };
    let sizes = golden().sizes;
    sizes.rates.iter().for_each(|size| check(Measure::Rate { base: size.base }, size));
    sizes.amounts.iter().for_each(|size| check(Measure::Amount { sd: size.sd }, size));
}

#[test]
fn a_covariate_saves_customers_and_more_arms_cost_them() {
    let design = Design::even(Measure::Amount { sd: 10.0 });
    let plain = design.customers_for(1.0, Some(100.0)).unwrap();
    assert_eq!((plain.total(), plain.days), (3140, Some(32)));
    let adjusted = Design { covariate_correlation: 0.7, ..design.clone() }.customers_for(1.0, None).unwrap();
    assert!((adjusted.total() as f64 / plain.total() as f64 - 0.51).abs() < 0.001);
    let three = Design { shares: vec![0.5, 0.3, 0.2], ..design.clone() }.customers_for(1.0, None).unwrap();
    // The arm of a fifth decides, at half of the level.
    let pair = Design { shares: vec![5.0 / 7.0, 2.0 / 7.0], alpha: 0.025, ..design }.customers_for(1.0, None).unwrap();
    assert!(three.customers[2].abs_diff(pair.customers[1]) <= 1 && three.customers[0].abs_diff(pair.customers[0]) <= 1);
}

#[test]
fn rates_equal_statsmodels() {
    for golden in golden().rates {
        let reading = read(&rate_rows(&golden.arms), &ReadOptions::even(golden.arms.len())).unwrap();
        assert_eq!(reading.method, Method::Newcombe);
        assert_near(reading.sample_ratio_p_value, golden.sample_ratio_p_value);
        assert_eq!(reading.comparisons.len(), golden.comparisons.len());
        reading.comparisons.iter().zip(&golden.comparisons).for_each(|(found, expected)| assert_same(found, expected));
    }
}

#[test]
fn a_later_gate_loses_players_by_day_7() {
    // cookie_cats: 8,502 of 44,700 players at gate 30 came back after a week, 8,279 of 45,489 at gate 40.
    let reading = read(&rate_rows(&[(8502, 44_700), (8279, 45_489)]), &ReadOptions::even(2)).unwrap();
    let comparison = &reading.comparisons[0];
    assert_eq!(format!("{:.2} {:.2}", 100.0 * reading.arms[0].mean, 100.0 * reading.arms[1].mean), "19.02 18.20");
    assert_eq!(format!("{:.2}", 100.0 * comparison.difference), "-0.82");
    assert_eq!(comparison.verdict, Verdict::Worse);
    let z = retain_eval::two_sided_z(1.0 - comparison.p_value);
    assert_eq!(format!("{z:.1}"), "3.2");
    assert!(!reading.has_sample_ratio_mismatch());
}

#[test]
fn amounts_equal_scipy_clustered_and_adjusted_too() {
    for golden in golden().amounts {
        let row = |idx: usize| ExperimentRow {
            customer: golden.customer[idx],
            arm: golden.arm[idx],
            outcome: golden.value[idx],
            covariate: golden.covariate.as_ref().map(|covariate| covariate[idx]),
        };
        let rows: Vec<ExperimentRow> = (0..golden.value.len()).map(row).collect();
        let reading = read(&rows, &ReadOptions::even(2)).unwrap();
        let expected = if golden.covariate.is_some() { Method::AdjustedWelch } else { Method::Welch };
        assert_eq!(reading.method, expected);
        assert_same(&reading.comparisons[0], &golden.expected);
    }
}

#[test]
fn verdicts_are_wrong_as_seldom_as_they_say_and_find_what_was_planned() {
    let design = Design::even(Measure::Rate { base: 0.2 });
    let n = design.customers_for(0.08, None).unwrap().customers[0];
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(8);
    let mut verdicts = |treated: f64| {
        let mut better = 0;
        for _ in 0..500 {
            let mut draw = |rate: f64| (0..n).filter(|_| generator.random::<f64>() < rate).count() as u64;
            let rows = rate_rows(&[(draw(0.2), n), (draw(treated), n)]);
            let reading = read(&rows, &ReadOptions::even(2)).unwrap();
            better += u32::from(reading.comparisons[0].verdict == Verdict::Better);
        }
        better
    };
    // 2.5 % of 500 and 80 % of 500, each with four standard errors.
    let (none, planned) = (verdicts(0.2), verdicts(0.28));
    assert!(none <= 26, "{none}");
    assert!((364..=436).contains(&planned), "{planned}");
}

#[test]
fn arms_of_wrong_size_get_no_verdict() {
    let reading = read(&rate_rows(&[(100, 1000), (300, 1200)]), &ReadOptions::even(2)).unwrap();
    assert!(reading.has_sample_ratio_mismatch());
    assert!(reading.comparisons[0].p_value < 1e-6);
    assert_eq!(reading.comparisons[0].verdict, Verdict::Inconclusive);
    let planned = ReadOptions { shares: vec![5.0 / 11.0, 6.0 / 11.0], ..ReadOptions::even(2) };
    let reading = read(&rate_rows(&[(100, 1000), (300, 1200)]), &planned).unwrap();
    assert_eq!(reading.comparisons[0].verdict, Verdict::Better);
}

#[test]
fn the_detectable_effect_is_the_planned_one() {
    let design = Design::even(Measure::Rate { base: 0.5 });
    let plan = design.customers_for(0.05, None).unwrap();
    let n = plan.customers[0];
    let reading = read(&rate_rows(&[(n / 2, n), (n / 2, n)]), &ReadOptions::even(2)).unwrap();
    assert!((reading.comparisons[0].detectable_effect - 0.05).abs() < 0.0005, "{:?}", reading.comparisons);
    assert_eq!(reading.comparisons[0].verdict, Verdict::Inconclusive);
}

#[test]
fn nothing_happening_is_survived() {
    for outcome in [0.0, 1.0, 7.0] {
        let row = |customer| ExperimentRow { customer, arm: (customer % 2) as usize, outcome, covariate: None };
        let reading = read(&(0..10).map(row).collect::<Vec<_>>(), &ReadOptions::even(2)).unwrap();
        assert_eq!((reading.comparisons[0].p_value, reading.comparisons[0].verdict), (1.0, Verdict::Inconclusive));
        assert!(reading.comparisons[0].low.is_finite());
    }
}

#[test]
fn hostile_rows_are_refused_with_their_place() {
    let check = |change: &dyn Fn(&mut Vec<ExperimentRow>), expected: &str| {
        let mut rows = rate_rows(&[(1, 2), (1, 2)]);
        change(&mut rows);
        assert_eq!(read(&rows, &ReadOptions::even(2)).unwrap_err().to_string(), expected);
    };
    check(&|rows| rows[2].outcome = f64::NAN, "row 2: the outcome should be a number between -1e100 and 1e100, found NaN");
    check(&|rows| rows[1].arm = 2, "row 1: the arm should be below 2, found 2");
    check(&|rows| rows[3].customer = 0, "row 3: customer 0 is in arm 1 and was in arm 0 before");
    check(&|rows| rows[3].covariate = Some(1.0), "row 3: should have a covariate as the first row has, or none as it has none");
    check(&|rows| rows.truncate(3), "arm 1 should have at least two customers, found 1");
    check(&Vec::clear, "arm 0 should have at least two customers, found 0");
    let options = ReadOptions { shares: vec![0.5, 0.6], ..ReadOptions::even(2) };
    assert_eq!(read(&[], &options), Err(ReadError::Shares));
    let options = ReadOptions { alpha: f64::NAN, ..ReadOptions::even(2) };
    assert!(matches!(read(&[], &options), Err(ReadError::Level { .. })));
}

#[test]
fn hostile_designs_are_refused() {
    let good = Design::even(Measure::Rate { base: 0.2 });
    let refused = |design: Design| design.customers_for(0.01, None).is_err() && design.detectable_effect(1000).is_err();
    for bad in [f64::NAN, 0.0, 1.0, -0.1, f64::INFINITY] {
        assert!(refused(Design { measure: Measure::Rate { base: bad }, ..good.clone() }));
        assert!(refused(Design { alpha: bad, ..good.clone() }) && refused(Design { power: bad, ..good.clone() }));
    }
    assert!(refused(Design { shares: vec![1.0], ..good.clone() }) && refused(Design { shares: vec![0.5; 3], ..good.clone() }));
    for effect in [0.0, f64::NAN, 0.9, -0.3] {
        assert!(good.customers_for(effect, None).is_err());
    }
    assert_eq!(good.customers_for(1e-9, None), Err(DesignError::TooManyCustomers));
    assert!(good.customers_for(0.01, Some(0.0)).is_err());
    assert_eq!(good.detectable_effect(2), Err(DesignError::TooManyCustomers));
}
