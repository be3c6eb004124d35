//! Bundles made in code, and a server over them.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use retain_core::{ColumnKind, Day, FeatureSchema, FeatureSpec, ModelName, TaskKind};
use retain_proto::v1;
use retain_proto::v1::decision_service_client::DecisionServiceClient;
use retain_proto::v1::feature_value::Value;
use retain_proto::v1::model_service_client::ModelServiceClient;
use retain_proto::v1::prediction_service_client::PredictionServiceClient;
use retain_score::{
    Arm, Bands, Bundle, Calibrator, Cause, CheckRow, CheckRows, CheckValue, EffectPart, HazardModel, Head, Histogram, Individual,
    Manifest, MarginModel, Model, Node, NodeKind, Reference, Registry, Scorer, Shape, Term, Test, Tree, UpliftModel,
};
use retain_server::{Config, RunningServer, Server};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

/// The day it always is: 2024-10-04.
pub(crate) const TODAY: f64 = 20_000.0;

/// A server over a registry of its own.
pub(crate) struct TestServer {
    pub(crate) running: RunningServer,
    pub(crate) registry: Registry,
    pub(crate) channel: Channel,
    _folder: tempfile::TempDir,
}

impl TestServer {
    /// Serves these bundles, each published and made its model's champion.
    pub(crate) async fn start(bundles: &[Bundle]) -> Self {
        Self::start_with(bundles, |_| ()).await
    }

    pub(crate) async fn start_with(bundles: &[Bundle], change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new(folder.path());
        for bundle in bundles {
            publish(&registry, bundle);
        }
        let mut config = config(folder.path());
        change(&mut config);
        let running = Server::bind(config).await.unwrap().spawn().await;
        let channel = connect(&running).await;
        Self { running, registry, channel, _folder: folder }
    }

    pub(crate) fn predictions(&self) -> PredictionServiceClient<Channel> {
        PredictionServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20).max_encoding_message_size(64 << 20)
    }

    pub(crate) fn decisions(&self) -> DecisionServiceClient<Channel> {
        DecisionServiceClient::new(self.channel.clone())
    }

    pub(crate) fn models(&self) -> ModelServiceClient<Channel> {
        ModelServiceClient::new(self.channel.clone())
    }

    pub(crate) fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }

    pub(crate) async fn health_of(&self, service: &str) -> ServingStatus {
        let request = HealthCheckRequest { service: service.to_owned() };
        self.health().check(request).await.unwrap().into_inner().status()
    }

    pub(crate) async fn predict(&self, request: v1::PredictRequest) -> Result<v1::PredictResponse, Status> {
        self.predictions().predict(request).await.map(tonic::Response::into_inner)
    }

    /// The only prediction for these features.
    pub(crate) async fn predict_one(&self, features: &[(&str, Value)]) -> v1::Prediction {
        self.predict(request(features)).await.unwrap().predictions.remove(0)
    }
}

pub(crate) fn config(models: &Path) -> Config {
    let mut config = Config::new(models, || Day::from_days(TODAY));
    config.listen = "127.0.0.1:0".parse().unwrap();
    // Tests say when the models are read again.
    config.models_check_seconds = 0;
    config
}

pub(crate) async fn connect(running: &RunningServer) -> Channel {
    Channel::from_shared(format!("http://{}", running.local_addr())).unwrap().connect().await.unwrap()
}

/// Publishes a bundle and makes it the champion; returns its version.
pub(crate) fn publish(registry: &Registry, bundle: &Bundle) -> u32 {
    let version = registry.publish(bundle).unwrap().version;
    registry.set_alias(&bundle.manifest.name, "champion", version).unwrap();
    version
}

