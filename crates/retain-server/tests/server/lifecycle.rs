//! Health, reload, overload, shutdown.

use retain_proto::v1;
use retain_proto::v1::prediction_service_client::PredictionServiceClient;
use retain_server::{ReloadError, Server, ServerError, Stop};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;

use crate::support::{TestServer, assert_refused, config, connect, damage, gym, publish, reason_of, request, soon, telco, usual};

const SERVICES: [&str; 3] = ["", "retain.v1.PredictionService", "retain.v1.ModelService"];

/// A `Predict` call whose request is on its way until the sender is used and dropped.
fn slow_call(channel: &Channel) -> (mpsc::Sender<v1::PredictRequest>, JoinHandle<Result<v1::PredictResponse, Status>>) {
    let (sender, receiver) = mpsc::channel(1);
    let mut client = tonic::client::Grpc::new(channel.clone());
    let call = tokio::spawn(async move {
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/retain.v1.PredictionService/Predict");
        let codec = tonic_prost::ProstCodec::<v1::PredictRequest, v1::PredictResponse>::default();
        client
            .client_streaming(tonic::Request::new(ReceiverStream::new(receiver)), path, codec)
            .await
            .map(tonic::Response::into_inner)
    });
    (sender, call)
}

/// Waits until the one place of the server is taken, and returns the refusal.
async fn until_full(server: &TestServer) -> Status {
    soon("a full server", async {
        loop {
            if let Err(status) = server.predict(request(&usual())).await {
                return status;
            }
        }
    })
    .await
}

fn one_at_a_time(config: &mut retain_server::Config) {
    config.max_in_flight = 1;
}

async fn champion(server: &TestServer) -> u32 {
    server.predict_one(&usual()).await.model.unwrap().version
}

#[tokio::test]
async fn a_server_without_models_is_up_but_not_serving_until_one_is_published() {
    let server = TestServer::start(&[]).await;
    assert_eq!(server.health_of("").await, ServingStatus::NotServing);
    assert_eq!(server.health_of(SERVICES[1]).await, ServingStatus::NotServing);
    let status = server.predict(request(&usual())).await.unwrap_err();
    assert_refused(&status, Code::Unavailable, &[]);
    assert_eq!(reason_of(&status), "MODEL_NOT_LOADED");

    publish(&server.registry, &telco(-0.4));
    server.models().reload(v1::ReloadRequest {}).await.unwrap();
    for service in SERVICES {
        assert_eq!(server.health_of(service).await, ServingStatus::Serving);
    }
    assert_eq!(champion(&server).await, 1);
}

#[tokio::test]
async fn a_corrupt_version_leaves_the_one_before_it_live() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let second = publish(&server.registry, &telco(0.5));
    damage(&server.registry, "telco", second);
    let before = server.predict_one(&usual()).await;
    let report = server.running.handle().reload().await.unwrap();
    assert_eq!(report.refused[0].version, Some(second));
    assert_eq!(server.predict_one(&usual()).await, before);
    assert_eq!(server.health_of("").await, ServingStatus::Serving);
    let asked = v1::PredictRequest { models: vec!["telco/2".into()], ..request(&usual()) };
    assert_refused(&server.predict(asked).await.unwrap_err(), Code::Unavailable, &[]);

    let third = publish(&server.registry, &telco(0.9));
    assert!(server.running.handle().reload().await.unwrap().refused.is_empty());
    assert_eq!(champion(&server).await, third);
}

#[tokio::test]
async fn a_live_version_damaged_on_disk_stays_live() {
    let server = TestServer::start(&[telco(-0.4), gym()]).await;
    damage(&server.registry, "telco", 1);
    std::fs::write(server.registry.root().join("gym/aliases.json"), "{").unwrap();
    let report = server.running.handle().reload().await.unwrap();
    let refused: Vec<_> = report.refused.iter().map(|refusal| (refusal.name.as_str(), refusal.version)).collect();
    assert_eq!(refused, [("gym", None), ("telco", Some(1))]);
    assert_eq!(server.predict(request(&[])).await.unwrap().predictions.len(), 2);
}

