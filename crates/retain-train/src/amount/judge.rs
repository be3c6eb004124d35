//! What the candidates are worth on rows that no fit has seen, beside what one would say without a model.

use retain_core::TaskKind;
use retain_data::{Dataset, Fold};
use retain_eval::{BootstrapOptions, Difference, Labelled, Metric, compare, evaluate};
use retain_score::{AmountModel, Head, Model, Prediction, Predictor};

use super::Heads;
use super::candidates::Candidate;
use super::decline::DECLINE_TO;
use crate::calibration::{Outcomes, calibrate};
use crate::event::with_affordable_resamples;
use crate::metrics_file::{HeadMeasurement, LeaderboardRow, Measurement, MetricsFile};
use crate::outcome;
use crate::train::{Preference, Run, TrainError, TrainOptions, bootstrap};

/// What the leaderboard shows of every candidate for an amount.
pub const AMOUNT_METRICS: [Metric; 6] =
    [Metric::NormalizedGini, Metric::Spearman, Metric::DecileMape, Metric::TotalBias, Metric::Mae, Metric::PoissonD2];

/// Resamples behind the intervals of the leaderboard: there are a dozen candidates, and two digits will do.
const LEADERBOARD_RESAMPLES: usize = 200;

/// What is judged, and on which rows.
pub(super) struct Judge<'a> {
    pub(super) heads: Heads<'a>,
    /// Best first.
    pub(super) candidates: &'a [Candidate],
    /// Rows that the folds validate, rising.
    pub(super) judged: &'a [usize],
    /// Folds of these, by position.
    pub(super) folds: &'a [Fold],
}

/// Predictions of the candidates on the rows that judge them.
pub(super) struct Verdict {
    pub(super) winner: usize,
    options: TrainOptions,
    /// Rows that judge: those of the folds, or of the test block.
    rows: Vec<usize>,
    /// The winner's limits are in here.
    of_winner: Labelled,
    leaderboard: Vec<LeaderboardRow>,
    /// Chances of any amount, by row.
    chances: Vec<f64>,
    /// The head for a decline, fitted before the test block.
    decline: Option<Head>,
}

impl Verdict {
    /// The winner's expected amounts of the rows that judge.
    pub(super) fn expected(&self) -> &[f64] {
        self.of_winner.predictions()
    }
}

/// Lower and upper limits, one each per row.
type Limits = (Vec<f64>, Vec<f64>);

/// What stands beside the truth of the rows that judge.
struct Predicted {
    rows: Vec<usize>,
    /// One list per candidate.
    expected: Vec<Vec<f64>>,
    /// One per candidate.
    limits: Vec<Option<Limits>>,
    chances: Vec<f64>,
    decline: Option<Head>,
}

