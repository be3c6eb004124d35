//! `retain policy simulate`: what a playbook earns in worlds whose truth is known, beside an oracle and simpler policies.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use rayon::prelude::*;
use retain_policy::playbook::Playbook;
use retain_policy::presets::BuiltIn;
use retain_policy::simulate::{NamedWorld, Policy, RunReport, World, run as walk};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::{Complaint, Exit};
use crate::output::Output;
use crate::playbook_file::read_playbook;
use crate::tables;

const DEFAULT_SEED: u64 = 7;
/// Regret is told of the first tenth, and the share of the oracle also of the last fifth.
const EARLY: f64 = 0.1;
const LATE_FROM: f64 = 0.8;

const AFTER_HELP: &str = "Every policy decides with the code that servers decide with: the playbook's rules and limits, its exploration and holdout, paced capacities, and \
effects learned from the records of its own decisions once their windows have closed.

The worlds: `easy` has two segments and four actions of -4 to 15 points; `default` three segments with 5 to 40 % risk and seven actions of -2 to 15 points; `hard` four \
segments and eight actions of -3 to 6 points, near to each other. Customers come 20 a day (hard: 50), nobody is contacted twice within 14 days, calls are limited, outcomes come after \
30 days and some never. A playbook of your own may read features.segment, features.worth and features.risk; actions that the world does not know have effects drawn around their priors.

The policies: `learner` is the playbook as it is; `priors` never learns; `random` takes any allowed action or none; `do_nothing` takes none; `oracle` knows the true effects and has \
the same capacities, contact rules and holdout. Net values are expected ones, by the planted effects.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Decisions in each world
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    decisions: u32,
    /// Number of worlds, each of a seed of its own from `--seed` on
    #[arg(long, value_name = "K", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    seeds: u16,
    /// Which world
    #[arg(long, value_enum, default_value_t = WorldName::Default)]
    world: WorldName,
    /// Decide with this playbook [default: the world's own]
    #[arg(long, value_name = "FILE")]
    playbook: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WorldName {
    /// Quickly learned
    Easy,
    /// As retention often is
    Default,
    /// Too much to learn from 20,000 decisions
    Hard,
}

impl From<WorldName> for NamedWorld {
    fn from(name: WorldName) -> Self {
        match name {
            WorldName::Easy => Self::Easy,
            WorldName::Default => Self::Default,
            WorldName::Hard => Self::Hard,
        }
    }
}

/// One policy in every world, with the oracle beside it.
struct Judged<'r> {
    policy: Policy,
    runs: Vec<(&'r RunReport, &'r RunReport)>,
}

pub(super) fn run(arguments: &Arguments, global: &Global, output: Output) -> Result<Exit> {
    let seed = global.seed.unwrap_or(DEFAULT_SEED);
    let seeds: Vec<u64> = (0..u64::from(arguments.seeds)).map(|offset| seed.wrapping_add(offset)).collect();
    let world = NamedWorld::from(arguments.world);
    let playbook = playbook(arguments, world, output)?;
    let of_seed = |&seed: &u64| -> Result<Vec<RunReport>> {
        let world =
            World::new(&world.params(), &playbook, arguments.decisions as usize, seed).context("cannot make the world")?;
        Ok(Policy::ALL.iter().map(|policy| walk(&world, &playbook, *policy)).collect())
    };
    let of_seeds: Vec<Vec<RunReport>> = seeds.par_iter().map(of_seed).collect::<Result<_>>()?;
    let judged = judged(&of_seeds);
    output.text(&text(&judged, arguments, seed))?;
    output.json(&json!({
        "world": world.as_str(),
        "decisions": arguments.decisions,
        "seeds": seeds,
        "policies": judged.iter().map(Judged::json).collect::<Vec<_>>(),
    }))?;
    Ok(Exit::GOOD)
}

