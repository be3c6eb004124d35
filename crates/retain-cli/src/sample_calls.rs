//! The calls of `retain quickstart --once`: a real server, a real socket, a real customer of the built-in table.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use retain_proto::v1::model_service_client::ModelServiceClient;
use retain_proto::v1::prediction_service_client::PredictionServiceClient;
use retain_proto::v1::{
    Band, FeatureColumn, FeatureValue, ListModelsRequest, PredictBatchRequest, PredictBatchResponse, PredictRequest,
    PredictResponse, TextColumn, UnknownFeaturePolicy, feature_column, feature_value,
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
    let mut predictions = PredictionServiceClient::new(channel);
    let one = predictions.predict(customers.single(SAMPLE_CUSTOMER)?).await.context("Predict failed")?.into_inner();
    output.text(&single_text(&one))?;
    let many = predictions.predict_batch(customers.batch()).await.context("PredictBatch failed")?.into_inner();
    output.text(&batch_text(&customers, &many))?;
    Ok(
        json!({ "health": health, "models": models, "predict": single_json(&one), "predict_batch": batch_json(&customers, &many) }),
    )
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
