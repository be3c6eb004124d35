//! `retain quickstart`: the whole way from a table to an answer, on data that is built in.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use retain_core::ModelName;
use retain_data::{TableSource, Task};
use retain_eval::{GateFile, Metric, Verdict};
use retain_score::{Bundle, Published, Registry};
use retain_server::{Config, DecisionSettings};
use retain_store::StoreConfig;
use retain_train::{MetricsFile, Preference};
use serde_json::json;

use crate::cli::Global;
use crate::exit::{Complaint, Exit};
use crate::input::{read_bundle, read_training, today};
use crate::interrupt;
use crate::output::Output;
use crate::sample_calls::{self, SAMPLE_CUSTOMER};
use crate::tables;
use crate::verbs::data::leakage;
use crate::verbs::gate::judge_by_stored;
use crate::verbs::models::publish_bundle;
use crate::verbs::serve::{block_on, serve, start_log};
use crate::verbs::train::{Start, summary_text, task_with_seed, train};

/// IBM's sample of a telephone company; `data/README.md` tells its source and licence.
pub(crate) const TABLE: &[u8] = include_bytes!("../../data/telco_churn.csv");
const TASK: &str = include_str!("../../data/telco_churn.toml");
const GATE: &str = include_str!("../../data/gate.toml");
const PLAYBOOK: &str = include_str!("../../data/playbook.toml");
/// The same table in a checkout of the project, for calls to try.
const TABLE_PATH: &str = "crates/retain-cli/data/telco_churn.csv";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Make the calls, print the answers, and end
    #[arg(long)]
    once: bool,
    /// Folder of published models
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// Address and port to listen on [default: 127.0.0.1:50051, with `--once` any free port]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

pub(crate) fn run(arguments: &Arguments, global: &Global, output: Output) -> Result<Exit> {
    let default_port = if arguments.once { 0 } else { 50051 };
    let listen = arguments.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, default_port)));
    check_address(listen)?;
    check_models(&arguments.models)?;
    interrupt::watch();
    let bundle = train_sample(arguments, global, output)?;
    let verdict = pass_gate(&bundle, output)?;
    if verdict != Exit::GOOD {
        return Ok(verdict);
    }
    let registry = Registry::new(&arguments.models);
    let published = publish(&registry, &bundle, output)?;
    interrupt::release();
    start_log(output, "warn");
    let folder = Draft::of_decisions(&arguments.models);
    let config = Config { listen, decisions: Some(decisions(&folder)?), ..Config::new(&arguments.models, today) };
    if arguments.once {
        let answers = block_on(sample_calls::serve_and_call(config, output))?;
        let Published { version, path, is_new } = &published;
        output.json(
            &json!({ "published": path.display().to_string(), "version": version, "is_new": is_new, "answers": answers }),
        )?;
        return Ok(Exit::GOOD);
    }
    let advice = |address| calls_to_try(address, &arguments.models);
    block_on(serve(config, output, advice))
}

/// Finds out before the work whether the server will have its address.
fn check_address(listen: SocketAddr) -> Result<()> {
    match TcpListener::bind(listen) {
        Ok(_) => Ok(()),
        Err(error) => {
            let complaint = Complaint::usage(format!("the server cannot listen on `{listen}`")).because(error);
            Err(complaint.hint("choose another address with `--listen`, or `--once` for any free port").into())
        }
    }
}

/// Makes the folder of published models and writes to it, which after the training would be late to find impossible.
fn check_models(models: &Path) -> Result<()> {
    let made = std::fs::create_dir_all(models).and_then(|()| {
        let probe = Draft::new(models);
        std::fs::create_dir(&probe.0)
    });
    made.with_context(|| format!("cannot publish in the folder `{}`; `--models DIR` names another", models.display()))
}

/// The built-in playbook, and an empty log of decisions that goes with the folder.
fn decisions(folder: &Draft) -> Result<DecisionSettings> {
    let playbook = folder.0.join("playbook.toml");
    let written = std::fs::create_dir(&folder.0).and_then(|()| std::fs::write(&playbook, PLAYBOOK));
    written.with_context(|| format!("cannot write the playbook to `{}`", playbook.display()))?;
    Ok(DecisionSettings::new(playbook, StoreConfig::sqlite(folder.0.join("decisions.db"))))
}

/// Trains on the built-in table. The bundle is written to disk and read back once, because only then has it its checksums.
fn train_sample(arguments: &Arguments, global: &Global, output: Output) -> Result<Bundle> {
    let started = Instant::now();
    step(output, 1, "train on the built-in table of IBM's fictional telephone company")?;
    let task = Task::parse(TASK).context("the built-in task is not usable")?;
    let task = task_with_seed(task, global.seed);
    let source = TableSource::from_bytes("telco_churn.csv", TABLE.to_vec()).context("the built-in table is not usable")?;
    let mut training = read_training(&source, &task, output)?;
    leakage::check(&mut training, &task, output)?;
    let trained = train(&task, &training, None, Start { at: started, prefer: Preference::Accurate }, output)?;
    output.text(&summary_text(&trained, None))?;
    interrupt::uninterrupted(|| {
        let draft = Draft::new(&arguments.models);
        trained.bundle.replace(&draft.0).context("cannot write the bundle")?;
        read_bundle(&draft.0)
    })
}

