//! Drain, stop, overload: what happens to servers in service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use retain_client::{Client, Health, v1};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::{client, failure, request, soon, start, until_seen, url};

/// Calls without a pause until told to stop; any error fails the test.
struct Callers {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Callers {
    fn start(client: &Client) -> Self {
        let (stop, answered): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
        let mut tasks = JoinSet::new();
        for _ in 0..16 {
            let (client, stop, answered) = (client.clone(), stop.clone(), answered.clone());
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    client.predict(&request()).await.unwrap();
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { stop, answered, tasks }
    }

    /// Waits for so many more answers.
    async fn more(&self, n_answers: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + n_answers;
        soon("answers", async {
            while self.answered.load(Ordering::Relaxed) < goal {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

#[tokio::test]
async fn no_call_fails_while_a_server_drains_and_another_takes_its_place() {
    let (first, second) = (start(|_| ()).await, start(|_| ()).await);
    let address = first.local_addr();
    let client = client([address, second.local_addr()]).connect().await.unwrap();
    until_seen(&client, 0, Health::Serving).await;
    until_seen(&client, 1, Health::Serving).await;
    let callers = Callers::start(&client);
    callers.more(200).await;
    soon("the end of the drain", first.stop()).await.unwrap();
    callers.more(200).await;
    // The same address again, and then the other one goes.
    let first = start(|config| config.listen = address).await;
    until_seen(&client, 0, Health::Serving).await;
    soon("the end of the drain", second.stop()).await.unwrap();
    callers.more(200).await;
    callers.finish().await;
    first.stop().await.unwrap();
}

#[tokio::test]
async fn one_server_of_two_is_enough_from_the_beginning() {
    let (gone, there) = (start(|_| ()).await, start(|_| ()).await);
    let address = gone.local_addr();
    gone.stop().await.unwrap();
    let client = client([address, there.local_addr()]).connect().await.unwrap();
    for _ in 0..20 {
        client.predict(&request()).await.unwrap();
    }
    until_seen(&client, 0, Health::Unreachable).await;
    assert!(!client.health()[0].problem.is_empty());
    let reloaded = client.reload().await;
    assert!(reloaded[0].1.is_err() && reloaded[1].1.is_ok());
}

/// A `Predict` call whose request is on its way until the sender is used and dropped.
fn slow_call(channel: &Channel) -> (mpsc::Sender<v1::PredictRequest>, JoinHandle<Result<v1::PredictResponse, Status>>) {
    let (sender, receiver) = mpsc::channel(1);
    let mut client = tonic::client::Grpc::new(channel.clone());
    let call = tokio::spawn(async move {
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/retain.v1.PredictionService/Predict");
        let codec = tonic_prost::ProstCodec::<v1::PredictRequest, v1::PredictResponse>::default();
        let requests = tonic::Request::new(ReceiverStream::new(receiver));
        client.client_streaming(requests, path, codec).await.map(tonic::Response::into_inner)
    });
    (sender, call)
}

#[tokio::test]
async fn a_call_at_a_full_server_is_answered_when_there_is_room() {
    let server = start(|config| config.max_in_flight = 1).await;
    let channel = Channel::from_shared(url(server.local_addr())).unwrap().connect().await.unwrap();
    let (sender, slow) = slow_call(&channel);
    let once = client([server.local_addr()]).max_attempts(1).connect().await.unwrap();
    let refused = soon("a full server", async {
        loop {
            if let Err(error) = once.predict(&request()).await {
                return failure(Err::<(), _>(error));
            }
        }
    })
    .await;
    assert_eq!((refused.code(), refused.attempts), (Code::ResourceExhausted, 1));

    let patient = client([server.local_addr()]).max_attempts(1_000).connect().await.unwrap();
    let call = tokio::spawn({
        let patient = patient.clone();
        async move { patient.predict(&request()).await }
    });
    soon("another attempt", async {
        while patient.n_retries() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    sender.send(request()).await.unwrap();
    drop(sender);
    slow.await.unwrap().unwrap();
    soon("the answer", call).await.unwrap().unwrap();
}
