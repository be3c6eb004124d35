//! [`OutcomeKind`] and the checked columns of each kind: what happened beside what was predicted.

use retain_core::TaskKind;
use serde::{Deserialize, Serialize};

use crate::labelled::{EvalError, LARGEST_AMOUNT, check_length};

/// A survival curve may rise by this much from one grid day to the next, for rounding; it is a curve of probabilities.
const RISE_TOLERANCE: f64 = 1e-9;

/// What kind of thing was predicted; it decides which metrics there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// Whether something happened, predicted by its probability: churn, any value at all, no activity.
    #[default]
    Binary,
    /// An amount or a count, predicted by its expectation: lifetime value, active days.
    Value,
    /// When something happened, predicted by a survival curve.
    Survival,
    /// What a treatment changes, predicted by its effect: rows are treated, or left alone as controls.
    Uplift,
}

impl OutcomeKind {
    /// The kind as a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Value => "value",
            Self::Survival => "survival",
            Self::Uplift => "uplift",
        }
    }

    /// Whether it is [`Self::Binary`], which files leave unsaid.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(crate) fn is_binary(&self) -> bool {
        *self == Self::Binary
    }
}

impl From<TaskKind> for OutcomeKind {
    /// What the main prediction of a task is judged as; its further probabilities (any value, no activity) are binary.
    fn from(kind: TaskKind) -> Self {
        match kind {
            TaskKind::Churn => Self::Binary,
            TaskKind::Ltv | TaskKind::Engagement => Self::Value,
            TaskKind::Survival => Self::Survival,
            TaskKind::Uplift => Self::Uplift,
        }
    }
}

impl std::fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The columns of one kind, all of one length, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Binary(Events),
    Value(Values),
    Survival(Curves),
    Uplift(Effects),
}

/// Whether it happened, and the predicted probability.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Events {
    pub(crate) positive: Vec<bool>,
    pub(crate) probability: Vec<f64>,
}

/// What came, what was expected, and the ends of the predicted interval where there is one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Values {
    pub(crate) actual: Vec<f64>,
    pub(crate) expected: Vec<f64>,
    pub(crate) interval: Option<Vec<[f64; 2]>>,
}

/// How long each row was followed, whether that ended with the event, and the predicted curves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curves {
    pub(crate) times: Vec<f64>,
    pub(crate) events: Vec<bool>,
    /// Rising, above 0.
    pub(crate) grid_days: Vec<f64>,
    /// `n_rows × n_days`, row by row.
    pub(crate) survival: Vec<f64>,
}

/// What came of treated rows and of controls, and the predicted effect of the treatment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Effects {
    pub(crate) actual: Vec<f64>,
    pub(crate) treated: Vec<bool>,
    pub(crate) effect: Vec<f64>,
}

impl Effects {
    pub(crate) fn new(actual: &[f64], treated: &[bool], effect: &[f64]) -> Result<Self, EvalError> {
        let n_rows = actual.len();
        check_length("treated", treated.len(), n_rows)?;
        let n_treated = treated.iter().filter(|&&treated| treated).count();
        if n_treated == 0 || n_treated == n_rows {
            return Err(EvalError::OneArm { n_treated, n_controls: n_rows - n_treated });
        }
        let actual = checked_amounts("actual", actual, n_rows)?;
        Ok(Self { actual, treated: treated.to_vec(), effect: checked_amounts("effect", effect, n_rows)? })
    }
}

impl Events {
    pub(crate) fn new(target: &[f64], probability: &[f64]) -> Result<Self, EvalError> {
        if let Some((row_idx, &found)) = target.iter().enumerate().find(|(_, label)| **label != 0.0 && **label != 1.0) {
            return Err(EvalError::Target { row: row_idx + 1, found });
        }
        let positive: Vec<bool> = target.iter().map(|&label| label == 1.0).collect();
        Ok(Self { probability: checked_probability(probability, positive.len())?, positive })
    }
}

impl Values {
    pub(crate) fn new(actual: &[f64], expected: &[f64], interval: Option<(&[f64], &[f64])>) -> Result<Self, EvalError> {
        let n_rows = actual.len();
        let interval = match interval {
            None => None,
            Some((low, high)) => Some(checked_interval(low, high, n_rows)?),
        };
        let expected = checked_amounts("expected", expected, n_rows)?;
        Ok(Self { actual: checked_amounts("actual", actual, n_rows)?, expected, interval })
    }
}