#[tokio::test]
async fn a_registry_that_vanished_takes_nothing_with_it() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    std::fs::rename(server.registry.root().join("telco"), server.registry.root().join(".away")).unwrap();
    assert!(matches!(server.running.handle().reload().await, Err(ReloadError::Empty { .. })));
    let status = server.models().reload(v1::ReloadRequest {}).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Internal, "REGISTRY_UNREADABLE"));
    assert_eq!(champion(&server).await, 1);
    assert_eq!(server.health_of("").await, ServingStatus::Serving);
}

#[tokio::test]
async fn a_model_that_lost_its_manifest_or_its_aliases_stays_live_and_is_named() {
    let server = TestServer::start(&[telco(-0.4), gym()]).await;
    for (file, version) in [("1/manifest.json", Some(1)), ("aliases.json", None)] {
        let path = server.registry.root().join("telco").join(file);
        let away = server.registry.root().join("away.json");
        std::fs::rename(&path, &away).unwrap();
        let report = server.running.handle().reload().await.unwrap();
        let refused: Vec<_> = report.refused.iter().map(|refusal| (refusal.name.as_str(), refusal.version)).collect();
        assert_eq!(refused, [("telco", version)], "{file}");
        assert_eq!(server.predict(request(&[])).await.unwrap().predictions.len(), 2, "{file}");
        std::fs::rename(&away, &path).unwrap();
        assert!(server.running.handle().reload().await.unwrap().refused.is_empty(), "{file}");
    }
    // To take a model out of service its folder is removed, or its aliases are emptied.
    std::fs::write(server.registry.root().join("telco/aliases.json"), "{}").unwrap();
    server.running.handle().reload().await.unwrap();
    assert_eq!(server.predict(request(&[])).await.unwrap().predictions.len(), 1);
}

#[tokio::test]
async fn a_bundle_without_manifest_is_refused_by_name_at_start() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    std::fs::remove_file(server.registry.root().join("telco/1/manifest.json")).unwrap();
    let fresh = Server::bind(config(server.registry.root())).await.unwrap().spawn().await;
    let report = fresh.handle().report();
    assert_eq!((report.refused[0].name.as_str(), report.refused[0].version), ("telco", Some(1)));
    assert!(report.refused[0].reason.contains("manifest.json"), "{}", report.refused[0].reason);
    fresh.stop().await.unwrap();
}

#[tokio::test]
async fn a_damaged_model_at_start_is_refused_by_name() {
    let good = telco(-0.4);
    let server = TestServer::start(&[good]).await;
    damage(&server.registry, "telco", 1);
    let fresh = Server::bind(config(server.registry.root())).await.unwrap().spawn().await;
    let report = fresh.handle().report();
    assert_eq!((report.live.len(), report.refused[0].name.as_str()), (0, "telco"));
    fresh.stop().await.unwrap();
}

#[tokio::test]
async fn a_call_too_many_is_refused_with_a_time_to_retry() {
    let server = TestServer::start_with(&[telco(-0.4)], one_at_a_time).await;
    let (sender, call) = slow_call(&server.channel);
    let status = until_full(&server).await;
    assert_refused(&status, Code::ResourceExhausted, &[]);
    assert_eq!(reason_of(&status), "TOO_MANY_IN_FLIGHT");
    assert!(status.get_error_details().retry_info().unwrap().retry_delay.is_some());
    // Probes and the models' service are not held up.
    assert_eq!(server.health_of("").await, ServingStatus::Serving);
    assert!(server.models().list_models(v1::ListModelsRequest {}).await.is_ok());

    sender.send(request(&usual())).await.unwrap();
    drop(sender);
    assert_eq!(soon("the slow call", call).await.unwrap().unwrap().predictions.len(), 1);
    assert!(server.predict(request(&usual())).await.is_ok());
}

