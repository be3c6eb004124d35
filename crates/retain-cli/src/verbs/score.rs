//! `retain score`: the answers of a model for every row of a table, in its order.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use arrow::datatypes::DataType;
use clap::Args;
use rayon::prelude::*;
use retain_core::{Day, DurationSpec, FeatureSchema};
use retain_data::{FeatureNotes, RawBatch, RawBatches, RejectedCell, RowEncoder, RowReader, ScoringBatch, TableSource};
use retain_score::Scorer;
use serde_json::{Value, json};

use crate::answer::AnswerColumns;
use crate::exit::{Complaint, Exit};
use crate::input::{needs_day, open_table, read_bundle, scorer_of, table_attempt};
use crate::interrupt;
use crate::model_path::ModelArguments;
use crate::output::Output;
use crate::score_writer::{Encoded, Entity, ResultColumns, ScoreFormat, ScoreWriter};

/// Rejected cells that are told in full; all are counted.
const LISTED_CELLS: usize = 20;
/// Rows that one thread scores and formats at a time.
const CHUNK_ROWS: usize = 1024;
/// Cells that are read, scored and written together: what is held in memory is three times as much, whatever the size of the table.
const WAVE_CELLS: usize = 1 << 20;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Table to score: CSV or Parquet, or `-` for standard input; other columns than the model's are ignored
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Result: `.csv` or `.parquet`, or `-` for CSV on standard output
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Add the K largest contributions as `reason_1 … reason_K`
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=100))]
    explain: u16,
    /// Day to which dates are counted where the table has no date of observation, such as 2026-01-31
    #[arg(long, value_name = "DATE")]
    observed_at: Option<String>,
    /// Add what else the model knows: the band; of survival models the curve, of amounts the chance of a decline
    #[arg(long)]
    details: bool,
    /// Column that says how long each customer has been there already, in the unit of the durations (survival models)
    #[arg(long, value_name = "COLUMN")]
    elapsed: Option<String>,
}

/// A model and what is asked of it.
struct Question<'a> {
    scorer: &'a Scorer,
    columns: AnswerColumns,
    n_reasons: usize,
    encoder: RowEncoder,
    format: ScoreFormat,
}

/// Rows that are ready to be written.
struct Scored {
    rows: Encoded,
    summary: Summary,
}

/// What was unusual over all rows.
#[derive(Default)]
struct Summary {
    n_rows: usize,
    n_rejected: usize,
    rejected: Vec<RejectedCell>,
    notes: Vec<FeatureNotes>,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Exit> {
    let bundle = read_bundle(&arguments.model.path()?)?;
    let scorer = scorer_of(&bundle)?;
    refuse_same_file(&arguments.input, &arguments.output)?;
    let source = open_table(&arguments.input)?;
    let day = observation_day(arguments.observed_at.as_deref(), &source, &scorer, output)?;
    let reader = open_reader(&source, &scorer, day, arguments.elapsed.as_deref())?;
    interrupt::watch();
    let columns = AnswerColumns::new(&bundle.model, &scorer, arguments.details);
    let n_reasons = usize::from(arguments.explain);
    let results = result_columns(&columns, n_reasons);
    let (writer, format) = ScoreWriter::create(&arguments.output, &entity_of(&source, scorer.schema()), results)?;
    let (batches, encoder) = reader.into_parts();
    let question = Question { scorer: &scorer, columns, n_reasons, encoder, format };

    let summary = score_all(batches, &source, &question, writer, output)?;
    tell(&summary, scorer.schema(), output);
    if arguments.output.as_os_str() != "-" {
        output.json(&summary_json(&summary, scorer.schema(), &arguments.output))?;
    }
    Ok(if summary.n_rejected == 0 { Exit::GOOD } else { Exit::DATA })
}

fn open_reader(source: &TableSource, scorer: &Scorer, day: Option<Day>, elapsed: Option<&str>) -> Result<RowReader> {
    let schema = scorer.schema();
    let Some(column) = elapsed else { return RowReader::open(source, schema, day).with_context(|| table_attempt(source.name())) };
    let Some(duration) = &schema.duration else {
        let message = format!(
            "`--elapsed` is for survival models, and {} is one of {}",
            scorer.manifest().address(),
            scorer.manifest().kind
        );
        return Err(Complaint::usage(message).hint("leave it out").into());
    };
    let elapsed = DurationSpec { column: column.to_owned(), unit_days: duration.unit_days };
    RowReader::open_with_elapsed(source, schema, day, elapsed).with_context(|| table_attempt(source.name()))
}

/// The entity column of the result; rows of a model without one are named by their number.
fn entity_of<'a>(source: &TableSource, schema: &'a FeatureSchema) -> Entity<'a> {
    let Some(name) = schema.entity.as_deref() else { return Entity { name: "row", is_integer: true } };
    // A batch that cannot be read is told of when the rows are scored.
    let first = source.column_idx(name).and_then(|idx| source.batches(&[idx]).ok()?.next()?.ok());
    let is_integer = first.is_some_and(|batch| *batch.schema().field(0).data_type() == DataType::Int64);
    Entity { name, is_integer }
}

