//! A share of the customers is answered by the challenger.

use retain_core::{ColumnKind, FeatureSpec};
use retain_proto::v1;
use retain_proto::v1::feature_value::Value;
use retain_score::Bundle;

use tonic::Code;

use crate::support::{TestServer, assert_refused, number_column, request, telco, usual, with_feature};

const N: usize = 2_000;

fn ids() -> Vec<String> {
    (0..N).map(|number| format!("customer-{number}")).collect()
}

/// `telco/1` as the champion and this bundle, `telco/2`, as the challenger of `share` of the customers.
async fn start(share: f64, challenger: &Bundle) -> TestServer {
    let server = TestServer::start_with(&[telco(-0.4)], |config| config.traffic.challenger_share = share).await;
    let version = server.registry.publish(challenger).unwrap().version;
    server.registry.set_alias(&challenger.manifest.name, "challenger", version).unwrap();
    server.running.handle().reload().await.unwrap();
    server
}

async fn answer(server: &TestServer, id: &str, models: &[&str]) -> Vec<(u32, v1::ModelAlias)> {
    let models = models.iter().map(|&model| model.to_owned()).collect();
    let request = v1::PredictRequest { customer_id: id.to_owned(), models, ..request(&usual()) };
    let predictions = server.predict(request).await.unwrap().predictions;
    predictions.iter().map(|prediction| (prediction.model.as_ref().unwrap().version, prediction.alias())).collect()
}

/// Customers of each version, by `Predict` for the first few hundred.
async fn challenged(server: &TestServer, n: usize) -> Vec<bool> {
    let mut challenged = Vec::new();
    for id in &ids()[..n] {
        let found = answer(server, id, &[]).await;
        assert_eq!(found, answer(server, id, &["telco"]).await);
        assert!(matches!(found[..], [(1, v1::ModelAlias::Champion) | (2, v1::ModelAlias::Challenger)]), "{found:?}");
        challenged.push(found[0].0 == 2);
    }
    challenged
}

fn batch(columns: Vec<v1::FeatureColumn>) -> v1::PredictBatchRequest {
    v1::PredictBatchRequest { customer_ids: ids(), columns, ..v1::PredictBatchRequest::default() }
}

#[tokio::test]
async fn every_call_gives_a_customer_the_same_version() {
    let server = start(0.3, &telco(0.5)).await;
    let challenged = challenged(&server, 200).await;
    assert!((20..100).contains(&challenged.iter().filter(|challenged| **challenged).count()));
    let tenure = number_column("tenure", vec![12.0; N]);
    let answer = server.predictions().predict_batch(batch(vec![tenure])).await.unwrap().into_inner().predictions.remove(0);
    assert_eq!((answer.model.as_ref().unwrap().version, answer.challenger.as_ref().unwrap().version), (1, 2));
    for (row, &is_challenged) in challenged.iter().enumerate() {
        assert_eq!(answer.challenger_rows.contains(&(row as u32)), is_challenged, "{row}");
        let id = ids()[row].clone();
        let request = v1::PredictRequest { customer_id: id.clone(), ..request(&[("tenure", Value::Number(12.0))]) };
        let alone = server.predict(request.clone()).await.unwrap().predictions.remove(0);
        assert_eq!((alone.probability, alone.margin), (answer.probabilities[row], answer.margins[row]));
        if row < 20 {
            let version = if is_challenged { 2 } else { 1 };
            let (features, model) = (request.features.clone(), String::new());
            let explain = v1::ExplainRequest { customer_id: id.clone(), features, model, ..v1::ExplainRequest::default() };
            let explained = server.predictions().explain(explain).await.unwrap().into_inner();
            assert_eq!((explained.model.as_ref().unwrap().version, explained.alias()), (version, alone.alias()));
            let change = v1::Change { features: request.features.clone() };
            let what_if = v1::WhatIfRequest { customer_id: id, changes: vec![change], ..v1::WhatIfRequest::default() };
            let compared = server.predictions().what_if(what_if).await.unwrap().into_inner().comparisons.remove(0);
            assert_eq!(compared.before.unwrap().model.unwrap().version, version);
        }
    }
    // Features without a column are missing in all rows, and told for each version's rows.
    let missing: Vec<_> = answer.warnings.iter().filter(|warning| warning.feature == "contract").collect();
    assert_eq!(missing.iter().map(|warning| warning.rows.len()).sum::<usize>(), N);
    assert_eq!(missing[1].rows, answer.challenger_rows);
}

#[tokio::test]
async fn versions_that_are_named_and_customers_that_are_not_go_to_whom_they_ask_for() {
    let server = start(1.0, &telco(0.5)).await;
    let champion = (1, v1::ModelAlias::Champion);
    let challenger = (2, v1::ModelAlias::Challenger);
    assert_eq!(answer(&server, "a", &[]).await, [challenger]);
    assert_eq!(answer(&server, "a", &["telco@champion"]).await, [champion]);
    assert_eq!(answer(&server, "a", &["telco/1"]).await, [(1, v1::ModelAlias::Unspecified)]);
    assert_eq!(answer(&server, "a", &["telco", "telco@challenger", "telco@champion"]).await, [challenger, champion]);
    assert_eq!(answer(&server, "", &["telco"]).await, [champion]);
    let described = server.models().get_model(v1::GetModelRequest { model: "telco".into() }).await.unwrap().into_inner();
    assert_eq!(described.model.unwrap().version, 1);
}

#[tokio::test]
async fn without_a_share_or_a_challenger_the_champion_answers_all() {
    let server = start(0.0, &telco(0.5)).await;
    assert!(challenged(&server, 100).await.iter().all(|challenged| !challenged));
    let alone = TestServer::start_with(&[telco(-0.4)], |config| config.traffic.challenger_share = 1.0).await;
    assert_eq!(answer(&alone, "a", &[]).await, [(1, v1::ModelAlias::Champion)]);
}

#[tokio::test]
async fn a_feature_that_only_one_of_the_two_knows_is_no_mistake() {
    let server = start(0.5, &with_feature(telco(0.5), FeatureSpec::new("age", ColumnKind::Number))).await;
    let mut features = usual();
    features.push(("age", Value::Number(40.0)));
    for id in ids().into_iter().take(20) {
        let request = v1::PredictRequest { customer_id: id, ..request(&features) };
        server.predict(request).await.unwrap();
    }
    let columns = vec![number_column("tenure", vec![12.0; N]), number_column("age", vec![40.0; N])];
    let answer = server.predictions().predict_batch(batch(columns)).await.unwrap().into_inner();
    assert!(answer.row_errors.is_empty());
    let known = answer.predictions[0].warnings.iter().all(|warning| warning.feature != "age");
    assert!(known, "{:?}", answer.predictions[0].warnings);

    features.push(("agee", Value::Number(40.0)));
    let status = server.predict(request(&features)).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, &[("features[\"agee\"]", "UNKNOWN_FEATURE")]);
}

#[tokio::test]
async fn promoting_the_challenger_ends_the_division() {
    let server = start(0.5, &telco(0.5)).await;
    server.registry.set_alias(&telco(0.0).manifest.name, "champion", 2).unwrap();
    server.running.handle().reload().await.unwrap();
    for id in ids().into_iter().take(20) {
        assert_eq!(answer(&server, &id, &[]).await, [(2, v1::ModelAlias::Champion)]);
    }
}
