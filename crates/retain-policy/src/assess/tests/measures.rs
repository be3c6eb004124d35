use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_eval::BootstrapOptions;

use super::super::audit::{
    AuditError, BandCut, Outcomes, SignalColumn, against_model, audit_health, audit_signals, minimal_set, signal_columns,
};
use super::super::fit::{FitOptions, GroupColumn, fit_health};
use super::super::{Assessment, Group, Source};
use crate::rule::{Known, Names};

const FEW: BootstrapOptions = BootstrapOptions { resamples: 200, confidence: 0.95, seed: 7 };

fn bands() -> Vec<BandCut> {
    [("healthy", 80.0), ("at_risk", 60.0), ("critical", 0.0)].map(|(id, from)| BandCut { id: id.to_owned(), from }).to_vec()
}

fn outcomes<'a>(churned: &'a [bool], customer: &'a [u32]) -> Outcomes<'a> {
    Outcomes { churned, customer, observed_day: None, churn_day: None }
}

/// Rows of a band: `n` scores, of which the first `left` belong to customers who left.
fn band_rows(rows: &[(f64, usize, usize)]) -> (Vec<Option<f64>>, Vec<bool>) {
    let scores = rows.iter().flat_map(|&(score, n, _)| vec![Some(score); n]).collect();
    let churned = rows.iter().flat_map(|&(_, n, left)| (0..n).map(move |row| row < left)).collect();
    (scores, churned)
}

#[test]
fn a_score_is_measured_band_by_band() {
    let (mut scores, mut churned) = band_rows(&[(90.0, 200, 2), (70.0, 100, 10), (30.0, 50, 25)]);
    scores.push(None);
    churned.push(true);
    let customer: Vec<u32> = (0..351).collect();
    let audit = audit_health(&scores, &bands(), &outcomes(&churned, &customer), &FEW).unwrap();
    let rates: Vec<f64> = audit.bands.iter().map(|band| band.churn.value.unwrap()).collect();
    assert_eq!(rates, [0.01, 0.1, 0.5]);
    assert_eq!((audit.n_scored, audit.n_unscored, audit.is_wrong()), (350, 1, false));
    assert!((audit.bands[2].lift.unwrap() - 0.5 / (37.0 / 350.0)).abs() < 1e-12);
    // Newcombe's (1998) method 3 for 10 in 100.
    assert!((audit.bands[1].churn.low - 0.0552).abs() < 1e-4 && (audit.bands[1].churn.high - 0.1744).abs() < 1e-4);
    // Pairs won by a customer who left, ties a half: from the counts above.
    let won = 2.0 * (198.0 / 2.0) + 10.0 * (198.0 + 90.0 / 2.0) + 25.0 * (198.0 + 90.0 + 25.0 / 2.0);
    let auc = audit.roc_auc.unwrap();
    assert!((auc.value - won / (37.0 * 313.0)).abs() < 1e-12 && auc.low < auc.value && auc.value < auc.high);
}

#[test]
fn bands_out_of_order_are_an_error_only_beyond_chance() {
    let measure = |rows: &[(f64, usize, usize)]| {
        let (scores, churned) = band_rows(rows);
        let customer: Vec<u32> = (0..scores.len() as u32).collect();
        audit_health(&scores, &bands(), &outcomes(&churned, &customer), &FEW).unwrap()
    };
    let chance = measure(&[(90.0, 100, 11), (70.0, 100, 10), (30.0, 100, 50)]);
    assert_eq!((chance.violations.len(), chance.is_wrong()), (1, false));
    let sure = measure(&[(90.0, 100, 40), (70.0, 100, 10), (30.0, 100, 50)]);
    assert_eq!((sure.violations.len(), sure.is_wrong()), (1, true));
    assert_eq!((sure.violations[0].healthier.as_str(), sure.violations[0].weaker.as_str()), ("healthy", "at_risk"));
    // The same rows from ten customers are far too few to be sure.
    let (scores, churned) = band_rows(&[(90.0, 100, 40), (70.0, 100, 10), (30.0, 100, 50)]);
    let customer: Vec<u32> = (0..300).map(|row| row / 30).collect();
    let few = audit_health(&scores, &bands(), &outcomes(&churned, &customer), &FEW).unwrap();
    assert_eq!((few.violations.len(), few.is_wrong()), (1, false));
}

