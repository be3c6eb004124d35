//! From what a column holds to what it is: its kind, its categories, or the reason to leave it out.

use retain_core::{ColumnKind, FeatureSpec, parse_number};

use crate::error::{DataError, Warning, column_section};
use crate::profile::{Class, ColumnProfile};
use crate::task::ColumnHint;

/// The other cells are rejected, so that a few slips do not turn a number into a category of thousands.
const KIND_SHARE: f64 = 0.95;
/// Boosting makes good use of this many categories; more would make models large, since their questions name categories.
const MAX_CATEGORIES: usize = 1024;
const MIN_CATEGORY_ROWS: usize = 10;
const MIN_CATEGORY_ROWS_SMALL: usize = 2;
const SMALL_TABLE_ROWS: usize = 1000;
/// Share of the rows whose rare category is worth a warning.
const RARE_SHARE: f64 = 0.03;
/// Above this share of distinct values a text names rows instead of describing them.
const ID_SHARE: f64 = 0.9;

/// What became of a column.
pub(crate) struct Inferred {
    pub(crate) kind: Option<ColumnKind>,
    /// None: the column is left out, and the warnings say why.
    pub(crate) spec: Option<FeatureSpec>,
    pub(crate) warnings: Vec<Warning>,
}

/// Decides on one column from its profile over `n_rows` rows; a column with a hint is kept whenever that is possible.
pub(crate) fn infer(
    name: &str,
    profile: &ColumnProfile,
    hint: Option<&ColumnHint>,
    n_rows: usize,
) -> Result<Inferred, DataError> {
    let stated = hint.and_then(|hint| hint.kind);
    let kind = stated.or_else(|| kind_of(profile));
    let monotone = hint.and_then(|hint| hint.monotone);
    if let (Some(ColumnKind::Category), Some(_)) = (kind, monotone) {
        return Err(DataError::Monotone { column: name.to_owned(), kind: ColumnKind::Category });
    }
    let mut warnings = Vec::new();
    if stated.is_none() && kind == Some(ColumnKind::Category) {
        warnings.extend(decimal_comma_warning(name, profile));
    }
    let reason = if hint.is_none() { reason_to_drop(name, profile, kind, n_rows) } else { None };
    let Some(kind) = kind.filter(|_| reason.is_none()) else {
        let no_values = || Warning::new("constant_column", format!("column `{name}` has no value at all and is left out"));
        warnings.push(reason.unwrap_or_else(no_values));
        return Ok(Inferred { kind, spec: None, warnings });
    };
    let mut spec = FeatureSpec::new(name, kind);
    spec.missing = profile.missing().clone();
    spec.monotone = monotone;
    if kind == ColumnKind::Category {
        let (categories, warning) = choose_categories(name, profile, hint.is_some(), n_rows);
        if categories.is_empty() {
            let message = format!("column `{name}` has no text that could be a category and is left out");
            return Ok(Inferred { kind: Some(kind), spec: None, warnings: vec![Warning::new("id_like_column", message)] });
        }
        warnings.extend(warning);
        if stated.is_none() {
            warnings.extend(mixed_warning(name, profile));
        }
        spec.set_categories(categories);
    }
    Ok(Inferred { kind: Some(kind), spec: Some(spec), warnings })
}

/// The kind of nearly all cells; category where they differ; none where there are no cells.
///
/// A stray word among numbers or dates is a mistake worth refusing. Among yes and no it is a third answer: `unknown` makes the column a
/// category.
fn kind_of(profile: &ColumnProfile) -> Option<ColumnKind> {
    let n_present = profile.n_present();
    let kinds = [
        (Class::Number, ColumnKind::Number, KIND_SHARE),
        (Class::Boolean, ColumnKind::Boolean, 1.0),
        (Class::Date, ColumnKind::Date, KIND_SHARE),
    ];
    let nearly_all = kinds.iter().find(|(class, _, share)| profile.count(*class) as f64 >= share * n_present as f64);
    (n_present > 0).then(|| nearly_all.map_or(ColumnKind::Category, |(_, kind, _)| *kind))
}

