//! `score`, `explain`, `evaluate` and `bench` of the shared model.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;

use crate::support::{Folder, column, columns, command, retain, retain_with_input, trained};

/// Scores a table to a CSV file and returns its path.
fn score(folder: &Folder, name: &str, table: &str, more: &[&str]) -> String {
    let scores = folder.path(name);
    let mut arguments = vec!["score", "--model", &trained().model, "--input", table, "--output", &scores];
    arguments.extend(more);
    retain(&arguments).expect(0);
    scores
}

fn holdout_lines() -> Vec<String> {
    fs::read_to_string(&trained().holdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn scores_keep_the_order_and_rank_customers() {
    let folder = Folder::new();
    let scores = score(&folder, "scores.csv", &trained().holdout, &[]);
    assert_eq!(column(&scores, "customer_id"), column(&trained().holdout, "customer_id"));
    let probability: Vec<f64> = column(&scores, "probability").iter().map(|text| text.parse().unwrap()).collect();
    let churned: Vec<bool> = column(&trained().holdout, "churned").iter().map(|label| label == "yes").collect();
    let mean = |wanted: bool| {
        let of: Vec<f64> = probability.iter().zip(&churned).filter(|(_, churned)| **churned == wanted).map(|(p, _)| *p).collect();
        of.iter().sum::<f64>() / of.len() as f64
    };
    assert!(probability.iter().all(|p| (0.0..=1.0).contains(p)));
    assert!(mean(true) > mean(false) + 0.1, "{} {}", mean(true), mean(false));
}

#[test]
fn a_row_alone_scores_as_in_the_batch() {
    let folder = Folder::new();
    let in_batch = column(&score(&folder, "scores.csv", &trained().holdout, &[]), "probability");
    let lines = holdout_lines();
    for row in [1, 8, 700] {
        let alone = folder.file("one.csv", format!("{}\n{}\n", lines[0], lines[row]));
        assert_eq!(column(&score(&folder, "one_score.csv", &alone, &[]), "probability")[0], in_batch[row - 1]);
    }
}

#[test]
fn a_table_of_many_batches_keeps_its_order() {
    let folder = Folder::new();
    let lines = holdout_lines();
    // More cells than are held in memory at a time, and more rows than a batch has, in CSV as in Parquet.
    let n_copies = 1 + 2_000_000 / ((lines.len() - 1) * lines[0].split(',').count());
    let mut table = lines[0].clone() + "\n";
    for _ in 0..n_copies {
        table.extend(lines[1..].iter().flat_map(|line| [line.as_str(), "\n"]));
    }
    let once = column(&score(&folder, "once.csv", &trained().holdout, &[]), "probability");
    let table = folder.file("many.csv", table);
    let many = column(&score(&folder, "many_scores.csv", &table, &[]), "probability");
    assert_eq!(many.len(), n_copies * once.len());
    assert!(many.chunks(once.len()).all(|copy| copy == once));
    let source = retain_data::TableSource::open(score(&folder, "many.parquet", &table, &[]).as_ref()).unwrap();
    let batches = source.batches(&[source.column_idx("probability").unwrap()]).unwrap();
    let values = |batch: &RecordBatch| batch.column(0).as_primitive::<Float64Type>().values().to_vec();
    let probabilities: Vec<f64> = batches.flat_map(|batch| values(&batch.unwrap())).collect();
    assert_eq!(probabilities, many.iter().map(|text| text.parse::<f64>().unwrap()).collect::<Vec<_>>());
}

#[test]
fn the_order_of_columns_does_not_matter() {
    let folder = Folder::new();
    let reversed: Vec<String> = holdout_lines().iter().map(|line| line.split(',').rev().collect::<Vec<_>>().join(",")).collect();
    let table = folder.file("reversed.csv", reversed.join("\n"));
    let here = score(&folder, "here.csv", &trained().holdout, &["--explain", "3"]);
    let there = score(&folder, "there.csv", &table, &["--explain", "3"]);
    assert_eq!(fs::read(here).unwrap(), fs::read(there).unwrap());
}

#[test]
fn threads_do_not_change_scores_and_pipes_carry_them() {
    let folder = Folder::new();
    let one = fs::read_to_string(score(&folder, "one.csv", &trained().holdout, &["--threads", "1"])).unwrap();
    let two = fs::read_to_string(score(&folder, "two.csv", &trained().holdout, &["--threads", "2"])).unwrap();
    assert_eq!(one, two);
    let table = fs::read(&trained().holdout).unwrap();
    let run = retain_with_input(&["score", "--model", &trained().model, "--input", "-", "--output", "-"], &table).expect(0);
    assert_eq!(run.stdout, one);
}

#[test]
fn reasons_are_readable_and_parquet_reads_back() {
    let folder = Folder::new();
    let scores = score(&folder, "scores.csv", &trained().holdout, &["--explain", "2"]);
    let names: Vec<String> = columns(&scores).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["customer_id", "probability", "reason_1", "reason_2"]);
    let reason = &column(&scores, "reason_1")[0];
    assert!(reason.contains(" = ") && reason.ends_with(')'), "{reason}");

    // A Parquet result is a table too: its own probability column is the proof that it was written whole.
    let parquet = score(&folder, "scores.parquet", &trained().holdout, &["--explain", "2"]);
    let source = retain_data::TableSource::open(parquet.as_ref()).unwrap();
    assert_eq!(source.columns(), names);
    let rows: usize = source.batches(&[0, 1]).unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, column(&scores, "probability").len());
}

