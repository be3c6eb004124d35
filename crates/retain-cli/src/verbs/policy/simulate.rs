//! `retain policy simulate`: what the learner earns in worlds whose truth is known, beside an oracle and simpler policies.

use anyhow::{Context, Result};
use clap::Args;
use rayon::prelude::*;
use retain_policy::posterior::Prior;
use retain_policy::simulate::{
    Arrival, Choice, Learner, LearnerParams, PlantedAction, Policy, RunReport, World, WorldParams, run as walk,
};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::Exit;
use crate::output::Output;
use crate::tables;

const DEFAULT_SEED: u64 = 7;
/// The learner believes at first that no action does anything, give or take so much.
const VAGUE_SD: f64 = 0.1;
const FLOOR: f64 = 0.005;
const CONTROL_FLOOR: f64 = 0.02;
/// Regret is told of the first tenth and of the last fifth.
const EARLY: f64 = 0.1;
const LATE_FROM: f64 = 0.8;

const AFTER_HELP: &str = "The world: 6,000 customers of three segments who come 100 a day, stay with 60 to 70 % without any action, and are worth \
100 to 400 each if they stay. Four actions cost 0.5 to 12; each segment answers to another one, one action drives a segment away, and the dearest \
has room for 3 % of the decisions. Nobody is contacted twice within 14 days, and outcomes come after 5 to 20 days.

The policies: `learner` is Thompson sampling that knows no effect at first; `greedy_priors` knows each action's true mean effect over the segments and \
never learns; `random` takes any allowed action; `do_nothing` takes none. Net values are expected ones, by the planted effects.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Decisions in each world
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    decisions: u32,
    /// Number of worlds, each of a seed of its own from `--seed` on
    #[arg(long, value_name = "K", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    seeds: u16,
}

/// One policy in every world.
struct Judged {
    policy: Kind,
    runs: Vec<RunReport>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Learner,
    GreedyPriors,
    Random,
    DoNothing,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Learner, Self::GreedyPriors, Self::Random, Self::DoNothing];

    fn name(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::GreedyPriors => "greedy_priors",
            Self::Random => "random",
            Self::DoNothing => "do_nothing",
        }
    }

    fn run(self, world: &World) -> Result<RunReport> {
        Ok(match self {
            Self::Learner => walk(world, &mut Learner::new(world, vague(world)?)?),
            Self::GreedyPriors => walk(world, &mut GreedyPriors::new(world)),
            Self::Random => walk(world, &mut Random),
            Self::DoNothing => walk(world, &mut DoNothing),
        })
    }
}

pub(super) fn run(arguments: &Arguments, global: &Global, output: Output) -> Result<Exit> {
    let seed = global.seed.unwrap_or(DEFAULT_SEED);
    let seeds: Vec<u64> = (0..u64::from(arguments.seeds)).map(|offset| seed.wrapping_add(offset)).collect();
    let params = params(arguments.decisions as usize);
    let of_seed = |&seed: &u64| -> Result<Vec<RunReport>> {
        let world = World::new(&params, seed).context("cannot make the world")?;
        Kind::ALL.into_iter().map(|kind| kind.run(&world)).collect()
    };
    let of_seeds: Vec<Vec<RunReport>> = seeds.par_iter().map(of_seed).collect::<Result<_>>()?;
    let of_kind = |(idx, policy): (usize, Kind)| Judged { policy, runs: of_seeds.iter().map(|runs| runs[idx].clone()).collect() };
    let judged: Vec<Judged> = Kind::ALL.into_iter().enumerate().map(of_kind).collect();
    output.text(&text(&judged, arguments, seed))?;
    output.json(&json!({
        "decisions": arguments.decisions,
        "seeds": seeds,
        "policies": judged.iter().map(Judged::json).collect::<Vec<_>>(),
    }))?;
    Ok(Exit::GOOD)
}

/// Three segments, of which each answers to another action; calls are dear and few, and one action drives a segment away.
fn params(n_decisions: usize) -> WorldParams {
    let action = |effects: [f64; 3], cost, capacity| PlantedAction { effects: effects.to_vec(), cost, capacity };
    WorldParams {
        actions: vec![
            action([0.17, 0.02, -0.05], 0.5, None),
            action([0.02, 0.20, 0.03], 2.0, None),
            action([0.05, 0.02, 0.18], 4.0, None),
            action([0.22, 0.23, 0.21], 12.0, Some(n_decisions as u64 * 3 / 100)),
        ],
        base_rates: vec![0.7, 0.6, 0.65],
        worth: (100.0, 400.0),
        n_customers: 6_000,
        n_decisions,
        decisions_per_day: 100,
        cooldown_days: 14,
        delay_days: (5, 20),
    }
}

