//! The log of decisions that a policy is judged by, whether it comes from a table or from a decision log.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use retain_data::TableSource;
use retain_policy::evaluate::Log;

use crate::columns::{self, Labels};
use crate::exit::{Complaint, Exit};
use crate::output::Output;

/// More actions than anybody chooses among: such a column names customers or times.
const MOST_ACTIONS: usize = 5_000;
/// Probabilities and modelled rewards take 16 bytes for each row and action.
const MOST_CELLS: usize = 200_000_000;
const DEFAULT_PROPENSITY: &str = "propensity";

/// Which columns of a log hold what.
#[derive(Debug, Args)]
#[command(next_help_heading = "Columns of the log")]
pub(super) struct LogColumns {
    /// What was done
    #[arg(long, value_name = "COLUMN", default_value = "action")]
    pub(super) action: String,
    /// What came of it: a number, or yes and no
    #[arg(long, value_name = "COLUMN", default_value = "reward")]
    pub(super) reward: String,
    /// The probability with which it was done [default: `propensity` where there is such a column]
    #[arg(long, value_name = "COLUMN")]
    pub(super) propensity: Option<String>,
    /// Whose row it is; without it every row counts as a customer of its own
    #[arg(long, value_name = "COLUMN")]
    pub(super) customer: Option<String>,
    /// Where the action was shown; a policy's log is counted for each position
    #[arg(long, value_name = "COLUMN")]
    pub(super) position: Option<String>,
}

/// A log with the names of what its numbers stand for.
pub(super) struct Logged {
    pub(super) log: Log,
    /// The names of the actions.
    pub(super) actions: Vec<String>,
    /// Position and its number for each row; absent where it does not matter.
    pub(super) positions: Option<Labels>,
    /// What was possible in each row, where the log says it.
    pub(super) offers: Option<Vec<Offer>>,
}

/// What could have been done in a row.
pub(super) struct Offer {
    /// Actions with the probability they had, above 0.
    pub(super) chances: Vec<(u32, f64)>,
    /// The one of the first rank.
    pub(super) first: Option<u32>,
}

/// A log's columns before it is known which actions there are.
pub(super) struct Columns {
    pub(super) actions: Labels,
    pub(super) propensity: Option<Vec<f64>>,
    pub(super) positions: Option<Labels>,
}

impl LogColumns {
    /// Actions, probabilities and positions of a table; actions are numbered behind the `known` ones, and so are positions.
    pub(super) fn read(&self, source: &TableSource, known_actions: &[String], known_positions: &[String]) -> Result<Columns> {
        let actions = columns::labels(source, &self.action, "--action", known_actions)?;
        let propensity = match &self.propensity {
            Some(column) => Some(columns::numbers(source, column, "--propensity")?),
            None if source.column_idx(DEFAULT_PROPENSITY).is_some() => {
                Some(columns::numbers(source, DEFAULT_PROPENSITY, "--propensity")?)
            }
            None => None,
        };
        let positions = self.position.as_deref().map(|column| columns::labels(source, column, "--position", known_positions));
        Ok(Columns { actions, propensity, positions: positions.transpose()? })
    }
}

/// Reads the log of the policy that decided; `more_actions` are those that the judged policy knows.
pub(super) fn read_table(
    path: &Path,
    columns: &LogColumns,
    more_actions: impl FnOnce(&mut Vec<String>) -> Result<()>,
    output: Output,
) -> Result<Logged> {
    let source = open(path)?;
    let Columns { actions, propensity, positions } = columns.read(&source, &[], &[])?;
    let rewards = columns::numbers(&source, &columns.reward, "--reward")?;
    let n_rows = actions.of_row.len();
    let customers = columns::customers(&source, columns.customer.as_deref(), n_rows, output)?;
    let mut names = actions.names;
    more_actions(&mut names)?;
    check_size(n_rows, names.len(), &columns.action)?;
    let numbered = positions.as_ref().map(|positions| positions.of_row.clone());
    let log = Log::new(names.len(), &customers, actions.of_row, rewards, propensity, numbered);
    let log = log.with_context(|| format!("the log `{}` cannot be used", source.name()))?;
    Ok(Logged { log, actions: names, positions, offers: None })
}

pub(super) fn check_size(n_rows: usize, n_actions: usize, column: &str) -> Result<()> {
    if n_actions <= MOST_ACTIONS && n_rows.saturating_mul(n_actions) <= MOST_CELLS {
        return Ok(());
    }
    let message = format!(
        "{n_rows} rows with {n_actions} actions are more than can be judged: at most {MOST_ACTIONS} actions, and {MOST_CELLS} \
         actions times rows"
    );
    let hint = format!("is `{column}` the column of actions? else take a sample of the customers");
    Err(Complaint::new(Exit::DATA, message).hint(hint).into())
}

/// Opens a table of decisions.
pub(super) fn open(path: &Path) -> Result<TableSource> {
    TableSource::open(path).with_context(|| format!("cannot read the table `{}`", path.display()))
}

/// Standard input can be read once.
pub(super) fn check_inputs(paths: &[Option<&PathBuf>]) -> Result<()> {
    let n_pipes = paths.iter().flatten().filter(|path| path.as_os_str() == "-").count();
    if n_pipes > 1 {
        return Err(Complaint::usage("standard input can be only one of the tables").hint("name a file for the others").into());
    }
    Ok(())
}
