use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_eval::BootstrapOptions;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct GoldenLog {
    name: String,
    n_actions: usize,
    action: Vec<u32>,
    reward: Vec<f64>,
    propensity: Vec<f64>,
    policy: Vec<f64>,
    model: Vec<f64>,
    estimates: Vec<GoldenEstimate>,
    ips_bernstein_lower: f64,
}

#[derive(Deserialize)]
struct GoldenEstimate {
    name: String,
    parameter: Option<f64>,
    value: f64,
    direct_error: Option<f64>,
}

fn golden() -> Vec<GoldenLog> {
    serde_json::from_str(include_str!("../../tests/golden/off_policy.json")).unwrap()
}

impl GoldenLog {
    fn log(&self) -> Log {
        let customers: Vec<u32> = (0..self.action.len() as u32).collect();
        let propensity = Some(self.propensity.clone());
        Log::new(self.n_actions, &customers, self.action.clone(), self.reward.clone(), propensity, None).unwrap()
    }
}

fn named(name: &str, parameter: Option<f64>) -> Estimator {
    match (name, parameter) {
        ("dm", None) => Estimator::DirectMethod,
        ("ips", None) => Estimator::InverseProbability,
        ("snips", None) => Estimator::SelfNormalized,
        ("dr", None) => Estimator::DoublyRobust,
        ("sndr", None) => Estimator::SelfNormalizedDoublyRobust,
        ("clipped_ips", Some(parameter)) => Estimator::ClippedInverseProbability(parameter),
        ("switch_dr", Some(parameter)) => Estimator::SwitchDoublyRobust(parameter),
        ("dr_os", Some(parameter)) => Estimator::ShrunkDoublyRobust(parameter),
        _ => panic!("{name} {parameter:?}"),
    }
}

#[track_caller]
fn assert_near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{what}: {found} is not {expected}");
}

#[test]
fn every_estimator_equals_the_open_bandit_pipeline() {
    for golden in golden() {
        let log = golden.log();
        let policy = Probabilities::new(&log, golden.policy.clone()).unwrap();
        let rows = Rows::new(&log, &policy, &golden.model).unwrap();
        assert_eq!(golden.estimates.len(), 14);
        for expected in &golden.estimates {
            let what = format!("{}: {} {:?}", golden.name, expected.name, expected.parameter);
            let estimator = named(&expected.name, expected.parameter);
            assert_eq!((estimator.name(), estimator.parameter()), (expected.name.as_str(), expected.parameter));
            assert_near(estimator.contributions(&rows).value(), expected.value, &what);
            if let Some(error) = expected.direct_error {
                assert_near(direct_error(estimator, &rows), error, &what);
            }
        }
        let weighted: Vec<f64> = rows.weights().iter().zip(&golden.reward).map(|(weight, reward)| weight * reward).collect();
        let (largest, mean) = (weighted.iter().copied().fold(f64::MIN, f64::max), estimator::mean(&weighted));
        assert_near(mean - bernstein_margin(&weighted, largest, 0.05), golden.ips_bernstein_lower, &golden.name);
    }
}

/// A log by a known policy of two actions over customers of several rows, and the true value of "always the second".
///
/// The second action earns 0.3 on every row of the customer or 0.6, the first 0.4.
fn known_world(seed: u64, n_customers: u32, rows_each: u32) -> (Log, Probabilities, f64) {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    let (mut customer, mut action, mut reward, mut propensity) = (vec![], vec![], vec![], vec![]);
    for number in 0..n_customers {
        let second = if generator.random::<f64>() < 0.5 { 0.3 } else { 0.6 };
        for _ in 0..rows_each {
            let takes_second = generator.random::<f64>() < 0.2;
            let chance = if takes_second { second } else { 0.4 };
            customer.push(1000 - number);
            action.push(u32::from(takes_second));
            reward.push(f64::from(u8::from(generator.random::<f64>() < chance)));
            propensity.push(if takes_second { 0.2 } else { 0.8 });
        }
    }
    let n = action.len();
    let log = Log::new(2, &customer, action, reward, Some(propensity), None).unwrap();
    let policy = Probabilities::new(&log, [0.0, 1.0].repeat(n)).unwrap();
    (log, policy, 0.45)
}

