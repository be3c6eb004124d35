//! How many rounds: found by the loss of rows that a run does not train on.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use retain_data::Dataset;

use super::booster::Booster;
use super::params::{BoostingParams, RoundsPlan};
use crate::learner::{FitContext, FitError};

/// Share of the rows, the latest, that judge where a table has dates.
const LATEST_SHARE: f64 = 0.2;
/// Where the dates leave less than this share of the rows to train on, they are not used.
const MIN_EARLIER_SHARE: f64 = 0.4;

/// Rows that train and rows that judge; positions in the chosen rows of the dataset, sorted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InnerSplit {
    /// Train.
    pub(super) train: Vec<u32>,
    /// Judge.
    pub(super) held_out: Vec<u32>,
}

/// The splits by which rounds are counted: the latest rows where there are dates, else parts that keep groups together and have
/// about the same share of positives. None where some part would train or judge on one class, or one amount, only.
pub(super) fn inner_splits(dataset: &Dataset, row_idxs: &[usize], plan: RoundsPlan, context: &FitContext) -> Vec<InnerSplit> {
    let targets: Vec<f64> = row_idxs.iter().map(|&row_idx| dataset.target[row_idx]).collect();
    if let Some(split) = latest_rows(dataset, row_idxs, context.gap_days.unwrap_or(0.0))
        && split.tells_targets_apart(&targets)
    {
        return vec![split];
    }
    let (n_parts, n_used) = if plan.n_folds > 1 { (plan.n_folds, plan.n_folds) } else { (RoundsPlan::HOLD_OUT_PARTS, 1) };
    let part = parts(dataset, row_idxs, n_parts, context.seed);
    let split = |fold: usize| {
        let (held_out, train) = (0..row_idxs.len() as u32).partition(|&row| part[row as usize] == fold);
        InnerSplit { train, held_out }
    };
    let splits: Vec<InnerSplit> = (0..n_used).map(split).collect();
    if splits.iter().all(|split| split.tells_targets_apart(&targets)) { splits } else { Vec::new() }
}

impl InnerSplit {
    fn tells_targets_apart(&self, targets: &[f64]) -> bool {
        let vary = |rows: &[u32]| rows.iter().any(|&row| targets[row as usize] != targets[rows[0] as usize]);
        vary(&self.train) && vary(&self.held_out)
    }
}

/// The latest fifth of the rows judges; those known less than `gap_days` before it are left out.
fn latest_rows(dataset: &Dataset, row_idxs: &[usize], gap_days: f64) -> Option<InnerSplit> {
    let observed = dataset.observed.as_ref()?;
    let mut days: Vec<f64> = row_idxs.iter().map(|&row_idx| observed[row_idx]).collect();
    days.sort_unstable_by(f64::total_cmp);
    let first_judged = *days.get(((1.0 - LATEST_SHARE) * days.len() as f64) as usize)?;
    let rows = |wanted: &dyn Fn(f64) -> bool| -> Vec<u32> {
        row_idxs.iter().zip(0u32..).filter(|(row_idx, _)| wanted(observed[**row_idx])).map(|(_, row)| row).collect()
    };
    let train = rows(&|day| day < first_judged && day <= first_judged - gap_days);
    let enough = train.len() as f64 >= MIN_EARLIER_SHARE * row_idxs.len() as f64;
    enough.then(|| InnerSplit { train, held_out: rows(&|day| day >= first_judged) })
}

/// The part of each row: groups are shuffled and dealt out, first those with a positive, then the others.
fn parts(dataset: &Dataset, row_idxs: &[usize], n_parts: usize, seed: u64) -> Vec<usize> {
    let mut seen: Vec<(u32, bool)> = row_idxs.iter().map(|&row| (dataset.group[row], dataset.target[row] != 1.0)).collect();
    // A group's positive row sorts first, so it stands for the group.
    seen.sort_unstable();
    seen.dedup_by_key(|(group, _)| *group);
    seen.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    seen.sort_by_key(|&(_, negative)| negative);
    let mut part_of_group: Vec<(u32, usize)> = seen.iter().enumerate().map(|(at, &(group, _))| (group, at % n_parts)).collect();
    part_of_group.sort_unstable();
    let part = |&row: &usize| part_of_group.binary_search_by_key(&dataset.group[row], |&(group, _)| group);
    row_idxs.iter().map(|row| part(row).map_or(0, |place| part_of_group[place].1)).collect()
}

/// The number of rounds with the smallest mean loss over the watched rows of all boosters, which go on in step until the loss
/// has not improved for [`BoostingParams::patience`] rounds.
///
/// # Errors
/// [`FitError::OutOfTime`] when the budget ends first.
pub(super) fn best_rounds(boosters: &mut [Booster], params: &BoostingParams, context: &FitContext) -> Result<usize, FitError> {
    let loss = |boosters: &[Booster]| boosters.iter().map(Booster::watched_loss).sum::<f64>();
    let (mut best_loss, mut best_round) = (loss(boosters), 0);
    for round in 1..=params.max_rounds() {
        context.check_time()?;
        boosters.par_iter_mut().for_each(Booster::step);
        let loss = loss(boosters);
        if loss < best_loss {
            (best_loss, best_round) = (loss, round);
        } else if round - best_round >= params.patience() {
            break;
        }
    }
    Ok(best_round)
}
