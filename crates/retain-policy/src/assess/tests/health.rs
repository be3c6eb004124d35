use super::super::{Assessment, Direction, HealthScore, Language, Previous, Seen};
use super::{parse, with};
use crate::rule::{Known, Name, Names};

/// Two groups; the first has two items of unequal weight and an optional one.
fn definition(policy: &str) -> (Assessment, Names) {
    parse(&format!(
        r#"
        [health]
        name = "h"
        missing = "{policy}"
        bands = [{{ id = "good", from = 60, name = {{ en = "Good", es = "Bien" }} }}, {{ id = "bad", from = 0 }}]
        [[health.group]]
        id = "use"
        weight = 60
        [[health.group.item]]
        id = "a"
        reads = "features.a"
        curve = [[0, 0], [10, 10]]
        [[health.group.item]]
        id = "b"
        reads = "features.b"
        curve = [[0, 0], [10, 30]]
        [[health.group.item]]
        id = "extra"
        reads = "features.extra"
        curve = [[0, 0], [10, 40]]
        optional = true
        [[health.group]]
        id = "word"
        weight = 40
        [[health.group.item]]
        id = "w"
        reads = "features.w"
        words = {{ high = 4, low = 1 }}
        [[segment]]
        id = "low"
        when = "health.score < 60 && health.band == \"bad\""
        "#
    ))
}

