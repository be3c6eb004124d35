use retain_core::{Day, FeatureValue};

use super::*;

fn condition(source: &str) -> Result<(Rule, Names), RuleError> {
    let mut names = Names::default();
    Rule::compile(source, RuleKind::Condition, &mut names).map(|rule| (rule, names))
}

/// Answers a rule where `features.a` is 5, `.flag` is yes, `.plan` is "pro", `.zero` is 0 and everything else is missing.
#[track_caller]
fn answer(source: &str) -> Answer {
    let (rule, names) = condition(source).unwrap_or_else(|error| panic!("{source}: {error:?}"));
    let mut values = Values::new(&names);
    for (slot, name) in names.iter() {
        let known = match name.to_string().as_str() {
            "features.a" => Known::Number(5.0),
            "features.flag" => Known::Boolean(true),
            "features.plan" => Known::Text("pro"),
            "features.zero" => Known::Number(0.0),
            "history.count(\"email\", 30)" => Known::Number(2.0),
            _ => Known::Missing,
        };
        values.set(slot, known);
    }
    rule.test(&values)
}

#[test]
fn conditions_are_answered() {
    for source in [
        "features.a > 4",
        "features.a >= 5.0 && features[\"a\"] == 5",
        "features.flag",
        "features.flag == 1",
        "!(features.plan in ['free', 'basic'])",
        "features.plan.startsWith('p') && features.plan != \"basic\"",
        "features.a + 1 == 6 && features.a % 2 == 1 && -features.a < 0",
        "max(features.a, 7, 3) == 7 && min(features.a, 7) == 5",
        "has(features.a) && !has(features.b) && features.b == null && features.a != null",
        "features.a > 4 || features.b > 4",
        "features.plan == 'pro' ? features.a < 6 : false",
        "history.count('email', 30) < 3",
        "features.zero == 0 || 1 / features.zero > 3",
    ] {
        assert_eq!(answer(source), Answer::Yes, "{source}");
    }
    for source in ["features.a < 5", "features.b > 4 && features.a > 9", "features.a in [1, 2]", "features.zero"] {
        assert_eq!(answer(source), Answer::No, "{source}");
    }
}

#[test]
fn what_is_missing_is_unknown_and_named() {
    for source in ["features.b > 4", "features.b > 4 && features.a > 4", "features.b > 4 || features.a > 9", "!features.b"] {
        let (_, names) = condition(source).unwrap();
        let slot = names.find(&Name::Feature("b".to_owned())).unwrap();
        assert_eq!(answer(source), Answer::Unknown(slot), "{source}");
    }
}

#[test]
fn faults_are_told_and_never_pass() {
    assert_eq!(answer("1 / features.zero > 3"), Answer::Fault(RuleFault::DivisionByZero));
    assert_eq!(answer("features.a % features.zero == 1"), Answer::Fault(RuleFault::DivisionByZero));
    assert_eq!(answer("features.plan > 3"), Answer::Fault(RuleFault::Incomparable { left: "a text", right: "a number" }));
    assert_eq!(answer("features.a == 'pro'"), Answer::Fault(RuleFault::Incomparable { left: "a number", right: "a text" }));
    assert_eq!(answer("features.a && true"), Answer::Fault(RuleFault::NotBoolean { found: "a number" }));
    assert_eq!(answer("features.a * 1e308 * 10 > 1"), Answer::Fault(RuleFault::NotFinite));
}

#[track_caller]
fn refused(source: &str, offset: usize, words: &[&str]) {
    let error = condition(source).map(|(rule, _)| rule).unwrap_err();
    let said = format!("{} / {}", error.what, error.fix);
    assert!(words.iter().all(|word| said.contains(word)), "{source}: {said}");
    assert_eq!(error.offset, offset, "{source}: {said}");
}

