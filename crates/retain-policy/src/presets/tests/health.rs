//! The two health scores, item by item and band by band.

use super::Given::{No, Number, Word, Yes};
use super::{Given, load, values};
use crate::assess::{Health, Scale};

/// A value one step below, at and above each limit, with the points it gives.
type Row = (&'static str, &'static str, &'static [(Given, f64)]);

/// As [`Row`], made by a function.
type OwnedRow = (&'static str, &'static str, Vec<(Given, f64)>);

const N: fn(f64) -> Given = Number;

/// Items of score B with the feature each reads.
fn rows_b() -> Vec<OwnedRow> {
    let numbers = |rows: &[(f64, f64)]| rows.iter().map(|&(number, points)| (N(number), points)).collect::<Vec<_>>();
    let words = |rows: &[(&'static str, f64)]| rows.iter().map(|&(word, points)| (Word(word), points)).collect::<Vec<_>>();
    let at_least = |limits: [(f64, f64); 3], step: f64| {
        let mut lower = [limits[1].1, limits[2].1, 0.0].into_iter();
        let each = |(limit, points): (f64, f64)| {
            let below = lower.next().unwrap();
            [(limit - step, below), (limit, points), (limit + step, points)]
        };
        numbers(&limits.into_iter().flat_map(each).collect::<Vec<_>>())
    };
    vec![
        ("login_frequency", "login_cadence", words(&[("daily", 10.0), ("weekly", 7.0), ("monthly", 3.0), ("never", 0.0)])),
        ("feature_usage", "feature_adoption_pct", at_least([(80.0, 10.0), (60.0, 7.0), (40.0, 4.0)], 0.1)),
        ("campaign_activity", "campaigns_per_month", at_least([(5.0, 10.0), (3.0, 7.0), (1.0, 4.0)], 1.0)),
        ("roi_achievement", "roi_pct", at_least([(300.0, 15.0), (200.0, 10.0), (100.0, 5.0)], 0.1)),
        ("open_rate", "open_rate", numbers(&[(29.9, 0.0), (30.0, 0.0), (30.1, 5.0)])),
        ("click_rate", "click_rate", numbers(&[(5.9, 0.0), (6.0, 0.0), (6.1, 5.0)])),
        ("conversion_rate", "conversion_rate", numbers(&[(9.9, 0.0), (10.0, 0.0), (10.1, 5.0)])),
        (
            "business_impact",
            "revenue_increase_pct",
            numbers(&[
                (19.9, 7.0),
                (20.0, 7.0),
                (20.1, 10.0),
                (9.9, 4.0),
                (10.0, 7.0),
                (10.1, 7.0),
                (4.9, 0.0),
                (5.0, 4.0),
                (5.1, 4.0),
            ]),
        ),
        ("support_satisfaction", "support_satisfaction", at_least([(9.0, 10.0), (7.0, 7.0), (5.0, 4.0)], 0.1)),
        (
            "communication_frequency",
            "csm_contact_cadence",
            words(&[("weekly", 10.0), ("monthly", 7.0), ("quarterly", 4.0), ("never", 0.0)]),
        ),
        (
            "expansion_interest",
            "expansion_interest",
            words(&[("active", 10.0), ("interested", 7.0), ("neutral", 4.0), ("not", 0.0)]),
        ),
    ]
}

/// Anchors of score A and values between them.
const ROWS_A: [Row; 6] = [
    (
        "logins",
        "logins_per_week",
        &[
            (Number(0.0), 0.0),
            (Number(1.0), 25.0),
            (Number(1.9), 47.5),
            (Number(2.0), 50.0),
            (Number(3.5), 75.0),
            (Number(5.0), 100.0),
            (Number(5.1), 100.0),
        ],
    ),
    (
        "session_minutes",
        "session_minutes_mean",
        &[
            (Number(0.0), 0.0),
            (Number(4.0), 40.0),
            (Number(5.0), 50.0),
            (Number(6.0), 55.0),
            (Number(15.0), 100.0),
            (Number(16.0), 100.0),
        ],
    ),
    (
        "adoption",
        "feature_adoption_pct",
        &[
            (Number(0.0), 0.0),
            (Number(15.0), 25.0),
            (Number(30.0), 50.0),
            (Number(52.5), 75.0),
            (Number(75.0), 100.0),
            (Number(76.0), 100.0),
        ],
    ),
    (
        "tickets",
        "tickets_30d",
        &[
            (Number(0.0), 100.0),
            (Number(1.0), 100.0),
            (Number(2.0), 75.0),
            (Number(3.0), 50.0),
            (Number(4.5), 25.0),
            (Number(6.0), 0.0),
            (Number(7.0), 0.0),
        ],
    ),
    ("satisfaction", "csat", &[(Number(0.0), 0.0), (Number(7.2), 72.0), (Number(10.0), 100.0)]),
    (
        "days_inactive",
        "days_inactive",
        &[
            (Number(0.0), 100.0),
            (Number(1.0), 100.0),
            (Number(14.0), 50.0),
            (Number(22.0), 25.0),
            (Number(30.0), 0.0),
            (Number(31.0), 0.0),
        ],
    ),
];

#[track_caller]
fn check_points(preset: &str, item: &str, given: &[(&str, Given)], expected: f64) {
    let loaded = load(&[preset]);
    let health = loaded.assessment.health.as_ref().unwrap();
    let position = health.items().position(|known| known.id == item).unwrap();
    let found = health.score(&values(&loaded.names, given), None);
    let points = found.items[position].points.unwrap_or_else(|| panic!("{item} {given:?}: {:?}", found.items[position]));
    assert!((points - expected).abs() < 1e-9, "{item} {given:?}: {points}");
}

#[test]
fn score_b_gives_the_points_of_its_table() {
    for (item, feature, rows) in rows_b() {
        for (given, points) in rows {
            check_points("email-platform-health-b", item, &[(feature, given)], points);
        }
    }
}

#[test]
fn score_a_meets_its_anchors() {
    for (item, feature, rows) in ROWS_A {
        for &(given, points) in rows {
            check_points("saas-health-a", item, &[(feature, given)], points);
        }
    }
    let paid = |failed: Given, late: Given, days: Option<f64>, expected: f64| {
        let mut given = vec![("payment_failed", failed), ("payment_delay_any", late)];
        given.extend(days.map(|days| ("days_since_payment_delay", Number(days))));
        check_points("saas-health-a", "payments", &given, expected);
    };
    paid(Yes, Yes, Some(1.0), 0.0);
    paid(Yes, No, None, 0.0);
    paid(No, Yes, None, 50.0);
    paid(No, No, None, 100.0);
    for (days, points) in [(0.0, 50.0), (89.0, 50.0), (90.0, 50.0), (135.0, 75.0), (180.0, 100.0), (181.0, 100.0)] {
        paid(No, Yes, Some(days), points);
    }
}

#[test]
fn weights_and_maxima_are_those_of_the_strategies() {
    let weights = |health: &Health| health.groups.iter().map(|group| (group.id.clone(), group.weight)).collect::<Vec<_>>();
    let a = load(&["saas-health-a"]).assessment.health.unwrap();
    let expected = [
        ("usage_intensity", 30.0),
        ("feature_adoption", 25.0),
        ("support_interactions", 20.0),
        ("payment_history", 15.0),
        ("engagement_level", 10.0),
    ];
    assert_eq!(weights(&a), expected.map(|(id, weight)| (id.to_owned(), weight)));
    let b = load(&["email-platform-health-b"]).assessment.health.unwrap();
    assert_eq!(
        weights(&b),
        [("engagement", 30.0), ("results", 40.0), ("relationship", 30.0)].map(|(id, weight)| (id.to_owned(), weight))
    );
    for group in &b.groups {
        assert_eq!(group.items.iter().map(|item| item.max).sum::<f64>(), group.weight);
        assert!(group.items.iter().all(|item| item.scale.highest() == item.max));
    }
    assert_eq!(rows_b().len(), b.items().count());
    let n_limits: usize = b.items().map(|item| if let Scale::Steps(steps) = &item.scale { steps.len() } else { 0 }).sum();
    assert_eq!(n_limits, 5 * 3 + 3);
}

#[test]
fn bands_begin_at_their_limits() {
    let bands = |preset: &str, rows: &[(f64, &str)]| {
        let health = load(&[preset]).assessment.health.unwrap();
        for (score, band) in rows {
            assert_eq!(health.bands[health.band_of(*score)].id, *band, "{preset} {score}");
        }
    };
    let a: &[(f64, &str)] = &[
        (100.0, "healthy"),
        (80.1, "healthy"),
        (80.0, "healthy"),
        (79.9, "at_risk"),
        (60.1, "at_risk"),
        (60.0, "at_risk"),
        (59.9, "critical"),
        (40.1, "critical"),
        (40.0, "critical"),
        (39.9, "severe"),
        (0.0, "severe"),
    ];
    bands("saas-health-a", a);
    let b: &[(f64, &str)] =
        &[(100.0, "healthy"), (80.0, "healthy"), (79.9, "at_risk"), (60.0, "at_risk"), (59.9, "critical"), (0.0, "critical")];
    bands("email-platform-health-b", b);
}

#[test]
fn score_b_reaches_0_and_100_and_meets_its_bands_exactly() {
    let best = [
        ("login_cadence", Word("daily")),
        ("feature_adoption_pct", Number(80.0)),
        ("campaigns_per_month", Number(5.0)),
        ("roi_pct", Number(300.0)),
        ("open_rate", Number(30.1)),
        ("click_rate", Number(6.1)),
        ("conversion_rate", Number(10.1)),
        ("revenue_increase_pct", Number(20.1)),
        ("support_satisfaction", Number(9.0)),
        ("csm_contact_cadence", Word("weekly")),
        ("expansion_interest", Word("active")),
    ];
    let worst = [
        ("login_cadence", Word("never")),
        ("feature_adoption_pct", Number(39.9)),
        ("campaigns_per_month", Number(0.0)),
        ("roi_pct", Number(99.9)),
        ("open_rate", Number(30.0)),
        ("click_rate", Number(6.0)),
        ("conversion_rate", Number(10.0)),
        ("revenue_increase_pct", Number(4.9)),
        ("support_satisfaction", Number(4.9)),
        ("csm_contact_cadence", Word("never")),
        ("expansion_interest", Word("not")),
    ];
    let loaded = load(&["email-platform-health-b"]);
    let health = loaded.assessment.health.as_ref().unwrap();
    let score = |given: &[(&str, Given)]| health.score(&values(&loaded.names, given), None);
    let band = |given: &[(&str, Given)]| health.bands[score(given).band.unwrap()].id.as_str();
    assert_eq!((score(&best).score, score(&worst).score, score(&best).coverage), (Some(100.0), Some(0.0), 1.0));
    let with = |changes: &[(&'static str, Given)]| {
        let mut given = best.to_vec();
        for (name, value) in changes {
            given.iter_mut().find(|(known, _)| known == name).unwrap().1 = *value;
        }
        given
    };
    // 100 less 15 less 5 is 80; one step further, 77.
    let at = with(&[("roi_pct", Number(99.9)), ("open_rate", Number(30.0))]);
    let below = with(&[("roi_pct", Number(99.9)), ("open_rate", Number(30.0)), ("login_cadence", Word("weekly"))]);
    assert_eq!((score(&at).score, band(&at)), (Some(80.0), "healthy"));
    assert_eq!((score(&below).score, band(&below)), (Some(77.0), "at_risk"));
}

#[test]
fn score_a_averages_what_it_knows_of_a_component() {
    let loaded = load(&["saas-health-a"]);
    let health = loaded.assessment.health.as_ref().unwrap();
    let given = [
        ("logins_per_week", Number(2.0)),
        ("feature_adoption_pct", Number(75.0)),
        ("tickets_30d", Number(1.0)),
        ("payment_failed", No),
        ("payment_delay_any", No),
        ("days_inactive", Number(1.0)),
    ];
    let score = |more: &[(&'static str, Given)]| health.score(&values(&loaded.names, &[&given[..], more].concat()), None);
    // Half of 30 for usage, everything else in full.
    assert_eq!((score(&[]).score, score(&[]).coverage), (Some(85.0), 1.0));
    // With 15 minutes a session usage is three quarters; with a satisfaction of 5 support is.
    assert_eq!(score(&[("session_minutes_mean", Number(15.0))]).score, Some(92.5));
    assert_eq!(score(&[("csat", Number(5.0))]).score, Some(80.0));
}
