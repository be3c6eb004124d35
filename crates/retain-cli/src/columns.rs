//! Columns that a verb names, read as numbers or as names; what cannot be read is told with its row.

use std::collections::HashMap;

use anyhow::{Context, Result};
use retain_core::{FeatureValue, nearest, parse_boolean, parse_number};
use retain_data::{Cells, TableSource};

use crate::exit::{Complaint, Exit};
use crate::output::Output;

/// A column of names: customers, arms, actions.
pub(crate) struct Labels {
    /// Each name once, in the order of its first row.
    pub(crate) names: Vec<String>,
    /// For each row the position of its name.
    pub(crate) of_row: Vec<u32>,
}

impl Labels {
    /// The position of a name, if some row has it.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// `a`, `b` and `c`, of very many the first.
    pub(crate) fn list(&self) -> String {
        let shown: Vec<String> = self.names.iter().take(8).map(|name| format!("`{name}`")).collect();
        let more = if self.names.len() > shown.len() { ", …" } else { "" };
        format!("{}{more}", shown.join(", "))
    }
}

/// Gives out numbers for names, from 0 on, in the order in which they come.
#[derive(Default)]
pub(crate) struct Numbering {
    pub(crate) names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Numbering {
    /// Goes on with names that have numbers already.
    pub(crate) fn after(names: &[String]) -> Self {
        Self { names: names.to_vec(), numbers: names.iter().cloned().zip(0..).collect() }
    }

    pub(crate) fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

/// The position of a column that the command line named with `flag`.
///
/// # Errors
/// A [`Complaint`] with the nearest name where there is no such column.
pub(crate) fn position(source: &TableSource, column: &str, flag: &str) -> Result<usize> {
    source.column_idx(column).ok_or_else(|| {
        let names: Vec<&str> = source.columns().iter().map(String::as_str).collect();
        let hint = match nearest(column, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? name the column with `{flag}`"),
            None => format!("name the column with `{flag}`; the table has {}", listed(&names)),
        };
        Complaint::usage(format!("`{}` has no column `{column}`", source.name())).hint(hint).into()
    })
}

fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(12).map(|name| format!("`{name}`")).collect();
    shown.join(", ") + if names.len() > shown.len() { ", …" } else { "" }
}

/// The numbers of a column; yes and no count 1 and 0.
///
/// # Errors
/// Where the column is not there or a cell is no number.
pub(crate) fn numbers(source: &TableSource, column: &str, flag: &str) -> Result<Vec<f64>> {
    let mut numbers = Vec::new();
    each(source, column, flag, |cells, row| {
        let number = number(cells.value(row)).ok_or("a number, or yes and no")?;
        numbers.push(number);
        Ok(())
    })?;
    Ok(numbers)
}

fn number(value: FeatureValue<'_>) -> Option<f64> {
    match value {
        FeatureValue::Number(number) => Some(number).filter(|number| number.is_finite()),
        FeatureValue::Boolean(yes) => Some(f64::from(u8::from(yes))),
        FeatureValue::Text(text) => parse_number(text).or_else(|| parse_boolean(text).map(|yes| f64::from(u8::from(yes)))),
        FeatureValue::Day(_) | FeatureValue::Missing => None,
    }
}

/// 1 where the cell is this text, 0 elsewhere; no cell may be empty.
///
/// # Errors
/// Where the column is not there, a cell is empty, or no cell is the text.
pub(crate) fn matches(source: &TableSource, column: &str, flag: &str, text: &str) -> Result<Vec<f64>> {
    let labels = labels(source, column, flag, &[])?;
    let Some(positive) = labels.position(text.trim()) else {
        let message = format!("no row of `{}` has `{text}` in the column `{column}`", source.name());
        return Err(Complaint::new(Exit::DATA, message).hint(format!("it has {}", labels.list())).into());
    };
    Ok(labels.of_row.iter().map(|&label| f64::from(u8::from(label as usize == positive))).collect())
}

/// The names of a column, numbered behind the `known` ones.
///
/// # Errors
/// Where the column is not there or a cell is empty.
pub(crate) fn labels(source: &TableSource, column: &str, flag: &str, known: &[String]) -> Result<Labels> {
    let mut numbering = Numbering::after(known);
    let mut of_row = Vec::new();
    each(source, column, flag, |cells, row| {
        let text = cells.text(row);
        let name = text.trim();
        if name.is_empty() {
            return Err("a name");
        }
        of_row.push(numbering.number(name));
        Ok(())
    })?;
    Ok(Labels { names: numbering.names, of_row })
}

/// Whose each row is, by number; without a column every row is a customer's of its own, which is told.
///
/// # Errors
/// As [`labels`].
pub(crate) fn customers(source: &TableSource, column: Option<&str>, n_rows: usize, output: Output) -> Result<Vec<u32>> {
    if let Some(column) = column {
        return Ok(labels(source, column, "--customer", &[])?.of_row);
    }
    output.note("note: every row counts as a customer of its own; name the customers with `--customer`");
    Ok((0..n_rows as u32).collect())
}

/// Shows every cell of a column; `take` says what it should have been where it cannot be taken.
fn each(
    source: &TableSource,
    column: &str,
    flag: &str,
    mut take: impl FnMut(Cells<'_>, usize) -> Result<(), &'static str>,
) -> Result<()> {
    let attempt = || format!("cannot read the table `{}`", source.name());
    let idx = position(source, column, flag)?;
    let mut n_before = 0;
    for batch in source.batches(&[idx]).with_context(attempt)? {
        let batch = batch.with_context(attempt)?;
        let cells = Cells::of(batch.column(0));
        for row in 0..batch.num_rows() {
            take(cells, row).map_err(|expected| {
                let found = cells.text(row);
                let shown: String = found.chars().take(40).collect();
                let place = format!("`{}`, row {}", source.name(), n_before + row + 1);
                Complaint::new(Exit::DATA, format!("{place}: `{column}` should be {expected}, found `{shown}`"))
            })?;
        }
        n_before += batch.num_rows();
    }
    Ok(())
}
