//! When things were known: features later than the observation, observations later than today, and what only holds within one time.

use retain_core::{ColumnKind, Day};

use super::columns::exclude_or_allow;
use super::outcome::{Bins, Outcome};
use super::{Finding, Severity};
use crate::dataset::Dataset;
use crate::task::Task;

/// A column with a larger share of later dates was not read on the day of observation.
const LATE_SHARE: f64 = 0.05;
/// Being later says too much about the target from here on; the interval has to be above [`SOME_KNOWLEDGE`].
const KNOWS_LABEL: f64 = 0.75;
const SOME_KNOWLEDGE: f64 = 0.7;
/// Share of the rows, the latest, that the comparison of random with forward folds is judged on.
const LATEST_SHARE: f64 = 0.3;
/// Fewer rows on either side compare nothing.
const MIN_SIDE_ROWS: usize = 500;
/// Random folds that look better than the future by this much, and surely by half of it.
const FLATTERY: f64 = 0.05;
/// Columns named as those that random folds flatter most.
const N_FLATTERED: usize = 3;

pub(super) fn check(dataset: &Dataset, task: &Task, today: Day, outcome: &Outcome) -> Vec<Finding> {
    let (Some(observed), Some(column)) = (&dataset.observed, &task.table.observed_at) else { return Vec::new() };
    let window = Window { observed, column, days: f64::from(task.horizon_days + task.lead_days), today };
    let features = dataset.schema.features.iter().zip(&dataset.columns);
    let dates = features.filter(|(spec, _)| spec.kind == ColumnKind::Date);
    let mut findings: Vec<Finding> = dates.filter_map(|(spec, days)| window.late(&spec.name, days, outcome)).collect();
    findings.extend(window.future().or_else(|| window.unfinished()));
    findings.extend(window.short());
    findings.extend(window.flattery(dataset, outcome));
    findings
}

/// Days of observation and what the label needs after them.
struct Window<'a> {
    observed: &'a [f64],
    column: &'a str,
    days: f64,
    today: Day,
}

