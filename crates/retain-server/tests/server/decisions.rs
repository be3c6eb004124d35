use std::fs;
use std::path::Path;

use prost_types::Timestamp;
use retain_proto::v1;
use retain_server::DecisionSettings;
use retain_store::{Store, StoreConfig};
use tonic::{Code, Status};

use crate::support::{TODAY, TestServer, assert_refused, reason_of, telco, text, usual, values};

const PLAYBOOK: &str = r#"
[playbook]
name = "save"
currency = "USD"
presets = ["early-warning"]
value_at_stake = "features.monthly_charges * 12"
attribution_days = 30

[models]
churn = "telco"

[exploration]
holdout = 0.0

[contact]
overall = [{ days = 7, max = 2 }]
[contact.channels.email]
consent = "features.email_consent"
[contact.channels.phone]

[[action]]
id = "call"
name = { en = "Call", es = "Llamar" }
channel = "phone"
cost = 24.0
capacity = 2
capacity_days = 1
prior = { effect = 0.2, sd = 0.01, weight = 50 }
eligible = "predictions.churn.probability > 0.0001"

[[action]]
id = "mail"
name = { en = "E-mail", es = "Correo" }
channel = "email"
cost = 0.5
prior = { effect = 0.05, sd = 0.01, weight = 50 }
suppress = { rejected = 30 }
"#;

/// A server that decides, and the folder of its playbook and log.
struct Deciding {
    server: TestServer,
    folder: tempfile::TempDir,
}

impl Deciding {
    async fn start() -> Self {
        Self::with(PLAYBOOK).await
    }

    async fn with(playbook: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("playbook.toml"), playbook).unwrap();
        let settings = settings(folder.path());
        let server = TestServer::start_with(&[telco(-0.4)], |config| config.decisions = Some(settings)).await;
        Self { server, folder }
    }

    async fn recommend(&self, request: v1::RecommendRequest) -> Result<v1::RecommendResponse, Status> {
        self.server.decisions().recommend(request).await.map(tonic::Response::into_inner)
    }

    async fn report(&self, request: v1::RecordOutcomeRequest) -> Result<bool, Status> {
        Ok(self.server.decisions().record_outcome(request).await?.into_inner().already_recorded)
    }
}

fn settings(folder: &Path) -> DecisionSettings {
    DecisionSettings::new(folder.join("playbook.toml"), StoreConfig::sqlite(folder.join("decisions.db")))
}

/// A customer who pays 100 a month and agrees to mails.
fn customer(id: &str) -> v1::RecommendRequest {
    let mut features = usual();
    features.push(("monthly_charges", v1::feature_value::Value::Number(100.0)));
    features.push(("email_consent", v1::feature_value::Value::Boolean(true)));
    v1::RecommendRequest { customer_id: id.to_owned(), features: values(&features), ..v1::RecommendRequest::default() }
}

fn outcome(decision_id: &str, key: &str, kind: v1::OutcomeKind) -> v1::RecordOutcomeRequest {
    v1::RecordOutcomeRequest {
        decision_id: decision_id.to_owned(),
        idempotency_key: key.to_owned(),
        kind: kind.into(),
        ..v1::RecordOutcomeRequest::default()
    }
}

fn propensities(response: &v1::RecommendResponse) -> f64 {
    response.candidates.iter().map(|candidate| candidate.propensity).sum()
}