impl Curves {
    pub(crate) fn new(times: &[f64], events: &[bool], grid_days: &[f64], survival: &[f64]) -> Result<Self, EvalError> {
        check_length("events", events.len(), times.len())?;
        check_times(times)?;
        check_grid(grid_days)?;
        let survival = checked_survival(survival, times.len(), grid_days)?;
        let times = times.iter().map(|time| time + 0.0).collect();
        Ok(Self { times, events: events.to_vec(), grid_days: grid_days.to_vec(), survival })
    }

    /// The curve of one row, one probability per grid day.
    pub(crate) fn curve(&self, row_idx: usize) -> &[f64] {
        let n_days = self.grid_days.len();
        &self.survival[row_idx * n_days..(row_idx + 1) * n_days]
    }

    /// The last day that the curves reach.
    pub(crate) fn last_day(&self) -> f64 {
        // A checked grid has at least one day.
        self.grid_days.last().copied().unwrap_or(0.0)
    }

    /// Survival of one row at a day, straight between grid days and from 1 at day 0; the last value after the last grid day.
    pub(crate) fn survival_at(&self, row_idx: usize, day: f64) -> f64 {
        let (days, curve) = (&self.grid_days, self.curve(row_idx));
        let after = days.partition_point(|&grid_day| grid_day < day);
        if after == days.len() {
            return curve[after - 1];
        }
        if days[after] == day {
            return curve[after];
        }
        let (from_day, from) = if after == 0 { (0.0, 1.0) } else { (days[after - 1], curve[after - 1]) };
        from + (day - from_day) / (days[after] - from_day) * (curve[after] - from)
    }
}

impl Outcome {
    pub(crate) fn kind(&self) -> OutcomeKind {
        match self {
            Self::Binary(_) => OutcomeKind::Binary,
            Self::Value(_) => OutcomeKind::Value,
            Self::Survival(_) => OutcomeKind::Survival,
            Self::Uplift(_) => OutcomeKind::Uplift,
        }
    }

    pub(crate) fn n_positives(&self) -> usize {
        match self {
            Self::Binary(Events { positive: happened, .. }) | Self::Survival(Curves { events: happened, .. }) => {
                happened.iter().filter(|&&happened| happened).count()
            }
            Self::Value(Values { actual, .. }) | Self::Uplift(Effects { actual, .. }) => {
                actual.iter().filter(|&&actual| actual > 0.0).count()
            }
        }
    }

    pub(crate) fn predictions(&self) -> &[f64] {
        match self {
            Self::Binary(events) => &events.probability,
            Self::Value(values) => &values.expected,
            Self::Survival(curves) => &curves.survival,
            Self::Uplift(effects) => &effects.effect,
        }
    }

    /// The same rows with other predictions, without intervals.
    pub(crate) fn with_predictions(&self, predictions: &[f64]) -> Result<Self, EvalError> {
        Ok(match self {
            Self::Binary(events) => {
                let probability = checked_probability(predictions, events.positive.len())?;
                Self::Binary(Events { positive: events.positive.clone(), probability })
            }
            Self::Value(values) => Self::Value(Values::new(&values.actual, predictions, None)?),
            Self::Uplift(effects) => Self::Uplift(Effects::new(&effects.actual, &effects.treated, predictions)?),
            Self::Survival(Curves { times, events, grid_days, .. }) => {
                Self::Survival(Curves::new(times, events, grid_days, predictions)?)
            }
        })
    }

    /// The rows at these positions, none past the end.
    pub(crate) fn subset(&self, row_idxs: &[usize]) -> Self {
        match self {
            Self::Binary(Events { positive, probability }) => {
                Self::Binary(Events { positive: picked(positive, row_idxs), probability: picked(probability, row_idxs) })
            }
            Self::Value(Values { actual, expected, interval }) => Self::Value(Values {
                actual: picked(actual, row_idxs),
                expected: picked(expected, row_idxs),
                interval: interval.as_ref().map(|interval| picked(interval, row_idxs)),
            }),
            Self::Survival(curves) => Self::Survival(Curves {
                times: picked(&curves.times, row_idxs),
                events: picked(&curves.events, row_idxs),
                grid_days: curves.grid_days.clone(),
                survival: row_idxs.iter().flat_map(|&row_idx| curves.curve(row_idx)).copied().collect(),
            }),
            Self::Uplift(Effects { actual, treated, effect }) => Self::Uplift(Effects {
                actual: picked(actual, row_idxs),
                treated: picked(treated, row_idxs),
                effect: picked(effect, row_idxs),
            }),
        }
    }

