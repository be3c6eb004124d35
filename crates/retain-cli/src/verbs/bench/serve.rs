//! `retain bench --serve`: the real server beside a bare echo of the same bytes, in turn in one run.
//!
//! The server and the echo are processes of their own on the same cores, the client has the others. What differs between the two is
//! what the server does beyond tonic. Measurements alternate, so that what else the machine does meets both alike; medians over the
//! rounds are told, and ratios are medians of the rounds' ratios.
//!
//! `requests` makes the requests, `client` sends them, `load` is the three ways of sending, `child` and `echo` are the servers, `cores`
//! parts the machine, `rounds` measures in turn, `report` tells what came of it.

mod child;
mod client;
mod cores;
pub(crate) mod echo;
mod load;
mod report;
mod requests;
mod rounds;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use prost::bytes;
use retain_core::{Day, Rows};
use retain_score::{Bundle, CheckValue, Registry, Scorer};
use retain_server::Config;

use self::child::{Running, time_to_ready};
use self::client::{Caller, Exchange};
use self::cores::Cores;
use self::load::Target;
use self::report::{Bytes, Idle, Report};
use self::requests::{Customers, values_of};
use self::rounds::{Bench, Pair, Plan, median};
use crate::exit::{Complaint, Exit};
use crate::input::{read_text, today};
use crate::interrupt;
use crate::output::Output;
use crate::verbs::models::publish_bundle;

const PREDICT: &str = "/retain.v1.PredictionService/Predict";
const PREDICT_BATCH: &str = "/retain.v1.PredictionService/PredictBatch";
const RECOMMEND: &str = "/retain.v1.DecisionService/Recommend";
const DEFAULT_ROUNDS: u16 = 5;
const DEFAULT_SECONDS: f64 = 1.0;
/// Starts that are timed.
const STARTS: usize = 5;

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Measure the server instead: real calls over a socket, beside a bare echo of the same bytes
    #[arg(long)]
    pub(super) serve: bool,
    /// With `--serve`: settings of the server, such as API keys; without TLS. With `[decisions]` in them `Recommend` is measured too,
    /// and every decision is kept in that log
    #[arg(long, value_name = "FILE", requires = "serve")]
    server_config: Option<PathBuf>,
    /// With `--serve`: the key to call with, where the settings name keys
    #[arg(long, value_name = "KEY", requires = "serve", env = "RETAIN_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// With `--serve`: seconds that each measurement takes [default: 1]
    #[arg(long, value_name = "SECONDS", requires = "serve", value_parser = seconds)]
    duration: Option<f64>,
    /// With `--serve`: rounds, of which the medians are told [default: 5]
    #[arg(long, value_name = "N", requires = "serve", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "should be a number of seconds".to_owned())?;
    if (0.05..=3600.0).contains(&number) { Ok(number) } else { Err("should be from 0.05 to 3600 seconds".to_owned()) }
}

/// The model that is asked, and the rows that it is asked about.
pub(super) struct Asked<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) scorer: &'a Scorer,
    pub(super) rows: Rows,
    /// The rows as requests carry them, where they are known.
    pub(super) values: Option<Vec<Vec<Option<CheckValue>>>>,
    /// The day that dates are counted to.
    pub(super) observed: Option<Day>,
    pub(super) seed: u64,
}

pub(super) fn run(arguments: &ServeArguments, asked: &Asked<'_>, output: Output) -> Result<Exit> {
    let decides = check_config(arguments.server_config.as_deref())?;
    let plan = Plan {
        length: Duration::from_secs_f64(arguments.duration.unwrap_or(DEFAULT_SECONDS)),
        n_rounds: arguments.rounds.unwrap_or(DEFAULT_ROUNDS),
        seed: asked.seed,
    };
    let folder = tempfile::tempdir().context("cannot make a folder for the model")?;
    publish(asked.bundle, folder.path())?;
    let cores = Cores::share()?;
    cores.to_client()?;
    let report = runtime(&cores)?.block_on(async {
        tokio::select! {
            report = measure_all(arguments, asked, plan, &cores, folder.path(), decides) => report.map(Some),
            // The servers end with the measurement, and the folder goes.
            _ = interrupt::signal() => Ok(None),
        }
    })?;
    let Some(report) = report else { return Ok(Exit::INTERRUPTED) };
    if let Some(warning) = report.warning() {
        output.warn("client_limits", &warning);
    }
    output.text(&report.text())?;
    output.json(&report.json())?;
    Ok(Exit::GOOD)
}

/// A bad server file is told before anything is started. True where it has a playbook to decide by.
fn check_config(path: Option<&Path>) -> Result<bool> {
    let Some(path) = path else { return Ok(false) };
    let config = Config::parse(&read_text(path, "server file")?, today);
    let config = config.with_context(|| format!("the server file `{}` is not usable", path.display()))?;
    if config.tls.is_some() {
        let complaint =
            Complaint::usage(format!("the server file `{}` encrypts connections, and the echo does not", path.display()));
        return Err(complaint.hint("measure without `[tls]`").into());
    }
    Ok(config.decisions.is_some())
}

