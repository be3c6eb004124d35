//! Customers whose outcome is known, with what a playbook and a model said of them: what audits and fits are made from.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use rayon::prelude::*;
use retain_core::{Day, MissingMarkers, TaskKind, parse_boolean, parse_number};
use retain_eval::{BootstrapOptions, Labelled, Metric, evaluate};
use retain_policy::assess::audit::{AgainstModel, Better, Estimate, Outcomes, Proportion, SignalColumn, against_model};
use retain_policy::assess::{Assessed, HealthScore};
use retain_policy::playbook::Playbook;
use retain_policy::rule::Answer;

use crate::cli::Global;
use crate::clock::ClockArguments;
use crate::exit::{Complaint, Exit};
use crate::input::{open_table, read_bundle, scorer_of};
use crate::model_path::resolve;
use crate::output::Output;
use crate::playbook_file::read_playbook;
use crate::row_models::{RowModel, load_models_if_any};
use crate::rule_rows::{Columns, RuleBatch, RuleTable, day_of};
use crate::tables;

/// What stands in a column of labels when it is told that the positive one is not there.
const TOLD_LABELS: usize = 6;

/// Which rows are measured, and what they are measured against.
#[derive(Debug, Args)]
pub(crate) struct AuditArguments {
    /// The playbook
    #[arg(long, value_name = "FILE")]
    pub(crate) playbook: PathBuf,
    /// Table with features and labels: CSV or Parquet, or `-` for standard input
    #[arg(long, value_name = "TABLE")]
    pub(crate) data: PathBuf,
    /// Column that says whether the customer left
    #[arg(long, value_name = "COLUMN")]
    pub(crate) target: String,
    /// Its value for those who left; other values are customers who stayed, and rows without one are left out
    #[arg(long, value_name = "VALUE")]
    pub(crate) positive: String,
    /// Column that names the customer: rows of one customer do not count as independent [default: as the models have it, else none]
    #[arg(long, value_name = "COLUMN")]
    entity: Option<String>,
    /// A model to compare with: a bundle's folder, or an address such as `name@champion` under `--models`
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Folder of published models, whose predictions rules may read
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Column with the day of the observation: dates count to it, and lead times begin there
    #[arg(long, value_name = "COLUMN")]
    observed_at: Option<String>,
    /// Column with the day the customer left, for lead times
    #[arg(long, value_name = "COLUMN", requires = "observed_at")]
    churned_at: Option<String>,
    #[command(flatten)]
    clock: ClockArguments,
}

/// Columns of the rows that have a label.
pub(crate) struct Audited {
    pub(crate) playbook: Playbook,
    pub(crate) table: String,
    pub(crate) n_unlabelled: usize,
    churned: Vec<bool>,
    customer: Vec<u32>,
    observed_day: Option<Vec<f64>>,
    churn_day: Option<Vec<f64>>,
    /// By row.
    pub(crate) scores: Vec<Option<f64>>,
    /// By group of the health score, by row.
    pub(crate) shares: Vec<Vec<Option<f64>>>,
    /// By signal, by row.
    fired: Vec<Vec<Option<bool>>>,
    pub(crate) model: Option<AuditedModel>,
}

/// What the model to compare with says.
pub(crate) struct AuditedModel {
    /// Such as `telco-churn/1`.
    pub(crate) name: String,
    pub(crate) probability: Vec<f64>,
}