#[tokio::test]
async fn a_decision_is_valued_explained_and_kept() {
    let deciding = Deciding::start().await;
    let answer = deciding.recommend(v1::RecommendRequest { top_k_candidates: 10, ..customer("c-1") }).await.unwrap();
    assert!((propensities(&answer) - 1.0).abs() < 1e-12, "{answer:?}");
    let call = answer.candidates.iter().find(|candidate| candidate.action == "call").unwrap();
    assert_eq!((call.value_at_stake, call.cost, call.effect, call.prior_share), (1_200.0, 24.0, 0.2, 1.0));
    assert!((call.expected_value - 216.0).abs() < 1e-9);
    assert_eq!(call.effect_source(), v1::EffectSource::Prior);
    let rule = call.rules.iter().find(|rule| rule.rule == "eligible").unwrap();
    assert_eq!(rule.result(), v1::RuleResult::Passed);
    assert!(rule.seen[0].starts_with("predictions.churn.probability = 0."), "{rule:?}");
    assert!(answer.candidates.iter().any(|candidate| candidate.action == "no_action"));
    assert_eq!(answer.predictions["churn"].model.as_ref().unwrap().name, "telco");
    let store = Store::open(&StoreConfig::sqlite(deciding.folder.path().join("decisions.db"))).unwrap();
    let kept = store.decision(answer.decision_id.parse().unwrap()).await.unwrap().unwrap().decision;
    let chosen = answer.chosen.as_ref().unwrap();
    assert_eq!((kept.action, kept.propensity, kept.customer_id), (chosen.action.clone(), chosen.propensity, "c-1".to_owned()));
    let context: serde_json::Value = serde_json::from_str(&kept.context).unwrap();
    assert_eq!(context["features"]["monthly_charges"], 100.0);
}

#[tokio::test]
async fn a_dry_run_leaves_nothing_behind() {
    let deciding = Deciding::start().await;
    let answer = deciding.recommend(v1::RecommendRequest { dry_run: true, ..customer("c-1") }).await.unwrap();
    assert_eq!(answer.decision_id, "");
    let store = Store::open(&StoreConfig::sqlite(deciding.folder.path().join("decisions.db"))).unwrap();
    assert_eq!(store.counts().await.unwrap().decisions, 0);
}

#[tokio::test]
async fn what_was_done_before_limits_what_is_done_next() {
    let deciding = Deciding::start().await;
    let mut contacts = 0;
    for _ in 0..12 {
        let answer = deciding.recommend(customer("c-1")).await.unwrap();
        contacts += usize::from(answer.chosen.unwrap().action != "no_action");
    }
    assert_eq!(contacts, 2, "two contacts in seven days are allowed");
}

#[tokio::test]
async fn calls_at_the_same_time_keep_a_customers_limits_together() {
    let deciding = Deciding::start().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut client = deciding.server.decisions();
        calls.spawn(async move { client.recommend(customer("c-1")).await.unwrap().into_inner() });
    }
    let answers = calls.join_all().await;
    let contacts = answers.iter().filter(|answer| answer.chosen.as_ref().unwrap().action != "no_action").count();
    assert_eq!(contacts, 2, "two contacts in seven days are allowed");
}

#[tokio::test]
async fn capacity_is_shared_by_all_customers_and_told() {
    let deciding = Deciding::start().await;
    let mut calls = 0;
    for number in 0..20 {
        let answer = deciding.recommend(customer(&format!("c-{number}"))).await.unwrap();
        calls += usize::from(answer.chosen.unwrap().action == "call");
    }
    assert_eq!(calls, 2);
    let answer =
        deciding.recommend(v1::RecommendRequest { top_k_candidates: 10, dry_run: true, ..customer("c-x") }).await.unwrap();
    let call = answer.candidates.iter().find(|candidate| candidate.action == "call").unwrap();
    assert!(!call.eligible && call.reason.contains("capacity"), "{call:?}");
}

