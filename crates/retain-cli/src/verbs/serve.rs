//! `retain serve`: the gRPC server, until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{ArgGroup, Args};
use retain_server::{Config, LoadReport, Server, ServerError, ServerHandle};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::cli::Format;
use crate::exit::{Complaint, Exit};
use crate::input::{read_text, today};
use crate::interrupt;
use crate::output::Output;

/// How long the process waits for file work after the server has drained.
const LAST_GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["config", "models"])))]
pub(crate) struct Arguments {
    /// The server file; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of published models, or an object store such as `s3://bucket/prefix`
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
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

fn read_config(arguments: &Arguments) -> Result<Config> {
    let mut config = match &arguments.config {
        None => Config::new(&PathBuf::from("models"), today),
        Some(path) => Config::parse(&read_text(path, "server file")?, today)
            .with_context(|| format!("the server file `{}` is not usable", path.display()))?,
    };
    if let Some(models) = &arguments.models {
        config.models.clone_from(models);
    }
    config.listen = arguments.listen.unwrap_or(config.listen);
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
        ServerError::Bind { .. } => {
            let complaint = Complaint::usage(format!("the server cannot listen on `{listen}`")).because(error);
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
        ServerError::Unprotected { .. } => {
            let complaint = Complaint::usage(format!("the server will not listen on `{listen}`")).because(error);
            let hint = "name callers under `[[api_keys]]` in the server file, or set `client_ca` in `[tls]`; or, where something else keeps strangers away, say \
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
    output.text(&format!("would listen on {address}\n{}\n", live_text(&loaded)))?;
    output.json(&json!({ "listen": address.to_string(), "models": live_names(&loaded) }))?;
    Ok(Exit::GOOD)
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
            () = interrupt::signal() => {}
            _ = stopped => {}
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
    output.text(&format!("listening on {address}\n{}\n{}", live_text(&loaded), advice(address)))?;
    output.json_line(&json!({ "listen": address.to_string(), "models": live_names(&loaded) }))?;
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
