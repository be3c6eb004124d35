//! `ModelService` and reflection.

use retain_core::ModelName;
use retain_proto::v1;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::support::{TestServer, assert_refused, damage, publish, request, telco, usual, wide};

#[tokio::test]
async fn models_are_listed_with_their_state() {
    let server = TestServer::start(&[wide(2), telco(-0.4)]).await;
    publish(&server.registry, &telco(0.1));
    let third = publish(&server.registry, &telco(0.2));
    damage(&server.registry, "telco", third);
    let reloaded = server.models().reload(v1::ReloadRequest {}).await.unwrap().into_inner();
    let refused: Vec<_> = reloaded.refused.iter().map(|refused| (refused.name.as_str(), refused.version)).collect();
    assert_eq!(refused, [("telco", Some(3))]);
    assert!(reloaded.refused[0].reason.contains("model.bin"), "{}", reloaded.refused[0].reason);
    let live: Vec<_> = reloaded.live.iter().map(|live| (live.model.as_ref().unwrap().version, live.aliases.clone())).collect();
    assert_eq!(live, [(1, vec!["champion".to_owned()]), (1, vec!["champion".to_owned()])]);

    let listed = server.models().list_models(v1::ListModelsRequest {}).await.unwrap().into_inner().models;
    let listed: Vec<_> =
        listed.iter().map(|model| (model.name.as_str(), model.version, model.state(), model.aliases.len())).collect();
    let expected = [
        ("telco", 1, v1::ModelState::Live, 1),
        ("telco", 2, v1::ModelState::NotLive, 0),
        ("telco", 3, v1::ModelState::Refused, 0),
        ("wide", 1, v1::ModelState::Live, 1),
    ];
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn a_model_is_told_whole() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let request = v1::GetModelRequest { model: "telco@champion".into() };
    let model = server.models().get_model(request).await.unwrap().into_inner();
    assert_eq!((model.metrics_json.as_str(), model.model_card.as_str()), (r#"{"roc_auc":0.84}"#, "# telco\n"));
    assert_eq!((model.medium_from, model.high_from, model.aliases.as_slice()), (0.3, 0.6, &["champion".to_owned()][..]));
    let facts = model.facts.unwrap();
    assert_eq!((facts.learner.as_str(), facts.training_rows, facts.training_positives), ("logistic", 100, 27));
    assert_eq!((facts.entity.as_deref(), facts.observed_from), (Some("id"), None));
    assert_eq!(facts.schema_sha256.len(), 64);
    let kinds: Vec<_> = model.features.iter().map(|feature| (feature.name.as_str(), feature.kind())).collect();
    let expected =
        [("tenure", v1::FeatureKind::Number), ("contract", v1::FeatureKind::Category), ("paperless", v1::FeatureKind::Boolean)];
    assert_eq!(kinds, expected);
    assert_eq!(model.features[1].categories, ["monthly", "one year", "two year"]);
    assert_eq!((model.features[0].max, model.features[1].typical_value.as_deref()), (Some(72.0), Some("monthly")));

    let unknown = v1::GetModelRequest { model: "telcos".into() };
    let status = server.models().get_model(unknown).await.unwrap_err();
    assert_refused(&status, Code::NotFound, &[("model", "MODEL_NOT_FOUND")]);
}

#[tokio::test]
async fn a_bundle_in_another_models_place_is_refused() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let name = ModelName::new("imposter").unwrap();
    telco(0.7).write(&server.registry.path(&name, 1)).unwrap();
    server.registry.set_alias(&name, "champion", 1).unwrap();
    let report = server.running.handle().reload().await.unwrap();
    assert_eq!((report.refused[0].name.as_str(), report.live.len()), ("imposter", 1));
    assert!(report.refused[0].reason.contains("telco/1"), "{}", report.refused[0].reason);
}

/// One reflection call that lists the services, for either version of the protocol.
macro_rules! listed_services {
    ($server:expr, $pb:path) => {{
        use $pb as pb;
        let list = pb::server_reflection_request::MessageRequest::ListServices(String::new());
        let request = pb::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
        let mut client = pb::server_reflection_client::ServerReflectionClient::new($server.channel.clone());
        let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
        let answer = answers.next().await.unwrap().unwrap();
        let Some(pb::server_reflection_response::MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            panic!("another answer: {answer:?}");
        };
        list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
    }};
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let v1 = listed_services!(server, tonic_reflection::pb::v1);
    let v1alpha = listed_services!(server, tonic_reflection::pb::v1alpha);
    for name in ["retain.v1.PredictionService", "retain.v1.ModelService", "grpc.health.v1.Health"] {
        assert!(v1.iter().any(|known| known == name) && v1alpha.iter().any(|known| known == name), "{v1:?} {v1alpha:?}");
    }
    let silent = TestServer::start_with(&[], |config| config.reflection = false).await;
    let mut client = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(silent.channel.clone());
    assert_eq!(client.server_reflection_info(tokio_stream::empty()).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn an_alias_is_set_and_answers_at_once() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let second = server.registry.publish(&telco(0.5)).unwrap().version;
    let third = server.registry.publish(&telco(0.9)).unwrap().version;
    damage(&server.registry, "telco", third);
    let set = async |name: &str, alias: &str, version| {
        let request = v1::SetAliasRequest { name: name.into(), alias: alias.into(), version };
        server.models().set_alias(request).await.map(tonic::Response::into_inner)
    };
    let champion = async || server.predict(request(&usual())).await.unwrap().predictions[0].model.clone().unwrap().version;

    let live = set("telco", "champion", second).await.unwrap().live.unwrap();
    assert_eq!((live.model.unwrap().version, live.aliases), (second, vec!["champion".to_owned()]));
    assert_eq!(champion().await, second);

    let refused = set("telco", "champion", third).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("model.bin"), "{}", refused.message());
    assert_eq!(champion().await, second);
    assert_eq!(server.registry.aliases(&ModelName::new("telco").unwrap()).unwrap()["champion"], second);

    for (name, alias, version, code, field, reason) in [
        ("telko", "champion", 1, Code::NotFound, "name", "MODEL_NOT_FOUND"),
        ("telco", "champion", 9, Code::NotFound, "version", "VERSION_NOT_FOUND"),
        ("telco", "champoin", 1, Code::InvalidArgument, "alias", "UNKNOWN_ALIAS"),
        ("../telco", "champion", 1, Code::InvalidArgument, "name", "INVALID_MODEL_NAME"),
    ] {
        assert_refused(&set(name, alias, version).await.unwrap_err(), code, &[(field, reason)]);
    }
}
