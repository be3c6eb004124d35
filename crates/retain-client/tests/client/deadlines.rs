//! Calls that take too long.

use std::time::Duration;

use retain_client::Error;
use tonic::Code;
use tonic_health::ServingStatus;

use crate::support::{Scripted, client, failure, request, soon};

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_call_ends_with_its_deadline_and_is_not_tried_again() {
    let server = Scripted::start().await;
    server.hang();
    let client = client([server.address]).connect().await.unwrap().with_deadline(SHORT);
    let late = failure(soon("the deadline", client.predict(&request())).await);
    assert_eq!((late.code(), late.attempts), (Code::DeadlineExceeded, 1));
    assert_eq!(client.n_retries(), 0);
}

#[tokio::test]
async fn the_server_is_told_the_time_that_is_left() {
    let server = Scripted::start().await;
    let client = client([server.address]).connect().await.unwrap().with_deadline(Duration::from_secs(20));
    client.predict(&request()).await.unwrap();
    let header = server.calls()[0].get("grpc-timeout").unwrap().to_str().unwrap().to_owned();
    let (number, unit) = header.split_at(header.len() - 1);
    let seconds = number.parse::<f64>().unwrap()
        * [("n", 1e-9), ("u", 1e-6), ("m", 1e-3), ("S", 1.0)].iter().find(|known| known.0 == unit).unwrap().1;
    assert!((0.0..=20.0).contains(&seconds), "{header}");
}

#[tokio::test]
async fn a_pause_that_would_pass_the_deadline_is_not_begun() {
    let server = Scripted::start().await;
    let hint = Duration::from_secs(20);
    server.refuse([crate::support::with_hint(Code::ResourceExhausted, hint)]);
    let client = client([server.address]).connect().await.unwrap().with_deadline(Duration::from_secs(5));
    let refused = failure(client.predict(&request()).await);
    assert_eq!((refused.code(), refused.attempts), (Code::ResourceExhausted, 1));
}

#[tokio::test]
async fn waiting_for_a_server_ends_with_the_deadline() {
    let server = Scripted::start().await;
    server.health.set_service_status("retain.v1.PredictionService", ServingStatus::NotServing).await;
    let waiting = client([server.address]).build().unwrap().with_deadline(SHORT);
    let error = soon("the deadline", waiting.predict(&request())).await.unwrap_err();
    assert!(matches!(error, Error::NotReady { .. }), "{error}");
    let impatient = client([server.address]).fail_fast(true).build().unwrap();
    assert!(matches!(impatient.predict(&request()).await, Err(Error::NotReady { .. })));
    assert!(server.calls().is_empty());
}