/// The day to which dates count: the one given, or the model's; none where every row has its own.
pub(crate) fn observation_day(given: Option<&str>, source: &TableSource, scorer: &Scorer, output: Output) -> Result<Option<Day>> {
    if let Some(text) = given {
        let complaint = || Complaint::usage("`--observed-at` is not a date").hint("write it as `2026-01-31`");
        return Ok(Some(Day::parse(text).map_err(|error| complaint().because(error))?));
    }
    let reference = scorer.manifest().reference_day();
    if let Some(day) = reference.filter(|_| needs_day(source, scorer.schema())) {
        output.note(&format!("note: dates are counted to {day}, the reference day of the model; `--observed-at` sets another"));
    }
    Ok(reference)
}

/// Refuses to write over what is read.
pub(crate) fn refuse_same_file(input: &Path, output: &Path) -> Result<()> {
    if let (Ok(input), Ok(output)) = (input.canonicalize(), output.canonicalize())
        && input == output
        && input.is_file()
    {
        return Err(Complaint::usage(format!("`{}` is both input and output", input.display())).into());
    }
    Ok(())
}

/// Reads one wave of batches, scores the one before it and writes the one before that, side by side.
fn score_all(
    mut batches: RawBatches,
    source: &TableSource,
    question: &Question<'_>,
    mut writer: ScoreWriter,
    output: Output,
) -> Result<Summary> {
    let n_features = question.scorer.schema().n_features();
    let mut summary = Summary { notes: vec![FeatureNotes::default(); n_features], ..Summary::default() };
    let mut read = next_wave(&mut batches, source)?;
    let mut scored = Vec::new();
    while !(read.is_empty() && scored.is_empty()) {
        let (next, (done, written)) = rayon::join(
            || next_wave(&mut batches, source),
            || rayon::join(|| question.score_wave(&read), || write_wave(&mut writer, &mut summary, &scored)),
        );
        written?;
        (read, scored) = (next?, done?);
    }
    for warning in batches.warnings() {
        output.warn(warning.code, &warning.message);
    }
    writer.finish()?;
    Ok(summary)
}

/// The next batches of a table; none at its end.
fn next_wave(batches: &mut RawBatches, source: &TableSource) -> Result<Vec<RawBatch>> {
    let (mut wave, mut n_cells) = (Vec::new(), 0);
    while n_cells < WAVE_CELLS
        && let Some(batch) = batches.next().transpose().with_context(|| table_attempt(source.name()))?
    {
        n_cells += batch.n_cells();
        wave.push(batch);
    }
    Ok(wave)
}

fn write_wave(writer: &mut ScoreWriter, summary: &mut Summary, wave: &[Scored]) -> Result<()> {
    for scored in wave {
        writer.write(&scored.rows)?;
        summary.add(&scored.summary);
    }
    Ok(())
}

fn result_columns(columns: &AnswerColumns, n_reasons: usize) -> ResultColumns {
    let reasons = (1..=n_reasons).map(|position| format!("reason_{position}"));
    ResultColumns { numbers: columns.numbers(), texts: columns.texts().into_iter().chain(reasons).collect() }
}

