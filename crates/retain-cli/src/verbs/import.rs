//! `retain import`: a model that LightGBM, XGBoost or CatBoost trained becomes a bundle with the same predictions.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use retain_core::{ColumnKind, FeatureSchema, FeatureSpec, TaskKind, nearest};
use retain_data::{Dataset, TableSource, Task, Training, describe_features, distinct_texts};
use retain_import::{Categories, Imported, ImportedKind, Library, Link};
use retain_score::{Bundle, Calibrator, Head, MarginModel, Model};
use retain_train::{ImportParts, MeasuringTable, MetricsFile, amount_model, import_bundle};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::{Complaint, Exit};
use crate::input::{open_table, read_by_schema, read_task, table_attempt};
use crate::interrupt;
use crate::out_folder;
use crate::output::Output;
use crate::tables;
use crate::verbs::train::{task_with_seed, write};

/// No model file of these libraries is larger.
const MAX_FILE_BYTES: u64 = 1 << 30;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The library that trained the model
    #[arg(long, value_enum)]
    from: From,
    /// The model: LightGBM's text, XGBoost's JSON or UBJSON, CatBoost's JSON
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The task file: what the model predicts, and which columns are which
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Folder of the bundle; a bundle that lies there already is replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A table with labels, CSV or Parquet: names the categories that the file does not, and measures the model
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    Lightgbm,
    Xgboost,
    Catboost,
}

impl From {
    fn library(self) -> Library {
        match self {
            Self::Lightgbm => Library::LightGbm,
            Self::Xgboost => Library::XgBoost,
            Self::Catboost => Library::CatBoost,
        }
    }
}

pub(crate) fn run(arguments: &Arguments, global: &Global, output: Output) -> Result<Exit> {
    let place = out_folder::check(&arguments.out)?;
    let task = task_with_seed(read_task(&arguments.config)?, global.seed);
    let source = arguments.data.as_deref().map(open_table).transpose()?;
    interrupt::watch();

    let file = read_file(&arguments.file)?;
    let attempt = || format!("cannot import `{}`", arguments.file.display());
    let mut imported = retain_import::read(arguments.from.library(), &file).with_context(attempt)?;
    check_kind(&task, imported.link, source.is_some())?;
    rename_features(&mut imported, source.as_ref());
    let schema = schema_of(&mut imported, &task, source.as_ref())?;
    let training = source.as_ref().map(|source| read_table(source, &schema, output)).transpose()?;
    let schema = training.as_ref().map_or(schema, |training| training.dataset.schema.clone());
    let configuration = format!("{}, {}", imported.objective, size_of(&imported.margin));
    let warnings = std::mem::take(&mut imported.warnings);
    for warning in &warnings {
        output.warn("import", warning);
    }
    let model = model_of(imported, training.as_ref().map(|training| &training.dataset))?;
    let table = training.as_ref().zip(source.as_ref()).map(|(training, source)| MeasuringTable {
        name: source.name(),
        dataset: &training.dataset,
        report: &training.report,
    });
    let library = arguments.from.library().name();
    let seed = task.seed;
    let parts = ImportParts { task: &task, schema: &schema, model, library, configuration, file: &file, table, warnings, seed };
    let (bundle, metrics) = import_bundle(&parts).with_context(attempt)?;
    write(&bundle, &place)?;
    output.text(&text(&bundle, metrics.as_ref(), &arguments.out))?;
    output.json(&as_json(&bundle, metrics.as_ref(), &arguments.out))?;
    Ok(Exit::GOOD)
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let attempt = || format!("cannot read the model `{}`", path.display());
    if path.is_dir() {
        let message = format!("the model `{}` is a directory; name the file that the library saved", path.display());
        return Err(Complaint::usage(message).into());
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(attempt)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).with_context(attempt)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("the model `{}` is larger than {} MiB", path.display(), MAX_FILE_BYTES >> 20);
        return Err(Complaint::usage(message).into());
    }
    Ok(bytes)
}

