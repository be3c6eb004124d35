//! The models of a playbook over the rows of a table: [`ModelRows`] scores them, as far ahead as they are asked for.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use rayon::prelude::*;
use retain_core::{Day, TaskKind};
use retain_data::{RowReader, ScoringBatch, TableSource};
use retain_policy::assess::{Assessment, Health};
use retain_policy::decide::Prediction;
use retain_policy::playbook::{NamedModel, Playbook};
use retain_policy::rule::{Name, Rule, SlotId};
use retain_score::Scorer;

use crate::exit::{Complaint, Exit};
use crate::input::{read_bundle, scorer_of};
use crate::output::Output;
use crate::playbook_file::model_folder;

/// Rows that one thread scores at a time.
const CHUNK_ROWS: usize = 1024;
/// Reasons for leaving that actions may answer: the features that raise the prediction most.
const TOP_REASONS: usize = 5;

/// A model whose answers rules read.
pub(crate) struct RowModel {
    /// The playbook's name of it.
    pub(crate) name: String,
    pub(crate) scorer: Scorer,
}

/// The models of a playbook.
pub(crate) fn load_models(playbook: &Playbook, models: &Path) -> Result<Vec<RowModel>> {
    let load = |model: &NamedModel| {
        let bundle = read_bundle(&model_folder(&model.address, models)?)?;
        Ok(RowModel { name: model.name.clone(), scorer: scorer_of(&bundle)? })
    };
    playbook.models.iter().map(load).collect()
}

/// The models of a playbook that only assesses; without a folder of models there are none, and rules that ask for them are told.
pub(crate) fn load_models_if_any(playbook: &Playbook, models: Option<&Path>, output: Output) -> Result<Vec<RowModel>> {
    let Some(models) = models else {
        let is_prediction = |slot: &SlotId| matches!(playbook.names().name(*slot), Name::Prediction { .. });
        if assessing_rules(playbook.assessment()).any(|rule| rule.reads().iter().any(is_prediction)) {
            let message = "rules read predictions, which are missing: name the published models with `--models DIR`";
            output.warn("no_predictions", message);
        }
        return Ok(Vec::new());
    };
    load_models(playbook, models)
}

/// The rules of health, signals, segments, tiers and points.
fn assessing_rules(assessment: &Assessment) -> impl Iterator<Item = &Rule> {
    let health = assessment.health.iter().flat_map(Health::items).map(|item| &item.reads);
    let signals = assessment.signals.iter().map(|signal| &signal.when);
    let segments = assessment.segments.iter().map(|segment| &segment.when);
    let tiers = assessment
        .tier_programme
        .iter()
        .flat_map(|programme| programme.tenure.iter().chain(programme.tiers.iter().filter_map(|tier| tier.when.as_ref())));
    let points =
        assessment.points.iter().flat_map(|points| points.balance.iter().chain(points.earn.iter().map(|earn| &earn.reads)));
    health.chain(signals).chain(segments).chain(tiers).chain(points)
}

/// What a model says of a row.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) prediction: retain_score::Prediction,
    band: &'static str,
    /// Positions of the features that raise it most.
    pub(crate) reasons: Vec<usize>,
}

impl Said {
    /// The answer as rules read it.
    pub(crate) fn as_read<'v>(&self, name: &'v str) -> Prediction<'v> {
        Prediction {
            model: name,
            probability: Some(self.prediction.probability),
            expected_value: self.prediction.expected_value,
            band: Some(self.band),
        }
    }
}

/// The answers of one model, row after row.
pub(crate) struct ModelRows<'a> {
    model: &'a RowModel,
    reader: RowReader,
    with_reasons: bool,
    /// Rows that were scored and not asked for yet.
    waiting: VecDeque<Option<Said>>,
    n_rejected: usize,
    first_rejected: Option<String>,
}

impl<'a> ModelRows<'a> {
    pub(crate) fn open(model: &'a RowModel, source: &TableSource, now: Day, with_reasons: bool) -> Result<Self> {
        let reader = RowReader::open(source, model.scorer.schema(), Some(now))?;
        let leaves = matches!(model.scorer.manifest().kind, TaskKind::Churn | TaskKind::Survival);
        let with_reasons = with_reasons && leaves;
        Ok(Self { model, reader, with_reasons, waiting: VecDeque::new(), n_rejected: 0, first_rejected: None })
    }

    /// The next rows of the table; a batch of a file need not have the same length for every choice of columns.
    pub(crate) fn next_rows(&mut self, n_rows: usize) -> Result<Vec<Option<Said>>> {
        while self.waiting.len() < n_rows {
            let Some(batch) = self.reader.next().transpose()? else {
                let message = "the table has other rows now than when it was opened";
                return Err(Complaint::new(Exit::DATA, message).hint("wait until it is no longer being written").into());
            };
            self.n_rejected += batch.rejected.len();
            self.first_rejected = self.first_rejected.take().or_else(|| batch.rejected.first().map(ToString::to_string));
            self.waiting.extend(self.model.score(&batch, self.with_reasons));
        }
        Ok(self.waiting.drain(..n_rows).collect())
    }

    /// Tells of rows that could not be scored.
    pub(crate) fn tell(&self, output: Output) {
        if let Some(first) = &self.first_rejected {
            let message = format!("`{}` cannot score {} rows, the first because {first}", self.model.name, self.n_rejected);
            output.warn("rejected_rows", &message);
        }
    }
}

impl RowModel {
    /// Scores a batch on all threads; none where a row could not be encoded.
    fn score(&self, batch: &ScoringBatch, with_reasons: bool) -> Vec<Option<Said>> {
        let n_rows = batch.row_ok.len();
        let chunk = |first: usize| self.score_chunk(batch, first..n_rows.min(first + CHUNK_ROWS), with_reasons);
        let firsts: Vec<usize> = (0..n_rows).step_by(CHUNK_ROWS).collect();
        firsts.into_par_iter().map(chunk).flatten_iter().collect()
    }

    fn score_chunk(&self, batch: &ScoringBatch, rows: Range<usize>, with_reasons: bool) -> Vec<Option<Said>> {
        let (scorer, n_features) = (&self.scorer, batch.rows.n_features());
        let mut predictions = Vec::with_capacity(rows.len());
        scorer.predict_rows(&batch.rows.values()[rows.start * n_features..rows.end * n_features], &mut predictions);
        let said = |(row, prediction): (usize, retain_score::Prediction)| {
            let reasons = || if with_reasons { strongest(scorer, batch.rows.row(row)) } else { Vec::new() };
            batch.row_ok[row].then(|| Said { band: scorer.band(&prediction).as_str(), prediction, reasons: reasons() })
        };
        rows.zip(predictions).map(said).collect()
    }
}

/// The features that raise a prediction most.
fn strongest(scorer: &Scorer, values: &[f64]) -> Vec<usize> {
    let explanation = scorer.explain(values);
    let raises = |idx: &usize| explanation.contributions[*idx] > 0.0;
    explanation.top(explanation.contributions.len()).into_iter().filter(raises).take(TOP_REASONS).collect()
}
