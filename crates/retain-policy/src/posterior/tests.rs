use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;

/// Rows of customers whose chances were 0.5, 0.3 and 0.2, where they prefer the first action to be tried on good customers.
///
/// Doing nothing keeps half of the customers; the actions add `effects`. Good customers, a half, stay 0.3 more often.
fn rows(seed: u64, n_customers: u64, effects: [f64; 2], mut add: impl FnMut(MaturedRow<'_>)) {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    for customer in 0..n_customers {
        let good = generator.random::<f64>() < 0.5;
        let probabilities = if good { [0.2, 0.6, 0.2] } else { [0.6, 0.2, 0.2] };
        for _ in 0..3 {
            let action = crate::explore::draw(&probabilities, generator.random());
            let chance = 0.35 + if good { 0.3 } else { 0.0 } + [0.0, effects[0], effects[1]][action];
            let reward = f64::from(u8::from(generator.random::<f64>() < chance));
            add(MaturedRow { customer, segment: (customer % 4) as u32, action, probabilities: &probabilities, reward });
        }
    }
}

fn effects_of(seed: u64, n_customers: u64, effects: [f64; 2]) -> Effects {
    let mut sums = Effects::new(3, 0.5).unwrap();
    rows(seed, n_customers, effects, |row| sums.add(&row).unwrap());
    sums
}

#[test]
fn effects_are_found_although_good_customers_were_preferred() {
    let (mut covered, mut mean) = (0, 0.0);
    for seed in 0..200 {
        let estimate = effects_of(seed, 300, [0.1, -0.05]).estimate(1).unwrap();
        covered += u32::from((estimate.mean - 0.1).abs() < 1.96 * estimate.variance.sqrt());
        mean += estimate.mean / 200.0;
    }
    // The plain difference of means would be about 0.25. Intervals should hold in 190 of 200, give or take four errors.
    assert!((mean - 0.1).abs() < 0.02, "{mean}");
    assert!((178..=199).contains(&covered), "{covered}");
}

#[test]
fn rows_of_a_customer_are_not_independent_evidence() {
    let sums = |n_customers: u64| {
        let mut sums = Effects::new(2, 0.5).unwrap();
        for row in 0..1200_u64 {
            let action = (row % 2) as usize;
            let customer = row % n_customers;
            let reward = f64::from(u8::from((customer / 2).is_multiple_of(3)));
            sums.add(&MaturedRow { customer, segment: 0, action, probabilities: &[0.5, 0.5], reward }).unwrap();
        }
        sums.estimate(1).unwrap().variance
    };
    assert!(sums(60) > 10.0 * sums(1200), "{} {}", sums(60), sums(1200));
}

#[test]
fn sums_can_be_merged_in_any_split() {
    let whole = effects_of(3, 200, [0.1, 0.0]);
    let mut parts = vec![Effects::new(3, 0.5).unwrap(); 3];
    let mut idx = 0;
    rows(3, 200, [0.1, 0.0], |row| {
        parts[idx % 3].add(&row).unwrap();
        idx += 1;
    });
    let mut merged = Effects::new(3, 0.5).unwrap();
    parts.iter().rev().for_each(|part| merged.merge(part).unwrap());
    for action in [1, 2] {
        let (merged, whole) = (merged.estimate(action).unwrap(), whole.estimate(action).unwrap());
        assert!((merged.mean - whole.mean).abs() < 1e-12 && (merged.variance - whole.variance).abs() < 1e-12);
        assert_eq!((merged.treated_rows, merged.control_rows), (whole.treated_rows, whole.control_rows));
    }
    assert!(merged.merge(&Effects::new(2, 0.5).unwrap()).is_err());
}

#[test]
fn who_could_not_have_got_the_action_says_nothing_of_it() {
    let mut sums = Effects::new(3, 1.0).unwrap();
    let mut add = |action, probabilities: &[f64], reward| {
        sums.add(&MaturedRow { customer: 1, segment: 0, action, probabilities, reward }).unwrap();
    };
    add(0, &[0.5, 0.5, 0.0], 1.0);
    add(1, &[0.5, 0.5, 0.0], 3.0);
    // Not randomised against doing nothing, or against this action.
    add(1, &[0.0, 1.0, 0.0], 50.0);
    add(0, &[1.0, 0.0, 0.0], -50.0);
    let estimate = sums.estimate(1).unwrap();
    assert_eq!((estimate.mean, estimate.treated_rows, estimate.control_rows), (2.0, 1, 1));
    assert_eq!(sums.estimate(2), None);
    assert_eq!(sums.estimate_in(7, 1), None);
}

