//! Uplift: what treatments change, for whom, and whether that can be told at all.
//!
//! [`train_uplift`] is the story. `experiment` divides a table of several arms into folds and asks whether features tell the arms, `nuisance`
//! says what would have come of each row in either arm, `members` are the ways to learn an effect from that, `scores` puts them on rows
//! that they did not learn from, `choice` takes the one that orders customers best and says how far it can be believed, `policy` asks
//! what following it would have brought. A treatment whose order could be chance is shipped with the same effect for everybody.
//!
//! Outcomes are good where they are more: an effect above 0 is good.

mod choice;
mod experiment;
mod members;
mod nuisance;
mod policy;
mod report;
mod s_learner;
mod scores;
mod segments;
#[cfg(test)]
mod tests;

use rayon::prelude::*;
use retain_core::SchemaError;
use retain_data::{Dataset, Fold, TableReport, Task};
use retain_score::{Arm, Model, UpliftModel};

use crate::bundle::{BundleParts, build_bundle};
use crate::learner::Loss;
use crate::metrics_file::{LeaderboardRow, Measurement, MetricsFile};
use crate::outcome::arm_measurement;
use crate::train::{Run, TrainError, Trained, bootstrap};
use choice::{Chosen, choose};
use experiment::{Experiment, Pair};
use members::Member;
use nuisance::{Outcomes, outcomes_of, outcomes_within};
use policy::policy_values;
use scores::{Tried, cross_fit};

pub use policy::PolicyValue;
pub(crate) use report::formulas;
pub use report::{TreatmentReport, UpliftReport, Verdict};

/// Why a table has no model of effects.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpliftError {
    /// The table was read without its treatments.
    #[error("the table was read without treatments: an uplift task names their column as `treatment`")]
    NoTreatment,
    /// A fold in which nothing can be learned of an arm.
    #[error(
        "fold {fold} has {n_rows} rows of treatment {arm} (0: the control) to learn from, {n_positives} of them with the outcome: too few; \
         compare fewer treatments, or bring more rows"
    )]
    ThinFold {
        /// The fold, from 1.
        fold: usize,
        /// The arm.
        arm: usize,
        /// Its rows there.
        n_rows: usize,
        /// Of which with the outcome.
        n_positives: usize,
    },
    /// A feature has the name that stands for the treatment.
    #[error("a feature has the name that stands for the treatment; rename the column")]
    TreatmentName(#[from] SchemaError),
}

/// What the policy that the model follows is called.
const TAKEN: &str = "as the model";

/// One treatment, learned.
struct Treatment {
    pair: Pair,
    tried: Vec<Tried>,
    chosen: Chosen,
    arm: Arm,
}

/// Learns what each treatment of the task changes, chooses on rows that no fit has seen, and bundles it.
pub(crate) fn train_uplift(
    task: &Task,
    dataset: &Dataset,
    report: &TableReport,
    test: Option<&Dataset>,
    run: &mut Run<'_>,
) -> Result<Trained, TrainError> {
    let gap_days = f64::from(task.horizon_days + task.lead_days);
    let plan = experiment::plan(dataset, gap_days, run.options.seed)?;
    run.warnings.extend(plan.warnings.clone());
    let experiment = Experiment::new(dataset, &plan, run.options.seed)?;
    let members = members::members(task, dataset);
    run.steps.plan((members.len() + 2) * experiment.treatments.len());
    let mut treatments = Vec::with_capacity(experiment.treatments.len());
    for arm in 1..=experiment.treatments.len() as u32 {
        treatments.push(Treatment::learn(&experiment, arm, &members, run)?);
    }
    let uplift = uplift_report(&experiment, &treatments, run)?;
    let arms = treatments.iter().map(|treatment| treatment.arm.clone()).collect();
    let model = UpliftModel { arms, chooses: uplift.chooses, limit: limit(dataset) };
    let leading = model.leading();
    let model = Model::Uplift(model);
    model.check(&dataset.schema)?;
    let (leaderboard, judged) = (leaderboard(&experiment, &treatments, run)?, best_effects(&experiment, &treatments, &model));
    let test = test
        .map(|test| arm_measurement("the table given as --test", &model, test, leading, &bootstrap(run.options)))
        .transpose()?;
    let validation = uplift.treatments[leading].measurement.clone();
    let mut metrics = MetricsFile::new(validation, leaderboard, test, dataset, &model)?;
    metrics.uplift = Some(uplift);
    let winner = &treatments[leading].winner().member;
    let bundle = build_bundle(&BundleParts {
        task,
        dataset,
        report,
        plan: &plan,
        learner: &winner.name,
        configuration: winner.configuration.clone(),
        model,
        metrics: &metrics,
        judged: &judged,
        warnings: &run.warnings,
        budget_bound: run.is_cut_short,
        seed: run.options.seed,
    })?;
    Ok(Trained { bundle, metrics, warnings: run.warnings.clone() })
}

