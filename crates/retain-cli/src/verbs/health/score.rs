//! `retain health score`: everything that a playbook says of how customers are doing, one row per row of the table.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use rayon::prelude::*;
use retain_data::Cells;
use retain_policy::assess::{Assessed, Assessment, Direction, Health, Previous, PreviousHealth};
use retain_policy::rule::Answer;
use serde_json::{Value, json};

use super::health_of;
use crate::answer::Answers;
use crate::clock::ClockArguments;
use crate::exit::{Complaint, Exit};
use crate::input::{open_table, table_attempt};
use crate::interrupt;
use crate::output::Output;
use crate::playbook_file::read_playbook;
use crate::row_models::load_models_if_any;
use crate::rule_rows::{Columns, RowCounts, RuleBatch, RuleTable};
use crate::score_writer::{ResultColumns, ScoreWriter};
use crate::tables;
use crate::verbs::score::refuse_same_file;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The playbook
    #[arg(long, value_name = "FILE")]
    playbook: PathBuf,
    /// Table of customers: CSV or Parquet, or `-` for standard input
    #[arg(long, value_name = "TABLE")]
    input: PathBuf,
    /// Result: `.csv` or `.parquet`, or `-` for CSV on standard output
    #[arg(long, value_name = "TABLE")]
    output: PathBuf,
    /// Column that names the customer [default: as the models have it, else the row's number]
    #[arg(long, value_name = "COLUMN")]
    entity: Option<String>,
    /// An earlier result of this verb: tells what changed
    #[arg(long, value_name = "TABLE")]
    previous: Option<PathBuf>,
    /// Folder of published models, whose predictions rules may read
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    #[command(flatten)]
    clock: ClockArguments,
}

/// Scores of all rows in short.
struct Summary {
    counts: RowCounts,
    n_scored: usize,
    total: f64,
    /// By band, in the order of the definition.
    bands: Vec<usize>,
    /// By signal.
    fired: Vec<usize>,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Exit> {
    let playbook = read_playbook(&arguments.playbook, output)?;
    let health = health_of(&playbook)?;
    let now_ms = arguments.clock.now_ms()?;
    refuse_same_file(&arguments.input, &arguments.output)?;
    let models = load_models_if_any(&playbook, arguments.models.as_deref(), output)?;
    let source = open_table(&arguments.input)?;
    let columns = Columns { entity: arguments.entity.as_deref(), ..Columns::default() };
    let table = RuleTable::open(&playbook, &source, &models, &columns, now_ms, output)?;
    let previous = match &arguments.previous {
        Some(path) => read_previous(path, table.entity())?,
        None => HashMap::new(),
    };
    interrupt::watch();
    let assessment = playbook.assessment();
    let (mut writer, format) = ScoreWriter::create(&arguments.output, &table.result_entity(), result_columns(health))?;
    let mut summary = Summary::new(assessment, health);
    summary.counts = table.each_batch(output, |batch| {
        let looked = look(batch, &previous);
        for assessed in &looked {
            summary.add(assessed);
        }
        writer.write(&format.encode(&batch.names, &answers(assessment, health, &looked))?)
    })?;
    writer.finish()?;
    output.note(summary.text(assessment, health).trim_end());
    if arguments.output.as_os_str() != "-" {
        output.json(&summary.json(assessment, health, &arguments.output))?;
    }
    Ok(if summary.counts.n_rejected == 0 { Exit::GOOD } else { Exit::DATA })
}

fn look(batch: &RuleBatch<'_>, previous: &HashMap<String, Previous>) -> Vec<Assessed> {
    let one = |row: usize| batch.look(row, &[], previous.get(batch.id(row)), |seen| seen.assessed);
    (0..batch.n_rows()).into_par_iter().map(one).collect()
}

/// The scores of an earlier result, by customer.
fn read_previous(path: &Path, entity: Option<&str>) -> Result<HashMap<String, Previous>> {
    let source = open_table(path)?;
    let Some(entity) = entity else {
        let complaint = Complaint::usage("`--previous` compares customers, and nothing says who a row is about");
        return Err(complaint.hint("name the column with `--entity`").into());
    };
    let wanted = [entity, "health", "score", "band"];
    let idxs: Vec<usize> = wanted.iter().filter_map(|name| source.column_idx(name)).collect();
    if idxs.len() < wanted.len() {
        let message = format!(
            "`--previous {}` should have the columns {}",
            path.display(),
            wanted.map(|name| format!("`{name}`")).join(", ")
        );
        return Err(Complaint::usage(message)
            .hint("name an earlier result of `retain health score` with the same `--entity`")
            .into());
    }
    let mut ascending = idxs.clone();
    ascending.sort_unstable();
    let attempt = || table_attempt(source.name());
    let mut previous = HashMap::new();
    for batch in source.batches(&ascending).with_context(attempt)? {
        let batch = batch.with_context(attempt)?;
        let cells = |position: usize| Cells::of(batch.column(ascending.partition_point(|idx| *idx < idxs[position])));
        let (id, name, score, band) = (cells(0), cells(1), cells(2), cells(3));
        for row in 0..batch.num_rows() {
            let Ok(score) = score.text(row).trim().parse::<f64>() else { continue };
            let health = PreviousHealth { name: name.text(row).into_owned(), score, band: band.text(row).into_owned() };
            previous.insert(id.text(row).trim().to_owned(), Previous { health: Some(health), ..Previous::default() });
        }
    }
    Ok(previous)
}

/// Numbers stand before texts; one column for each group of the score.
fn result_columns(health: &Health) -> ResultColumns {
    let groups = health.groups.iter().map(|group| format!("health_{}", group.id));
    let numbers = ["score", "coverage", "change", "points"].map(str::to_owned).into_iter().chain(groups);
    let texts = ["health", "band", "direction", "signals", "segments", "tier"].map(str::to_owned);
    ResultColumns { numbers: numbers.collect(), texts: texts.to_vec() }
}

fn answers(assessment: &Assessment, health: &Health, looked: &[Assessed]) -> Answers {
    let score = |number: fn(&retain_policy::assess::HealthScore) -> Option<f64>| -> Vec<Option<f64>> {
        looked.iter().map(|assessed| assessed.health.as_ref().and_then(number)).collect()
    };
    let points = looked.iter().map(|assessed| assessed.points.and_then(|points| points.balance)).collect();
    let mut numbers = vec![score(|found| found.score), score(|found| Some(found.coverage)), score(|found| found.change), points];
    for position in 0..health.groups.len() {
        let group = |assessed: &Assessed| assessed.health.as_ref().and_then(|found| found.groups.get(position)?.points);
        numbers.push(looked.iter().map(group).collect());
    }
    let text = |one: &dyn Fn(&Assessed) -> String| looked.iter().map(|assessed| Cow::Owned(one(assessed))).collect();
    let tier = |assessed: &Assessed| {
        let tier = assessment.tier_programme.as_ref().zip(assessed.tier.and_then(|now| now.tier));
        tier.map_or_else(String::new, |(programme, position)| programme.tiers[position].id.clone())
    };
    let texts = vec![
        looked.iter().map(|_| Cow::Owned(health.name.clone())).collect(),
        text(&|assessed| band(health, assessed).map_or_else(String::new, |position| health.bands[position].id.clone())),
        text(&|assessed| assessed.health.as_ref().map_or("", |found| direction(found.direction)).to_owned()),
        text(&|assessed| held(assessment.signals.iter().map(|signal| &signal.id), &assessed.signals)),
        text(&|assessed| held(assessment.segments.iter().map(|segment| &segment.id), &assessed.segments)),
        text(&tier),
    ];
    Answers { numbers, texts }
}

fn band(health: &Health, assessed: &Assessed) -> Option<usize> {
    assessed.health.as_ref()?.band.filter(|position| *position < health.bands.len())
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Improving => "improving",
        Direction::Steady => "steady",
        Direction::Worsening => "worsening",
        Direction::Unknown => "unknown",
    }
}

