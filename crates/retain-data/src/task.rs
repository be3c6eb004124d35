//! The task file: what to predict, from which columns, and how long to train.
//!
//! [`Task::parse`] turns its text into a checked [`Task`]; `task_file.rs` walks the TOML and knows its lines. Whether the named
//! columns exist is a question to the table and is asked when it is read.

use std::collections::BTreeMap;

use retain_core::{ColumnKind, DurationSpec, ModelName, Monotone, TaskKind, TreatmentSpec, nearest};

use crate::task_file::{Section, TaskFile};

/// The learners a task may ask for, in the order they are tried: the last has all the time that the others left, and boosting wins
/// most.
pub const LEARNERS: [&str; 4] = ["logistic", "tree", "forest", "boosting"];

const KINDS: [&str; 5] = ["churn", "ltv", "engagement", "survival", "uplift"];
const DEFAULT_BUDGET_SECONDS: u64 = 120;
const DEFAULT_SEED: u64 = 7;
/// A century: longer windows are a slip of the unit, and days stay well within a `u32`.
const MAX_DAYS: u64 = 36_500;
/// A month of training.
const MAX_BUDGET_SECONDS: u64 = 31 * 86_400;

/// A checked task file.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The model's name.
    pub name: ModelName,
    /// What is predicted.
    pub kind: TaskKind,
    /// What the target means, in words.
    pub definition: String,
    /// Length of the label window, in days.
    pub horizon_days: u32,
    /// Days between the observation and the start of the label window.
    pub lead_days: u32,
    /// Which column plays which part.
    pub table: TableRoles,
    /// What the task says about single columns, by column name.
    pub columns: BTreeMap<String, ColumnHint>,
    /// Names from [`LEARNERS`], in the order of the file, each once.
    pub learners: Vec<String>,
    /// Wall-clock limit for the whole run.
    pub budget_seconds: u64,
    /// Where all randomness of the run comes from.
    pub seed: u64,
    /// What a customer is worth, if the task says so.
    pub value: ValueColumns,
}

/// Which column of the table plays which part.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRoles {
    /// Names the customer; none: rows are named by their number.
    pub entity: Option<String>,
    /// The label.
    pub target: String,
    /// The labels that mean it happened: one for churn, one for each cause of survival, none for amounts.
    pub positive: Vec<String>,
    /// Survival: how long each customer was followed.
    pub duration: Option<DurationSpec>,
    /// Uplift: which action was taken; without a list of treatments in the task the list is empty, and the table's are taken.
    pub treatment: Option<TreatmentSpec>,
    /// Amounts: the same amount over the window before the observation, which is the baseline of persistence. May be a feature too.
    pub past: Option<String>,
    /// When the row was known; with it, splits go by time.
    pub observed_at: Option<String>,
    /// Rows of one value stay together; the entity where this is absent.
    pub group: Option<String>,
    /// Columns that are never used.
    pub exclude: Vec<String>,
    /// Columns that are known in time although they look like leaks.
    pub allow: Vec<String>,
}

/// What the task says about one column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnHint {
    /// The column is held to this kind.
    pub kind: Option<ColumnKind>,
    /// Replaces the default missing markers; blank cells are always missing.
    pub missing: Option<Vec<String>>,
    /// The direction the prediction keeps as the column grows.
    pub monotone: Option<Monotone>,
}

/// The `[value]` section: names of a currency and of columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValueColumns {
    /// Three-letter code or symbol of the currency.
    pub currency: Option<String>,
    /// The column with revenue.
    pub revenue: Option<String>,
    /// The column with margin.
    pub margin: Option<String>,
}

