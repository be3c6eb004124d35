//! What is learned from: rows of several arms, folds in which every arm has its share, and how likely each row was in its arm.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use retain_data::{Dataset, Fold, SplitError};
use retain_eval::{BootstrapOptions, Interval, Labelled, Metric, evaluate, two_sided_z};
use retain_score::{Engine, MarginModel, sigmoid};

use super::UpliftError;
use super::choice::widened;
use crate::learner::{Configuration, FitContext, Learner, Loss};
use crate::learners::{Logistic, most_columns};
use crate::plan::Plan;
use crate::train::{Run, TrainError};

/// Folds of a table without dates: effects are weak, and a fit to nineteen twentieths of the rows is nearly the one to all.
const N_FOLDS: usize = 20;
/// Folds of a large table, where that hardly differs.
const N_FOLDS_LARGE: usize = 5;
const LARGE_ROWS: usize = 200_000;
/// Rows times squared columns of the regressions, from which on a table is large too.
const LARGE_WORK: usize = 200_000_000;
/// Rows of either outcome that every arm needs where a fold learns.
const MIN_OUTCOMES: usize = 3;
/// An AUC that features tell an arm by, from which on arms are not taken for randomised; below, chance and rounding do.
const PREDICTABLE_AUC: f64 = 0.52;
/// How sure that has to be, of a two-sided interval: most tables are of tests, and hardly any of these should be called none.
const SURELY_PREDICTABLE: f64 = 0.999;
/// What the deviation of a cross-fitted order grows by where folds teach one another, see [`Experiment::widening`].
const TAUGHT_BOTH_WAYS: f64 = std::f64::consts::SQRT_2;
/// Chances of an arm are held this far from 0 and 1, so that no single row outweighs the others.
const LEAST_CHANCE: f64 = 0.02;

/// A table of several arms with its folds.
pub(super) struct Experiment<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) plan: &'a Plan,
    /// The arm of each row, 0 for the control.
    pub(super) arms: &'a [u32],
    pub(super) treatments: &'a [String],
    /// The half of the table that each row is in: what stands in for its outcome when an effect is learned comes from the other half.
    pub(super) half: Vec<bool>,
}

/// One treatment and the control.
pub(super) struct Pair {
    /// The treatment's number, from 1.
    pub(super) arm: u32,
    /// Rows of either, rising.
    pub(super) rows: Vec<usize>,
    /// What each row of the table counts for the mean of its arm; 0 for rows of other arms.
    pub(super) weight: Vec<f64>,
    /// How well features tell the arm.
    pub(super) predictability: Option<Interval>,
    /// Whether the weights come from features, since these tell the arm.
    pub(super) is_predictable: bool,
}

impl<'a> Experiment<'a> {
    pub(super) fn new(dataset: &'a Dataset, plan: &'a Plan, seed: u64) -> Result<Self, UpliftError> {
        let (Some(spec), Some(arms)) = (&dataset.schema.treatment, &dataset.treatment) else {
            return Err(UpliftError::NoTreatment);
        };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let of_group: Vec<bool> = (0..dataset.n_groups()).map(|_| rng.random()).collect();
        let half = dataset.group.iter().map(|&group| of_group[group as usize]).collect();
        Ok(Self { dataset, plan, arms, treatments: &spec.treatments, half })
    }

    /// By how much the deviation of what is judged in a cross-fitted order is larger than that of rows judged in an order that is given.
    ///
    /// What is summed over judged rows is a sum over pairs of a judged row and one that taught. Of random folds either row of a pair taught the
    /// other, so the pair's chance is in the sum twice and in the variance four times, while rows judged in a given order count
    /// it in there twice: where there is nothing to find, the deviation is the root of two larger. Where there is much to find, the order
    /// hardly depends on chance, and this is cautious. Of dated folds the earlier teach the later alone, and nothing is counted twice.
    ///
    /// # Source
    /// The variance of a degenerate U-statistic: Hoeffding (1948).
    pub(super) fn widening(&self) -> f64 {
        if self.dataset.observed.is_some() { 1.0 } else { TAUGHT_BOTH_WAYS }
    }

    /// The pair of a treatment, with weights for what it was given by.
    pub(super) fn pair(&self, arm: u32, run: &Run<'_>) -> Result<Pair, TrainError> {
        let rows: Vec<usize> = (0..self.arms.len()).filter(|&row| self.arms[row] == 0 || self.arms[row] == arm).collect();
        let mut pair = Pair { arm, rows, weight: vec![0.0; self.arms.len()], predictability: None, is_predictable: false };
        let chances = self.chances(&pair, run)?;
        if let Some(chances) = &chances {
            let auc = self.predictability(&pair, chances, run)?;
            let surely = widened(auc, two_sided_z(SURELY_PREDICTABLE) / two_sided_z(0.95));
            pair.is_predictable = surely.low > 0.5 && auc.value > PREDICTABLE_AUC;
            pair.predictability = Some(auc);
        }
        let chance = |row: usize| match (&self.dataset.propensity, &chances) {
            (Some(logged), _) => logged[row],
            (None, Some(chances)) if pair.is_predictable && chances[row].is_finite() => {
                let held = chances[row].clamp(LEAST_CHANCE, 1.0 - LEAST_CHANCE);
                if self.arms[row] == 0 { 1.0 - held } else { held }
            }
            _ => 1.0,
        };
        pair.weight = self.weights(&pair, chance);
        Ok(pair)
    }