#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    let options = BootstrapOptions { resamples: 200, ..BootstrapOptions::default() };
    let mut covered = vec![0; 8];
    let mut bernstein_covered = 0;
    for seed in 0..200 {
        let (log, policy, truth) = known_world(seed, 120, 4);
        let report = evaluate(&log, &policy, &RewardModel::default(), &options).unwrap();
        for (covered, estimate) in covered.iter_mut().zip(&report.estimates) {
            *covered += u32::from(estimate.range.low <= truth && truth <= estimate.range.high);
        }
        let bernstein = report.estimates[1].bernstein.unwrap();
        bernstein_covered += u32::from(bernstein.low <= truth && truth <= bernstein.high);
    }
    // 95 % of 200, less four standard errors; those that shrink are biased and may cover a little less. Taking the rows of
    // a customer for independent would cover about 85 %.
    for idx in [0, 1, 3, 4, 5] {
        assert!(covered[idx] >= 178, "{covered:?}");
    }
    assert!(covered.iter().all(|covered| *covered >= 160), "{covered:?}");
    assert!(bernstein_covered >= 195, "{bernstein_covered}");
}

#[test]
fn a_better_policy_is_promoted_and_an_equal_one_is_not() {
    let options = BootstrapOptions { resamples: 400, ..BootstrapOptions::default() };
    let (log, policy, _) = known_world(1, 1000, 6);
    let report = evaluate(&log, &policy, &RewardModel::default(), &options).unwrap();
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    // Always the second earns 0.45, the policy that decided 0.41.
    let gain = report.gain.unwrap();
    assert!(gain.low < 0.04 && 0.04 < gain.high, "{gain:?}");
    assert_eq!(report.promotes(0.0), gain.low > 0.0);
    assert!(report.promotes(gain.low - 1e-9) && !report.promotes(gain.low));
    let same = Probabilities::new(&log, [0.8, 0.2].repeat(log.n_rows())).unwrap();
    let report = evaluate(&log, &same, &RewardModel::default(), &options).unwrap();
    assert!(!report.promotes(0.0), "{:?}", report.gain);
    assert!((report.diagnostics.effective_rows - log.n_rows() as f64).abs() < 1e-6);
    assert_eq!(report.diagnostics.mean_weight_p_value, 1.0);
}

#[test]
fn without_propensities_only_the_model_speaks_and_says_so() {
    let log = Log::new(2, &[0, 0, 1, 2], vec![0, 1, 0, 1], vec![1.0, 0.0, 1.0, 0.5], None, None).unwrap();
    let policy = Probabilities::new(&log, [0.5, 0.5].repeat(4)).unwrap();
    let report = evaluate(&log, &policy, &RewardModel::Given(vec![0.25; 8]), &BootstrapOptions::default()).unwrap();
    assert_eq!(report.estimates.len(), 1);
    assert_eq!((report.chosen().estimator, report.chosen().range.value), (Estimator::DirectMethod, 0.25));
    assert!(report.gain.is_none() && !report.promotes(-10.0));
    let warning = "no logged probabilities: the estimate is the reward model's alone and as biased as it is";
    assert_eq!(report.warnings, [warning]);
}

#[test]
fn broken_logs_are_warned_of() {
    let n = 2000;
    let customers: Vec<u32> = (0..n).collect();
    let action: Vec<u32> = customers.iter().map(|row| row % 2).collect();
    let reward = vec![1.0; n as usize];
    let options = BootstrapOptions { resamples: 50, ..BootstrapOptions::default() };
    let report = |propensity: Vec<f64>, of_row: [f64; 3]| {
        let log = Log::new(3, &customers, action.clone(), reward.clone(), Some(propensity), None).unwrap();
        let policy = Probabilities::new(&log, of_row.repeat(n as usize)).unwrap();
        evaluate(&log, &policy, &RewardModel::default(), &options).unwrap()
    };
    let half = vec![0.5; n as usize];
    assert!(report(half.clone(), [0.4, 0.6, 0.0]).warnings.is_empty());
    let unsupported = report(half, [0.2, 0.3, 0.5]);
    assert_eq!((unsupported.diagnostics.unsupported_actions, unsupported.diagnostics.unsupported_share), (1, 0.5));
    assert!(unsupported.warnings.iter().any(|warning| warning.contains("50.0 % of the policy's decisions are for 1 action")));
    // Probabilities that were not those that were drawn with.
    let wrong = report(vec![0.8; n as usize], [0.4, 0.6, 0.0]);
    assert!(wrong.warnings.iter().any(|warning| warning.contains("the logged probabilities seem wrong")), "{:?}", wrong.warnings);
    let mut heavy = vec![0.5; n as usize];
    heavy[0] = 1e-5;
    let heavy = report(heavy, [0.5, 0.5, 0.0]);
    assert!(heavy.warnings.iter().any(|warning| warning.starts_with("one row has 9")), "{:?}", heavy.warnings);
    assert!(heavy.warnings.iter().any(|warning| warning.contains("effective rows of 2000")), "{:?}", heavy.warnings);
    assert!(!heavy.promotes(-1e9));
}