#[test]
fn a_signal_is_measured_by_hand_counted_rows() {
    // Eight customers: 0, 1, 2 left. The signal fires for 0, 1 and 3, and cannot be answered for 7.
    let churned = [true, true, true, false, false, false, false, true];
    let fired: Vec<Option<bool>> = [1, 1, 0, 1, 0, 0, 0].iter().map(|&fires| Some(fires == 1)).chain([None]).collect();
    let customer: Vec<u32> = (0..8).collect();
    let observed = [0.0; 8];
    let left = [40.0, 20.0, 30.0, f64::NAN, f64::NAN, f64::NAN, f64::NAN, 9.0];
    let all = Outcomes { observed_day: Some(&observed), churn_day: Some(&left), ..outcomes(&churned, &customer) };
    let audit = audit_signals(&[SignalColumn { id: "a", fired: &fired }], &all, 0.95).unwrap();
    let signal = &audit.signals[0];
    assert_eq!((signal.n_unknown, signal.fired.n_hits, signal.fired.n_rows), (1, 3, 7));
    assert_eq!((signal.precision.value, signal.recall.value), (Some(2.0 / 3.0), Some(2.0 / 3.0)));
    assert_eq!(signal.false_alarms.value, Some(1.0 / 4.0));
    assert!((signal.lift.unwrap() - (2.0 / 3.0) / (3.0 / 7.0)).abs() < 1e-12);
    assert_eq!((signal.median_lead_days, signal.n_leads), (Some(30.0), 2));
    assert_eq!(audit.base_rate.value, Some(0.5));
    // One signal alone is what any of them is.
    assert_eq!(audit.any.precision, signal.precision);
}

#[test]
fn lead_time_counts_from_the_first_time_it_fires() {
    let churned = [true, true, true, true];
    let customer = [1, 1, 1, 2];
    let observed = [10.0, 20.0, 30.0, 30.0];
    let left = [50.0, 50.0, 50.0, 40.0];
    let all = Outcomes { observed_day: Some(&observed), churn_day: Some(&left), ..outcomes(&churned, &customer) };
    let fired = [Some(false), Some(true), Some(true), Some(true)];
    let audit = audit_signals(&[SignalColumn { id: "a", fired: &fired }], &all, 0.95).unwrap();
    assert_eq!((audit.signals[0].median_lead_days, audit.signals[0].n_leads), (Some(20.0), 2));
}

#[test]
fn overlaps_and_the_minimal_set_leave_out_what_adds_nothing() {
    let churned = [true, true, true, true, false, false];
    let answers = |fires: [u8; 6]| fires.map(|fires| Some(fires == 1));
    let (a, b, c, d) = (answers([1, 1, 1, 0, 0, 0]), answers([1, 1, 0, 0, 1, 0]), answers([0, 0, 0, 1, 1, 1]), answers([0; 6]));
    let signals = [("a", &a), ("b", &b), ("c", &c), ("d", &d)].map(|(id, fired)| SignalColumn { id, fired });
    let customer: Vec<u32> = (0..6).collect();
    let audit = audit_signals(&signals, &outcomes(&churned, &customer), 0.95).unwrap();
    let overlap = |first: &str, second: &str| {
        let found = audit.overlaps.iter().find(|overlap| overlap.first == first && overlap.second == second).unwrap();
        (found.n_both, found.jaccard)
    };
    assert_eq!(overlap("a", "b"), (2, Some(0.5)));
    assert_eq!(overlap("a", "c"), (0, Some(0.0)));
    let none = audit_signals(&[signals[3], signals[3]], &outcomes(&churned, &customer), 0.95).unwrap();
    assert_eq!(none.overlaps[0].jaccard, None);
    let chosen: Vec<(&str, usize, f64)> =
        audit.minimal_set.iter().map(|caught| (caught.id.as_str(), caught.n_added, caught.recall)).collect();
    assert_eq!(chosen, [("a", 3, 0.75), ("c", 1, 1.0)]);
    assert!((audit.minimal_set[1].precision - 4.0 / 6.0).abs() < 1e-12);
    // Three of four is enough for someone who asks for 70 %.
    assert_eq!(minimal_set(&signals, &churned, 0.7).len(), 1);
}