#[test]
fn a_few_equal_rewards_are_no_certainty() {
    let mut sums = Effects::new(2, 0.5).unwrap();
    for customer in 0..8 {
        let action = (customer % 2) as usize;
        sums.add(&MaturedRow { customer, segment: 0, action, probabilities: &[0.5, 0.5], reward: 0.0 }).unwrap();
    }
    let estimate = sums.estimate(1).unwrap();
    // Four rows in each arm: ten parts of 0.5² × (1/4 + 1/4) to four parts of 0.
    assert!((estimate.variance - 0.125 * 10.0 / 14.0).abs() < 1e-12, "{}", estimate.variance);
    assert!((estimate.effective_rows - 4.0).abs() < 1e-12);
}

#[test]
fn a_sleeping_dog_is_blocked_once_it_is_known() {
    let belief = |mean, sd, n| Posterior { mean, sd, own_sd: sd, n, effective_rows: n as f64, prior_share: 0.1 };
    assert!(belief(-0.01, 0.01, 200).is_sleeping_dog());
    assert!(!belief(-0.01, 0.01, 199).is_sleeping_dog());
    // z = 0.8416 is 80 %.
    assert!(belief(-0.842, 1.0, 500).is_sleeping_dog() && !belief(-0.841, 1.0, 500).is_sleeping_dog());
    assert!(!belief(0.0, 0.0, 500).is_sleeping_dog() && belief(-1e-9, 0.0, 500).is_sleeping_dog());
}

#[test]
fn hostile_rows_are_refused() {
    let mut sums = Effects::new(2, 1.0).unwrap();
    let mut check = |action, probabilities: &[f64], reward, expected: &str| {
        let row = MaturedRow { customer: 1, segment: 0, action, probabilities, reward };
        assert_eq!(sums.add(&row).unwrap_err().to_string(), expected);
    };
    check(0, &[1.0], 0.0, "should have the probabilities of 2 actions, found 1");
    check(1, &[1.0, 0.0], 0.0, "the action should be one of positive probability, found 1");
    check(2, &[0.5, 0.5], 0.0, "the action should be one of positive probability, found 2");
    check(0, &[0.5, f64::NAN], 0.0, "the probability should be 0 or between 1e-100 and 1, found NaN");
    check(0, &[1.5, 0.5], 0.0, "the probability should be 0 or between 1e-100 and 1, found 1.5");
    check(0, &[0.5, 0.5], f64::NAN, "the reward should be a number between -1e100 and 1e100, found NaN");
    assert_eq!(sums, Effects::new(2, 1.0).unwrap());
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Effects::new(2, bad).is_err());
    }
    assert!(Effects::new(0, 1.0).is_err());
}

#[test]
fn a_decision_without_outcome_matures_when_its_window_closes() {
    let decision = Decision {
        id: retain_core::DecisionId::new(0, [0; 10]),
        customer_id: "c".to_owned(),
        decided_at_ms: 0,
        playbook: "p".to_owned(),
        playbook_sha256: String::new(),
        action: "call".to_owned(),
        channel: None,
        propensity: 0.5,
        holdout: false,
        expected_value: 0.0,
        cost: 0.0,
        currency: "USD".to_owned(),
        window_closes_at_ms: 1000,
        context: String::new(),
        candidates: String::new(),
    };
    assert!(!has_matured(&decision, &[], 999) && has_matured(&decision, &[], 1000));
    assert!(!has_matured(&decision, &[OutcomeEvent::Clicked, OutcomeEvent::Accepted], 999));
    assert!(has_matured(&decision, &[OutcomeEvent::Clicked, OutcomeEvent::Churned], 5));
}

fn estimate(mean: f64, n: u64) -> EffectEstimate {
    let rows = n as f64;
    EffectEstimate {
        mean,
        variance: 0.25 / rows,
        control_variance: 0.125 / rows,
        treated_rows: n,
        control_rows: n,
        effective_rows: rows,
    }
}

