//! What tiers, points, sequences, targets and capacities say, number by number.

use toml::{Table, Value};

use super::Given::{Number, Yes};
use super::{Given, all, entries, load, string, text, values};
use crate::assess::{OfferKind, Severity};
use crate::rule::Answer;

fn tier(preset: &str, given: &[(&str, Given)]) -> Option<String> {
    let loaded = load(&[preset]);
    let programme = loaded.assessment.tier_programme.as_ref().unwrap();
    let found = programme.standing(&values(&loaded.names, given));
    found.tier.map(|position| programme.tiers[position].id.clone())
}

#[test]
fn tiers_begin_with_their_day() {
    let rows = [(-1.0, None), (0.0, Some("bronze")), (1.0, Some("bronze")), (29.0, Some("bronze")), (30.0, Some("silver"))];
    let more = [(31.0, Some("silver")), (89.0, Some("silver")), (90.0, Some("gold")), (91.0, Some("gold"))];
    let most = [(179.0, Some("gold")), (180.0, Some("platinum")), (181.0, Some("platinum"))];
    for (days, expected) in rows.into_iter().chain(more).chain(most) {
        assert_eq!(tier("loyalty-l1", &[("tenure_days", Number(days))]).as_deref(), expected, "{days}");
    }
    let l2 = |days: f64, adoption: f64, engagement: f64| {
        let given = [
            ("tenure_days", Number(days)),
            ("feature_adoption_pct", Number(adoption)),
            ("engagement_percentile", Number(engagement)),
        ];
        tier("loyalty-l2", &given)
    };
    for (days, expected) in [(89.0, None), (90.0, Some("bronze")), (91.0, Some("bronze"))] {
        assert_eq!(l2(days, 90.0, 90.0).as_deref(), expected, "{days}");
    }
    for (days, expected) in
        [(179.0, "bronze"), (180.0, "silver"), (181.0, "silver"), (364.0, "silver"), (365.0, "gold"), (366.0, "gold")]
    {
        assert_eq!(l2(days, 90.0, 90.0).as_deref(), Some(expected), "{days}");
    }
    for (adoption, expected) in [(79.9, "bronze"), (80.0, "silver"), (80.1, "silver")] {
        assert_eq!(l2(200.0, adoption, 90.0).as_deref(), Some(expected), "{adoption}");
    }
    for (engagement, expected) in [(74.9, "silver"), (75.0, "gold"), (75.1, "gold")] {
        assert_eq!(l2(400.0, 90.0, engagement).as_deref(), Some(expected), "{engagement}");
    }
}

#[test]
fn points_and_rewards_are_those_of_the_strategies() {
    let check = |preset: &str, earn: &[(&str, f64)], rewards: &[f64]| {
        let points = load(&[preset]).assessment.points.unwrap();
        let found: Vec<(&str, f64)> = points.earn.iter().map(|earn| (earn.id.as_str(), earn.points)).collect();
        assert_eq!(found, earn, "{preset}");
        assert_eq!(points.rewards.iter().map(|reward| reward.points).collect::<Vec<_>>(), rewards, "{preset}");
    };
    let activity = [
        ("daily_login", 10.0),
        ("use_tool", 25.0),
        ("complete_task", 50.0),
        ("attend_webinar", 100.0),
        ("implement_tool", 200.0),
        ("positive_roi", 300.0),
        ("refer", 500.0),
        ("mentor", 750.0),
        ("event", 1000.0),
    ];
    check("points-p1", &activity, &[1000.0, 2500.0, 5000.0, 7500.0, 10000.0, 15000.0, 25000.0]);
    let loyalty = [("month_of_usage", 10.0), ("feature_adopted", 5.0), ("successful_referral", 100.0), ("review", 25.0)];
    check("points-p2", &loyalty, &[100.0, 300.0, 500.0]);
}

#[test]
fn a_reward_is_reached_at_its_price() {
    for preset in ["points-p1", "points-p2"] {
        let loaded = load(&[preset]);
        let points = loaded.assessment.points.as_ref().unwrap();
        let standing = |balance: f64| points.standing(&values(&loaded.names, &[("points_balance", Number(balance))]));
        for (position, reward) in points.rewards.iter().enumerate() {
            let [below, at, above] = [-1.0, 0.0, 1.0].map(|step| standing(reward.points + step));
            assert_eq!([below.reached, at.reached, above.reached], [position, position + 1, position + 1], "{}", reward.id);
            assert_eq!(below.to_next, Some(1.0));
        }
    }
}

