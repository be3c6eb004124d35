use std::path::Path;
use std::time::{Duration, Instant};

use retain_core::Day;
use retain_data::{RowReader, TableSource, Task, Training, read_training, simulate_customers};
use retain_proto::v1::prediction_service_client::PredictionServiceClient;
use retain_proto::v1::{FeatureValue, PredictRequest, feature_value};
use retain_score::{Bundle, Registry, Scorer};
use retain_server::{Config, Server};
use retain_train::{Preference, TrainOptions, Trained, train};

pub(crate) const TASK: &str = r#"
[task]
name = "simulated-churn"
kind = "churn"
definition = "left within the month after the snapshot"
horizon_days = 30
[table]
entity = "customer_id"
target = "churned"
positive = "yes"
"#;

pub(crate) fn read(csv: &str, task: &Task) -> Training {
    read_training(&TableSource::from_bytes("customers.csv", csv.as_bytes().to_vec()).unwrap(), task).unwrap()
}

pub(crate) fn trained(task: &Task, training: &Training) -> Trained {
    let (started, budget) = (Instant::now(), Duration::from_mins(10));
    let options = TrainOptions { seed: task.seed, started, budget, resamples: 100, prefer: Preference::Accurate };
    train(task, &training.dataset, &training.report, None, &options, &|_, _, _| ()).unwrap()
}

/// Publishes a bundle as its model's champion and returns the registry's folder.
fn published(trained: &Trained, folder: &Path) -> Registry {
    let bundle = folder.join("bundle");
    trained.bundle.write(&bundle).unwrap();
    let registry = Registry::new(&folder.join("models"));
    let published = registry.publish(&Bundle::read(&bundle).unwrap()).unwrap();
    registry.set_alias(&trained.bundle.manifest.name, "champion", published.version).unwrap();
    registry
}

/// A request as a client would build it from one line of the table: every value as text.
fn request(header: &[&str], line: &str) -> PredictRequest {
    let cells = header.iter().zip(line.split(','));
    let features = cells.filter(|(name, _)| !["customer_id", "churned"].contains(name)).map(|(name, cell)| {
        let value = FeatureValue { value: Some(feature_value::Value::Text(cell.to_owned())) };
        ((*name).to_owned(), value)
    });
    PredictRequest { features: features.collect(), top_k_reasons: 3, ..PredictRequest::default() }
}

#[tokio::test]
async fn a_table_becomes_a_server_whose_answers_are_those_of_batch_scoring() {
    let simulated = simulate_customers(600, 11);
    let task = Task::parse(TASK).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let registry = published(&trained(&task, &read(&simulated.csv, &task)), folder.path());

    let scorer = Scorer::open(&registry.resolve(&"simulated-churn".parse().unwrap()).unwrap()).unwrap();
    let table = TableSource::from_bytes("customers.csv", simulated.csv.clone().into_bytes()).unwrap();
    let mut batch_scores = Vec::new();
    for batch in RowReader::open(&table, scorer.schema(), None).unwrap() {
        let mut predictions = Vec::new();
        scorer.predict_rows(batch.unwrap().rows.values(), &mut predictions);
        batch_scores.extend(predictions);
    }
    assert_eq!(batch_scores.len(), 600);

    let mut config = Config::new(registry.root(), || Day::from_days(20_000.0));
    config.listen = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(config).await.unwrap().spawn().await;
    let mut client = PredictionServiceClient::connect(format!("http://{}", server.local_addr())).await.unwrap();
    let mut lines = simulated.csv.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    for (line, expected) in lines.zip(&batch_scores).take(200) {
        let answer = client.predict(request(&header, line)).await.unwrap().into_inner();
        let prediction = &answer.predictions[0];
        assert_eq!(prediction.probability.to_bits(), expected.probability.to_bits(), "{line}");
        assert_eq!(prediction.margin.to_bits(), expected.margin.to_bits(), "{line}");
        assert_eq!(prediction.model.as_ref().unwrap().version, 1);
        assert!(prediction.reasons.len() <= 3);
    }
    drop(client);
    server.stop().await.unwrap();
}
