//! `retain explain`: why one customer has the probability, or the expected amount, that it has.

use std::borrow::Cow;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use retain_core::{Day, TaskKind, nearest};
use retain_data::{RejectedCell, RowReader, TableSource};
use retain_score::{Calibrator, Effect, Manifest, Prediction, Scorer};
use serde_json::{Value, json};

use crate::exit::{Complaint, Exit};
use crate::input::{open_table, read_bundle, scorer_of, table_attempt};
use crate::model_path::ModelArguments;
use crate::output::Output;
use crate::tables;
use crate::verbs::score::observation_day;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Table with the customer: CSV or Parquet, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The customer: its value in the entity column, or the row's number from 1 where the model has none
    #[arg(long, value_name = "ID")]
    id: String,
    /// Day to which dates are counted where the table has no date of observation, such as 2026-01-31
    #[arg(long, value_name = "DATE")]
    observed_at: Option<String>,
}

/// The last row of the customer.
struct Found {
    row: Vec<f64>,
    rejected: Option<RejectedCell>,
    row_number: usize,
    n_rows: usize,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Exit> {
    let bundle = read_bundle(&arguments.model.path()?)?;
    let scorer = scorer_of(&bundle)?;
    let source = open_table(&arguments.input)?;
    let day = observation_day(arguments.observed_at.as_deref(), &source, &scorer, output)?;
    let Some(found) = find(&source, &scorer, day, &arguments.id)? else {
        return Err(unknown_id(&source, &scorer, day, &arguments.id)?.into());
    };
    if found.n_rows > 1 {
        let (n_rows, number) = (found.n_rows, found.row_number);
        output.note(&format!("note: `{}` has {n_rows} rows; this explains the last of them, row {number}", arguments.id));
    }
    if let Some(cell) = &found.rejected {
        let message = format!("the row of `{}` cannot be scored", arguments.id);
        return Err(Complaint::new(Exit::DATA, message).because(anyhow::anyhow!("{cell}")).hint("correct the cell").into());
    }
    output.text(&text(&scorer, &found, &arguments.id))?;
    output.json(&as_json(&scorer, &found, &arguments.id))?;
    Ok(Exit::GOOD)
}

fn open(source: &TableSource, scorer: &Scorer, day: Option<Day>) -> Result<RowReader> {
    RowReader::open(source, scorer.schema(), day).with_context(|| table_attempt(source.name()))
}

fn find(source: &TableSource, scorer: &Scorer, day: Option<Day>, id: &str) -> Result<Option<Found>> {
    let mut found: Option<Found> = None;
    for batch in open(source, scorer, day)? {
        let batch = batch.with_context(|| table_attempt(source.name()))?;
        for (row_idx, _) in batch.entity.iter().enumerate().filter(|(_, entity)| entity == id) {
            let row_number = batch.first_row + row_idx + 1;
            found = Some(Found {
                row: batch.rows.row(row_idx).to_vec(),
                rejected: batch.rejected.iter().find(|cell| cell.row == row_number).cloned(),
                row_number,
                n_rows: found.map_or(1, |before| before.n_rows + 1),
            });
        }
    }
    Ok(found)
}

/// Says that there is no such customer, and which one is named most like it.
fn unknown_id(source: &TableSource, scorer: &Scorer, day: Option<Day>, id: &str) -> Result<Complaint> {
    let mut near: Option<String> = None;
    for batch in open(source, scorer, day)? {
        let batch = batch.with_context(|| table_attempt(source.name()))?;
        let names: Vec<Cow<'_, str>> = batch.entity.iter().collect();
        let candidates = near.as_deref().into_iter().chain(names.iter().map(AsRef::as_ref));
        near = nearest(id, candidates).map(str::to_owned);
    }
    let column = scorer.schema().entity.as_deref();
    let place = column.map_or("is no row number".to_owned(), |column| format!("is not in the column `{column}`"));
    let complaint = Complaint::new(Exit::DATA, format!("`{id}` {place} of `{}`", source.name()));
    Ok(match near {
        Some(near) => complaint.hint(format!("did you mean `{near}`?")),
        None => complaint.hint("give the value exactly as the table has it"),
    })
}

fn text(scorer: &Scorer, found: &Found, id: &str) -> String {
    let (prediction, explanation) = (scorer.predict(&found.row), scorer.explain(&found.row));
    let mut table = tables::table(&["feature", "value", "typical", "contribution"], 3);
    for feature_idx in explanation.top(usize::MAX) {
        let feature = &scorer.schema().features[feature_idx];
        table.add_row([
            feature.name.clone(),
            feature.display(found.row[feature_idx]),
            feature.typical.map_or_else(String::new, |typical| feature.display(typical)),
            format!("{:+.4}", explanation.contributions[feature_idx]),
        ]);
    }
    let manifest = scorer.manifest();
    format!(
        "{id} by {}: {}, {} within {} days\n\n{}\n\nbase margin {:+.4}, margin {:+.4}, both {}",
        manifest.address(),
        answer(scorer, &prediction, &found.row),
        manifest.kind,
        manifest.horizon_days,
        tables::render(&table),
        explanation.base_margin,
        explanation.margin,
        scale(manifest)
    )
}

/// The prediction in words, with its band.
fn answer(scorer: &Scorer, prediction: &Prediction, row: &[f64]) -> String {
    let band = scorer.band(prediction).as_str();
    if let Some(effects) = scorer.effects(row) {
        return format!("{} ({band})", effects.iter().map(effect_text).collect::<Vec<_>>().join("; "));
    }
    let probability = prediction.probability;
    let Some(expected) = prediction.expected_value else { return format!("probability {probability:.4} ({band})") };
    let currency = scorer.manifest().currency.as_ref().map_or_else(String::new, |currency| format!(" {currency}"));
    let limits = prediction.limits.map_or_else(String::new, |(low, high)| format!(", within {low:.2} and {high:.2}"));
    let of = if scorer.manifest().kind == TaskKind::Engagement { "no activity" } else { "any value" };
    format!("expected {expected:.2}{currency} ({band}){limits}, probability {probability:.4} of {of}")
}

/// Such as `Womens E-Mail changes it by +0.0512 [+0.0312, +0.0712]`.
fn effect_text(effect: &Effect<'_>) -> String {
    let Effect { treatment, effect, low, high, conclusive } = effect;
    let alike = if *conclusive { "" } else { ", as for everybody" };
    format!("{treatment} changes it by {effect:+.4} [{low:+.4}, {high:+.4}]{alike}")
}

/// What contributions add up to.
fn scale(manifest: &Manifest) -> &'static str {
    match manifest.kind {
        TaskKind::Churn => "in log-odds",
        TaskKind::Uplift => "in the effect of the treatment that does most",
        TaskKind::Survival => "mean log-odds of leaving in a period, over the periods up to the horizon",
        TaskKind::Ltv | TaskKind::Engagement if manifest.calibrator == Calibrator::Logarithm.name() => {
            "in the expected amount itself"
        }
        TaskKind::Ltv | TaskKind::Engagement => "in the logarithm of the expected amount before calibration: +0.69 doubles it",
    }
}

