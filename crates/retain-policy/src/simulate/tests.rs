use rayon::prelude::*;

use super::*;
use crate::posterior::Prior;

fn action(effects: [f64; 3], cost: f64, capacity: Option<u64>) -> PlantedAction {
    PlantedAction { effects: effects.to_vec(), cost, capacity }
}

/// Three segments, of which each answers to another action; calls are dear and few, and one action drives a segment away.
fn params(n_decisions: usize) -> WorldParams {
    WorldParams {
        actions: vec![
            action([0.17, 0.02, -0.05], 0.5, None),
            action([0.02, 0.20, 0.03], 2.0, None),
            action([0.05, 0.02, 0.18], 4.0, None),
            action([0.22, 0.23, 0.21], 12.0, Some(n_decisions as u64 * 3 / 100)),
        ],
        base_rates: vec![0.7, 0.6, 0.65],
        worth: (100.0, 400.0),
        n_customers: 6000,
        n_decisions,
        decisions_per_day: 100,
        cooldown_days: 14,
        delay_days: (5, 20),
    }
}

/// Priors of the same spread around what `mean` says of each segment and action.
fn priors(world: &World, sd: f64, mean: impl Fn(usize, usize) -> f64) -> LearnerParams {
    let prior = |segment, action| Prior::new(mean(segment, action), sd).unwrap();
    let of_segment = |segment| (0..world.actions().len()).map(|action| prior(segment, action)).collect();
    LearnerParams { priors: (0..world.n_segments()).map(of_segment).collect(), floor: 0.005, control_floor: 0.02 }
}

fn learned(world: &World, params: LearnerParams) -> RunReport {
    run(world, &mut Learner::new(world, params).unwrap())
}

fn truth(world: &World) -> impl Fn(usize, usize) -> f64 {
    |segment, action| world.actions()[action].effects[segment]
}

/// The same of the action that comes next: everything is believed of the wrong one.
fn shifted(world: &World) -> impl Fn(usize, usize) -> f64 {
    |segment, action| world.actions()[1 + action % 4].effects[segment]
}

const SEEDS: u64 = 6;

/// Reports by seed, each of the policies that `params_of` begins with.
fn reports<const N: usize>(params_of: impl Fn(&World) -> [LearnerParams; N] + Sync) -> Vec<[RunReport; N]> {
    let of_seed = |seed| {
        let world = World::new(&params(20_000), seed).unwrap();
        params_of(&world).map(|params| learned(&world, params))
    };
    (0..SEEDS).into_par_iter().map(of_seed).collect()
}

#[test]
fn a_learner_comes_near_the_oracle_and_keeps_every_limit() {
    let reports = reports(|world| [priors(world, 0.1, |_, _| 0.0)]);
    for [report] in &reports {
        let late = |values: &[f64]| values[80..].iter().sum::<f64>();
        let late_share = late(&report.net_value_by_hundredth) / late(&report.oracle_by_hundredth);
        eprintln!("share of the oracle {:.3}, in the last fifth {late_share:.3}", report.share_of_oracle());
        assert!(late_share > 0.93, "{late_share}");
        assert!(report.least_capacity_used() >= 0.98, "{:?}", report.uses);
        let violations = (report.contact_violations, report.capacity_violations, report.propensity_violations);
        assert_eq!(violations, (0, 0, 0));
    }
    let mean = reports.iter().map(|[report]| report.share_of_oracle()).sum::<f64>() / reports.len() as f64;
    assert!(mean >= 0.9, "{mean}");
}