impl Window<'_> {
    /// Dates in a feature that were not yet there on the day of observation; `days` are counted from the date to the observation.
    fn late(&self, name: &str, days: &[f64], outcome: &Outcome) -> Option<Finding> {
        let is_late = |row: usize| is_later(days[row], self.observed[row]);
        let late: Vec<usize> = (0..days.len()).filter(|&row| is_late(row)).collect();
        let example = *late.first()?;
        let n_present = days.iter().filter(|days| !days.is_nan()).count();
        let share = late.len() as f64 / n_present.max(1) as f64;
        let bins = Bins::new(outcome, |row| if is_late(row) { 1.0 } else { 0.0 });
        let knowledge = outcome.strength(&mut bins.levels.clone());
        let knows = knowledge.value >= KNOWS_LABEL && knowledge.low >= SOME_KNOWLEDGE;
        // What lies ahead of today was planned, not recorded.
        let is_planned = late.iter().any(|&row| self.observed[row] - days[row] >= self.today.days() + 1.0);
        let severity = match (knows || share > LATE_SHARE, is_planned) {
            (true, false) => Severity::Certain,
            (_, true) if !knows => Severity::Note,
            _ => Severity::Likely,
        };
        let say =
            if knows { format!(", which alone has a {} of {:.2}", outcome.measure, knowledge.value) } else { String::new() };
        Some(Finding {
            code: "leak_date",
            severity,
            columns: vec![name.to_owned()],
            measure: "share of dates",
            figure: share,
            message: format!(
                "column `{name}` has dates after the observation in {} rows, {:.1} % of its dates{say} (row {}: {}, observed {}): \
                 it knows what happened later",
                late.len(),
                100.0 * share,
                example + 1,
                Day::from_days(self.observed[example] - days[example]),
                Day::from_days(self.observed[example]),
            ),
            fix: format!(
                "take its values as they were on that day, or, for a date planned ahead such as the end of a contract: {}",
                exclude_or_allow(name)
            ),
            allowed: false,
        })
    }

    fn latest(&self) -> f64 {
        self.observed.iter().copied().max_by(f64::total_cmp).unwrap_or(f64::NAN)
    }

    /// Rows observed after today.
    fn future(&self) -> Option<Finding> {
        let limit = self.today.days().floor() + 1.0;
        let n_rows = self.observed.iter().filter(|&&day| day >= limit).count();
        (n_rows > 0).then(|| Finding {
            code: "leak_future",
            severity: Severity::Certain,
            columns: vec![self.column.to_owned()],
            measure: "rows",
            figure: n_rows as f64,
            message: format!(
                "{n_rows} rows are dated after today, {}, the latest {} (`{}`): nobody can know their label",
                self.today,
                Day::from_days(self.latest()),
                self.column
            ),
            fix: format!("correct the dates, or for invented data write `allow = [{:?}]` under [table] of the task", self.column),
            allowed: false,
        })
    }

    /// Rows whose label window has not ended.
    fn unfinished(&self) -> Option<Finding> {
        let n_rows = self.observed.iter().filter(|&&day| day + self.days > self.today.days() + 1.0).count();
        (n_rows > 0).then(|| Finding {
            code: "leak_unfinished",
            severity: Severity::Likely,
            columns: vec![self.column.to_owned()],
            measure: "rows",
            figure: n_rows as f64,
            message: format!(
                "the label window of {n_rows} rows, {} days after `{}`, is not over yet: who has not left may still leave",
                self.days, self.column
            ),
            fix: "leave these rows out, or shorten `horizon_days`".to_owned(),
            allowed: false,
        })
    }

    /// A history shorter than what has to lie between training rows and those that judge them.
    fn short(&self) -> Option<Finding> {
        let first = self.observed.iter().copied().min_by(f64::total_cmp)?;
        let span = self.latest() - first;
        (span < self.days).then(|| Finding {
            code: "short_history",
            severity: Severity::Likely,
            columns: vec![self.column.to_owned()],
            measure: "days",
            figure: span,
            message: format!(
                "lead time and horizon are {} days, and `{}` spans {span:.0} days, from {} to {}: no row's label is known before the last \
                 rows are observed, so splits by time have nothing to learn from",
                self.days,
                self.column,
                Day::from_days(first),
                Day::from_days(self.latest()),
            ),
            fix: "use a longer history or a shorter `horizon_days`, or, for a single snapshot, remove `observed_at`".to_owned(),
            allowed: false,
        })
    }

    /// Whether random folds say more about the latest rows than the time before them does.
    ///
    /// Each column votes with the mean target of a row's part of it; the votes are added up. The same latest rows are judged
    /// twice: by votes learned from rows whose label was known before the first of them, and by votes learned from other random
    /// folds, later rows among them. It stands in for fitting models both ways, which would cost a hundred times as much.
    fn flattery(&self, dataset: &Dataset, outcome: &Outcome) -> Option<Finding> {
        let sides = Sides::new(&outcome.rows.iter().map(|&row| self.observed[row]).collect::<Vec<_>>(), self.days)?;
        let judge = outcome.of_rows(&sides.latest);
        let on_latest = |votes: &[f64]| judge.signed_of(&sides.latest.iter().map(|&row| votes[row]).collect::<Vec<_>>());
        let n_rows = outcome.rows.len();
        let (mut forward, mut random) = (vec![0.0; n_rows], vec![0.0; n_rows]);
        let mut losses = Vec::with_capacity(dataset.n_features());
        for (spec, column) in dataset.schema.features.iter().zip(&dataset.columns) {
            let bins = Bins::new(outcome, |row| column[row]);
            let by_earlier = outcome.votes(&bins, |row| sides.is_earlier[row], false);
            let by_others = outcome.votes(&bins, |_| true, true);
            losses.push((on_latest(&by_others) - on_latest(&by_earlier), &spec.name));
            forward.iter_mut().zip(by_earlier).for_each(|(sum, vote)| *sum += vote);
            random.iter_mut().zip(by_others).for_each(|(sum, vote)| *sum += vote);
        }
        let (ahead, mixed) = (on_latest(&forward), on_latest(&random));
        let surely = mixed - ahead - judge.half_width(mixed);
        (mixed - ahead > FLATTERY && surely > FLATTERY / 2.0).then(|| {
            losses.sort_by(|a, b| b.0.total_cmp(&a.0));
            let worst = losses.iter().filter(|(loss, _)| *loss > FLATTERY / 2.0).take(N_FLATTERED);
            self.flattered(outcome, mixed, ahead, worst.map(|(_, name)| (*name).clone()).collect())
        })
    }

    fn flattered(&self, outcome: &Outcome, mixed: f64, ahead: f64, worst: Vec<String>) -> Finding {
        let named = worst.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Finding {
            code: "leak_time",
            severity: Severity::Likely,
            columns: worst,
            measure: outcome.measure,
            figure: mixed - ahead,
            message: format!(
                "simple votes of the columns have a {} of {mixed:.3} on the latest rows when learned from rows of all times, and {ahead:.3} \
                 when learned from earlier ones; most of it is lost by {named}: they know the time rather than the customer",
                outcome.measure
            ),
            fix: format!("judge by time only, as `observed_at = {:?}` does; consider leaving these columns out", self.column),
            allowed: false,
        }
    }
}

/// The rows that are judged by time, and those whose label was known before.
struct Sides {
    /// One per row looked at.
    is_earlier: Vec<bool>,
    /// Positions among the rows looked at, rising.
    latest: Vec<usize>,
}

impl Sides {
    /// None where either side has too few rows.
    fn new(observed: &[f64], window_days: f64) -> Option<Self> {
        let mut sorted = observed.to_vec();
        sorted.sort_by(f64::total_cmp);
        let cut = *sorted.get(((1.0 - LATEST_SHARE) * sorted.len() as f64) as usize)?;
        let is_earlier: Vec<bool> = observed.iter().map(|day| day + window_days <= cut).collect();
        let latest: Vec<usize> = (0..observed.len()).filter(|&row| observed[row] >= cut).collect();
        let n_earlier = is_earlier.iter().filter(|&&is_earlier| is_earlier).count();
        (n_earlier.min(latest.len()) >= MIN_SIDE_ROWS).then_some(Self { is_earlier, latest })
    }
}

/// Where observations have no time of day, what happened on the same day is not later.
fn is_later(days: f64, observed: f64) -> bool {
    if observed.fract() == 0.0 { days <= -1.0 } else { days < 0.0 }
}
