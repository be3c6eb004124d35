//! Metrics of survival curves against times that may be censored.
//!
//! Rows are sorted once, by time with events before censorings of the same day, so that whoever follows a row in that order was
//! still under observation when it left. A resample is a weight per row; the censoring distribution is estimated anew in each.

use crate::binary::N_BINS;
use crate::d_calibration::OwnSurvival;
use crate::kaplan_meier::ProductLimit;
use crate::labelled::dense_ranks;
use crate::metrics::{Horizon, Metric};
use crate::outcome::Curves;
use crate::ranking::{block_ends, falling, tenth};

/// Survival curves sorted once, to be measured under any weights of their groups.
#[derive(Debug)]
pub(crate) struct SurvivalGauge {
    /// By time, events first.
    rows: Vec<SurvivalRow>,
    grid: Vec<DayColumn>,
    /// Those of [`Horizon::ALL`] that the grid reaches.
    horizons: Vec<(Horizon, DayColumn, RiskOrder)>,
    /// Rank of each row's survival at the last grid day among the distinct ones, from 0.
    last_ranks: Vec<usize>,
    n_ranks: usize,
    own_survival: Vec<OwnSurvival>,
}

#[derive(Debug, Clone, Copy)]
struct SurvivalRow {
    group_idx: u32,
    time: f64,
    event: bool,
}

/// The predictions for one day, in the order of the gauge's rows.
#[derive(Debug)]
struct DayColumn {
    day: f64,
    survival: Vec<f64>,
    /// Rows before this position have had the event by the day or were lost before it, the others were seen to survive it.
    boundary: usize,
}

/// Row positions by falling survival, that is by rising risk, and where runs of equal risk end.
#[derive(Debug)]
struct RiskOrder {
    row_idxs: Vec<usize>,
    ends: Vec<usize>,
}

/// One resample: weights per row, and the chance before each row that a row is still observed then.
struct Resample<'a> {
    gauge: &'a SurvivalGauge,
    weights: Vec<u32>,
    n_rows: u64,
    /// One more than rows: the last is after all of them.
    observed: Vec<f64>,
}

impl SurvivalGauge {
    pub(crate) fn new(curves: &Curves, group_idx: &[u32]) -> Self {
        let row_idxs = sorted_rows(curves);
        let row = |&row_idx: &usize| SurvivalRow {
            group_idx: group_idx[row_idx],
            time: curves.times[row_idx],
            event: curves.events[row_idx],
        };
        let rows: Vec<SurvivalRow> = row_idxs.iter().map(row).collect();
        let column = |day: f64| DayColumn {
            day,
            survival: row_idxs.iter().map(|&row_idx| curves.survival_at(row_idx, day)).collect(),
            boundary: rows.partition_point(|row| row.time < day || (row.time == day && row.event)),
        };
        let grid: Vec<DayColumn> = curves.grid_days.iter().map(|&day| column(day)).collect();
        let reached = Horizon::ALL.into_iter().filter(|horizon| horizon.days() <= curves.last_day());
        let horizons = reached.map(|horizon| {
            let column = column(horizon.days());
            let order = RiskOrder::new(&column.survival);
            (horizon, column, order)
        });
        let last_ranks = grid.last().map_or_else(Vec::new, |column| dense_ranks(&column.survival));
        Self {
            horizons: horizons.collect(),
            n_ranks: last_ranks.iter().max().map_or(0, |rank| rank + 1),
            last_ranks,
            own_survival: row_idxs.iter().map(|&row_idx| OwnSurvival::new(curves, row_idx)).collect(),
            grid,
            rows,
        }
    }

    /// The metrics with each row counted as often as its group weighs; metrics of other kinds are not defined.
    pub(crate) fn measure(&self, metrics: &[Metric], group_weights: &[u32]) -> Vec<Option<f64>> {
        let resample = Resample::new(self, group_weights);
        let at = |horizon: Horizon| self.horizons.iter().find(|(known, ..)| *known == horizon);
        let measure = |metric: &Metric| match *metric {
            Metric::SurvivalBrier(horizon) => at(horizon).and_then(|(_, column, _)| resample.brier(column)),
            Metric::IntegratedBrier => resample.integrated_brier(),
            Metric::UnoC => resample.uno_c(),
            Metric::SurvivalBias(horizon) => at(horizon).and_then(|(_, column, _)| resample.bias(column)),
            Metric::SurvivalEce(horizon) => at(horizon).and_then(|(_, column, order)| resample.calibration_error(column, order)),
            Metric::DCalibrationP => Some(OwnSurvival::p_value(&self.own_survival, &resample.weights)),
            _ => None,
        };
        metrics.iter().map(measure).collect()
    }
}