#[test]
fn a_rejected_row_keeps_its_place() {
    let folder = Folder::new();
    let mut lines = holdout_lines();
    let mut cells: Vec<String> = lines[3].split(',').map(str::to_owned).collect();
    "many".clone_into(&mut cells[1]);
    lines[3] = cells.join(",");
    let table = folder.file("bad.csv", lines.join("\n"));
    let scores = folder.path("scores.csv");
    retain(&["score", "--model", &trained().model, "--input", &table, "--output", &scores])
        .expect(5)
        .says("row 3: column `tenure_months` should be a number, found `many`")
        .says("1 rejected");
    let probability = column(&scores, "probability");
    assert_eq!(probability.len(), lines.len() - 1);
    assert_eq!((probability[1].is_empty(), probability[2].is_empty(), probability[3].is_empty()), (false, true, false));
}

#[test]
fn missing_and_unseen_values_are_scored_and_counted() {
    let folder = Folder::new();
    let lines = holdout_lines();
    let odd = lines[1].replacen("one year", "five years", 1).replacen("monthly", "five years", 1).replacen(
        "two years",
        "five years",
        1,
    );
    let table = folder.file("odd.csv", format!("{}\n{odd}\n", lines[0]));
    let scores = folder.path("scores.csv");
    let run = retain(&["score", "--model", &trained().model, "--input", &table, "--output", &scores]);
    run.expect(0).says("`contract`: 1 unseen");
    let json = retain(&["score", "--format", "json", "--model", &trained().model, "--input", &table, "--output", &scores])
        .expect(0)
        .json();
    assert_eq!((&json["n_rows"], &json["n_rejected"]), (&1.into(), &0.into()));
}