#[test]
fn a_model_is_given_as_many_alerts_and_ties_are_shared() {
    let churned = [true, true, false, false, false, false];
    let fired = [1, 0, 1, 0, 0, 0].map(|fires| Some(fires == 1));
    let customer: Vec<u32> = (0..6).collect();
    let compare = |probability: &[f64]| against_model(&fired, probability, &outcomes(&churned, &customer), 0.95).unwrap();
    let sharp = compare(&[0.9, 0.8, 0.3, 0.2, 0.1, 0.1]);
    assert_eq!((sharp.n_alerts, sharp.rule_precision.value, sharp.model_precision), (2, Some(0.5), Some(1.0)));
    assert_eq!((sharp.rule_recall, sharp.model_recall, sharp.better), (Some(0.5), Some(1.0), None));
    // Everybody alike: two alerts drawn from six find two thirds of one customer who left.
    let flat = compare(&[0.5; 6]);
    assert!((flat.model_precision.unwrap() - 1.0 / 3.0).abs() < 1e-12);
    let tied = compare(&[0.9, 0.5, 0.5, 0.5, 0.1, 0.1]);
    assert!((tied.model_precision.unwrap() - 2.0 / 3.0).abs() < 1e-12);
}

#[test]
fn columns_that_do_not_fit_are_refused() {
    let (churned, customer) = ([true, false], [1, 2]);
    let all = outcomes(&churned, &customer);
    let length = |column: &str, found| AuditError::Length { column: column.to_owned(), found, expected: 2 };
    assert_eq!(audit_health(&[None], &bands(), &all, &FEW).unwrap_err(), length("scores", 1));
    let error = audit_health(&[Some(1.0), Some(101.0)], &bands(), &all, &FEW).unwrap_err();
    assert_eq!(error, AuditError::Range { row: 2, column: "scores", min: 0.0, max: 100.0, found: 101.0 });
    assert!(matches!(audit_health(&[Some(f64::NAN), None], &bands(), &all, &FEW), Err(AuditError::Range { row: 1, .. })));
    assert_eq!(audit_signals(&[SignalColumn { id: "a", fired: &[] }], &all, 0.95).unwrap_err(), length("a", 0));
    assert_eq!(audit_signals(&[], &outcomes(&[], &[]), 0.95).unwrap_err(), AuditError::NoRows);
    assert!(against_model(&[None, None], &[0.5, f64::NAN], &all, 0.95).is_err());
    assert_eq!(against_model(&[None, None], &[0.5, 0.5], &all, 0.95).unwrap().n_alerts, 0);
    assert_eq!(fit_health(&[], &bands(), &all, &FitOptions::default()).unwrap_err(), AuditError::NoRows);
}

/// Customers whose leaving depends on the first group alone, by a known line.
fn planted(n: usize, seed: u64) -> (Vec<Vec<Option<f64>>>, Vec<bool>) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut shares = vec![Vec::new(); 3];
    let mut churned = Vec::new();
    for _ in 0..n {
        let row = [0, 1, 2].map(|_| random.random::<f64>());
        let chance = 1.0 / (1.0 + (-(1.0 - 5.0 * row[0])).exp());
        churned.push(random.random::<f64>() < chance);
        shares.iter_mut().zip(row).for_each(|(column, share)| column.push(Some(share)));
    }
    (shares, churned)
}

fn groups(shares: &[Vec<Option<f64>>], weights: [f64; 3]) -> Vec<GroupColumn<'_>> {
    let ids = ["real", "noise", "more_noise"];
    (0..3).map(|idx| GroupColumn { id: ids[idx], weight: weights[idx], shares: &shares[idx] }).collect()
}

