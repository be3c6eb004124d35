//! `retain serve`: the gRPC server, until it is told to stop.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use retain_server::{Config, CustomersReport, LoadReport, Server, ServerError, ServerHandle, Stop};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::cli::Format;
use crate::exit::{Complaint, Exit};
use crate::input::{read_text, today};
use crate::interrupt::{self, Signal};
use crate::output::Output;

/// How long the process waits for file work after the server has drained.
const LAST_GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The server file; variables of the environment such as `RETAIN__LISTEN` go before it, and flags before both
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of published models, or an object store such as `s3://bucket/prefix`
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address and port for Prometheus and HTTP probes: `/metrics`, `/livez`, `/readyz` [default: none]
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<SocketAddr>,
    /// Listen beyond loopback although the server file names no API key: everybody who can connect may then call
    #[arg(long)]
    allow_unprotected: bool,
    /// Read the server file and verify every model, say what would be served, and end
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Exit> {
    let config = read_config(arguments)?;
    let is_store = config.models.to_str().is_some_and(|models| models.contains("://"));
    if !is_store && !config.models.is_dir() {
        let message = format!("there is no folder `{}` with published models", config.models.display());
        let hint = "`retain models publish --model DIR --promote` makes one, `retain quickstart` an example";
        return Err(Complaint::usage(message).hint(hint).into());
    }
    if arguments.check {
        start_log(output, "off");
        return block_on(check(config, output));
    }
    start_log(output, "info");
    block_on(serve(config, output, |_| String::new()))
}

/// Flags before the environment, the environment before the server file.
fn read_config(arguments: &Arguments) -> Result<Config> {
    // Variables whose names or values are no Unicode are none of ours.
    let variables =
        || std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut config = match &arguments.config {
        None if arguments.models.is_none() && std::env::var_os("RETAIN__MODELS").is_none() => {
            let hint = "name the server file with `--config FILE`, or the folder of published models with `--models DIR`";
            return Err(Complaint::usage("nothing says what to serve").hint(hint).into());
        }
        None => Config::parse_with("", variables(), today).context("the settings of the environment are not usable")?,
        Some(path) => Config::parse_with(&read_text(path, "server file")?, variables(), today)
            .with_context(|| format!("the server file `{}` is not usable", path.display()))?,
    };
    if let Some(models) = &arguments.models {
        config.models.clone_from(models);
    }
    config.listen = arguments.listen.unwrap_or(config.listen);
    config.metrics_listen = arguments.metrics_listen.or(config.metrics_listen);
    config.allow_unprotected |= arguments.allow_unprotected;
    Ok(config)
}

/// Logs to standard error; `RUST_LOG` chooses what instead of `level`, `--format json` makes every line JSON.
pub(crate) fn start_log(output: Output, level: &str) {
    let default = if output.is_quiet() { "error" } else { level };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // A log that was started before is as good.
    let _ = if output.format() == Format::Json { log.json().try_init() } else { log.try_init() };
}

/// Runs a server's future to its end. Work on files that hangs does not keep the process from ending.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the server's threads")?;
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(LAST_GRACE);
    result
}

/// Takes the address of the server.
pub(crate) async fn bind(config: Config) -> Result<Server> {
    let listen = config.listen;
    Server::bind(config).await.map_err(|error| match error {
        ServerError::Bind { address, .. } => {
            let complaint = Complaint::usage(format!("the server cannot listen on `{address}`")).because(error);
            complaint.hint("choose another address or port with `--listen`; port 0 takes a free one").into()
        }
        ServerError::Store(_) => {
            let complaint = Complaint::usage("the models of the server file cannot be used").because(error);
            complaint.hint("`models` is a folder, or in builds that know object stores an address such as `s3://bucket/prefix`").into()
        }
        ServerError::Tls(_) => {
            let complaint = Complaint::usage("the certificate of the server file cannot be used").because(error);
            complaint.hint("look at `[tls]` in the server file").into()
        }
        ServerError::Jwt(_) => {
            let complaint = Complaint::usage("the keys of tokens cannot be used").because(error);
            complaint.hint("look at `[jwt]` in the server file").into()
        }
        ServerError::Playbook(_) => {
            let complaint = Complaint::usage("the playbook of the server file cannot be used").because(error);
            complaint.hint("`retain playbook validate FILE` lists all that is wrong with it").into()
        }
        ServerError::Unprotected { .. } => {
            let complaint = Complaint::usage(format!("the server will not listen on `{listen}`")).because(error);
            let hint = "name callers under `[[api_keys]]` or `[jwt]` in the server file, or set `client_ca` in `[tls]`; or, where something else keeps strangers away, say \
                `--allow-unprotected`";
            complaint.hint(hint).into()
        }
        other => anyhow::Error::new(other),
    })
}

/// What would be served: the address is taken and given back, and every model that an alias points at is verified.
async fn check(config: Config, output: Output) -> Result<Exit> {
    let models = config.models.display().to_string();
    let server = bind(config).await?;
    let (address, handle) = (server.local_addr(), server.handle());
    let loaded = match handle.reload().await {
        Ok(loaded) => loaded,
        Err(error) => {
            return Err(Complaint::new(Exit::DATA, format!("the models in `{models}` cannot be read")).because(error).into());
        }
    };
    if loaded.live.is_empty() || !loaded.refused.is_empty() {
        return Err(nothing_to_serve(&loaded, &models).into());
    }
    let customers = match handle.read_customers().await.transpose() {
        Ok(customers) => customers,
        Err(error) => return Err(Complaint::new(Exit::DATA, "the customer table cannot be used").because(error).into()),
    };
    let playbook = match handle.check_playbook() {
        Ok(playbook) => playbook,
        Err(reason) => {
            let complaint =
                Complaint::new(Exit::DATA, "a model of the playbook does not answer").because(anyhow::Error::msg(reason));
            return Err(complaint.hint("publish and promote it, or take it out of `[models]` in the playbook").into());
        }
    };
    let mut text = customers.as_ref().map(customers_text).unwrap_or_default();
    if let Some(playbook) = &playbook {
        let _ = writeln!(text, "  decisions by the playbook {playbook}");
    }
    output.text(&format!("would listen on {address}\n{}\n{text}", live_text(&loaded)))?;
    let customers = customers.as_ref().map(customers_json);
    output.json(
        &json!({ "listen": address.to_string(), "models": live_names(&loaded), "customers": customers, "playbook": playbook }),
    )?;
    Ok(Exit::GOOD)
}