#[tokio::test]
async fn an_outcome_is_kept_once_and_contradictions_are_refused() {
    let deciding = Deciding::start().await;
    let id = deciding.recommend(customer("c-1")).await.unwrap().decision_id;
    assert!(!deciding.report(outcome(&id, "k1", v1::OutcomeKind::Accepted)).await.unwrap());
    assert!(deciding.report(outcome(&id, "k1", v1::OutcomeKind::Accepted)).await.unwrap());
    let reused = deciding.report(outcome(&id, "k1", v1::OutcomeKind::Clicked)).await.unwrap_err();
    assert_refused(&reused, Code::AlreadyExists, &[("idempotency_key", "KEY_REUSED")]);
    let contradicting = deciding.report(outcome(&id, "k2", v1::OutcomeKind::Rejected)).await.unwrap_err();
    assert_refused(&contradicting, Code::AlreadyExists, &[("kind", "CONTRADICTS_EARLIER_OUTCOME")]);
    let unknown =
        deciding.report(outcome("01932c07-1a2b-7c3d-8e4f-5a6b7c8d9e0f", "k", v1::OutcomeKind::Churned)).await.unwrap_err();
    assert_refused(&unknown, Code::NotFound, &[("decision_id", "DECISION_NOT_FOUND")]);
    let late = Timestamp { seconds: (TODAY as i64 + 31) * 86_400, nanos: 0 };
    let late = v1::RecordOutcomeRequest { occurred_at: Some(late), ..outcome(&id, "k3", v1::OutcomeKind::Churned) };
    assert_refused(&deciding.report(late).await.unwrap_err(), Code::FailedPrecondition, &[("occurred_at", "WINDOW_CLOSED")]);
    let nameless = deciding.report(outcome("x", "", v1::OutcomeKind::Unspecified)).await.unwrap_err();
    let fields = [("decision_id", "INVALID_DECISION_ID"), ("kind", "UNKNOWN_ENUM_VALUE"), ("idempotency_key", "KEY_REQUIRED")];
    assert_refused(&nameless, Code::InvalidArgument, &fields);
}

#[tokio::test]
async fn what_a_person_does_instead_counts_for_the_next_decision() {
    let deciding = Deciding::start().await;
    let id = deciding.recommend(customer("c-1")).await.unwrap().decision_id;
    let request = v1::RecordOverrideRequest {
        decision_id: id,
        idempotency_key: "o1".to_owned(),
        action: "cal".to_owned(),
        who: "ana".to_owned(),
        why: "asked for it".to_owned(),
        occurred_at: None,
    };
    let refused = deciding.server.decisions().record_override(request.clone()).await.unwrap_err();
    assert_refused(&refused, Code::InvalidArgument, &[("action", "UNKNOWN_ACTION")]);
    let request = v1::RecordOverrideRequest { action: "call".to_owned(), ..request };
    let mut client = deciding.server.decisions();
    assert!(!client.record_override(request.clone()).await.unwrap().into_inner().already_recorded);
    assert!(client.record_override(request).await.unwrap().into_inner().already_recorded);
}

#[tokio::test]
async fn a_batch_keeps_capacities_and_a_budget() {
    let deciding = Deciding::start().await;
    let ids: Vec<String> = (0..50).map(|number| format!("c-{number}")).collect();
    let column = |name: &str, values| v1::FeatureColumn { name: name.to_owned(), values: Some(values), missing: Vec::new() };
    let numbers = |value: f64| v1::feature_column::Values::Numbers(v1::NumberColumn { values: vec![value; 50] });
    let booleans = v1::feature_column::Values::Booleans(v1::BooleanColumn { values: vec![true; 50] });
    let columns =
        vec![column("tenure", numbers(12.0)), column("monthly_charges", numbers(100.0)), column("email_consent", booleans)];
    let request =
        v1::RecommendBatchRequest { customer_ids: ids, columns, budget: Some(40.0), ..v1::RecommendBatchRequest::default() };
    let answer = deciding.server.decisions().recommend_batch(request.clone()).await.unwrap().into_inner();
    let n_of = |action: &str| answer.actions.iter().filter(|chosen| *chosen == action).count();
    assert!(n_of("call") <= 2 && n_of("mail") > 10, "{:?}", answer.actions);
    assert!(answer.total_cost <= 40.0);
    assert!(answer.total_low < answer.total_expected_value && answer.total_expected_value < answer.total_high);
    assert!(answer.decision_ids.iter().all(|id| id.len() == 36));
    let store = Store::open(&StoreConfig::sqlite(deciding.folder.path().join("decisions.db"))).unwrap();
    assert_eq!(store.counts().await.unwrap().decisions, 50);

    let twice = v1::RecommendBatchRequest { customer_ids: vec!["a".to_owned(), "a".to_owned()], columns: Vec::new(), ..request };
    let refused = deciding.server.decisions().recommend_batch(twice).await.unwrap_err();
    assert_refused(&refused, Code::InvalidArgument, &[("customer_ids[1]", "DUPLICATE_CUSTOMER")]);
}

