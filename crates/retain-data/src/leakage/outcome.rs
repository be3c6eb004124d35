//! How much a score says about the target: ROC AUC where the target happened or did not, rank correlation where it is an amount.
//!
//! Everything goes through [`Level`]s, runs of rows of equal score: a number has a level per distinct value, a category one per value
//! and fold, an indicator two.

/// Most rows that the checks of columns look at; an AUC of .97 is then known to about ±.002 even if one row in fifty is positive.
const MAX_ROWS: usize = 200_000;
/// Folds of the rates that a row's own label must not be in.
const N_FOLDS: usize = 5;
/// Distinct values that are told apart; a column with more is cut into [`N_QUANTILES`] parts.
const MAX_VALUES: usize = 256;
const N_QUANTILES: usize = 64;
/// Rows of the overall mean that each part's mean is drawn towards.
const PRIOR_ROWS: f64 = 5.0;
/// Two-sided 95 % of a normal distribution.
const Z_95: f64 = 1.96;

/// The rows that are looked at and their target, less its mean: 1 or 0 as it is, amounts by their rank.
pub(super) struct Outcome {
    /// Positions in the dataset, rising.
    pub(super) rows: Vec<usize>,
    /// One per row of `rows`.
    pub(super) centred: Vec<f64>,
    fold: Vec<u8>,
    /// Positive and negative rows; none for amounts.
    classes: Option<(f64, f64)>,
    /// What [`Strength::value`] is.
    pub(super) measure: &'static str,
}

/// Rows of one score.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Level {
    pub(super) score: f64,
    pub(super) n: f64,
    /// Sum of the centred target.
    pub(super) sum: f64,
}

/// How well a score orders the rows by their target, whichever way round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Strength {
    /// From 0.5 (AUC) or 0 (correlation) to 1.
    pub(super) value: f64,
    /// Lower end of its 95 % interval.
    pub(super) low: f64,
}

impl Outcome {
    /// `target` and `group` have one value per row of the table.
    pub(super) fn new(target: &[f64], group: &[u32]) -> Self {
        let stride = target.len().div_ceil(MAX_ROWS).max(1);
        let rows: Vec<usize> = (0..target.len()).step_by(stride).collect();
        let values: Vec<f64> = rows.iter().map(|&row| target[row]).collect();
        let is_binary = values.iter().all(|&value| value == 0.0 || value == 1.0);
        let n_positives = values.iter().filter(|&&value| value == 1.0).count() as f64;
        let classes = is_binary.then_some((n_positives, values.len() as f64 - n_positives));
        let scores = if is_binary { values } else { mid_ranks(&values) };
        let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        let fold = rows.iter().map(|&row| (group[row] as usize % N_FOLDS) as u8).collect();
        let measure = if is_binary { "ROC AUC" } else { "rank correlation" };
        Self { centred: scores.iter().map(|score| score - mean).collect(), fold, rows, classes, measure }
    }

    /// The same target for some of the rows; `kept` are positions in `rows`, rising.
    pub(super) fn of_rows(&self, kept: &[usize]) -> Self {
        let centred: Vec<f64> = kept.iter().map(|&row| self.centred[row]).collect();
        let n_positives = centred.iter().filter(|&&value| value > 0.0).count() as f64;
        let mean = centred.iter().sum::<f64>() / kept.len().max(1) as f64;
        Self {
            rows: kept.iter().map(|&row| self.rows[row]).collect(),
            centred: centred.iter().map(|value| value - mean).collect(),
            fold: kept.iter().map(|&row| self.fold[row]).collect(),
            classes: self.classes.map(|_| (n_positives, kept.len() as f64 - n_positives)),
            measure: self.measure,
        }
    }

    /// The same outcome, its measure under another name.
    pub(super) fn named(self, measure: &'static str) -> Self {
        Self { measure, ..self }
    }

    /// Share of positive rows; none for amounts.
    pub(super) fn rate(&self) -> Option<f64> {
        self.classes.map(|(positives, negatives)| positives / (positives + negatives).max(1.0))
    }

    /// Rows of the rarer class; none of amounts.
    pub(super) fn smaller_class(&self) -> f64 {
        self.classes.map_or(0.0, |(positives, negatives)| positives.min(negatives))
    }

