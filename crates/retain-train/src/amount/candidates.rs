//! What could be bundled: every member alone, and the average of those that do best together.

use rayon::prelude::*;
use retain_data::Fold;
use retain_score::{AmountModel, Head, Interval, MarginModel, ValueHead};

use super::interval::fit_interval;
use super::members::Members;
use super::rank::RankCriterion;
use super::stack::{Choice, CrossFitted, Scores, Stack, cross_fit};
use crate::blend::{BLEND, weighted_sum};

/// One way to say how much comes, as good as it showed itself on the judged rows.
pub(super) struct Candidate {
    /// A member's name, or `blend`.
    pub(super) name: String,
    /// The settings of its parts.
    pub(super) configuration: String,
    pub(super) n_configurations: usize,
    pub(super) stack: Stack,
    /// Cross-fitted expected amounts of the judged rows.
    pub(super) expected: Vec<f64>,
    /// Mean of normalised Gini and Spearman of these: what candidates are ranked by.
    pub(super) criterion: f64,
}

/// All candidates, best first; `amounts` are those of the judged rows, `folds` divide them.
pub(super) fn candidates(members: &Members, amounts: &[f64], folds: &[Fold]) -> Vec<Candidate> {
    let logs: Vec<Vec<f64>> = members.members.iter().map(|member| member.logs.clone()).collect();
    let scores = Scores { members: &logs, amounts };
    let criterion = RankCriterion::new(amounts.to_vec());
    // The chance alone says who comes, and not how much.
    let alone = (0..logs.len()).filter(|&member| members.members[member].part.is_some()).map(Choice::Only);
    let choices: Vec<Choice> = alone.chain([Choice::Blend]).collect();
    let fitted: Vec<CrossFitted> = choices.par_iter().map(|&choice| cross_fit(scores, choice, folds)).collect();
    let mut candidates: Vec<Candidate> = choices
        .iter()
        .zip(fitted)
        .filter(|(choice, fitted)| **choice != Choice::Blend || fitted.stack.n_members() > 1)
        .map(|(&choice, CrossFitted { stack, logs })| {
            let score = criterion.of(&logs);
            let (configuration, n_configurations) = members.configuration(&stack);
            let name = match choice {
                Choice::Only(only) => members.members[only].name.clone(),
                Choice::Blend => BLEND.to_owned(),
            };
            let expected = logs.iter().map(|log| libm::exp(log.clamp(-100.0, 100.0))).collect();
            Candidate { name, configuration, n_configurations, stack, expected, criterion: score }
        })
        .collect();
    candidates.sort_by(|a, b| b.criterion.total_cmp(&a.criterion));
    candidates
}

impl Candidate {
    /// The model made of fitted parts, one per part that the candidate uses, with the limits that out-of-fold amounts give.
    pub(super) fn model(
        &self,
        members: &Members,
        fitted: &[Option<MarginModel>],
        occurrence: Head,
        decline: Option<Head>,
        interval: Option<Interval>,
    ) -> AmountModel {
        let mut weights = vec![0.0; fitted.len()];
        let (mut occurrence_weight, mut spread) = (0.0, None);
        for (member, &coefficient) in members.members.iter().zip(&self.stack.coefficients).filter(|(_, c)| **c > 0.0) {
            if let Some(part) = member.part {
                weights[part] += coefficient;
            }
            occurrence_weight += if member.has_chance { coefficient } else { 0.0 };
            spread = member.spread.map(|part| (part, coefficient)).or(spread);
        }
        let weighted = weights.iter().zip(fitted).filter(|(weight, _)| **weight > 0.0);
        let mut margin = weighted_sum(weighted.filter_map(|(&weight, model)| Some((weight, model.clone()?))).collect());
        margin.intercept += self.stack.intercept;
        let spread = spread.and_then(|(part, coefficient)| {
            // The scorer adds the exponential; its weight goes inside.
            let mut spread = fitted[part].clone()?;
            spread.intercept += libm::log(coefficient);
            Some(spread)
        });
        let calibrator = self.stack.recalibration.clone();
        AmountModel { occurrence, value: ValueHead { margin, occurrence_weight, spread, calibrator, interval }, decline }
    }

    /// Limits of further amounts.
    pub(super) fn interval(&self, amounts: &[f64]) -> Option<Interval> {
        fit_interval(&self.expected, amounts)
    }

    /// Lower and upper limits of the judged rows, each from the other folds.
    pub(super) fn cross_fitted_limits(&self, amounts: &[f64], folds: &[Fold]) -> Option<(Vec<f64>, Vec<f64>)> {
        let (mut low, mut high) = (vec![0.0; amounts.len()], vec![0.0; amounts.len()]);
        let pick = |values: &[f64], rows: &[usize]| -> Vec<f64> { rows.iter().map(|&row| values[row]).collect() };
        for fold in folds {
            let interval = fit_interval(&pick(&self.expected, &fold.train), &pick(amounts, &fold.train))?;
            for &row in &fold.validate {
                (low[row], high[row]) = interval.around(self.expected[row]);
            }
        }
        (!folds.is_empty()).then_some((low, high))
    }
}