fn playbook(arguments: &Arguments, world: NamedWorld, output: Output) -> Result<Playbook> {
    if let Some(path) = &arguments.playbook {
        return read_playbook(path, output);
    }
    let cannot = |_| Complaint::new(Exit::INTERNAL, format!("the playbook of the world `{}` cannot be read", world.as_str()));
    Ok(Playbook::parse(world.playbook(), &BuiltIn).map_err(cannot)?)
}

/// The reports of each policy; the oracle is the last one of a world.
fn judged(of_seeds: &[Vec<RunReport>]) -> Vec<Judged<'_>> {
    let of_policy = |(idx, policy): (usize, &Policy)| {
        let runs = of_seeds.iter().filter_map(|runs| Some((runs.get(idx)?, runs.last()?)));
        Judged { policy: *policy, runs: runs.collect() }
    };
    Policy::ALL.iter().enumerate().map(of_policy).collect()
}

impl Judged<'_> {
    fn mean(&self, of_run: impl Fn(&RunReport, &RunReport) -> f64) -> f64 {
        self.runs.iter().map(|(run, oracle)| of_run(run, oracle)).sum::<f64>() / self.runs.len() as f64
    }

    fn least(&self, of_run: impl Fn(&RunReport, &RunReport) -> f64) -> f64 {
        self.runs.iter().map(|(run, oracle)| of_run(run, oracle)).fold(f64::INFINITY, f64::min)
    }

    fn capacity_used(&self) -> f64 {
        self.least(|run, _| run.least_capacity_used())
    }

    fn violations(&self) -> u64 {
        self.runs.iter().map(|(run, _)| run.violations.total()).sum()
    }

    fn json(&self) -> Value {
        json!({
            "policy": self.policy.as_str(),
            "net_value": self.mean(|run, _| run.net_value),
            "share_of_oracle": { "mean": self.mean(share), "least": self.least(share) },
            "share_of_oracle_late": { "mean": self.mean(late_share), "least": self.least(late_share) },
            "regret": { "early": self.mean(early_regret), "all": self.mean(|run, oracle| oracle.net_value - run.net_value) },
            "least_capacity_used": self.capacity_used(),
            "violations": self.violations(),
            "runs": self.runs.iter().map(|(run, _)| run).collect::<Vec<_>>(),
        })
    }
}

fn share(run: &RunReport, oracle: &RunReport) -> f64 {
    run.net_value / oracle.net_value
}

fn late_share(run: &RunReport, oracle: &RunReport) -> f64 {
    run.net_value_between(LATE_FROM, 1.0) / oracle.net_value_between(LATE_FROM, 1.0)
}

fn early_regret(run: &RunReport, oracle: &RunReport) -> f64 {
    oracle.net_value_between(0.0, EARLY) - run.net_value_between(0.0, EARLY)
}

fn text(judged: &[Judged<'_>], arguments: &Arguments, seed: u64) -> String {
    let headings = [
        "policy",
        "share of the oracle",
        "least",
        "in the last fifth",
        "least",
        "regret, first tenth",
        "capacity used",
        "violations",
    ];
    let mut table = tables::table(&headings, 1);
    for judged in judged {
        table.add_row([
            judged.policy.as_str().to_owned(),
            tables::number(judged.mean(share)),
            tables::number(judged.least(share)),
            tables::number(judged.mean(late_share)),
            tables::number(judged.least(late_share)),
            format!("{:.0}", judged.mean(early_regret)),
            tables::number(judged.capacity_used()),
            judged.violations().to_string(),
        ]);
    }
    let oracle = judged.last().map_or(0.0, |judged| judged.mean(|run, _| run.net_value));
    format!(
        "{} worlds `{}` from seed {seed} on, {} decisions each; the oracle earns {oracle:.0} net\n\n{}",
        arguments.seeds,
        NamedWorld::from(arguments.world).as_str(),
        arguments.decisions,
        tables::render(&table)
    )
}