#[test]
fn a_failed_charge_is_immediate_and_one_signal() {
    let loaded = load(&["early-warning"]);
    let assessment = &loaded.assessment;
    let look = |given: &[(&str, Given)]| {
        let mut values = values(&loaded.names, given);
        let assessed = assessment.assess(&mut values, None, 0);
        (assessed.signal_count, assessed.trigger.map(|position| assessment.triggers[position].severity))
    };
    assert_eq!(look(&[("payment_failed", Yes)]), (1, Some(Severity::Immediate)));
    assert_eq!(look(&[("payment_delay_any", Yes)]), (1, Some(Severity::Monitor)));
    assert_eq!(look(&[("payment_delay_any", Yes), ("tickets_30d", Number(4.0))]), (2, Some(Severity::Urgent)));
    assert_eq!(look(&[("logins_per_week", Number(2.0))]), (0, None));
}

#[test]
fn any_of_the_four_conditions_wins_back() {
    let loaded = load(&["re-engagement"]);
    let asks = |given: &[(&str, Given)]| {
        let assessed = loaded.assessment.assess(&mut values(&loaded.names, given), None, 0);
        (assessed.triggers[0] == Answer::Yes, assessed.signal_count)
    };
    for (name, number) in
        [("logins_per_week", 1.9), ("feature_adoption_pct", 29.9), ("days_inactive", 15.0), ("tickets_30d", 4.0)]
    {
        assert_eq!(asks(&[(name, Number(number))]), (true, 0), "{name}");
    }
    let fine = [("logins_per_week", 2.0), ("feature_adoption_pct", 30.0), ("days_inactive", 14.0), ("tickets_30d", 3.0)];
    assert_eq!(asks(&fine.map(|(name, number)| (name, Number(number)))), (false, 0));
}

/// Days of the steps and their channels' first letters.
fn steps(preset: &str) -> (Vec<i64>, String) {
    let table: Table = text(preset).unwrap().parse().unwrap();
    let sequence = entries(&table, "sequence").next().unwrap();
    let steps: Vec<&Table> = entries(sequence, "steps").collect();
    let channel = |step: &&Table| {
        let action = entries(&table, "action").find(|action| string(action, "id") == string(step, "action")).unwrap();
        string(action, "channel").chars().next().unwrap()
    };
    (steps.iter().map(|step| step["day"].as_integer().unwrap()).collect(), steps.iter().map(channel).collect())
}

#[test]
fn sequences_have_their_days_and_channels() {
    let rows: [(&str, &[i64], &str); 14] = [
        ("sequence-q1", &[1, 3, 7, 14, 21, 30], "eeeeee"),
        ("sequence-q2", &[31, 45, 60, 75, 90], "eeeee"),
        ("sequence-q3", &[91, 120, 150, 180], "eeee"),
        ("sequence-q4", &[0, 0, 1, 7], "eimi"),
        ("sequence-q4b", &[1, 3, 7, 14], "ieii"),
        ("sequence-q5", &[1, 3, 7, 14, 21], "eeepe"),
        ("sequence-q6", &[0, 3, 7, 10, 14], "eeeee"),
        ("sequence-q7", &[0, 7, 14, 21], "eeee"),
        ("sequence-q8", &[1, 3, 7, 14, 21], "eeeep"),
        ("sequence-q9", &[0, 0, 0], "iii"),
        ("sequence-q10", &[0, 1, 3, 7, 14, 30], "eeeepe"),
        ("sequence-q11", &[0, 1, 3, 7, 30], "eeeep"),
        ("sequence-q12", &[0, 1, 2, 3, 4, 5, 6, 8], "mmmmmmmt"),
        ("sequence-q13", &[0, 7, 14, 21], "mmmm"),
    ];
    for (preset, days, channels) in rows {
        assert_eq!(steps(preset), (days.to_vec(), channels.to_owned()), "{preset}");
    }
    let whole: Table = text("sequences").unwrap().parse().unwrap();
    assert_eq!(entries(&whole, "sequence").count(), rows.len());
}

#[test]
fn what_one_entry_names_another_one_is() {
    for preset in all() {
        let table: Table = preset.text.parse().unwrap();
        let is_action = |id: &str| entries(&table, "action").any(|action| string(action, "id") == id);
        for playbook in entries(&table, "band_playbook") {
            let actions = playbook["actions"].as_array().unwrap();
            assert!(actions.iter().filter_map(Value::as_str).all(is_action), "{playbook}");
            assert!(
                entries(&table, "template").any(|template| string(template, "id") == string(playbook, "template")),
                "{playbook}"
            );
        }
        assert!(entries(&table, "offer").all(|offer| is_action(string(offer, "id"))), "{}", preset.name);
    }
}

