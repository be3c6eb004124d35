//! `retain score`: the answers of a model for every row of a table, in its order.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use arrow::datatypes::DataType;
use clap::Args;
use rayon::prelude::*;
use retain_core::{Day, DurationSpec, FeatureSchema};
use retain_data::{FeatureNotes, RejectedCell, RowReader, ScoringBatch, TableSource};
use retain_score::Scorer;
use serde_json::{Value, json};

use crate::answer::AnswerColumns;
use crate::exit::{Complaint, Exit};
use crate::input::{needs_day, open_table, read_bundle, scorer_of, table_attempt};
use crate::interrupt;
use crate::model_path::ModelArguments;
use crate::output::Output;
use crate::score_writer::{Entity, ResultColumns, ScoreWriter, ScoredRow};

/// Rejected cells that are told in full; all are counted.
const LISTED_CELLS: usize = 20;
/// The fewest rows worth handing to another thread.
const MIN_ROWS_PER_THREAD: usize = 64;

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
    let question = Question { scorer: &scorer, columns, n_reasons: usize::from(arguments.explain) };
    let writer = ScoreWriter::create(&arguments.output, &entity_of(&source, scorer.schema()), question.result_columns())?;

    let summary = score_all(reader, &source, &question, writer, output)?;
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

fn refuse_same_file(input: &Path, output: &Path) -> Result<()> {
    if let (Ok(input), Ok(output)) = (input.canonicalize(), output.canonicalize())
        && input == output
        && input.is_file()
    {
        return Err(Complaint::usage(format!("`{}` is both input and output", input.display())).into());
    }
    Ok(())
}

fn score_all(
    mut reader: RowReader,
    source: &TableSource,
    question: &Question<'_>,
    mut writer: ScoreWriter,
    output: Output,
) -> Result<Summary> {
    let n_features = question.scorer.schema().n_features();
    let mut summary = Summary { notes: vec![FeatureNotes::default(); n_features], ..Summary::default() };
    for batch in reader.by_ref() {
        let batch = batch.with_context(|| table_attempt(source.name()))?;
        let rows = question.score_batch(&batch);
        writer.write(&batch.entity, &rows)?;
        summary.add(&batch);
    }
    for warning in reader.warnings() {
        output.warn(warning.code, &warning.message);
    }
    writer.finish()?;
    Ok(summary)
}

impl Question<'_> {
    fn result_columns(&self) -> ResultColumns {
        let reasons = (1..=self.n_reasons).map(|position| format!("reason_{position}"));
        ResultColumns { numbers: self.columns.numbers(), texts: self.columns.texts().into_iter().chain(reasons).collect() }
    }

    /// Scores the rows of a batch on all threads; every row has the bits it would have alone.
    fn score_batch(&self, batch: &ScoringBatch) -> Vec<ScoredRow> {
        let score = |row_idx: usize| {
            if !batch.row_ok[row_idx] {
                return ScoredRow::default();
            }
            let row = batch.rows.row(row_idx);
            let elapsed_days = batch.elapsed_days.as_ref().map_or(0.0, |days| days[row_idx]);
            let mut answer = self.columns.answer(self.scorer, row, elapsed_days);
            if self.n_reasons > 0 {
                answer.texts.extend(reasons(self.scorer, row, self.n_reasons));
            }
            answer
        };
        (0..batch.entity.len()).into_par_iter().with_min_len(MIN_ROWS_PER_THREAD).map(score).collect()
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
    fn add(&mut self, batch: &ScoringBatch) {
        self.n_rows += batch.entity.len();
        self.n_rejected += batch.rejected.len();
        let room = LISTED_CELLS.saturating_sub(self.rejected.len());
        self.rejected.extend(batch.rejected.iter().take(room).cloned());
        for (total, notes) in self.notes.iter_mut().zip(&batch.notes) {
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
