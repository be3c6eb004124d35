//! Metrics of effects: how well a predicted effect finds those whom a treatment changes.
//!
//! Rows are sorted once, by predicted effect and then by everything else a metric reads, so that sums do not depend on the order of the
//! table; a resample is a weight per row. Curves have one step per distinct effect, as scikit-uplift's have.

use crate::metrics::Metric;
use crate::outcome::Effects;
use crate::ranking::block_ends;

/// The share of rows that `uplift_at_30` looks at, in percent.
const PERCENT: u64 = 30;

/// Effects sorted once, to be measured under any weights of their groups.
#[derive(Debug)]
pub(crate) struct UpliftGauge {
    /// By falling effect.
    rows: Vec<EffectRow>,
    /// Ends of runs of equal effects in `rows`.
    effect_ends: Vec<usize>,
    /// Number of steps of the perfect order.
    n_perfect: usize,
    /// Whether every outcome is 0 or 1.
    is_binary: bool,
}

#[derive(Debug, Clone, Copy)]
struct EffectRow {
    group_idx: u32,
    treated: bool,
    actual: f64,
    effect: f64,
    /// Step of the perfect order, from the best.
    perfect: u32,
}

/// Rows of one step: how many of either arm, and the sums of their outcomes.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    n_treated: f64,
    n_controls: f64,
    of_treated: f64,
    of_controls: f64,
}

impl UpliftGauge {
    pub(crate) fn new(effects: &Effects, group_idx: &[u32]) -> Self {
        let worth = |row: usize| (if effects.treated[row] { effects.actual[row] } else { -effects.actual[row] }) + 0.0;
        let mut perfect: Vec<f64> = (0..effects.actual.len()).map(worth).collect();
        perfect.sort_unstable_by(|a, b| b.total_cmp(a));
        perfect.dedup();
        let row = |row: usize| EffectRow {
            group_idx: group_idx[row],
            treated: effects.treated[row],
            actual: effects.actual[row],
            effect: effects.effect[row],
            perfect: perfect.partition_point(|&other| other > worth(row)) as u32,
        };
        let mut rows: Vec<EffectRow> = (0..effects.actual.len()).map(row).collect();
        rows.sort_unstable_by(|a, b| {
            let falling = b.effect.total_cmp(&a.effect).then(b.actual.total_cmp(&a.actual));
            falling.then(b.treated.cmp(&a.treated))
        });
        let effect_ends = block_ends(&rows, |a, b| a.effect == b.effect);
        let is_binary = rows.iter().all(|row| row.actual == 0.0 || row.actual == 1.0);
        Self { rows, effect_ends, n_perfect: perfect.len(), is_binary }
    }

    /// The metrics with each row counted as often as its group weighs; metrics of other kinds are not defined.
    pub(crate) fn measure(&self, metrics: &[Metric], group_weights: &[u32]) -> Vec<Option<f64>> {
        let (mut by_effect, mut perfect) = (Vec::with_capacity(self.effect_ends.len()), vec![Step::default(); self.n_perfect]);
        let (mut start, mut predicted) = (0, 0.0);
        for &end in &self.effect_ends {
            let mut step = Step::default();
            for row in &self.rows[start..end] {
                let weight = f64::from(group_weights[row.group_idx as usize]);
                step.add(row, weight);
                perfect[row.perfect as usize].add(row, weight);
            }
            predicted += step.n_rows() * self.rows[start].effect;
            by_effect.push(step);
            start = end;
        }
        let whole = perfect.iter().fold(Step::default(), Step::with);
        let Some(average) = whole.effect() else { return vec![None; metrics.len()] };
        let measure = |metric: &Metric| match metric {
            Metric::Qini => normalised(&by_effect, &perfect, Step::qini),
            Metric::Auuc if self.is_binary => normalised(&by_effect, &perfect_for_auuc(&whole), Step::cumulative_gain),
            Metric::UpliftAt30 => uplift_of_first(&by_effect, &whole),
            Metric::AverageEffect => Some(average),
            Metric::EffectBias => Some(predicted / whole.n_rows() - average),
            _ => None,
        };
        metrics.iter().map(measure).collect()
    }
}

