//! The policy that is judged, as probabilities of every action in every row of the log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result};
use retain_data::TableSource;
use retain_policy::evaluate::Probabilities;

use super::logged::{Columns, LogColumns, Logged, open};
use crate::columns;
use crate::exit::{Complaint, Exit};
use crate::output::Output;

/// Probabilities that were counted sum to 1 but for chance; those that are further away are no probabilities.
const PLAUSIBLE_SUMS: std::ops::Range<f64> = 0.9..1.2;

/// How the policy is told.
pub(super) enum Judged {
    /// By its own log.
    Log(TableSource),
    /// By a table with a row for each of the log's and a column for each action.
    Table(TableSource),
    /// It takes this action wherever it can.
    Always(String),
    /// It takes every action that it can with the same probability.
    Uniform,
    /// It takes the action of the first rank.
    Greedy,
}

impl Judged {
    pub(super) fn log(path: &Path) -> Result<Self> {
        open(path).map(Self::Log)
    }

    pub(super) fn table(path: &Path) -> Result<Self> {
        open(path).map(Self::Table)
    }

    /// Adds the actions that the policy knows and the log does not.
    pub(super) fn add_actions(&self, columns: &LogColumns, names: &mut Vec<String>) -> Result<()> {
        match self {
            Self::Log(source) => *names = columns::labels(source, &columns.action, "--action", names)?.names,
            Self::Table(source) => {
                let known: HashSet<&String> = names.iter().collect();
                let more: Vec<String> = source.columns().iter().filter(|name| !known.contains(name)).cloned().collect();
                names.extend(more);
            }
            Self::Always(action) if !names.contains(action) => {
                let message = format!("the log has no action `{action}`");
                let shown: Vec<String> = names.iter().take(8).map(|name| format!("`{name}`")).collect();
                return Err(Complaint::usage(message).hint(format!("it has {}", shown.join(", "))).into());
            }
            Self::Always(_) | Self::Uniform | Self::Greedy => {}
        }
        Ok(())
    }

    /// The probabilities of every row.
    pub(super) fn probabilities(&self, logged: &Logged, columns: &LogColumns, output: Output) -> Result<Probabilities> {
        let values = match self {
            Self::Log(source) => counted(source, logged, columns, output)?,
            Self::Table(source) => stated(source, logged)?,
            Self::Always(_) | Self::Uniform | Self::Greedy => self.ruled(logged),
        };
        let probabilities = Probabilities::new(&logged.log, values);
        probabilities.context("the policy's probabilities cannot be used")
    }

    /// What a rule does in each row: among what was possible where the log says it, among all actions where it does not.
    fn ruled(&self, logged: &Logged) -> Vec<f64> {
        let n_actions = logged.actions.len();
        let wanted = if let Self::Always(action) = self { logged.actions.iter().position(|name| name == action) } else { None };
        let mut values = vec![0.0; logged.log.n_rows() * n_actions];
        for (row, of_row) in values.chunks_exact_mut(n_actions).enumerate() {
            let Some(offer) = logged.offers.as_ref().map(|offers| &offers[row]) else {
                match wanted {
                    Some(action) => of_row[action] = 1.0,
                    None => of_row.fill(1.0 / n_actions as f64),
                }
                continue;
            };
            let wanted = if matches!(self, Self::Greedy) { offer.first.map(|action| action as usize) } else { wanted };
            let is_possible = |action: usize| offer.chances.iter().any(|&(possible, _)| possible as usize == action);
            match wanted.filter(|&action| is_possible(action)) {
                Some(action) => of_row[action] = 1.0,
                None if matches!(self, Self::Uniform) => {
                    offer.chances.iter().for_each(|&(action, _)| of_row[action as usize] = 1.0 / offer.chances.len() as f64);
                }
                // Where the action is not possible, this policy does what the other did.
                None => offer.chances.iter().for_each(|&(action, chance)| of_row[action as usize] = chance),
            }
        }
        values
    }

    /// The policy in words.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Log(source) => format!("the policy that logged `{}`", source.name()),
            Self::Table(source) => format!("the probabilities of `{}`", source.name()),
            Self::Always(action) => format!("always `{action}`"),
            Self::Uniform => "every action alike".to_owned(),
            Self::Greedy => "always the first rank".to_owned(),
        }
    }
}

