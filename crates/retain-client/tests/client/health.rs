//! Servers that are taken out before calls fail, and come back.

use retain_client::Health;
use tonic_health::ServingStatus;

use crate::support::{Scripted, client, request, soon, until_seen};

const SERVICE: &str = "retain.v1.PredictionService";

#[tokio::test]
async fn a_server_that_is_not_serving_gets_no_calls_until_it_is() {
    let (steady, changing) = (Scripted::start().await, Scripted::start().await);
    let client = client([steady.address, changing.address]).connect().await.unwrap();
    until_seen(&client, 0, Health::Serving).await;
    until_seen(&client, 1, Health::Serving).await;

    changing.health.set_service_status(SERVICE, ServingStatus::NotServing).await;
    until_seen(&client, 1, Health::NotServing).await;
    let before = changing.calls().len();
    for _ in 0..50 {
        client.predict(&request()).await.unwrap();
    }
    assert_eq!((steady.calls().len(), changing.calls().len()), (50, before));
    assert_eq!(client.n_retries(), 0);

    changing.health.set_service_status(SERVICE, ServingStatus::Serving).await;
    until_seen(&client, 1, Health::Serving).await;
    soon("a call at the server that came back", async {
        while changing.calls().len() == before {
            client.predict(&request()).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn calls_spread_over_the_servers() {
    let (first, second) = (Scripted::start().await, Scripted::start().await);
    let client = client([first.address, second.address]).connect().await.unwrap();
    until_seen(&client, 0, Health::Serving).await;
    until_seen(&client, 1, Health::Serving).await;
    for _ in 0..100 {
        client.predict(&request()).await.unwrap();
    }
    let (first, second) = (first.calls().len(), second.calls().len());
    assert!(first + second == 100 && first.min(second) >= 20, "{first} {second}");
}

#[tokio::test]
async fn dropping_the_last_clone_ends_the_watching() {
    let server = Scripted::start().await;
    let client = client([server.address]).connect().await.unwrap();
    let clone = client.clone();
    drop(client);
    clone.predict(&request()).await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    drop(clone);
    soon("the end of the watch", async {
        while tasks() >= before {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
