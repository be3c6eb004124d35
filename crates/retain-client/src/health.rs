//! Watches the health of a server with the standard protocol, `grpc.health.v1`.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::retry::{Backoff, Random};
use crate::servers::{Health, Server};

/// Pauses between two looks at a server that cannot be reached.
const BACKOFF: Backoff = Backoff { max_attempts: u32::MAX, base: Duration::from_millis(50), max: Duration::from_secs(2) };
/// How often a server is looked at that has no health service: it is believed to serve meanwhile.
const BLIND: Duration = Duration::from_secs(30);

/// Notes how a server is, as long as it is polled. A server that does not say how it is within `patience` cannot be reached.
pub(crate) async fn watch(server: Arc<Server>, service: String, patience: Duration, random: Random) {
    let mut failures = 0;
    loop {
        let ended = match timeout(patience, begin(&server, &service)).await {
            Ok(Ok((first, stream))) => {
                failures = 0;
                server.set_health(health_of(first), "");
                follow(&server, stream).await
            }
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("it does not say how it is"),
        };
        if ended.code() == Code::Unimplemented {
            server.set_health(Health::Serving, "");
            tokio::time::sleep(BLIND).await;
            continue;
        }
        server.set_health(Health::Unreachable, &in_words(&ended));
        failures += 1;
        tokio::time::sleep(BACKOFF.pause(failures, &random)).await;
    }
}

/// The first thing that it says, and the stream of what comes after.
async fn begin(server: &Server, service: &str) -> Result<(HealthCheckResponse, Streaming<HealthCheckResponse>), Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let mut stream = HealthClient::new(server.channel.clone()).watch(request).await?.into_inner();
    let first = stream.message().await?;
    first.map(|first| (first, stream)).ok_or_else(|| Status::unavailable("it says nothing of its health"))
}

/// Notes every change, until the stream ends.
async fn follow(server: &Server, mut stream: Streaming<HealthCheckResponse>) -> Status {
    loop {
        match stream.message().await {
            Ok(Some(news)) => server.set_health(health_of(news), ""),
            Ok(None) => return Status::unavailable("it has ended the connection"),
            Err(status) => return status,
        }
    }
}

fn health_of(news: HealthCheckResponse) -> Health {
    match news.status() {
        ServingStatus::Serving => Health::Serving,
        ServingStatus::NotServing | ServingStatus::ServiceUnknown | ServingStatus::Unknown => Health::NotServing,
    }
}

/// The deepest cause says it best: those above are the transport's layers.
fn in_words(status: &Status) -> String {
    let mut words = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        words = error.to_string();
        cause = error.source();
    }
    words
}