#[test]
fn means_are_smoothed_and_know_nothing_of_their_own_fold() {
    let (log, _, _) = known_world(3, 300, 2);
    let means = smoothed_means(&log, 5, 10.0, false, None).unwrap();
    let mut flipped = log.clone();
    // What happened to one customer must not change what is modelled for that customer.
    for row in 0..log.n_rows() {
        if log.customer[row] == 7 {
            flipped.reward[row] = 1e6;
        }
    }
    let after = smoothed_means(&flipped, 5, 10.0, false, None).unwrap();
    for row in 0..log.n_rows() {
        let same = means[2 * row..2 * row + 2] == after[2 * row..2 * row + 2];
        assert!(same || log.customer[row] != 7);
    }
    assert!(means != after);
    let strong = smoothed_means(&log, 5, 1e12, false, None).unwrap();
    assert!(strong.chunks(2).all(|of_row| (of_row[0] - of_row[1]).abs() < 1e-6));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(smoothed_means(&log, 5, bad, false, None).is_err());
    }
}

#[test]
fn positions_have_means_of_their_own() {
    let rows = 400;
    let customers: Vec<u32> = (0..rows).collect();
    let position: Vec<u32> = customers.iter().map(|row| 10 + row % 2).collect();
    let reward: Vec<f64> = position.iter().map(|position| f64::from(position - 10)).collect();
    let log = Log::new(1, &customers, vec![0; rows as usize], reward.clone(), None, Some(position)).unwrap();
    let means = smoothed_means(&log, 4, 0.1, true, None).unwrap();
    assert!(means.iter().zip(&reward).all(|(mean, reward)| (mean - reward).abs() < 0.01));
    let flat = smoothed_means(&log, 4, 0.1, false, None).unwrap();
    assert!(flat.iter().all(|mean| (mean - 0.5).abs() < 0.1));
}

#[test]
fn hostile_logs_are_refused_with_their_place() {
    let check = |action: Vec<u32>, reward: Vec<f64>, propensity: Vec<f64>, expected: &str| {
        let customers = vec![0; action.len()];
        assert_eq!(Log::new(2, &customers, action, reward, Some(propensity), None).unwrap_err().to_string(), expected);
    };
    check(vec![], vec![], vec![], "should have at least one row and one action, found 0 rows and 2 actions");
    check(vec![0, 2], vec![0.0; 2], vec![0.5; 2], "row 1: the action should be below 2, found 2");
    check(vec![0, 1], vec![0.0], vec![0.5; 2], "`reward` should have 2 values, found 1");
    check(
        vec![0, 1],
        vec![0.0, f64::NAN],
        vec![0.5; 2],
        "row 1: `reward` should be a number between -1e100 and 1e100, found NaN",
    );
    check(vec![0, 1], vec![0.0; 2], vec![0.5, 0.0], "row 1: `propensity` should be between 1e-100 and 1, found 0");
    check(vec![0, 1], vec![0.0; 2], vec![1.5, 0.5], "row 0: `propensity` should be between 1e-100 and 1, found 1.5");
    let log = Log::new(2, &[0, 1], vec![0, 1], vec![0.0; 2], None, None).unwrap();
    let error = Probabilities::new(&log, vec![0.5, 0.5, 0.5, 0.6]).unwrap_err().to_string();
    assert_eq!(error, "row 1: `sum of probabilities` should be 1, found 1.1");
    assert!(Probabilities::new(&log, vec![1.5, -0.5, 0.5, 0.5]).is_err() && Probabilities::new(&log, vec![1.0; 3]).is_err());
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_any_number_of_threads() {
    let (log, policy, _) = known_world(5, 200, 3);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let report = pool.install(|| evaluate(&log, &policy, &RewardModel::default(), &BootstrapOptions::default()).unwrap());
        serde_json::to_string(&report).unwrap()
    };
    assert_eq!(with(1), with(3));
}
