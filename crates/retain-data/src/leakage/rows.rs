//! Whether the order of the rows, the customers' names or their repetition say something about the target.

use std::collections::HashSet;

use retain_core::ColumnKind;

use super::columns::exclude_or_allow;
use super::outcome::{Bins, Outcome, Strength};
use super::{Finding, Severity};
use crate::dataset::Dataset;

/// From here on the table or the names are in the order of the label.
const IN_ORDER: f64 = 0.97;
/// So nearly that accidents of numbering cannot explain it.
const EXACTLY_IN_ORDER: f64 = 0.98;
/// The order of the rows says more than a random order would: it may be the order of time.
const SOME_ORDER: f64 = 0.6;

pub(super) fn check(dataset: &Dataset, outcome: &Outcome) -> Vec<Finding> {
    let mut findings = Vec::new();
    let by_name = name_order(dataset, outcome);
    findings.extend(by_name.or_else(|| row_order(dataset, outcome)));
    let features = dataset.schema.features.iter().zip(&dataset.columns);
    let named = features.filter(|(spec, column)| spec.kind == ColumnKind::Number && is_id_like(column));
    findings.extend(named.map(|(spec, column)| id_like(&spec.name, column.len())));
    findings.extend(repetition(dataset));
    findings
}

/// How well an order of all rows, as a rank for each, says the label: by itself, and cut into parts.
fn strength_of(order: impl Fn(usize) -> f64, outcome: &Outcome) -> Strength {
    let bins = Bins::new(outcome, order);
    let (ordered, in_parts) = (bins.ordered(outcome), outcome.cross_fitted(&bins));
    if in_parts.value > ordered.value { in_parts } else { ordered }
}

/// Customers whose names, in their natural order, are in the order of the label.
fn name_order(dataset: &Dataset, outcome: &Outcome) -> Option<Finding> {
    let entity = dataset.schema.entity.as_ref()?;
    // Shorter first, so that c9 comes before c10.
    let mut order: Vec<u32> = (0..dataset.n_rows() as u32).collect();
    let key = |row: &u32| (dataset.entity[*row as usize].len(), dataset.entity[*row as usize].as_str());
    order.sort_by(|a, b| key(a).cmp(&key(b)));
    let mut rank = vec![0_u32; order.len()];
    let (mut next, mut last) = (0, None);
    for row in order {
        let name = dataset.entity[row as usize].as_str();
        next += u32::from(last.is_some_and(|last| last != name));
        (rank[row as usize], last) = (next, Some(name));
    }
    let strength = strength_of(|row| f64::from(rank[row]), outcome);
    (strength.value >= EXACTLY_IN_ORDER && strength.low >= IN_ORDER).then(|| Finding {
        code: "leak_id",
        severity: Severity::Certain,
        columns: vec![entity.clone()],
        measure: outcome.measure,
        figure: strength.value,
        message: format!(
            "`{entity}` in its order has a {} of {:.4}: names were given, or the table was put together, by who left",
            outcome.measure,
            strength.value
        ),
        fix: format!(
            "take all customers from one source by one rule; if only the names were given out later, write `allow = [{entity:?}]` under \
             [table] of the task"
        ),
        allowed: false,
    })
}

fn row_order(dataset: &Dataset, outcome: &Outcome) -> Option<Finding> {
    let strength = strength_of(|row| row as f64, outcome);
    let (figure, low) = (strength.value, strength.low);
    let (severity, meaning, fix) = match () {
        () if figure >= IN_ORDER && low >= SOME_ORDER => (
            Severity::Likely,
            "the table is sorted by label, or put together from those who left and those who stayed",
            "make sure that both come from one source by one rule, with every column filled the same way",
        ),
        () if figure >= SOME_ORDER
            && low > f64::midpoint(SOME_ORDER, 0.5)
            && dataset.observed.is_none()
            && outcome.rate().is_some() =>
        {
            (
                Severity::Note,
                "rows seem to be in the order of time or of groups, which random folds do not respect",
                "name the date as `observed_at` if there is one, or the groups as `group`",
            )
        }
        () => return None,
    };
    Some(Finding {
        code: "leak_row_order",
        severity,
        columns: Vec::new(),
        measure: outcome.measure,
        figure,
        message: format!("the order of the rows alone has a {} of {figure:.3}: {meaning}", outcome.measure),
        fix: fix.to_owned(),
        allowed: false,
    })
}

/// Whole numbers, another in every row.
fn is_id_like(column: &[f64]) -> bool {
    // The beginning tells of most columns that they are none.
    is_distinct(&column[..column.len().min(1000)]) && is_distinct(column)
}

fn is_distinct(column: &[f64]) -> bool {
    if column.iter().any(|value| value.fract() != 0.0) {
        return false;
    }
    let mut sorted = column.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}

fn id_like(name: &str, n_rows: usize) -> Finding {
    Finding {
        code: "leak_id",
        severity: Severity::Note,
        columns: vec![name.to_owned()],
        measure: "distinct values",
        figure: n_rows as f64,
        message: format!("column `{name}` is a whole number, another in each of the {n_rows} rows, as names of customers are"),
        fix: format!("if it names customers, make it the `entity` or {}", exclude_or_allow(name)),
        allowed: false,
    }
}

/// Customers that stand in the table more than once: on one day, which is a mistake, or without dates, which hides when.
fn repetition(dataset: &Dataset) -> Option<Finding> {
    let entity = dataset.schema.entity.as_ref()?;
    if dataset.entity.iter().collect::<HashSet<_>>().len() == dataset.n_rows() {
        return None;
    }
    let mut order: Vec<u32> = (0..dataset.n_rows() as u32).collect();
    let day = |row: u32| dataset.observed.as_ref().map_or(0.0, |days| days[row as usize]);
    let name = |row: u32| dataset.entity[row as usize].as_str();
    order.sort_by(|&a, &b| name(a).cmp(name(b)).then(day(a).total_cmp(&day(b))));
    let same_day = order
        .chunk_by(|&a, &b| name(a) == name(b) && day(a) == day(b))
        .filter(|rows| rows.len() > 1 && !name(rows[0]).trim().is_empty());
    let (mut n_rows, mut n_customers, mut n_contrary) = (0, 0, 0);
    for rows in same_day {
        n_rows += rows.len();
        n_customers += 1;
        let target = |row: u32| dataset.target[row as usize];
        n_contrary += usize::from(rows.iter().any(|&row| target(row) != target(rows[0])));
    }
    let is_dated = dataset.observed.is_some();
    let (severity, when, fix) = if is_dated {
        (Severity::Likely, "on one day", "keep one row per customer and day")
    } else {
        (
            Severity::Note,
            "and the table has no `observed_at`",
            "name the date of observation, or keep one row per customer; they stay in one fold",
        )
    };
    (n_rows > 0).then(|| Finding {
        code: "repeated_customer",
        severity,
        columns: vec![entity.clone()],
        measure: "rows",
        figure: n_rows as f64,
        message: format!("{n_rows} rows are of {n_customers} customers (`{entity}`) that stand there more than once {when}; {n_contrary} of them have different labels"),
        fix: fix.to_owned(),
        allowed: false,
    })
}