/// Row positions by time, events first, and by curve where both are the same, so that sums do not depend on the table's order.
fn sorted_rows(curves: &Curves) -> Vec<usize> {
    let mut row_idxs: Vec<usize> = (0..curves.times.len()).collect();
    row_idxs.sort_unstable_by(|&a, &b| {
        let left = curves.times[a].total_cmp(&curves.times[b]).then(curves.events[b].cmp(&curves.events[a]));
        let curve = || curves.curve(a).iter().zip(curves.curve(b)).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne());
        left.then_with(|| curve().unwrap_or(std::cmp::Ordering::Equal))
    });
    row_idxs
}

impl RiskOrder {
    fn new(survival: &[f64]) -> Self {
        let row_idxs = falling(survival);
        let ends = block_ends(&row_idxs, |a, b| survival[a] == survival[b]);
        Self { row_idxs, ends }
    }
}

impl<'a> Resample<'a> {
    fn new(gauge: &'a SurvivalGauge, group_weights: &[u32]) -> Self {
        let weights: Vec<u32> = gauge.rows.iter().map(|row| group_weights[row.group_idx as usize]).collect();
        let n_rows = weights.iter().map(|&weight| u64::from(weight)).sum();
        let mut censoring = ProductLimit::new(n_rows);
        let mut observed = Vec::with_capacity(weights.len() + 1);
        for (row, &weight) in gauge.rows.iter().zip(&weights) {
            observed.push(censoring.share());
            censoring.pass(u64::from(weight), !row.event);
        }
        observed.push(censoring.share());
        Self { gauge, weights, n_rows, observed }
    }

    /// Rows with their weight and the chance that they were still observed when they left.
    fn rows(&self) -> impl DoubleEndedIterator<Item = (&SurvivalRow, f64, f64)> + ExactSizeIterator {
        let weighted = self.gauge.rows.iter().zip(&self.weights).zip(&self.observed[..self.weights.len()]);
        weighted.map(|((row, &weight), &observed)| (row, f64::from(weight), observed))
    }

    /// None where all rows were lost before the day.
    fn brier(&self, column: &DayColumn) -> Option<f64> {
        let (mut before, mut after) = (0.0, 0.0);
        let (left, stayed) = column.survival.split_at(column.boundary);
        for ((row, weight, observed), survival) in self.rows().zip(left) {
            if row.event && weight > 0.0 {
                before += weight / observed * survival * survival;
            }
        }
        for (&weight, survival) in self.weights[column.boundary..].iter().zip(stayed) {
            after += f64::from(weight) * (1.0 - survival) * (1.0 - survival);
        }
        let observed = self.observed[column.boundary];
        (observed > 0.0).then(|| (before + after / observed) / self.n_rows as f64)
    }

    fn integrated_brier(&self) -> Option<f64> {
        let grid = &self.gauge.grid;
        let scores = grid.iter().map(|column| self.brier(column)).collect::<Option<Vec<f64>>>()?;
        let (first, last) = (grid.first()?, grid.last()?);
        if grid.len() == 1 {
            return scores.first().copied();
        }
        let steps = grid.windows(2).zip(scores.windows(2));
        let area: f64 = steps.map(|(days, scores)| (days[1].day - days[0].day) * (scores[0] + scores[1]) / 2.0).sum();
        Some(area / (last.day - first.day))
    }

