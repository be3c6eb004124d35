//! `retain gate`: a model held against a gate file, with a verdict that continuous integration can act on.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use arrow::util::display::array_value_to_string;
use clap::Args;
use retain_core::MissingMarkers;
use retain_data::{Dataset, TableSource};
use retain_eval::{
    Champion, Evaluation, GateFile, GateInput, GateNeeds, GateReport, Labelled, PastColumn, ServingNumbers, SliceColumn,
    evaluate, gate,
};
use retain_score::{Bundle, Model};
use retain_train::{MetricsFile, labelled};

use crate::cli::{Format, Global};
use crate::exit::{Complaint, Exit};
use crate::input::{baseline_of, open_table, read_bundle, read_labelled_table, read_text, table_attempt};
use crate::model_path::{ModelArguments, resolve};
use crate::output::{Output, write_stdout};
use crate::verbs::bench::serving_numbers;
use crate::whole_file::WholeFile;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The gate file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    model: ModelArguments,
    /// The model in service now, named as `--model` is; needed for `non_inferiority` checks
    #[arg(long, value_name = "MODEL")]
    champion: Option<String>,
    /// Labelled rows that training did not see; without them floors and ceilings are held against the bundle's own evaluation
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// End with 0 where the data is too thin for a verdict; the report says so
    #[arg(long)]
    allow_inconclusive: bool,
    /// Also write the report to a file: `.json`, `.xml` (as junit) or `.md`; may be given several times
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
}

/// The labelled rows and what models say of them.
struct Evidence {
    labelled: Labelled,
    /// What the trivial baseline says of everybody.
    baseline: Vec<f64>,
    champion: Option<Vec<f64>>,
    slice_columns: Vec<SliceColumn>,
    past_columns: Vec<PastColumn>,
}

pub(crate) fn run(arguments: &Arguments, global: &Global, output: Output) -> Result<Exit> {
    let formats = arguments.report.iter().map(|path| report_format(path)).collect::<Result<Vec<_>>>()?;
    let file = read_gate_file(&arguments.config, global.seed)?;
    let needs = file.needs();
    refuse_without_data(&needs, arguments.data.is_some())?;
    let bundle = read_bundle(&arguments.model.path()?)?;
    let champion = arguments.champion.as_deref().map(|name| read_champion(name, arguments, &bundle)).transpose()?;

    let source = arguments.data.as_deref().map(open_table).transpose()?;
    let evidence = source.map(|source| evidence(&source, &bundle, champion.as_ref(), &needs, output)).transpose()?;
    let report = judge(&file, &bundle, champion.as_ref(), evidence.as_ref(), arguments.allow_inconclusive)?;
    print(&report, global.format, output)?;
    for (path, format) in arguments.report.iter().zip(formats) {
        write_report(path, &rendered(&report, format)?)?;
    }
    Ok(Exit::of_gate(report.exit_code()))
}

fn read_gate_file(path: &Path, seed: Option<u64>) -> Result<GateFile> {
    let text = read_text(path, "gate file")?;
    let mut file = GateFile::parse(&text).with_context(|| format!("the gate file `{}` is not usable", path.display()))?;
    file.bootstrap.seed = seed.unwrap_or(file.bootstrap.seed);
    Ok(file)
}

fn refuse_without_data(needs: &GateNeeds, has_data: bool) -> Result<()> {
    if needs.data && !has_data {
        let message = "[[non_inferiority]], [[beats]] and [[slice]] are measured on labelled rows, and there are none";
        return Err(Complaint::usage(message).hint("give them with `--data FILE`").into());
    }
    Ok(())
}

/// Reads the champion; one that cannot be read, or that predicts something else, is no champion.
fn read_champion(name: &str, arguments: &Arguments, bundle: &Bundle) -> Result<Bundle> {
    let failed = |error| Complaint::new(Exit::CHAMPION, format!("the champion `{name}` is missing or damaged")).because(error);
    let champion = resolve(name, &arguments.model.models).and_then(|path| read_bundle(&path)).map_err(failed)?;
    let target = |bundle: &Bundle| {
        let (manifest, schema) = (&bundle.manifest, &bundle.schema);
        let (horizon, lead) = (manifest.horizon_days, manifest.lead_days);
        // Amounts have no label that means it happened.
        let is = if schema.positive.is_empty() { String::new() } else { format!(" = `{}`", schema.positive.join("` or `")) };
        format!("{}: `{}`{is}, horizon {horizon} days, lead {lead} days", manifest.kind, schema.target)
    };
    let (expected, found) = (target(bundle), target(&champion));
    if expected != found {
        let message = format!("the champion `{name}` predicts something else: found {found}; expected {expected}");
        return Err(Complaint::new(Exit::CHAMPION, message).hint("compare models of one task").into());
    }
    Ok(champion)
}

