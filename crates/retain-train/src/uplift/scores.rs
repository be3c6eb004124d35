//! Scores of every member on rows that it did not learn from, told by their rank among the rows that it did.
//!
//! The fits of different folds have different scales. A model that is used ranks customers among themselves, so a score is told as the share
//! of teaching rows below it, and turned back into a score by the mean of the folds' quantiles: otherwise differences between the folds'
//! models would be counted against all of them.

use rayon::prelude::*;
use retain_data::Fold;
use retain_score::{Arm, EffectPart, Individual, Model, Predictor, UpliftModel};

use super::experiment::{Experiment, Pair};
use super::members::{Member, Method};
use super::nuisance::Outcomes;
use crate::learner::{FitContext, FitError};
use crate::train::{Run, TrainError};

/// Quantiles that a distribution of scores is told by.
const N_QUANTILES: usize = 1000;

/// A member on rows that it did not learn from.
pub(super) struct Tried {
    pub(super) member: Member,
    /// By row of the table: the share of teaching rows below; NaN for rows that no fold judges.
    pub(super) rank: Vec<f64>,
    /// Rising scores at even shares.
    pub(super) quantiles: Vec<f64>,
}

/// Raw scores of one member on one fold.
struct FoldScores {
    /// Of the rows of the pair that taught.
    taught: Vec<f64>,
    /// Of all rows to judge, whatever their arm.
    judged: Vec<f64>,
}

/// Fits every member on every fold; those that there is no time for are left out, with a warning. For segments there always is.
pub(super) fn cross_fit(
    experiment: &Experiment<'_>,
    pair: &Pair,
    members: &[Member],
    within: &[Outcomes],
    context: &FitContext,
    run: &mut Run<'_>,
) -> Result<Vec<Tried>, TrainError> {
    let folds = &experiment.plan.folds;
    let mut tried = Vec::with_capacity(members.len());
    let mut kept: Vec<(usize, Vec<FoldScores>)> = Vec::new();
    for (position, member) in members.iter().enumerate() {
        run.steps.begin(&member.name);
        let scores = match &member.method {
            Method::Blend(positions) => mean_of(positions, &kept),
            _ => fold_scores(experiment, pair, member, within, context),
        };
        run.steps.done(&member.name);
        match scores {
            Ok(scores) => {
                tried.push(Tried::new(member.clone(), folds, &scores, experiment.arms.len()));
                kept.push((position, scores));
            }
            Err(TrainError::Fit { source: FitError::OutOfTime, .. }) => {
                run.cut_short(&format!("there was no time for the {} of `{}`", member.name, experiment.name_of(pair)));
            }
            Err(other) => return Err(other),
        }
        let is_of_a_blend = |position: &usize| {
            members.iter().any(|member| matches!(&member.method, Method::Blend(positions) if positions.contains(position)))
        };
        kept.retain(|(position, _)| is_of_a_blend(position));
    }
    Ok(tried)
}

fn fold_scores(
    experiment: &Experiment<'_>,
    pair: &Pair,
    member: &Member,
    within: &[Outcomes],
    context: &FitContext,
) -> Result<Vec<FoldScores>, TrainError> {
    let of_fold = |(fold, outcomes): (&Fold, &Outcomes)| {
        if !matches!(member.method, Method::Segments) {
            context.check_time().map_err(|source| TrainError::Fit { learner: "uplift", source })?;
        }
        let parts = member.fit(experiment, pair, outcomes, context)?;
        let scorer = Scorer::new(parts, experiment)?;
        Ok(FoldScores { taught: scorer.scores(experiment, &outcomes.rows), judged: scorer.scores(experiment, &fold.validate) })
    };
    experiment.plan.folds.par_iter().zip(within).map(of_fold).collect()
}