    /// One over the chance, in each arm with a mean of rows of the pair by rows of the arm.
    fn weights(&self, pair: &Pair, chance: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut weight = vec![0.0; self.arms.len()];
        for arm in [0, pair.arm] {
            let of_arm = || pair.rows.iter().copied().filter(|&row| self.arms[row] == arm);
            let total: f64 = of_arm().map(|row| 1.0 / chance(row)).sum();
            of_arm().for_each(|row| weight[row] = pair.rows.len() as f64 / (total * chance(row)));
        }
        weight
    }

    /// The cross-fitted chance of each judged row of the pair to be treated; none where no fit could be had.
    fn chances(&self, pair: &Pair, run: &Run<'_>) -> Result<Option<Vec<f64>>, TrainError> {
        let target = self.arms.iter().map(|&arm| f64::from(u8::from(arm == pair.arm))).collect();
        let asked = Dataset { target, ..self.dataset.clone() };
        let configuration = [Configuration::new(&[("alpha", 10.0), ("squares", 0.0)])];
        let context = run.context(Loss::Logistic, self.plan);
        let fit = |fold: &Fold| {
            let models = Logistic.fit(&asked, &self.of_pair(pair, &fold.train), &configuration, &context).ok()?;
            models.into_iter().next()
        };
        let Some(models) = self.plan.folds.par_iter().map(fit).collect::<Option<Vec<MarginModel>>>() else { return Ok(None) };
        let mut chances = vec![f64::NAN; self.arms.len()];
        for (fold, model) in self.plan.folds.iter().zip(&models) {
            let validate = self.of_pair(pair, &fold.validate);
            for (&row, margin) in validate.iter().zip(self.margins(model, &validate)?) {
                chances[row] = sigmoid(margin);
            }
        }
        Ok(Some(chances))
    }

    /// The AUC of these chances, with an interval that knows that they are cross-fitted.
    fn predictability(&self, pair: &Pair, chances: &[f64], run: &Run<'_>) -> Result<Interval, TrainError> {
        let rows: Vec<usize> = pair.rows.iter().copied().filter(|&row| chances[row].is_finite()).collect();
        let treated: Vec<f64> = rows.iter().map(|&row| f64::from(u8::from(self.arms[row] == pair.arm))).collect();
        let chance: Vec<f64> = rows.iter().map(|&row| chances[row]).collect();
        let group: Vec<u32> = rows.iter().map(|&row| self.dataset.group[row]).collect();
        let options = BootstrapOptions { resamples: 200, confidence: 0.95, seed: run.options.seed };
        let found = evaluate(&Labelled::new(&treated, &chance, &group)?, &[Metric::RocAuc], &options);
        let nothing = Interval { value: 0.5, low: 0.0, high: 1.0 };
        let auc = found.get(Metric::RocAuc).map_or(nothing, retain_eval::Measured::interval);
        Ok(widened(auc, self.widening()))
    }

    /// Those of some rows that belong to the pair.
    pub(super) fn of_pair(&self, pair: &Pair, rows: &[usize]) -> Vec<usize> {
        rows.iter().copied().filter(|&row| self.arms[row] == 0 || self.arms[row] == pair.arm).collect()
    }

    /// Those of some rows that are in an arm.
    pub(super) fn of_arm(&self, arm: u32, rows: &[usize]) -> Vec<usize> {
        rows.iter().copied().filter(|&row| self.arms[row] == arm).collect()
    }

    /// A model's margins of some rows.
    pub(super) fn margins(&self, model: &MarginModel, rows: &[usize]) -> Result<Vec<f64>, TrainError> {
        let engine = Engine::new(model, &self.dataset.schema)?;
        let mut margins = Vec::with_capacity(rows.len());
        engine.margins(self.dataset.rows(rows).values(), &mut margins);
        Ok(margins)
    }

    /// Outcomes of treated rows and of controls among some rows, beside predictions of theirs.
    pub(super) fn labelled(&self, pair: &Pair, rows: &[usize], predictions: &[f64]) -> Result<Labelled, TrainError> {
        let actual: Vec<f64> = rows.iter().map(|&row| self.dataset.target[row]).collect();
        let treated: Vec<bool> = rows.iter().map(|&row| self.arms[row] == pair.arm).collect();
        let group: Vec<u32> = rows.iter().map(|&row| self.dataset.group[row]).collect();
        Ok(Labelled::uplift(&actual, &treated, predictions, &group)?)
    }
}

