//! Which member is shipped for a treatment, whether it tells customers apart at all, and what is said of them.

use retain_eval::{Difference, Evaluation, Interval, Labelled, Metric, clustered_mean, compare, evaluate};
use retain_score::{Arm, Individual};

use super::experiment::{Experiment, Pair};
use super::nuisance::Outcomes;
use super::scores::Tried;
use crate::train::{Run, TrainError, bootstrap};

/// A score that is drawn in too much may be stretched as far as this.
const MOST_SLOPE: f64 = 10.0;
/// Of an order that slopes down nothing is shipped, but it is still measured: a slope so small that all effects are the average.
const LEAST_SLOPE: f64 = 1e-6;
/// Standard errors by which a member has to lead to be surely better: with ten members and twenty folds, one of thirty in all.
const SURE_ERRORS: f64 = 3.0;
/// Resamples behind the intervals of members that do not win.
const LEADERBOARD_RESAMPLES: usize = 200;
/// z of a two-sided 95 % interval.
const Z_95: f64 = 1.959_963_984_540_054;
/// Deviation of effects that are expected before anything is seen, as a share of the controls' mean outcome, …
const PRIOR_SHARE: f64 = 0.25;
/// … and the most that it is of chances: two percentage points.
const PRIOR_CHANCE: f64 = 0.02;

/// A treatment's members, judged.
pub(super) struct Chosen {
    /// Position of the member to ship.
    pub(super) winner: usize,
    /// Positions of the members, best first.
    pub(super) order: Vec<usize>,
    /// The rows of the pair that were judged.
    pub(super) rows: Vec<usize>,
    /// By row of the table: the rank that the procedure gives a row without having looked at its fold; NaN where none was judged.
    pub(super) rank: Vec<f64>,
    /// The average effect, by regression.
    pub(super) average: Interval,
    /// How much of a difference in scores is a difference in effects, as fitted.
    pub(super) slope: Interval,
    /// Outcomes beside the effects that the procedure says.
    pub(super) labelled: Labelled,
    pub(super) evaluation: Evaluation,
    /// The mean outcome of controls.
    pub(super) of_controls: f64,
}

/// Judges the members of a pair; `outcomes` are those of the judged rows of the pair, told by models that did not see them.
pub(super) fn choose(
    experiment: &Experiment<'_>,
    pair: &Pair,
    tried: &[Tried],
    outcomes: &Outcomes,
    run: &Run<'_>,
) -> Result<Chosen, TrainError> {
    let rows = outcomes.rows.clone();
    let of_all = tried.iter().map(|one| qini(experiment, pair, one, &rows)).collect::<Result<Vec<_>, TrainError>>()?;
    let mut order: Vec<usize> = (0..tried.len()).collect();
    // Stable: of equals the simpler one, which stands first.
    order.sort_by(|&a, &b| of_all[b].total_cmp(&of_all[a]));
    let of_folds = FoldQini::new(experiment, pair, tried)?;
    let winner = of_folds.best_without(None);
    order.sort_by_key(|&position| position != winner);
    let mut rank = vec![f64::NAN; experiment.arms.len()];
    for (position, fold) in experiment.plan.folds.iter().enumerate() {
        let best = of_folds.best_without(Some(position));
        // Of all arms: a policy asks what a treatment would do for those who had another one.
        fold.validate.iter().for_each(|&row| rank[row] = tried[best].rank[row]);
    }
    let scores: Vec<f64> = rows.iter().map(|&row| tried[winner].score(rank[row])).collect();
    let group: Vec<u32> = rows.iter().map(|&row| experiment.dataset.group[row]).collect();
    let average = clustered_mean(&outcomes.score, &group, 0.95)?;
    let slope = widened(slope_of(&scores, &outcomes.score, &group), experiment.widening());
    let center = scores.iter().sum::<f64>() / scores.len() as f64;
    let told: Vec<f64> =
        scores.iter().map(|score| average.value + shipped_slope(&slope).max(LEAST_SLOPE) * (score - center)).collect();
    let labelled = experiment.labelled(pair, &rows, &told)?;
    let evaluation = with_wider_order(evaluate(&labelled, &Metric::OF_UPLIFT, &bootstrap(run.options)), experiment.widening());
    let controls: Vec<f64> =
        rows.iter().filter(|&&row| experiment.arms[row] == 0).map(|&row| experiment.dataset.target[row]).collect();
    let of_controls = controls.iter().sum::<f64>() / controls.len().max(1) as f64;
    Ok(Chosen { winner, order, rows, rank, average, slope, labelled, evaluation, of_controls })
}

/// An interval whose ends lie that many times as far from its value.
pub(super) fn widened(interval: Interval, times: f64) -> Interval {
    let moved = |end: f64| interval.value + times * (end - interval.value);
    Interval { value: interval.value, low: moved(interval.low), high: moved(interval.high) }
}