fn score(policy: &str, given: &[(&str, Known<'_>)]) -> HealthScore {
    let (assessment, names) = definition(policy);
    let mut values = with(&names, given);
    assessment.assess(&mut values, None, 0).health.unwrap()
}

const A: (&str, Known<'_>) = ("a", Known::Number(10.0));
const B: (&str, Known<'_>) = ("b", Known::Number(5.0));
const W: (&str, Known<'_>) = ("w", Known::Text("low"));

#[test]
fn points_of_groups_add_up_to_the_score() {
    // (10 + 15) of 40 for 60 points, 1 of 4 for 40 points.
    let found = score("redistribute", &[A, B, W]);
    assert_eq!((found.score, found.coverage, found.band), (Some(47.5), 1.0, Some(1)));
    assert_eq!(found.groups.iter().map(|group| group.points.unwrap()).collect::<Vec<_>>(), [37.5, 10.0]);
    // An optional item counts where it is known.
    let with_extra = score("redistribute", &[A, B, ("extra", Known::Number(10.0)), W]);
    assert_eq!(with_extra.groups[0].points, Some(60.0 * 65.0 / 80.0));
    assert_eq!(with_extra.coverage, 1.0);
}

#[test]
fn each_policy_treats_a_missing_item_in_its_way() {
    let rows = [
        // Item b is missing: a stands for it, it has none, it has half.
        ("redistribute", Some(60.0 + 10.0)),
        ("zero", Some(15.0 + 10.0)),
        ("neutral", Some(60.0 * 25.0 / 40.0 + 10.0)),
        ("unknown", None),
    ];
    for (policy, expected) in rows {
        let found = score(policy, &[A, W]);
        assert_eq!(found.score, expected, "{policy}");
        // 10 of 40 of the first group's 60 points, and all of the other's 40.
        assert_eq!(found.coverage, 0.55, "{policy}");
        assert_eq!(found.band.is_some(), expected.is_some(), "{policy}");
    }
}

#[test]
fn each_policy_treats_a_missing_group_in_its_way() {
    let rows = [("redistribute", Some(62.5)), ("zero", Some(37.5)), ("neutral", Some(57.5)), ("unknown", None)];
    for (policy, expected) in rows {
        let found = score(policy, &[A, B]);
        assert_eq!((found.score, found.coverage), (expected, 0.6), "{policy}");
    }
    // Of nothing, nothing is said, but where the policy makes it up.
    let rows = [("redistribute", None), ("zero", Some(0.0)), ("neutral", Some(50.0)), ("unknown", None)];
    for (policy, expected) in rows {
        assert_eq!((score(policy, &[]).score, score(policy, &[]).coverage), (expected, 0.0), "{policy}");
    }
}

#[test]
fn a_word_that_the_scale_does_not_know_is_missing() {
    let found = score("redistribute", &[A, B, ("w", Known::Text("quarterly"))]);
    assert_eq!((found.items[3].seen, found.items[3].points, found.coverage), (Seen::Stranger, None, 0.6));
    let found = score("redistribute", &[A, B, ("w", Known::Text(" HIGH"))]);
    assert_eq!((found.items[3].seen, found.items[3].points), (Seen::Word(0), Some(4.0)));
    let found = score("redistribute", &[("a", Known::Text("ten")), B, W]);
    assert!(matches!(found.items[0].seen, Seen::Fault(_)), "{:?}", found.items[0]);
}

#[test]
fn direction_needs_an_earlier_score_of_the_same_name() {
    let (assessment, names) = definition("redistribute");
    let look = |before: Option<&Previous>, b: f64| {
        let mut values = with(&names, &[A, ("b", Known::Number(b)), W]);
        let assessed = assessment.assess(&mut values, before, 1_000);
        (assessment.remember(&assessed, 1_000), assessed)
    };
    let (before, first) = look(None, 5.0);
    assert_eq!(first.health.unwrap().direction, Direction::Unknown);
    assert_eq!((before.assessed_at_ms, before.health.as_ref().unwrap().band.as_str()), (1_000, "bad"));
    // One more of b is 4.5 points of health; two points are steady.
    let rows = [(5.0, Direction::Steady), (5.4, Direction::Steady), (5.5, Direction::Improving), (4.5, Direction::Worsening)];
    for (b, expected) in rows {
        assert_eq!(look(Some(&before), b).1.health.unwrap().direction, expected, "{b}");
    }
    let (_, better) = look(Some(&before), 10.0);
    assert_eq!((better.health.as_ref().unwrap().change, better.band_worsened()), (Some(22.5), Some(false)));
    let mut other = before.clone();
    other.health.as_mut().unwrap().name = "another".to_owned();
    let (_, apart) = look(Some(&other), 10.0);
    assert_eq!((apart.health.as_ref().unwrap().direction, apart.band_worsened()), (Direction::Unknown, None));
}

#[test]
fn later_rules_read_the_score() {
    let (assessment, names) = definition("redistribute");
    let mut values = with(&names, &[A, B, W]);
    assessment.assess(&mut values, None, 0);
    let read = |name: &str| {
        let (slot, _) = names.iter().find(|(_, known)| known.to_string() == name).unwrap();
        values.get(slot)
    };
    assert_eq!(read("health.score"), Known::Number(47.5));
    assert_eq!(read("health.band"), Known::Text("bad"));
    assert_eq!(read("health.coverage"), Known::Number(1.0));
    assert_eq!(read("health.change"), Known::Missing);
    assert_eq!(read("segments.low"), Known::Boolean(true));
    assert_eq!(names.find(&Name::Tier), None);
}

#[test]
fn the_report_speaks_both_languages() {
    let (assessment, names) = definition("redistribute");
    let mut values = with(&names, &[A, B, W]);
    let assessed = assessment.assess(&mut values, None, 0);
    let report = assessment.report(&assessed, &names, &values, Language::Spanish).health.unwrap();
    assert_eq!((report.score, report.band_name.as_deref()), (Some(47.5), Some("bad")));
    let items: Vec<_> = report.groups.iter().flat_map(|group| &group.items).collect();
    assert_eq!((items[0].seen.as_deref(), items[0].points), (Some("10"), Some(10.0)));
    assert_eq!(items[2].absent.as_deref(), Some("`features.extra` is missing"));
    assert_eq!(items[3].seen.as_deref(), Some("low"));
    let mut values = with(&names, &[A, ("b", Known::Number(10.0)), ("w", Known::Text("high"))]);
    let assessed = assessment.assess(&mut values, None, 0);
    let name = |language| assessment.report(&assessed, &names, &values, language).health.unwrap().band_name.unwrap();
    assert_eq!([name(Language::English), name(Language::Spanish)], ["Good", "Bien"]);
}

#[test]
fn a_word_that_gives_points_may_be_compared_by_other_rules() {
    let (assessment, names) = parse(
        r#"
        [health]
        name = "words"
        bands = [{ id = "all", name = { en = "All", es = "Todos" }, from = 0 }]
        [[health.group]]
        id = "contract"
        name = { en = "Contract", es = "Contrato" }
        weight = 100
        [[health.group.item]]
        id = "length"
        name = { en = "Length", es = "Plazo" }
        reads = "features.contract"
        words = { yearly = 10, monthly = 2 }
        [[signal]]
        id = "short"
        name = { en = "Short", es = "Corto" }
        when = "features.contract == 'monthly'"
        severity = "monitor"
        "#,
    );
    let mut values = with(&names, &[("contract", Known::Text("monthly"))]);
    let assessed = assessment.assess(&mut values, None, 0);
    assert_eq!((assessed.health.unwrap().score, assessed.signal_count), (Some(20.0), 1));
}