#[test]
fn right_priors_save_early_regret_and_wrong_ones_cost_little() {
    let reports =
        reports(|world| [priors(world, 0.1, |_, _| 0.0), priors(world, 0.1, truth(world)), priors(world, 0.1, shifted(world))]);
    for [vague, right, wrong] in &reports {
        let saved = 1.0 - right.regret(0.1) / vague.regret(0.1);
        let cost = 1.0 - wrong.net_value / vague.net_value;
        eprintln!("right priors save {saved:.3} of early regret, wrong ones cost {cost:.3} of the net value");
        assert!(saved > 0.3, "{saved}");
        assert!(cost < 0.1, "{cost}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let report = |seed| {
        let world = World::new(&params(3000), seed).unwrap();
        serde_json::to_string(&learned(&world, priors(&world, 0.1, |_, _| 0.0))).unwrap()
    };
    assert_eq!(report(5), report(5));
    assert_ne!(report(5), report(6));
}

/// Takes one action, whatever is allowed, and says that it was certain to.
struct Stubborn(usize);

impl Policy for Stubborn {
    fn choose(&mut self, _: &Arrival, allowed: &[bool]) -> Choice {
        let probabilities = (0..allowed.len()).map(|action| f64::from(u8::from(action == self.0))).collect();
        Choice { action: self.0, probabilities }
    }
}

#[test]
fn the_oracle_has_no_regret_and_is_below_the_bound() {
    let world = World::new(&params(5000), 1).unwrap();
    let report = run(&world, &mut Oracle::new(&world));
    assert_eq!((report.net_value, report.regret(1.0)), (report.oracle_net_value, 0.0));
    let best = |arrival: &Arrival| (0..5).map(|action| world.net_value(arrival, action)).fold(0.0, f64::max);
    let bound: f64 = world.arrivals().iter().map(best).sum();
    assert!(report.net_value > 0.4 * bound && report.net_value < bound);
    let nothing = run(&world, &mut Stubborn(0));
    assert_eq!((nothing.net_value, nothing.uses[0], nothing.contact_violations), (0.0, 5000, 0));
    assert!((nothing.regret(1.0) - report.net_value).abs() < 1e-6 * report.net_value);
}

#[test]
fn what_a_policy_must_not_do_is_counted_and_has_no_effect() {
    let world = World::new(&params(5000), 1).unwrap();
    let report = run(&world, &mut Stubborn(4));
    assert_eq!(report.uses[4], 150);
    assert!(report.contact_violations > 500 && report.capacity_violations > 3000);
    assert_eq!(report.uses[4] + report.contact_violations + report.capacity_violations, 5000);
    assert!(report.propensity_violations >= report.contact_violations + report.capacity_violations);
    assert!(report.net_value < report.oracle_net_value);
    let absent = run(&world, &mut Stubborn(9));
    assert_eq!(absent.capacity_violations + absent.contact_violations, 5000);
}

#[test]
fn outcomes_come_late_and_follow_the_planted_effects() {
    #[derive(Default)]
    struct Listener {
        today: u32,
        kept: Vec<(usize, f64)>,
    }
    impl Policy for Listener {
        fn choose(&mut self, arrival: &Arrival, allowed: &[bool]) -> Choice {
            self.today = arrival.day;
            Stubborn(usize::from(allowed[2]) * 2).choose(arrival, allowed)
        }
        fn learn(&mut self, matured: &Matured<'_>) {
            assert!(self.today + 1 >= matured.arrival.day + 5);
            if matured.arrival.segment == 1 {
                self.kept.push((matured.choice.action, matured.retained));
            }
        }
    }
    let world = World::new(&params(20_000), 2).unwrap();
    let mut listener = Listener::default();
    run(&world, &mut listener);
    let rate = |action| {
        let kept: Vec<f64> = listener.kept.iter().filter(|(of, _)| *of == action).map(|(_, kept)| *kept).collect();
        kept.iter().sum::<f64>() / kept.len() as f64
    };
    // 0.6 without action, 0.2 more with it; thousands of rows.
    assert!((rate(0) - 0.6).abs() < 0.05 && (rate(2) - 0.8).abs() < 0.03, "{} {}", rate(0), rate(2));
}

#[test]
fn impossible_worlds_are_refused() {
    let good = params(100);
    let refused = |change: &dyn Fn(&mut WorldParams)| {
        let mut params = good.clone();
        change(&mut params);
        World::new(&params, 1).is_err()
    };
    assert!(World::new(&good, 1).is_ok());
    assert!(refused(&|params| params.base_rates[0] = 0.9) && refused(&|params| params.base_rates.clear()));
    assert!(refused(&|params| params.actions[0].effects[1] = f64::NAN));
    assert!(refused(&|params| params.actions[0].effects.truncate(1)));
    assert!(refused(&|params| params.actions[0].cost = -1.0) && refused(&|params| params.worth = (5.0, 1.0)));
    assert!(refused(&|params| params.n_customers = 0) && refused(&|params| params.n_decisions = 0));
    assert!(refused(&|params| params.n_decisions = 10_000_001) && refused(&|params| params.delay_days = (3, 1)));
    assert!(refused(&|params| params.decisions_per_day = 0) && refused(&|params| params.cooldown_days = u32::MAX));
    let world = World::new(&good, 1).unwrap();
    let few = LearnerParams { priors: vec![], floor: 0.01, control_floor: 0.01 };
    assert!(matches!(Learner::new(&world, few), Err(LearnerError::Priors { .. })));
}
