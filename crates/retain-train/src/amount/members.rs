//! What is tried to say how much comes: parts that learners fit, and members of the stack made from them.
//!
//! | member | learns | log of the mean |
//! |---|---|---|
//! | `tweedie 1.2`, `1.5`, `1.8`, `poisson` | the amount | the margin |
//! | `log` | `ln(1 + amount)`, squared error | a line in the margin |
//! | `hurdle log-normal` | `ln amount` of amounts above 0, squared error | margin + ln chance + smearing |
//! | `hurdle gamma` | amounts above 0, gamma deviance | margin + ln chance |
//! | `… with its own spread` | the same as `hurdle log-normal`, and its spread σ | margin + ln chance + σ² / 2 |
//! | `chance` | whether there is any amount | a line in ln chance |
//!
//! # Source
//! Tweedie: Jørgensen (1987), boosted by Yang, Qian and Zou (2018); hurdle: Cragg (1971), Duan (1983); zero-inflated log-normal: Wang,
//! Liu and Miao (2019), here with its three parts fitted one after another.

use std::sync::Arc;
use std::time::Instant;

use retain_data::{Dataset, Task};
use retain_score::MarginModel;

use super::occurrence::Occurrence;
use super::stack::Stack;
use super::target::{Form, Target};
use crate::blend::Recipe;
use crate::boosting::Boosting;
use crate::learner::{Configuration, FitContext, FitError, Learner, Loss};
use crate::learners::Linear;
use crate::plan::Plan;
use crate::select::{Arena, Entry, select};
use crate::train::{Run, TrainError};

/// Rows with an amount from which amounts are learned apart from the chance of having one.
const MIN_POSITIVES: usize = 100;
/// Of the time that is left, what a trial may use: the first are the most promising.
const TRIAL_SHARE: f64 = 0.6;

/// What every trial is told.
#[derive(Clone, Copy)]
pub(super) struct Lab<'a> {
    pub(super) task: &'a Task,
    pub(super) dataset: &'a Dataset,
    pub(super) plan: &'a Plan,
    /// The mean amount.
    pub(super) unit: f64,
}

/// Boosting with settings that did best on another loss of the same amounts: which they are depends on the table more than on the loss.
struct Resettled {
    settings: Vec<Configuration>,
}

impl Learner for Resettled {
    fn name(&self) -> &'static str {
        Boosting.name()
    }

    fn supports(&self, loss: Loss) -> bool {
        Boosting.supports(loss)
    }

    fn configurations(&self, _dataset: &Dataset, _loss: Loss) -> Vec<Configuration> {
        self.settings.clone()
    }

    fn fit(
        &self,
        dataset: &Dataset,
        row_idxs: &[usize],
        configurations: &[Configuration],
        context: &FitContext,
    ) -> Result<Vec<MarginModel>, FitError> {
        Boosting.fit(dataset, row_idxs, configurations, context)
    }

    fn work(&self, n_rows: usize) -> f64 {
        Boosting.work(n_rows)
    }

    fn settle(&self, chosen: &Configuration, fold_models: &[MarginModel]) -> Configuration {
        Boosting.settle(chosen, fold_models)
    }
}

/// Something fitted by learners.
pub(super) struct Part {
    recipe: Recipe,
    n_configurations: usize,
    loss: Loss,
    target: Target,
    /// Out-of-fold margins of the judged rows, as logs of amounts.
    logs: Vec<f64>,
}

/// A log score made of parts.
pub(super) struct Member {
    pub(super) name: String,
    /// The part whose margin it is; none: it is made of the chance alone.
    pub(super) part: Option<usize>,
    /// Whether the log chance is added.
    pub(super) has_chance: bool,
    /// The part whose exponential is added.
    pub(super) spread: Option<usize>,
    /// Out-of-fold scores of the judged rows.
    pub(super) logs: Vec<f64>,
}

/// All parts, and the members made of them.
#[derive(Default)]
pub(super) struct Members {
    pub(super) parts: Vec<Part>,
    pub(super) members: Vec<Member>,
}

/// A loss to be tried.
#[derive(Clone, Copy)]
struct Trial {
    name: &'static str,
    form: Form,
    loss: Loss,
}

impl Trial {
    const fn new(name: &'static str, form: Form, loss: Loss) -> Self {
        Self { name, form, loss }
    }
}

