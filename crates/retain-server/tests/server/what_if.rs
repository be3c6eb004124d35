//! `WhatIf`, and reasons in words.

use retain_proto::v1;
use retain_proto::v1::feature_value::Value;
use tonic::{Code, Status};

use crate::support::{TestServer, assert_refused, gym, request, telco, text, usual, values};

fn question(changes: &[&[(&str, Value)]]) -> v1::WhatIfRequest {
    let changes = changes.iter().map(|change| v1::Change { features: values(change) }).collect();
    v1::WhatIfRequest { customer_id: "c-1".to_owned(), features: values(&usual()), changes, ..v1::WhatIfRequest::default() }
}

async fn ask(server: &TestServer, request: v1::WhatIfRequest) -> Result<v1::WhatIfResponse, Status> {
    server.predictions().what_if(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn after_a_change_the_answer_is_that_of_a_customer_who_is_so() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let changes: [&[(&str, Value)]; 2] =
        [&[("contract", text("two year"))], &[("tenure", Value::Number(400.0)), ("paperless", Value::Boolean(false))]];
    let answer = ask(&server, question(&changes)).await.unwrap();
    assert_eq!((answer.customer_id.as_str(), answer.comparisons.len()), ("c-1", 1));
    assert!(answer.note.contains("association"), "{}", answer.note);
    let comparison = &answer.comparisons[0];
    let before = comparison.before.as_ref().unwrap();
    assert_eq!(*before, server.predict_one(&usual()).await);
    for (change, found) in changes.iter().zip(&comparison.after) {
        let mut features = usual();
        features.retain(|(name, _)| change.iter().all(|(changed, _)| changed != name));
        features.extend(change.iter().cloned());
        let expected = server.predict_one(&features).await;
        let prediction = found.prediction.as_ref().unwrap();
        assert_eq!(*prediction, expected);
        assert_eq!(found.probability_difference, expected.probability - before.probability);
        let moved: f64 = found.contributions.iter().map(|change| change.after - change.before).sum();
        assert!((moved - (expected.margin - before.margin)).abs() < 1e-12, "{moved}");
        assert!(found.contributions.is_sorted_by(|a, b| (a.after - a.before).abs() >= (b.after - b.before).abs()));
    }
    let contract = &comparison.after[0].contributions[0];
    let told = (contract.feature.as_str(), contract.value_before.as_str(), contract.value_after.as_str());
    assert_eq!((told, comparison.after[0].contributions.len()), (("contract", "monthly", "two year"), 1));
    let warnings = &comparison.after[1].prediction.as_ref().unwrap().warnings;
    assert_eq!((warnings[0].feature.as_str(), warnings[0].code()), ("tenure", v1::WarningCode::OutOfRange));
}

#[tokio::test]
async fn mistakes_in_changes_are_named_with_their_place() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let check = async |request, fields: &[(&str, &str)]| {
        assert_refused(&ask(&server, request).await.unwrap_err(), Code::InvalidArgument, fields);
    };
    check(question(&[]), &[("changes", "REQUIRED")]).await;
    check(question(&[&[("tenure", Value::Number(1.0))], &[]]), &[("changes[1].features", "REQUIRED")]).await;
    let several: [&[(&str, Value)]; 2] = [&[("tenure", text("x"))], &[("tenur", Value::Number(1.0))]];
    let expected = [("changes[1].features[\"tenur\"]", "UNKNOWN_FEATURE"), ("changes[0].features[\"tenure\"]", "NOT_A_NUMBER")];
    check(question(&several), &expected).await;
    let wrong_base = v1::WhatIfRequest {
        features: values(&[("tenure", text("x"))]),
        ..question(&[&[("contract", text("monthly"))], &[("paperless", Value::Boolean(true))]])
    };
    check(wrong_base, &[("features[\"tenure\"]", "NOT_A_NUMBER")]).await;
    let tenure = [("tenure", Value::Number(1.0))];
    check(question(&vec![&tenure[..]; 101]), &[("changes", "TOO_MANY")]).await;
    check(v1::WhatIfRequest { language: 9, ..question(&[&tenure]) }, &[("language", "UNKNOWN_ENUM_VALUE")]).await;
    assert_eq!(ask(&server, question(&vec![&tenure[..]; 100])).await.unwrap().comparisons[0].after.len(), 100);
}

#[tokio::test]
async fn each_model_compares_for_itself() {
    let server = TestServer::start(&[telco(-0.4), gym()]).await;
    let features = values(&[("joined", text("2024-01-01")), ("contract", text("monthly"))]);
    let change: &[(&str, Value)] = &[("contract", text("one year"))];
    let answer = ask(&server, v1::WhatIfRequest { features, ..question(&[change]) }).await.unwrap();
    let moved = |position: usize| answer.comparisons[position].after[0].probability_difference;
    assert_eq!(answer.comparisons[0].before.as_ref().unwrap().model.as_ref().unwrap().name, "gym");
    assert_eq!(moved(0), 0.0);
    assert!(moved(1) < 0.0, "{}", moved(1));
}

#[tokio::test]
async fn reasons_are_told_in_the_language_asked_for() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let tell = async |language: v1::Language| {
        let request = v1::PredictRequest { top_k_reasons: 3, language: language.into(), ..request(&usual()) };
        let reasons = server.predict(request).await.unwrap().predictions.remove(0).reasons;
        reasons.into_iter().find(|reason| reason.feature == "tenure").unwrap().text
    };
    assert_eq!(tell(v1::Language::Unspecified).await, "tenure is 12, usually 29: raises the risk of leaving");
    assert_eq!(tell(v1::Language::Spanish).await, "tenure es 12, normalmente 29: aumenta el riesgo de baja");
}