/// A folder that is gone when this is dropped.
struct Draft(PathBuf);

impl Draft {
    /// A hidden name: the registry passes over it.
    fn new(models: &Path) -> Self {
        Self(models.join(format!(".quickstart-{}", std::process::id())))
    }

    fn of_decisions(models: &Path) -> Self {
        Self(models.join(format!(".decisions-{}", std::process::id())))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn step(output: Output, number: usize, what: &str) -> Result<()> {
    let gap = if number == 1 { "" } else { "\n" };
    output.text(&format!("{gap}── {number}. {what}"))
}

/// Holds the model against the built-in gate; the exit code says whether it may be published.
fn pass_gate(bundle: &Bundle, output: Output) -> Result<Exit> {
    step(output, 2, "gate")?;
    let file = GateFile::parse(GATE).context("the built-in gate file is not usable")?;
    let report = judge_by_stored(&file, bundle)?;
    output.text(&report.to_text())?;
    if report.verdict != Verdict::Pass {
        output.note("the model is not published");
    }
    Ok(Exit::of_gate(report.exit_code()))
}

/// Publishes the bundle. Only a model without a champion gets one: somebody chose the present one.
fn publish(registry: &Registry, bundle: &Bundle, output: Output) -> Result<Published> {
    step(output, 3, "publish")?;
    let name = &bundle.manifest.name;
    let published = publish_bundle(registry, bundle)?;
    let (version, folder) = (published.version, published.path.display());
    let what = if published.is_new { "published as" } else { "the same bundle had been published as" };
    output.text(&format!("{what} {name}/{version} in {folder}"))?;
    match registry.aliases(name)?.get("champion").copied() {
        None => {
            interrupt::uninterrupted(|| registry.set_alias(name, "champion", version))?;
            output.text(&format!("{name}/{version} is the champion\n"))?;
        }
        Some(champion) if champion == version => output.text(&format!("{name}/{version} is the champion\n"))?,
        Some(champion) => output.text(&beside_champion(registry, name, champion, bundle, version))?,
    }
    Ok(published)
}

/// Says why the champion stays, and how to change that.
fn beside_champion(registry: &Registry, name: &ModelName, champion: u32, bundle: &Bundle, version: u32) -> String {
    let auc = |bundle: &Bundle| {
        let metrics = serde_json::from_slice::<MetricsFile>(&bundle.metrics).ok()?;
        let measured = metrics.validation.evaluation.get(Metric::RocAuc);
        Some(format!("{} {}", tables::value(measured), tables::interval(measured)))
    };
    let of_champion = Bundle::read(&registry.path(name, champion)).ok().and_then(|bundle| auc(&bundle));
    let unknown = || "unknown".to_owned();
    format!(
        "{name}/{champion} stays the champion and answers below. Stored ROC AUC: {} for it, {} for version {version}.\n\
         The two are not compared row by row: the champion has seen these rows. Compare on rows new to both with\n  \
         retain gate --config GATE --model {name}/{version} --champion {name}/{champion} --data FILE --models {root}\n\
         and make the new version the champion with\n  retain models promote {name}/{version} --models {root}\n",
        of_champion.unwrap_or_else(unknown),
        auc(bundle).unwrap_or_else(unknown),
        root = registry.root().display()
    )
}

/// How this program is called from here: a build of the project is rarely on the search path.
fn program() -> String {
    let Ok(program) = std::env::current_exe() else { return "retain".to_owned() };
    let here = std::env::current_dir().unwrap_or_default();
    program.strip_prefix(&here).unwrap_or(&program).display().to_string()
}

fn calls_to_try(address: SocketAddr, models: &Path) -> String {
    let (program, models) = (program(), models.display());
    let files = if Path::new(TABLE_PATH).is_file() {
        format!(
            "{program} explain --model telco-churn --models {models} --input {TABLE_PATH} --id {SAMPLE_CUSTOMER}\n\
             {program} score --model telco-churn --models {models} --input {TABLE_PATH} --output scores.csv --explain 3\n"
        )
    } else {
        format!("{program} models show telco-churn --models {models}\n")
    };
    format!(
        "\n── 4. try\n\n\
         grpcurl -plaintext {address} list\n\
         grpcurl -plaintext -d '{{\"customer_id\": \"new\", \"features\": {{\"tenure\": {{\"number\": 1}}, \"Contract\": {{\"text\": \
         \"Month-to-month\"}}, \"MonthlyCharges\": {{\"number\": 95.5}}}}, \"top_k_reasons\": 5}}' {address} retain.v1.PredictionService/Predict\n\
         grpcurl -plaintext -d '{{\"customer_id\": \"new\", \"features\": {{\"tenure\": {{\"number\": 1}}, \"Contract\": {{\"text\": \
         \"Month-to-month\"}}, \"MonthlyCharges\": {{\"number\": 95.5}}}}, \"top_k_candidates\": 5}}' {address} retain.v1.DecisionService/Recommend\n\
         {files}\n\
         Ctrl-C ends the server."
    )
}
