//! Survival: when customers leave, and in which way.
//!
//! Time is cut into periods ([`periods`]); every customer becomes a row for each period that it came to ([`person_periods`]); the
//! learners of churn fit the chance of leaving in a period, with the period's position as one more feature. So one selection, one
//! calibration and one model form serve both, what is censored says what it can, and every horizon comes from one curve. Where there are
//! several ways of leaving, each has a hazard of its own, and who left in another way is lost sight of (cause-specific hazards).
//!
//! # Source
//! Discrete-time survival as binary regression: Cox (1972), Allison (1982), Singer and Willett (1993); cause-specific hazards: Prentice
//! et al. (1978).

mod by_period;
mod contender;
mod judge;
mod periods;
mod person_periods;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_core::SchemaError;
use retain_data::{Dataset, TableReport, Task};
use retain_score::{Model, limits};

use crate::bundle::{BundleParts, build_bundle};
use crate::learner::{Learner, Loss};
use crate::plan::Plan;
use crate::select::{Arena, Entry, select};
use crate::train::{Run, TrainError, Trained, learners_for};
use contender::contenders;
use judge::judge;
use periods::{Followed, Periods};
use person_periods::{PersonPeriods, count_rows};

pub(crate) use periods::is_whole;

/// Numbers (rows × columns) that the table of customers by periods may have: 192 MB.
const MAX_CELLS: usize = 24_000_000;
/// Customers by periods for each second of the budget: beside the fits, whose time is watched, every such row is scored by every
/// setting, blended, calibrated and measured. From two cores that others use as well.
const ROWS_PER_SECOND: f64 = 4_000.0;
/// As many are learned from however small the budget is.
const MIN_ROWS: usize = 20_000;
/// Periods to try, finest first.
const N_PERIODS: [usize; 3] = [limits::MAX_PERIODS, 24, 12];
/// A way of leaving that fewer customers took teaches nothing, and some fold would have none of them.
const MIN_EVENTS: usize = 20;
/// Fewer customers than this at risk at the horizon make what is said of it uncertain.
const FEW_AT_RISK: usize = 30;

/// Why a table has no survival model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SurvivalError {
    /// The table has no durations.
    #[error("the table was read without durations: a survival task names their column as `duration`")]
    NoDurations,
    /// Nobody was followed for any time.
    #[error("all durations of the {n_rows} rows are 0: nobody was followed for any time")]
    NoTime {
        /// Rows of the table.
        n_rows: usize,
    },
    /// The horizon lies beyond what was seen.
    #[error(
        "the horizon of {horizon_days} days lies beyond the longest duration, of {longest_days:.0} days: nothing is known of what \
         happens there; lower `horizon_days`, or correct `duration_unit`"
    )]
    ShortFollowUp {
        /// The task's horizon.
        horizon_days: f64,
        /// The longest duration.
        longest_days: f64,
    },
    /// Too few left in one of the ways.
    #[error(
        "only {found} customers left as `{cause}`, at least {} are needed; drop it from `positive`, where it then counts as lost sight \
         of, or join it with another",
        MIN_EVENTS
    )]
    FewEvents {
        /// The way.
        cause: String,
        /// Customers.
        found: usize,
    },
    /// More ways of leaving than a model can have.
    #[error("`positive` lists {found} ways of leaving, a model has at most {}", limits::MAX_CAUSES)]
    ManyCauses {
        /// Ways listed.
        found: usize,
    },
    /// A feature has the name that stands for the period.
    #[error("a feature has the name that stands for the period; rename the column")]
    PeriodName(#[from] SchemaError),
}

/// Trains, calibrates and judges every learner of the task and bundles the best.
pub(crate) fn train_survival(
    task: &Task,
    dataset: &Dataset,
    report: &TableReport,
    test: Option<&Dataset>,
    plan: &Plan,
    run: &mut Run<'_>,
) -> Result<Trained, TrainError> {
    let study = Study::new(task, dataset, plan, run)?;
    let mut rows = PersonPeriods::new(dataset, &study.persons, &study.periods)?;
    let entries = study.entries(task, &mut rows, run)?;
    let contenders = contenders(&entries);
    let judged = judge(&study, &contenders, &mut rows, run)?;
    let winner = &contenders[judged.winner];
    run.steps.begin("fit on all rows");
    let all_rows: Vec<usize> = (0..rows.dataset.n_rows()).collect();
    let model = Model::Hazard(winner.fit(&study, &mut rows, &all_rows, run)?);
    model.check(&dataset.schema)?;
    let metrics = judged.metrics_file(&study, &model, test, run)?;
    run.warnings.extend(metrics.suspicion());
    run.steps.done("fit on all rows");
    let bundle = build_bundle(&BundleParts {
        task,
        dataset,
        report,
        plan,
        learner: winner.name(),
        configuration: winner.configuration(),
        model,
        metrics: &metrics,
        judged: &judged.probabilities,
        warnings: &run.warnings,
        budget_bound: run.is_cut_short,
        seed: run.options.seed,
    })?;
    Ok(Trained { bundle, metrics, warnings: run.warnings.clone() })
}

/// What is learned from: customers, their splits, and the periods.
struct Study<'a> {
    table: &'a Dataset,
    plan: &'a Plan,
    periods: Periods,
    /// Customers that are learned from, positions in the table, rising.
    persons: Vec<usize>,
    /// Names of the ways of leaving.
    causes: Vec<String>,
}