impl Question<'_> {
    /// Scores batches on all threads; every row has the bits it would have alone.
    ///
    /// Pieces are so small that their numbers stay in a core's cache from reading to writing.
    fn score_wave(&self, wave: &[RawBatch]) -> Result<Vec<Scored>> {
        let pieces: Vec<RawBatch> = wave.iter().flat_map(|batch| batch.pieces(CHUNK_ROWS)).collect();
        pieces.par_iter().map(|piece| self.score_rows(self.encoder.encode(piece))).collect()
    }

    fn score_rows(&self, batch: ScoringBatch) -> Result<Scored> {
        let mut answers = self.columns.answers(self.scorer, &batch);
        if self.n_reasons > 0 {
            let n_rows = batch.row_ok.len();
            let mut columns = vec![Vec::with_capacity(n_rows); self.n_reasons];
            for row in 0..n_rows {
                let told = if batch.row_ok[row] { reasons(self.scorer, batch.rows.row(row), self.n_reasons) } else { Vec::new() };
                let mut told = told.into_iter();
                for column in &mut columns {
                    column.push(Cow::Owned(told.next().unwrap_or_default()));
                }
            }
            answers.texts.extend(columns);
        }
        Ok(Scored { rows: self.format.encode(&batch.entity, &answers)?, summary: Summary::of(batch) })
    }
}

/// Texts such as `Contract = Month-to-month (+0.82)`, largest contribution first, in what [`Scorer::explain`] adds up; features that add nothing are left out.
fn reasons(scorer: &Scorer, row: &[f64], n_reasons: usize) -> Vec<String> {
    let explanation = scorer.explain(row);
    let top = explanation.top(n_reasons).into_iter().filter(|&feature_idx| explanation.contributions[feature_idx] != 0.0);
    top.map(|feature_idx| {
        let feature = &scorer.schema().features[feature_idx];
        format!("{} = {} ({:+.2})", feature.name, feature.display(row[feature_idx]), explanation.contributions[feature_idx])
    })
    .collect()
}

impl Summary {
    /// What was unusual in a batch.
    fn of(mut batch: ScoringBatch) -> Self {
        let (n_rows, n_rejected) = (batch.row_ok.len(), batch.rejected.len());
        batch.rejected.truncate(LISTED_CELLS);
        Self { n_rows, n_rejected, rejected: batch.rejected, notes: batch.notes }
    }

    /// Adds the rows behind these.
    fn add(&mut self, next: &Self) {
        self.n_rows += next.n_rows;
        self.n_rejected += next.n_rejected;
        let room = LISTED_CELLS.saturating_sub(self.rejected.len());
        self.rejected.extend(next.rejected.iter().take(room).cloned());
        for (total, notes) in self.notes.iter_mut().zip(&next.notes) {
            total.missing += notes.missing;
            total.unseen += notes.unseen;
            total.out_of_range += notes.out_of_range;
        }
    }

    /// Features with anything unusual, in schema order.
    fn unusual<'a>(&'a self, schema: &'a FeatureSchema) -> impl Iterator<Item = (&'a str, &'a FeatureNotes)> {
        let features = schema.features.iter().map(|feature| feature.name.as_str());
        features.zip(&self.notes).filter(|(_, notes)| **notes != FeatureNotes::default())
    }
}

fn tell(summary: &Summary, schema: &FeatureSchema, output: Output) {
    output.note(&format!("{} rows scored, {} rejected", summary.n_rows - summary.n_rejected, summary.n_rejected));
    for (feature, notes) in summary.unusual(schema) {
        let counts = [(notes.missing, "missing"), (notes.unseen, "unseen"), (notes.out_of_range, "out of range")];
        let parts: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        output.note(&format!("note: `{feature}`: {}", parts.join(", ")));
    }
    for cell in &summary.rejected {
        output.warn("rejected_cell", &cell.to_string());
    }
    if summary.n_rejected > summary.rejected.len() {
        output.note(&format!("… and {} more rows with rejected cells", summary.n_rejected - summary.rejected.len()));
    }
}

fn summary_json(summary: &Summary, schema: &FeatureSchema, path: &Path) -> Value {
    let cell = |cell: &RejectedCell| json!({ "row": cell.row, "column": cell.column, "problem": cell.problem.to_string() });
    let note = |(feature, notes): (&str, &FeatureNotes)| json!({ "feature": feature, "missing": notes.missing, "unseen": notes.unseen, "out_of_range": notes.out_of_range });
    json!({
        "output": path.display().to_string(),
        "n_rows": summary.n_rows,
        "n_rejected": summary.n_rejected,
        "rejected": summary.rejected.iter().map(cell).collect::<Vec<_>>(),
        "unusual": summary.unusual(schema).map(note).collect::<Vec<_>>(),
    })
}
