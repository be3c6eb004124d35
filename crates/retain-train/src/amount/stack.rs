//! Members into one log score: each is put on the scale of a log mean, they are averaged, and the average is recalibrated.
//!
//! Everything here works on scores of rows that no fit has seen. [`cross_fit`] repeats it without each row in turn, so that what
//! is reported and what intervals are made from is honest about this stage too.

use rayon::prelude::*;
use retain_data::Fold;
use retain_eval::{Labelled, Metric};
use retain_score::Calibrator;

use super::rank::RankCriterion;
use super::recalibrate::{Line, fit_curve};
use crate::blend::without_small;

/// Members picked at most, with repetition: a weight is a multiple of one in so many.
const PICKS: usize = 16;
/// A pick has to gain this much: less is chance.
const MIN_GAIN: f64 = 1e-4;
/// Rows that weights are chosen on at most.
const MAX_ROWS: usize = 30_000;

/// Log scores of members for the same rows, and what came.
#[derive(Clone, Copy)]
pub(super) struct Scores<'a> {
    /// One list per member.
    pub(super) members: &'a [Vec<f64>],
    pub(super) amounts: &'a [f64],
}

/// Which members make up a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// This one alone.
    Only(usize),
    /// A weighted average of those that do best together.
    Blend,
}

/// `recalibration(intercept + Σ coefficient · score)`, the log of the expected amount.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stack {
    pub(super) intercept: f64,
    /// One per member, from 0.
    pub(super) coefficients: Vec<f64>,
    pub(super) recalibration: Calibrator,
}

/// A stack, and expected amounts of its kind where each row had no part in it.
pub(super) struct CrossFitted {
    pub(super) stack: Stack,
    /// In the order of the rows.
    pub(super) logs: Vec<f64>,
}

impl Stack {
    /// Fits the members' lines and weights, without recalibration.
    fn fit(scores: Scores<'_>, rows: &[usize], choice: Choice) -> Self {
        let amounts: Vec<f64> = rows.iter().map(|&row| scores.amounts[row]).collect();
        let of_rows = |member: &Vec<f64>| rows.iter().map(|&row| member[row]).collect::<Vec<f64>>();
        let lines: Vec<Line> = scores.members.par_iter().map(|member| Line::fit(&of_rows(member), &amounts)).collect();
        let weights = match choice {
            Choice::Only(only) => (0..lines.len()).map(|member| f64::from(u8::from(member == only))).collect(),
            Choice::Blend => greedy_weights(scores, rows, &lines),
        };
        let sum = |part: &dyn Fn(&Line) -> f64| lines.iter().zip(&weights).map(|(line, weight)| weight * part(line)).sum::<f64>();
        let coefficients: Vec<f64> = lines.iter().zip(&weights).map(|(line, weight)| weight * line.slope).collect();
        let mut stack = Self { intercept: sum(&|line| line.intercept), coefficients, recalibration: Calibrator::Identity };
        // An average of logs has less spread than its members, and a total that is too small.
        let logs: Vec<f64> = rows.iter().map(|&row| stack.log(scores, row)).collect();
        let line = Line::fit(&logs, &amounts);
        stack.intercept = line.at(stack.intercept);
        stack.coefficients.iter_mut().for_each(|coefficient| *coefficient *= line.slope);
        stack
    }

    /// Members that count.
    pub(super) fn n_members(&self) -> usize {
        self.coefficients.iter().filter(|coefficient| **coefficient > 0.0).count()
    }

    /// The log of the expected amount of a row.
    fn log(&self, scores: Scores<'_>, row: usize) -> f64 {
        let parts = self.coefficients.iter().zip(scores.members).filter(|(coefficient, _)| **coefficient > 0.0);
        let sum = parts.fold(self.intercept, |sum, (coefficient, member)| sum + coefficient * member[row]);
        self.recalibration.log_odds(sum)
    }