/// No effect is larger than this: a chance cannot change by more than 1, an amount by more than the largest there was.
fn limit(dataset: &Dataset) -> f64 {
    let most = dataset.target.iter().fold(0.0_f64, |most, &amount| most.max(amount));
    if dataset.schema.has_amounts() { most.clamp(f64::MIN_POSITIVE, 1e100) } else { 1.0 }
}

impl Treatment {
    fn learn(experiment: &Experiment<'_>, arm: u32, members: &[Member], run: &mut Run<'_>) -> Result<Self, TrainError> {
        let pair = experiment.pair(arm, run)?;
        warn_of_assignment(experiment, &pair, run);
        let context = experiment::context(Loss::Squared, run, experiment.plan);
        // What is learned of the outcomes is little work, and nothing can be said without it.
        let endless = run.context(Loss::Squared, experiment.plan);
        let within = |fold: &Fold| outcomes_within(experiment, &pair, &experiment.of_pair(&pair, &fold.train), &endless);
        let within: Vec<Outcomes> = experiment.plan.folds.par_iter().map(within).collect::<Result<_, TrainError>>()?;
        let share = run.selection_until().map(|until| part_of(until, experiment.treatments.len() + 1 - arm as usize));
        let context = crate::learner::FitContext { deadline: share, ..context };
        let tried = cross_fit(experiment, &pair, members, &within, &context, run)?;
        if tried.is_empty() {
            return Err(TrainError::OutOfTime { budget_seconds: run.options.budget.as_secs() });
        }
        drop(within);
        let judged = judged_outcomes(experiment, &pair, &endless)?;
        let chosen = choose(experiment, &pair, &tried, &judged, run)?;
        run.steps.done(experiment.name_of(&pair));
        let is_chance = !experiment.dataset.schema.has_amounts();
        let fitted = if chosen.is_conclusive() {
            let outcomes = outcomes_within(experiment, &pair, &pair.rows, &endless)?;
            Some(tried[chosen.winner].fit(members, experiment, &pair, &outcomes, &endless)?)
        } else {
            None
        };
        let arm = chosen.arm(experiment.name_of(&pair), is_chance, fitted);
        run.steps.done(experiment.name_of(&pair));
        Ok(Self { pair, tried, chosen, arm })
    }

    fn winner(&self) -> &Tried {
        &self.tried[self.chosen.winner]
    }
}

impl<'a> Experiment<'a> {
    /// The treatment of a pair.
    fn name_of(&self, pair: &Pair) -> &'a str {
        &self.treatments[pair.arm as usize - 1]
    }
}

/// An equal share of the time until then.
fn part_of(until: std::time::Instant, n_left: usize) -> std::time::Instant {
    let now = std::time::Instant::now();
    now + until.saturating_duration_since(now) / n_left.max(1) as u32
}

fn warn_of_assignment(experiment: &Experiment<'_>, pair: &Pair, run: &mut Run<'_>) {
    let Some(auc) = pair.predictability.filter(|_| pair.is_predictable) else { return };
    let weights = if experiment.dataset.propensity.is_some() {
        "the logged propensities weigh the average for that"
    } else {
        "the average was weighed by cross-fitted propensities, and whatever else decided who got it is in the effects"
    };
    run.warnings.push(format!(
        "`{}` WAS NOT GIVEN AT RANDOM: features tell who got it with an AUC of {:.3} [{:.3}, {:.3}]; {weights}. Qini, AUUC and uplift@k compare \
         arms as they are, and may measure who was chosen rather than what was changed",
        experiment.name_of(pair),
        auc.value,
        auc.low,
        auc.high
    ));
}

/// What regressions that did not see a judged row say of it.
fn judged_outcomes(
    experiment: &Experiment<'_>,
    pair: &Pair,
    context: &crate::learner::FitContext,
) -> Result<Outcomes, TrainError> {
    let of_fold = |fold: &Fold| {
        let (train, at) = (experiment.of_pair(pair, &fold.train), experiment.of_pair(pair, &fold.validate));
        outcomes_of(experiment, pair, &train, &at, context)
    };
    let of_folds: Vec<Outcomes> = experiment.plan.folds.par_iter().map(of_fold).collect::<Result<_, TrainError>>()?;
    let mut rows: Vec<(usize, f64, f64, f64)> = Vec::with_capacity(pair.rows.len());
    for Outcomes { rows: of_fold, without, with, score } in of_folds {
        let numbers = without.into_iter().zip(with).zip(score);
        rows.extend(of_fold.into_iter().zip(numbers).map(|(row, ((without, with), score))| (row, without, with, score)));
    }
    rows.sort_unstable_by_key(|(row, ..)| *row);
    Ok(Outcomes {
        rows: rows.iter().map(|(row, ..)| *row).collect(),
        without: rows.iter().map(|(_, without, ..)| *without).collect(),
        with: rows.iter().map(|(_, _, with, _)| *with).collect(),
        score: rows.iter().map(|(.., score)| *score).collect(),
    })
}