fn evidence(
    source: &TableSource,
    bundle: &Bundle,
    champion: Option<&Bundle>,
    needs: &GateNeeds,
    output: Output,
) -> Result<Evidence> {
    let dataset = read_labelled_table(source, bundle, output)?;
    let champion = champion.map(|champion| champion_predictions(source, champion, bundle, &dataset, output)).transpose()?;
    Ok(Evidence {
        labelled: labelled(&bundle.model, &dataset, &bundle.model)?,
        baseline: baseline_of(bundle, Some(&dataset))?,
        champion,
        slice_columns: text_columns(source, bundle, &dataset, &needs.slice_columns, "[[slice]]")?,
        past_columns: past_columns(source, bundle, &dataset, &needs.past_columns)?,
    })
}

/// The champion's predictions on the same rows, read by its own schema; of curves at the days of the model that is gated.
fn champion_predictions(
    source: &TableSource,
    champion: &Bundle,
    gated: &Bundle,
    dataset: &Dataset,
    output: Output,
) -> Result<Vec<f64>> {
    let name = champion.manifest.address();
    let failed = |error| {
        let message = format!("the champion `{name}` cannot read the table");
        Complaint::new(Exit::CHAMPION, message).because(error).hint("the table needs the columns of both models")
    };
    let theirs = read_labelled_table(source, champion, output).map_err(failed)?;
    if theirs.target != dataset.target || theirs.duration != dataset.duration {
        let message = format!("the champion `{name}` sees other labels in the table than the model does");
        return Err(Complaint::new(Exit::CHAMPION, message).into());
    }
    Ok(labelled(&champion.model, &theirs, &gated.model)?.predictions().to_vec())
}

/// The numbers of the columns that predict by the past, for the rows that have a label.
fn past_columns(source: &TableSource, bundle: &Bundle, dataset: &Dataset, names: &[String]) -> Result<Vec<PastColumn>> {
    let columns = text_columns(source, bundle, dataset, names, "[[beats]]")?;
    let past = |SliceColumn { name, labels }: SliceColumn| {
        let number = |(position, text): (usize, &String)| {
            text.parse().map_err(|_| {
                let row = position + 1;
                let message = format!("column `{name}` should be a number, found `{text}` in row {row} of those with a label");
                Complaint::new(Exit::DATA, message).hint("a baseline needs a prediction for every row")
            })
        };
        let predictions = labels.iter().enumerate().map(number).collect::<Result<Vec<f64>, _>>()?;
        Ok(PastColumn { name, predictions })
    };
    columns.into_iter().map(past).collect()
}

/// The texts of columns that a gate file names in `table`, for the rows that have a label.
fn text_columns(
    source: &TableSource,
    bundle: &Bundle,
    dataset: &Dataset,
    names: &[String],
    table: &str,
) -> Result<Vec<SliceColumn>> {
    let target = source.column_idx(&bundle.schema.target);
    let mut columns = Vec::new();
    for name in names {
        let (Some(idx), Some(target)) = (source.column_idx(name), target) else {
            let complaint = Complaint::usage(format!("{table} names the column `{name}`, and the table has none of that name"));
            let near = retain_core::nearest(name, source.columns().iter().map(String::as_str));
            let hint =
                near.map_or_else(|| "correct the name in the gate file".to_owned(), |near| format!("did you mean `{near}`?"));
            return Err(complaint.hint(hint).into());
        };
        columns.push(SliceColumn { name: name.clone(), labels: labelled_texts(source, idx, target)? });
    }
    let n_rows = dataset.n_rows();
    match columns.iter().find(|column| column.labels.len() != n_rows) {
        None => Ok(columns),
        Some(column) => {
            let message = format!("column `{}` has {} values for {n_rows} rows with a label", column.name, column.labels.len());
            Err(Complaint::new(Exit::DATA, message).hint("the table may have changed while it was read").into())
        }
    }
}