/// Makes the bundle the only champion of a registry.
fn publish(bundle: &Bundle, models: &Path) -> Result<()> {
    let registry = Registry::new(models);
    let published = publish_bundle(&registry, bundle)?;
    Ok(registry.set_alias(&bundle.manifest.name, "champion", published.version)?)
}

/// One thread for each core of the client's.
fn runtime(cores: &Cores) -> Result<tokio::runtime::Runtime> {
    let n_threads = cores.client().len();
    let mut builder = match n_threads {
        2.. => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    if n_threads > 1 {
        builder.worker_threads(n_threads);
    }
    builder.enable_all().build().context("cannot start the client's threads")
}

async fn measure_all(
    arguments: &ServeArguments,
    asked: &Asked<'_>,
    plan: Plan,
    cores: &Cores,
    models: &Path,
    decides: bool,
) -> Result<Report> {
    let schema = asked.scorer.schema();
    let values = asked.values.clone().unwrap_or_else(|| values_of(&asked.rows, schema, asked.observed));
    let customers = Arc::new(Customers::new(asked.scorer, values, asked.observed)?);
    let (server, idle) = idle(cores, models, arguments.server_config.as_deref()).await?;
    let server = Arc::new(server);

    let singles = of_customers(&customers, Customers::check_single);
    let single = Exchange::new(PREDICT, arguments.api_key.as_deref(), &customers.single_requests(schema), singles)?;
    let batches = of_customers(&customers, |customers, _, answer| customers.check_batch(answer));
    let batch = Exchange::new(PREDICT_BATCH, arguments.api_key.as_deref(), &[customers.batch_request(schema)], batches)?;
    let recommend = if decides {
        let decisions = of_customers(&customers, Customers::check_decision);
        let requests = customers.decision_requests(schema);
        Some(Target::new(server.clone(), Exchange::new(RECOMMEND, arguments.api_key.as_deref(), &requests, decisions)?))
    } else {
        None
    };
    let answers = answers_of(&server, &single).await?;
    let bytes = Bytes { request: single.mean_bytes(), answer: mean_length(&answers) };
    let echo = Arc::new(Running::echo(cores, &answers)?);
    let echoed = single.checked_by(move |row, answer| {
        if answers[row] == answer { Ok(()) } else { bail!("row {row}: the echo answers otherwise than it was told") }
    });
    let bench = Bench {
        predict: Pair { echo: Target::new(echo, echoed), serve: Target::new(server.clone(), single) },
        batch: Target::new(server.clone(), batch),
        recommend,
        customers: &customers,
        scorer: asked.scorer,
        plan,
    };
    let outcome = bench.run().await?;
    let model = report::Model {
        address: asked.bundle.manifest.address(),
        n_features: schema.n_features(),
        n_trees: asked.scorer.n_trees(),
    };
    Ok(Report { model, bytes, plan, cores: cores.clone(), outcome, idle, loaded_mib: server.resident_mib() })
}

/// A check of answers by what the model says of these customers.
fn of_customers(
    customers: &Arc<Customers>,
    check: impl Fn(&Customers, usize, &[u8]) -> Result<()> + Send + Sync + 'static,
) -> impl Fn(usize, &[u8]) -> Result<()> + Send + Sync + 'static {
    let customers = customers.clone();
    move |row, answer| check(&customers, row, answer)
}

/// Starts the server some times; the last one stays.
async fn idle(cores: &Cores, models: &Path, config: Option<&Path>) -> Result<(Running, Idle)> {
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let (server, took) = time_to_ready(cores, models, config).await?;
        times.push(took.as_secs_f64() * 1e3);
        sizes.extend(server.resident_mib());
        if times.len() == STARTS {
            let resident_mib = (!sizes.is_empty()).then(|| median(sizes));
            return Ok((server, Idle { ready_ms: median(times), resident_mib }));
        }
    }
}

/// The server's answer to every request, each of them checked.
async fn answers_of(server: &Running, exchange: &Exchange) -> Result<Vec<bytes::Bytes>> {
    let caller = Caller::connect(server.address, exchange).await?;
    let mut answers = Vec::with_capacity(exchange.len());
    for row in 0..exchange.len() {
        answers.push(caller.checked_answer(exchange, row).await.context("the server does not answer as it should")?);
    }
    Ok(answers)
}

fn mean_length(answers: &[bytes::Bytes]) -> f64 {
    answers.iter().map(bytes::Bytes::len).sum::<usize>() as f64 / answers.len().max(1) as f64
}
