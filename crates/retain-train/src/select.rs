//! Fits every learner on the folds, chooses its settings and its calibrator on rows the fits did not see, and ranks the learners.

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use retain_core::Rows;
use retain_data::Dataset;
use retain_score::{Engine, MarginModel};

use crate::blend::{Members, Part, Recipe, blend};
use crate::calibration::{Calibration, Outcomes, calibrate};
use crate::learner::{Configuration, FitContext, FitError, Learner, Loss};
use crate::learners::rows::thinned;
use crate::plan::Plan;
use crate::train::{BOOSTING, FOREST, Run, TrainError};

/// Rows of each fold on which a learner shows how fast it is, and which it learns from when there is no time for more.
const PILOT_ROWS: usize = 2_000;
/// Cells (rows × features) of a fold from which a learner has to show that first: below, the pilot would cost more than it saves.
const PILOT_FROM_CELLS: usize = 200_000;
/// Shares of the time that boosting has where the others have one.
const BOOSTING_SHARES: usize = 4;
/// Part of the time left that the next fit is planned to take.
const PLANNED_SHARE: f64 = 0.6;

/// Until when a learner may fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ration {
    /// The end of its own share of the time.
    pub(crate) share: Option<Instant>,
    /// The end of the time of all learners: the pilot may last until then, so that there is some model.
    pub(crate) all: Option<Instant>,
}

impl Ration {
    fn seconds_left(self) -> f64 {
        self.share.map_or(f64::INFINITY, |until| until.saturating_duration_since(Instant::now()).as_secs_f64())
    }
}

/// What the folds of one learner came to.
struct FoldFits {
    trials: Vec<Trial>,
    /// Rows that each fit was thinned to; none where it had all.
    max_rows: Option<usize>,
}

/// One setting of a learner on the judged rows.
pub(crate) struct Trial {
    /// The setting for fits after the folds.
    settled: Configuration,
    /// Out-of-fold margins, in the order of [`Arena::judged`].
    margins: Vec<f64>,
    /// Their mean loss.
    loss: f64,
}

/// All settings of one learner.
pub(crate) struct Tried {
    learner: Arc<dyn Learner + Send>,
    max_rows: Option<usize>,
    /// Settings that there was no time for.
    n_left_out: usize,
    trials: Vec<Trial>,
}

/// A model that could be bundled, as good as it showed itself on the judged rows.
pub(crate) struct Entry {
    pub(crate) recipe: Recipe,
    /// How many settings it was chosen from.
    pub(crate) n_configurations: usize,
    /// Out-of-fold margins, in the order of [`Arena::judged`].
    pub(crate) margins: Vec<f64>,
    /// What entries are ranked by: the mean loss on the judged rows, of [`Loss::Logistic`] after calibration.
    pub(crate) loss: f64,
    /// Of [`Loss::Logistic`] alone: fitted to the margins, with cross-fitted probabilities of the judged rows.
    pub(crate) calibration: Option<Calibration>,
}

/// The table and its splits, as every learner sees them.
pub(crate) struct Arena<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) plan: &'a Plan,
    /// Rows that some fold validates, rising.
    pub(crate) judged: Vec<usize>,
    /// Encoded validation rows of each fold.
    validation: Vec<Rows>,
}

impl<'a> Arena<'a> {
    pub(crate) fn new(dataset: &'a Dataset, plan: &'a Plan) -> Self {
        let validation = plan.folds.iter().map(|fold| dataset.rows(&fold.validate)).collect();
        Self { dataset, plan, judged: plan.judged_rows(), validation }
    }

    /// Labels of the judged rows.
    pub(crate) fn judged_target(&self) -> Vec<f64> {
        self.judged.iter().map(|&row_idx| self.dataset.target[row_idx]).collect()
    }

    /// Groups of the judged rows.
    pub(crate) fn judged_group(&self) -> Vec<u32> {
        self.judged.iter().map(|&row_idx| self.dataset.group[row_idx]).collect()
    }

    /// What keeps shares of customers alike over folds of the judged rows.
    pub(crate) fn judged_strata(&self) -> Vec<f64> {
        self.judged.iter().map(|&row_idx| self.plan.strata[row_idx]).collect()
    }