/// What is wrong with a task file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// Not TOML.
    #[error("line {line}: not valid TOML: {message}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What the TOML reader said.
        message: String,
    },
    /// A key or section that does not exist.
    #[error("line {line}: unknown key `{key}` in {place}; {hint}")]
    UnknownKey {
        /// Line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The section, such as `[table]`.
        place: String,
        /// The nearest known key, or all of them.
        hint: String,
    },
    /// A key that has to be there is not.
    #[error("{place} needs `{key}`: {meaning}")]
    MissingKey {
        /// The section.
        place: String,
        /// The key.
        key: &'static str,
        /// What it is for.
        meaning: &'static str,
    },
    /// A value of the wrong type, or outside what is allowed.
    #[error("line {line}: `{key}` in {place} should be {expected}, found {found}")]
    BadValue {
        /// Line, from 1.
        line: usize,
        /// The section.
        place: String,
        /// The key.
        key: String,
        /// What is allowed.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A key that belongs to tasks of another kind.
    #[error("line {line}: `{key}` in [table] is for {kinds} tasks only, and this is of kind `{kind}`; remove it")]
    NotForKind {
        /// Line, from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// The kinds that use it.
        kinds: &'static str,
        /// The kind of this task.
        kind: TaskKind,
    },
    /// Two statements that cannot both hold.
    #[error("line {line}: {message}")]
    Contradiction {
        /// Line, from 1.
        line: usize,
        /// What contradicts what.
        message: String,
    },
}

impl Task {
    /// Reads and checks the text of a task file; every default is filled in.
    ///
    /// # Errors
    /// [`TaskError`] names the line, what was found, what was expected, and for a slip the nearest known word.
    pub fn parse(text: &str) -> Result<Task, TaskError> {
        let file = TaskFile::parse(text)?;
        let root = file.root();
        root.check_keys(&["task", "table", "columns", "train", "value"])?;
        let task = root.required_section("task", "name, kind, definition and horizon of the model")?;
        task.check_keys(&["name", "kind", "definition", "horizon_days", "lead_days"])?;
        let kind = read_kind(&task)?;
        let table = read_roles(&root.required_section("table", "which column plays which part")?, kind)?;
        let (learners, budget_seconds, seed) = read_train(root.section("train")?.as_ref())?;
        Ok(Task {
            name: read_name(&task)?,
            kind,
            definition: task.required_text("definition", "what the target means, in words")?,
            horizon_days: read_horizon(&task)?,
            lead_days: task.whole("lead_days", 0, MAX_DAYS)?.unwrap_or(0) as u32,
            columns: read_columns(root.section("columns")?.as_ref(), &table)?,
            table,
            learners,
            budget_seconds,
            seed,
            value: read_value(root.section("value")?.as_ref())?,
        })
    }
}

fn read_name(task: &Section<'_>) -> Result<ModelName, TaskError> {
    let name = task.required_text("name", "the model's name, of the letters `a-z`, `0-9` and `-`")?;
    ModelName::new(&name)
        .map_err(|_| task.bad("name", "1 to 64 of the letters `a-z`, `0-9` and `-`", &format!("`{}`", shorten(&name))))
}

fn read_kind(task: &Section<'_>) -> Result<TaskKind, TaskError> {
    let kind = task.required_text("kind", "what is predicted: `churn`, `survival`, `ltv`, `engagement` or `uplift`")?;
    match kind.as_str() {
        "churn" => Ok(TaskKind::Churn),
        "survival" => Ok(TaskKind::Survival),
        "ltv" => Ok(TaskKind::Ltv),
        "engagement" => Ok(TaskKind::Engagement),
        "uplift" => Ok(TaskKind::Uplift),
        _ => Err(task.bad("kind", &one_of(&kind, &KINDS), &format!("`{}`", shorten(&kind)))),
    }
}

fn read_horizon(task: &Section<'_>) -> Result<u32, TaskError> {
    let meaning = "the length of the label window, a whole number of days";
    let days = task.whole("horizon_days", 1, MAX_DAYS)?;
    days.map(|days| days as u32).ok_or_else(|| task.missing("horizon_days", meaning))
}

fn read_roles(table: &Section<'_>, kind: TaskKind) -> Result<TableRoles, TaskError> {
    let known = [
        "entity",
        "target",
        "positive",
        "observed_at",
        "group",
        "treatment",
        "control",
        "treatments",
        "propensity",
        "duration",
        "duration_unit",
        "past",
        "exclude",
        "allow",
    ];
    table.check_keys(&known)?;
    check_kind_keys(table, kind)?;
    let roles = TableRoles {
        entity: table.text("entity")?,
        target: table.required_text("target", "the label column")?,
        positive: read_positive(table, kind)?,
        duration: read_duration(table, kind)?,
        treatment: read_treatment(table, kind)?,
        past: table.text("past")?,
        observed_at: table.text("observed_at")?,
        group: table.text("group")?,
        exclude: table.texts("exclude")?.unwrap_or_default(),
        allow: table.texts("allow")?.unwrap_or_default(),
    };
    check_roles(table, &roles)?;
    check_allowed(table, &roles)?;
    Ok(roles)
}

