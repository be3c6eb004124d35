//! Models made of weighted members: which weights do best on rows that no member was fitted to, and how members add up to one model.
//!
//! Margins of members are averaged, so a blend is one [`MarginModel`] again: scored, explained and stored like any other.
//!
//! # Source
//! Greedy ensemble selection with replacement: Caruana, Niculescu-Mizil, Crew and Ksikes (2004).

use std::sync::Arc;

use rayon::prelude::*;
use retain_data::{Dataset, stratified_folds};
use retain_score::{MarginModel, NodeKind, Shape, Term, Tree};

use crate::learner::{Configuration, FitContext, Learner, Loss};
use crate::learners::rows::thinned;
use crate::train::TrainError;

/// What leaderboards and manifests call a model of several members.
pub(crate) const BLEND: &str = "blend";

/// Members picked at most, with repetition: a weight is a multiple of one in so many.
const PICKS: usize = 25;
/// A member of less weight costs more time at every prediction than it is worth.
const MIN_WEIGHT: f64 = 0.08;
/// Rows that weights are chosen on at most: four digits of a mean loss need no more.
const MAX_ROWS: usize = 100_000;
/// Folds over which the gain of a blend is measured.
const N_FOLDS: usize = 5;

/// How a model is made: members with weights that add up to 1.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) parts: Vec<Part>,
}

/// One member.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) learner: Arc<dyn Learner + Send>,
    /// The setting for fits after the folds.
    pub(crate) configuration: Configuration,
    pub(crate) weight: f64,
    /// Rows that the budget let it learn from; none where it had all.
    pub(crate) max_rows: Option<usize>,
}

impl Recipe {
    /// The learner's name, or `blend`.
    pub(crate) fn name(&self) -> &'static str {
        match &self.parts[..] {
            [only] => only.learner.name(),
            _ => BLEND,
        }
    }

    /// The setting, or the members with their weights and settings.
    pub(crate) fn configuration(&self) -> String {
        match &self.parts[..] {
            [only] => only.configuration.to_string(),
            parts => {
                let member = |part: &Part| format!("{:.2} × {} ({})", part.weight, part.learner.name(), part.configuration);
                parts.iter().map(member).collect::<Vec<_>>().join(" + ")
            }
        }
    }

    /// The model of these rows, or of as many of them as the folds could afford.
    pub(crate) fn fit(&self, dataset: &Dataset, row_idxs: &[usize], context: &FitContext) -> Result<MarginModel, TrainError> {
        let mut models = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let failed = |source| TrainError::Fit { learner: part.learner.name(), source };
            let row_idxs = &thinned(dataset, row_idxs, part.max_rows.unwrap_or(usize::MAX), context.seed);
            let settings = std::slice::from_ref(&part.configuration);
            let fitted = part.learner.fit(dataset, row_idxs, settings, context).map_err(failed)?;
            models.push((part.weight, fitted.into_iter().next().ok_or(TrainError::NoModel)?));
        }
        Ok(weighted_sum(models))
    }
}

/// One model whose margin is the weighted sum of the models' margins, up to rounding.
pub(crate) fn weighted_sum(models: Vec<(f64, MarginModel)>) -> MarginModel {
    let mut sum = MarginModel::default();
    for (weight, model) in models {
        sum.intercept += weight * model.intercept;
        sum.terms.extend(model.terms.into_iter().map(|term| scaled_term(term, weight)));
        sum.trees.extend(model.trees.into_iter().map(|tree| scaled_tree(tree, weight)));
    }
    sum
}

fn scaled_term(mut term: Term, weight: f64) -> Term {
    term.mean *= weight;
    match &mut term.shape {
        Shape::Number { linear, quadratic, missing, .. } => [linear, quadratic, missing].into_iter().for_each(|x| *x *= weight),
        Shape::Category { values, missing } => values.iter_mut().chain([missing]).for_each(|x| *x *= weight),
    }
    term
}

fn scaled_tree(mut tree: Tree, weight: f64) -> Tree {
    for node in &mut tree.nodes {
        if let NodeKind::Leaf { value } = &mut node.kind {
            *value *= weight;
        }
    }
    tree
}

/// Out-of-fold margins of several members for the same rows.
#[derive(Clone, Copy)]
pub(crate) struct Members<'a> {
    /// One list of margins per member.
    pub(crate) margins: &'a [&'a [f64]],
    pub(crate) target: &'a [f64],
    pub(crate) weight: Option<&'a [f64]>,
    pub(crate) group: &'a [u32],
    pub(crate) loss: Loss,
}

/// Weights of a blend, and margins of its kind where each row's weights were chosen without that row.
pub(crate) struct Blended {
    /// One per member; most are 0.
    pub(crate) weights: Vec<f64>,
    /// In the order of the rows.
    pub(crate) margins: Vec<f64>,
}

/// Chooses the weights; none where the best member stands alone, or there are too few groups to measure what a blend gains.
pub(crate) fn blend(members: Members<'_>, strata: &[f64], seed: u64) -> Option<Blended> {
    let all: Vec<usize> = (0..members.target.len()).collect();
    let weights = greedy_weights(members, &all);
    let folds = stratified_folds(strata, members.group, N_FOLDS, seed);
    if folds.is_empty() || weights.iter().filter(|&&weight| weight > 0.0).count() < 2 {
        return None;
    }
    let mut margins = vec![0.0; members.target.len()];
    let fold_weights: Vec<Vec<f64>> = folds.par_iter().map(|fold| greedy_weights(members, &fold.train)).collect();
    for (fold, weights) in folds.iter().zip(&fold_weights) {
        for &row in &fold.validate {
            margins[row] = members.margins.iter().zip(weights).map(|(member, weight)| weight * member[row]).sum();
        }
    }
    Some(Blended { weights, margins })
}