/// A task and a model speak of the same: a chance or an amount.
fn check_kind(task: &Task, link: Link, has_table: bool) -> Result<()> {
    let kind = task.kind;
    let complaint = |message: String, hint: &str| Err(Complaint::usage(message).hint(hint).into());
    match (kind, link.is_amount()) {
        (TaskKind::Survival, _) => complaint(
            "models of survival cannot be imported: the libraries' have no curve".to_owned(),
            "say `kind = \"churn\"` if the model predicts leaving within the horizon",
        ),
        (TaskKind::Uplift, _) => complaint(
            "models of effects cannot be imported: the libraries' have no treatments".to_owned(),
            "train one from a table of what was done and what came of it",
        ),
        (TaskKind::Churn, true) => complaint(
            "the task is of kind `churn`, and the model predicts an amount".to_owned(),
            "train it on a loss of probabilities, such as `binary` or `binary:logistic`, or say `kind = \"ltv\"`",
        ),
        (TaskKind::Ltv | TaskKind::Engagement, false) => complaint(
            format!("the task is of kind `{kind}`, and the model predicts a probability"),
            "train it on a loss of amounts, such as `tweedie` or `regression`, or say `kind = \"churn\"`",
        ),
        (TaskKind::Ltv | TaskKind::Engagement, true) if !has_table => complaint(
            format!("a model of kind `{kind}` also tells the chance of any amount, which the file does not know"),
            "give a table with amounts as `--data`: the chance is learned from it",
        ),
        _ => Ok(()),
    }
}

/// LightGBM writes blanks in names as underscores: the table says what stood there.
fn rename_features(imported: &mut Imported, source: Option<&TableSource>) {
    let Some(source) = source.filter(|_| imported.library == Library::LightGbm) else { return };
    let mut spelled: HashMap<String, Vec<&String>> = HashMap::new();
    for column in source.columns() {
        spelled.entry(column.replace(char::is_whitespace, "_")).or_default().push(column);
    }
    for feature in &mut imported.features {
        if let Some(&[column]) = spelled.get(&feature.name).map(Vec::as_slice) {
            feature.name.clone_from(column);
        }
    }
}

fn schema_of(imported: &mut Imported, task: &Task, source: Option<&TableSource>) -> Result<FeatureSchema> {
    let texts = source.map(|source| texts_of(imported, source)).transpose()?.unwrap_or_default();
    let mut specs = imported.schema_features(|column| texts.get(column).cloned())?;
    for spec in &mut specs {
        apply_task(spec, task)?;
    }
    check_roles(&specs, task)?;
    let roles = task.table.clone();
    let schema = FeatureSchema::new(specs, roles.entity, roles.target, String::new(), roles.observed_at);
    let mut schema = schema.map_err(|error| Complaint::new(Exit::DATA, "the model's features are no schema").because(error))?;
    (schema.positive, schema.past) = (roles.positive, roles.past);
    Ok(schema)
}

/// The texts of the columns whose categories the file does not name.
fn texts_of(imported: &Imported, source: &TableSource) -> Result<BTreeMap<String, Vec<String>>> {
    let mut texts = BTreeMap::new();
    for feature in &imported.features {
        if !matches!(feature.kind, ImportedKind::Category(Categories::Codes(_) | Categories::Hashes(_))) {
            continue;
        }
        let found = distinct_texts(source, &feature.name).with_context(|| table_attempt(source.name()))?;
        texts.extend(found.map(|found| (feature.name.clone(), found)));
    }
    Ok(texts)
}

/// What the task says of a column: its kind and what is missing there.
fn apply_task(spec: &mut FeatureSpec, task: &Task) -> Result<()> {
    let Some(hint) = task.columns.get(&spec.name) else { return Ok(()) };
    if let Some(kind) = hint.kind {
        if (kind == ColumnKind::Category) != (spec.kind == ColumnKind::Category) {
            let message = format!("[columns.{}] says `{kind}`, and the model reads a {}", spec.name, spec.kind);
            return Err(Complaint::usage(message).hint("state the kind that the model was trained with").into());
        }
        spec.kind = kind;
    }
    if let Some(missing) = &hint.missing {
        spec.missing = missing.clone().into();
    }
    Ok(())
}