fn options(leash: f64) -> FitOptions {
    FitOptions { leash, capacity: 0.1, n_folds: 5, bootstrap: FEW }
}

#[test]
fn weights_go_where_churn_is_as_far_as_the_leash_lets_them() {
    let (shares, churned) = planted(4000, 1);
    let customer: Vec<u32> = (0..4000).collect();
    let all = outcomes(&churned, &customer);
    let fit = fit_health(&groups(&shares, [20.0, 40.0, 40.0]), &bands(), &all, &options(10.0)).unwrap();
    let fitted: Vec<f64> = fit.weights.iter().map(|weight| weight.fitted).collect();
    assert!((fitted.iter().sum::<f64>() - 100.0).abs() < 1e-9);
    assert!((fitted[0] - 30.0).abs() < 1e-6 && fit.weights[0].at_leash, "{fitted:?}");
    assert!(fit.weights.iter().all(|weight| weight.fitted >= 0.0 && (weight.fitted - weight.hand).abs() <= 10.0 + 1e-9));
    let (hand, learned, gain) = (fit.hand_auc.unwrap(), fit.fitted_auc.unwrap(), fit.auc_gain.unwrap());
    assert!(learned.value > hand.value && gain.low > 0.0 && gain.low < gain.value && gain.value < gain.high, "{gain:?}");
    assert!((gain.value - (learned.value - hand.value)).abs() < 1e-12);
    assert!(fit.fitted_in_order);
    // Every row is in one cell of the matrix.
    assert_eq!(fit.migration.iter().flatten().sum::<usize>(), 4000);
    assert!(fit.hand_threshold.n_rows <= 400 && fit.hand_threshold.n_rows >= 399);
    assert!(fit.fitted_threshold.recall.unwrap() > fit.hand_threshold.recall.unwrap());
}

#[test]
fn a_free_leash_finds_the_planted_weights() {
    let (shares, churned) = planted(8_000, 2);
    let customer: Vec<u32> = (0..8_000).collect();
    let fit =
        fit_health(&groups(&shares, [20.0, 40.0, 40.0]), &bands(), &outcomes(&churned, &customer), &options(100.0)).unwrap();
    // The truth is 100, 0, 0; noise of this many rows moves a weight by a few points.
    assert!(fit.weights[0].fitted > 92.0, "{:?}", fit.weights);
    let auc = fit.fitted_auc.unwrap();
    let truth: Vec<Option<f64>> = shares[0].iter().map(|share| share.map(|share| share * 100.0)).collect();
    let best = audit_health(&truth, &bands(), &outcomes(&churned, &customer), &FEW).unwrap().roc_auc.unwrap();
    assert!(best.value - auc.value < 0.004, "{} {}", best.value, auc.value);
}

#[test]
fn nothing_to_learn_changes_nothing_for_certain() {
    let (shares, _) = planted(2000, 3);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(9);
    let churned: Vec<bool> = (0..2000).map(|_| random.random::<f64>() < 0.1).collect();
    let customer: Vec<u32> = (0..2000).collect();
    let fit = fit_health(&groups(&shares, [50.0, 30.0, 20.0]), &bands(), &outcomes(&churned, &customer), &options(10.0)).unwrap();
    assert!(fit.auc_gain.unwrap().low <= 0.0, "{:?}", fit.auc_gain);
    // A leash of nothing leaves the weights alone, and so does a table in which nobody left.
    let held = fit_health(&groups(&shares, [50.0, 30.0, 20.0]), &bands(), &outcomes(&churned, &customer), &options(0.0)).unwrap();
    assert!(held.weights.iter().all(|weight| (weight.hand - weight.fitted).abs() < 1e-9), "{:?}", held.weights);
    let nobody = vec![false; 2000];
    let fit = fit_health(&groups(&shares, [50.0, 30.0, 20.0]), &bands(), &outcomes(&nobody, &customer), &options(10.0)).unwrap();
    assert!(fit.hand_auc.is_none() && fit.auc_gain.is_none());
    assert!((fit.weights.iter().map(|weight| weight.fitted).sum::<f64>() - 100.0).abs() < 1e-9);
}

