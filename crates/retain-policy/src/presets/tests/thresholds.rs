//! Every condition of every preset, one step below each of its limits, at it and above it. A limit without a case fails the last test.

use std::collections::BTreeSet;

use toml::Table;

use super::Given::{No, Number, Word, Yes};
use super::{Given, Loaded, all, entries, load, string};
use crate::rule::{Answer, Constant, Expression, HealthField, Known, Name, Names, PredictionField, Rule, RuleKind, Values};

/// One limit: the condition, what it reads, values one step below, at and above it, and the answers (`y` or `n`).
pub(super) struct Case {
    pub(super) preset: &'static str,
    pub(super) condition: &'static str,
    pub(super) name: &'static str,
    pub(super) at: [f64; 3],
    pub(super) answers: &'static str,
    pub(super) others: &'static [(&'static str, Given)],
}

/// The lists that have conditions, and the keys they stand at.
const CONDITIONS: [(&str, &str); 11] = [
    ("signal", "when"),
    ("trigger", "when"),
    ("segment", "when"),
    ("badge", "when"),
    ("milestone", "when"),
    ("alert", "enter"),
    ("alert", "leave"),
    ("referral", "eligible"),
    ("action", "eligible"),
    ("sequence", "start"),
    ("sequence", "stop"),
];

fn name_of(text: &str) -> Name {
    match text {
        "signal_count" => Name::SignalCount,
        "health.score" => Name::Health(HealthField::Score),
        "predictions.churn.band" => Name::Prediction { model: "churn".to_owned(), field: PredictionField::Band },
        feature => Name::Feature(feature.to_owned()),
    }
}

fn known(given: Given) -> Known<'static> {
    match given {
        Number(number) => Known::Number(number),
        Yes => Known::Boolean(true),
        No => Known::Boolean(false),
        Word(word) => Known::Text(word),
    }
}

/// The source of a condition such as `signal.low_logins.when`.
fn source<'a>(table: &'a Table, condition: &str) -> &'a str {
    let [list, id, key]: [&str; 3] = condition.split('.').collect::<Vec<_>>().try_into().unwrap();
    let entry = entries(table, list).find(|entry| string(entry, "id") == id).unwrap_or_else(|| panic!("no {condition}"));
    string(entry, key)
}

fn holds(loaded: &Loaded, case: &Case, number: f64) -> Answer {
    let mut names = loaded.names.clone();
    let rule = Rule::compile(source(&loaded.tables[0], case.condition), RuleKind::Condition, &mut names).unwrap();
    let mut values = Values::new(&names);
    let set = |name: &str, given: Given, values: &mut Values<'_>| {
        let slot = names.find(&name_of(name)).unwrap_or_else(|| panic!("{} reads no {name}", case.condition));
        values.set(slot, known(given));
    };
    case.others.iter().for_each(|(name, given)| set(name, *given, &mut values));
    set(case.name, Number(number), &mut values);
    loaded.assessment.assess(&mut values, None, 0);
    // What assessment answers itself is put in its place again.
    set(case.name, Number(number), &mut values);
    rule.test(&values)
}

#[test]
fn every_limit_is_where_it_says() {
    for case in super::boundaries::cases() {
        let loaded = load(&[case.preset]);
        for (number, expected) in case.at.iter().zip(case.answers.chars()) {
            let expected = if expected == 'y' { Answer::Yes } else { Answer::No };
            assert_eq!(
                holds(&loaded, &case, *number),
                expected,
                "{}: {} at {} = {number}",
                case.preset,
                case.condition,
                case.name
            );
        }
    }
}

/// The numbers that a condition compares names with.
fn limits(expression: &Expression, names: &Names, found: &mut BTreeSet<(String, String)>) {
    match expression {
        Expression::Compare(_, left, right) => match (left.as_ref(), right.as_ref()) {
            (Expression::Read(slot), Expression::Constant(Constant::Number(limit))) => {
                found.insert((names.name(*slot).to_string().replace("features.", ""), limit.to_string()));
            }
            (Expression::Read(_), Expression::Constant(Constant::Text(_))) => {}
            other => panic!("a comparison that this test cannot read: {other:?}"),
        },
        Expression::All(parts) | Expression::Any(parts) => parts.iter().for_each(|part| limits(part, names, found)),
        Expression::Not(part) => limits(part, names, found),
        Expression::Read(_) => {}
        other => panic!("an expression that this test cannot read: {other:?}"),
    }
}

#[test]
fn no_limit_is_without_a_case() {
    let cases = super::boundaries::cases();
    let mut n_limits = 0;
    // `sequences` is the same text as the others.
    for preset in all().iter().filter(|preset| preset.name != "sequences") {
        let table: Table = preset.text.parse().unwrap();
        for (list, key) in CONDITIONS {
            for entry in entries(&table, list).filter(|entry| entry.contains_key(key)) {
                let condition = format!("{list}.{}.{key}", string(entry, "id"));
                let mut names = Names::default();
                let rule = Rule::compile(string(entry, key), RuleKind::Condition, &mut names).unwrap();
                let mut found = BTreeSet::new();
                limits(rule.expression(), &names, &mut found);
                for (name, limit) in found {
                    n_limits += 1;
                    let covers = |case: &Case| {
                        (case.preset, case.condition, case.name) == (preset.name, condition.as_str(), name.as_str())
                            && case.at[1].to_string() == limit
                    };
                    assert!(cases.iter().any(covers), "{}: no case for {condition} at {name} = {limit}", preset.name);
                }
            }
        }
    }
    assert!(n_limits > 100, "{n_limits}");
}
