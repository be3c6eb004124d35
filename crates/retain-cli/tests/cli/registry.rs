//! `models`, `serve` and `quickstart`: publishing, aliases, and answering.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::Stdio;

use retain_proto::v1::prediction_service_client::PredictionServiceClient;
use retain_proto::v1::{FeatureValue, PredictRequest, feature_value};

use crate::support::{Folder, column, columns, command, retain, trained};

#[test]
fn a_bundle_is_published_once_and_addressed() {
    let folder = Folder::new();
    let models = folder.path("models");
    let publish = |more: &[&str]| {
        let mut arguments = vec!["models", "publish", "--format", "json", "--model", &trained().model, "--models", &models];
        arguments.extend(more);
        retain(&arguments).expect(0).json()
    };
    assert_eq!(publish(&[])["is_new"], true);
    let again = publish(&["--promote"]);
    assert_eq!((&again["is_new"], &again["version"]), (&false.into(), &1.into()));

    let list = retain(&["models", "list", "--format", "json", "--models", &models]).expect(0).json();
    assert_eq!((&list[0]["version"], &list[0]["aliases"][0]), (&1.into(), &"champion".into()));
    assert!(retain(&["models", "list", "--models", &models]).expect(0).stdout.contains("simulated/1"));
    retain(&["models", "promote", "simulated/1", "--alias", "shadow", "--models", &models]).expect(0);
    retain(&["models", "promote", "simulated/1", "--alias", "championn", "--models", &models]).expect(2).says("`champion`");
    retain(&["models", "promote", "simulated/2", "--models", &models]).expect(2).says("no version 2");
    retain(&["models", "verify", "--models", &models]).expect(0);

    let published = format!("{models}/simulated");
    for model in ["simulated", "simulated/1", "simulated@shadow", &published] {
        let run = retain(&["models", "show", model, "--models", &models]).expect(0);
        assert!(run.stdout.contains("simulated/1") && run.stdout.contains("# Model card"), "{}", run.stdout);
    }
    retain(&["models", "show", "simulatd", "--models", &models]).expect(2).says("did you mean `simulated`?");
}

#[test]
fn an_address_that_is_taken_is_a_usage_error() {
    let folder = Folder::new();
    let models = folder.path("models");
    retain(&["models", "publish", "--model", &trained().model, "--models", &models, "--promote"]).expect(0);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    retain(&["serve", "--models", &models, "--listen", &address]).expect(2).says("cannot listen").says("--listen");
    retain(&["serve", "--models", &folder.path("nothing")]).expect(2).says("no folder");
}

#[test]
fn a_server_that_anybody_could_call_has_to_be_asked_for() {
    let folder = Folder::new();
    let models = folder.path("models");
    retain(&["models", "publish", "--model", &trained().model, "--models", &models, "--promote"]).expect(0);
    let open = ["serve", "--models", &models, "--listen", "0.0.0.0:0", "--check"];
    retain(&open).expect(2).says("0.0.0.0:0").says("api_keys").says("--allow-unprotected");
    let asked = retain(&[&open[..], &["--allow-unprotected"]].concat()).expect(0);
    assert!(asked.stdout.starts_with("would listen on 0.0.0.0:"), "{}", asked.stdout);
}

#[test]
fn a_check_verifies_every_model_and_ends() {
    let folder = Folder::new();
    let models = folder.path("models");
    retain(&["models", "publish", "--model", &trained().model, "--models", &models, "--promote"]).expect(0);
    let check = ["serve", "--models", &models, "--listen", "127.0.0.1:0", "--check"];
    let good = retain(&check).expect(0);
    assert!(good.stdout.starts_with("would listen on 127.0.0.1:") && good.stdout.contains("(champion)"), "{}", good.stdout);
    let name = std::fs::read_dir(&models).unwrap().next().unwrap().unwrap().path();
    std::fs::write(name.join("1/model.bin"), b"not a model").unwrap();
    retain(&check).expect(5).says("model.bin");
    let config = folder.file("server.toml", "drain_second = 3\n");
    retain(&["serve", "--config", &config, "--check"]).expect(2).says("did you mean `drain_seconds`?");
}

#[test]
fn a_check_reads_the_customer_table_too() {
    let folder = Folder::new();
    let models = folder.path("models");
    retain(&["models", "publish", "--model", &trained().model, "--models", &models, "--promote"]).expect(0);
    let check = |table: &str| {
        let config = folder.file("server.toml", format!("listen = \"127.0.0.1:0\"\n[features]\npath = {table:?}\n"));
        retain(&["serve", "--config", &config, "--models", &models, "--check", "--format", "json"])
    };
    let json = check(&trained().holdout).expect(0).json();
    assert_eq!(
        (json["customers"]["customers"].as_u64(), json["customers"]["bad_cells"].as_object().unwrap().len()),
        (Some(1500), 0)
    );
    check(&folder.file("none.csv", "customer_id,tenure\n")).expect(5).says("no rows");
    check(&folder.path("nothing.csv")).expect(5).says("nothing.csv");
}

#[cfg(unix)]
#[test]
fn serving_ends_with_0_when_asked_to_stop() {
    let folder = Folder::new();
    let models = folder.path("models");
    retain(&["models", "publish", "--model", &trained().model, "--models", &models, "--promote"]).expect(0);
    let mut server = command(&["serve", "--models", &models, "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(server.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    assert!(first.starts_with("listening on 127.0.0.1:"), "{first}");
    let stopped = std::process::Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let mut stderr = String::new();
    server.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0), "{stderr}");
}