#[test]
fn fitting_is_the_same_each_time_and_bears_gaps() {
    let (mut shares, churned) = planted(1000, 4);
    (0..1000).step_by(3).for_each(|row| shares[1][row] = None);
    for column in &mut shares {
        column[7] = None;
    }
    let customer: Vec<u32> = (0..1000).map(|row| row / 2).collect();
    let fit =
        || fit_health(&groups(&shares, [30.0, 30.0, 40.0]), &bands(), &outcomes(&churned, &customer), &options(20.0)).unwrap();
    let (once, again) = (fit(), fit());
    assert_eq!(once, again);
    let bits = |fit: &super::super::fit::HealthFit| fit.weights.iter().map(|weight| weight.fitted.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&once), bits(&again));
    assert_eq!(once.migration.iter().flatten().sum::<usize>(), 999);
    assert!(once.weights[0].fitted > 45.0, "{:?}", once.weights);
}

#[test]
fn a_preset_is_measured_and_fitted_from_rows() {
    let texts = ["saas-health-a", "early-warning"].map(|name| (name, crate::presets::text(name).unwrap()));
    let sources = texts.map(|(name, text)| Source { name, text, is_preset: true });
    let mut names = Names::default();
    let assessment = Assessment::parse(&sources, &mut names).unwrap().assessment;
    let health = assessment.health.as_ref().unwrap();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
    let (mut assessed, mut churned) = (Vec::new(), Vec::new());
    for _ in 0..600 {
        let logins = 6.0 * random.random::<f64>();
        churned.push(random.random::<f64>() < if logins < 2.0 { 0.5 } else { 0.05 });
        let given =
            [("logins_per_week", Known::Number(logins)), ("tickets_30d", Known::Number((6.0 * random.random::<f64>()).floor()))];
        assessed.push(assessment.assess(&mut super::with(&names, &given), None, 0));
    }
    let customer: Vec<u32> = (0..600).collect();
    let all = outcomes(&churned, &customer);
    let columns = signal_columns(&assessment, &assessed);
    let ids = assessment.signals.iter().map(|signal| signal.id.as_str());
    let signals: Vec<SignalColumn<'_>> = ids.zip(&columns).map(|(id, fired)| SignalColumn { id, fired }).collect();
    let audit = audit_signals(&signals, &all, 0.95).unwrap();
    let of = |id: &str| audit.signals.iter().find(|signal| signal.id == id).unwrap();
    assert!(of("low_logins").lift.unwrap() > 2.0 && of("many_tickets").lift.unwrap() < 1.5);
    assert_eq!((of("short_sessions").n_unknown, of("short_sessions").lift), (600, None));
    assert_eq!(audit.minimal_set[0].id, "low_logins");
    let scores: Vec<_> = assessed.into_iter().map(|one| one.health.unwrap()).collect();
    let numbers: Vec<Option<f64>> = scores.iter().map(|score| score.score).collect();
    assert!(audit_health(&numbers, &health.cuts(), &all, &FEW).unwrap().roc_auc.unwrap().value > 0.6);
    let shares = health.group_shares(&scores);
    let group = |(group, shares): (&Group, &Vec<Option<f64>>)| (group.id.clone(), group.weight, shares.clone());
    let owned: Vec<_> = health.groups.iter().zip(&shares).map(group).collect();
    let columns: Vec<GroupColumn<'_>> =
        owned.iter().map(|(id, weight, shares)| GroupColumn { id, weight: *weight, shares }).collect();
    let fit = fit_health(&columns, &health.cuts(), &all, &options(10.0)).unwrap();
    assert_eq!(fit.weights[0].id, "usage_intensity");
    assert!(fit.weights[0].fitted > fit.weights[0].hand + 5.0, "{:?}", fit.weights);
}