    /// Whether the same happened, row by row; what was predicted may differ.
    pub(crate) fn same_truth(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Binary(one), Self::Binary(other)) => one.positive == other.positive,
            (Self::Value(one), Self::Value(other)) => one.actual == other.actual,
            (Self::Uplift(one), Self::Uplift(other)) => one.actual == other.actual && one.treated == other.treated,
            (Self::Survival(one), Self::Survival(other)) => {
                one.times == other.times && one.events == other.events && one.grid_days == other.grid_days
            }
            _ => false,
        }
    }

    /// The number that metrics of order alone rank rows by: of a survival curve its end.
    pub(crate) fn rank_key(&self) -> Vec<f64> {
        match self {
            Self::Binary(_) | Self::Value(_) | Self::Uplift(_) => self.predictions().to_vec(),
            Self::Survival(curves) => {
                let n_days = curves.grid_days.len();
                curves.survival.iter().skip(n_days - 1).step_by(n_days).copied().collect()
            }
        }
    }
}

fn picked<T: Copy>(column: &[T], row_idxs: &[usize]) -> Vec<T> {
    row_idxs.iter().map(|&row_idx| column[row_idx]).collect()
}

fn checked_probability(probability: &[f64], n_rows: usize) -> Result<Vec<f64>, EvalError> {
    check_length("probability", probability.len(), n_rows)?;
    if let Some((row_idx, &found)) = probability.iter().enumerate().find(|(_, p)| !(0.0..=1.0).contains(*p)) {
        return Err(EvalError::Probability { row: row_idx + 1, found });
    }
    // Adding 0 turns −0 into 0, which sorting by bits would otherwise tell apart.
    Ok(probability.iter().map(|p| p + 0.0).collect())
}

fn checked_amounts(column: &'static str, values: &[f64], n_rows: usize) -> Result<Vec<f64>, EvalError> {
    check_length(column, values.len(), n_rows)?;
    if let Some((row_idx, &found)) =
        values.iter().enumerate().find(|(_, value)| !(-LARGEST_AMOUNT..=LARGEST_AMOUNT).contains(*value))
    {
        return Err(EvalError::Amount { row: row_idx + 1, column, found });
    }
    Ok(values.iter().map(|value| value + 0.0).collect())
}

fn checked_interval(low: &[f64], high: &[f64], n_rows: usize) -> Result<Vec<[f64; 2]>, EvalError> {
    let (low, high) = (checked_amounts("low", low, n_rows)?, checked_amounts("high", high, n_rows)?);
    let interval: Vec<[f64; 2]> = low.into_iter().zip(high).map(|(low, high)| [low, high]).collect();
    match interval.iter().position(|[low, high]| low > high) {
        Some(row_idx) => Err(EvalError::Interval { row: row_idx + 1, low: interval[row_idx][0], high: interval[row_idx][1] }),
        None => Ok(interval),
    }
}

pub(crate) fn check_times(times: &[f64]) -> Result<(), EvalError> {
    match times.iter().position(|time| !(0.0..f64::INFINITY).contains(time)) {
        Some(row_idx) => Err(EvalError::Time { row: row_idx + 1, found: times[row_idx] }),
        None => Ok(()),
    }
}

pub(crate) fn check_grid(grid_days: &[f64]) -> Result<(), EvalError> {
    if grid_days.is_empty() {
        return Err(EvalError::Length { column: "grid_days", found: 0, expected: 1 });
    }
    let mut before = 0.0;
    for (position, &found) in grid_days.iter().enumerate() {
        if !(found > before && found.is_finite()) {
            return Err(EvalError::Grid { position: position + 1, found, before });
        }
        before = found;
    }
    Ok(())
}

fn checked_survival(survival: &[f64], n_rows: usize, grid_days: &[f64]) -> Result<Vec<f64>, EvalError> {
    let n_days = grid_days.len();
    check_length("survival", survival.len(), n_rows.saturating_mul(n_days))?;
    for (row_idx, curve) in survival.chunks_exact(n_days).enumerate() {
        let mut before = 1.0;
        for (&day, &found) in grid_days.iter().zip(curve) {
            // False for NaN too.
            if !(0.0..=1.0).contains(&found) || found > before + RISE_TOLERANCE {
                return Err(EvalError::Survival { row: row_idx + 1, day, found, before });
            }
            before = found;
        }
    }
    Ok(survival.iter().map(|s| s + 0.0).collect())
}