#[test]
fn the_prior_gives_way_to_rows() {
    let prior = [Prior::new(0.01, 0.02, 10.0).unwrap()];
    let belief = |estimates: &[Vec<Option<EffectEstimate>>]| group_posteriors(&prior, estimates)[0].actions[0];
    let nothing = belief(&[vec![None]]);
    assert_eq!((nothing.mean, nothing.sd, nothing.n, nothing.prior_share), (0.01, 0.02, 0, 1.0));
    let (few, many) = (belief(&[vec![Some(estimate(0.05, 50))]]), belief(&[vec![Some(estimate(0.05, 50_000))]]));
    assert!(few.prior_share > 0.5 && few.mean < 0.02, "{few:?}");
    assert!(many.prior_share < 0.05 && (many.mean - 0.05).abs() < 0.002 && many.sd < 0.004, "{many:?}");
    for bad in [f64::NAN, -1.0, f64::INFINITY] {
        assert!(Prior::new(0.0, 1.0, bad).is_err() && Prior::new(0.0, bad, 1.0).is_err() && Prior::new(bad, 1.0, 0.0).is_err());
    }
}

#[test]
fn a_prior_that_rows_contradict_is_let_go() {
    let belief = |mean: f64| {
        let prior = [Prior::new(mean, 0.01, 10.0).unwrap()];
        group_posteriors(&prior, &[vec![Some(estimate(0.1, 1_000))]])[0].actions[0]
    };
    // The estimate is unsure by 0.016. A normal prior of sd 0.01 around −0.1 would have the larger share, and the mean would be below 0.
    let (right, wrong) = (belief(0.1), belief(-0.1));
    assert!((right.mean - 0.1).abs() < 0.001 && right.sd < 0.015, "{right:?}");
    assert!(wrong.mean > 0.08 && wrong.prior_share < 0.1, "{wrong:?}");
}

#[test]
fn groups_are_drawn_together_as_far_as_chance_explains_them() {
    let prior = [Prior::new(0.0, 0.1, 10.0).unwrap()];
    let beliefs = |means: [f64; 3]| {
        let mut groups: Vec<Vec<Option<EffectEstimate>>> = means.iter().map(|mean| vec![Some(estimate(*mean, 1_000))]).collect();
        groups.push(vec![None]);
        let found = group_posteriors(&prior, &groups);
        found.iter().map(|group| group.actions[0]).collect::<Vec<_>>()
    };
    let alike = beliefs([0.05, 0.06, 0.04]);
    assert!((alike[0].mean - alike[1].mean).abs() < 0.007 && (alike[3].mean - 0.05).abs() < 0.01, "{alike:?}");
    let apart = beliefs([0.3, -0.2, 0.05]);
    assert!(apart[0].mean > 0.25 && apart[1].mean < -0.15, "{apart:?}");
    assert!(apart[3].sd > 2.0 * alike[3].sd && apart[3].n == 0, "{apart:?}");
    assert!(group_posteriors(&prior, &[]).is_empty());
}

#[test]
fn the_luck_of_the_control_is_taken_out_of_all_actions() {
    let lucky = |mean: f64| {
        Some(EffectEstimate {
            variance: 0.0101,
            control_variance: 0.01,
            control_rows: 20,
            effective_rows: 40.0,
            ..estimate(mean, 2_000)
        })
    };
    let priors = [Prior::new(0.02, 0.02, 10.0).unwrap(); 3];
    let found = &group_posteriors(&priors, &[vec![lucky(0.12), lucky(0.16), None]])[0];
    let [first, second, none] = &found.actions[..] else { panic!("{found:?}") };
    // Both exceed the prior by about a tenth, which twenty unlucky rows explain better than two effects of five standard deviations.
    assert!(first.mean < 0.06 && second.mean < 0.1, "{found:?}");
    // They are told apart although neither is known against doing nothing.
    assert!(second.mean - first.mean > 0.025 && first.own_sd < 0.012, "{found:?}");
    assert!(first.sd > first.own_sd && found.control_sd > 0.01, "{found:?}");
    assert_eq!((none.mean, none.n), (0.02, 0));
}
