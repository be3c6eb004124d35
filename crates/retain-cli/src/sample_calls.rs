//! The calls of `retain quickstart --once`: a real server, a real socket, a real customer of the built-in table.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use retain_proto::v1::decision_service_client::DecisionServiceClient;
use retain_proto::v1::model_service_client::ModelServiceClient;
use retain_proto::v1::prediction_service_client::PredictionServiceClient;
use retain_proto::v1::{
    Band, FeatureColumn, FeatureValue, ListModelsRequest, OutcomeKind, PredictBatchRequest, PredictBatchResponse, PredictRequest,
    PredictResponse, RecommendRequest, RecommendResponse, RecordOutcomeRequest, TextColumn, UnknownFeaturePolicy, feature_column,
    feature_value,
};
use retain_server::Config;
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::output::Output;
use crate::tables;
use crate::verbs::quickstart::TABLE;
use crate::verbs::serve::bind;

/// A customer in its first month, by mail and with a short contract.
pub(crate) const SAMPLE_CUSTOMER: &str = "7590-VHVEG";
const ENTITY: &str = "customerID";
const TARGET: &str = "Churn";
const MODEL: &str = "telco-churn";
const N_REASONS: u32 = 5;
/// Customers of the batch call: the first ones of the table.
const BATCH_ROWS: usize = 5;

/// Starts a server, makes the calls, prints the answers, stops the server, and returns the answers.
pub(crate) async fn serve_and_call(config: Config, output: Output) -> Result<Value> {
    let server = bind(config).await?.spawn().await;
    let answers = call(server.local_addr(), output).await;
    server.stop().await.context("the server did not stop as it should")?;
    answers
}

async fn call(address: SocketAddr, output: Output) -> Result<Value> {
    output.text(&format!("\n── 4. serve on {address}, and call"))?;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await.context("cannot reach the server")?;
    let health = health(channel.clone()).await?;
    output.text(&format!("health: {health}"))?;
    let models = list_models(channel.clone()).await?;
    output.text(&format!("models: {}", models.join(", ")))?;

    let customers = Customers::read()?;
    let mut predictions = PredictionServiceClient::new(channel.clone());
    let one = predictions.predict(customers.single(SAMPLE_CUSTOMER)?).await.context("Predict failed")?.into_inner();
    output.text(&single_text(&one))?;
    let many = predictions.predict_batch(customers.batch()).await.context("PredictBatch failed")?.into_inner();
    output.text(&batch_text(&customers, &many))?;
    let (recommended, already_recorded) = recommend(channel, &customers).await?;
    output.text(&recommend_text(&recommended, already_recorded))?;
    Ok(json!({
        "health": health,
        "models": models,
        "predict": single_json(&one),
        "predict_batch": batch_json(&customers, &many),
        "recommend": recommend_json(&recommended),
    }))
}

/// Asks what to do for the sample customer, and says twice that the customer stayed; whether the second time was known to be the second.
async fn recommend(channel: Channel, customers: &Customers) -> Result<(RecommendResponse, bool)> {
    let mut decisions = DecisionServiceClient::new(channel);
    let request = customers.recommend(SAMPLE_CUSTOMER)?;
    let answer = decisions.recommend(request).await.context("Recommend failed")?.into_inner();
    let outcome = RecordOutcomeRequest {
        decision_id: answer.decision_id.clone(),
        idempotency_key: "quickstart".to_owned(),
        kind: OutcomeKind::Retained.into(),
        ..RecordOutcomeRequest::default()
    };
    decisions.record_outcome(outcome.clone()).await.context("RecordOutcome failed")?;
    let again = decisions.record_outcome(outcome).await.context("RecordOutcome failed the second time")?;
    Ok((answer, again.into_inner().already_recorded))
}

async fn health(channel: Channel) -> Result<&'static str> {
    let answer = HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await;
    Ok(answer.context("the health check failed")?.into_inner().status().as_str_name())
}