fn reason_to_drop(name: &str, profile: &ColumnProfile, kind: Option<ColumnKind>, n_rows: usize) -> Option<Warning> {
    let n_present = profile.n_present();
    if n_present == n_rows && profile.n_distinct() == 1 && !profile.overflowed() {
        let message = format!("column `{name}` has one value in all {n_rows} rows and is left out");
        return Some(Warning::new("constant_column", message));
    }
    let id_like = |why: String| {
        let message = format!(
            "column `{name}` {why}: it names rows rather than describes them, and is left out; state its kind under `[columns.{name}]` to keep it"
        );
        Some(Warning::new("id_like_column", message))
    };
    match kind? {
        ColumnKind::Number if profile.rises() && n_present == n_rows => {
            id_like("holds whole numbers that grow from row to row".to_owned())
        }
        ColumnKind::Category if profile.overflowed() => {
            id_like(format!("has more than {} different texts", profile.n_distinct()))
        }
        ColumnKind::Category if profile.n_distinct() as f64 > ID_SHARE * n_present as f64 => {
            id_like(format!("has {} different texts in {n_present} rows", profile.n_distinct()))
        }
        ColumnKind::Category if profile.texts().first().is_none_or(|(_, count)| *count < min_rows(n_rows)) => {
            id_like(format!("has {} different texts, and none in {} rows or more", profile.n_distinct(), min_rows(n_rows)))
        }
        _ => None,
    }
}

fn min_rows(n_rows: usize) -> usize {
    if n_rows < SMALL_TABLE_ROWS { MIN_CATEGORY_ROWS_SMALL } else { MIN_CATEGORY_ROWS }
}

/// The categories worth learning, in byte order, and a warning when many rows have another.
fn choose_categories(name: &str, profile: &ColumnProfile, keep: bool, n_rows: usize) -> (Vec<String>, Option<Warning>) {
    let texts = profile.texts();
    let frequent = texts.iter().take_while(|(_, count)| *count >= min_rows(n_rows)).take(MAX_CATEGORIES).count();
    // A column that the task names is kept even when all its texts are rare.
    let n_kept = if frequent == 0 && keep { texts.len().min(MAX_CATEGORIES) } else { frequent };
    let kept_rows: usize = texts[..n_kept].iter().map(|(_, count)| count).sum();
    let folded_rows = profile.n_present() - kept_rows;
    let warning = (n_kept > 0 && folded_rows as f64 > RARE_SHARE * n_rows as f64).then(|| {
        let share = 100.0 * folded_rows as f64 / n_rows as f64;
        let at_least = if profile.overflowed() { "more than " } else { "" };
        let n_rare = profile.n_distinct() - n_kept;
        let message = format!(
            "column `{name}`: {at_least}{n_rare} rarer texts, {folded_rows} rows ({share:.1} %), are read as `unseen`; {n_kept} categories are kept"
        );
        Warning::new("rare_categories", message)
    });
    let mut categories: Vec<String> = texts[..n_kept].iter().map(|(text, _)| (*text).to_owned()).collect();
    categories.sort();
    (categories, warning)
}

/// Numbers written as `29,85`, as spreadsheets of many countries do, would silently be texts.
fn decimal_comma_warning(name: &str, profile: &ColumnProfile) -> Option<Warning> {
    let texts = profile.texts();
    let (mut n_commas, mut example) = (0, None);
    for (text, count) in &texts {
        if text.matches(',').count() == 1 && parse_number(&text.replace(',', ".")).is_some() {
            n_commas += count;
            example = example.or(Some(*text));
        }
    }
    let example = example.filter(|_| 2 * n_commas > texts.iter().map(|(_, count)| count).sum())?;
    let message = format!(
        "column `{name}` holds numbers with a decimal comma, such as `{example}`, and is read as text: write them with a point"
    );
    Some(Warning::new("decimal_comma", message))
}

fn mixed_warning(name: &str, profile: &ColumnProfile) -> Option<Warning> {
    let (n_numbers, n_present) = (profile.count(Class::Number), profile.n_present());
    (n_numbers > 0 && n_numbers < n_present).then(|| {
        let n_others = n_present - n_numbers;
        let message = format!(
            "column `{name}` mixes {n_numbers} numbers with {n_others} other texts and is read as categories; \
             state `kind` or `missing` under `{}` if that is not meant",
            column_section(name)
        );
        Warning::new("mixed_column", message)
    })
}