impl Step {
    fn add(&mut self, row: &EffectRow, weight: f64) {
        if row.treated {
            self.n_treated += weight;
            self.of_treated += weight * row.actual;
        } else {
            self.n_controls += weight;
            self.of_controls += weight * row.actual;
        }
    }

    fn with(self, other: &Self) -> Self {
        self.with_share(other, 1.0)
    }

    /// This and a share of another.
    fn with_share(self, other: &Self, share: f64) -> Self {
        Self {
            n_treated: self.n_treated + share * other.n_treated,
            n_controls: self.n_controls + share * other.n_controls,
            of_treated: self.of_treated + share * other.of_treated,
            of_controls: self.of_controls + share * other.of_controls,
        }
    }

    fn n_rows(&self) -> f64 {
        self.n_treated + self.n_controls
    }

    /// Mean outcome of treated rows less that of controls; none where one arm is empty.
    fn effect(&self) -> Option<f64> {
        let both = self.n_treated > 0.0 && self.n_controls > 0.0;
        both.then(|| self.of_treated / self.n_treated - self.of_controls / self.n_controls)
    }

    /// The Qini curve over these rows.
    fn qini(&self) -> f64 {
        self.of_treated - if self.n_controls > 0.0 { self.of_controls * self.n_treated / self.n_controls } else { 0.0 }
    }

    /// The curve of [`Metric::Auuc`] over these rows; an empty arm counts as nothing.
    fn cumulative_gain(&self) -> f64 {
        let mean = |sum: f64, n: f64| if n > 0.0 { sum / n } else { 0.0 };
        (mean(self.of_treated, self.n_treated) - mean(self.of_controls, self.n_controls)) * self.n_rows()
    }
}

/// The area over the straight line to the end, divided by that of the perfect order.
fn normalised(steps: &[Step], perfect: &[Step], curve: fn(&Step) -> f64) -> Option<f64> {
    let (found, most) = (area(steps, curve), area(perfect, curve));
    (most > 0.0).then(|| found / most)
}

/// The area between a curve and the straight line to its end, by trapezoids.
fn area(steps: &[Step], curve: fn(&Step) -> f64) -> f64 {
    let (mut before, mut height, mut sum) = (Step::default(), 0.0, 0.0);
    for step in steps {
        let now = before.with(step);
        let next = curve(&now);
        sum += 0.5 * (height + next) * step.n_rows();
        (before, height) = (now, next);
    }
    sum - 0.5 * height * before.n_rows()
}

/// The steps of the order that is perfect for [`Metric::Auuc`], of outcomes that are 0 or 1.
fn perfect_for_auuc(whole: &Step) -> [Step; 4] {
    let none = Step::default();
    let treated_with = Step { n_treated: whole.of_treated, of_treated: whole.of_treated, ..none };
    let controls_without = Step { n_controls: whole.n_controls - whole.of_controls, ..none };
    let controls_with = Step { n_controls: whole.of_controls, of_controls: whole.of_controls, ..none };
    let treated_without = Step { n_treated: whole.n_treated - whole.of_treated, ..none };
    // Of treated rows without the outcome and controls with it, the more frequent come before.
    if controls_with.n_rows() > treated_without.n_rows() {
        [treated_with, controls_without, controls_with, treated_without]
    } else {
        [treated_with, controls_without, treated_without, controls_with]
    }
}

/// The effect among the first rows.
fn uplift_of_first(steps: &[Step], whole: &Step) -> Option<f64> {
    // Weights are whole numbers.
    let mut left = ((whole.n_rows() as u64) * PERCENT / 100) as f64;
    let mut first = Step::default();
    for step in steps.iter().filter(|step| step.n_rows() > 0.0) {
        let share = (left / step.n_rows()).min(1.0);
        first = first.with_share(step, share);
        left -= share * step.n_rows();
        if left <= 0.0 {
            break;
        }
    }
    first.effect()
}