/// Picks members one after another, each time the one that lowers the mean loss of the average most.
fn greedy_weights(members: Members<'_>, rows: &[usize]) -> Vec<f64> {
    let rows: Vec<usize> = rows.iter().copied().step_by(rows.len().div_ceil(MAX_ROWS).max(1)).collect();
    let mut sums = vec![0.0; rows.len()];
    let mut picks = vec![0_usize; members.margins.len()];
    let (mut least, mut best_picks) = (f64::INFINITY, picks.clone());
    // To the end, whatever the losses do: a member that helps with a small weight only does so once the others have theirs.
    for n_picked in 0..PICKS {
        let share = 1.0 / (n_picked + 1) as f64;
        let loss_with = |member: &&[f64]| -> f64 {
            let row_loss = |(&row, sum): (&usize, &f64)| {
                members.weight.map_or(1.0, |weight| weight[row])
                    * members.loss.value((sum + member[row]) * share, members.target[row])
            };
            rows.iter().zip(&sums).map(row_loss).sum()
        };
        let losses: Vec<f64> = members.margins.par_iter().map(loss_with).collect();
        let Some(best) = (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])) else { break };
        picks[best] += 1;
        rows.iter().zip(&mut sums).for_each(|(&row, sum)| *sum += members.margins[best][row]);
        if losses[best] < least {
            (least, best_picks) = (losses[best], picks.clone());
        }
    }
    without_small(&best_picks)
}

/// Picks as weights that add up to 1, those of members that were hardly picked shared out among the others.
pub(crate) fn without_small(picks: &[usize]) -> Vec<f64> {
    let total = picks.iter().sum::<usize>() as f64;
    let kept = |&n: &usize| if n as f64 >= MIN_WEIGHT * total { n as f64 } else { 0.0 };
    let kept_total: f64 = picks.iter().map(kept).sum();
    picks.iter().map(|n| kept(n) / kept_total.max(1.0)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;
    use retain_score::sigmoid;

    use super::*;
    use crate::calibration::mean_log_loss;
    use crate::learners::Logistic;
    use crate::learners::rows::tests::example;

    /// Labels of known log-odds, and members that see half of these each, with a third that sees nothing.
    fn halves(n_rows: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        let (mut margins, mut target) = (vec![Vec::new(); 3], Vec::new());
        for _ in 0..n_rows {
            let mut draw = || rng.random_range(-3.0..3.0);
            let (first, second, noise) = (draw(), draw(), draw());
            target.push(f64::from(u8::from(rng.random_range(0.0..1.0) < sigmoid(0.5 * (first + second)))));
            [first, second, noise].into_iter().zip(&mut margins).for_each(|(margin, member)| member.push(margin));
        }
        (margins, target)
    }

    #[test]
    fn members_that_know_different_things_share_the_weight_and_noise_has_none() {
        let (margins, target) = halves(4_000);
        let margins: Vec<&[f64]> = margins.iter().map(Vec::as_slice).collect();
        let group: Vec<u32> = (0..4_000).collect();
        let members = Members { margins: &margins, target: &target, weight: None, group: &group, loss: Loss::Logistic };
        let blended = blend(members, &target, 1).unwrap();
        assert!((blended.weights[0] - 0.5).abs() < 0.1 && blended.weights[2] == 0.0, "{:?}", blended.weights);
        let loss = |margins: &[f64]| mean_log_loss(&margins.iter().map(|&m| sigmoid(m)).collect::<Vec<_>>(), &target);
        assert!(loss(&blended.margins) < loss(margins[0]) - 0.05);
    }

    #[test]
    fn a_member_that_is_best_alone_is_not_blended() {
        let (margins, target) = halves(2_000);
        let best: Vec<f64> = margins[0].iter().zip(&margins[1]).map(|(a, b)| 0.5 * (a + b)).collect();
        let group: Vec<u32> = (0..2_000).collect();
        let alone = [&best[..], &margins[2]];
        assert!(
            blend(Members { margins: &alone, target: &target, weight: None, group: &group, loss: Loss::Logistic }, &target, 1)
                .is_none()
        );
    }

    #[test]
    fn a_blend_is_one_model_with_the_margins_of_its_members() {
        let table = example(600, 4);
        let context = FitContext { loss: Loss::Logistic, seed: 1, deadline: None, gap_days: None };
        let rows: Vec<usize> = (0..600).collect();
        let settings = Logistic.configurations(&table, Loss::Logistic);
        let part = |position: usize, weight: f64| Part {
            learner: Arc::new(Logistic),
            configuration: settings[position].clone(),
            weight,
            max_rows: None,
        };
        let last = settings.len() - 1;
        let blend = Recipe { parts: vec![part(0, 0.25), part(last, 0.75)] }.fit(&table, &rows, &context).unwrap();
        let [first, second] = [0, last].map(|at| Recipe { parts: vec![part(at, 1.0)] }.fit(&table, &rows, &context).unwrap());
        for row in table.rows(&rows).in_order() {
            let expected = 0.25 * first.margin(row) + 0.75 * second.margin(row);
            assert!((blend.margin(row) - expected).abs() < 1e-12);
        }
    }
}