#[tokio::test]
async fn a_shutdown_says_so_and_finishes_what_is_in_flight() {
    let server = TestServer::start_with(&[telco(-0.4)], one_at_a_time).await;
    let watched = HealthCheckRequest { service: SERVICES[1].to_owned() };
    let mut health = server.health().watch(watched).await.unwrap().into_inner();
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let (sender, call) = slow_call(&server.channel);
    until_full(&server).await;

    let stopping = tokio::spawn(server.running.stop());
    assert_eq!(soon("the news", health.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(soon("the end of the watch", health.message()).await.unwrap().is_none());
    assert!(!stopping.is_finished());
    sender.send(request(&usual())).await.unwrap();
    drop(sender);
    assert_eq!(soon("the slow call", call).await.unwrap().unwrap().predictions.len(), 1);
    soon("the stop", stopping).await.unwrap().unwrap();
}

#[tokio::test]
async fn during_the_grace_period_health_says_no_and_calls_are_answered() {
    let patient = |config: &mut retain_server::Config| config.grace_seconds = 3_600;
    let server = TestServer::start_with(&[telco(-0.4)], patient).await;
    let watched = HealthCheckRequest { service: SERVICES[1].to_owned() };
    let mut health = server.health().watch(watched).await.unwrap().into_inner();
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let address = server.running.local_addr();
    let mut predictions = server.predictions();
    let stopping = tokio::spawn(server.running.stop_as(Stop::Gracefully));
    assert_eq!(soon("the news", health.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    predictions.predict(request(&usual())).await.unwrap();
    let newcomer = tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    PredictionServiceClient::new(newcomer).predict(request(&usual())).await.unwrap();
    assert!(!stopping.is_finished());
    stopping.abort();
}

#[tokio::test]
async fn a_call_that_never_ends_does_not_hold_up_the_shutdown() {
    let drain_at_once = |config: &mut retain_server::Config| {
        one_at_a_time(config);
        config.drain_seconds = 0;
    };
    let server = TestServer::start_with(&[telco(-0.4)], drain_at_once).await;
    let (_sender, _call) = slow_call(&server.channel);
    until_full(&server).await;
    soon("the stop", server.running.stop()).await.unwrap();
}

#[tokio::test]
async fn a_call_that_dawdles_is_ended() {
    let hurried = |config: &mut retain_server::Config| config.request_seconds = 1;
    let server = TestServer::start_with(&[telco(-0.4)], hurried).await;
    let (_sender, call) = slow_call(&server.channel);
    let status = soon("the end of the slow call", call).await.unwrap().unwrap_err();
    assert_refused(&status, Code::DeadlineExceeded, &[]);
    assert_eq!(reason_of(&status), "DEADLINE_PASSED");
    assert!(server.predict(request(&usual())).await.is_ok());
}

#[tokio::test]
async fn the_clients_deadline_is_honoured() {
    let server = TestServer::start_with(&[telco(-0.4)], one_at_a_time).await;
    let (_sender, receiver) = mpsc::channel(1);
    let mut call = tonic::Request::new(ReceiverStream::new(receiver));
    call.set_timeout(std::time::Duration::from_millis(200));
    let mut client = tonic::client::Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/retain.v1.PredictionService/Predict");
    let codec = tonic_prost::ProstCodec::<v1::PredictRequest, v1::PredictResponse>::default();
    let status = soon("the deadline", client.client_streaming(call, path, codec)).await.unwrap_err();
    assert!(matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded), "{status:?}");
    // Its place is free again.
    soon("a free place", async { while server.predict(request(&usual())).await.is_err() {} }).await;
}

#[tokio::test]
async fn reloads_in_parallel_are_refused_or_done() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let reloads: Vec<_> = (0..20)
        .map(|_| {
            let mut client = server.models();
            tokio::spawn(async move { client.reload(v1::ReloadRequest {}).await })
        })
        .collect();
    let mut n_done = 0;
    for reload in reloads {
        match reload.await.unwrap() {
            Ok(_) => n_done += 1,
            Err(status) => assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Aborted, "RELOAD_RUNNING")),
        }
    }
    assert!(n_done >= 1);
    assert_eq!(champion(&server).await, 1);
}

