//! What single columns say about the target: by their values, by being empty, by their names.

use retain_core::{ColumnKind, FeatureSpec};

use super::names::{Meaning, meaning};
use super::outcome::{Bins, Level, Outcome, Strength};
use super::{Finding, Severity};
use crate::dataset::Dataset;

/// A single column that orders customers this well is hardly ever known in time.
const CAP: f64 = 0.97;
/// Nor is one that does it up to a wrong label in fifty; its interval has to be above [`CAP`] as well.
const NEARLY_PERFECT: f64 = 0.98;
/// Worth a look, and worth comparing a model with and without the column.
const STRONG: f64 = 0.9;
/// With a name that speaks of leaving, this much is suspicious.
pub(super) const STRONG_FOR_ITS_NAME: f64 = 0.8;
/// Of a purely accidental pattern in one of thousands of columns.
pub(super) const LOG_CHANCE: f64 = -20.7;
/// Fewer rows of one class show nothing, however unlikely.
const MIN_PURE_ROWS: f64 = 30.0;

/// Asks every column of every outcome; of a column that knows several, the surest finding is told.
pub(super) fn check_all(dataset: &Dataset, outcomes: &[Outcome]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (position, outcome) in outcomes.iter().enumerate() {
        // A name says the same of every outcome.
        for finding in check(dataset, outcome).into_iter().filter(|finding| position == 0 || finding.code != "leak_name") {
            let known = findings.iter().position(|known| known.columns == finding.columns && known.code == finding.code);
            match known.map(|at| &mut findings[at]) {
                Some(known) if known.severity >= finding.severity => {}
                Some(known) => *known = finding,
                None => findings.push(finding),
            }
        }
    }
    findings
}

fn check(dataset: &Dataset, outcome: &Outcome) -> Vec<Finding> {
    let columns = dataset.schema.features.iter().zip(&dataset.columns);
    columns.flat_map(|(spec, column)| check_column(spec, column, outcome)).collect()
}

fn check_column(spec: &FeatureSpec, column: &[f64], outcome: &Outcome) -> Vec<Finding> {
    let bins = Bins::new(outcome, |row| column[row]);
    let emptiness = outcome.strength(&mut bins.missing_and_present(outcome));
    let value = strongest(&bins, spec.kind, outcome);
    let mut findings = Vec::new();
    // Being empty has a part of its own in the values' strength: what it says alone is told once.
    let by_value = value_finding(&spec.name, value, outcome);
    let by_emptiness = emptiness_finding(&spec.name, emptiness, outcome).or_else(|| purity_finding(&spec.name, &bins, outcome));
    match (by_emptiness, by_value) {
        (Some(empty), Some(value)) if value.severity > empty.severity => findings.push(value),
        (None, Some(value)) => findings.push(value),
        (Some(empty), _) => findings.push(empty),
        (None, None) => {}
    }
    if findings.iter().all(|finding: &Finding| finding.severity < Severity::Likely) {
        findings.extend(name_finding(&spec.name, value, outcome));
    }
    findings
}

/// By the order of its values or by their cross-fitted means, whichever says more; categories have no order.
pub(super) fn strongest(bins: &Bins, kind: ColumnKind, outcome: &Outcome) -> Strength {
    let by_means = outcome.cross_fitted(bins);
    if kind == ColumnKind::Category {
        return by_means;
    }
    let by_order = bins.ordered(outcome);
    if by_order.value > by_means.value { by_order } else { by_means }
}

fn severity_of(strength: Strength) -> Option<Severity> {
    match strength {
        Strength { value, low } if value >= NEARLY_PERFECT && low >= CAP => Some(Severity::Certain),
        Strength { value, low } if value >= CAP && low >= STRONG => Some(Severity::Likely),
        Strength { value, low } if value >= STRONG && low > STRONG_FOR_ITS_NAME => Some(Severity::Note),
        _ => None,
    }
}

fn value_finding(name: &str, strength: Strength, outcome: &Outcome) -> Option<Finding> {
    let severity = severity_of(strength)?;
    let meaning = match severity {
        Severity::Certain => "it is the answer, or was written down after it was known",
        Severity::Likely => "few things that are known in time say as much",
        Severity::Note => "see how the model does without it",
    };
    Some(Finding {
        code: "leak_value",
        severity,
        columns: vec![name.to_owned()],
        measure: outcome.measure,
        figure: strength.value,
        message: format!("column `{name}` alone has a {} of {:.4}: {meaning}", outcome.measure, strength.value),
        fix: exclude_or_allow(name),
        allowed: false,
    })
}

fn emptiness_finding(name: &str, strength: Strength, outcome: &Outcome) -> Option<Finding> {
    let severity = severity_of(strength).map(|severity| severity.max(Severity::Likely))?;
    Some(Finding {
        code: "leak_missing",
        severity,
        columns: vec![name.to_owned()],
        measure: outcome.measure,
        figure: strength.value,
        message: format!(
            "whether column `{name}` is empty has a {} of {:.4}: it was filled or cleared because of what happened",
            outcome.measure, strength.value
        ),
        fix: exclude_or_allow(name),
        allowed: false,
    })
}

/// A column that is filled, or empty, for customers of one class only, in more rows than chance would do.
fn purity_finding(name: &str, bins: &Bins, outcome: &Outcome) -> Option<Finding> {
    let rate = outcome.rate()?;
    let sides = bins.missing_and_present(outcome);
    let pure = |class: f64, level: &Level| {
        let chance = if class == 1.0 { rate } else { 1.0 - rate };
        // The centred target of n rows of one class adds up to this.
        let is_class = (level.sum - level.n * (class - rate)).abs() < 0.5;
        is_class && level.n >= MIN_PURE_ROWS && level.n < outcome.rows.len() as f64 && level.n * chance.ln() < LOG_CHANCE
    };
    let classes = [(1.0, "positive"), (0.0, "negative")];
    let found = sides.iter().zip(["is empty", "has a value"]).find_map(|(level, state)| {
        classes.iter().find(|(class, _)| pure(*class, level)).map(|(_, class)| (level.n, state, class))
    });
    let (n, state, class) = found?;
    Some(Finding {
        code: "leak_missing",
        severity: Severity::Likely,
        columns: vec![name.to_owned()],
        measure: "rows",
        figure: n,
        message: format!(
            "all {n} rows in which column `{name}` {state} are {class}: it may be filled or cleared because of that"
        ),
        fix: exclude_or_allow(name),
        allowed: false,
    })
}

fn name_finding(name: &str, strength: Strength, outcome: &Outcome) -> Option<Finding> {
    let (severity, what) = match meaning(name)? {
        Meaning::Leaving if strength.value >= STRONG_FOR_ITS_NAME => {
            (Severity::Likely, "speaks of leaving and says much about it")
        }
        Meaning::Leaving => (Severity::Note, "speaks of leaving"),
        Meaning::Retaining => {
            (Severity::Note, "speaks of what is done to keep a customer, which may have happened within the label window")
        }
    };
    Some(Finding {
        code: "leak_name",
        severity,
        columns: vec![name.to_owned()],
        measure: outcome.measure,
        figure: strength.value,
        message: format!("the name of column `{name}` {what} ({} {:.2})", outcome.measure, strength.value),
        fix: "make sure that it was known on the day of observation, or `exclude` it".to_owned(),
        allowed: false,
    })
}

pub(super) fn exclude_or_allow(name: &str) -> String {
    format!(
        "`exclude` it, or, if it is truly known on the day of observation, write `allow = [{name:?}]` under [table] of the task"
    )
}