impl Audited {
    /// Reads the rows and looks at each.
    ///
    /// # Errors
    /// A complaint for a label that is not there, and whatever is wrong with table, playbook or model.
    pub(crate) fn read(arguments: &AuditArguments, output: Output) -> Result<Self> {
        let playbook = read_playbook(&arguments.playbook, output)?;
        let now_ms = arguments.clock.now_ms()?;
        let mut models = load_models_if_any(&playbook, arguments.models.as_deref(), output)?;
        let compared = arguments.model.as_deref().map(|name| compared_model(name, arguments)).transpose()?;
        let name = compared.as_ref().map(|model| model.scorer.manifest().address());
        let trained_on = compared.as_ref().map(|model| model.scorer.manifest().data_sha256.clone());
        models.extend(compared);
        let source = open_table(&arguments.data)?;
        if let (Some(name), true) = (&name, trained_on.is_some_and(|sha256| source.sha256().is_ok_and(|own| own == sha256))) {
            let message =
                format!("`{}` is the table that {name} was fitted to: it looks better here than on new customers", source.name());
            output.warn("training_table", &message);
        }
        let own = std::iter::once(arguments.target.as_str()).chain(arguments.churned_at.as_deref());
        let columns =
            Columns { entity: arguments.entity.as_deref(), observed_at: arguments.observed_at.as_deref(), own: own.collect() };
        let table = RuleTable::open(&playbook, &source, &models, &columns, now_ms, output)?;
        let mut rows = Rows::new(&playbook, arguments, name.is_some().then(|| models.len() - 1), table.entity().is_some());
        table.each_batch(output, |batch| rows.add(batch, &playbook))?;
        let rows = rows.checked(&arguments.target, &arguments.positive)?;
        let model = name.zip(rows.probability).map(|(name, probability)| AuditedModel { name, probability });
        Ok(Self {
            table: source.name().to_owned(),
            n_unlabelled: rows.n_unlabelled,
            churned: rows.churned,
            customer: rows.customer,
            observed_day: rows.observed_day,
            churn_day: rows.churn_day,
            scores: rows.scores,
            shares: rows.shares,
            fired: rows.fired,
            model,
            playbook,
        })
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.churned.len()
    }

    pub(crate) fn n_churned(&self) -> usize {
        self.churned.iter().filter(|&&left| left).count()
    }

    pub(crate) fn outcomes(&self) -> Outcomes<'_> {
        Outcomes {
            churned: &self.churned,
            customer: &self.customer,
            observed_day: self.observed_day.as_deref(),
            churn_day: self.churn_day.as_deref(),
        }
    }

    pub(crate) fn signals(&self) -> Vec<SignalColumn<'_>> {
        let signals = self.playbook.assessment().signals.iter().zip(&self.fired);
        signals.map(|(signal, fired)| SignalColumn { id: &signal.id, fired }).collect()
    }

    /// How well the model orders customers.
    pub(crate) fn model_auc(&self, options: &BootstrapOptions) -> Result<Option<Estimate>> {
        let Some(model) = &self.model else { return Ok(None) };
        let target: Vec<f64> = self.churned.iter().map(|&left| f64::from(u8::from(left))).collect();
        let labelled = Labelled::new(&target, &model.probability, &self.customer)?;
        let found = evaluate(&labelled, &[Metric::RocAuc], options);
        Ok(found.metrics.first().map(|auc| Estimate { value: auc.value, low: auc.low, high: auc.high }))
    }

    /// A rule beside the model with as many alerts; none without a model.
    pub(crate) fn against_model(&self, fired: &[Option<bool>], confidence: f64) -> Result<Option<AgainstModel>> {
        let Some(model) = &self.model else { return Ok(None) };
        let found = against_model(fired, &model.probability, &self.outcomes(), confidence).map_err(not_measured)?;
        Ok(Some(found))
    }

    /// `telco.csv: 7043 rows, 1869 left (26.54 %)`.
    pub(crate) fn heading(&self) -> String {
        let share = tables::percent(self.n_churned() as f64 / self.n_rows() as f64);
        let unlabelled = match self.n_unlabelled {
            0 => String::new(),
            n => format!(", {n} more without a label"),
        };
        format!("{}: {} rows, {} left ({share}){unlabelled}", self.table, self.n_rows(), self.n_churned())
    }
}

/// How intervals are made.
pub(crate) fn bootstrap(global: &Global) -> BootstrapOptions {
    let usual = BootstrapOptions::default();
    BootstrapOptions { seed: global.seed.unwrap_or(usual.seed), ..usual }
}

/// What cannot be measured lies in the data.
pub(crate) fn not_measured(error: retain_policy::assess::audit::AuditError) -> Complaint {
    Complaint::new(Exit::DATA, "the rows cannot be measured").because(error)
}

/// The model to compare with; it has to say who leaves.
fn compared_model(name: &str, arguments: &AuditArguments) -> Result<RowModel> {
    let models = arguments.models.clone().unwrap_or_else(|| PathBuf::from("models"));
    let bundle = read_bundle(&resolve(name, &models)?)?;
    let kind = bundle.manifest.kind;
    if !matches!(kind, TaskKind::Churn | TaskKind::Survival) {
        let message = format!("`--model {name}` is a model of {kind}, which does not say who leaves");
        return Err(Complaint::usage(message).hint("compare with a model of churn or survival").into());
    }
    // No playbook can call a model so: names of models are words.
    Ok(RowModel { name: "--model".to_owned(), scorer: scorer_of(&bundle)? })
}