/// An evaluation of cross-fitted effects, with wider intervals of what their order brings.
fn with_wider_order(mut evaluation: Evaluation, times: f64) -> Evaluation {
    let is_of_order = |metric: Metric| matches!(metric, Metric::Qini | Metric::Auuc | Metric::UpliftAt30);
    for measured in evaluation.metrics.iter_mut().filter(|measured| is_of_order(measured.metric)) {
        let wider = widened(measured.interval(), times);
        (measured.low, measured.high) = (wider.low, wider.high);
        measured.standard_error *= times;
    }
    evaluation
}

/// The Qini coefficient of a member on some judged rows of a pair; of what cannot be measured, 0.
fn qini(experiment: &Experiment<'_>, pair: &Pair, one: &Tried, rows: &[usize]) -> Result<f64, TrainError> {
    let has = |arm: u32| rows.iter().any(|&row| experiment.arms[row] == arm);
    if !(has(0) && has(pair.arm)) {
        return Ok(0.0);
    }
    let ranks: Vec<f64> = rows.iter().map(|&row| one.rank[row]).collect();
    Ok(Metric::Qini.measure(&experiment.labelled(pair, rows, &ranks)?).unwrap_or(0.0))
}

/// Qini coefficients by member and fold, and the member that is taken unless another is surely better.
///
/// Differences between members are mostly chance, and who takes the best of many takes much of that. Effects are weak, and so the usual one
/// is the simplest that can tell customers apart: a regression in either arm.
struct FoldQini {
    of_members: Vec<Vec<f64>>,
    usual: usize,
    /// Standard errors over folds by which another has to lead: coefficients of folds that teach one another go together.
    sure_errors: f64,
}

impl FoldQini {
    fn new(experiment: &Experiment<'_>, pair: &Pair, tried: &[Tried]) -> Result<Self, TrainError> {
        let folds: Vec<Vec<usize>> = experiment.plan.folds.iter().map(|fold| experiment.of_pair(pair, &fold.validate)).collect();
        let of_member =
            |one: &Tried| folds.iter().map(|rows| qini(experiment, pair, one, rows)).collect::<Result<Vec<_>, TrainError>>();
        let of_members = tried.iter().map(of_member).collect::<Result<Vec<_>, TrainError>>()?;
        let usual = tried.iter().position(|one| one.member.is_usual()).unwrap_or(tried.len() - 1);
        Ok(Self { of_members, usual, sure_errors: SURE_ERRORS * experiment.widening() })
    }

    /// The member that is taken by all folds but one: the usual one, unless the differences of another to it lie so far above 0 that, as many
    /// as there are, none would by chance.
    fn best_without(&self, left_out: Option<usize>) -> usize {
        let others = |values: &[f64]| -> Vec<f64> {
            values.iter().enumerate().filter(|(fold, _)| Some(*fold) != left_out).map(|(_, value)| *value).collect()
        };
        let usual = others(&self.of_members[self.usual]);
        let lead = |member: usize| {
            let apart: Vec<f64> = others(&self.of_members[member]).iter().zip(&usual).map(|(one, usual)| one - usual).collect();
            let n = apart.len() as f64;
            let mean = apart.iter().sum::<f64>() / n;
            let squares: f64 = apart.iter().map(|one| (one - mean) * (one - mean)).sum();
            let error = (squares / (n - 1.0).max(1.0) / n).sqrt();
            (mean > self.sure_errors * error && mean > 0.0 && n > 2.0).then_some(mean)
        };
        let surely_better = (0..self.of_members.len()).filter_map(|member| Some((member, lead(member)?)));
        surely_better.max_by(|a, b| a.1.total_cmp(&b.1)).map_or(self.usual, |(member, _)| member)
    }
}

/// The line through doubly robust scores by score, with an interval that counts customers.
///
/// # Source
/// The best linear predictor of an effect: Chernozhukov, Demirer, Duflo and Fernández-Val (2018).
fn slope_of(scores: &[f64], effects: &[f64], group: &[u32]) -> Interval {
    let n = scores.len() as f64;
    let (center, mean) = (scores.iter().sum::<f64>() / n, effects.iter().sum::<f64>() / n);
    let spread: f64 = scores.iter().map(|score| (score - center) * (score - center)).sum();
    let nothing = Interval { value: 0.0, low: 0.0, high: 0.0 };
    if spread.is_nan() || spread <= 0.0 {
        return nothing;
    }
    let value = scores.iter().zip(effects).map(|(score, effect)| (score - center) * (effect - mean)).sum::<f64>() / spread;
    let apart = |(score, effect): (&f64, &f64)| n * (score - center) * (effect - mean - value * (score - center)) / spread;
    let moved: Vec<f64> = scores.iter().zip(effects).map(apart).collect();
    match clustered_mean(&moved, group, 0.95) {
        Ok(around) => Interval { value, low: value + around.low - around.value, high: value + around.high - around.value },
        Err(_) => nothing,
    }
}

