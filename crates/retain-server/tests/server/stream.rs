//! `PredictStream`.

use std::time::Duration;

use retain_proto::v1;
use retain_proto::v1::feature_value::Value;
use retain_proto::v1::predict_stream_response::Outcome;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::support::{TestServer, reason_of, request, soon, telco, text, usual};

type Answers = Streaming<v1::PredictStreamResponse>;

async fn open(server: &TestServer) -> Result<(mpsc::Sender<v1::PredictRequest>, Answers), Status> {
    let (sender, receiver) = mpsc::channel(1);
    let answers = server.predictions().predict_stream(ReceiverStream::new(receiver)).await?.into_inner();
    Ok((sender, answers))
}

async fn next(answers: &mut Answers) -> Result<Outcome, Status> {
    soon("an answer", answers.next()).await.unwrap().map(|answer| answer.outcome.unwrap())
}

fn of_customer(customer_id: u32, features: &[(&str, Value)]) -> v1::PredictRequest {
    v1::PredictRequest { customer_id: customer_id.to_string(), ..request(features) }
}

#[tokio::test]
async fn answers_come_in_order_and_a_mistake_does_not_end_the_stream() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let (sender, mut answers) = open(&server).await.unwrap();
    let sending = tokio::spawn(async move {
        for customer in 0..500 {
            let wrong = [("tenure", text("long"))];
            let features = if customer % 7 == 3 { wrong.to_vec() } else { vec![("tenure", Value::Number(f64::from(customer)))] };
            sender.send(of_customer(customer, &features)).await.unwrap();
        }
    });
    for customer in 0..500 {
        match next(&mut answers).await.unwrap() {
            Outcome::Response(response) => {
                assert_eq!(response.customer_id, customer.to_string());
                let expected = server.predict_one(&[("tenure", Value::Number(f64::from(customer)))]).await;
                assert_eq!(response.predictions, [expected]);
            }
            Outcome::Error(error) => {
                assert_eq!((customer % 7, error.code, error.reason.as_str()), (3, 3, "NOT_A_NUMBER"));
                assert_eq!(error.fields[0].field, "features[\"tenure\"]");
                assert!(error.message.contains("long"), "{}", error.message);
            }
        }
    }
    sending.await.unwrap();
    assert!(soon("the end", answers.next()).await.is_none());
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_from() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let (sender, mut answers) = open(&server).await.unwrap();
    // Requests of a size that fills the windows soon.
    let long_name = "x".repeat(100_000);
    let large = v1::PredictRequest { customer_id: long_name.clone(), ..request(&usual()) };
    let mut n_sent = 0;
    while tokio::time::timeout(Duration::from_secs(1), sender.send(large.clone())).await.is_ok() {
        n_sent += 1;
        assert!(n_sent < 1_000, "a hundred megabytes were taken from a client that does not read");
    }
    for _ in 0..n_sent {
        let Outcome::Response(response) = next(&mut answers).await.unwrap() else { panic!("a good request") };
        assert_eq!(response.customer_id, long_name);
    }
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_an_ended_one_makes_room() {
    let server = TestServer::start_with(&[telco(-0.4)], |config| config.max_streams = 1).await;
    let (sender, mut answers) = open(&server).await.unwrap();
    let refused = open(&server).await.map(|_| ()).unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_IN_FLIGHT"));
    // Other calls have a room of their own.
    server.predict_one(&usual()).await;
    drop(sender);
    assert!(soon("the end", answers.next()).await.is_none());
    drop(answers);
    soon("room for another stream", async { while open(&server).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let (sender, mut answers) = open(&server).await.unwrap();
    sender.send(request(&usual())).await.unwrap();
    next(&mut answers).await.unwrap();
    let stopped = tokio::spawn(server.running.stop());
    let ended = next(&mut answers).await.unwrap_err();
    assert_eq!((ended.code(), reason_of(&ended).as_str()), (Code::Unavailable, "STOPPING"));
    soon("the stop", stopped).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_why_its_stream_ended() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let (sender, mut answers) = open(&server).await.unwrap();
    let large = v1::PredictRequest { customer_id: "x".repeat(100_000), ..request(&usual()) };
    while tokio::time::timeout(Duration::from_millis(300), sender.send(large.clone())).await.is_ok() {}
    let stopped = tokio::spawn(server.running.stop());
    let ended = loop {
        if let Err(status) = next(&mut answers).await {
            break status;
        }
    };
    assert_eq!((ended.code(), reason_of(&ended).as_str()), (Code::Unavailable, "STOPPING"));
    soon("the stop", stopped).await.unwrap().unwrap();
}
