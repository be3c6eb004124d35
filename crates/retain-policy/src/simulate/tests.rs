use rayon::prelude::*;

use super::*;
use crate::playbook::Prior;
use crate::presets::BuiltIn;

fn playbook(world: NamedWorld) -> Playbook {
    Playbook::parse(world.playbook(), &BuiltIn).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The playbook with priors of one spread around what `factor` makes of each action's true mean effect.
fn believing(world: NamedWorld, factor: f64, sd: f64) -> Playbook {
    let (mut playbook, params) = (playbook(world), world.params());
    for action in &mut playbook.actions {
        let planted = params.effects.iter().find(|planted| planted.action == action.id).unwrap();
        let reached = || planted.by_segment.iter().zip(&params.segments).filter(|(effect, _)| **effect != 0.0);
        let total: f64 = reached().map(|(_, segment)| segment.share).sum();
        let mean = reached().map(|(effect, segment)| effect * segment.share).sum::<f64>() / total;
        action.prior = Prior { effect: factor * mean, sd, weight: 10.0 };
    }
    playbook
}

fn reports(world: NamedWorld, playbook: &Playbook, policy: Policy, n_seeds: u64) -> Vec<RunReport> {
    let of_seed = |seed| run(&World::new(&world.params(), playbook, 20_000, seed).unwrap(), playbook, policy);
    (0..n_seeds).into_par_iter().map(of_seed).collect()
}

fn mean(reports: &[RunReport], of: impl Fn(&RunReport) -> f64) -> f64 {
    reports.iter().map(of).sum::<f64>() / reports.len() as f64
}

#[test]
fn the_learner_comes_near_the_oracle_in_the_easy_world_and_keeps_every_limit() {
    let playbook = playbook(NamedWorld::Easy);
    let learners = reports(NamedWorld::Easy, &playbook, Policy::Learner, 3);
    let oracles = reports(NamedWorld::Easy, &playbook, Policy::Oracle, 3);
    for (learner, oracle) in learners.iter().zip(&oracles) {
        assert!(learner.net_value >= 0.9 * oracle.net_value, "{} of {}", learner.net_value, oracle.net_value);
        assert!(learner.net_value_between(0.8, 1.0) >= 0.95 * oracle.net_value_between(0.8, 1.0));
        assert!(oracle.least_capacity_used() >= 0.98, "{:?}", oracle.capacities);
        assert_eq!(learner.violations, Violations::default());
        assert_eq!(oracle.violations, Violations::default());
    }
}

#[test]
fn right_priors_save_early_regret_and_wrong_ones_cost_little() {
    let world = NamedWorld::Default;
    let flat = reports(world, &believing(world, 0.0, 0.05), Policy::Learner, 4);
    let right = reports(world, &believing(world, 1.0, 0.03), Policy::Learner, 4);
    let wrong = reports(world, &believing(world, -1.0, 0.05), Policy::Learner, 4);
    let oracle = reports(world, &believing(world, 1.0, 0.03), Policy::Oracle, 4);
    let early = |reports: &[RunReport]| mean(reports, |report| report.net_value_between(0.0, 0.1));
    let saved = 1.0 - (early(&oracle) - early(&right)) / (early(&oracle) - early(&flat));
    assert!(saved >= 0.3, "right priors save {saved} of the early regret");
    let cost = 1.0 - mean(&wrong, |report| report.net_value) / mean(&flat, |report| report.net_value);
    assert!(cost <= 0.1, "wrong priors cost {cost} of the net value");
}

#[test]
fn the_default_world_is_learned_and_every_policy_keeps_every_limit() {
    let world = NamedWorld::Default;
    let playbook = playbook(world);
    let value = |policy| {
        let reports = reports(world, &playbook, policy, 2);
        assert!(reports.iter().all(|report| report.violations == Violations::default()), "{policy:?}: {reports:?}");
        mean(&reports, |report| report.net_value)
    };
    let [learner, priors, random, nothing, oracle] = Policy::ALL.map(value);
    assert!(oracle > learner && learner > priors && priors > random, "{oracle} {learner} {priors} {random}");
    assert_eq!(nothing, 0.0);
    assert!(learner > 0.75 * oracle, "{learner} of {oracle}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let playbook = playbook(NamedWorld::Default);
    let report = |seed, n_threads| {
        let world = World::new(&NamedWorld::Default.params(), &playbook, 3_000, seed).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| serde_json::to_string(&run(&world, &playbook, Policy::Learner)).unwrap())
    };
    assert_eq!(report(5, 1), report(5, 2));
    assert_ne!(report(5, 1), report(6, 1));
}

#[test]
fn what_breaks_the_playbook_is_counted() {
    let playbook = playbook(NamedWorld::Default);
    let params = NamedWorld::Default.params();
    let world = World::new(&params, &playbook, 2_000, 1).unwrap();
    let mut walk = Walk::new(&world, &playbook, Policy::Learner);
    (0..2_000).for_each(|idx| walk.step(idx));
    assert_eq!(audit::violations(&playbook, &walk.decisions), Violations::default());
    let count = |change: &dyn Fn(&mut Decision)| {
        let mut decisions = walk.decisions.clone();
        decisions.iter_mut().for_each(change);
        audit::violations(&playbook, &decisions)
    };
    let called = count(&|decision| {
        decision.action = "call".to_owned();
        decision.channel = Some("phone".to_owned());
        decision.customer_id = "c1".to_owned();
    });
    // All but the first are too soon; 24 in each of four periods are as many as there are.
    assert_eq!((called.contact, called.cooldown), (1_999, 1_999));
    assert_eq!(called.capacity, 2_000 - 4 * 24);
    assert!(called.propensity > 0 && called.holdout > 0, "{called:?}");
    assert_eq!(count(&|decision| decision.propensity *= 0.5).propensity, 2_000);
    assert_eq!(count(&|decision| "[]".clone_into(&mut decision.candidates)).propensity, 2_000);
}

#[test]
fn outcomes_follow_the_planted_effects() {
    let playbook = playbook(NamedWorld::Easy);
    let world = World::new(&NamedWorld::Easy.params(), &playbook, 20_000, 2).unwrap();
    let mut walk = Walk::new(&world, &playbook, Policy::Random);
    (0..20_000).for_each(|idx| walk.step(idx));
    let share_told = |action: &str| {
        let of_action = || walk.decisions.iter().zip(&walk.told).filter(|(decision, _)| decision.action == action);
        of_action().filter(|(_, told)| **told).count() as f64 / of_action().count() as f64
    };
    // 0.2625 leave on average; the reminder drives 0.035 more away; of 2 % nobody tells. Thousands of rows each.
    assert!((share_told("no_action") - 0.98 * 0.2625).abs() < 0.02, "{}", share_told("no_action"));
    assert!((share_told("reminder") - 0.98 * 0.2975).abs() < 0.03, "{}", share_told("reminder"));
}

#[test]
fn effects_that_no_world_plants_are_drawn_around_the_prior() {
    let text = NamedWorld::Default.playbook().replace("id = \"tips\"", "id = \"hints\"");
    let playbook = Playbook::parse(&text, &BuiltIn).unwrap();
    let effect = |seed| {
        let world = World::new(&NamedWorld::Default.params(), &playbook, 100, seed).unwrap();
        let customer = Customer { id: String::new(), segment: 0, risk: 0.5, worth: 1.0 };
        world.effect(&customer, playbook.action_idx("hints").unwrap())
    };
    let effects: Vec<f64> = (0..200).map(effect).collect();
    let mean = effects.iter().sum::<f64>() / 200.0;
    // The prior is 0.02 ± 0.04: the mean of 200 within four standard errors.
    assert!((mean - 0.02).abs() < 0.012, "{mean}");
    assert!((effect(1) - effect(1)).abs() == 0.0 && effect(1) != effect(2));
}

#[test]
fn impossible_worlds_are_refused() {
    let (playbook, good) = (playbook(NamedWorld::Default), NamedWorld::Default.params());
    let refused = |change: &dyn Fn(&mut WorldParams)| {
        let mut params = good.clone();
        change(&mut params);
        World::new(&params, &playbook, 100, 1).is_err()
    };
    assert!(World::new(&good, &playbook, 100, 1).is_ok());
    assert!(World::new(&good, &playbook, 0, 1).is_err() && World::new(&good, &playbook, 10_000_001, 1).is_err());
    assert!(refused(&|params| params.segments.clear()) && refused(&|params| params.segments[0].share = f64::NAN));
    assert!(refused(&|params| params.segments[0].risk = (0.5, 0.2)) && refused(&|params| params.segments[0].risk.1 = 1.5));
    assert!(refused(&|params| params.segments[0].worth = (0.0, 1.0)));
    assert!(refused(&|params| params.effects[0].by_segment[1] = f64::NAN));
    assert!(refused(&|params| params.effects[0].by_segment.truncate(1)));
    assert!(refused(&|params| params.n_customers = 0) && refused(&|params| params.n_customers = 10_000_001));
    assert!(refused(&|params| params.decisions_per_day = 0) && refused(&|params| params.late_days = u32::MAX));
    assert!(refused(&|params| params.untold_share = 1.1));
}