/// A slope as it is shipped: drawn to 0, which is the average for all, as far as it could be chance.
///
/// The share is the positive part of James and Stein (1961): of a slope twice its error a quarter goes.
fn shipped_slope(slope: &Interval) -> f64 {
    let error = (slope.high - slope.low) / (2.0 * Z_95);
    let share = if slope.value > 0.0 { 1.0 - (error / slope.value).powi(2) } else { 0.0 };
    (slope.value * share.max(0.0)).clamp(0.0, MOST_SLOPE)
}

impl Chosen {
    /// The Qini coefficient with its interval.
    pub(super) fn qini(&self) -> Interval {
        let nothing = Interval { value: 0.0, low: 0.0, high: 0.0 };
        self.evaluation.get(Metric::Qini).map_or(nothing, retain_eval::Measured::interval)
    }

    /// Whether customers are told apart: the interval of the Qini coefficient lies above 0, and effects rise with scores.
    pub(super) fn is_conclusive(&self) -> bool {
        self.qini().low > 0.0 && shipped_slope(&self.slope) > 0.0
    }

    /// The average that is shipped and half the width of its interval: as measured, or where nobody is told apart and the measured one
    /// could be nothing, drawn to 0 as by a prior.
    pub(super) fn shipped_average(&self, is_chance: bool) -> (f64, f64) {
        let half_width = self.average.value - self.average.low;
        let holds_zero = self.average.low <= 0.0 && self.average.high >= 0.0;
        if self.is_conclusive() || !holds_zero {
            return (self.average.value, half_width);
        }
        let prior = prior_deviation(self.of_controls, is_chance);
        let (own, before) = ((half_width / Z_95).powi(2), prior * prior);
        let share = if own + before > 0.0 { before / (own + before) } else { 0.0 };
        (share * self.average.value, Z_95 * (share * own).sqrt())
    }

    /// The arm to ship, with the member's parts fitted to all rows.
    pub(super) fn arm(&self, name: &str, is_chance: bool, fitted: Option<(Vec<retain_score::EffectPart>, f64)>) -> Arm {
        let (average, half_width) = self.shipped_average(is_chance);
        let individual = fitted.filter(|_| self.is_conclusive()).map(|(parts, center)| Individual {
            parts,
            center,
            slope: shipped_slope(&self.slope),
            slope_half_width: self.slope.value - self.slope.low,
        });
        Arm { name: name.to_owned(), average, half_width, individual }
    }

    /// What the procedure would have said of the effect on a row of any arm, had it not seen its fold.
    pub(super) fn told(&self, tried: &[Tried], is_chance: bool) -> impl Fn(usize) -> f64 {
        let (average, _) = self.shipped_average(is_chance);
        let slope = if self.is_conclusive() { shipped_slope(&self.slope) } else { 0.0 };
        let winner = &tried[self.winner];
        let center = self.rows.iter().map(|&row| winner.score(self.rank[row])).sum::<f64>() / self.rows.len() as f64;
        move |row| average + slope * (winner.score(self.rank[row]) - center)
    }

    /// Every member on the judged rows, best first, and how its Qini coefficient compares with the best one's.
    pub(super) fn standings(
        &self,
        experiment: &Experiment<'_>,
        pair: &Pair,
        tried: &[Tried],
        run: &Run<'_>,
    ) -> Result<Vec<(usize, Evaluation, Option<Difference>)>, TrainError> {
        let mut options = bootstrap(run.options);
        options.resamples = options.resamples.min(LEADERBOARD_RESAMPLES);
        let labelled = |position: usize| {
            let one = &tried[position];
            let center = self.rows.iter().map(|&row| one.score(one.rank[row])).sum::<f64>() / self.rows.len() as f64;
            let told: Vec<f64> = self.rows.iter().map(|&row| self.average.value + one.score(one.rank[row]) - center).collect();
            experiment.labelled(pair, &self.rows, &told)
        };
        let best = labelled(self.order[0])?;
        let standing = |&position: &usize| {
            let one = labelled(position)?;
            let difference = compare(&one, &best, &[Metric::Qini], &options)?.into_iter().next();
            Ok((position, evaluate(&one, &Metric::OF_UPLIFT, &options), difference))
        };
        self.order.iter().map(standing).collect()
    }
}

/// How far effects of a treatment lie from 0 before anything is seen of it.
pub(super) fn prior_deviation(of_controls: f64, is_chance: bool) -> f64 {
    let share = PRIOR_SHARE * of_controls;
    if is_chance { share.min(PRIOR_CHANCE) } else { share }
}