/// Keys that mean something for some kinds only.
fn check_kind_keys(table: &Section<'_>, kind: TaskKind) -> Result<(), TaskError> {
    let events = kind.is_amount().then_some(("positive", "churn, survival and uplift"));
    let amounts: &[_] = if kind.is_amount() { &[] } else { &[("past", "ltv and engagement")] };
    let survival: &[_] =
        if kind == TaskKind::Survival { &[] } else { &[("duration", "survival"), ("duration_unit", "survival")] };
    let uplift: &[_] = if kind == TaskKind::Uplift {
        &[]
    } else {
        &[("treatment", "uplift"), ("control", "uplift"), ("treatments", "uplift"), ("propensity", "uplift")]
    };
    let misplaced = events.iter().chain(amounts).chain(survival).chain(uplift).find(|(key, _)| table.has(key));
    match misplaced {
        Some(&(key, kinds)) => Err(TaskError::NotForKind { line: table.line(key), key, kinds, kind }),
        None => Ok(()),
    }
}

fn read_positive(table: &Section<'_>, kind: TaskKind) -> Result<Vec<String>, TaskError> {
    let missing = || table.missing("positive", "the label that means it happened");
    match kind {
        TaskKind::Ltv | TaskKind::Engagement => Ok(Vec::new()),
        TaskKind::Survival if table.is_list("positive") => {
            let causes = table.texts("positive")?.unwrap_or_default();
            let repeated = causes.iter().enumerate().find(|(at, cause)| causes[..*at].contains(cause));
            match repeated {
                _ if causes.is_empty() => Err(table.bad("positive", "at least one label", "an empty list")),
                Some((_, cause)) => Err(table.bad("positive", "each label once", &format!("`{}` twice", shorten(cause)))),
                None => Ok(causes),
            }
        }
        // Without it the outcome is an amount.
        TaskKind::Uplift => Ok(table.scalar_text("positive")?.into_iter().collect()),
        TaskKind::Churn | TaskKind::Survival => Ok(vec![table.scalar_text("positive")?.ok_or_else(missing)?]),
    }
}

/// Days in the units of durations, with the ending that names of columns give them.
const UNITS: [(&str, &str, f64); 4] =
    [("days", "day", 1.0), ("weeks", "week", 7.0), ("months", "month", 365.25 / 12.0), ("years", "year", 365.25)];

fn read_duration(table: &Section<'_>, kind: TaskKind) -> Result<Option<DurationSpec>, TaskError> {
    if kind != TaskKind::Survival {
        return Ok(None);
    }
    let meaning = "the column with the time until it happened, or until the end of the observation";
    let column = table.required_text("duration", meaning)?;
    let unit = table.word("duration_unit", &UNITS.map(|(name, _, _)| name))?;
    // The column's own name says it where the task does not; a bare number is days.
    let of_unit = match unit {
        Some(unit) => UNITS.iter().find(|(name, ..)| unit == *name),
        None => unit_in_name(&column),
    };
    Ok(Some(DurationSpec { column, unit_days: of_unit.map_or(1.0, |(_, _, days)| *days) }))
}

/// Treatments that one model may tell apart.
pub const MAX_TREATMENTS: usize = 20;