#[test]
fn mistakes_are_refused_with_their_place_and_a_fix() {
    refused("feature.a > 1", 7, &["`feature` is unknown", "did you mean `features`?"]);
    refused("features.a > 1 && predictions.churn.probablity > 0.5", 35, &["`probablity`", "did you mean `probability`?"]);
    refused("now.year == 2026", 3, &["`year` is unknown", "`hour`"]);
    refused("[1, 2].all(x, x > 0)", 10, &["no loops"]);
    refused("features.a / 0 > 1", 13, &["divides by zero"]);
    refused("features.a +", 12, &["cannot be read"]);
    refused("1 + 2", 2, &["a number where yes or no belongs"]);
    refused("predictions.churn.probability == 'high'", 33, &["a text where a number belongs"]);
    refused("tier > 3", 0, &["a text where a number belongs"]);
    refused("history.count('email') > 1", 14, &["days should be a whole number"]);
    refused("history.outcomes('bought', 30) > 1", 17, &["`bought` is unknown"]);
    refused("features.a.matches('x')", 18, &["`matches` is unknown"]);
    refused("size(features.a) > 1", 4, &["no function `size`"]);
    refused("   ", 0, &["empty"]);
}

#[test]
fn a_feature_is_of_one_kind_in_all_rules() {
    refused("features.a > 1 && features.a == 'x'", 26, &["taken for a text here and for a number elsewhere"]);
    let mut names = Names::default();
    let mut compile = |source| Rule::compile(source, RuleKind::Condition, &mut names).map(|_| ());
    compile("features.flag == 1 && features.since > 30").unwrap();
    compile("features.flag || features.plan in ['a', 'b']").unwrap();
    assert!(compile("features.plan > 3").is_err());
    assert!(compile("features.since.startsWith('2026')").is_err());
}

#[test]
fn values_are_read_as_rules_take_them() {
    let now = Day::parse("2026-03-31").unwrap();
    let known = |value, wanted| Known::of_feature(value, wanted, now);
    assert_eq!(known(FeatureValue::Text(" 12.5 "), NameType::Number), Known::Number(12.5));
    assert_eq!(known(FeatureValue::Text("2026-03-01"), NameType::Number), Known::Number(30.0));
    assert_eq!(known(FeatureValue::Text("yes"), NameType::Boolean), Known::Boolean(true));
    assert_eq!(known(FeatureValue::Text("yes"), NameType::Text), Known::Text("yes"));
    assert_eq!(known(FeatureValue::Text("many"), NameType::Number), Known::Text("many"));
    assert_eq!(known(FeatureValue::Text(" NA"), NameType::Number), Known::Missing);
    assert_eq!(known(FeatureValue::Boolean(true), NameType::Number), Known::Number(1.0));
}

#[test]
fn long_and_deep_rules_are_refused_before_they_are_parsed() {
    refused(&"features.a > 1 && ".repeat(60_000), 0, &["at most 4096 bytes"]);
    refused(&format!("{}features.a > 1{}", "(".repeat(2_000), ")".repeat(2_000)), 0, &["nested deeper"]);
    refused(&format!("{}features.flag", "!".repeat(4_000)), 0, &["nested deeper"]);
    refused(&format!("features.a > {}1", "-".repeat(4_000)), 0, &["nested deeper"]);
    let ternary = format!("{}true", "features.flag ? true : ".repeat(170));
    let _ = condition(&ternary);
    let select = format!("features{} > 1", ".a".repeat(2_000));
    assert!(condition(&select).is_err());
}

#[test]
fn a_name_reads_back_as_it_is_written() {
    let source = "features.a > 1 && features[\"b c\"] > 1 && predictions.churn.band == 'high' && health.change < 0 && signals.x && \
                  signal_count > 1 && segments.y && tier == 'gold' && points > 1 && badges.z && now.hour > 8 && customer_id != '' && \
                  history.count(7) == 0 && history.days_since('call') > 3 && history.outcomes('rejected', 30) == 0";
    let (_, names) = condition(source).unwrap();
    assert_eq!(names.len(), 15);
    for (_, name) in names.iter() {
        let again = match name.value_type() {
            NameType::Boolean => name.to_string(),
            NameType::Text => format!("{name} == 'x'"),
            NameType::Number | NameType::Any => format!("{name} > 1"),
        };
        let (_, read) = condition(&again).unwrap();
        assert_eq!(read.name(read.iter().next().unwrap().0), name, "{again}");
    }
}