/// Changes one byte of a published model.
pub(crate) fn damage(registry: &Registry, name: &str, version: u32) {
    let path = registry.path(&ModelName::new(name).unwrap(), version).join("model.bin");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

/// Ends the test when something that should happen does not.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

pub(crate) fn request(features: &[(&str, Value)]) -> v1::PredictRequest {
    v1::PredictRequest { customer_id: "c-1".to_owned(), features: values(features), ..v1::PredictRequest::default() }
}

pub(crate) fn values(features: &[(&str, Value)]) -> BTreeMap<String, v1::FeatureValue> {
    features.iter().map(|(name, value)| ((*name).to_owned(), v1::FeatureValue { value: Some(value.clone()) })).collect()
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A customer without anything unusual.
pub(crate) fn usual() -> Vec<(&'static str, Value)> {
    vec![("tenure", Value::Number(12.0)), ("contract", text("monthly")), ("paperless", Value::Boolean(true))]
}

/// Asserts the code and the fields that a refusal names, with their reasons.
#[track_caller]
pub(crate) fn assert_refused(status: &Status, code: Code, fields: &[(&str, &str)]) {
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().domain, "retain");
    let found = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    let found: Vec<_> = found.iter().map(|violation| (violation.field.as_str(), violation.reason.as_str())).collect();
    assert_eq!(found, fields, "{status:?}");
}

#[track_caller]
pub(crate) fn reason_of(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

/// `telco`: tenure, contract and paperless; a higher intercept is another model.
pub(crate) fn telco(intercept: f64) -> Bundle {
    let mut tenure = FeatureSpec::new("tenure", ColumnKind::Number);
    (tenure.min, tenure.max, tenure.typical) = (Some(0.0), Some(72.0), Some(29.0));
    let mut contract = FeatureSpec::new("contract", ColumnKind::Category);
    contract.set_categories(vec!["monthly".into(), "one year".into(), "two year".into()]);
    contract.typical = Some(0.0);
    let mut paperless = FeatureSpec::new("paperless", ColumnKind::Boolean);
    paperless.typical = Some(1.0);
    let terms = vec![
        Term { feature_idx: 0, shape: number(-1.1), mean: -0.1 },
        Term { feature_idx: 1, shape: Shape::Category { values: vec![0.9, -0.4, -1.3, 0.05], missing: 0.1 }, mean: 0.2 },
    ];
    let margin = MarginModel { intercept, terms, trees: vec![paperless_and_new()] };
    bundle("telco", vec![tenure, contract, paperless], margin)
}

/// `gym`: one date, and `tenure` as a category, which no other model has it as.
pub(crate) fn gym() -> Bundle {
    let mut joined = FeatureSpec::new("joined", ColumnKind::Date);
    (joined.min, joined.max, joined.typical) = (Some(0.0), Some(4_000.0), Some(400.0));
    let mut tenure = FeatureSpec::new("tenure", ColumnKind::Category);
    tenure.set_categories(vec!["long".into(), "short".into()]);
    let terms = vec![
        Term { feature_idx: 0, shape: number(-0.7), mean: 0.0 },
        Term { feature_idx: 1, shape: Shape::Category { values: vec![-0.5, 0.5, 0.0], missing: 0.0 }, mean: 0.0 },
    ];
    bundle("gym", vec![joined, tenure], MarginModel { intercept: -0.5, terms, trees: Vec::new() })
}

/// `wide`: `n_features` numbers, `f0000` and so on, each of which counts.
pub(crate) fn wide(n_features: u32) -> Bundle {
    let features = (0..n_features).map(|position| FeatureSpec::new(&format!("f{position:04}"), ColumnKind::Number)).collect();
    let term = |feature_idx| Term { feature_idx, shape: number(0.01 * f64::from(feature_idx % 7)), mean: 0.0 };
    bundle("wide", features, MarginModel { intercept: 0.3, terms: (0..n_features).map(term).collect(), trees: Vec::new() })
}

fn number(linear: f64) -> Shape {
    Shape::Number { low: 0.0, high: 4_000.0, log: false, center: 29.0, scale: 24.0, linear, quadratic: 0.03, missing: 0.25 }
}

fn paperless_and_new() -> Tree {
    let split = |feature_idx, threshold, left, right| NodeKind::Split {
        feature_idx,
        test: Test::Below(threshold),
        missing_left: true,
        left,
        right,
    };
    let leaf = |value| NodeKind::Leaf { value };
    let nodes =
        [(100.0, split(2, 0.5, 1, 2)), (40.0, leaf(-0.2)), (60.0, split(0, 6.0, 3, 4)), (20.0, leaf(0.6)), (40.0, leaf(0.07))];
    Tree { nodes: nodes.map(|(cover, kind)| Node { cover, kind }).to_vec() }
}

/// `lease`: a survival model of `rooms` with two ways of leaving, over three periods of 30 days; its horizon is 30 days.
pub(crate) fn lease() -> Bundle {
    let cause = |name: &str, feature_idx, linear| {
        let terms = vec![Term { feature_idx, shape: number(linear), mean: 0.0 }];
        let margin = MarginModel { intercept: -1.5, terms, trees: Vec::new() };
        Cause { name: name.to_owned(), hazard: Head { margin, calibrator: Calibrator::Identity } }
    };
    // The second one grows from period to period: the number behind the features.
    let causes = vec![cause("moved", 0, 0.4), cause("died", 1, 6.0)];
    let model = Model::Hazard(HazardModel { period_ends: vec![30.0, 60.0, 90.0], horizon_days: 30.0, causes });
    bundle_of(TaskKind::Survival, "lease", vec![FeatureSpec::new("rooms", ColumnKind::Number)], model)
}

/// `mails`: what a mail changes by `rooms`, and a call, which does the same for everybody.
pub(crate) fn mails() -> Bundle {
    let margin = |linear: f64| MarginModel {
        intercept: -1.0,
        terms: vec![Term { feature_idx: 0, shape: number(linear), mean: 0.0 }],
        trees: Vec::new(),
    };
    let parts = vec![EffectPart::Chances { weight: 1.0, treated: margin(0.3), control: margin(0.1) }];
    let individual = Individual { parts, center: 0.2, slope: 0.8, slope_half_width: 0.3 };
    let arm = |name: &str, individual| Arm { name: name.to_owned(), average: 0.05, half_width: 0.02, individual };
    let arms = vec![arm("mail", Some(individual)), arm("call", None)];
    let model = Model::Uplift(UpliftModel { arms, limit: 1.0, chooses: true });
    bundle_of(TaskKind::Uplift, "mails", vec![FeatureSpec::new("rooms", ColumnKind::Number)], model)
}

fn bundle(name: &str, features: Vec<FeatureSpec>, margin: MarginModel) -> Bundle {
    let model = Model::Event(Head { margin, calibrator: Calibrator::Sigmoid { slope: 0.9, intercept: -0.1 } });
    bundle_of(TaskKind::Churn, name, features, model)
}

fn bundle_of(kind: TaskKind, name: &str, features: Vec<FeatureSpec>, model: Model) -> Bundle {
    let schema = FeatureSchema::new(features, Some("id".into()), "churned".into(), "yes".into(), None).unwrap();
    let manifest = Manifest { kind, ..manifest(name) };
    let scorer = Scorer::new(manifest.clone(), schema.clone(), &model).unwrap();
    let features = schema.features.iter().filter(|feature| feature.kind == ColumnKind::Number);
    let features = features.map(|feature| (feature.name.clone(), CheckValue::Number(7.0))).collect();
    let mut check_row =
        CheckRow { features, observed: Some(TODAY), margin: 0.0, probability: 0.0, expected_value: None, effects: Vec::new() };
    let row = check_row.encode(&schema).unwrap();
    let prediction = scorer.predict(&row);
    check_row.effects = scorer.effects(&row).unwrap_or_default().iter().map(|effect| effect.effect).collect();
    (check_row.margin, check_row.probability) = (prediction.margin, prediction.probability);
    let histogram = |name: &str, borders: Vec<f64>, n_bins| Histogram {
        name: name.to_owned(),
        borders,
        counts: vec![50; n_bins],
        n_missing: 0,
    };
    let of_feature = |feature: &FeatureSpec| match feature.kind {
        ColumnKind::Category => histogram(&feature.name, Vec::new(), feature.categories.len() + 1),
        _ => histogram(&feature.name, vec![1.0], 2),
    };
    let features = schema.features.iter().map(of_feature).collect();
    let reference = Reference { format_version: 1, n_rows: 100, features, scores: histogram("probability", vec![0.5], 2) };
    Bundle {
        manifest,
        schema,
        model,
        check_rows: CheckRows { rows: vec![check_row] },
        metrics: br#"{"roc_auc":0.84}"#.to_vec(),
        reference: serde_json::to_vec(&reference).unwrap(),
        card: format!("# {name}\n"),
        size_bytes: 0,
    }
}

fn manifest(name: &str) -> Manifest {
    Manifest {
        format_version: 1,
        name: ModelName::new(name).unwrap(),
        version: 1,
        kind: TaskKind::Churn,
        definition: "left within the month".into(),
        horizon_days: 30,
        lead_days: 2,
        seed: 7,
        learner: "logistic".into(),
        configuration: "alpha=1".into(),
        calibrator: "sigmoid".into(),
        validation: "five folds".into(),
        n_rows: 100,
        n_positives: 27,
        n_customers: 90,
        observed: None,
        reference_day: None,
        currency: None,
        bands: Bands { medium: 0.3, high: 0.6 },
        data_sha256: "d".into(),
        schema_sha256: String::new(),
        tool_version: "test".into(),
        warnings: vec!["small table".into()],
        files: BTreeMap::new(),
    }
}

/// The same model with one more feature, which counts for nothing.
pub(crate) fn with_feature(bundle: Bundle, feature: FeatureSpec) -> Bundle {
    let Bundle { manifest, schema, model, .. } = bundle;
    let features = schema.features.into_iter().chain([feature]).collect();
    bundle_of(manifest.kind, manifest.name.as_str(), features, model)
}

pub(crate) fn number_column(name: &str, values: Vec<f64>) -> v1::FeatureColumn {
    let values = Some(v1::feature_column::Values::Numbers(v1::NumberColumn { values }));
    v1::FeatureColumn { name: name.to_owned(), values, missing: Vec::new() }
}