fn as_json(scorer: &Scorer, found: &Found, id: &str) -> Value {
    let (prediction, explanation) = (scorer.predict(&found.row), scorer.explain(&found.row));
    let contribution = |feature_idx: usize| {
        let feature = &scorer.schema().features[feature_idx];
        json!({
            "feature": feature.name,
            "value": feature.display(found.row[feature_idx]),
            "typical": feature.typical.map(|typical| feature.display(typical)),
            "contribution": explanation.contributions[feature_idx],
        })
    };
    let mut value = json!({
        "id": id,
        "row": found.row_number,
        "n_rows": found.n_rows,
        "model": scorer.manifest().name,
        "version": scorer.manifest().version,
        "horizon_days": scorer.manifest().horizon_days,
        "probability": prediction.probability,
        "band": scorer.band(&prediction).as_str(),
        "margin": explanation.margin,
        "base_margin": explanation.base_margin,
        "contributions": explanation.top(usize::MAX).into_iter().map(contribution).collect::<Vec<_>>(),
    });
    if let Some(effects) = scorer.effects(&found.row) {
        let told = |one: &Effect<'_>| json!({ "treatment": one.treatment, "effect": one.effect, "low": one.low, "high": one.high, "conclusive": one.conclusive });
        value["effects"] = effects.iter().map(told).collect();
    }
    let limits = prediction.limits;
    let amounts = [
        ("expected_value", prediction.expected_value),
        ("low", limits.map(|(low, _)| low)),
        ("high", limits.map(|(_, high)| high)),
        ("decline_probability", prediction.decline),
    ];
    for (name, amount) in amounts {
        if let Some(amount) = amount {
            value[name] = amount.into();
        }
    }
    value
}
