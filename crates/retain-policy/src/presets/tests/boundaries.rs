//! The limits that the strategies state, as numbers: what [`super::thresholds`] holds presets against.

use super::Given::{self, No, Number, Word, Yes};
use super::thresholds::Case;

/// At the limit and above.
const FROM: &str = "nyy";
/// Above the limit only.
const ABOVE: &str = "nny";
/// Below the limit only.
const BELOW: &str = "ynn";
/// Up to the limit.
const UP_TO: &str = "yyn";
/// At the limit only.
const AT: &str = "nyn";

/// A customer whom nothing is wrong with.
const FINE: &[(&str, Given)] = &[
    ("logins_per_week", Number(6.0)),
    ("feature_adoption_pct", Number(90.0)),
    ("days_inactive", Number(1.0)),
    ("tickets_30d", Number(0.0)),
];
const POWER: &[(&str, Given)] = &[("logins_per_week", Number(9.0)), ("feature_adoption_pct", Number(90.0))];
const CASUAL: &[(&str, Given)] =
    &[("tenure_days", Number(90.0)), ("logins_per_week", Number(3.0)), ("feature_adoption_pct", Number(50.0))];
const PLEASED: &[(&str, Given)] = &[("csat", Number(10.0)), ("nps_score", Number(10.0))];
const GROWING: &[(&str, Given)] = &[("engagement_trend_pct", Number(5.0)), ("ltv_percentile_change", Number(5.0))];
const COURSE_DONE: &[(&str, Given)] = &[("course_completed", Yes)];
const SAAS_SUCCESS: &[(&str, Given)] = &[("weeks_high_engagement", Number(9.0)), ("saas_days", Number(900.0))];
const NO_SIGN: &[(&str, Given)] = &[
    ("weeks_high_engagement", Number(0.0)),
    ("months_positive_roi", Number(0.0)),
    ("team_growing", No),
    ("new_initiatives", No),
    ("budget_approved", No),
];

macro_rules! referrer {
    ($name:ident, $product:literal) => {
        const $name: &[(&str, Given)] = &[
            ("product", Word($product)),
            ("rating_5", Number(5.0)),
            ("logins_per_week", Number(9.0)),
            ("documented_success", Yes),
            ("community_posts", Number(9.0)),
        ];
    };
}
referrer!(OF_COURSE, "course");
referrer!(OF_SAAS, "saas");
referrer!(OF_BUNDLE, "bundle");
referrer!(OF_ENTERPRISE, "enterprise");
const OF_ANY: &[(&str, Given)] =
    &[("rating_5", Number(5.0)), ("logins_per_week", Number(9.0)), ("documented_success", Yes), ("community_posts", Number(9.0))];