    /// Signed: from 0 to 1 (AUC) or from -1 to 1 (correlation).
    fn signed(&self, levels: &mut [Level]) -> f64 {
        levels.sort_by(|a, b| a.score.total_cmp(&b.score));
        let (mut before, mut covariance, mut n) = (0.0, 0.0, 0.0);
        let (mut rank_sum, mut rank_squares) = (0.0, 0.0);
        for run in levels.chunk_by(|a, b| a.score == b.score) {
            let rows: f64 = run.iter().map(|level| level.n).sum();
            let rank = before + f64::midpoint(rows, 1.0);
            covariance += rank * run.iter().map(|level| level.sum).sum::<f64>();
            rank_sum += rows * rank;
            rank_squares += rows * rank * rank;
            before += rows;
            n += rows;
        }
        if let Some((positives, negatives)) = self.classes {
            return if positives * negatives > 0.0 { 0.5 + covariance / (positives * negatives) } else { 0.5 };
        }
        let score_spread = rank_squares - rank_sum * rank_sum / f64::max(n, 1.0);
        let spread: f64 = self.centred.iter().map(|value| value * value).sum();
        // Where most amounts are 0, a score that tells these apart is no worse for it: it is held against the most it could reach.
        let most = spread * score_spread.min(spread);
        if most > 0.0 { covariance / most.sqrt() } else { 0.0 }
    }

    /// AUC or correlation of scores, one per row looked at, the higher the surer.
    pub(super) fn signed_of(&self, scores: &[f64]) -> f64 {
        let level = |(&score, &sum): (&f64, &f64)| Level { score, n: 1.0, sum };
        self.signed(&mut scores.iter().zip(&self.centred).map(level).collect::<Vec<_>>())
    }

    /// The strength of a score that may point either way; `levels` cover every row of `rows` once.
    pub(super) fn strength(&self, levels: &mut [Level]) -> Strength {
        let signed = self.signed(levels);
        self.with_bound(if self.classes.is_some() { signed.max(1.0 - signed) } else { signed.abs() })
    }

    /// The strength of the mean target of a row's part of the column, taken over rows of other folds: what the column says about
    /// customers whose own labels have no part in it, in whatever order its values stand.
    pub(super) fn cross_fitted(&self, bins: &Bins) -> Strength {
        let cells = self.cells(bins, |_| true);
        let totals = totals(&cells);
        let of_others = |(cell, total): (&Level, &Level)| Level { score: total.mean_without(cell), ..*cell };
        let mut levels: Vec<Level> =
            cells.iter().zip(&totals).flat_map(|(folds, total)| folds.iter().map(move |cell| of_others((cell, total)))).collect();
        self.with_bound(self.signed(&mut levels).max(0.0))
    }

    /// The mean target of each row's part of the column over the rows that `learns` marks, if `apart` those of other folds only.
    pub(super) fn votes(&self, bins: &Bins, learns: impl Fn(usize) -> bool, apart: bool) -> Vec<f64> {
        let cells = self.cells(bins, learns);
        let totals = totals(&cells);
        let vote = |(&bin, &fold): (&u16, &u8)| {
            let own = if apart { cells[usize::from(bin)][usize::from(fold)] } else { Level::default() };
            totals[usize::from(bin)].mean_without(&own)
        };
        bins.of_row.iter().zip(&self.fold).map(vote).collect()
    }

    /// The rows that `learns` marks, by part of the column and by fold.
    fn cells(&self, bins: &Bins, learns: impl Fn(usize) -> bool) -> Vec<[Level; N_FOLDS]> {
        let mut cells = vec![[Level::default(); N_FOLDS]; bins.n_parts];
        for row in (0..self.rows.len()).filter(|&row| learns(row)) {
            let cell = &mut cells[usize::from(bins.of_row[row])][usize::from(self.fold[row])];
            cell.n += 1.0;
            cell.sum += self.centred[row];
        }
        cells
    }

    /// Half the 95 % interval of a signed value.
    pub(super) fn half_width(&self, value: f64) -> f64 {
        let strength = self.with_bound(value);
        strength.value - strength.low
    }

