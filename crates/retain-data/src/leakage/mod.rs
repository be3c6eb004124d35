//! Looks for columns and rows that know the answer: what makes a model good on its training table and worthless afterwards.
//!
//! [`find_leaks`] runs every check that one table can answer and returns a [`LeakReport`]; [`keep_together`] puts rows that seem to be
//! one customer into one group, so that folds do not part them. The checks: `columns.rs` asks what single columns say about the
//! target, `dates.rs` when things were known, `rows.rs` whether order, names and repetitions say something, `treatment.rs` what
//! was written down after a treatment, `twins` looks for customers that stand in the table more than once. What one table cannot show is listed in [`NOT_SHOWN`].

mod columns;
mod dates;
mod names;
mod outcome;
mod rows;
mod treatment;
mod twins;

use retain_core::Day;

use crate::dataset::Dataset;
use crate::error::Warning;
use crate::task::Task;
use outcome::Outcome;

pub use twins::{Twins, keep_together};

/// What to look for elsewhere, because no single table can show it.
pub const NOT_SHOWN: [&str; 4] = [
    "values that were corrected after the observation: only extracting the same day twice, at different times, shows them",
    "offers and calls that happened within the label window: they change who leaves, and look like any other feature",
    "statistics of the label (target encoding) that were computed with the rows that will judge the model",
    "scaling, imputation or selection of columns that was fitted on all rows before they were split",
];

/// Fewer customers with or without an amount, or who left, say nothing sure.
const MIN_ROWS: f64 = 30.0;

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// A leak unless there is a reason for it; training goes on with a warning.
    Likely,
    /// Training is refused unless the task allows the column.
    Certain,
}

impl Severity {
    /// The severity's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// A fixed name, such as `leak_value`.
    pub code: &'static str,
    /// How sure it is.
    pub severity: Severity,
    /// The columns it is about; none where it is about rows.
    pub columns: Vec<String>,
    /// What was measured, such as `ROC AUC`.
    pub measure: &'static str,
    /// The measured number.
    pub figure: f64,
    /// What was found and what it means.
    pub message: String,
    /// What to do about it.
    pub fix: String,
    /// The task says under `allow` that the columns are known in time.
    pub allowed: bool,
}

impl Finding {
    /// Whether this keeps a model from being trained.
    pub fn refuses(&self) -> bool {
        self.severity == Severity::Certain && !self.allowed
    }

    /// The finding as a warning.
    pub fn warning(&self) -> Warning {
        let message = if self.allowed { format!("{}; the task allows it", self.message) } else { self.to_string() };
        Warning::new(self.code, message)
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.message, self.fix)
    }
}

/// What the checks found.
#[derive(Debug, Clone, PartialEq)]
pub struct LeakReport {
    /// The surest first; of equals in the order of the checks and of the table.
    pub findings: Vec<Finding>,
    /// Rows that seem to be one customer although nothing in the table says so.
    pub twins: Twins,
}

impl LeakReport {
    /// The findings that keep a model from being trained.
    pub fn refusals(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.refuses())
    }

    /// What whoever trains on the table should hear: all findings but notes.
    pub fn warnings(&self) -> Vec<Warning> {
        self.findings.iter().filter(|finding| finding.severity > Severity::Note).map(Finding::warning).collect()
    }
}

/// Runs every check on a table that was read by [`crate::read_training`]; `today` is the day of the run.
///
/// Checks of single columns look at up to 200,000 rows spread evenly over the table, checks of repeated customers at all rows. Beside
/// the dataset this takes a few dozen bytes a row, whatever the number of columns. The same table gives the same report.
pub fn find_leaks(dataset: &Dataset, task: &Task, today: Day) -> LeakReport {
    let outcomes = outcomes(dataset);
    let outcome = &outcomes[0];
    let twins = twins::find(dataset);
    let mut findings = columns::check_all(dataset, &outcomes);
    findings.extend(dates::check(dataset, task, today, outcome));
    findings.extend(rows::check(dataset, outcome));
    // Who knows the answer is told once.
    let is_known =
        |columns: &[String]| findings.iter().any(|known| known.severity == Severity::Certain && known.columns == columns);
    let of_treatment: Vec<Finding> = treatment::check(dataset).into_iter().filter(|one| !is_known(&one.columns)).collect();
    findings.extend(of_treatment);
    findings.extend(twins.finding(dataset.n_rows()));
    for finding in &mut findings {
        let columns = &finding.columns;
        finding.allowed = !columns.is_empty() && columns.iter().all(|column| task.table.allow.contains(column));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    LeakReport { findings, twins }
}

/// What a column may know: first the target; of an amount also whether there is any, of survival also how long who left had stayed.
fn outcomes(dataset: &Dataset) -> Vec<Outcome> {
    // However it happened, it happened.
    let happened: Vec<f64> = dataset.target.iter().map(|value| f64::from(u8::from(*value > 0.0))).collect();
    let event = Outcome::new(&happened, &dataset.group);
    if dataset.schema.has_amounts() {
        let amount = Outcome::new(&dataset.target, &dataset.group);
        let asks_more = amount.rate().is_none() && event.smaller_class() >= MIN_ROWS;
        return if asks_more { vec![amount, event.named("ROC AUC of any amount")] } else { vec![amount] };
    }
    let left: Vec<usize> = (0..event.rows.len()).filter(|&row| happened[event.rows[row]] > 0.0).collect();
    // Who is still there was followed until today, and how long follows from the first day: only who left can be asked.
    let stay = dataset.duration.as_ref().filter(|_| left.len() as f64 >= MIN_ROWS);
    let stay = stay.map(|days| Outcome::new(days, &dataset.group).of_rows(&left));
    std::iter::once(event).chain(stay.map(|stay| stay.named("rank correlation with how long those stayed who left"))).collect()
}