/// The mean score of members that were tried.
fn mean_of(positions: &[usize], kept: &[(usize, Vec<FoldScores>)]) -> Result<Vec<FoldScores>, TrainError> {
    let found: Vec<&Vec<FoldScores>> =
        kept.iter().filter(|(position, _)| positions.contains(position)).map(|(_, scores)| scores).collect();
    // Without all of its members it would be another blend than the one that is fitted in the end.
    let out_of_time = TrainError::Fit { learner: "blend", source: FitError::OutOfTime };
    let Some(first) = found.first().filter(|_| found.len() == positions.len()) else { return Err(out_of_time) };
    let mean = |fold: usize, of: fn(&FoldScores) -> &Vec<f64>| -> Vec<f64> {
        let n_rows = of(&first[fold]).len();
        (0..n_rows).map(|row| found.iter().map(|one| of(&one[fold])[row]).sum::<f64>() / found.len() as f64).collect()
    };
    Ok((0..first.len())
        .map(|fold| FoldScores { taught: mean(fold, |one| &one.taught), judged: mean(fold, |one| &one.judged) })
        .collect())
}

impl Tried {
    fn new(member: Member, folds: &[Fold], scores: &[FoldScores], n_rows: usize) -> Self {
        let (mut rank, mut quantiles) = (vec![f64::NAN; n_rows], vec![0.0; N_QUANTILES + 1]);
        for (fold, scores) in folds.iter().zip(scores) {
            let mut taught = scores.taught.clone();
            taught.sort_unstable_by(f64::total_cmp);
            for (&row, &score) in fold.validate.iter().zip(&scores.judged) {
                rank[row] = share_below(&taught, score);
            }
            for (share, quantile) in quantiles.iter_mut().enumerate() {
                *quantile += quantile_of(&taught, share as f64 / N_QUANTILES as f64) / folds.len() as f64;
            }
        }
        Self { member, rank, quantiles }
    }

    /// The score at a rank.
    pub(super) fn score(&self, rank: f64) -> f64 {
        quantile_of(&self.quantiles, rank)
    }

    /// The member fitted to rows of the pair: its parts, and the mean score of these rows.
    pub(super) fn fit(
        &self,
        all: &[Member],
        experiment: &Experiment<'_>,
        pair: &Pair,
        outcomes: &Outcomes,
        context: &FitContext,
    ) -> Result<(Vec<EffectPart>, f64), TrainError> {
        let parts = match &self.member.method {
            Method::Blend(positions) => {
                let share = 1.0 / positions.len() as f64;
                let fitted = positions.iter().map(|&position| all[position].fit(experiment, pair, outcomes, context));
                let fitted: Vec<Vec<EffectPart>> = fitted.collect::<Result<_, TrainError>>()?;
                fitted.into_iter().flat_map(|parts| super::members::weighed(parts, share)).collect()
            }
            _ => self.member.fit(experiment, pair, outcomes, context)?,
        };
        let scores = Scorer::new(parts.clone(), experiment)?.scores(experiment, &outcomes.rows);
        Ok((parts, scores.iter().sum::<f64>() / scores.len().max(1) as f64))
    }
}

/// A score as the product computes it.
struct Scorer {
    predictor: Predictor,
}

impl Scorer {
    fn new(parts: Vec<EffectPart>, experiment: &Experiment<'_>) -> Result<Self, TrainError> {
        let individual = Individual { parts, center: 0.0, slope: 1.0, slope_half_width: 0.0 };
        let arm = Arm { name: "score".to_owned(), average: 0.0, half_width: 0.0, individual: Some(individual) };
        let model = Model::Uplift(UpliftModel { arms: vec![arm], limit: 1e100, chooses: true });
        Ok(Self { predictor: Predictor::new(&model, &experiment.dataset.schema)? })
    }

    fn scores(&self, experiment: &Experiment<'_>, rows: &[usize]) -> Vec<f64> {
        experiment.dataset.rows(rows).in_order().map(|row| self.predictor.predict(row).margin).collect()
    }
}

/// The share of sorted numbers below one, those equal to it by half.
fn share_below(sorted: &[f64], number: f64) -> f64 {
    let below = sorted.partition_point(|&other| other < number);
    let up_to = sorted.partition_point(|&other| other <= number);
    0.5 * (below + up_to) as f64 / sorted.len().max(1) as f64
}

/// The quantile of sorted numbers, straight between neighbours.
fn quantile_of(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}
