use rayon::prelude::*;

use super::*;
use crate::presets::BuiltIn;

fn playbook(world: NamedWorld) -> Playbook {
    Playbook::parse(world.playbook(), &BuiltIn).unwrap()
}

#[test]
fn scratch() {
    let get = |key: &str, default: f64| std::env::var(key).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let which = NamedWorld::ALL[get("WORLD", 1.0) as usize];
    let seeds = get("SEEDS", 4.0) as u64;
    let mut book = playbook(which);
    let params = which.params();
    let kind = get("PRIOR", 0.0);
    for action in &mut book.actions {
        let planted = params.effects.iter().find(|planted| planted.action == action.id).unwrap();
        let pairs = || planted.by_segment.iter().zip(&params.segments).filter(|(effect, _)| **effect != 0.0);
        let mean = pairs().map(|(effect, segment)| effect * segment.share).sum::<f64>() / pairs().map(|(_, segment)| segment.share).sum::<f64>();
        let sd = get("SD", 0.05);
        action.prior = match kind as i32 {
            0 => action.prior,
            1 => crate::playbook::Prior { effect: mean, sd, weight: get("WEIGHT", 10.0) },
            2 => crate::playbook::Prior { effect: -mean, sd, weight: get("WEIGHT", 10.0) },
            3 => crate::playbook::Prior { effect: 2.0 * mean, sd, weight: get("WEIGHT", 10.0) },
            _ => crate::playbook::Prior { effect: get("FLAT", 0.0), sd, weight: get("WEIGHT", 10.0) },
        };
    }
    let reports: Vec<(RunReport, RunReport)> = (0..seeds)
        .into_par_iter()
        .map(|seed| {
            let world = World::new(&params, &book, 20_000, seed).unwrap();
            (run(&world, &book, Policy::Learner), run(&world, &book, Policy::Oracle))
        })
        .collect();
    let mut shares: Vec<f64> = reports.iter().map(|(learner, oracle)| learner.net_value / oracle.net_value).collect();
    let late: Vec<f64> =
        reports.iter().map(|(learner, oracle)| learner.net_value_between(0.8, 1.0) / oracle.net_value_between(0.8, 1.0)).collect();
    let early: f64 = reports.iter().map(|(learner, oracle)| oracle.net_value_between(0.0, 0.1) - learner.net_value_between(0.0, 0.1)).sum();
    shares.sort_by(f64::total_cmp);
    let n = seeds as f64;
    eprintln!(
        "{} prior {kind}: share {:.3} min {:.3}, >=.9: {}; late {:.3} min {:.3}; early {:.0}; total {:.0}; cap {:.3} oracle {:.3}; violations {:?}; uses {:?} oracle {:?}",
        which.as_str(),
        shares.iter().sum::<f64>() / n, shares[0], shares.iter().filter(|share| **share >= 0.9).count(),
        late.iter().sum::<f64>() / n, late.iter().copied().fold(9.0, f64::min), early / n,
        reports.iter().map(|(learner, _)| learner.net_value).sum::<f64>() / n,
        reports.iter().map(|(learner, _)| learner.least_capacity_used()).fold(1.0, f64::min),
        reports.iter().map(|(_, oracle)| oracle.least_capacity_used()).fold(1.0, f64::min),
        reports.iter().map(|(learner, oracle)| learner.violations.total() + oracle.violations.total()).sum::<u64>(), reports[0].0.uses, reports[0].1.uses,
    );
}