    /// The same with a recalibration by blocks of these rows; none where there are too few.
    fn curved(&self, scores: Scores<'_>, rows: &[usize]) -> Option<Self> {
        let logs: Vec<f64> = rows.iter().map(|&row| self.log(scores, row)).collect();
        let amounts: Vec<f64> = rows.iter().map(|&row| scores.amounts[row]).collect();
        Some(Self { recalibration: fit_curve(&logs, &amounts)?, ..self.clone() })
    }
}

/// Fits a stack to all rows, and to the rows of each fold for the log scores of the others; keeps the recalibration whose
/// totals of tenths of the rows are nearer to the truth on these. Without folds the scores are those of the stack itself.
pub(super) fn cross_fit(scores: Scores<'_>, choice: Choice, folds: &[Fold]) -> CrossFitted {
    let all: Vec<usize> = (0..scores.amounts.len()).collect();
    let straight = Stack::fit(scores, &all, choice);
    let mut straight_logs: Vec<f64> = all.iter().map(|&row| straight.log(scores, row)).collect();
    let mut curved_logs = straight_logs.clone();
    let of_fold = |fold: &Fold| {
        let straight = Stack::fit(scores, &fold.train, choice);
        let curved = straight.curved(scores, &fold.train).unwrap_or_else(|| straight.clone());
        (straight, curved)
    };
    let of_folds: Vec<(Stack, Stack)> = folds.par_iter().map(of_fold).collect();
    for (fold, (straight, curved)) in folds.iter().zip(&of_folds) {
        for &row in &fold.validate {
            straight_logs[row] = straight.log(scores, row);
            curved_logs[row] = curved.log(scores, row);
        }
    }
    let is_better = decile_error(&curved_logs, scores.amounts) < decile_error(&straight_logs, scores.amounts);
    match straight.curved(scores, &all).filter(|_| is_better) {
        Some(stack) => CrossFitted { stack, logs: curved_logs },
        None => CrossFitted { stack: straight, logs: straight_logs },
    }
}

/// [`Metric::DecileMape`] of these log scores; infinite where it is not defined.
fn decile_error(logs: &[f64], amounts: &[f64]) -> f64 {
    let expected: Vec<f64> = logs.iter().map(|log| libm::exp(log.clamp(-100.0, 100.0))).collect();
    let group: Vec<u32> = (0..amounts.len() as u32).collect();
    let labelled = Labelled::values(amounts, &expected, None, &group).ok();
    labelled.and_then(|labelled| Metric::DecileMape.measure(&labelled)).unwrap_or(f64::INFINITY)
}