type Row = (&'static str, &'static str, [f64; 3], &'static str, &'static [(&'static str, Given)]);

fn of(preset: &'static str, rows: &[Row]) -> Vec<Case> {
    let case = |&(condition, name, at, answers, others): &Row| Case { preset, condition, name, at, answers, others };
    rows.iter().map(case).collect()
}

/// Every limit of every preset.
pub(super) fn cases() -> Vec<Case> {
    [signals(), segments(), standing(), alerts(), expansion(), referrals(), sequences()].into_iter().flatten().collect()
}

fn signals() -> Vec<Case> {
    let early: &[Row] = &[
        ("signal.low_logins.when", "logins_per_week", [1.9, 2.0, 2.1], BELOW, &[]),
        ("signal.short_sessions.when", "session_minutes_mean", [4.9, 5.0, 5.1], BELOW, &[]),
        ("signal.low_adoption.when", "feature_adoption_pct", [29.9, 30.0, 30.1], BELOW, &[]),
        ("signal.many_tickets.when", "tickets_30d", [2.0, 3.0, 4.0], ABOVE, &[]),
        ("trigger.urgent.when", "signal_count", [1.0, 2.0, 3.0], FROM, &[]),
        ("trigger.monitor.when", "signal_count", [0.0, 1.0, 2.0], AT, &[]),
    ];
    let again: &[Row] = &[
        ("signal.reengage_logins.when", "logins_per_week", [1.9, 2.0, 2.1], BELOW, &[]),
        ("signal.reengage_adoption.when", "feature_adoption_pct", [29.9, 30.0, 30.1], BELOW, &[]),
        ("signal.reengage_inactive.when", "days_inactive", [13.0, 14.0, 15.0], ABOVE, &[]),
        ("signal.reengage_tickets.when", "tickets_30d", [2.0, 3.0, 4.0], ABOVE, &[]),
    ];
    let problems: &[Row] = &[
        ("signal.usage_falling.when", "usage_trend_pct", [-31.0, -30.0, -29.0], UP_TO, &[]),
        ("signal.frequent_errors.when", "errors_7d", [4.0, 5.0, 6.0], FROM, &[]),
        ("signal.repeated_support.when", "repeat_tickets_30d", [1.0, 2.0, 3.0], FROM, &[]),
        ("signal.negative_feedback.when", "csat", [4.0, 5.0, 6.0], UP_TO, PLEASED),
        ("signal.negative_feedback.when", "nps_score", [5.0, 6.0, 7.0], UP_TO, PLEASED),
    ];
    [of("early-warning", early), of("re-engagement", again), of("problem-indicators", problems)].into_iter().flatten().collect()
}

fn segments() -> Vec<Case> {
    let segments: &[Row] = &[
        ("segment.power_users.when", "logins_per_week", [4.9, 5.0, 5.1], FROM, POWER),
        ("segment.power_users.when", "feature_adoption_pct", [74.9, 75.0, 75.1], FROM, POWER),
        ("segment.casual_users.when", "tenure_days", [29.0, 30.0, 31.0], FROM, CASUAL),
        ("segment.casual_users.when", "logins_per_week", [4.9, 5.0, 5.1], BELOW, CASUAL),
        ("segment.casual_users.when", "feature_adoption_pct", [74.9, 75.0, 75.1], BELOW, CASUAL),
        ("segment.new_users.when", "tenure_days", [29.0, 30.0, 31.0], BELOW, &[]),
        ("segment.at_risk_users.when", "logins_per_week", [1.9, 2.0, 2.1], BELOW, FINE),
        ("segment.at_risk_users.when", "feature_adoption_pct", [29.9, 30.0, 30.1], BELOW, FINE),
        ("segment.at_risk_users.when", "days_inactive", [13.0, 14.0, 15.0], ABOVE, FINE),
        ("segment.at_risk_users.when", "tickets_30d", [2.0, 3.0, 4.0], ABOVE, FINE),
        (
            "segment.high_value.when",
            "predicted_ltv_percentile",
            [79.9, 80.0, 80.1],
            FROM,
            &[("predictions.churn.band", Word("low"))],
        ),
        ("segment.growth.when", "engagement_trend_pct", [-0.1, 0.0, 0.1], ABOVE, GROWING),
        ("segment.growth.when", "ltv_percentile_change", [-0.1, 0.0, 0.1], ABOVE, GROWING),
        ("segment.at_risk.when", "health.score", [59.9, 60.0, 60.1], BELOW, &[("predictions.churn.band", Word("medium"))]),
        ("segment.dormant.when", "days_inactive", [13.0, 14.0, 15.0], ABOVE, &[("cancelled", No)]),
    ];
    let value: &[Row] = &[
        ("segment.ttv_under_7.when", "ttv_days", [-1.0, 0.0, 1.0], FROM, &[]),
        ("segment.ttv_under_7.when", "ttv_days", [6.0, 7.0, 8.0], BELOW, &[]),
        ("segment.ttv_7_to_21.when", "ttv_days", [6.0, 7.0, 8.0], FROM, &[]),
        ("segment.ttv_7_to_21.when", "ttv_days", [20.0, 21.0, 22.0], BELOW, &[]),
        ("segment.ttv_21_to_45.when", "ttv_days", [20.0, 21.0, 22.0], FROM, &[]),
        ("segment.ttv_21_to_45.when", "ttv_days", [44.0, 45.0, 46.0], BELOW, &[]),
        ("segment.ttv_from_45.when", "ttv_days", [44.0, 45.0, 46.0], FROM, &[]),
    ];
    [of("segments", segments), of("time-to-value", value)].into_iter().flatten().collect()
}

fn standing() -> Vec<Case> {
    let badges: &[Row] = &[
        ("badge.implementer.when", "tools_implemented", [0.0, 1.0, 2.0], FROM, &[]),
        ("badge.optimizer.when", "roi_pct", [-1.0, 0.0, 1.0], ABOVE, &[]),
        ("badge.scaler.when", "results_multiple", [2.9, 3.0, 3.1], FROM, &[]),
        ("badge.leader.when", "referrals_made", [4.0, 5.0, 6.0], FROM, &[]),
        ("badge.master.when", "referrals_made", [9.0, 10.0, 11.0], FROM, &[]),
    ];
    let milestones: &[Row] = &[
        ("milestone.first_login.when", "total_logins", [0.0, 1.0, 2.0], FROM, &[]),
        ("milestone.first_week.when", "tenure_days", [6.0, 7.0, 8.0], FROM, &[]),
        ("milestone.first_month.when", "tenure_days", [29.0, 30.0, 31.0], FROM, &[]),
        ("milestone.first_success.when", "successes", [0.0, 1.0, 2.0], FROM, &[]),
        ("milestone.first_year.when", "tenure_days", [364.0, 365.0, 366.0], FROM, &[]),
    ];
    [of("badges", badges), of("milestones", milestones)].into_iter().flatten().collect()
}

fn alerts() -> Vec<Case> {
    let rows: &[Row] = &[
        ("alert.health_below_80.enter", "health.score", [79.9, 80.0, 80.1], BELOW, &[]),
        ("alert.health_below_80.leave", "health.score", [84.9, 85.0, 85.1], ABOVE, &[]),
        ("alert.health_below_60.enter", "health.score", [59.9, 60.0, 60.1], BELOW, &[]),
        ("alert.health_below_60.leave", "health.score", [64.9, 65.0, 65.1], ABOVE, &[]),
        ("alert.health_below_40.enter", "health.score", [39.9, 40.0, 40.1], BELOW, &[]),
        ("alert.health_below_40.leave", "health.score", [44.9, 45.0, 45.1], ABOVE, &[]),
        ("alert.warning_signals.enter", "signal_count", [1.0, 2.0, 3.0], FROM, &[]),
        ("alert.warning_signals.leave", "signal_count", [-1.0, 0.0, 1.0], AT, &[]),
        ("alert.warning_signal.enter", "signal_count", [0.0, 1.0, 2.0], AT, &[]),
        ("alert.warning_signal.leave", "signal_count", [-1.0, 0.0, 1.0], AT, &[]),
        ("alert.low_activity.enter", "logins_per_week", [1.9, 2.0, 2.1], BELOW, &[]),
        ("alert.low_activity.leave", "logins_per_week", [2.4, 2.5, 2.6], FROM, &[]),
        ("alert.negative_roi.enter", "roi_pct", [-0.1, 0.0, 0.1], BELOW, &[]),
        ("alert.positive_roi.enter", "roi_pct", [-0.1, 0.0, 0.1], ABOVE, &[]),
        ("alert.new_tool.enter", "tools_implemented_7d", [0.0, 1.0, 2.0], FROM, &[]),
        ("alert.referral_made.enter", "referrals_7d", [0.0, 1.0, 2.0], FROM, &[]),
        ("alert.achievement_unlocked.enter", "achievements_7d", [0.0, 1.0, 2.0], FROM, &[]),
    ];
    of("alerts", rows)
}

fn expansion() -> Vec<Case> {
    let rows: &[Row] = &[
        ("action.u1_advanced_tools.eligible", "roi_pct", [-0.1, 0.0, 0.1], ABOVE, &[]),
        ("action.u2_full_automation.eligible", "weeks_high_engagement", [3.0, 4.0, 5.0], FROM, &[]),
        ("action.u3_full_integration.eligible", "tools_used_now", [1.0, 2.0, 3.0], FROM, &[]),
        ("action.u4_course_to_saas.eligible", "days_since_course_completed", [29.0, 30.0, 31.0], FROM, COURSE_DONE),
        ("action.u5_plan_upgrade.eligible", "plan_limit_usage_pct", [79.9, 80.0, 80.1], FROM, &[]),
        ("action.u6_services.eligible", "days_successful_use", [59.0, 60.0, 61.0], FROM, &[]),
        ("action.x4_saas_to_course.eligible", "weeks_high_engagement", [3.0, 4.0, 5.0], FROM, SAAS_SUCCESS),
        ("action.x4_saas_to_course.eligible", "saas_days", [89.0, 90.0, 91.0], FROM, SAAS_SUCCESS),
        ("action.x5_course_to_consulting.eligible", "days_since_course_completed", [59.0, 60.0, 61.0], FROM, COURSE_DONE),
        ("signal.e1_high_usage.when", "weeks_high_engagement", [3.0, 4.0, 5.0], FROM, &[]),
        ("signal.e2_positive_roi.when", "months_positive_roi", [2.0, 3.0, 4.0], FROM, &[]),
    ];
    of("expansion", rows)
}

fn referrals() -> Vec<Case> {
    let by_count: &[Row] = &[
        ("referral.f2_five.eligible", "referrals_converted", [4.0, 5.0, 6.0], FROM, &[]),
        ("referral.f2_twenty.eligible", "referrals_converted", [19.0, 20.0, 21.0], FROM, &[]),
    ];
    let mut cases = of("referral-f2", by_count);
    for (condition, others) in [
        ("referral.f3_course.eligible", OF_COURSE),
        ("referral.f3_saas.eligible", OF_SAAS),
        ("referral.f3_bundle.eligible", OF_BUNDLE),
        ("referral.f3_enterprise.eligible", OF_ENTERPRISE),
        ("action.f3_ask_for_referral.eligible", OF_ANY),
    ] {
        let rows: &[Row] = &[
            (condition, "rating_5", [4.7, 4.8, 4.9], FROM, others),
            (condition, "logins_per_week", [1.9, 2.0, 2.1], FROM, others),
            (condition, "community_posts", [0.0, 1.0, 2.0], FROM, others),
        ];
        cases.extend(of("referral-f3", rows));
    }
    cases
}

fn sequences() -> Vec<Case> {
    let one = |preset, row: Row| of(preset, &[row]);
    let start = "sequence.q5_reengagement.start";
    let stop = "sequence.q5_reengagement.stop";
    let again: &[Row] = &[
        (start, "logins_per_week", [1.9, 2.0, 2.1], BELOW, FINE),
        (start, "feature_adoption_pct", [29.9, 30.0, 30.1], BELOW, FINE),
        (start, "days_inactive", [13.0, 14.0, 15.0], ABOVE, FINE),
        (start, "tickets_30d", [2.0, 3.0, 4.0], ABOVE, FINE),
        (stop, "logins_per_week", [1.9, 2.0, 2.1], FROM, FINE),
        (stop, "feature_adoption_pct", [29.9, 30.0, 30.1], FROM, FINE),
        (stop, "days_inactive", [13.0, 14.0, 15.0], UP_TO, FINE),
        (stop, "tickets_30d", [2.0, 3.0, 4.0], UP_TO, FINE),
    ];
    let grows = "sequence.q13_expansion.start";
    [
        one("sequence-q1", ("sequence.q1_onboarding.start", "tenure_days", [29.0, 30.0, 31.0], UP_TO, &[])),
        one("sequence-q2", ("sequence.q2_optimisation.start", "tenure_days", [29.0, 30.0, 31.0], FROM, &[])),
        one("sequence-q2", ("sequence.q2_optimisation.start", "tenure_days", [89.0, 90.0, 91.0], UP_TO, &[])),
        one("sequence-q3", ("sequence.q3_loyalty.start", "tenure_days", [89.0, 90.0, 91.0], FROM, &[])),
        one("sequence-q3", ("sequence.q3_loyalty.start", "tenure_days", [179.0, 180.0, 181.0], UP_TO, &[])),
        one("sequence-q4", ("sequence.q4_quick_win_onboarding.start", "tenure_days", [6.0, 7.0, 8.0], UP_TO, &[])),
        one("sequence-q4b", ("sequence.q4b_time_to_value.start", "tenure_days", [13.0, 14.0, 15.0], UP_TO, &[])),
        of("sequence-q5", again),
        one("sequence-q6", ("sequence.q6_welcome_series.start", "tenure_days", [13.0, 14.0, 15.0], UP_TO, &[])),
        one("sequence-q8", ("sequence.q8_reengagement_mail.start", "days_inactive", [13.0, 14.0, 15.0], FROM, &[])),
        one("sequence-q8", ("sequence.q8_reengagement_mail.stop", "days_inactive", [13.0, 14.0, 15.0], BELOW, &[])),
        one(
            "sequence-q10",
            ("sequence.q10_course_onboarding.start", "days_since_course_purchase", [29.0, 30.0, 31.0], UP_TO, &[]),
        ),
        one("sequence-q11", ("sequence.q11_saas_onboarding.start", "days_since_saas_purchase", [29.0, 30.0, 31.0], UP_TO, &[])),
        one("sequence-q12", ("sequence.q12_platform_onboarding.start", "days_since_contract", [13.0, 14.0, 15.0], UP_TO, &[])),
        one("sequence-q13", (grows, "weeks_high_engagement", [3.0, 4.0, 5.0], FROM, NO_SIGN)),
        one("sequence-q13", (grows, "months_positive_roi", [2.0, 3.0, 4.0], FROM, NO_SIGN)),
    ]
    .into_iter()
    .flatten()
    .collect()
}