/// One text per row whose label is not missing, as [`retain_data::read_labelled`] keeps them.
fn labelled_texts(source: &TableSource, idx: usize, target: usize) -> Result<Vec<String>> {
    let markers = MissingMarkers::usual();
    let mut idxs = vec![idx.min(target), idx.max(target)];
    idxs.dedup();
    let place = |wanted: usize| usize::from(idxs.len() == 2 && wanted == idxs[1]);
    let mut texts = Vec::new();
    for batch in source.batches(&idxs)? {
        let batch = batch.with_context(|| table_attempt(source.name()))?;
        let text = |idx: usize, row: usize| array_value_to_string(batch.column(place(idx)), row);
        for row in 0..batch.num_rows() {
            if !markers.is_text(&text(target, row)?) {
                let value = text(idx, row)?;
                let value = value.trim();
                texts.push(if markers.is_text(value) { "missing".to_owned() } else { value.to_owned() });
            }
        }
    }
    Ok(texts)
}

/// Measures what the file asks for and runs its checks.
fn judge(
    file: &GateFile,
    bundle: &Bundle,
    champion: Option<&Bundle>,
    evidence: Option<&Evidence>,
    allow_inconclusive: bool,
) -> Result<GateReport> {
    let needs = file.needs();
    let evaluation = match evidence {
        Some(evidence) => evaluate(&evidence.labelled, &needs.metrics, &file.bootstrap),
        None => stored_evaluation(bundle)?,
    };
    let champion_name = champion.map(|champion| champion.manifest.address()).unwrap_or_default();
    let predictions = evidence.and_then(|evidence| evidence.champion.as_deref());
    let measures_serving = needs.p99 || needs.model_size || needs.parity;
    let baseline = evidence.map(|evidence| &evidence.baseline[..]);
    let is_survival = matches!(bundle.model, Model::Hazard(_));
    let input = GateInput {
        model: bundle.manifest.name.as_str(),
        version: bundle.manifest.version,
        evaluation: &evaluation,
        labelled: evidence.map(|evidence| &evidence.labelled),
        champion: predictions.map(|predictions| Champion { name: &champion_name, predictions }),
        base_rate: baseline.filter(|_| !is_survival).and_then(|baseline| baseline.first().copied()),
        base_curve: baseline.filter(|_| is_survival),
        past_columns: evidence.map_or(&[], |evidence| &evidence.past_columns),
        slice_columns: evidence.map_or(&[], |evidence| &evidence.slice_columns),
        serving: if measures_serving { serving_numbers(bundle)? } else { ServingNumbers::default() },
        allow_inconclusive,
    };
    Ok(gate(file, &input)?)
}

/// The evaluation that training stored in the bundle: on rows its fits did not see.
fn stored_evaluation(bundle: &Bundle) -> Result<Evaluation> {
    let parsed: serde_json::Result<MetricsFile> = serde_json::from_slice(&bundle.metrics);
    let metrics = parsed.map_err(|error| {
        Complaint::new(Exit::DATA, "the bundle's metrics.json is not what `retain train` writes").because(error)
    })?;
    Ok(metrics.validation.evaluation)
}

/// Floors, ceilings and serving limits held against what a bundle says of itself.
pub(crate) fn judge_by_stored(file: &GateFile, bundle: &Bundle) -> Result<GateReport> {
    refuse_without_data(&file.needs(), false)?;
    judge(file, bundle, None, None, false)
}

fn print(report: &GateReport, format: Format, output: Output) -> Result<()> {
    match format {
        Format::Text => output.text(&report.to_text()),
        other => write_stdout(format!("{}\n", rendered(report, other)?.trim_end()).as_bytes()),
    }
}

fn rendered(report: &GateReport, format: Format) -> Result<String> {
    Ok(match format {
        Format::Text => report.to_text(),
        Format::Json => report.to_json().context("cannot write the report as JSON")?,
        Format::Junit => report.to_junit(),
        Format::Markdown => report.to_markdown(),
    })
}

/// The format that a report's name asks for; a report without a place would cost the verdict after all the work.
fn report_format(path: &Path) -> Result<Format> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let message = format!("`--report {}` cannot be written: there is no folder `{}`", path.display(), folder.display());
        return Err(Complaint::usage(message).hint("make the folder first").into());
    }
    match path.extension().and_then(OsStr::to_str) {
        Some("json") => Ok(Format::Json),
        Some("xml") => Ok(Format::Junit),
        Some("md") => Ok(Format::Markdown),
        _ => {
            let message = format!("`--report {}` ends in none of `.json`, `.xml` and `.md`", path.display());
            Err(Complaint::usage(message).hint("the ending chooses the format").into())
        }
    }
}

fn write_report(path: &Path, text: &str) -> Result<()> {
    let file = WholeFile::create(path)?;
    file.handle()?.write_all(text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
    file.commit()
}