    /// Fits the settings of a learner on all folds.
    ///
    /// A learner that cannot be done within its ration tries the settings that promised most, and where there is no time for one of
    /// them either, learns from a random share of the rows.
    pub(crate) fn run(
        &self,
        learner: Arc<dyn Learner + Send>,
        context: &FitContext,
        ration: Ration,
        fold_done: &(dyn Fn() + Sync),
    ) -> Result<Tried, TrainError> {
        let configurations = learner.configurations(self.dataset, context.loss);
        let work = Work { learner: learner.as_ref(), configurations: &configurations, context, fold_done };
        let FoldFits { trials, max_rows } = self.fit_in_time(work, ration)?;
        Ok(Tried { n_left_out: configurations.len() - trials.len(), learner, max_rows, trials })
    }

    /// Everything that could be bundled, best first: the best setting of each learner, and a blend of all where that is more.
    pub(crate) fn entries(&self, tried: &[Tried], context: &FitContext) -> Vec<Entry> {
        let mut entries: Vec<Entry> = tried.iter().filter_map(|tried| self.best_of(tried, context)).collect();
        entries.extend(self.blend_of(tried, context));
        // Stable: of equals the one named first, which is the simpler.
        entries.sort_by(|a, b| a.loss.total_cmp(&b.loss));
        entries
    }

    fn best_of(&self, tried: &Tried, context: &FitContext) -> Option<Entry> {
        let best = tried.trials.iter().min_by(|a, b| a.loss.total_cmp(&b.loss))?;
        let recipe = Recipe { parts: vec![tried.part(best, 1.0)] };
        Some(self.entry(recipe, tried.trials.len(), best.margins.clone(), context))
    }

    fn blend_of(&self, tried: &[Tried], context: &FitContext) -> Option<Entry> {
        let trials: Vec<(&Tried, &Trial)> =
            tried.iter().flat_map(|tried| tried.trials.iter().map(move |trial| (tried, trial))).collect();
        let margins: Vec<&[f64]> = trials.iter().map(|(_, trial)| &trial.margins[..]).collect();
        let (target, group, weight) = (self.judged_target(), self.judged_group(), self.judged_weight());
        let members =
            Members { margins: &margins, target: &target, weight: weight.as_deref(), group: &group, loss: context.loss };
        let blended = blend(members, &self.judged_strata(), context.seed)?;
        let chosen = trials.iter().zip(&blended.weights).filter(|(_, weight)| **weight > 0.0);
        let parts = chosen.map(|((tried, trial), &weight)| tried.part(trial, weight)).collect();
        Some(self.entry(Recipe { parts }, trials.len(), blended.margins, context))
    }

    fn entry(&self, recipe: Recipe, n_configurations: usize, margins: Vec<f64>, context: &FitContext) -> Entry {
        let calibration = (context.loss == Loss::Logistic).then(|| {
            let (target, group) = (self.judged_target(), self.judged_group());
            calibrate(Outcomes { margins: &margins, target: &target, group: &group }, context.seed)
        });
        let loss = match &calibration {
            Some(calibration) => calibration.log_loss,
            None => self.mean_loss(&margins, context.loss),
        };
        Entry { recipe, n_configurations, margins, loss, calibration }
    }

    fn judged_weight(&self) -> Option<Vec<f64>> {
        let weight = self.dataset.weight.as_ref()?;
        Some(self.judged.iter().map(|&row_idx| weight[row_idx]).collect())
    }

    /// The weighted mean loss of margins of the judged rows.
    fn mean_loss(&self, margins: &[f64], loss: Loss) -> f64 {
        let (mut sum, mut total) = (0.0, 0.0);
        for (&row_idx, &margin) in self.judged.iter().zip(margins) {
            let weight = self.dataset.weight.as_ref().map_or(1.0, |weight| weight[row_idx]);
            sum += weight * loss.value(margin, self.dataset.target[row_idx]);
            total += weight;
        }
        sum / f64::max(total, f64::MIN_POSITIVE)
    }

