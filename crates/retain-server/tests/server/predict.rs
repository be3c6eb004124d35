//! `Predict` and `Explain`.

use prost_types::Timestamp;
use retain_core::{Day, FeatureValue};
use retain_proto::v1;
use retain_proto::v1::feature_value::Value;
use retain_score::{Bundle, Scorer};

use tonic::Code;

use crate::support::{TODAY, TestServer, assert_refused, gym, lease, mails, publish, request, telco, text, usual, values, wide};

fn scorer(bundle: &Bundle) -> Scorer {
    Scorer::new(bundle.manifest.clone(), bundle.schema.clone(), &bundle.model).unwrap()
}

fn encode<'a>(scorer: &Scorer, values: impl IntoIterator<Item = FeatureValue<'a>>, observed: f64) -> Vec<f64> {
    let mut row = vec![f64::NAN; scorer.schema().n_features()];
    scorer.schema().encode_row(values, Some(Day::from_days(observed)), &mut row, |_, _| ()).unwrap();
    row
}

#[tokio::test]
async fn an_answer_has_the_scorers_bits() {
    let bundle = telco(-0.4);
    let (server, scorer) = (TestServer::start(std::slice::from_ref(&bundle)).await, scorer(&bundle));
    for (tenure, contract, paperless) in
        [(0.0, "monthly", true), (3.5, "two year", true), (72.0, "one year", false), (90.0, "x", true)]
    {
        let values = [FeatureValue::Number(tenure), FeatureValue::Text(contract), FeatureValue::Boolean(paperless)];
        let row = encode(&scorer, values, TODAY);
        let expected = scorer.predict(&row);
        let wire = [("tenure", Value::Number(tenure)), ("contract", text(contract)), ("paperless", Value::Boolean(paperless))];
        let found = server.predict_one(&wire).await;
        assert_eq!(found.probability.to_bits(), expected.probability.to_bits());
        assert_eq!(found.margin.to_bits(), expected.margin.to_bits());
        assert_eq!(found.base_margin, None);
        assert!(found.reasons.is_empty());
        let model = found.model.clone().unwrap();
        assert_eq!((model.name.as_str(), model.version, model.horizon_days, model.lead_days), ("telco", 1, 30, 2));
        assert_eq!(model.kind(), v1::ModelKind::Churn);
        let band = [v1::Band::Low, v1::Band::Medium, v1::Band::High];
        assert_eq!(found.band(), band[scorer.band(&expected) as usize]);
    }
}

#[tokio::test]
async fn reasons_are_the_largest_contributions() {
    let bundle = telco(-0.4);
    let (server, scorer) = (TestServer::start(std::slice::from_ref(&bundle)).await, scorer(&bundle));
    let row = encode(&scorer, [FeatureValue::Number(12.0), FeatureValue::Text("monthly"), FeatureValue::Boolean(true)], TODAY);
    let expected = scorer.explain(&row);
    let request = v1::PredictRequest { top_k_reasons: 2, ..request(&usual()) };
    let answer = server.predict(request).await.unwrap();
    assert_eq!(answer.customer_id, "c-1");
    let prediction = &answer.predictions[0];
    assert_eq!(prediction.base_margin, Some(expected.base_margin));
    let names = ["tenure", "contract", "paperless"];
    let found: Vec<_> = prediction.reasons.iter().map(|reason| (reason.feature.as_str(), reason.contribution)).collect();
    let top: Vec<_> = expected.top(2).iter().map(|&position| (names[position], expected.contributions[position])).collect();
    assert_eq!(found, top);
    let tenure = prediction.reasons.iter().find(|reason| reason.feature == "tenure").unwrap();
    assert_eq!((tenure.value.as_str(), tenure.typical_value.as_deref()), ("12", Some("29")));
    assert_eq!(tenure.direction(), v1::Direction::Raises);
}

#[tokio::test]
async fn an_explanation_sums_to_the_margin() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let features = values(&[("tenure", Value::Number(70.0)), ("contract", text("two year"))]);
    let request = v1::ExplainRequest { customer_id: "c-9".into(), features, ..v1::ExplainRequest::default() };
    let answer = server.predictions().explain(request).await.unwrap().into_inner();
    let sum = answer.base_margin + answer.contributions.iter().map(|reason| reason.contribution).sum::<f64>();
    assert!((sum - answer.margin).abs() < 1e-12, "{sum} {}", answer.margin);
    assert_eq!((answer.customer_id.as_str(), answer.contributions.len()), ("c-9", 3));
    assert!(answer.contributions.is_sorted_by(|a, b| a.contribution.abs() >= b.contribution.abs()));
    assert_eq!(answer.contributions.iter().find(|reason| reason.feature == "paperless").unwrap().value, "missing");
    let alone = server.predict_one(&[("tenure", Value::Number(70.0)), ("contract", text("two year"))]).await;
    assert_eq!((answer.probability, answer.margin), (alone.probability, alone.margin));
    assert_eq!(answer.warnings, alone.warnings);
}