#[test]
fn offers_are_those_of_the_strategies() {
    let assessment = load(&["expansion"]).assessment;
    let kinds = |kind: OfferKind| assessment.offers.iter().filter(|offer| offer.kind == kind).count();
    assert_eq!([OfferKind::Upsell, OfferKind::CrossSell, OfferKind::Expansion].map(kinds), [6, 6, 6]);
    assert!(assessment.signals.iter().all(|signal| !signal.counts));
    let terms = |id: &str| {
        assessment.offers.iter().find(|offer| offer.id == id).and_then(|offer| offer.terms.as_ref()).unwrap().en.clone()
    };
    let rows =
        [("u4_course_to_saas", "50% off: $297 becomes $149"), ("u5_plan_upgrade", "20% off"), ("x4_saas_to_course", "30% off")];
    for (id, expected) in rows {
        assert_eq!(terms(id), expected);
    }
}

#[test]
fn capacities_are_those_of_the_strategy() {
    let assessment = load(&["capacity"]).assessment;
    let found: Vec<(&str, f64, f64)> =
        assessment.capacities.iter().map(|capacity| (capacity.id.as_str(), capacity.max, capacity.days)).collect();
    assert_eq!(found, [("email", 15000.0, 30.0), ("in_app", 8500.0, 30.0), ("phone", 450.0, 30.0), ("training", 25.0, 30.0)]);
    let cost = assessment.mean_cost.unwrap();
    assert_eq!((cost.amount, cost.currency.as_str()), (24.0, "USD"));
}

#[test]
fn causes_carry_their_claimed_shares() {
    let causes = load(&["churn-causes"]).assessment.causes;
    let claimed =
        |id: &str| causes.iter().find(|cause| cause.id == id).and_then(|cause| cause.claimed.as_ref()).unwrap().en.clone();
    let rows = [
        ("poor_onboarding", "35%"),
        ("support_gaps", "25%"),
        ("pricing_mismatch", "20%"),
        ("feature_gaps", "15%"),
        ("competition", "5%"),
        ("awareness", "40%"),
        ("complexity", "30%"),
        ("documentation", "20%"),
        ("no_use_case", "10%"),
    ];
    for (id, share) in rows {
        assert!(claimed(id).starts_with(share), "{id}: {}", claimed(id));
    }
    assert_eq!(causes.len(), rows.len());
}

#[test]
fn targets_are_those_of_the_strategies() {
    let kpis = load(&["kpi-targets"]).assessment.kpis;
    let find = |id: &str| kpis.iter().find(|kpi| kpi.id == id).unwrap_or_else(|| panic!("{id}"));
    let rows = [
        ("loyalty_monthly_churn", Some(5.0), Some(1.0)),
        ("loyalty_ltv", Some(2000.0), Some(8000.0)),
        ("loyalty_nps", Some(50.0), Some(80.0)),
        ("loyalty_referred_share", Some(5.0), Some(25.0)),
        ("saas_monthly_churn", Some(5.2), Some(3.5)),
        ("saas_quarterly_churn", Some(14.8), Some(10.0)),
        ("saas_annual_churn", Some(45.6), Some(30.0)),
        ("saas_cohort_retention_month_1", Some(75.0), Some(85.0)),
        ("saas_cohort_retention_month_3", Some(60.0), Some(75.0)),
        ("saas_cohort_retention_month_6", Some(45.0), Some(65.0)),
        ("saas_ltv", Some(2500.0), Some(4000.0)),
        ("saas_cac", Some(500.0), Some(350.0)),
        ("saas_nrr", Some(105.0), Some(120.0)),
        ("saas_mrr", Some(500_000.0), Some(650_000.0)),
        ("saas_csat", Some(7.2), Some(8.5)),
        ("saas_time_to_value", Some(45.0), Some(21.0)),
        ("saas_feature_adoption", Some(42.0), Some(65.0)),
        ("automation_monthly_churn", Some(12.0), Some(2.1)),
        ("automation_roi", Some(280.0), Some(850.0)),
        ("course_saas_monthly_churn", None, Some(5.0)),
        ("course_saas_annual_churn", None, Some(20.0)),
        ("course_saas_cohort_retention_day_90", None, Some(80.0)),
        ("course_saas_nrr", None, Some(120.0)),
        ("email_platform_annual_churn", None, Some(5.0)),
        ("email_platform_customers_per_csm", None, Some(50.0)),
        ("email_platform_expansion_arr", None, Some(500_000.0)),
    ];
    for (id, now, target) in rows {
        assert_eq!((find(id).now, find(id).target), (now, target), "{id}");
    }
    // Every one goes in the direction that it calls better.
    for kpi in kpis.iter().filter(|kpi| kpi.now.is_some() && kpi.target.is_some()) {
        assert_eq!(kpi.target < kpi.now, kpi.lower_is_better, "{}", kpi.id);
    }
}