/// What the model reads has to be a feature by the task.
fn check_roles(specs: &[FeatureSpec], task: &Task) -> Result<()> {
    let roles = &task.table;
    let of_task = [Some(&roles.target), roles.entity.as_ref(), roles.observed_at.as_ref(), roles.group.as_ref()];
    let taken: Vec<&String> = of_task.into_iter().flatten().chain(&roles.exclude).collect();
    match specs.iter().find(|spec| taken.contains(&&spec.name)) {
        None => Ok(()),
        Some(spec) => {
            let message =
                format!("the model reads the column `{}`, and [table] of the task says that it is no feature", spec.name);
            Err(Complaint::usage(message).hint("a model that knows its target cannot be used; correct [table] otherwise").into())
        }
    }
}

/// Reads the labelled rows, and writes into the schema what they show.
fn read_table(source: &TableSource, schema: &FeatureSchema, output: Output) -> Result<Training> {
    let missing: Vec<&FeatureSpec> =
        schema.features.iter().filter(|feature| source.column_idx(&feature.name).is_none()).collect();
    if let Some(first) = missing.first() {
        let near = nearest(&first.name, source.columns().iter().map(String::as_str));
        let near = near.map_or_else(String::new, |near| format!("; the nearest is `{near}`"));
        let message = format!("the table lacks {} of the model's features, first `{}`{near}", missing.len(), first.name);
        let hint = "name the table's columns as the model was trained with, in its header";
        return Err(Complaint::new(Exit::DATA, message).hint(hint).into());
    }
    let mut training = read_by_schema(source, schema, None, output)?;
    describe_features(&mut training);
    Ok(training)
}

fn model_of(imported: Imported, dataset: Option<&Dataset>) -> Result<Model> {
    let mut margin = imported.margin;
    if let Some(dataset) = dataset {
        center_terms(&mut margin, dataset);
    }
    let calibrator = match imported.link {
        Link::Logistic { slope } if slope != 1.0 => Calibrator::Sigmoid { slope, intercept: 0.0 },
        Link::Logistic { .. } | Link::Exp => Calibrator::Identity,
        Link::Identity => Calibrator::Logarithm,
    };
    match dataset.filter(|_| imported.link.is_amount()) {
        Some(dataset) => Ok(amount_model(margin, calibrator, dataset)?),
        None => Ok(Model::Event(Head { margin, calibrator })),
    }
}

/// Terms are told against their mean over the rows.
fn center_terms(margin: &mut MarginModel, dataset: &Dataset) {
    for term in &mut margin.terms {
        let column = &dataset.columns[term.feature_idx as usize];
        term.mean = column.iter().map(|&value| term.shape.value(value)).sum::<f64>() / column.len().max(1) as f64;
    }
}

fn size_of(margin: &MarginModel) -> String {
    if margin.terms.is_empty() { format!("{} trees", margin.trees.len()) } else { format!("{} weights", margin.terms.len()) }
}

fn text(bundle: &Bundle, metrics: Option<&MetricsFile>, out: &Path) -> String {
    let manifest = &bundle.manifest;
    let measured = match metrics {
        Some(metrics) => {
            let validation = &metrics.validation;
            format!("measured on {}\n\n{}", validation.measured_on, tables::metrics(validation))
        }
        None => "not measured: without `--data` there are no metrics and no bands".to_owned(),
    };
    format!(
        "{}: {} ({}), {} features\n{measured}\nbundle: {}\n",
        manifest.name,
        manifest.learner,
        manifest.configuration,
        bundle.schema.n_features(),
        out.display()
    )
}

fn as_json(bundle: &Bundle, metrics: Option<&MetricsFile>, out: &Path) -> Value {
    let manifest = &bundle.manifest;
    json!({
        "bundle": out.display().to_string(),
        "model": manifest.name,
        "learner": manifest.learner,
        "configuration": manifest.configuration,
        "features": bundle.schema.features.iter().map(|feature| &feature.name).collect::<Vec<_>>(),
        "warnings": manifest.warnings,
        "metrics": metrics,
    })
}