#[tokio::test]
async fn unusual_values_are_scored_and_warned_of() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let found = server.predict_one(&[("tenure", Value::Number(100.0)), ("contract", text("we\nekly"))]).await;
    let warnings: Vec<_> =
        found.warnings.iter().map(|warning| (warning.code(), warning.feature.as_str(), warning.text.as_str())).collect();
    assert_eq!(
        warnings,
        [
            (v1::WarningCode::OutOfRange, "tenure", "100 is outside what training saw, 0 to 72"),
            (v1::WarningCode::UnseenCategory, "contract", "training did not see the category `we\\nekly`"),
            (v1::WarningCode::Missing, "paperless", "no value was given"),
        ]
    );
}

#[tokio::test]
async fn no_features_at_all_are_scored_with_a_warning_each() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let found = server.predict_one(&[]).await;
    assert!((0.0..=1.0).contains(&found.probability));
    let missing: Vec<_> = found.warnings.iter().map(|warning| (warning.feature.as_str(), warning.code())).collect();
    let expected = ["tenure", "contract", "paperless"].map(|name| (name, v1::WarningCode::Missing));
    assert_eq!(missing, expected);
}

#[tokio::test]
async fn texts_are_read_as_csv_cells_and_no_value_is_missing() {
    let server = TestServer::start(&[telco(-0.4)]).await;
    let typed = server.predict_one(&usual()).await;
    let written =
        server.predict_one(&[("tenure", text(" 12 ")), ("contract", text("monthly")), ("paperless", text("Yes"))]).await;
    assert_eq!(typed, written);
    let mut unset = request(&usual());
    unset.features.insert("tenure".into(), v1::FeatureValue { value: None });
    let blank = server.predict_one(&[("tenure", text("NA")), ("contract", text("monthly")), ("paperless", text("t"))]).await;
    assert_eq!(server.predict(unset).await.unwrap().predictions[0], blank);
    assert_eq!(blank.warnings.len(), 1);
}

#[tokio::test]
async fn all_champions_answer_unless_models_are_named() {
    let server = TestServer::start(&[telco(-0.4), wide(3)]).await;
    let second = publish(&server.registry, &telco(0.5));
    server.registry.set_alias(&telco(0.0).manifest.name, "challenger", 1).unwrap();
    server.running.handle().reload().await.unwrap();

    let ask = async |models: &[&str]| {
        let models = models.iter().map(|&model| model.to_owned()).collect();
        let request =
            v1::PredictRequest { models, unknown_feature_policy: v1::UnknownFeaturePolicy::Ignore.into(), ..request(&usual()) };
        let answer = server.predict(request).await.unwrap();
        let versions = answer.predictions.into_iter().map(|prediction| prediction.model.unwrap());
        versions.map(|model| format!("{}/{}", model.name, model.version)).collect::<Vec<_>>()
    };
    assert_eq!(second, 2);
    assert_eq!(ask(&[]).await, ["telco/2", "wide/1"]);
    assert_eq!(ask(&["wide", "telco"]).await, ["wide/1", "telco/2"]);
    assert_eq!(ask(&["telco@challenger"]).await, ["telco/1"]);
    assert_eq!(ask(&["telco/1", "telco@challenger", "telco@champion", "telco"]).await, ["telco/1", "telco/2"]);
}

#[tokio::test]
async fn dates_are_counted_to_the_observation_or_to_now() {
    let bundle = gym();
    let (server, scorer) = (TestServer::start(std::slice::from_ref(&bundle)).await, scorer(&bundle));
    let joined = FeatureValue::Text("2024-01-01T12:00:00Z");
    let expected = |observed| scorer.predict(&encode(&scorer, [joined, FeatureValue::Text("long")], observed)).margin;
    let mut request = request(&[("joined", text("2024-01-01T12:00:00Z")), ("tenure", text("long"))]);
    assert_eq!(server.predict(request.clone()).await.unwrap().predictions[0].margin, expected(TODAY));
    request.observed_at = Some(Timestamp { seconds: 19_800 * 86_400, nanos: 0 });
    assert_eq!(server.predict(request).await.unwrap().predictions[0].margin, expected(19_800.0));
}