impl Judge<'_> {
    /// Measures all candidates and chooses the one to be bundled.
    pub(super) fn verdict(&self, run: &mut Run<'_>) -> Result<Verdict, TrainError> {
        let predicted = if self.heads.lab.plan.test.is_some() { self.on_test_block(run)? } else { self.out_of_fold() };
        let labelled = predicted.expected.iter().map(|expected| self.values(&predicted.rows, expected, None));
        let labelled: Vec<Labelled> = labelled.collect::<Result<_, _>>()?;
        let options = with_affordable_resamples(&labelled, &AMOUNT_METRICS, run);
        let quick = BootstrapOptions { resamples: options.resamples.min(LEADERBOARD_RESAMPLES), ..bootstrap(&options) };
        let is_tied = labelled.iter().map(|one| is_tied(one, &labelled[0], &quick)).collect::<Result<Vec<bool>, TrainError>>()?;
        let winner = match options.prefer {
            Preference::Accurate => 0,
            Preference::Simple => simplest(self.candidates, &is_tied),
        };
        let row = |(position, (candidate, labelled)): (usize, (&Candidate, &Labelled))| LeaderboardRow {
            learner: candidate.name.clone(),
            configuration: candidate.configuration.clone(),
            n_configurations: candidate.n_configurations,
            calibrator: candidate.stack.recalibration.name().to_owned(),
            selection_loss: 1.0 - candidate.criterion,
            is_winner: position == winner,
            is_tied: position != winner && is_tied[position],
            evaluation: evaluate(labelled, &AMOUNT_METRICS, &quick),
        };
        let leaderboard = self.candidates.iter().zip(&labelled).enumerate().map(row).collect();
        let Predicted { rows, expected, limits, chances, decline } = predicted;
        let of_winner = self.values(&rows, &expected[winner], limits[winner].as_ref())?;
        Ok(Verdict { winner, options, rows, of_winner, leaderboard, chances, decline })
    }

    /// Cross-fitted predictions of the rows of the folds.
    fn out_of_fold(&self) -> Predicted {
        let of = |candidate: &Candidate| candidate.cross_fitted_limits(self.heads.amounts, self.folds);
        Predicted {
            rows: self.judged.to_vec(),
            expected: self.candidates.iter().map(|candidate| candidate.expected.clone()).collect(),
            limits: self.candidates.iter().map(of).collect(),
            chances: self.heads.occurrence.probabilities.clone(),
            decline: None,
        }
    }

    /// Predictions of the test block by models that were fitted to what came before it.
    fn on_test_block(&self, run: &Run<'_>) -> Result<Predicted, TrainError> {
        let dataset = self.heads.lab.dataset;
        let Some(test) = &self.heads.lab.plan.test else { return Ok(self.out_of_fold()) };
        let candidates: Vec<&Candidate> = self.candidates.iter().collect();
        let models = self.heads.models(&candidates, &test.train, run)?;
        let decline = models.first().and_then(|model| model.decline.clone());
        let predictions = models.into_iter().map(|model| predictions(&model, dataset, &test.validate));
        let predictions: Vec<Vec<Prediction>> = predictions.collect::<Result<_, _>>()?;
        Ok(Predicted {
            rows: test.validate.clone(),
            expected: predictions.iter().map(|of| expected(of)).collect(),
            limits: predictions.iter().map(|of| limits(of)).collect(),
            chances: predictions.first().map_or_else(Vec::new, |of| of.iter().map(|one| one.probability).collect()),
            decline,
        })
    }

    fn values(&self, rows: &[usize], expected: &[f64], limits: Option<&Limits>) -> Result<Labelled, TrainError> {
        let dataset = self.heads.lab.dataset;
        let actual: Vec<f64> = rows.iter().map(|&row| dataset.target[row]).collect();
        let group: Vec<u32> = rows.iter().map(|&row| dataset.group[row]).collect();
        let limits = limits.map(|(low, high)| (&low[..], &high[..]));
        Ok(Labelled::values(&actual, expected, limits, &group)?)
    }

    /// What stands in `metrics.json`.
    pub(super) fn metrics(&self, verdict: &Verdict, model: &Model, test: Option<&Dataset>) -> Result<MetricsFile, TrainError> {
        let plan = self.heads.lab.plan;
        let measured_on = plan.measured_on();
        let options = bootstrap(&verdict.options);
        let validation = self.beside_past(&measured_on, &verdict.of_winner, self.heads.lab.dataset, &verdict.rows, &options)?;
        let test = test.map(|test| self.on_table(model, test, &options)).transpose()?;
        let dataset = self.heads.lab.dataset;
        let mut file = MetricsFile::new(validation, verdict.leaderboard.clone(), test, dataset, model)?;
        file.heads.extend(self.chance(verdict, &measured_on, &options)?);
        file.heads.extend(self.decline(verdict, &measured_on, &options)?);
        file.baseline_prediction = outcome::baseline(model, dataset)?;
        Ok(file)
    }

    /// Amounts beside those of the past, times the factor that makes the total of the training rows right; beside the mean where
    /// the past is not known.
    fn beside_past(
        &self,
        measured_on: &str,
        labelled: &Labelled,
        table: &Dataset,
        rows: &[usize],
        options: &BootstrapOptions,
    ) -> Result<Measurement, TrainError> {
        let dataset = self.heads.lab.dataset;
        let known: Vec<usize> = match &self.heads.lab.plan.test {
            Some(test) => test.train.clone(),
            None => (0..dataset.n_rows()).collect(),
        };
        let total: f64 = known.iter().map(|&row| dataset.target[row]).sum();
        let past_total: f64 = dataset.past.iter().map(|past| known.iter().map(|&row| kept(past[row])).sum::<f64>()).sum();
        let (baseline_is, baseline) = match &table.past {
            Some(past) if past_total > 0.0 => {
                let again: Vec<f64> = rows.iter().map(|&row| kept(past[row]) * (total / past_total)).collect();
                ("the past, scaled", labelled.with_predictions(&again)?)
            }
            _ => ("mean amount", labelled.with_constant(&[total / known.len().max(1) as f64])?),
        };
        Ok(Measurement::beside(measured_on, labelled, (baseline_is, &baseline), options))
    }

    fn on_table(&self, model: &Model, test: &Dataset, options: &BootstrapOptions) -> Result<Measurement, TrainError> {
        let rows: Vec<usize> = (0..test.n_rows()).collect();
        let labelled = outcome::labelled(model, test, model)?;
        self.beside_past("the table given as --test", &labelled, test, &rows, options)
    }

    /// The chance of any amount, or of engagement that there is none, beside what the past says of it.
    fn chance(
        &self,
        verdict: &Verdict,
        measured_on: &str,
        options: &BootstrapOptions,
    ) -> Result<Option<HeadMeasurement>, TrainError> {
        if !self.heads.occurrence.is_learned() {
            return Ok(None);
        }
        let dataset = self.heads.lab.dataset;
        let is_engagement = self.heads.lab.task.kind == TaskKind::Engagement;
        let label = |&row: &usize| f64::from(u8::from((dataset.target[row] > 0.0) != is_engagement));
        let target: Vec<f64> = verdict.rows.iter().map(label).collect();
        let group: Vec<u32> = verdict.rows.iter().map(|&row| dataset.group[row]).collect();
        let chance = |&chance: &f64| if is_engagement { 1.0 - chance } else { chance };
        let labelled = Labelled::new(&target, &verdict.chances.iter().map(chance).collect::<Vec<_>>(), &group)?;
        let rate = target.iter().sum::<f64>() / target.len().max(1) as f64;
        let measurement = match &dataset.past {
            None => Measurement::new(measured_on, &labelled, rate, options)?,
            Some(past) => {
                let sign = if is_engagement { -1.0 } else { 1.0 };
                let margins: Vec<f64> = verdict.rows.iter().map(|&row| sign * libm::log1p(kept(past[row]))).collect();
                let outcomes = Outcomes { margins: &margins, target: &target, group: &group };
                let baseline = labelled.with_predictions(&calibrate(outcomes, options.seed).probabilities)?;
                Measurement::beside(measured_on, &labelled, ("the past, calibrated", &baseline), options)
            }
        };
        let answer = if is_engagement { "there is no activity" } else { "there is any amount" };
        Ok(Some(HeadMeasurement { answer: answer.to_owned(), measurement }))
    }

    fn decline(
        &self,
        verdict: &Verdict,
        measured_on: &str,
        options: &BootstrapOptions,
    ) -> Result<Option<HeadMeasurement>, TrainError> {
        let Some(decline) = self.heads.decline else { return Ok(None) };
        let labelled = decline.labelled(verdict.decline.as_ref())?;
        let measurement = Measurement::new(measured_on, &labelled, decline.rate(), options)?;
        let answer = format!("the amount falls to {:.0} % of what it was, or less", 100.0 * DECLINE_TO);
        Ok(Some(HeadMeasurement { answer, measurement }))
    }
}