fn customers_text(customers: &CustomersReport) -> String {
    let CustomersReport { n_customers, n_rows, n_superseded, n_without_id, n_undated, memory_bytes, .. } = customers;
    let mut text = format!("  {n_customers} customers by id, of {n_rows} rows, in {} MiB\n", memory_bytes.div_ceil(1 << 20));
    for (number, what) in [
        (n_superseded, "rows do not count: the same customer has a newer one, or one further down"),
        (n_without_id, "rows have no id"),
        (n_undated, "rows have no date of observation: they count as known when their file was written"),
    ] {
        if *number > 0 {
            let _ = writeln!(text, "  {number} {what}");
        }
    }
    for (column, n_bad) in &customers.bad_cells {
        let _ = writeln!(text, "  {n_bad} cells of `{column}` do not fit what models read there");
    }
    for column in &customers.absent {
        let _ = writeln!(text, "  there is no column `{column}`: it is missing for every customer");
    }
    text
}

fn customers_json(customers: &CustomersReport) -> serde_json::Value {
    json!({
        "customers": customers.n_customers,
        "rows": customers.n_rows,
        "superseded": customers.n_superseded,
        "without_id": customers.n_without_id,
        "undated": customers.n_undated,
        "bad_cells": customers.bad_cells.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "absent": customers.absent,
        "memory_bytes": customers.memory_bytes,
    })
}

/// Serves until a signal comes; `advice` is printed below the address. A server with nothing to serve ends at once: later it would
/// only be found by its clients.
pub(crate) async fn serve(config: Config, output: Output, advice: impl FnOnce(SocketAddr) -> String) -> Result<Exit> {
    let models = config.models.clone();
    let server = bind(config).await?;
    let address = server.local_addr();
    let handle = server.handle();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut serving = tokio::spawn(server.serve(async {
        tokio::select! {
            signal = interrupt::signal() => match signal {
                Signal::Terminate => Stop::Gracefully,
                Signal::Interrupt => Stop::Now,
            },
            _ = stopped => Stop::Now,
        }
    }));
    // Before the models are read: a signal that nobody listens for would end the process.
    watch_hangup(&handle)?;
    let loaded = tokio::select! {
        loaded = handle.loaded() => loaded,
        ended = &mut serving => return Ok(ended?.map(|()| Exit::GOOD)?),
    };
    if loaded.live.is_empty() {
        let _ = stop.send(());
        let _ = serving.await;
        return Err(nothing_to_serve(&loaded, &models.display().to_string()).into());
    }
    let customers = tokio::select! {
        customers = handle.customers() => customers,
        ended = &mut serving => return Ok(ended?.map(|()| Exit::GOOD)?),
    };
    if let Some(Err(error)) = customers {
        // It may yet come: the server looks again, and says meanwhile that it does not serve.
        let reason = format!("{:#}", anyhow::Error::new(error));
        output.warn("customer_table", &format!("the server is not ready before its customer table can be used: {reason}"));
    }
    output.text(&format!("listening on {address}\n{}\n{}", live_text(&loaded), advice(address)))?;
    let metrics = handle.metrics_addr().map(|address| address.to_string());
    output.json_line(&json!({ "listen": address.to_string(), "metrics": metrics, "models": live_names(&loaded) }))?;
    serving.await??;
    drop(stop);
    Ok(Exit::GOOD)
}

fn live_names(loaded: &LoadReport) -> Vec<String> {
    loaded.live.iter().map(|model| format!("{}/{}", model.name, model.version)).collect()
}

fn live_text(loaded: &LoadReport) -> String {
    let line = |model: &retain_server::LoadedModel| format!("  {}/{} ({})", model.name, model.version, model.aliases.join(", "));
    loaded.live.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn nothing_to_serve(loaded: &LoadReport, models: &str) -> Complaint {
    let refused: Vec<String> = loaded
        .refused
        .iter()
        .map(|refusal| {
            let version = refusal.version.map_or_else(String::new, |version| format!("/{version}"));
            format!("{}{version}: {}", refusal.name, refusal.reason)
        })
        .collect();
    if refused.is_empty() {
        let message = format!("no model in `{models}` has a champion, so there is nothing to serve");
        return Complaint::usage(message).hint("`retain models promote NAME/VERSION` makes a version the champion");
    }
    let what = if loaded.live.is_empty() { "no model" } else { "not every model" };
    let complaint = Complaint::new(Exit::DATA, format!("{what} in `{models}` can be served"));
    complaint.because(anyhow::anyhow!(refused.join("; "))).hint("`retain models verify` looks at every bundle")
}

/// A hang-up signal makes the server read its models again.
#[cfg(unix)]
fn watch_hangup(handle: &ServerHandle) -> Result<()> {
    tokio::spawn(handle.reload_on_hangup().context("cannot listen for the hang-up signal")?);
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as where the signal exists")]
fn watch_hangup(_handle: &ServerHandle) -> Result<()> {
    Ok(())
}
