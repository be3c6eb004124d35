//! The command line: global flags, and the list of verbs.

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit::{Complaint, Exit};
use crate::output::Output;
use crate::verbs::{
    bench, data, decisions, evaluate, experiment, explain, gate, health, import, models, playbook, policy, quickstart, recommend,
    score, serve, signals, train,
};

/// Predicts which customers will leave: trains, gates, serves and scores churn models.
#[derive(Debug, Parser)]
#[command(name = "retain", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 good, 1 internal error, 2 usage or configuration, 3 quality gate failed, 4 inconclusive, \
5 data contract, 6 champion missing or incompatible, 7 latency, size or parity.";

/// Flags that every verb takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// How results and errors are printed; junit and markdown are for `gate`
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, help_heading = "Global options")]
    pub(crate) format: Format,
    /// Print results and errors only: no progress, notes or warnings
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Threads to compute with; the results do not depend on it [default: one per core]
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1024),
        allow_negative_numbers = true,
        help_heading = "Global options"
    )]
    pub(crate) threads: Option<u16>,
    /// Seed of all randomness; overrides the one in the task or gate file
    #[arg(long, global = true, value_name = "N", allow_negative_numbers = true, help_heading = "Global options")]
    pub(crate) seed: Option<u64>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs; errors are JSON too
    Json,
    /// XML for test reports
    Junit,
    /// Markdown
    Markdown,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Train on the data that is built in, gate, publish, serve, and show calls to try
    Quickstart(quickstart::Arguments),
    /// Fit, calibrate and judge models on a feature table, and write the best as a bundle
    Train(train::Arguments),
    /// Measure a model on labelled rows, beside the trivial baseline
    Evaluate(evaluate::Arguments),
    /// Hold a model against a gate file: the check for continuous integration
    Gate(gate::Arguments),
    /// Score a table, row by row, in its order
    Score(score::Arguments),
    /// Say why one customer has the probability it has
    Explain(explain::Arguments),
    /// Answer gRPC calls
    Serve(serve::Arguments),
    /// Make a bundle of a model that LightGBM, XGBoost or CatBoost trained
    Import(import::Arguments),
    /// Measure how fast a model answers
    Bench(bench::Arguments),
    /// Answer what `bench --serve` says, and nothing else
    #[command(hide = true)]
    BenchEcho(bench::echo::Arguments),
    /// The registry of published models
    #[command(subcommand)]
    Models(models::Command),
    /// What can be done for customers: check playbooks, list and show presets
    #[command(subcommand)]
    Playbook(playbook::Command),
    /// Score customers' health by rules, measure such a score, and learn its weights
    #[command(subcommand)]
    Health(health::Command),
    /// Measure what signals find
    #[command(subcommand)]
    Signals(signals::Command),
    /// Choose the next best action for every row of a table, within capacities and a budget
    Recommend(recommend::Arguments),
    /// The log of decisions: export it, count it
    #[command(subcommand)]
    Decisions(decisions::Command),
    /// Judge a policy of actions: by what another one logged, or in a world whose truth is known
    #[command(subcommand)]
    Policy(policy::Command),
    /// Plan an experiment on customers, and read what came of it
    #[command(subcommand)]
    Experiment(experiment::Command),
    /// What is in a table
    #[command(subcommand)]
    Data(data::Command),
}

impl Verb {
    pub(crate) fn run(&self, global: &Global, output: Output) -> Result<Exit> {
        match self {
            Self::Quickstart(arguments) => quickstart::run(arguments, global, output),
            Self::Train(arguments) => train::run(arguments, global, output),
            Self::Evaluate(arguments) => evaluate::run(arguments, global, output),
            Self::Gate(arguments) => gate::run(arguments, global, output),
            Self::Score(arguments) => score::run(arguments, output),
            Self::Explain(arguments) => explain::run(arguments, output),
            Self::Serve(arguments) => serve::run(arguments, output),
            Self::Import(arguments) => import::run(arguments, global, output),
            Self::Bench(arguments) => bench::run(arguments, global, output),
            Self::BenchEcho(arguments) => bench::echo::run(arguments, output),
            Self::Models(command) => models::run(command, output),
            Self::Playbook(command) => playbook::run(command, output),
            Self::Health(command) => health::run(command, global, output),
            Self::Signals(command) => signals::run(command, global, output),
            Self::Recommend(arguments) => recommend::run(arguments, global, output),
            Self::Decisions(command) => decisions::run(command, output),
            Self::Policy(command) => policy::run(command, global, output),
            Self::Experiment(command) => experiment::run(command, output),
            Self::Data(command) => data::run(command, output),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Quickstart(_) => "quickstart",
            Self::Train(_) => "train",
            Self::Evaluate(_) => "evaluate",
            Self::Gate(_) => "gate",
            Self::Score(_) => "score",
            Self::Explain(_) => "explain",
            Self::Serve(_) => "serve",
            Self::Import(_) => "import",
            Self::Bench(_) => "bench",
            Self::BenchEcho(_) => "bench-echo",
            Self::Models(_) => "models",
            Self::Playbook(_) => "playbook",
            Self::Health(_) => "health",
            Self::Signals(_) => "signals",
            Self::Recommend(_) => "recommend",
            Self::Decisions(_) => "decisions",
            Self::Policy(_) => "policy",
            Self::Experiment(_) => "experiment",
            Self::Data(_) => "data",
        }
    }
}

impl Cli {
    /// Checks what the parser cannot, and builds the pool of threads.
    pub(crate) fn prepare(&self) -> Result<()> {
        if matches!(self.global.format, Format::Junit | Format::Markdown) && !matches!(self.verb, Verb::Gate(_)) {
            let message = format!("`--format junit` and `--format markdown` are for `gate`, not for `{}`", self.verb.name());
            return Err(Complaint::usage(message).hint("use `--format text` or `--format json`").into());
        }
        if let Some(threads) = self.global.threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads));
            pool.build_global().with_context(|| format!("cannot start {threads} threads"))?;
        }
        Ok(())
    }
}
