//! What signals have in common: [`overlaps`], and the few that do for all: [`minimal_set`].

use serde::Serialize;

use super::signals::SignalColumn;

/// How much two signals fire on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overlap {
    /// One signal.
    pub first: String,
    /// Another one.
    pub second: String,
    /// Rows on which both fire.
    pub n_both: usize,
    /// Rows on which both fire over rows on which either does (Jaccard); absent where neither ever fires.
    pub jaccard: Option<f64>,
}

/// One signal of the minimal set, and what it and those before it find together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaughtTogether {
    /// The signal.
    pub id: String,
    /// Rows that left which it adds.
    pub n_added: usize,
    /// Of all rows that left, the share found so far.
    pub recall: f64,
    /// Of the rows on which one of them fires, the share that left.
    pub precision: f64,
    /// The share of rows on which one of them fires.
    pub fired: f64,
}

fn fires(signal: &SignalColumn<'_>, row_idx: usize) -> bool {
    signal.fired[row_idx] == Some(true)
}

/// Every pair of signals; what cannot be answered does not fire.
pub fn overlaps(signals: &[SignalColumn<'_>]) -> Vec<Overlap> {
    let mut overlaps = Vec::new();
    for (position, first) in signals.iter().enumerate() {
        for second in &signals[position + 1..] {
            let rows = 0..first.fired.len();
            let n_both = rows.clone().filter(|&row_idx| fires(first, row_idx) && fires(second, row_idx)).count();
            let n_either = rows.filter(|&row_idx| fires(first, row_idx) || fires(second, row_idx)).count();
            let jaccard = (n_either > 0).then(|| n_both as f64 / n_either as f64);
            overlaps.push(Overlap { first: first.id.to_owned(), second: second.id.to_owned(), n_both, jaccard });
        }
    }
    overlaps
}

/// Takes the signal that finds most of those who left and are not found yet, again and again, until `kept` of what all signals find
/// is found. Of two that find as many, the one with fewer false alarms comes first, then the one that stands first.
///
/// # Source
/// Greedy maximum coverage: at least 1 − 1/e of what any set of as many signals finds (Nemhauser, Wolsey and Fisher 1978).
pub fn minimal_set(signals: &[SignalColumn<'_>], churned: &[bool], kept: f64) -> Vec<CaughtTogether> {
    let n_churned = churned.iter().filter(|&&left| left).count();
    let all = (0..churned.len()).filter(|&row_idx| churned[row_idx] && signals.iter().any(|signal| fires(signal, row_idx)));
    let wanted = (kept * all.count() as f64).ceil() as usize;
    let mut covered = vec![false; churned.len()];
    let (mut chosen, mut n_found, mut n_fired) = (Vec::new(), 0, 0);
    let mut left: Vec<&SignalColumn<'_>> = signals.iter().collect();
    while n_found < wanted && !left.is_empty() {
        let gain = |signal: &SignalColumn<'_>| new_rows(signal, churned, &covered);
        let gains: Vec<(usize, usize)> = left.iter().map(|signal| gain(signal)).collect();
        let best = (0..left.len()).min_by_key(|&position| (std::cmp::Reverse(gains[position].0), gains[position].1));
        let Some(position) = best.filter(|&position| gains[position].0 > 0) else { break };
        let signal = left.remove(position);
        let (found, false_alarms) = gains[position];
        (n_found, n_fired) = (n_found + found, n_fired + found + false_alarms);
        covered.iter_mut().enumerate().for_each(|(row_idx, covered)| *covered |= fires(signal, row_idx));
        chosen.push(CaughtTogether {
            id: signal.id.to_owned(),
            n_added: found,
            recall: n_found as f64 / n_churned as f64,
            precision: n_found as f64 / n_fired as f64,
            fired: n_fired as f64 / churned.len() as f64,
        });
    }
    chosen
}

/// Rows that a signal adds: those that left, and those that stayed.
fn new_rows(signal: &SignalColumn<'_>, churned: &[bool], covered: &[bool]) -> (usize, usize) {
    let added = (0..churned.len()).filter(|&row_idx| fires(signal, row_idx) && !covered[row_idx]);
    added.fold((0, 0), |(left, stayed), row_idx| if churned[row_idx] { (left + 1, stayed) } else { (left, stayed + 1) })
}