#[test]
fn a_failure_half_way_leaves_the_old_result() {
    let folder = Folder::new();
    let scores = folder.file("scores.csv", "old");
    let whole = fs::read_to_string(&trained().holdout).unwrap();
    let torn = folder.file("torn.csv", &whole[..whole.len() - 25]);
    retain(&["score", "--model", &trained().model, "--input", &torn, "--output", &scores]).expect(5).says("line 1501");
    assert_eq!(fs::read_to_string(&scores).unwrap(), "old");
    assert_eq!(folder.names(), ["scores.csv", "torn.csv"]);
    retain(&["score", "--model", &trained().model, "--input", &torn, "--output", &folder.path("scores.txt")]).expect(2);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let model = trained().model.as_str();
    let mut child = command(&["score", "--model", model, "--input", &trained().holdout, "--output", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("error"), "{stderr}");
}

#[test]
fn contributions_add_up_to_the_margin() {
    let arguments =
        ["explain", "--format", "json", "--model", &trained().model, "--input", &trained().holdout, "--id", "C0000004"];
    let json = retain(&arguments).expect(0).json();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let contributions: Vec<f64> = json["contributions"].as_array().unwrap().iter().map(|c| number(&c["contribution"])).collect();
    let sum = number(&json["base_margin"]) + contributions.iter().sum::<f64>();
    assert!((sum - number(&json["margin"])).abs() < 1e-9);
    assert!(contributions.windows(2).all(|pair| pair[0].abs() >= pair[1].abs()));
    let probability = column(&score(&Folder::new(), "s.csv", &trained().holdout, &[]), "probability")[3].clone();
    assert_eq!(number(&json["probability"]).to_bits(), probability.parse::<f64>().unwrap().to_bits());
}

#[test]
fn an_unknown_customer_is_answered_with_the_nearest() {
    let model = trained().model.as_str();
    let run = retain(&["explain", "--model", model, "--input", &trained().holdout, "--id", "C000004"]).expect(5);
    run.says("`C000004` is not in the column `customer_id`").says("did you mean `C0");
}

#[test]
fn a_customer_with_several_rows_is_explained_by_the_last() {
    let folder = Folder::new();
    let lines = holdout_lines();
    let again = lines[9].replacen("C0000009", "C0000001", 1);
    let table = folder.file("twice.csv", format!("{}\n{}\n{again}\n", lines[0], lines[1]));
    let run =
        retain(&["explain", "--format", "json", "--model", &trained().model, "--input", &table, "--id", "C0000001"]).expect(0);
    assert_eq!((run.json()["row"].clone(), run.json()["n_rows"].clone()), (2.into(), 2.into()));
    run.says("has 2 rows");
}

#[test]
fn evaluation_stands_beside_the_base_rate() {
    let run = retain(&["evaluate", "--format", "json", "--model", &trained().model, "--data", &trained().holdout]).expect(0);
    let measurement = &run.json()["measurement"];
    let metric = |of: &str, name: &str| {
        let metrics = measurement[of]["metrics"].as_array().unwrap().clone();
        let found = metrics.into_iter().find(|metric| metric["metric"] == name).unwrap();
        ["value", "low", "high"].map(|key| found[key].as_f64().unwrap())
    };
    let [auc, low, high] = metric("evaluation", "roc_auc");
    assert!(low < auc && auc < high && low > 0.7, "{auc} {low} {high}");
    assert_eq!(metric("baseline", "roc_auc")[0], 0.5);
    assert!(metric("evaluation", "log_loss")[2] < metric("baseline", "log_loss")[1]);
    let text = retain(&["evaluate", "--model", &trained().model, "--data", &trained().holdout]).expect(0).stdout;
    assert!(text.contains("base rate") && text.contains("calibration"), "{text}");
}

#[test]
fn bench_reports_every_measurement() {
    let json = retain(&["bench", "--format", "json", "--model", &trained().model]).expect(0).json();
    for key in ["single_ns", "batch64_ns_per_row", "batch10k_ns_per_row", "explain_ns", "encode_single_ns"] {
        assert!(json[key].as_f64().unwrap() > 0.0, "{key}: {json}");
    }
    for (median, p99) in [("single_ns", "single_p99_ns"), ("explain_ns", "explain_p99_ns")] {
        assert!(json[p99].as_f64().unwrap() >= json[median].as_f64().unwrap() * 0.5, "{json}");
    }
    assert!(json["n_rows"].as_u64().unwrap() >= 1000);
}

/// What `bench --serve` says of the shared model, measured as shortly as can be.
fn bench_serve(more: &[&str]) -> serde_json::Value {
    let quick = ["bench", "--serve", "--duration", "0.05", "--rounds", "1", "--format", "json", "--model", &trained().model];
    retain(&[&quick, more].concat()).expect(0).json()
}

#[test]
fn bench_serve_measures_server_and_echo_in_turn() {
    let json = bench_serve(&[]);
    for side in ["echo", "serve"] {
        for key in ["p50_us", "p99_us", "rps"] {
            assert!(json[side][key].as_f64().unwrap() > 0.0, "{side}.{key}: {json}");
        }
    }
    for key in ["p50", "p99", "rps", "batch10k"] {
        assert!(json["ratio"][key].as_f64().unwrap() > 0.0, "{key}: {json}");
    }
    let open_loop = json["open_loop"].as_array().unwrap();
    assert_eq!(open_loop.len(), 2);
    assert!(open_loop.iter().all(|it| it["serve"]["p99_us"].as_f64() >= it["serve"]["p50_us"].as_f64()), "{json}");
    assert!(json["difference"]["p50_us"].is_number() && json["idle"]["ready_ms"].as_f64().unwrap() > 0.0, "{json}");
}

#[test]
fn bench_serve_takes_rows_of_a_table_and_settings_of_a_server() {
    let folder = Folder::new();
    // The SHA-256 of `s3cret`.
    let key = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
    let config = folder.file("server.toml", format!("[[api_keys]]\nname = \"bench\"\nsha256 = \"{key}\"\n"));
    let json = bench_serve(&["--input", &trained().holdout, "--server-config", &config, "--api-key", "s3cret"]);
    assert!(json["serve"]["rps"].as_f64().unwrap() > 0.0, "{json}");

    let refused = ["bench", "--serve", "--model", &trained().model, "--server-config", &config, "--api-key", "wrong"];
    retain(&refused).expect(1).says("gRPC code 16");
    let tls = folder.file("tls.toml", "[tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n");
    retain(&["bench", "--serve", "--model", &trained().model, "--server-config", &tls]).expect(2).says("measure without `[tls]`");
    retain(&["bench", "--model", &trained().model, "--rounds", "2"]).expect(2).says("--serve");
}

/// The hold-out rows as Parquet: texts, but for a whole number as the customer.
fn parquet_with_numbered_customers(folder: &Folder) -> String {
    let mut arrays: Vec<(String, ArrayRef)> = Vec::new();
    for (name, texts) in columns(&trained().holdout) {
        let array: ArrayRef = if name == "customer_id" {
            Arc::new((0..texts.len() as i64).map(|number| Some(number + 9_007_199_254_740_993)).collect::<Int64Array>())
        } else {
            Arc::new(texts.into_iter().map(Some).collect::<StringArray>())
        };
        arrays.push((name, array));
    }
    let batch = RecordBatch::try_from_iter(arrays).unwrap();
    let path = folder.path("numbered.parquet");
    let mut writer = ArrowWriter::try_new(fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

#[test]
fn a_whole_number_as_customer_stays_one_in_parquet() {
    let folder = Folder::new();
    let table = parquet_with_numbered_customers(&folder);
    let scores = score(&folder, "scores.parquet", &table, &[]);
    let source = retain_data::TableSource::open(scores.as_ref()).unwrap();
    let batch = source.batches(&[0]).unwrap().next().unwrap().unwrap();
    let customers = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
    assert_eq!(customers.value(1), 9_007_199_254_740_994);
    let text = score(&folder, "scores.csv", &table, &[]);
    assert_eq!(column(&text, "customer_id")[1], "9007199254740994");
    assert_eq!(column(&text, "probability"), column(&score(&folder, "of_csv.csv", &trained().holdout, &[]), "probability"));
}

#[test]
fn customers_of_any_text_come_back_as_they_were() {
    let folder = Folder::new();
    let lines = holdout_lines();
    let names = ["a\"b", "a,b", "a\nb", "=1+1", "007", "", " lead", "é\u{202e}"];
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(lines[0].split(',')).unwrap();
    for (name, line) in names.iter().zip(&lines[1..]) {
        let record: Vec<&str> = std::iter::once(*name).chain(line.split(',').skip(1)).collect();
        writer.write_record(record).unwrap();
    }
    let table = folder.file("names.csv", writer.into_inner().unwrap());
    assert_eq!(column(&score(&folder, "scores.csv", &table, &[]), "customer_id"), names);
}