#[tokio::test]
async fn a_customer_is_assessed_by_the_presets() {
    let deciding = Deciding::start().await;
    let features =
        values(&[("logins_per_week", v1::feature_value::Value::Number(1.0)), ("tenure", v1::feature_value::Value::Number(3.0))]);
    let request = v1::AssessRequest { customer_id: "c-1".to_owned(), features, ..v1::AssessRequest::default() };
    let answer = deciding.server.decisions().assess(request.clone()).await.unwrap().into_inner();
    assert_eq!(answer.signals.len(), 1, "{:?}", answer.signals);
    assert_eq!(answer.signals[0].seen, ["features.logins_per_week = 1"]);
    let spanish = v1::AssessRequest { language: v1::Language::Spanish.into(), ..request };
    let spanish = deciding.server.decisions().assess(spanish).await.unwrap().into_inner();
    assert_ne!(spanish.signals[0].signal.as_ref().unwrap().name, answer.signals[0].signal.as_ref().unwrap().name);
}

#[tokio::test]
async fn what_cannot_be_decided_is_refused_by_name() {
    let deciding = Deciding::start().await;
    let nobody = deciding.recommend(customer("")).await.unwrap_err();
    assert_refused(&nobody, Code::InvalidArgument, &[("customer_id", "CUSTOMER_REQUIRED")]);
    let fax = v1::RecommendRequest { channels: vec!["fax".to_owned()], ..customer("c") };
    assert_refused(&deciding.recommend(fax).await.unwrap_err(), Code::InvalidArgument, &[("channels[0]", "UNKNOWN_CHANNEL")]);
    let mut strange = customer("c");
    strange.features.extend(values(&[("colour", text("red"))]));
    let fields = [("features[\"colour\"]", "UNKNOWN_FEATURE")];
    assert_refused(&deciding.recommend(strange).await.unwrap_err(), Code::InvalidArgument, &fields);
    let plain = TestServer::start(&[telco(-0.4)]).await;
    let none = plain.decisions().recommend(customer("c")).await.unwrap_err();
    assert_eq!((none.code(), reason_of(&none).as_str()), (Code::Unimplemented, "NO_PLAYBOOK"));
}

#[tokio::test]
async fn predictions_go_on_without_the_log() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("playbook.toml"), PLAYBOOK).unwrap();
    let mut settings = settings(folder.path());
    settings.store = StoreConfig::sqlite(folder.path().join("absent/decisions.db"));
    let server = TestServer::start_with(&[telco(-0.4)], |config| config.decisions = Some(settings)).await;
    let gone = server.decisions().recommend(customer("c")).await.unwrap_err();
    assert_eq!((gone.code(), reason_of(&gone).as_str()), (Code::Unavailable, "STORE_UNAVAILABLE"));
    server.predict_one(&usual()).await;
}

#[tokio::test]
async fn a_playbook_is_read_again_and_a_bad_one_leaves_the_one_before_it() {
    let deciding = Deciding::start().await;
    let before = deciding.recommend(customer("c-1")).await.unwrap().playbook.unwrap();
    let path = deciding.folder.path().join("playbook.toml");
    fs::write(&path, PLAYBOOK.replace("cost = 24.0", "cost = -1.0")).unwrap();
    deciding.server.running.handle().reload().await.unwrap();
    assert_eq!(deciding.recommend(customer("c-2")).await.unwrap().playbook.unwrap(), before);
    fs::write(&path, PLAYBOOK.replace("cost = 24.0", "cost = 25.0")).unwrap();
    deciding.server.running.handle().reload().await.unwrap();
    assert_ne!(deciding.recommend(customer("c-3")).await.unwrap().playbook.unwrap(), before);
}