    /// All settings on all rows where the time allows. Where it does not, a pilot on few rows shows which settings promise most and how
    /// long a fit takes; then as many of these as there is time for on as many rows as possible, rows before settings.
    fn fit_in_time(&self, work: Work<'_>, ration: Ration) -> Result<FoldFits, TrainError> {
        let most = self.plan.folds.iter().map(|fold| fold.train.len()).max().unwrap_or(0);
        let silent = Work { fold_done: &|| (), ..work };
        let pilot = || self.fit_folds(silent, PILOT_ROWS, ration.all);
        if most <= PILOT_ROWS || most * self.dataset.schema.n_features() < PILOT_FROM_CELLS {
            return match self.fit_folds(work, usize::MAX, ration.share) {
                Err(TrainError::Fit { source: FitError::OutOfTime, .. }) if most > PILOT_ROWS => pilot(),
                other => other,
            };
        }
        let mut started = Instant::now();
        let mut fits = pilot()?;
        let (mut n_rows, mut n_done) = (PILOT_ROWS, work.configurations.len());
        let by_promise = work.by_promise(&fits.trials);
        let mut waiting = &by_promise[..];
        loop {
            let speed = n_done as f64 * work.learner.work(n_rows) / started.elapsed().as_secs_f64();
            let affordable = PLANNED_SHARE * ration.seconds_left() * speed;
            let n_affordable = |rows: usize| (affordable / work.learner.work(rows)) as usize;
            // Rows before settings: the most rows that one setting can be afforded on, unless the fits so far have as many.
            let mut halves =
                std::iter::successors(Some(most), |rows| Some(rows / 2)).take_while(|rows| *rows > n_rows + n_rows / 2);
            let larger = halves.find(|&rows| n_affordable(rows) > 0);
            let next = larger.unwrap_or(n_rows);
            if larger.is_some() {
                waiting = &by_promise;
            }
            let is_whole = larger.is_some() && next == most && n_affordable(most) >= by_promise.len();
            let n_tried = match larger {
                Some(_) if is_whole => by_promise.len(),
                // One alone shows how long the others will take, and is a result that they cannot spoil.
                Some(_) => 1,
                None if n_rows == PILOT_ROWS => 0,
                None => n_affordable(next).min(waiting.len()),
            };
            if n_tried == 0 {
                return Ok(fits);
            }
            let chosen = if is_whole { work.configurations } else { &waiting[..n_tried] };
            started = Instant::now();
            match self.fit_folds(Work { configurations: chosen, ..if is_whole { work } else { silent } }, next, ration.share) {
                Ok(more) if larger.is_some() => fits = more,
                Ok(more) => fits.trials.extend(more.trials),
                Err(TrainError::Fit { source: FitError::OutOfTime, .. }) => return Ok(fits),
                Err(other) => return Err(other),
            }
            (n_rows, n_done) = (next, n_tried);
            waiting = &waiting[n_tried..];
            if waiting.is_empty() && n_rows == most {
                return Ok(fits);
            }
        }
    }

    /// Fits each fold to at most `max_rows` of its rows, and judges the settings on the rows left out.
    fn fit_folds(&self, work: Work<'_>, max_rows: usize, deadline: Option<Instant>) -> Result<FoldFits, TrainError> {
        let context = FitContext { deadline, ..*work.context };
        let fits: Vec<Result<Vec<MarginModel>, FitError>> = self
            .plan
            .folds
            .par_iter()
            .map(|fold| {
                context.check_time()?;
                let row_idxs = thinned(self.dataset, &fold.train, max_rows, context.seed);
                let fit = work.learner.fit(self.dataset, &row_idxs, work.configurations, &context);
                (work.fold_done)();
                fit
            })
            .collect();
        let failed = |source| TrainError::Fit { learner: work.learner.name(), source };
        let fits = fits.into_iter().collect::<Result<Vec<_>, FitError>>().map_err(failed)?;
        // Setting by setting: the models of a setting are given up once its margins are known.
        let by_setting = transposed(fits, work.configurations.len());
        let trials = work.configurations.iter().zip(by_setting).map(|(configuration, models)| {
            let margins = self.judged_margins(&models)?;
            let loss = self.mean_loss(&margins, context.loss);
            Ok(Trial { settled: work.learner.settle(configuration, &models), margins, loss })
        });
        let is_thinned = self.plan.folds.iter().any(|fold| fold.train.len() > max_rows);
        Ok(FoldFits { trials: trials.collect::<Result<_, TrainError>>()?, max_rows: is_thinned.then_some(max_rows) })
    }

    /// Margins of the judged rows, each from the fold's model that did not train on it, in the order of `judged`.
    fn judged_margins(&self, fold_models: &[MarginModel]) -> Result<Vec<f64>, TrainError> {
        let mut margin_of = vec![0.0; self.dataset.n_rows()];
        for ((fold, rows), model) in self.plan.folds.iter().zip(&self.validation).zip(fold_models) {
            let engine = Engine::new(model, &self.dataset.schema)?;
            for (&row_idx, row) in fold.validate.iter().zip(rows.in_order()) {
                margin_of[row_idx] = engine.margin(row);
            }
        }
        Ok(self.judged.iter().map(|&row_idx| margin_of[row_idx]).collect())
    }
}