/// A past amount; what is not known, or is below 0, counts as nothing.
fn kept(past: f64) -> f64 {
    if past > 0.0 { past } else { 0.0 }
}

fn predictions(model: &AmountModel, dataset: &Dataset, row_idxs: &[usize]) -> Result<Vec<Prediction>, TrainError> {
    let predictor = Predictor::new(&Model::Amount(model.clone()), &dataset.schema)?;
    let rows = dataset.rows(row_idxs);
    Ok(rows.in_order().map(|row| predictor.predict(row)).collect())
}

fn expected(predictions: &[Prediction]) -> Vec<f64> {
    predictions.iter().map(|prediction| prediction.expected_value.unwrap_or(0.0)).collect()
}

fn limits(predictions: &[Prediction]) -> Option<Limits> {
    predictions.iter().map(|prediction| prediction.limits).collect::<Option<Vec<_>>>().map(|limits| limits.into_iter().unzip())
}

/// Whether neither of the two orders customers surely better than the other.
fn is_tied(one: &Labelled, first: &Labelled, options: &BootstrapOptions) -> Result<bool, TrainError> {
    let differences = compare(one, first, &[Metric::NormalizedGini, Metric::Spearman], options)?;
    let is_open = |difference: &Difference| difference.low <= 0.0 && difference.high >= 0.0;
    Ok(differences.iter().all(is_open))
}

/// The simplest of the first candidate and those that cannot be told apart from it: a linear one, then any single one, then the blend.
fn simplest(candidates: &[Candidate], is_tied: &[bool]) -> usize {
    let rank = |candidate: &Candidate| {
        if candidate.stack.n_members() > 1 { 2 } else { u8::from(!candidate.name.contains("linear")) }
    };
    let allowed = (0..candidates.len()).filter(|&position| position == 0 || is_tied[position]);
    allowed.min_by_key(|&position| rank(&candidates[position])).unwrap_or(0)
}
