//! Leaf values of the pinball loss: its second derivative is 0, so a tree grown on its gradient knows directions but no
//! distances. Each leaf gets the quantile of what its rows are still off by.

use retain_core::Monotone;

use super::booster::Task;
use super::grow::{GrownNode, GrownTree};
use super::loss::weighted_quantile;
use super::split::Bounds;

/// Sets every leaf to the learning rate times the quantile of `target − margin` over its rows.
///
/// At a split that has to keep an order, the middle between the quantiles of its two sides bounds all leaves below.
pub(super) fn refit_to_quantile(grown: &mut GrownTree, task: &Task, margins: &[f64], level: f64) {
    if grown.nodes.len() == 1 {
        return;
    }
    let quantile = |rows: &[u32]| {
        let residual = |&row: &u32| (task.targets[row as usize] - margins[row as usize], task.weight(row as usize));
        weighted_quantile(rows.iter().map(residual).collect(), level)
    };
    let ranges = ranges(grown);
    let mut bounds = vec![Bounds::NONE; grown.nodes.len()];
    for position in 0..grown.nodes.len() {
        let Bounds { lower, upper } = bounds[position];
        match &mut grown.nodes[position] {
            GrownNode::Leaf { value, start, end } => {
                *value = task.params.learning_rate * quantile(&grown.rows[*start..*end]).clamp(lower, upper);
            }
            GrownNode::Split { column, left, right, .. } => {
                let (left, right) = (*left, *right);
                (bounds[left], bounds[right]) = (bounds[position], bounds[position]);
                let Some(order) = task.table.columns[*column].monotone else { continue };
                let side = |child: usize| quantile(&grown.rows[ranges[child].0..ranges[child].1]).clamp(lower, upper);
                let middle = f64::midpoint(side(left), side(right));
                let (low, high) = if order == Monotone::Increasing { (left, right) } else { (right, left) };
                (bounds[low].upper, bounds[high].lower) = (middle, middle);
            }
        }
    }
}

/// The first of each node's rows and one past the last.
fn ranges(grown: &GrownTree) -> Vec<(usize, usize)> {
    let mut ranges = vec![(0, 0); grown.nodes.len()];
    for (position, node) in grown.nodes.iter().enumerate().rev() {
        ranges[position] = match *node {
            GrownNode::Leaf { start, end, .. } => (start, end),
            GrownNode::Split { left, right, .. } => (ranges[left].0, ranges[right].1),
        };
    }
    ranges
}