/// Picks members one after another, each time the one whose addition orders the rows best; weights add up to 1.
///
/// Greedy ensemble selection with replacement: Caruana, Niculescu-Mizil, Crew and Ksikes (2004).
fn greedy_weights(scores: Scores<'_>, rows: &[usize], lines: &[Line]) -> Vec<f64> {
    let rows: Vec<usize> = rows.iter().copied().step_by(rows.len().div_ceil(MAX_ROWS).max(1)).collect();
    let on_line = |(member, line): (&Vec<f64>, &Line)| rows.iter().map(|&row| line.at(member[row])).collect::<Vec<f64>>();
    let members: Vec<Vec<f64>> = scores.members.iter().zip(lines).map(on_line).collect();
    let criterion = RankCriterion::new(rows.iter().map(|&row| scores.amounts[row]).collect());
    let mut sums = vec![0.0; rows.len()];
    let mut picks = vec![0_usize; members.len()];
    let (mut most, mut best_picks) = (f64::NEG_INFINITY, picks.clone());
    // To the end, whatever the criterion does: a member that helps with a small weight only does so once the others have theirs.
    for _ in 0..PICKS {
        let with = |member: &Vec<f64>| {
            let score: Vec<f64> = sums.iter().zip(member).map(|(sum, log)| sum + log).collect();
            criterion.of(&score)
        };
        let found: Vec<f64> = members.par_iter().map(with).collect();
        // Of equals the first, which is the simpler.
        let best = (0..found.len()).rev().max_by(|&a, &b| found[a].total_cmp(&found[b]));
        let Some(best) = best else { break };
        picks[best] += 1;
        sums.iter_mut().zip(&members[best]).for_each(|(sum, log)| *sum += log);
        if found[best] > most + MIN_GAIN {
            (most, best_picks) = (found[best], picks.clone());
        }
    }
    without_small(&best_picks)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;
    use retain_data::stratified_folds;

    use super::*;

    /// Amounts with the log mean `0.8 · (first + second)`, half of them 0, and members that see one each, and noise.
    fn halves(n_rows: usize, seed: u64) -> (Vec<Vec<f64>>, Vec<f64>) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (mut members, mut amounts) = (vec![Vec::new(); 3], Vec::new());
        for _ in 0..n_rows {
            let mut draw = || random.random_range(-1.5..1.5);
            let seen: [f64; 3] = [draw(), draw(), draw()];
            let mean = (0.8 * (seen[0] + seen[1])).exp();
            amounts.push(if random.random_bool(0.5) { 0.0 } else { 2.0 * mean * random.random_range(0.5..1.5) });
            seen.into_iter().zip(&mut members).for_each(|(score, member)| member.push(score));
        }
        (members, amounts)
    }

    fn folds(amounts: &[f64]) -> Vec<Fold> {
        let group: Vec<u32> = (0..amounts.len() as u32).collect();
        stratified_folds(&amounts.iter().map(|&amount| f64::from(u8::from(amount > 0.0))).collect::<Vec<_>>(), &group, 5, 1)
    }

    #[test]
    fn members_that_know_different_things_share_the_weight_and_totals_are_right() {
        let (members, amounts) = halves(6_000, 1);
        let scores = Scores { members: &members, amounts: &amounts };
        let CrossFitted { stack, logs } = cross_fit(scores, Choice::Blend, &folds(&amounts));
        assert!(stack.coefficients[2] < 0.05 && (stack.coefficients[0] - stack.coefficients[1]).abs() < 0.25, "{stack:?}");
        let criterion = RankCriterion::new(amounts.clone());
        let best_alone = (0..3).map(|only| criterion.of(&cross_fit(scores, Choice::Only(only), &folds(&amounts)).logs));
        assert!(criterion.of(&logs) > best_alone.fold(0.0, f64::max) + 0.05);
        let total: f64 = logs.iter().map(|log| log.exp()).sum();
        assert!((total / amounts.iter().sum::<f64>() - 1.0).abs() < 0.01);
        let truth: f64 = members[0].iter().zip(&members[1]).map(|(a, b)| (0.8 * (a + b)).exp()).sum();
        assert!((total / truth - 1.0).abs() < 0.05, "{total} {truth}");
    }

    #[test]
    fn a_blend_of_noise_is_no_worse_than_its_best_member_beyond_chance() {
        let (mut members, amounts) = halves(3_000, 2);
        members[0] = members[0].iter().zip(&members[1]).map(|(a, b)| a + b).collect();
        let criterion = RankCriterion::new(amounts.clone());
        let scores = Scores { members: &members, amounts: &amounts };
        let [blend, best] =
            [Choice::Blend, Choice::Only(0)].map(|choice| criterion.of(&cross_fit(scores, choice, &folds(&amounts)).logs));
        assert!(blend > best - 0.005, "{blend} {best}");
    }

    #[test]
    fn members_that_say_nothing_give_the_mean() {
        let amounts: Vec<f64> = (0..500).map(|row| f64::from(row % 7)).collect();
        let members = vec![vec![3.0; 500]];
        for choice in [Choice::Blend, Choice::Only(0)] {
            let fitted = cross_fit(Scores { members: &members, amounts: &amounts }, choice, &folds(&amounts));
            let mean = amounts.iter().sum::<f64>() / 500.0;
            assert!(fitted.logs.iter().all(|log| (log.exp() - mean).abs() < 0.2), "{:?}", &fitted.logs[..3]);
        }
    }
}