    /// None where no event before the last grid day can be compared with a later row.
    fn uno_c(&self) -> Option<f64> {
        let horizon = self.gauge.grid.last()?.day;
        let mut later = RankCounts::new(self.gauge.n_ranks);
        let (mut won, mut pairs) = (0.0, 0.0);
        // From the last row to the first; events of one time are counted only once all of them were compared.
        let mut waiting: Vec<usize> = Vec::new();
        let rows = &self.gauge.rows;
        for row_idx in (0..rows.len()).rev().filter(|&row_idx| self.weights[row_idx] > 0) {
            let row = &rows[row_idx];
            if waiting.first().is_some_and(|&first| !row.event || rows[first].time != row.time) {
                waiting.drain(..).for_each(|idx| later.add(self.gauge.last_ranks[idx], self.weights[idx]));
            }
            if !row.event {
                later.add(self.gauge.last_ranks[row_idx], self.weights[row_idx]);
                continue;
            }
            waiting.push(row_idx);
            if row.time < horizon {
                let weight = f64::from(self.weights[row_idx]) / (self.observed[row_idx] * self.observed[row_idx]);
                let (safer, tied) = later.above_and_at(self.gauge.last_ranks[row_idx]);
                won += weight * (safer as f64 + tied as f64 / 2.0);
                pairs += weight * later.total as f64;
            }
        }
        (pairs > 0.0).then(|| won / pairs)
    }

    fn bias(&self, column: &DayColumn) -> Option<f64> {
        let mut estimate = ProductLimit::new(self.n_rows);
        for (row, &weight) in self.gauge.rows[..column.boundary].iter().zip(&self.weights) {
            estimate.pass(u64::from(weight), row.event);
        }
        let predicted: f64 = self.weights.iter().zip(&column.survival).map(|(&weight, s)| f64::from(weight) * (1.0 - s)).sum();
        estimate.is_known().then(|| predicted / self.n_rows as f64 - (1.0 - estimate.share()))
    }

    fn calibration_error(&self, column: &DayColumn, order: &RiskOrder) -> Option<f64> {
        let bin_of_row = self.risk_bins(order);
        let (mut sizes, mut predicted) = ([0_u64; N_BINS], [0.0; N_BINS]);
        for ((&bin, &weight), survival) in bin_of_row.iter().zip(&self.weights).zip(&column.survival) {
            sizes[bin] += u64::from(weight);
            predicted[bin] += f64::from(weight) * (1.0 - survival);
        }
        let mut estimates = sizes.map(ProductLimit::new);
        for ((row, &weight), &bin) in self.gauge.rows[..column.boundary].iter().zip(&self.weights).zip(&bin_of_row) {
            estimates[bin].pass(u64::from(weight), row.event);
        }
        let (mut gaps, mut counted) = (0.0, 0);
        for (bin, estimate) in estimates.iter().enumerate().filter(|(_, estimate)| estimate.is_known()) {
            gaps += (predicted[bin] - sizes[bin] as f64 * (1.0 - estimate.share())).abs();
            counted += sizes[bin];
        }
        (counted > 0).then(|| gaps / counted as f64)
    }

    /// The bin of each row among ten of equal shares, from low risk to high.
    fn risk_bins(&self, order: &RiskOrder) -> Vec<usize> {
        let mut bins = vec![0; self.weights.len()];
        let (mut below, mut start) = (0, 0);
        for &end in &order.ends {
            let tied = order.row_idxs[start..end].iter().map(|&row_idx| u64::from(self.weights[row_idx])).sum();
            if tied > 0 {
                let bin = tenth(below, tied, self.n_rows);
                order.row_idxs[start..end].iter().for_each(|&row_idx| bins[row_idx] = bin);
            }
            below += tied;
            start = end;
        }
        bins
    }
}

/// Counts per rank with running totals in logarithmic time: Fenwick's tree (1994).
struct RankCounts {
    /// Counted from 1.
    tree: Vec<u64>,
    total: u64,
}

impl RankCounts {
    fn new(n_ranks: usize) -> Self {
        Self { tree: vec![0; n_ranks + 1], total: 0 }
    }

    fn add(&mut self, rank: usize, count: u32) {
        self.total += u64::from(count);
        let mut position = rank + 1;
        while position < self.tree.len() {
            self.tree[position] += u64::from(count);
            position += position & position.wrapping_neg();
        }
    }

    /// How many have a rank below `rank`.
    fn below(&self, rank: usize) -> u64 {
        let (mut position, mut sum) = (rank, 0);
        while position > 0 {
            sum += self.tree[position];
            position &= position - 1;
        }
        sum
    }

    fn above_and_at(&self, rank: usize) -> (u64, u64) {
        let (below, to) = (self.below(rank), self.below(rank + 1));
        (self.total - to, to - below)
    }
}
