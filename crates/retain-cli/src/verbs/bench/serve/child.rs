//! The servers that are measured, each a process of its own of this same program.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use prost::Message;
use prost::bytes::Bytes;
use serde::Deserialize;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::client::{Caller, Exchange};
use super::cores::Cores;
use super::echo::write_answers;

/// A server that runs; it ends when this is dropped.
pub(super) struct Running {
    child: Child,
    pub(super) address: SocketAddr,
    /// The echo ends when this is closed.
    _stdin: Option<ChildStdin>,
}

/// The first line that a server prints.
#[derive(Deserialize)]
struct Greeting {
    listen: SocketAddr,
}

impl Running {
    /// The real server, with the models in a folder.
    pub(super) fn serve(cores: &Cores, models: &Path, config: Option<&Path>) -> Result<Self> {
        let mut command = program()?;
        command.args(["serve", "--listen", "127.0.0.1:0", "--models"]).arg(models).stdin(Stdio::null());
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        Self::start(cores, command, &[]).context("the server did not start")
    }

    /// The bare echo of these answers.
    pub(super) fn echo(cores: &Cores, answers: &[Bytes]) -> Result<Self> {
        let mut command = program()?;
        command.arg("bench-echo").stdin(Stdio::piped());
        Self::start(cores, command, answers).context("the echo did not start")
    }

    fn start(cores: &Cores, mut command: Command, answers: &[Bytes]) -> Result<Self> {
        command.stdout(Stdio::piped());
        let mut child = cores.on_server(|| Ok(command.spawn()?))?;
        let mut stdin = child.stdin.take();
        let written = stdin.as_mut().map_or(Ok(()), |stdin| write_answers(stdin, answers));
        let mut line = String::new();
        let stdout = child.stdout.take().context("the process has no output")?;
        let read = written.and_then(|()| BufReader::new(stdout).read_line(&mut line));
        if let Ok(Ok(greeting)) = read.map(|_| serde_json::from_str::<Greeting>(&line)) {
            return Ok(Self { child, address: greeting.listen, _stdin: stdin });
        }
        let _ = child.kill();
        let status = child.wait()?;
        bail!("the process ended with {status} and did not say where it listens; it said `{}`", line.trim_end())
    }

    /// Memory that the process holds, in MiB, where the system tells.
    pub(super) fn resident_mib(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
    }

    /// Time that the processors have spent on the process so far, where the system tells.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        cpu_time_of(&self.child.id().to_string())
    }
}

/// The same of the client, which is this process.
pub(super) fn own_cpu_time() -> Option<Duration> {
    cpu_time_of("self")
}

fn cpu_time_of(process: &str) -> Option<Duration> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let nanos = tasks.flatten().map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    nanos.sum::<Option<u64>>().map(Duration::from_nanos)
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program once more.
fn program() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.args(["--format", "json", "--quiet"]);
    Ok(command)
}

/// Starts the server, and tells how long it took until it said `SERVING`.
pub(super) async fn time_to_ready(cores: &Cores, models: &Path, config: Option<&Path>) -> Result<(Running, Duration)> {
    let started = Instant::now();
    let server = Running::serve(cores, models, config)?;
    let request = HealthCheckRequest { service: String::new() }.encode_to_vec();
    let exchange = Exchange::new("/grpc.health.v1.Health/Check", None, &[request], |_, answer| {
        let status = HealthCheckResponse::decode(answer).context("the answer of the health check cannot be read")?.status();
        if status == ServingStatus::Serving { Ok(()) } else { bail!("the server says {}", status.as_str_name()) }
    })?;
    Caller::connect(server.address, &exchange).await?.checked_answer(&exchange, 0).await?;
    Ok((server, started.elapsed()))
}