/// From one list per fold to one list per setting.
fn transposed(fits: Vec<Vec<MarginModel>>, n_settings: usize) -> Vec<Vec<MarginModel>> {
    let mut by_setting: Vec<Vec<MarginModel>> = (0..n_settings).map(|_| Vec::with_capacity(fits.len())).collect();
    for models in fits {
        by_setting.iter_mut().zip(models).for_each(|(list, model)| list.push(model));
    }
    by_setting
}

/// Tries every learner within its share of the time until `until`, and ranks what came of it, best first.
///
/// # Errors
/// [`TrainError::OutOfTime`] when no learner was done in time, and whatever else went wrong with one of them.
pub(crate) fn select(
    arena: &Arena<'_>,
    learners: &[Arc<dyn Learner + Send>],
    context: &FitContext,
    until: Option<Instant>,
    run: &mut Run<'_>,
) -> Result<Vec<Entry>, TrainError> {
    let n_rows = arena.dataset.n_rows();
    let mut tried = Vec::with_capacity(learners.len());
    // The forest comes last: it cannot be stopped amid a fit, and has no one's time to take there.
    let mut order: Vec<usize> = (0..learners.len()).collect();
    order.sort_by_key(|&position| learners[position].name() == FOREST);
    for (n_before, &position) in order.iter().enumerate() {
        let learner = &learners[position];
        let name = learner.name();
        run.steps.begin(name);
        let shares: usize = order[n_before..].iter().map(|&position| shares_of(learners[position].name())).sum();
        let ration = Ration { share: until.map(|until| part_until(until, shares_of(name), shares)), all: until };
        match arena.run(Arc::clone(learner), context, ration, &|| run.steps.done(name)) {
            Ok(one) => {
                if let Some(max_rows) = one.max_rows {
                    run.cut_short(&format!("the learner `{name}` learned from {max_rows} of {n_rows} rows at a time"));
                }
                if one.n_left_out > 0 {
                    let n_settings = one.trials.len() + one.n_left_out;
                    run.cut_short(&format!("the learner `{name}` tried {} of {n_settings} settings", one.trials.len()));
                }
                tried.push((position, one));
            }
            Err(TrainError::Fit { source: FitError::OutOfTime, .. }) => {
                run.cut_short(&format!("there was no time for the learner `{name}`"));
            }
            Err(other) => return Err(other),
        }
    }
    if tried.is_empty() {
        return Err(TrainError::OutOfTime { budget_seconds: run.options.budget.as_secs() });
    }
    // In the order of the learners again, which decides between equals.
    tried.sort_by_key(|(position, _)| *position);
    let tried: Vec<Tried> = tried.into_iter().map(|(_, tried)| tried).collect();
    Ok(arena.entries(&tried, context))
}

/// Shares of the time that a learner may use: boosting wins most often.
fn shares_of(learner: &str) -> usize {
    if learner == BOOSTING { BOOSTING_SHARES } else { 1 }
}

/// When a learner should be done that has some of the shares of the time until `until`.
fn part_until(until: Instant, own: usize, all: usize) -> Instant {
    let now = Instant::now();
    now + until.saturating_duration_since(now) / all as u32 * own as u32
}

/// What is fitted on every fold.
#[derive(Clone, Copy)]
struct Work<'a> {
    learner: &'a dyn Learner,
    configurations: &'a [Configuration],
    context: &'a FitContext,
    /// Told after each fold.
    fold_done: &'a (dyn Fn() + Sync),
}

impl Work<'_> {
    /// The settings, those first that did best in these trials.
    fn by_promise(&self, trials: &[Trial]) -> Vec<Configuration> {
        let mut order: Vec<(&Configuration, f64)> =
            self.configurations.iter().zip(trials.iter().map(|trial| trial.loss)).collect();
        order.sort_by(|a, b| a.1.total_cmp(&b.1));
        order.into_iter().map(|(configuration, _)| configuration.clone()).collect()
    }
}

impl Tried {
    fn part(&self, trial: &Trial, weight: f64) -> Part {
        Part { learner: Arc::clone(&self.learner), configuration: trial.settled.clone(), weight, max_rows: self.max_rows }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::learners::rows::tests::example;

    /// Says something random that is the better the higher the setting, takes its time, and has none for more rows than it affords.
    struct Slow {
        affords: usize,
        n_settings: usize,
        seconds_per_row: f64,
    }

    impl Learner for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }

        fn configurations(&self, _dataset: &Dataset, _loss: Loss) -> Vec<Configuration> {
            (0..self.n_settings).map(|setting| Configuration::new(&[("setting", setting as f64)])).collect()
        }

        fn fit(
            &self,
            _dataset: &Dataset,
            row_idxs: &[usize],
            configurations: &[Configuration],
            context: &FitContext,
        ) -> Result<Vec<MarginModel>, FitError> {
            if row_idxs.len() > self.affords {
                return Err(FitError::OutOfTime);
            }
            let seconds = self.seconds_per_row * (row_idxs.len() * configurations.len()) as f64;
            std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
            context.check_time()?;
            let model = |setting: &Configuration| MarginModel {
                // The base rate of the example is near a half: an intercept near 0 is the best.
                intercept: 1.0 / (1.0 + setting.get("setting").unwrap_or(0.0)),
                ..MarginModel::default()
            };
            Ok(configurations.iter().map(model).collect())
        }
    }

    fn run(n_rows: usize, affords: usize, ration: Ration) -> Result<Tried, TrainError> {
        run_settings(n_rows, Slow { affords, n_settings: 1, seconds_per_row: 0.0 }, ration)
    }

    fn run_settings(n_rows: usize, learner: Slow, ration: Ration) -> Result<Tried, TrainError> {
        let table = example(n_rows, 1);
        let plan = Plan::new(&table, 30.0, 1).unwrap();
        let context = FitContext { loss: Loss::Logistic, seed: 1, deadline: None, gap_days: None };
        Arena::new(&table, &plan).run(Arc::new(learner), &context, ration, &|| ())
    }

    #[test]
    fn a_learner_with_time_has_all_rows_and_one_without_has_the_pilots() {
        let endless = Ration { share: None, all: None };
        for (n_rows, affords, max_rows) in [
            (4_000, usize::MAX, None),
            (4_000, 2_500, Some(PILOT_ROWS)),
            (80_000, usize::MAX, None),
            (80_000, 2_500, Some(PILOT_ROWS)),
        ] {
            assert_eq!(run(n_rows, affords, endless).unwrap().max_rows, max_rows, "{n_rows} {affords}");
        }
        let spent = Ration { share: Some(Instant::now()), all: None };
        assert_eq!(run(80_000, usize::MAX, spent).unwrap().max_rows, Some(PILOT_ROWS));
    }

    #[test]
    fn where_time_is_short_the_settings_that_promise_most_have_all_rows() {
        // Forty settings on 64,000 rows a fold take five threads, or fewer, at least 13 seconds; the pilot takes 1.6.
        let learner = Slow { affords: usize::MAX, n_settings: 40, seconds_per_row: 5e-6 };
        let until = Instant::now() + std::time::Duration::from_secs(8);
        let tried = run_settings(80_000, learner, Ration { share: Some(until), all: Some(until) }).unwrap();
        assert_eq!(tried.max_rows, None);
        assert!(tried.n_left_out > 0 && tried.trials.len() + tried.n_left_out == 40, "{} left out", tried.n_left_out);
        let settings: Vec<f64> = tried.trials.iter().map(|trial| trial.settled.get("setting").unwrap()).collect();
        assert_eq!(settings, (0..tried.trials.len()).map(|i| 39.0 - i as f64).collect::<Vec<_>>());
    }

    #[test]
    fn a_learner_without_time_for_the_pilot_is_out_of_time() {
        let endless = Ration { share: None, all: None };
        for n_rows in [1_000, 4_000, 80_000] {
            let found = run(n_rows, 100, endless);
            assert!(matches!(found, Err(TrainError::Fit { learner: "slow", source: FitError::OutOfTime })));
        }
        let over = Ration { share: Some(Instant::now()), all: Some(Instant::now()) };
        assert!(matches!(run(80_000, usize::MAX, over), Err(TrainError::Fit { source: FitError::OutOfTime, .. })));
    }

    #[test]
    fn later_fits_are_thinned_as_the_folds_were() {
        let tried = run(4_000, 2_500, Ration { share: None, all: None }).unwrap();
        let context = FitContext { loss: Loss::Logistic, seed: 1, deadline: None, gap_days: None };
        let recipe = Recipe { parts: vec![tried.part(&tried.trials[0], 1.0)] };
        assert!(recipe.fit(&example(4_000, 1), &(0..4_000).collect::<Vec<_>>(), &context).is_ok());
    }
}