/// The columns while they are read.
struct Rows<'a> {
    label: Label<'a>,
    model: Option<usize>,
    has_entity: bool,
    customers: HashMap<String, u32>,
    /// Other values of the label, for a message.
    found: BTreeMap<String, usize>,
    n_rejected: usize,
    n_unlabelled: usize,
    churned: Vec<bool>,
    customer: Vec<u32>,
    observed_day: Option<Vec<f64>>,
    churn_day: Option<Vec<f64>>,
    scores: Vec<Option<f64>>,
    shares: Vec<Vec<Option<f64>>>,
    fired: Vec<Vec<Option<bool>>>,
    probability: Option<Vec<f64>>,
}

impl<'a> Rows<'a> {
    fn new(playbook: &Playbook, arguments: &'a AuditArguments, model: Option<usize>, has_entity: bool) -> Self {
        let assessment = playbook.assessment();
        let n_groups = assessment.health.as_ref().map_or(0, |health| health.groups.len());
        Self {
            label: Label::new(&arguments.positive),
            has_entity,
            customers: HashMap::new(),
            found: BTreeMap::new(),
            n_rejected: 0,
            n_unlabelled: 0,
            churned: Vec::new(),
            customer: Vec::new(),
            observed_day: arguments.observed_at.as_ref().map(|_| Vec::new()),
            churn_day: arguments.churned_at.as_ref().map(|_| Vec::new()),
            scores: Vec::new(),
            shares: vec![Vec::new(); n_groups],
            fired: vec![Vec::new(); assessment.signals.len()],
            probability: model.map(|_| Vec::new()),
            model,
        }
    }

    fn add(&mut self, batch: &RuleBatch<'_>, playbook: &Playbook) -> Result<()> {
        let looked: Vec<Assessed> =
            (0..batch.n_rows()).into_par_iter().map(|row| batch.look(row, &[], None, |seen| seen.assessed)).collect();
        let mut health_scores: Vec<HealthScore> = Vec::with_capacity(looked.len());
        for (row, assessed) in looked.into_iter().enumerate() {
            let text = batch.own(0).text(row);
            let Some(left) = self.label.read(&text) else {
                self.n_unlabelled += 1;
                continue;
            };
            if !left && self.found.len() <= TOLD_LABELS {
                *self.found.entry(text.trim().chars().take(40).collect()).or_insert(0) += 1;
            }
            self.churned.push(left);
            self.customer.push(customer_number(&mut self.customers, self.has_entity, batch.id(row), self.customer.len())?);
            self.add_days(batch, row, left);
            if let Some(probabilities) = &mut self.probability {
                let said = self.model.and_then(|model| batch.said(model, row));
                self.n_rejected += usize::from(said.is_none());
                probabilities.push(said.map_or(0.0, |said| said.prediction.probability));
            }
            for (fired, answer) in self.fired.iter_mut().zip(&assessed.signals) {
                fired.push(match answer {
                    Answer::Yes => Some(true),
                    Answer::No => Some(false),
                    Answer::Unknown(_) | Answer::Fault(_) => None,
                });
            }
            health_scores.extend(assessed.health);
        }
        self.scores.extend(health_scores.iter().map(|found| found.score));
        if let Some(health) = &playbook.assessment().health {
            for (all, more) in self.shares.iter_mut().zip(health.group_shares(&health_scores)) {
                all.extend(more);
            }
        }
        Ok(())
    }

    fn add_days(&mut self, batch: &RuleBatch<'_>, row: usize, left: bool) {
        if let Some(days) = &mut self.observed_day {
            days.push(batch.observed(row).map_or(f64::NAN, Day::days));
        }
        if let Some(days) = &mut self.churn_day {
            let day = day_of(batch.own(1).value(row)).filter(|_| left);
            days.push(day.map_or(f64::NAN, Day::days));
        }
    }