impl Lab<'_> {
    /// The trials that the table has rows and the task has learners for, most promising first: a short budget leaves out the last.
    fn trials(&self) -> Vec<Trial> {
        const TWEEDIE: [Trial; 3] = [
            Trial::new("tweedie 1.5", Form::Amount, Loss::Tweedie { power: 1.5 }),
            Trial::new("tweedie 1.2", Form::Amount, Loss::Tweedie { power: 1.2 }),
            Trial::new("tweedie 1.8", Form::Amount, Loss::Tweedie { power: 1.8 }),
        ];
        let n_positives = self.dataset.n_positives();
        let is_always = n_positives == self.dataset.n_rows();
        let mut trials = vec![TWEEDIE[0]];
        if n_positives >= MIN_POSITIVES {
            let [log_normal, gamma] = if is_always { ["log-normal", "gamma"] } else { ["hurdle log-normal", "hurdle gamma"] };
            trials.push(Trial::new(log_normal, Form::LogPositive, Loss::Squared));
            trials.push(Trial::new(gamma, Form::Positive, Loss::Gamma));
        }
        // Without zeros it would be the log-normal once more.
        trials.extend((!is_always).then_some(Trial::new("log", Form::Log, Loss::Squared)));
        trials.extend([Trial::new("poisson", Form::Amount, Loss::Poisson), TWEEDIE[1], TWEEDIE[2]]);
        trials.retain(|trial| self.n_learners(trial.loss) > 0);
        trials
    }

    /// The learners of the task that can minimise this loss of an amount, simplest first.
    fn learners(&self, loss: Loss, boosting: Arc<dyn Learner + Send>) -> Vec<Arc<dyn Learner + Send>> {
        let asked = |name: &str| self.task.learners.iter().any(|asked| asked == name);
        // The ridge regression is to amounts what the logistic regression is to events. Both of these keep monotone constraints.
        let known: [(&str, Arc<dyn Learner + Send>); 2] = [("logistic", Arc::new(Linear)), ("boosting", boosting)];
        known.into_iter().filter(|(name, learner)| asked(name) && learner.supports(loss)).map(|(_, learner)| learner).collect()
    }

    fn n_learners(&self, loss: Loss) -> usize {
        self.learners(loss, Arc::new(Boosting)).len()
    }

    /// What the learners made of a target until `until`, best first; nothing where there was no time.
    fn entries(
        &self,
        target: &Target,
        loss: Loss,
        boosting: &Arc<dyn Learner + Send>,
        until: Option<Instant>,
        run: &mut Run<'_>,
    ) -> Result<Vec<Entry>, TrainError> {
        let table = target.dataset(self.dataset);
        let arena = Arena::new(&table, self.plan);
        match select(&arena, &self.learners(loss, Arc::clone(boosting)), &run.context(loss, self.plan), until, run) {
            Ok(entries) => Ok(entries),
            Err(TrainError::OutOfTime { .. }) => Ok(Vec::new()),
            Err(other) => Err(other),
        }
    }
}

impl Members {
    /// Tries all that the task's learners can fit until `until`.
    ///
    /// # Errors
    /// [`TrainError::NoLearner`] when none of them can, [`TrainError::OutOfTime`] when none was done in time.
    pub(super) fn learn(
        lab: Lab<'_>,
        occurrence: &Occurrence,
        until: Option<Instant>,
        run: &mut Run<'_>,
    ) -> Result<Self, TrainError> {
        let trials = lab.trials();
        if trials.is_empty() {
            return Err(TrainError::NoLearner { learners: lab.task.learners.join(", ") });
        }
        run.steps.plan(trials.iter().map(|trial| lab.n_learners(trial.loss) * lab.plan.folds.len()).sum());
        let mut all = Self::default();
        let mut boosting: Arc<dyn Learner + Send> = Arc::new(Boosting);
        for (position, trial) in trials.iter().enumerate() {
            let target = trial.form.target(&lab.dataset.target, lab.unit);
            let part = if position + 1 == trials.len() { 1.0 } else { TRIAL_SHARE };
            let share = || until.map(|until| share_of(until, part));
            let entries = lab.entries(&target, trial.loss, &boosting, share(), run)?;
            // Where there was no time for all settings of boosting, the first of them has to do.
            let first = || Boosting.configurations(lab.dataset, trial.loss).into_iter().next();
            if let Some(settings) = settings_of_boosting(&entries).or_else(first) {
                boosting = Arc::new(Resettled { settings: vec![settings] });
            }
            for entry in worth_keeping(entries) {
                all.add(*trial, entry, &target, occurrence);
            }
            if trial.form == Form::LogPositive {
                all.add_spread(lab, &boosting, share(), run)?;
            }
        }
        if all.members.is_empty() {
            return Err(TrainError::OutOfTime { budget_seconds: run.options.budget.as_secs() });
        }
        if occurrence.is_learned() {
            let logs = occurrence.logs();
            all.members.push(Member { name: "chance".to_owned(), part: None, has_chance: true, spread: None, logs });
        }
        Ok(all)
    }