#[test]
fn usage_errors_end_with_2() {
    for arguments in
        [&["trian"][..], &[], &["score"], &["models", "list", "--format", "junit"], &["models", "list", "--threads", "0"]]
    {
        retain(arguments).expect(2);
    }
    retain(&["serve"]).expect(2).says("--models DIR");
    retain(&["--help"]).expect(0);
    retain(&["--version"]).expect(0);
}

/// The slowest test: it trains on the whole built-in table, as a newcomer's first minute does.
#[test]
fn quickstart_goes_from_the_table_to_an_answer_over_a_socket() {
    let folder = Folder::new();
    let models = folder.path("models");
    let json = retain(&["quickstart", "--once", "--format", "json", "--models", &models]).expect(0).json();
    let answers = &json["answers"];
    assert_eq!((&answers["health"], &json["version"], &json["is_new"]), (&"SERVING".into(), &1.into(), &true.into()));
    let prediction = &answers["predict"]["predictions"][0];
    assert_eq!((prediction["model"].as_str(), prediction["reasons"].as_array().unwrap().len()), (Some("telco-churn/1"), 5));
    // The customer of the single call is the first of the batch as well.
    assert_eq!(answers["predict_batch"][0]["probability"], prediction["probability"]);
    assert_eq!(folder.names(), ["models"]);
    let entries = std::fs::read_dir(&models).unwrap().count();
    assert_eq!(entries, 1, "the draft of the bundle was left in {models}");
}

#[cfg(unix)]
#[test]
fn a_server_says_in_one_line_of_json_that_it_listens() {
    let folder = Folder::new();
    let models = folder.path("models");
    retain(&["models", "publish", "--model", &trained().model, "--models", &models, "--promote"]).expect(0);
    let arguments = ["serve", "--format", "json", "--models", &models, "--listen", "127.0.0.1:0"];
    let mut server = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut first).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let line: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert!(line["listen"].as_str().unwrap().starts_with("127.0.0.1:"), "{first}");
    assert_eq!(line["models"][0], "simulated/1");
}

#[test]
fn an_alias_to_nowhere_and_a_damaged_alias_file_are_found() {
    let folder = Folder::new();
    let models = folder.path("models");
    retain(&["models", "publish", "--model", &trained().model, "--models", &models, "--promote"]).expect(0);
    let aliases = format!("{models}/simulated/aliases.json");
    std::fs::write(&aliases, "{\"champion\": 77}").unwrap();
    let run = retain(&["models", "verify", "--models", &models]).expect(5).says("simulated@champion");
    assert!(run.stdout.contains("there is no version 77") && run.stdout.contains("simulated/1: good"), "{}", run.stdout);
    retain(&["models", "promote", "simulated/1", "--alias", "prod", "--models", &models]).expect(2).says("`shadow`");
    std::fs::write(&aliases, "{champion").unwrap();
    retain(&["models", "list", "--models", &models]).expect(5).says("aliases.json").says("hint: correct it");
}

#[test]
fn a_name_that_is_no_model_is_explained() {
    let folder = Folder::new();
    let (table, models) = (&trained().holdout, folder.path("models"));
    let evaluate = |model: &str| retain(&["evaluate", "--model", model, "--data", table, "--models", &models]).expect(2);
    evaluate(table).says("is a file, and a model is a folder");
    evaluate("nothing").says("there is no folder of that name either");
    evaluate(&models).says("not an address either");
}

#[test]
fn quickstart_refuses_a_folder_it_cannot_publish_in_before_it_trains() {
    let folder = Folder::new();
    let models = folder.file("models", "a file");
    let run = retain(&["quickstart", "--once", "--models", &models]).expect(2).says("cannot publish in the folder");
    assert_eq!(run.stdout, "");
}

#[test]
fn usage_errors_are_one_message_in_json() {
    let run = retain(&["--format", "json", "trian"]).expect(2);
    let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(error["error"]["message"], "unrecognized subcommand 'trian'");
    assert_eq!(error["error"]["hint"], "a similar subcommand exists: 'train'");
    retain(&["--seed", "-1", "models", "list"]).expect(2).says("invalid value '-1' for '--seed");
}

/// Trained, published, served and called in processes of their own: the socket and `score` give the same bits.
#[test]
fn the_server_answers_what_score_writes() {
    let folder = Folder::new();
    let models = folder.path("models");
    retain(&["models", "publish", "--model", &trained().model, "--models", &models, "--promote"]).expect(0);
    let scores = folder.path("scores.csv");
    retain(&["score", "--model", &trained().model, "--input", &trained().holdout, "--output", &scores]).expect(0);
    let expected: Vec<f64> = column(&scores, "probability").iter().map(|text| text.parse().unwrap()).collect();

    let arguments = ["serve", "--models", &models, "--listen", "127.0.0.1:0"];
    let mut server = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let address = format!("http://{}", first.trim().strip_prefix("listening on ").unwrap());
    let served = tokio::runtime::Runtime::new().unwrap().block_on(served_probabilities(address, 50));
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(served, expected[..50]);
}

async fn served_probabilities(address: String, n_rows: usize) -> Vec<f64> {
    let mut client = PredictionServiceClient::connect(address).await.unwrap();
    let columns = columns(&trained().holdout);
    let mut served = Vec::new();
    for row in 0..n_rows {
        let features = columns.iter().filter(|(name, _)| !["customer_id", "churned"].contains(&name.as_str()));
        let features = features.map(|(name, cells)| {
            let value = feature_value::Value::Text(cells[row].clone());
            (name.clone(), FeatureValue { value: Some(value) })
        });
        let request = PredictRequest { features: features.collect(), ..PredictRequest::default() };
        served.push(client.predict(request).await.unwrap().into_inner().predictions[0].probability);
    }
    served
}