/// Every row has the probabilities of its position.
fn counted(source: &TableSource, logged: &Logged, columns: &LogColumns, output: Output) -> Result<Vec<f64>> {
    let known_positions = logged.positions.as_ref().map_or(&[][..], |positions| &positions.names);
    let of_policy = columns.read(source, &logged.actions, known_positions)?;
    let of_position = by_position(&of_policy, logged.actions.len())?;
    for (position, counts) in &of_position {
        let place = of_policy.positions.as_ref().map_or("", |names| &names.names[*position as usize]);
        counts.warn(place, output);
    }
    let mut values = Vec::with_capacity(logged.log.n_rows() * logged.actions.len());
    for row in 0..logged.log.n_rows() {
        let position = logged.positions.as_ref().map_or(0, |positions| positions.of_row[row]);
        let Some(counts) = of_position.get(&position) else {
            let name = known_positions.get(position as usize).map_or("", String::as_str);
            let message = format!("the policy's log `{}` has no row at position `{name}`", source.name());
            return Err(Complaint::new(Exit::DATA, message).hint("leave out `--position`, or take a longer log").into());
        };
        values.extend(counts.probabilities.iter().map(|probability| probability / counts.sum));
    }
    Ok(values)
}

/// What a policy's rows at one position say of its probabilities.
struct Counted {
    /// Of every action, before they are scaled to 1.
    probabilities: Vec<f64>,
    sum: f64,
}

impl Counted {
    /// Of the number of rows of each action and their sum of `1 / probability`.
    fn new(of_action: &[(f64, f64)]) -> Self {
        let mean = |&(n, inverse): &(f64, f64)| if n > 0.0 { n / inverse } else { 0.0 };
        let probabilities: Vec<f64> = of_action.iter().map(mean).collect();
        Self { sum: probabilities.iter().sum(), probabilities }
    }

    fn warn(&self, position: &str, output: Output) {
        if !PLAUSIBLE_SUMS.contains(&self.sum) {
            let place = if position.is_empty() { String::new() } else { format!(" at position `{position}`") };
            let message = format!(
                "the judged policy's probabilities{place} sum to {:.2} before they are scaled to 1: were its actions drawn with them?",
                self.sum
            );
            output.warn("policy_probabilities", &message);
        }
    }
}

/// How probable each action was at each position under the policy that logged these rows.
///
/// The mean probability of an action over all contexts is the share of its rows over their mean of `1 / probability`: the expected
/// value of that sum is 1 per row. The mean of the logged probabilities themselves would count each action where it was probable.
/// Without logged probabilities it is the share of its rows.
fn by_position(columns: &Columns, n_actions: usize) -> Result<BTreeMap<u32, Counted>> {
    let position_of = |row: usize| columns.positions.as_ref().map_or(0, |positions| positions.of_row[row]);
    let mut n_rows: BTreeMap<u32, f64> = BTreeMap::new();
    (0..columns.actions.of_row.len()).for_each(|row| *n_rows.entry(position_of(row)).or_default() += 1.0);
    let mut sums: BTreeMap<u32, Vec<(f64, f64)>> =
        n_rows.keys().map(|&position| (position, vec![(0.0, 0.0); n_actions])).collect();
    for (row, &action) in columns.actions.of_row.iter().enumerate() {
        let position = position_of(row);
        let Some((n, inverse)) = sums.get_mut(&position).map(|of_action| &mut of_action[action as usize]) else { continue };
        *n += 1.0;
        match &columns.propensity {
            Some(propensity) => *inverse += 1.0 / checked(propensity[row], row)?,
            // Their share: n over all rows.
            None => *inverse = n_rows[&position],
        }
    }
    Ok(sums.into_iter().map(|(position, of_action)| (position, Counted::new(&of_action))).collect())
}

fn checked(propensity: f64, row: usize) -> Result<f64> {
    if (1e-100..=1.0).contains(&propensity) {
        return Ok(propensity);
    }
    let message =
        format!("the judged policy's log, row {}: the probability should be above 0 and at most 1, found {propensity}", row + 1);
    Err(Complaint::new(Exit::DATA, message).into())
}

/// The cells of a table, whose columns are actions; an action without a column is never taken.
fn stated(source: &TableSource, logged: &Logged) -> Result<Vec<f64>> {
    let n_actions = logged.actions.len();
    let n_rows = logged.log.n_rows();
    let mut values = vec![0.0; n_rows * n_actions];
    let numbers: HashMap<&str, usize> = logged.actions.iter().enumerate().map(|(idx, name)| (name.as_str(), idx)).collect();
    for column in source.columns() {
        let cells = columns::numbers(source, column, "--policy-probabilities")?;
        if cells.len() != n_rows {
            let message = format!("`{}` should have a row for each of the log's {n_rows}, found {}", source.name(), cells.len());
            return Err(Complaint::new(Exit::DATA, message).into());
        }
        let action = numbers[column.as_str()];
        cells.into_iter().enumerate().for_each(|(row, cell)| values[row * n_actions + action] = cell);
    }
    Ok(values)
}