#[tokio::test]
async fn a_taken_port_is_told() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let mut config = config(server.registry.root());
    config.listen = server.running.local_addr();
    assert!(matches!(Server::bind(config).await, Err(ServerError::Bind { .. })));
}

#[cfg(unix)]
#[tokio::test]
async fn a_hangup_signal_reloads() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let hangups = tokio::spawn(server.running.handle().reload_on_hangup().unwrap());
    let second = publish(&server.registry, &telco(0.5));
    let kill = std::process::Command::new("kill").args(["-HUP", &std::process::id().to_string()]).status().unwrap();
    assert!(kill.success());
    soon("the reload", async { while champion(&server).await != second {} }).await;
    hangups.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_stay_whole_while_models_are_swapped() {
    let (first, second) = (telco(-0.4), telco(0.5));
    let server = TestServer::start(std::slice::from_ref(&first)).await;
    let before = server.predict_one(&usual()).await.margin;
    let version = publish(&server.registry, &second);
    server.running.handle().reload().await.unwrap();
    let after = server.predict_one(&usual()).await.margin;
    assert_ne!(before, after);

    let callers: Vec<_> = (0..8)
        .map(|_| {
            let mut client = server.predictions();
            tokio::spawn(async move {
                for _ in 0..100 {
                    let answer = client.predict(request(&usual())).await.unwrap().into_inner();
                    let prediction = &answer.predictions[0];
                    let expected = if prediction.model.as_ref().unwrap().version == version { after } else { before };
                    assert_eq!(prediction.margin.to_bits(), expected.to_bits());
                }
            })
        })
        .collect();
    for round in 0..10 {
        server.registry.set_alias(&first.manifest.name, "champion", 1 + round % 2).unwrap();
        server.running.handle().reload().await.unwrap();
    }
    for caller in callers {
        soon("the callers' end", caller).await.unwrap();
    }
    soon("the stop", server.running.stop()).await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let server = TestServer::start_with(&[telco(-0.4)], |config| config.max_connections = 1).await;
    let TestServer { running, channel, .. } = &server;
    let mut first = PredictionServiceClient::new(channel.clone());
    let mut second = PredictionServiceClient::new(connect(running).await);
    let waiting = tokio::spawn(async move { second.predict(request(&usual())).await });
    for _ in 0..100 {
        assert!(first.predict(request(&usual())).await.is_ok());
    }
    assert!(!waiting.is_finished());
    drop((first, server.channel));
    assert!(soon("the second connection's turn", waiting).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_stopping_server_frees_its_address_before_its_last_call_is_done() {
    let server = TestServer::start_with(&[telco(-0.4)], one_at_a_time).await;
    let (sender, call) = slow_call(&server.channel);
    until_full(&server).await;
    let address = server.running.local_addr();
    let stopping = tokio::spawn(server.running.stop());
    soon("a free address", async { while tokio::net::TcpStream::connect(address).await.is_ok() {} }).await;
    assert!(!stopping.is_finished());
    sender.send(request(&usual())).await.unwrap();
    drop(sender);
    assert_eq!(soon("the slow call", call).await.unwrap().unwrap().predictions.len(), 1);
    soon("the stop", stopping).await.unwrap().unwrap();
}

#[cfg(not(feature = "object-store"))]
#[tokio::test]
async fn an_object_store_in_a_build_without_stores_is_told() {
    let error = Server::bind(config("s3://bucket/models".as_ref())).await.unwrap_err();
    let ServerError::Store(error) = error else { panic!("another error: {error:?}") };
    assert!(error.to_string().contains("--features object-store"), "{error}");
}
