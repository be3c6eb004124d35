//! Learns the weights of a health score from who left, near the weights that people chose: [`fit_health`].

mod regression;
mod simplex;

use retain_eval::{BootstrapOptions, Metric, compare};
use serde::Serialize;

use self::regression::{Fit, Table};
use self::simplex::Leash;
use super::audit::{
    AuditError, BandAudit, BandCut, Customers, Estimate, Outcomes, Proportion, auc_of_scores, audit_bands, band_of, check_length,
    check_range, labelled, violations,
};
use super::health::{Health, HealthScore};

/// One part of a health score: what people chose, and what the rows have of it.
#[derive(Debug, Clone, Copy)]
pub struct GroupColumn<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its weight, of 100.
    pub weight: f64,
    /// The share of its points that each row has, from 0 to 1, where known.
    pub shares: &'a [Option<f64>],
}

/// How the weights are learned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FitOptions {
    /// How far a weight may go from the one that people chose, in points of 100.
    pub leash: f64,
    /// The share of customers that the team can look after, from 0 to 1.
    pub capacity: f64,
    /// Parts that the customers are divided into, so that each is judged by weights learned without it; held within 2 and 20.
    pub n_folds: usize,
    /// How intervals are made.
    #[serde(skip)]
    pub bootstrap: BootstrapOptions,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self { leash: 10.0, capacity: 0.1, n_folds: 5, bootstrap: BootstrapOptions::default() }
    }
}

/// Weights learned from who left, beside those that people chose.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthFit {
    /// One per group.
    pub weights: Vec<FittedWeight>,
    /// The leash, in points of 100.
    pub leash: f64,
    /// How well the chosen weights order customers.
    pub hand_auc: Option<Estimate>,
    /// How well learned weights do, each customer judged by weights learned without them.
    pub fitted_auc: Option<Estimate>,
    /// The second less the first, both on the same resamples; learned weights are better for certain where the lower end is above 0.
    pub auc_gain: Option<Estimate>,
    /// Who left, by band of the chosen weights.
    pub hand_bands: Vec<BandAudit>,
    /// Who left, by band of the learned weights.
    pub fitted_bands: Vec<BandAudit>,
    /// Whether no band of the chosen weights loses more than a less healthy one.
    pub hand_in_order: bool,
    /// The same of the learned weights.
    pub fitted_in_order: bool,
    /// Rows by band of the chosen weights (outer) and of the learned ones (inner).
    pub migration: Vec<Vec<usize>>,
    /// The score below which the chosen weights put as many customers as the team can look after.
    pub hand_threshold: CapacityThreshold,
    /// The same of the learned weights.
    pub fitted_threshold: CapacityThreshold,
}

/// One weight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FittedWeight {
    /// The group.
    pub id: String,
    /// What people chose, of 100.
    pub hand: f64,
    /// What the rows say, of 100; all of them add up to 100.
    pub fitted: f64,
    /// Whether the leash held it back.
    pub at_leash: bool,
}

/// A score below which a capacity's worth of customers lie.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CapacityThreshold {
    /// Customers with a lower score are looked after.
    pub below: f64,
    /// How many rows that is.
    pub n_rows: usize,
    /// Who of them left.
    pub churn: Proportion,
    /// Of all that left, the share among them.
    pub recall: Option<f64>,
}