/// The functions that say effects as they are shipped, on rows that no fit has seen.
fn told<'a>(experiment: &Experiment<'_>, treatments: &'a [Treatment]) -> Vec<Box<dyn Fn(usize) -> f64 + 'a>> {
    let is_chance = !experiment.dataset.schema.has_amounts();
    let of = |treatment: &'a Treatment| -> Box<dyn Fn(usize) -> f64 + 'a> {
        Box::new(treatment.chosen.told(&treatment.tried, is_chance))
    };
    treatments.iter().map(of).collect()
}

/// The position of the treatment of the largest average, of equals the first.
fn largest_average(treatments: &[Treatment]) -> usize {
    let averages = treatments.iter().map(|treatment| treatment.arm.average).enumerate();
    averages.rev().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(position, _)| position)
}

/// The effect of the treatment that stands for the model, of every judged row.
fn best_effects(experiment: &Experiment<'_>, treatments: &[Treatment], model: &Model) -> Vec<f64> {
    let told = told(experiment, treatments);
    let for_all = match model {
        Model::Uplift(uplift) if !uplift.chooses => Some(uplift.largest_average()),
        _ => None,
    };
    let best = |row: usize| match for_all {
        Some(arm) => told[arm](row),
        None => told.iter().map(|effect| effect(row)).fold(f64::NEG_INFINITY, f64::max),
    };
    experiment.plan.judged_rows().into_iter().map(best).collect()
}

fn uplift_report(experiment: &Experiment<'_>, treatments: &[Treatment], run: &Run<'_>) -> Result<UpliftReport, TrainError> {
    let measured_on = experiment.plan.measured_on();
    let reports = treatments.iter().map(|treatment| treatment.report(experiment, &measured_on, run)).collect::<Result<_, _>>()?;
    let control = experiment.dataset.schema.treatment.as_ref().map_or_else(String::new, |spec| spec.control.clone());
    let policies = policy_values(experiment, &told(experiment, treatments), run)?;
    // Of one treatment there is nothing to choose between.
    let chooses =
        treatments.len() == 1 || policies.iter().skip(1).take(treatments.len()).all(|all| all.gain_of_choosing.low > 0.0);
    let mut policies = policies;
    let taken = if chooses { 0 } else { 1 + largest_average(treatments) };
    policies.insert(0, PolicyValue { policy: format!("{TAKEN}: {}", policies[taken].policy), ..policies[taken].clone() });
    Ok(UpliftReport { control, treatments: reports, chooses, policies })
}

impl Treatment {
    fn report(&self, experiment: &Experiment<'_>, measured_on: &str, run: &Run<'_>) -> Result<TreatmentReport, TrainError> {
        let Self { pair, chosen, arm, .. } = self;
        let everybody = chosen.labelled.with_constant(&[chosen.average.value])?;
        let of_all = ("the average for all", &everybody);
        let measurement = Measurement {
            evaluation: chosen.evaluation.clone(),
            ..Measurement::beside(measured_on, &chosen.labelled, of_all, &few(run))
        };
        let n_treated = pair.rows.iter().filter(|&&row| experiment.arms[row] == pair.arm).count();
        let winner = &self.winner().member;
        Ok(TreatmentReport {
            treatment: arm.name.clone(),
            verdict: if chosen.is_conclusive() { Verdict::Conclusive } else { Verdict::Inconclusive },
            learner: winner.name.clone(),
            configuration: winner.configuration.clone(),
            n_treated,
            n_controls: pair.rows.len() - n_treated,
            outcome_of_controls: chosen.of_controls,
            qini: chosen.qini(),
            average: chosen.average,
            shipped_average: retain_eval::Interval {
                value: arm.average,
                low: arm.average - arm.half_width,
                high: arm.average + arm.half_width,
            },
            slope: chosen.slope,
            predictability: pair.predictability,
            is_predictable: pair.is_predictable,
            measurement,
        })
    }
}

/// Resamples for what is not decided by.
fn few(run: &Run<'_>) -> retain_eval::BootstrapOptions {
    let mut options = bootstrap(run.options);
    options.resamples = options.resamples.min(200);
    options
}

/// The members of every treatment, best first.
fn leaderboard(experiment: &Experiment<'_>, treatments: &[Treatment], run: &Run<'_>) -> Result<Vec<LeaderboardRow>, TrainError> {
    let mut rows = Vec::new();
    for treatment in treatments {
        let name = experiment.name_of(&treatment.pair);
        for (position, evaluation, difference) in
            treatment.chosen.standings(experiment, &treatment.pair, &treatment.tried, run)?
        {
            let member = &treatment.tried[position].member;
            let is_winner = position == treatment.chosen.winner;
            let qini = evaluation.get(retain_eval::Metric::Qini).map_or(0.0, |measured| measured.value);
            rows.push(LeaderboardRow {
                learner: if treatments.len() > 1 { format!("{name}: {}", member.name) } else { member.name.clone() },
                configuration: member.configuration.clone(),
                n_configurations: treatment.tried.len(),
                calibrator: "none".to_owned(),
                selection_loss: 1.0 - qini,
                is_winner,
                is_tied: !is_winner && difference.is_none_or(|d| d.low <= 0.0 && d.high >= 0.0),
                evaluation,
            });
        }
    }
    Ok(rows)
}