/// Splits a table of several arms: rolling origins with their last block where rows are dated, else folds in which every arm has its share
/// of rows and of outcomes, with customers kept together.
///
/// The shares matter: where a fold that judges has more of an effect than chance would give, those that taught have less.
pub(super) fn plan(dataset: &Dataset, gap_days: f64, seed: u64) -> Result<Plan, TrainError> {
    let mut plan = if dataset.observed.is_some() {
        let mut plan = Plan::new(dataset, gap_days, seed)?;
        plan.folds.extend(plan.test.take());
        plan
    } else {
        let folds = folds(dataset, seed)?;
        let description = format!(
            "{} random folds with equal shares of every treatment and outcome, customers kept together (the table has no dates of \
             observation)",
            folds.len()
        );
        let strata = dataset.target.iter().map(|&value| f64::from(u8::from(value > 0.0))).collect();
        Plan { folds, strata, test: None, description, gap_days: None, warnings: Vec::new() }
    };
    check_folds(dataset, &plan.folds)?;
    if dataset.n_groups() < 30 {
        let n = dataset.n_groups();
        plan.warnings
            .push(format!("the rows belong to {n} customers or groups only: intervals are too narrow for other customers"));
    }
    Ok(plan)
}

/// The name of an arm, 0 for the control.
fn name_of(dataset: &Dataset, arm: u32) -> &str {
    let Some(spec) = &dataset.schema.treatment else { return "" };
    if arm == 0 { &spec.control } else { spec.treatments.get(arm as usize - 1).map_or("", String::as_str) }
}

/// A number for each stratum, from its name and not its position (FNV-1a): so a treatment is judged on the same folds whichever others it is
/// compared beside.
fn hash(seed: u64, name: &str, has_outcome: bool, n_rows: usize) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(name.bytes()).chain([u8::from(has_outcome)]).chain(n_rows.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn folds(dataset: &Dataset, seed: u64) -> Result<Vec<Fold>, SplitError> {
    let arms = dataset.treatment.as_deref().unwrap_or_default();
    let mut rows: Vec<(u32, usize)> = dataset.group.iter().copied().zip(0..).collect();
    rows.sort_unstable();
    let mut groups: Vec<Vec<usize>> =
        rows.chunk_by(|a, b| a.0 == b.0).map(|members| members.iter().map(|&(_, row)| row).collect()).collect();
    let work = dataset.n_rows().saturating_mul(most_columns(&dataset.schema).saturating_pow(2));
    let is_large = dataset.n_rows() > LARGE_ROWS || work > LARGE_WORK;
    let n_folds = if is_large { N_FOLDS_LARGE } else { N_FOLDS }.min(groups.len());
    if n_folds < 2 {
        return Err(SplitError::TooFewGroups { found: groups.len() });
    }
    let stratum = |row: usize| (arms.get(row).copied().unwrap_or(0), dataset.target[row] > 0.0);
    groups.sort_by_key(|group| (group.len(), stratum(group[0])));
    let mut fold_of_row = vec![0; dataset.n_rows()];
    for alike in groups.chunk_by_mut(|a, b| (a.len(), stratum(a[0])) == (b.len(), stratum(b[0]))) {
        let (arm, has_outcome) = stratum(alike[0][0]);
        let of_stratum = hash(seed, name_of(dataset, arm), has_outcome, alike[0].len());
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(of_stratum);
        alike.shuffle(&mut rng);
        let first = rng.random_range(0..n_folds);
        for (position, group) in alike.iter().enumerate() {
            for &row in group {
                fold_of_row[row] = (first + position) % n_folds;
            }
        }
    }
    let side =
        |fold: usize, validates: bool| (0..fold_of_row.len()).filter(|&row| (fold_of_row[row] == fold) == validates).collect();
    Ok((0..n_folds).map(|fold| Fold { train: side(fold, false), validate: side(fold, true) }).collect())
}

/// Every arm has something to learn from in every fold.
fn check_folds(dataset: &Dataset, folds: &[Fold]) -> Result<(), TrainError> {
    let arms = dataset.treatment.as_deref().unwrap_or_default();
    let n_arms = dataset.schema.treatment.as_ref().map_or(0, |spec| spec.treatments.len() + 1);
    for (position, fold) in folds.iter().enumerate() {
        for arm in 0..n_arms as u32 {
            let rows: Vec<usize> = fold.train.iter().copied().filter(|&row| arms[row] == arm).collect();
            let n_positives = rows.iter().filter(|&&row| dataset.target[row] > 0.0).count();
            let n_others = if dataset.schema.has_amounts() { MIN_OUTCOMES } else { rows.len() - n_positives };
            if n_positives.min(n_others) < MIN_OUTCOMES {
                return Err(
                    UpliftError::ThinFold { fold: position + 1, arm: arm as usize, n_rows: rows.len(), n_positives }.into()
                );
            }
        }
    }
    Ok(())
}

/// What a fit is told here.
pub(super) fn context(loss: Loss, run: &Run<'_>, plan: &Plan) -> FitContext {
    FitContext { deadline: run.selection_until(), ..run.context(loss, plan) }
}