    /// Lower end after Hanley and `McNeil` (1982) for an AUC, after Fisher's z with the variance of ranks for a correlation.
    fn with_bound(&self, value: f64) -> Strength {
        let value = value.clamp(0.0, 1.0);
        let low = if let Some((positives, negatives)) = self.classes {
            let (q1, q2) = (value / (2.0 - value), 2.0 * value * value / (1.0 + value));
            let ranks = (positives - 1.0) * (q1 - value * value) + (negatives - 1.0) * (q2 - value * value);
            value - Z_95 * ((value * (1.0 - value) + ranks).max(0.0) / (positives * negatives).max(1.0)).sqrt()
        } else {
            let error = (1.06 / (self.rows.len() as f64 - 3.0).max(1.0)).sqrt();
            libm::tanh(libm::atanh(value.min(1.0 - 1e-12)) - Z_95 * error)
        };
        Strength { value, low }
    }
}

impl Level {
    /// The mean of the centred target without these rows, drawn towards the mean of all.
    fn mean_without(&self, own: &Level) -> f64 {
        (self.sum - own.sum) / (self.n - own.n + PRIOR_ROWS)
    }
}

fn totals(cells: &[[Level; N_FOLDS]]) -> Vec<Level> {
    let total = |folds: &[Level; N_FOLDS]| {
        folds.iter().fold(Level::default(), |sum, cell| Level { n: sum.n + cell.n, sum: sum.sum + cell.sum, ..sum })
    };
    cells.iter().map(total).collect()
}

/// Ranks from 1; equal values share the mean of theirs.
fn mid_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for run in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (run.len() + 1) as f64 / 2.0;
        for &row in run {
            ranks[row] = rank;
        }
        before += run.len();
    }
    ranks
}

/// A column cut into parts: its values where they are few, else parts of equally many rows; missing is the last.
pub(super) struct Bins {
    /// One per row looked at.
    pub(super) of_row: Vec<u16>,
    pub(super) n_parts: usize,
    /// The levels of the values themselves, in rising order; missing is not among them.
    pub(super) levels: Vec<Level>,
}

impl Bins {
    /// Of the values of the rows looked at, one per row.
    pub(super) fn new(outcome: &Outcome, value_of: impl Fn(usize) -> f64) -> Self {
        let values = outcome.rows.iter().map(|&row| value_of(row)).zip(0_u32..);
        let mut sorted: Vec<(f64, u32)> = values.filter(|(value, _)| !value.is_nan()).collect();
        sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let runs: Vec<&[(f64, u32)]> = sorted.chunk_by(|a, b| a.0 == b.0).collect();
        let rows_per_bin = if runs.len() <= MAX_VALUES { 1 } else { sorted.len().div_ceil(N_QUANTILES) };
        let mut of_row = vec![u16::MAX; outcome.rows.len()];
        let (mut bin, mut in_bin) = (0_u16, 0);
        let mut levels = Vec::with_capacity(runs.len());
        for run in runs {
            if in_bin >= rows_per_bin {
                (bin, in_bin) = (bin + 1, 0);
            }
            in_bin += run.len();
            let sum = run.iter().map(|&(_, row)| outcome.centred[row as usize]).sum();
            levels.push(Level { score: run[0].0, n: run.len() as f64, sum });
            for &(_, row) in run {
                of_row[row as usize] = bin;
            }
        }
        let missing = bin + 1;
        of_row.iter_mut().filter(|bin| **bin == u16::MAX).for_each(|bin| *bin = missing);
        Self { of_row, n_parts: usize::from(missing) + 1, levels }
    }

    /// The rows without a value and the rows with one.
    pub(super) fn missing_and_present(&self, outcome: &Outcome) -> [Level; 2] {
        let missing = self.n_parts - 1;
        let mut sides = [Level { score: 0.0, ..Level::default() }, Level { score: 1.0, ..Level::default() }];
        for (&bin, &centred) in self.of_row.iter().zip(&outcome.centred) {
            let side = &mut sides[usize::from(usize::from(bin) != missing)];
            side.n += 1.0;
            side.sum += centred;
        }
        sides
    }

    /// The strength of the column's own order, with the missing rows at the end that suits them better.
    pub(super) fn ordered(&self, outcome: &Outcome) -> Strength {
        let [missing, _] = self.missing_and_present(outcome);
        let at_end = |score: f64| {
            let mut levels = self.levels.clone();
            levels.extend((missing.n > 0.0).then_some(Level { score, ..missing }));
            outcome.strength(&mut levels)
        };
        let (low, high) = (at_end(f64::NEG_INFINITY), at_end(f64::INFINITY));
        if low.value > high.value { low } else { high }
    }
}
