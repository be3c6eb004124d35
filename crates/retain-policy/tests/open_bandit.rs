//! What the estimators say of a policy that really ran: the Open Bandit data, logged by a uniform policy, judged for Bernoulli
//! Thompson sampling, whose clicks are known (Saito et al. 2021).
//!
//! Needs the folder of public tables in `RETAIN_DATA_DIR`; without it the test says so and passes.

#![allow(clippy::unwrap_used, reason = "a test that unwraps an error should fail")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use retain_eval::BootstrapOptions;
use retain_policy::evaluate::{Log, OffPolicyReport, Probabilities, RewardModel, evaluate};

struct Row {
    item: u32,
    position: u32,
    click: f64,
    propensity: f64,
}

/// Item, position, click and probability of each row; the columns before the user's features have no commas in them.
fn read(path: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.splitn(7, ',').collect();
        Row {
            item: cells[2].parse().unwrap(),
            position: cells[3].parse().unwrap(),
            click: cells[4].parse().unwrap(),
            propensity: cells[5].parse().unwrap(),
        }
    };
    text.lines().skip(1).map(row).collect()
}

/// How probable each item was at each position under a policy that logged these rows; an item never taken has 0.
///
/// The mean probability of an item over all contexts is the share of its rows over their mean of `1 / probability`: the expected
/// value of that sum is 1 per row. The mean of the logged probabilities themselves would count each item where it was probable.
fn probabilities(rows: &[Row], n_items: usize) -> BTreeMap<u32, Vec<f64>> {
    let mut sums: BTreeMap<u32, Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows {
        let of_position = sums.entry(row.position).or_insert_with(|| vec![(0.0, 0.0); n_items]);
        let (n, inverse) = &mut of_position[row.item as usize];
        *n += 1.0;
        *inverse += 1.0 / row.propensity;
    }
    let normalised = |sums: Vec<(f64, f64)>| {
        let raw: Vec<f64> = sums.into_iter().map(|(n, inverse)| if n > 0.0 { n / inverse } else { 0.0 }).collect();
        let sum: f64 = raw.iter().sum();
        // Right probabilities sum to 1 but for noise; those of size-biased means sum to 2 or more.
        assert!((0.9..1.2).contains(&sum), "{sum}");
        raw.into_iter().map(|probability| probability / sum).collect()
    };
    sums.into_iter().map(|(position, sums)| (position, normalised(sums))).collect()
}

/// The report on the campaign, and the clicks per row that the policy really got.
fn judge(folder: &Path, campaign: &str) -> (OffPolicyReport, f64) {
    let rows = |policy: &str| read(&folder.join(format!("open_bandit/{policy}/{campaign}/{campaign}.csv")));
    let (logged, judged) = (rows("random"), rows("bts"));
    let n_items = 1 + logged.iter().chain(&judged).map(|row| row.item).max().unwrap() as usize;
    let customers: Vec<u32> = (0..logged.len() as u32).collect();
    let log = Log::new(
        n_items,
        &customers,
        logged.iter().map(|row| row.item).collect(),
        logged.iter().map(|row| row.click).collect(),
        Some(logged.iter().map(|row| row.propensity).collect()),
        Some(logged.iter().map(|row| row.position).collect()),
    );
    let log = log.unwrap();
    let of_position = probabilities(&judged, n_items);
    let policy = logged.iter().flat_map(|row| of_position[&row.position].iter().copied()).collect();
    let policy = Probabilities::new(&log, policy).unwrap();
    let options = BootstrapOptions { resamples: 200, ..BootstrapOptions::default() };
    let report = evaluate(&log, &policy, &RewardModel::default(), &options).unwrap();
    let truth = judged.iter().map(|row| row.click).sum::<f64>() / judged.len() as f64;
    (report, truth)
}

#[test]
fn the_chosen_estimate_is_near_what_the_policy_really_earned() {
    let Some(folder) = std::env::var_os("RETAIN_DATA_DIR").map(PathBuf::from) else {
        eprintln!("skipped: RETAIN_DATA_DIR does not name the folder of public tables");
        return;
    };
    for campaign in ["all", "men"] {
        let (report, truth) = judge(&folder, campaign);
        for estimate in &report.estimates {
            let error = (estimate.range.value / truth - 1.0).abs();
            eprintln!("{campaign}: {:12} {:.5}, relative error {error:.3}", estimate.estimator.name(), estimate.range.value);
        }
        let chosen = report.chosen().range;
        // The best of the paper's estimators has 0.157 on samples of this size.
        assert!((chosen.value / truth - 1.0).abs() <= 0.17, "{campaign}: {} of {truth}", chosen.value);
        assert!(chosen.low < truth && truth < chosen.high, "{campaign}: {chosen:?} and {truth}");
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    }
}