impl<'a> Study<'a> {
    fn new(task: &Task, table: &'a Dataset, plan: &'a Plan, run: &mut Run<'_>) -> Result<Self, TrainError> {
        let days = table.duration.as_deref().ok_or(SurvivalError::NoDurations)?;
        let causes = table.schema.positive.clone();
        check_causes(&causes, &table.target)?;
        let left: Vec<bool> = table.target.iter().map(|&cause| cause > 0.0).collect();
        let unit_days = table.schema.duration.as_ref().map_or(1.0, |duration| duration.unit_days);
        let followed = Followed { days, left: &left };
        let n_columns = table.n_features() + 1;
        let (in_memory, in_time) = (MAX_CELLS / n_columns, rows_in_time(run.options.budget));
        let fits = |periods: &Periods| count_rows(days, periods) <= in_memory.min(in_time);
        let mut periods = Periods::choose(followed, unit_days, f64::from(task.horizon_days), N_PERIODS[0])?;
        for most in &N_PERIODS[1..] {
            if !fits(&periods) {
                periods = Periods::choose(followed, unit_days, f64::from(task.horizon_days), *most)?;
            }
        }
        let mut persons: Vec<usize> = (0..table.n_rows()).collect();
        if !fits(&periods) {
            let share = in_memory.min(in_time) as f64 / count_rows(days, &periods) as f64;
            persons = sample_of_groups(table, share, run.options.seed);
            check_causes(&causes, &persons.iter().map(|&person| table.target[person]).collect::<Vec<_>>())?;
            let what = format!(
                "the model learned from a random {} of {} rows, in {} periods",
                persons.len(),
                table.n_rows(),
                periods.n_periods()
            );
            if in_time < in_memory {
                run.cut_short(&what);
            } else {
                run.warnings.push(format!("customers by periods would fill the memory: {what}"));
            }
        }
        run.warnings.extend(thin_horizon(days, periods.horizon_days));
        Ok(Self { table, plan, periods, persons, causes })
    }

    /// The ranked models of each way of leaving, best first.
    fn entries(&self, task: &Task, rows: &mut PersonPeriods, run: &mut Run<'_>) -> Result<Vec<Vec<Entry>>, TrainError> {
        let learners = learners_for(task, self.table, Loss::Logistic, &mut run.warnings)?;
        let learners: Vec<Arc<dyn Learner + Send>> = learners.into_iter().map(by_period).collect();
        run.steps.plan(self.causes.len() * learners.len() * self.plan.folds.len() + learners.len() + 2);
        let mut entries = Vec::with_capacity(self.causes.len());
        for cause in 1..=self.causes.len() {
            rows.ask_for(cause);
            let plan = rows.plan(self.table, self.plan, &self.periods);
            let arena = Arena::new(&rows.dataset, &plan);
            let context = run.context(Loss::Logistic, &plan);
            let until = run.selection_until().map(|until| share_of(until, self.causes.len() + 1 - cause));
            entries.push(select(&arena, &learners, &context, until, run)?);
        }
        Ok(entries)
    }
}

/// A regression is told the course of the hazard; trees find it themselves.
fn by_period(learner: Arc<dyn Learner + Send>) -> Arc<dyn Learner + Send> {
    if learner.name() == "logistic" { Arc::new(by_period::ByPeriod { learner }) } else { learner }
}

/// The end of an equal share of the time until then.
fn share_of(until: Instant, n_left: usize) -> Instant {
    let now = Instant::now();
    now + until.saturating_duration_since(now) / n_left.max(1) as u32
}

fn check_causes(causes: &[String], target: &[f64]) -> Result<(), SurvivalError> {
    if causes.len() > limits::MAX_CAUSES {
        return Err(SurvivalError::ManyCauses { found: causes.len() });
    }
    for (position, cause) in causes.iter().enumerate() {
        let found = target.iter().filter(|&&value| value == (position + 1) as f64).count();
        if found < MIN_EVENTS {
            return Err(SurvivalError::FewEvents { cause: cause.clone(), found });
        }
    }
    Ok(())
}

/// Customers by periods that a budget has time for.
fn rows_in_time(budget: Duration) -> usize {
    ((budget.as_secs_f64() * ROWS_PER_SECOND) as usize).max(MIN_ROWS)
}

fn thin_horizon(days: &[f64], horizon_days: f64) -> Option<String> {
    let n_at_risk = days.iter().filter(|&&days| days >= horizon_days).count();
    (n_at_risk < FEW_AT_RISK).then(|| {
        format!("only {n_at_risk} rows were followed up to the horizon: what the model says of it is uncertain; consider a lower `horizon_days`")
    })
}

/// About this share of the rows: whole groups, drawn at random.
fn sample_of_groups(table: &Dataset, share: f64, seed: u64) -> Vec<usize> {
    let mut groups: Vec<u32> = (0..table.n_groups() as u32).collect();
    let n_kept = ((groups.len() as f64 * share) as usize).max(1);
    let (kept, _) = groups.partial_shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed), n_kept);
    let mut is_kept = vec![false; table.n_groups()];
    for &group in &*kept {
        is_kept[group as usize] = true;
    }
    (0..table.n_rows()).filter(|&row_idx| is_kept[table.group[row_idx] as usize]).collect()
}
