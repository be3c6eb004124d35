use super::*;
use crate::posterior::Prior;

fn action(effects: [f64; 4], cost: f64, capacity: Option<u64>) -> PlantedAction {
    PlantedAction { effects: effects.to_vec(), cost, capacity }
}

/// Four segments, of which each answers to another action; calls are dear and few, and one action drives a segment away.
fn params(n_decisions: usize) -> WorldParams {
    WorldParams {
        actions: vec![
            action([0.10, 0.01, -0.04, 0.02], 0.5, None),
            action([0.02, 0.12, 0.03, -0.05], 2.0, None),
            action([0.05, 0.02, 0.11, 0.01], 4.0, None),
            action([0.12, 0.13, 0.16, 0.15], 12.0, Some(n_decisions as u64 * 3 / 100)),
        ],
        base_rates: vec![0.7, 0.6, 0.65, 0.75],
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
    LearnerParams { priors: (0..world.n_segments()).map(of_segment).collect(), floor: 0.01, control_floor: 0.03 }
}

fn learned(world: &World, params: LearnerParams) -> RunReport {
    run(world, &mut Learner::new(world, params).unwrap())
}

#[test]
fn probe() {
    for seed in 0..6 {
        let world = World::new(&params(20_000), seed).unwrap();
        let start = std::time::Instant::now();
        let vague = learned(&world, priors(&world, 0.1, |_, _| 0.0));
        let time = start.elapsed();
        let modest = learned(&world, priors(&world, 0.05, |_, _| 0.03));
        let truth = |segment: usize, action: usize| world.actions()[action].effects[segment];
        let right = learned(&world, priors(&world, 0.04, truth));
        let wrong = learned(&world, priors(&world, 0.04, |segment, action| -truth(segment, action)));
        for (name, report) in [("vague", &vague), ("modest", &modest), ("right", &right), ("wrong", &wrong)] {
            let late: f64 =
                report.net_value_by_hundredth[80..].iter().sum::<f64>() / report.oracle_by_hundredth[80..].iter().sum::<f64>();
            eprintln!(
                "{seed} {name}: share {:.3} late {late:.3} regret10 {:.0} regret {:.0} oracle {:.0} cap {:.3} viol {} {} {} uses {:?} {time:?}",
                report.share_of_oracle(),
                report.regret(0.1),
                report.regret(1.0),
                report.oracle_net_value,
                report.least_capacity_used(),
                report.contact_violations,
                report.capacity_violations,
                report.propensity_violations,
                report.uses
            );
        }
    }
}