/// The ids whose answer is yes, with spaces between them.
fn held<'a>(ids: impl Iterator<Item = &'a String>, answers: &[Answer]) -> String {
    let held: Vec<&str> = ids.zip(answers).filter(|(_, answer)| **answer == Answer::Yes).map(|(id, _)| id.as_str()).collect();
    held.join(" ")
}

impl Summary {
    fn new(assessment: &Assessment, health: &Health) -> Self {
        let (bands, fired) = (vec![0; health.bands.len()], vec![0; assessment.signals.len()]);
        Self { counts: RowCounts::default(), n_scored: 0, total: 0.0, bands, fired }
    }

    fn add(&mut self, assessed: &Assessed) {
        if let Some((score, band)) = assessed.health.as_ref().and_then(|found| found.score.zip(found.band)) {
            self.n_scored += 1;
            self.total += score;
            self.bands[band] += 1;
        }
        for (fired, answer) in self.fired.iter_mut().zip(&assessed.signals) {
            *fired += usize::from(*answer == Answer::Yes);
        }
    }

    fn mean(&self) -> Option<f64> {
        (self.n_scored > 0).then(|| self.total / self.n_scored as f64)
    }

    fn text(&self, assessment: &Assessment, health: &Health) -> String {
        let RowCounts { n_rows, .. } = self.counts;
        let mean = self.mean().map_or_else(String::new, |mean| format!(", mean {mean:.1}"));
        let mut text = format!("{n_rows} rows, {} with a score by {}{mean}\n", self.n_scored, health.name);
        let mut table = tables::table(&["", "rows", "share"], 1);
        let share = |n: usize| tables::percent(n as f64 / n_rows.max(1) as f64);
        for (band, &n) in health.bands.iter().zip(&self.bands) {
            table.add_row([format!("band {}", band.id), n.to_string(), share(n)]);
        }
        for (signal, &n) in assessment.signals.iter().zip(&self.fired) {
            table.add_row([format!("signal {}", signal.id), n.to_string(), share(n)]);
        }
        text.push_str(&tables::render(&table));
        text
    }

    fn json(&self, assessment: &Assessment, health: &Health, path: &Path) -> Value {
        let bands = health.bands.iter().zip(&self.bands).map(|(band, n)| json!({ "id": band.id, "n_rows": n }));
        let signals = assessment.signals.iter().zip(&self.fired).map(|(signal, n)| json!({ "id": signal.id, "n_rows": n }));
        json!({
            "output": path.display().to_string(),
            "health": health.name,
            "n_rows": self.counts.n_rows,
            "n_scored": self.n_scored,
            "n_rejected": self.counts.n_rejected,
            "mean_score": self.mean(),
            "bands": bands.collect::<Vec<_>>(),
            "signals": signals.collect::<Vec<_>>(),
        })
    }
}