fn read_treatment(table: &Section<'_>, kind: TaskKind) -> Result<Option<TreatmentSpec>, TaskError> {
    if kind != TaskKind::Uplift {
        return Ok(None);
    }
    let column = table.required_text("treatment", "the column that says which action was taken")?;
    let meaning = "the value of the treatment column where nothing was done";
    let control = table.scalar_text("control")?.ok_or_else(|| table.missing("control", meaning))?;
    let treatments = table.texts("treatments")?;
    let named = treatments.as_deref().unwrap_or_default();
    let repeated = named.iter().enumerate().find(|(at, one)| named[..*at].contains(one)).map(|(_, one)| one);
    if treatments.is_some() && named.is_empty() {
        return Err(table.bad("treatments", "at least one treatment, or no such key", "an empty list"));
    }
    if named.len() > MAX_TREATMENTS {
        return Err(table.bad("treatments", &format!("at most {MAX_TREATMENTS} treatments"), &named.len().to_string()));
    }
    if let Some(found) = repeated.or_else(|| named.iter().find(|one| **one == control)) {
        return Err(table.bad("treatments", "each treatment once, without the control", &format!("`{}`", shorten(found))));
    }
    Ok(Some(TreatmentSpec { column, control, treatments: named.to_vec(), propensity: table.text("propensity")? }))
}

/// The unit that a column is named after: one that stands there as a word, else the last, as `holidayMonths` are months.
fn unit_in_name(column: &str) -> Option<&'static (&'static str, &'static str, f64)> {
    let name = column.to_lowercase();
    let is_word = |unit: &str| {
        name.split(|letter: char| !letter.is_alphanumeric()).any(|word| word.strip_suffix('s').unwrap_or(word) == unit)
    };
    let whole = UNITS.iter().filter(|(_, unit, _)| is_word(unit)).max_by_key(|(_, unit, _)| name.rfind(unit));
    whole.or_else(|| UNITS.iter().filter(|(_, unit, _)| name.contains(unit)).max_by_key(|(_, unit, _)| name.rfind(unit)))
}

/// A column has one part to play; only the entity may be the group as well.
fn check_roles(table: &Section<'_>, roles: &TableRoles) -> Result<(), TaskError> {
    let mut taken: Vec<(&str, &str)> = vec![("target", &roles.target)];
    let optional = [("entity", &roles.entity), ("observed_at", &roles.observed_at), ("group", &roles.group)];
    let duration = roles.duration.iter().map(|duration| ("duration", duration.column.as_str()));
    let treatment = roles.treatment.iter().flat_map(treatment_columns);
    let named = optional.iter().filter_map(|(key, column)| column.as_deref().map(|column| (*key, column)));
    for (key, column) in
        named.chain(duration).chain(treatment).chain(roles.exclude.iter().map(|column| ("exclude", column.as_str())))
    {
        let clash = taken.iter().find(|(other, known)| *known == column && !(key == "group" && *other == "entity"));
        if let Some((other, _)) = clash {
            let message = format!("column `{column}` stands as `{key}` and as `{other}` in [table]; it can be one of them only");
            return Err(TaskError::Contradiction { line: table.line(key), message });
        }
        taken.push((key, column));
    }
    if roles.past.as_ref() == Some(&roles.target) {
        let message = format!(
            "column `{}` stands as `past` and as `target` in [table]: the target comes after the observation",
            roles.target
        );
        return Err(TaskError::Contradiction { line: table.line("past"), message });
    }
    Ok(())
}

/// The columns of a treatment, by the keys that name them.
fn treatment_columns(treatment: &TreatmentSpec) -> impl Iterator<Item = (&'static str, &str)> {
    let propensity = treatment.propensity.iter().map(|column| ("propensity", column.as_str()));
    std::iter::once(("treatment", treatment.column.as_str())).chain(propensity)
}

/// Only what a model or its splits use can be allowed.
fn check_allowed(table: &Section<'_>, roles: &TableRoles) -> Result<(), TaskError> {
    let unused = |column: &&String| **column == roles.target || roles.exclude.contains(column);
    let Some(column) = roles.allow.iter().find(unused) else { return Ok(()) };
    let other = if *column == roles.target { "target" } else { "exclude" };
    let message = format!("column `{column}` stands as `{other}` and as `allow` in [table]; it can be one of them only");
    Err(TaskError::Contradiction { line: table.line("allow"), message })
}

