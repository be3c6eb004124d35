//! The models directory is watched: what is sound is taken up, what is not is refused by name, and what answered goes on answering.

use std::fs;
use std::path::Path;

use retain_core::ModelName;
use retain_proto::v1;
use retain_server::{Refusal, Server};

use crate::support::{TestServer, config, connect, damage, gym, publish, request, soon, telco, usual};

async fn watched(bundles: &[retain_score::Bundle]) -> TestServer {
    TestServer::start_with(bundles, |config| config.models_check_seconds = 1).await
}

fn refused(server: &TestServer) -> Vec<Refusal> {
    server.running.handle().report().refused
}

async fn until_refused(server: &TestServer, name: &str, version: Option<u32>, reason: &str) {
    let is_it = |refusal: &Refusal| refusal.name == name && refusal.version == version && refusal.reason.contains(reason);
    soon("the refusal", async {
        while !refused(server).iter().any(is_it) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn until_nothing_is_refused(server: &TestServer) {
    soon("the end of all refusals", async {
        while !refused(server).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn version(server: &TestServer) -> u32 {
    let asked = v1::PredictRequest { models: vec!["telco".into()], ..request(&usual()) };
    server.predict(asked).await.unwrap().predictions[0].model.clone().unwrap().version
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_new_champion_answers_without_being_asked_for() {
    let server = watched(&[telco(-0.4)]).await;
    let second = publish(&server.registry, &telco(0.5));
    soon("the second version", async { while version(&server).await != second {} }).await;
    // A model that was not there before.
    publish(&server.registry, &gym());
    let gym = v1::PredictRequest { models: vec!["gym".into()], ..request(&[]) };
    soon("the gym", async { while server.predict(gym.clone()).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_first_model_makes_an_empty_server_serve() {
    let server = watched(&[]).await;
    publish(&server.registry, &telco(-0.4));
    soon("an answer", async { while server.predict(request(&usual())).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_bundle_replaced_half_way_is_refused_until_it_is_whole() {
    let server = watched(&[telco(-0.4)]).await;
    let before = server.predict_one(&usual()).await;
    let second = server.registry.publish(&telco(0.5)).unwrap();
    let third = server.registry.publish(&telco(0.9)).unwrap();
    // Files of two versions, as a copy that was broken off leaves them.
    let model = fs::read(second.path.join("model.bin")).unwrap();
    fs::copy(third.path.join("model.bin"), second.path.join("model.bin")).unwrap();
    server.registry.set_alias(&ModelName::new("telco").unwrap(), "champion", second.version).unwrap();
    until_refused(&server, "telco", Some(second.version), "model.bin").await;
    assert_eq!(server.predict_one(&usual()).await, before);

    fs::write(second.path.join("model.bin"), model).unwrap();
    soon("the whole bundle", async { while version(&server).await != second.version {} }).await;
    until_nothing_is_refused(&server).await;
}

#[tokio::test]
async fn aliases_replaced_half_way_leave_everything_as_it_was() {
    let server = watched(&[telco(-0.4), gym()]).await;
    let aliases = server.registry.root().join("telco/aliases.json");
    let whole = fs::read(&aliases).unwrap();
    for half in [&b""[..], b"{\"champion\": ", b"{\"champion\": \"two\"}", b"{\"chumpion\": 1}"] {
        fs::write(&aliases, half).unwrap();
        until_refused(&server, "telco", None, "").await;
        assert_eq!(server.predict(request(&[])).await.unwrap().predictions.len(), 2);
    }
    fs::remove_file(&aliases).unwrap();
    until_refused(&server, "telco", None, "missing").await;
    assert_eq!(version(&server).await, 1);
    fs::write(&aliases, whole).unwrap();
    until_nothing_is_refused(&server).await;
}

#[tokio::test]
async fn a_folder_that_is_gone_stays_live_until_a_reload() {
    let server = watched(&[telco(-0.4), gym()]).await;
    let (place, away) = (server.registry.root().join("telco"), server.registry.root().join(".away"));
    fs::rename(&place, &away).unwrap();
    until_refused(&server, "telco", None, "is gone").await;
    assert_eq!(version(&server).await, 1);
    fs::rename(&away, &place).unwrap();
    until_nothing_is_refused(&server).await;
    fs::rename(&place, &away).unwrap();
    server.running.handle().reload().await.unwrap();
    assert_eq!(server.predict(request(&[])).await.unwrap().predictions.len(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_bent_to_another_bundle_is_refused_by_name() {
    let server = watched(&[telco(-0.4), gym()]).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let place = server.registry.root().join("telco/1");
    let bend = |to: &Path| {
        if place.is_symlink() {
            fs::remove_file(&place).unwrap();
        } else {
            fs::rename(&place, elsewhere.path().join("own")).unwrap();
        }
        std::os::unix::fs::symlink(to, &place).unwrap();
    };
    let asked = v1::PredictRequest { models: vec!["telco".into()], ..request(&usual()) };
    let before = server.predict(asked.clone()).await.unwrap();
    // Another model, another bundle of the same name and number, a link to itself, a folder without a bundle.
    bend(&server.registry.root().join("gym/1"));
    until_refused(&server, "telco", Some(1), "gym/1").await;
    telco(0.9).write(&elsewhere.path().join("imposter")).unwrap();
    bend(&elsewhere.path().join("imposter"));
    until_refused(&server, "telco", Some(1), "does not change").await;
    bend(&place);
    until_refused(&server, "telco", Some(1), "manifest.json").await;
    bend(elsewhere.path());
    until_refused(&server, "telco", Some(1), "no manifest.json").await;
    assert_eq!(server.predict(asked).await.unwrap(), before);
    // A link to the same bytes is as good as the folder was.
    bend(&elsewhere.path().join("own"));
    until_nothing_is_refused(&server).await;
}

/// As Kubernetes mounts a volume: every entry a link into a hidden folder, which is swapped by one rename.
#[cfg(unix)]
#[tokio::test]
async fn a_root_made_of_links_is_watched() {
    use std::os::unix::fs::symlink;
    let server = TestServer::start(&[telco(-0.4)]).await;
    publish(&server.registry, &telco(0.5));
    let volume = tempfile::tempdir().unwrap();
    for (generation, aliases) in [("..one", r#"{"champion": 1}"#), ("..two", r#"{"champion": 2}"#)] {
        for version in ["1", "2"] {
            let from = server.registry.root().join("telco").join(version);
            copy_folder(&from, &volume.path().join(generation).join("telco").join(version));
        }
        fs::write(volume.path().join(generation).join("telco/aliases.json"), aliases).unwrap();
    }
    symlink("..one", volume.path().join("..data")).unwrap();
    symlink("..data/telco", volume.path().join("telco")).unwrap();
    let link = volume.path().join("..root");
    symlink(".", &link).unwrap();
    let mut config = config(&link);
    config.models_check_seconds = 1;
    let running = Server::bind(config).await.unwrap().spawn().await;
    let mut client = retain_proto::v1::prediction_service_client::PredictionServiceClient::new(connect(&running).await);
    let mut champion =
        async || client.predict(request(&usual())).await.unwrap().into_inner().predictions[0].model.clone().unwrap().version;
    assert_eq!(champion().await, 1);
    symlink("..two", volume.path().join("..new")).unwrap();
    fs::rename(volume.path().join("..new"), volume.path().join("..data")).unwrap();
    soon("the second generation", async { while champion().await != 2 {} }).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_damaged_version_is_found_although_nobody_asked() {
    let server = watched(&[telco(-0.4)]).await;
    damage(&server.registry, "telco", 1);
    until_refused(&server, "telco", Some(1), "model.bin").await;
    assert_eq!(version(&server).await, 1);
    let counts = server.running.handle().counts();
    assert_eq!((counts.model_swaps, counts.model_refusals), (1, 1));
}