#[tokio::test]
async fn a_thousand_features_are_scored() {
    let bundle = wide(1_000);
    let (server, scorer) = (TestServer::start(std::slice::from_ref(&bundle)).await, scorer(&bundle));
    let names: Vec<String> = bundle.schema.features.iter().map(|feature| feature.name.clone()).collect();
    let features: Vec<_> =
        names.iter().zip(0_u32..).map(|(name, value)| (name.as_str(), Value::Number(f64::from(value)))).collect();
    let row = encode(&scorer, (0..1_000).map(|value| FeatureValue::Number(f64::from(value))), TODAY);
    let found = server.predict_one(&features).await;
    assert_eq!(found.probability.to_bits(), scorer.predict(&row).probability.to_bits());
}

#[tokio::test]
async fn a_model_of_effects_tells_what_each_treatment_changes() {
    let bundle = mails();
    let (server, scorer) = (TestServer::start(&[bundle.clone(), telco(-0.4)]).await, scorer(&bundle));
    for rooms in [-6.0, 0.5, 6.0] {
        let request =
            v1::PredictRequest { models: vec!["mails".into()], top_k_reasons: 1, ..request(&[("rooms", Value::Number(rooms))]) };
        let found = server.predict(request).await.unwrap().predictions.remove(0);
        let expected = scorer.effects(&[rooms]).unwrap();
        let told = |one: &v1::TreatmentEffect| {
            (one.treatment.clone(), [one.effect, one.low, one.high].map(f64::to_bits), one.conclusive)
        };
        let wanted = expected
            .iter()
            .map(|one| (one.treatment.to_owned(), [one.effect, one.low, one.high].map(f64::to_bits), one.conclusive));
        assert_eq!(found.effects.iter().map(told).collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
        let most = expected.iter().map(|one| one.effect).fold(f64::NEG_INFINITY, f64::max);
        assert_eq!((found.margin, found.model.unwrap().kind()), (most, v1::ModelKind::Uplift));
        assert!(found.low.unwrap() <= most && most <= found.high.unwrap());
    }
    // Other models have none.
    let other = v1::PredictRequest { models: vec!["telco".into()], ..request(&usual()) };
    assert!(server.predict(other).await.unwrap().predictions[0].effects.is_empty());
}

#[tokio::test]
async fn a_survival_model_tells_its_curve_for_a_customer_of_today() {
    let bundle = lease();
    let (server, scorer) = (TestServer::start(&[bundle.clone(), telco(-0.4)]).await, scorer(&bundle));
    let row = [3.0];
    let ask = async |elapsed_days, with_curve| {
        let request = v1::PredictRequest {
            models: vec!["lease".into()],
            elapsed_days,
            with_curve,
            ..request(&[("rooms", Value::Number(3.0))])
        };
        server.predict(request).await.map(|mut answer| answer.predictions.remove(0))
    };
    for elapsed in [0.0, 45.0] {
        let found = ask((elapsed > 0.0).then_some(elapsed), true).await.unwrap();
        let (curve, expected) = (found.curve.unwrap(), scorer.survival(&row, elapsed).unwrap());
        assert_eq!((&curve.days, &curve.survival), (&expected.days, &expected.survival));
        assert_eq!(curve.median_days, expected.median_days());
        assert_eq!(curve.restricted_mean_days, expected.restricted_mean_days());
        assert_eq!(found.probability.to_bits(), scorer.predict_after(&row, elapsed).probability.to_bits());
        let names: Vec<&str> = curve.causes.iter().map(|cause| cause.cause.as_str()).collect();
        assert_eq!(names, ["moved", "died"]);
        let left: f64 = curve.causes.iter().map(|cause| cause.share).sum();
        assert!((left - found.probability).abs() < 1e-12, "{left} {}", found.probability);
    }
    assert_ne!(ask(Some(45.0), false).await.unwrap().probability, ask(None, false).await.unwrap().probability);
    assert_eq!(ask(None, false).await.unwrap().curve, None);
    for wrong in [-1.0, f64::NAN, f64::INFINITY] {
        let refused = ask(Some(wrong), true).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, &[("elapsed_days", "NOT_A_DURATION")]);
    }
    // Other models have no curve, and do not count days.
    let other =
        v1::PredictRequest { models: vec!["telco".into()], elapsed_days: Some(45.0), with_curve: true, ..request(&usual()) };
    let found = server.predict(other).await.unwrap().predictions.remove(0);
    assert_eq!(
        found,
        server.predict(v1::PredictRequest { models: vec!["telco".into()], ..request(&usual()) }).await.unwrap().predictions[0]
    );
}