fn read_columns(columns: Option<&Section<'_>>, roles: &TableRoles) -> Result<BTreeMap<String, ColumnHint>, TaskError> {
    let mut hints = BTreeMap::new();
    let Some(columns) = columns else { return Ok(hints) };
    for name in columns.keys() {
        let Some(column) = columns.section(&name)? else { continue };
        column.check_keys(&["kind", "missing", "monotone"])?;
        let hint = ColumnHint {
            kind: column.word("kind", &["number", "category", "date", "boolean"])?.map(kind_of),
            missing: column.texts("missing")?,
            monotone: column.word("monotone", &["increasing", "decreasing"])?.map(monotone_of),
        };
        check_hint(columns, &name, &hint, roles)?;
        hints.insert(name, hint);
    }
    Ok(hints)
}

fn check_hint(columns: &Section<'_>, name: &str, hint: &ColumnHint, roles: &TableRoles) -> Result<(), TaskError> {
    let contradiction = |message: String| Err(TaskError::Contradiction { line: columns.line(name), message });
    if roles.target == name && (hint.kind.is_some() || hint.monotone.is_some()) {
        return contradiction(format!("`{name}` is the target: only `missing` can be said about it"));
    }
    let is = |role: &Option<String>| role.as_deref() == Some(name);
    let is_duration = roles.duration.as_ref().is_some_and(|duration| duration.column == name);
    let is_treatment = roles.treatment.iter().flat_map(treatment_columns).any(|(_, column)| column == name);
    if is_duration
        || is_treatment
        || is(&roles.entity)
        || is(&roles.observed_at)
        || is(&roles.group)
        || roles.exclude.iter().any(|column| column == name)
    {
        return contradiction(format!("[columns.{name}] describes a feature, and [table] says that `{name}` is not one"));
    }
    if hint.kind == Some(ColumnKind::Category) && hint.monotone.is_some() {
        return contradiction(format!("`{name}` is a category and has no order, so `monotone` means nothing"));
    }
    Ok(())
}

fn kind_of(word: &str) -> ColumnKind {
    match word {
        "number" => ColumnKind::Number,
        "date" => ColumnKind::Date,
        "boolean" => ColumnKind::Boolean,
        _ => ColumnKind::Category,
    }
}

fn monotone_of(word: &str) -> Monotone {
    if word == "increasing" { Monotone::Increasing } else { Monotone::Decreasing }
}

fn read_train(train: Option<&Section<'_>>) -> Result<(Vec<String>, u64, u64), TaskError> {
    let all = || LEARNERS.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let Some(train) = train else { return Ok((all(), DEFAULT_BUDGET_SECONDS, DEFAULT_SEED)) };
    train.check_keys(&["learners", "budget_seconds", "seed"])?;
    let learners = train.texts("learners")?.unwrap_or_else(all);
    if learners.is_empty() {
        return Err(train.bad("learners", "at least one learner", "an empty list"));
    }
    for (position, learner) in learners.iter().enumerate() {
        if !LEARNERS.contains(&learner.as_str()) {
            return Err(train.bad("learners", &one_of(learner, &LEARNERS), &format!("`{}`", shorten(learner))));
        }
        if learners[..position].contains(learner) {
            return Err(train.bad("learners", "each learner once", &format!("`{learner}` twice")));
        }
    }
    let budget_seconds = train.whole("budget_seconds", 1, MAX_BUDGET_SECONDS)?.unwrap_or(DEFAULT_BUDGET_SECONDS);
    // TOML's whole numbers are signed.
    let seed = train.whole("seed", 0, i64::MAX as u64)?.unwrap_or(DEFAULT_SEED);
    Ok((learners, budget_seconds, seed))
}

fn read_value(value: Option<&Section<'_>>) -> Result<ValueColumns, TaskError> {
    let Some(value) = value else { return Ok(ValueColumns::default()) };
    value.check_keys(&["currency", "revenue", "margin"])?;
    Ok(ValueColumns { currency: value.text("currency")?, revenue: value.text("revenue")?, margin: value.text("margin")? })
}

/// "one of …", led by the nearest when there is one.
pub(crate) fn one_of(found: &str, known: &[&str]) -> String {
    let all = known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    match nearest(found, known.iter().copied()) {
        Some(near) => format!("`{near}` (did you mean that?) or another of {all}"),
        None => format!("one of {all}"),
    }
}

pub(crate) fn shorten(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}