/// Learns weights within the leash, and says what they change. All columns have one value per row.
///
/// Weights are not negative and add up to 100. A row without some group is judged by the others.
///
/// # Errors
/// [`AuditError`] for columns of different lengths, no rows or groups, or a share outside 0 to 1.
pub fn fit_health(
    groups: &[GroupColumn<'_>],
    bands: &[BandCut],
    outcomes: &Outcomes<'_>,
    options: &FitOptions,
) -> Result<HealthFit, AuditError> {
    check(groups, outcomes)?;
    let total: f64 = groups.iter().map(|group| group.weight).sum();
    let hand: Vec<f64> = groups.iter().map(|group| group.weight / total).collect();
    let leash = Leash::around(&hand, options.leash.clamp(0.0, 100.0) / 100.0);
    let customers = Customers::new(outcomes.customer, options.bootstrap.confidence);
    let all: Vec<usize> = (0..outcomes.churned.len()).collect();
    let fit = regression::fit(&table(groups, outcomes, &all), &hand, &leash);
    let hand_scores = scores(groups, &hand, &all);
    let fitted_scores = scores(groups, &fit.weights, &all);
    let crossed = cross_fitted(groups, outcomes, &customers, &hand, &leash, options.n_folds.clamp(2, 20));
    let base = customers.share(|row_idx| hand_scores[row_idx].map(|_| outcomes.churned[row_idx]));
    let audited = |scores: &[Option<f64>]| audit_bands(scores, bands, outcomes, &customers, &base);
    let (hand_bands, fitted_bands) = (audited(&hand_scores), audited(&fitted_scores));
    let threshold = |scores: &[Option<f64>]| capacity_threshold(scores, outcomes, &customers, options.capacity);
    Ok(HealthFit {
        weights: weights(groups, &hand, &fit, options.leash),
        leash: options.leash,
        hand_auc: auc_of_scores(&hand_scores, outcomes, &options.bootstrap)?,
        fitted_auc: auc_of_scores(&crossed, outcomes, &options.bootstrap)?,
        auc_gain: gain(&crossed, &hand_scores, outcomes, &options.bootstrap)?,
        hand_in_order: violations(&hand_bands).is_empty(),
        fitted_in_order: violations(&fitted_bands).is_empty(),
        migration: migration(bands, &hand_scores, &fitted_scores),
        hand_threshold: threshold(&hand_scores),
        fitted_threshold: threshold(&fitted_scores),
        hand_bands,
        fitted_bands,
    })
}

impl Health {
    /// Per group, the share of its points that each score has: what [`fit_health`] learns from.
    pub fn group_shares(&self, scores: &[HealthScore]) -> Vec<Vec<Option<f64>>> {
        let share = |position: usize, score: &HealthScore| {
            let points = score.groups.get(position)?.points?;
            Some((points / self.groups[position].weight).clamp(0.0, 1.0))
        };
        (0..self.groups.len()).map(|position| scores.iter().map(|score| share(position, score)).collect()).collect()
    }
}

fn check(groups: &[GroupColumn<'_>], outcomes: &Outcomes<'_>) -> Result<(), AuditError> {
    outcomes.check()?;
    if groups.is_empty() {
        return Err(AuditError::NoRows);
    }
    for group in groups {
        check_length(group.id, group.shares.len(), outcomes.churned.len())?;
        check_range("shares", group.shares.iter().copied(), 0.0, 1.0)?;
    }
    check_range("weight", groups.iter().map(|group| Some(group.weight)), 1e-6, 1e6)
}

fn table(groups: &[GroupColumn<'_>], outcomes: &Outcomes<'_>, rows: &[usize]) -> Table {
    let row = |&row_idx: &usize| groups.iter().map(move |group| group.shares[row_idx].unwrap_or(f64::NAN));
    let left = rows.iter().map(|&row_idx| f64::from(u8::from(outcomes.churned[row_idx]))).collect();
    Table { shares: rows.iter().flat_map(row).collect(), n_groups: groups.len(), left }
}

/// Scores from 0 to 100; none for a row of which nothing is known.
fn scores(groups: &[GroupColumn<'_>], weights: &[f64], rows: &[usize]) -> Vec<Option<f64>> {
    let score = |&row_idx: &usize| {
        let row: Vec<f64> = groups.iter().map(|group| group.shares[row_idx].unwrap_or(f64::NAN)).collect();
        let (share, known) = Table::score(&row, weights);
        (known > 0.0).then_some((share * 100.0).clamp(0.0, 100.0))
    };
    rows.iter().map(score).collect()
}

/// Each customer's scores by weights that were learned from the other parts.
fn cross_fitted(
    groups: &[GroupColumn<'_>],
    outcomes: &Outcomes<'_>,
    customers: &Customers,
    hand: &[f64],
    leash: &Leash,
    n_folds: usize,
) -> Vec<Option<f64>> {
    let mut crossed = vec![None; outcomes.churned.len()];
    for fold in 0..n_folds {
        let of_fold = |row_idx: &usize| customers.of_row(*row_idx) % n_folds == fold;
        let (judged, learned): (Vec<usize>, Vec<usize>) = (0..crossed.len()).partition(of_fold);
        // Without other rows there is nothing to learn, and the chosen weights stand.
        let weights = if learned.is_empty() {
            hand.to_vec()
        } else {
            regression::fit(&table(groups, outcomes, &learned), hand, leash).weights
        };
        for (row_idx, score) in judged.iter().zip(scores(groups, &weights, &judged)) {
            crossed[*row_idx] = score;
        }
    }
    crossed
}

fn weights(groups: &[GroupColumn<'_>], hand: &[f64], fit: &Fit, leash: f64) -> Vec<FittedWeight> {
    let weight = |((group, hand), fitted): ((&GroupColumn<'_>, &f64), &f64)| FittedWeight {
        id: group.id.to_owned(),
        hand: hand * 100.0,
        fitted: fitted * 100.0,
        at_leash: ((fitted - hand).abs() * 100.0) >= leash - 1e-6,
    };
    groups.iter().zip(hand).zip(&fit.weights).map(weight).collect()
}

fn gain(
    new: &[Option<f64>],
    old: &[Option<f64>],
    outcomes: &Outcomes<'_>,
    options: &BootstrapOptions,
) -> Result<Option<Estimate>, AuditError> {
    let (Some(new), Some(old)) = (labelled(new, outcomes)?, labelled(old, outcomes)?) else { return Ok(None) };
    let gains = compare(&new, &old, &[Metric::RocAuc], options)?;
    Ok(gains.first().map(|gain| Estimate { value: gain.value, low: gain.low, high: gain.high }))
}

fn migration(bands: &[BandCut], hand: &[Option<f64>], fitted: &[Option<f64>]) -> Vec<Vec<usize>> {
    let mut counts = vec![vec![0; bands.len()]; bands.len()];
    for (hand, fitted) in hand.iter().zip(fitted) {
        if let Some((hand, fitted)) = hand.zip(*fitted).filter(|_| !bands.is_empty()) {
            counts[band_of(bands, hand)][band_of(bands, fitted)] += 1;
        }
    }
    counts
}

fn capacity_threshold(
    scores: &[Option<f64>],
    outcomes: &Outcomes<'_>,
    customers: &Customers,
    capacity: f64,
) -> CapacityThreshold {
    let mut sorted: Vec<f64> = scores.iter().flatten().copied().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let wanted = (capacity.clamp(0.0, 1.0) * sorted.len() as f64).floor() as usize;
    // Those tied with the first who has no place have none either, so that the capacity is never passed.
    let below = sorted.get(wanted).copied().unwrap_or(f64::INFINITY);
    let inside = |row_idx: usize| scores[row_idx].filter(|&score| score < below);
    let churn = customers.share(|row_idx| inside(row_idx).map(|_| outcomes.churned[row_idx]));
    let n_churned = (0..scores.len()).filter(|&row_idx| scores[row_idx].is_some() && outcomes.churned[row_idx]).count();
    let recall = (n_churned > 0).then(|| churn.n_hits as f64 / n_churned as f64);
    CapacityThreshold { below, n_rows: churn.n_rows, churn, recall }
}
