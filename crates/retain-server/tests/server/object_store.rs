//! Models from an object store: here a folder that is asked as one, so that no test needs a network.

use std::fs;

use retain_core::ModelName;
use retain_proto::v1;
use retain_score::Registry;
use retain_server::{Config, RunningServer, Server};
use tonic::Code;
use tonic::transport::Channel;

use crate::support::{config, connect, damage, publish, reason_of, request, soon, telco, usual};

/// A store with `telco/1`, and a server over it.
struct Stored {
    registry: Registry,
    running: RunningServer,
    channel: Channel,
    _folders: [tempfile::TempDir; 2],
}

async fn stored() -> Stored {
    let (store, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let registry = Registry::new(&store.path().join("prod"));
    publish(&registry, &telco(-0.4));
    let running = serve(&registry, |config| config.models_cache = Some(cache.path().to_owned())).await;
    let channel = connect(&running).await;
    Stored { registry, running, channel, _folders: [store, cache] }
}

async fn serve(registry: &Registry, change: impl FnOnce(&mut Config)) -> RunningServer {
    let url = format!("file://{}", registry.root().display());
    let mut config = config(url.as_ref());
    config.models_check_seconds = 1;
    change(&mut config);
    Server::bind(config).await.unwrap().spawn().await
}

impl Stored {
    async fn version(&self) -> u32 {
        let mut client = v1::prediction_service_client::PredictionServiceClient::new(self.channel.clone());
        let answer = client.predict(request(&usual())).await.unwrap().into_inner();
        answer.predictions[0].model.as_ref().unwrap().version
    }

    async fn until_refused(&self, version: u32) {
        let is_refused = || self.running.handle().report().refused.iter().any(|refusal| refusal.version == Some(version));
        soon("the refusal", async {
            while !is_refused() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn models_of_a_store_are_watched_and_verified_as_those_of_a_folder() {
    let stored = stored().await;
    assert_eq!(stored.version().await, 1);
    let second = publish(&stored.registry, &telco(0.5));
    soon("the second version", async { while stored.version().await != second {} }).await;

    let third = stored.registry.publish(&telco(0.9)).unwrap().version;
    damage(&stored.registry, "telco", third);
    stored.registry.set_alias(&ModelName::new("telco").unwrap(), "champion", third).unwrap();
    stored.until_refused(third).await;
    assert_eq!(stored.version().await, second);
}

#[tokio::test]
async fn a_store_that_is_gone_leaves_what_is_live() {
    let stored = stored().await;
    let refusals = stored.running.handle().counts().model_refusals;
    fs::rename(stored.registry.root(), stored.registry.root().with_file_name("away")).unwrap();
    soon("the count", async {
        while stored.running.handle().counts().model_refusals == refusals {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(stored.running.handle().reload().await.is_err());
    assert_eq!(stored.version().await, 1);
}

#[tokio::test]
async fn aliases_are_set_in_the_store_and_not_here() {
    let stored = stored().await;
    let mut client = v1::model_service_client::ModelServiceClient::new(stored.channel.clone());
    let request = v1::SetAliasRequest { name: "telco".into(), alias: "champion".into(), version: 1 };
    let status = client.set_alias(request).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Unimplemented, "UNIMPLEMENTED"));
}

#[tokio::test]
async fn without_a_folder_for_copies_a_temporary_one_is_used() {
    let store = tempfile::tempdir().unwrap();
    let registry = Registry::new(store.path());
    publish(&registry, &telco(-0.4));
    let running = serve(&registry, |_| ()).await;
    assert_eq!(running.handle().report().live.len(), 1);
    running.stop().await.unwrap();
}