/// Names and versions of the models that answer.
async fn list_models(channel: Channel) -> Result<Vec<String>> {
    let answer = ModelServiceClient::new(channel).list_models(ListModelsRequest {}).await.context("ListModels failed")?;
    let name = |model: retain_proto::v1::ModelSummary| {
        let aliases = if model.aliases.is_empty() { String::new() } else { format!(" ({})", model.aliases.join(", ")) };
        format!("{}/{}{aliases}", model.name, model.version)
    };
    Ok(answer.into_inner().models.into_iter().map(name).collect())
}

/// The built-in table as texts, without its labels.
struct Customers {
    ids: Vec<String>,
    columns: Vec<(String, Vec<String>)>,
}

impl Customers {
    fn read() -> Result<Self> {
        let mut reader = csv::Reader::from_reader(TABLE);
        let headers = reader.headers()?.clone();
        let mut ids = Vec::new();
        let mut columns: Vec<(String, Vec<String>)> = headers.iter().map(|name| (name.to_owned(), Vec::new())).collect();
        for record in reader.records() {
            for ((_, values), cell) in columns.iter_mut().zip(&record?) {
                values.push(cell.to_owned());
            }
        }
        if let Some(position) = columns.iter().position(|(name, _)| name == ENTITY) {
            ids = columns.remove(position).1;
        }
        columns.retain(|(name, _)| name != TARGET);
        Ok(Self { ids, columns })
    }

    /// A request with the customer's values and their reasons.
    fn single(&self, id: &str) -> Result<PredictRequest> {
        let row = self.ids.iter().position(|known| known == id).context("the built-in table lacks its sample customer")?;
        let value = |text: &String| FeatureValue { value: Some(feature_value::Value::Text(text.clone())) };
        let features: BTreeMap<String, FeatureValue> =
            self.columns.iter().map(|(name, values)| (name.clone(), value(&values[row]))).collect();
        Ok(PredictRequest {
            customer_id: id.to_owned(),
            features,
            models: vec![MODEL.to_owned()],
            top_k_reasons: N_REASONS,
            // A champion that somebody else trained may know fewer columns.
            unknown_feature_policy: UnknownFeaturePolicy::Ignore.into(),
            ..PredictRequest::default()
        })
    }

    /// What to do for a customer, with everything that speaks for and against it.
    fn recommend(&self, id: &str) -> Result<RecommendRequest> {
        let PredictRequest { customer_id, features, unknown_feature_policy, .. } = self.single(id)?;
        Ok(RecommendRequest {
            customer_id,
            features,
            unknown_feature_policy,
            top_k_candidates: 10,
            ..RecommendRequest::default()
        })
    }

    fn batch(&self) -> PredictBatchRequest {
        let column = |(name, values): &(String, Vec<String>)| FeatureColumn {
            name: name.clone(),
            values: Some(feature_column::Values::Texts(TextColumn { values: values.iter().take(BATCH_ROWS).cloned().collect() })),
            missing: Vec::new(),
        };
        PredictBatchRequest {
            customer_ids: self.ids.iter().take(BATCH_ROWS).cloned().collect(),
            columns: self.columns.iter().map(column).collect(),
            models: vec![MODEL.to_owned()],
            unknown_feature_policy: UnknownFeaturePolicy::Ignore.into(),
            ..PredictBatchRequest::default()
        }
    }
}

fn recommend_text(answer: &RecommendResponse, already_recorded: bool) -> String {
    let mut table = tables::table(&["Recommend", "why", "effect", "cost", "expected value", "probability"], 2);
    for candidate in &answer.candidates {
        let amount = |amount: f64| format!("{amount:.2}");
        let of_action = |amount: String| if candidate.action == "no_action" { String::new() } else { amount };
        table.add_row([
            candidate.action.clone(),
            candidate.reason.clone(),
            of_action(format!("{:+.3}", candidate.effect)),
            of_action(amount(candidate.cost)),
            of_action(amount(candidate.expected_value)),
            format!("{:.4}", candidate.propensity),
        ]);
    }
    let chosen = answer.chosen.as_ref().map_or("?", |chosen| &chosen.action);
    let (customer, decision) = (&answer.customer_id, &answer.decision_id);
    let again = if already_recorded { "recorded once, sent twice" } else { "recorded twice" };
    format!(
        "\n{}\n\nchosen for {customer}: {chosen}, by decision {decision}\nRecordOutcome RETAINED: {again}",
        tables::render(&table)
    )
}