    /// Nothing can be measured where nobody left, nobody stayed, or the model is silent.
    fn checked(self, target: &str, positive: &str) -> Result<Self> {
        let n_churned = self.churned.iter().filter(|&&left| left).count();
        if n_churned == 0 {
            let found: Vec<String> = self.found.keys().take(TOLD_LABELS).map(|text| format!("`{text}`")).collect();
            let message = format!("no row of `{target}` is `{positive}`, so nobody left");
            let hint = if found.is_empty() { "the column is empty".to_owned() } else { format!("found {}", found.join(", ")) };
            return Err(Complaint::new(Exit::DATA, message).hint(hint).into());
        }
        if n_churned == self.churned.len() {
            let message = format!("every row of `{target}` is `{positive}`, so there is nobody to compare with");
            return Err(Complaint::new(Exit::DATA, message).hint("take a table that has those who stayed as well").into());
        }
        if self.n_rejected > 0 {
            let message = format!("the model to compare with cannot score {} of the rows", self.n_rejected);
            return Err(Complaint::new(Exit::DATA, message).hint("correct the cells that the warning names").into());
        }
        Ok(self)
    }
}

/// The number of a row's customer; rows without a name are customers of their own.
fn customer_number(known: &mut HashMap<String, u32>, has_entity: bool, id: &str, row: usize) -> Result<u32> {
    let many = || Complaint::new(Exit::DATA, "there are more than 4,294,967,295 rows");
    if !has_entity {
        return Ok(u32::try_from(row).map_err(|_| many())?);
    }
    let next = u32::try_from(known.len()).map_err(|_| many())?;
    let key = if id.is_empty() { format!("\u{0}{row}") } else { id.to_owned() };
    Ok(*known.entry(key).or_insert(next))
}

/// What means that somebody left: `Yes`, `true` and `1` are the same.
struct Label<'a> {
    positive: &'a str,
    truth: Option<bool>,
    number: Option<f64>,
    missing: MissingMarkers,
}

impl<'a> Label<'a> {
    fn new(positive: &'a str) -> Self {
        let positive = positive.trim();
        let missing = MissingMarkers::usual().without(positive);
        Self { positive, truth: parse_boolean(positive), number: parse_number(positive), missing }
    }

    /// Whether a customer left; none where nothing is known.
    fn read(&self, text: &str) -> Option<bool> {
        let text = text.trim();
        if text != self.positive && self.missing.is_text(text) {
            return None;
        }
        let same_truth = self.truth.is_some() && parse_boolean(text) == self.truth;
        let same_number = self.number.is_some() && parse_number(text) == self.number;
        Some(text == self.positive || same_truth || same_number)
    }
}

/// `26.54 %  [25.52 %, 27.58 %]` in two cells.
pub(crate) fn share_cells(share: &Proportion) -> [String; 2] {
    let value = share.value.map_or_else(|| "–".to_owned(), tables::percent);
    let interval = format!("[{}, {}]", tables::percent(share.low), tables::percent(share.high));
    [value, if share.value.is_some() { interval } else { "–".to_owned() }]
}

/// `0.7412 [0.7283, 0.7538]`.
pub(crate) fn estimate_text(estimate: Option<&Estimate>) -> String {
    estimate.map_or_else(|| "–".to_owned(), |of| format!("{} {}", tables::number(of.value), tables::bounds(of.low, of.high)))
}

/// Rules beside the model that is allowed as many alerts.
pub(crate) fn against_table(heading: &str, rows: &[(String, AgainstModel)]) -> String {
    let headings = [heading, "alerts", "precision", "95 % interval", "recall", "model", "95 % interval", "recall", "better"];
    let mut table = tables::table(&headings, 1);
    for (id, against) in rows {
        let [precision, interval] = share_cells(&against.rule_precision);
        let percent = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), tables::percent);
        let better = match against.better {
            Some(Better::Rule) => "the rule",
            Some(Better::Model) => "the model",
            None => "open",
        };
        table.add_row([
            id.clone(),
            against.n_alerts.to_string(),
            precision,
            interval,
            percent(against.rule_recall),
            percent(against.model_precision),
            format!("[{}, {}]", tables::percent(against.model_low), tables::percent(against.model_high)),
            percent(against.model_recall),
            better.to_owned(),
        ]);
    }
    tables::render(&table)
}

#[cfg(test)]
mod tests {
    use super::Label;

    #[test]
    fn a_label_is_read_by_its_meaning() {
        let yes = Label::new("Yes");
        assert_eq!(
            ["yes", "1", "TRUE", "No", "0", "", "NA", "perhaps"].map(|text| yes.read(text)),
            [Some(true), Some(true), Some(true), Some(false), Some(false), None, None, Some(false)]
        );
        let two = Label::new("2");
        assert_eq!(["2", "2.0", "1", "NA"].map(|text| two.read(text)), [Some(true), Some(true), Some(false), None]);
        assert_eq!(Label::new("NA").read("NA"), Some(true));
    }
}