fn vague(world: &World) -> Result<LearnerParams> {
    let prior = Prior::new(0.0, VAGUE_SD)?;
    Ok(LearnerParams {
        priors: vec![vec![prior; world.actions().len()]; world.n_segments()],
        floor: FLOOR,
        control_floor: CONTROL_FLOOR,
    })
}

/// Takes what is worth most by each action's mean effect over the segments, and never learns.
struct GreedyPriors {
    /// Mean effect and cost of each action.
    actions: Vec<(f64, f64)>,
}

impl GreedyPriors {
    fn new(world: &World) -> Self {
        let mean = |action: &PlantedAction| action.effects.iter().sum::<f64>() / action.effects.len() as f64;
        Self { actions: world.actions().iter().map(|action| (mean(action), action.cost)).collect() }
    }
}

impl Policy for GreedyPriors {
    fn choose(&mut self, arrival: &Arrival, allowed: &[bool]) -> Choice {
        let value = |action: usize| self.actions[action].0 * arrival.worth - self.actions[action].1;
        let open = (0..allowed.len()).filter(|&action| allowed[action]);
        let best = open.reduce(|best, next| if value(next) > value(best) { next } else { best });
        certain(best.unwrap_or(0), allowed.len())
    }
}

/// Takes any allowed action, all alike.
struct Random;

impl Policy for Random {
    fn choose(&mut self, arrival: &Arrival, allowed: &[bool]) -> Choice {
        let open: Vec<usize> = (0..allowed.len()).filter(|&action| allowed[action]).collect();
        let drawn = ((arrival.uniform * open.len() as f64) as usize).min(open.len().saturating_sub(1));
        let probability = |&allowed: &bool| if allowed { 1.0 / open.len() as f64 } else { 0.0 };
        Choice { action: open[drawn], probabilities: allowed.iter().map(probability).collect() }
    }
}

struct DoNothing;

impl Policy for DoNothing {
    fn choose(&mut self, _: &Arrival, allowed: &[bool]) -> Choice {
        certain(0, allowed.len())
    }
}

fn certain(action: usize, n_actions: usize) -> Choice {
    let probabilities = (0..n_actions).map(|other| f64::from(u8::from(other == action))).collect();
    Choice { action, probabilities }
}

impl Judged {
    fn mean(&self, of_run: impl Fn(&RunReport) -> f64) -> f64 {
        self.runs.iter().map(of_run).sum::<f64>() / self.runs.len() as f64
    }

    fn least(&self, of_run: impl Fn(&RunReport) -> f64) -> f64 {
        self.runs.iter().map(of_run).fold(f64::INFINITY, f64::min)
    }

    fn violations(&self) -> u64 {
        self.runs.iter().map(|run| run.contact_violations + run.capacity_violations + run.propensity_violations).sum()
    }

    fn json(&self) -> Value {
        json!({
            "policy": self.policy.name(),
            "share_of_oracle": { "mean": self.mean(RunReport::share_of_oracle), "least": self.least(RunReport::share_of_oracle) },
            "regret": { "early": self.mean(early), "late": self.mean(late), "all": self.mean(|run| run.regret(1.0)) },
            "least_capacity_used": self.least(RunReport::least_capacity_used),
            "violations": self.violations(),
            "runs": self.runs,
        })
    }
}

fn early(run: &RunReport) -> f64 {
    run.regret(EARLY)
}

fn late(run: &RunReport) -> f64 {
    run.regret(1.0) - run.regret(LATE_FROM)
}

fn text(judged: &[Judged], arguments: &Arguments, seed: u64) -> String {
    let headings = ["policy", "share of the oracle", "least", "regret, first tenth", "last fifth", "capacity used", "violations"];
    let mut table = tables::table(&headings, 1);
    for judged in judged {
        table.add_row([
            judged.policy.name().to_owned(),
            tables::number(judged.mean(RunReport::share_of_oracle)),
            tables::number(judged.least(RunReport::share_of_oracle)),
            format!("{:.0}", judged.mean(early)),
            format!("{:.0}", judged.mean(late)),
            tables::number(judged.least(RunReport::least_capacity_used)),
            judged.violations().to_string(),
        ]);
    }
    let oracle = judged.first().map_or(0.0, |judged| judged.mean(|run| run.oracle_net_value));
    format!(
        "{} worlds from seed {seed} on, {} decisions each; the oracle earns {oracle:.0} net\n\n{}",
        arguments.seeds,
        arguments.decisions,
        tables::render(&table)
    )
}