fn recommend_json(answer: &RecommendResponse) -> Value {
    let candidate = |candidate: &retain_proto::v1::Candidate| {
        json!({
            "action": candidate.action,
            "eligible": candidate.eligible,
            "effect": candidate.effect,
            "cost": candidate.cost,
            "expected_value": candidate.expected_value,
            "propensity": candidate.propensity,
            "reason": candidate.reason,
        })
    };
    json!({
        "decision_id": answer.decision_id,
        "chosen": answer.chosen.as_ref().map(|chosen| chosen.action.clone()),
        "candidates": answer.candidates.iter().map(candidate).collect::<Vec<_>>(),
    })
}

fn band_name(band: Band) -> &'static str {
    match band {
        Band::High => "high",
        Band::Medium => "medium",
        Band::Low => "low",
        Band::Unspecified => "none",
    }
}

fn single_text(answer: &PredictResponse) -> String {
    let told = answer.predictions.iter().map(|prediction| {
        let (name, version) = prediction.model.as_ref().map_or(("?", 0), |model| (model.name.as_str(), model.version));
        let band = band_name(prediction.band());
        let mut table = tables::table(&["reason", "value", "typical", "contribution"], 3);
        for reason in &prediction.reasons {
            let typical = reason.typical_value.clone().unwrap_or_default();
            table.add_row([reason.feature.clone(), reason.value.clone(), typical, format!("{:+.4}", reason.contribution)]);
        }
        let (id, probability) = (&answer.customer_id, prediction.probability);
        format!("\nPredict {id}: probability {probability:.4} ({band}) by {name}/{version}\n\n{}\n", tables::render(&table))
    });
    told.collect()
}

fn single_json(answer: &PredictResponse) -> Value {
    let prediction = |prediction: &retain_proto::v1::Prediction| {
        let reason = |reason: &retain_proto::v1::Reason| json!({ "feature": reason.feature, "value": reason.value, "typical": reason.typical_value, "contribution": reason.contribution });
        json!({
            "model": prediction.model.as_ref().map(|model| format!("{}/{}", model.name, model.version)),
            "probability": prediction.probability,
            "band": band_name(prediction.band()),
            "reasons": prediction.reasons.iter().map(reason).collect::<Vec<_>>(),
        })
    };
    json!({
        "customer_id": answer.customer_id,
        "predictions": answer.predictions.iter().map(prediction).collect::<Vec<_>>(),
    })
}

/// Customers beside their probabilities and bands.
fn batch_rows(customers: &Customers, answer: &PredictBatchResponse) -> Vec<(String, f64, &'static str)> {
    let Some(prediction) = answer.predictions.first() else { return Vec::new() };
    let bands = prediction.bands().map(band_name);
    let rows = customers.ids.iter().zip(&prediction.probabilities).zip(bands);
    rows.map(|((id, &probability), band)| (id.clone(), probability, band)).collect()
}

fn batch_text(customers: &Customers, answer: &PredictBatchResponse) -> String {
    let mut table = tables::table(&["PredictBatch", "probability", "band"], 1);
    for (id, probability, band) in batch_rows(customers, answer) {
        table.add_row([id, format!("{probability:.4}"), band.to_owned()]);
    }
    format!("\n{}", tables::render(&table))
}

fn batch_json(customers: &Customers, answer: &PredictBatchResponse) -> Value {
    let row = |(id, probability, band): (String, f64, &'static str)| json!({ "customer_id": id, "probability": probability, "band": band });
    batch_rows(customers, answer).into_iter().map(row).collect()
}