    /// The settings of the parts that a stack uses, and how many settings were tried for these.
    pub(super) fn configuration(&self, stack: &Stack) -> (String, usize) {
        let used: Vec<(&Member, f64)> =
            self.members.iter().zip(stack.coefficients.iter().copied()).filter(|(_, coefficient)| *coefficient > 0.0).collect();
        let settings = |member: &Member| {
            let parts = [member.part, member.spread].into_iter().flatten();
            parts.map(|part| self.parts[part].recipe.configuration()).collect::<Vec<_>>().join("; spread: ")
        };
        let tried = |member: &Member| {
            let parts = [member.part, member.spread].into_iter().flatten();
            parts.map(|part| self.parts[part].n_configurations).sum::<usize>()
        };
        let text = match &used[..] {
            [(only, _)] => settings(only),
            several => {
                let one =
                    |(member, coefficient): &(&Member, f64)| format!("{coefficient:.2} × {} [{}]", member.name, settings(member));
                several.iter().map(one).collect::<Vec<_>>().join(" + ")
            }
        };
        (text, used.iter().map(|(member, _)| tried(member)).sum())
    }

    /// The parts that a stack uses.
    pub(super) fn used_parts(&self, stack: &Stack) -> Vec<bool> {
        let mut used = vec![false; self.parts.len()];
        for (member, _) in self.members.iter().zip(&stack.coefficients).filter(|(_, coefficient)| **coefficient > 0.0) {
            [member.part, member.spread].into_iter().flatten().for_each(|part| used[part] = true);
        }
        used
    }

    fn add(&mut self, trial: Trial, entry: Entry, target: &Target, occurrence: &Occurrence) {
        let part_logs: Vec<f64> = entry.margins.iter().map(|margin| margin + target.offset).collect();
        let mut logs = part_logs.clone();
        let has_chance = trial.form.is_conditional() && occurrence.is_learned();
        if has_chance {
            logs.iter_mut().zip(occurrence.logs()).for_each(|(log, chance)| *log += chance);
        }
        let name = format!("{} ({})", trial.name, entry.recipe.name());
        self.members.push(Member { name, part: Some(self.parts.len()), has_chance, spread: None, logs });
        let (recipe, n_configurations) = (entry.recipe, entry.n_configurations);
        self.parts.push(Part { recipe, n_configurations, loss: trial.loss, target: target.clone(), logs: part_logs });
    }

    /// The log-normal with a spread of each row's own, where boosting can learn one.
    fn add_spread(
        &mut self,
        lab: Lab<'_>,
        boosting: &Arc<dyn Learner + Send>,
        until: Option<Instant>,
        run: &mut Run<'_>,
    ) -> Result<(), TrainError> {
        let is_log_normal = |member: &&Member| member.name.contains("log-normal");
        let Some(position) = self.members.iter().find(is_log_normal).and_then(|member| member.part) else { return Ok(()) };
        let judged = lab.plan.judged_rows();
        let Some(target) = Target::spread(&lab.dataset.target, &judged, &self.parts[position].logs) else { return Ok(()) };
        if lab.n_learners(Loss::Gamma) == 0 {
            return Ok(());
        }
        let Some(entry) = lab.entries(&target, Loss::Gamma, boosting, until, run)?.into_iter().next() else { return Ok(()) };
        let Some(base) = self.members.iter().find(|member| member.part == Some(position)) else { return Ok(()) };
        let logs = base.logs.iter().zip(&entry.margins).map(|(log, spread)| log + bent(*spread)).collect();
        let name = format!("{} with its own spread", base.name);
        let member = Member { name, part: base.part, has_chance: base.has_chance, spread: Some(self.parts.len()), logs };
        self.members.push(member);
        let Entry { recipe, n_configurations, margins, .. } = entry;
        self.parts.push(Part { recipe, n_configurations, loss: Loss::Gamma, target, logs: margins });
        Ok(())
    }
}

impl Part {
    /// The part fitted to these rows; its margin is the log of an amount.
    pub(super) fn fit(&self, row_idxs: &[usize], lab: Lab<'_>, run: &Run<'_>) -> Result<MarginModel, TrainError> {
        let mut model = self.recipe.fit(&self.target.dataset(lab.dataset), row_idxs, &run.context(self.loss, lab.plan))?;
        model.intercept += self.target.offset;
        Ok(model)
    }
}

/// The best entry, and the linear reference where that is another.
fn worth_keeping(entries: Vec<Entry>) -> impl Iterator<Item = Entry> {
    let is_reference = |entry: &Entry| entry.recipe.name() == Linear.name();
    entries.into_iter().enumerate().filter(move |(position, entry)| *position == 0 || is_reference(entry)).map(|(_, entry)| entry)
}

/// The settings with which boosting did best, without the number of rounds, which the next loss finds anew.
fn settings_of_boosting(entries: &[Entry]) -> Option<Configuration> {
    let [part] = &entries.iter().find(|entry| entry.recipe.name() == Boosting.name())?.recipe.parts[..] else { return None };
    let values = part.configuration.values.iter().copied().filter(|(name, _)| *name != "rounds").collect();
    Some(Configuration { values })
}

/// What a spread adds to a log, as the scorer takes it.
fn bent(spread: f64) -> f64 {
    libm::exp(spread.clamp(-100.0, 100.0))
}

/// When a trial should be done that has this share of the time until then.
fn share_of(until: Instant, share: f64) -> Instant {
    let now = Instant::now();
    now + until.saturating_duration_since(now).mul_f64(share)
}
