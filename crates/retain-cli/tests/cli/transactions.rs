//! `retain data transactions`: tables, labels, forecasts and refusals, most of them on the CDNOW sample.

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support::{Folder, Run, column, columns, retain, retain_with_input};

const CDNOW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../retain-train/tests/golden/cdnow_sample_2357.csv");

fn make(file: &str, observe_at: &str, horizon: &str, out: &str, more: &[&str]) -> Run {
    let fixed = [
        "data",
        "transactions",
        "--file",
        file,
        "--observe-at",
        observe_at,
        "--horizon-days",
        horizon,
        "--out",
        out,
        "--format",
        "json",
    ];
    retain(&[&fixed[..], more].concat())
}

fn numbers(path: &str, name: &str) -> Vec<f64> {
    column(path, name).iter().map(|cell| cell.parse().unwrap_or(f64::NAN)).collect()
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected} ± {tolerance}");
}

/// Parameters of Fader, Hardie and Lee (2005) and Fader and Hardie (2013), sums over the holdout period by a count of the log itself.
#[test]
fn cdnow_becomes_a_table_with_labels_and_the_published_parameters() {
    let folder = Folder::new();
    let (out, task) = (folder.path("table.csv"), folder.path("task.toml"));
    let json = make(CDNOW, "1997-09-30", "273", &out, &["--task", &task]).expect(0).json();
    let parameters = &json["btyd"]["parameters"];
    let parameter = |model: &str, name: &str| parameters[model][name].as_f64().unwrap();
    near(parameter("purchases", "r"), 0.243, 5e-4);
    near(parameter("purchases", "alpha") / 7.0, 4.414, 5e-4);
    near(parameter("purchases", "a"), 0.793, 5e-4);
    near(parameter("purchases", "b"), 2.426, 5e-4);
    near(parameter("spend", "q"), 3.74, 0.005);
    assert_eq!((&json["n_rows"], &json["log"]["n_zero_amounts"]), (&2357.into(), &8.into()));
    assert_eq!(json["btyd"]["diagnoses"].as_array().unwrap().len(), 0);
    assert_eq!(numbers(&out, "purchases_next").iter().sum::<f64>(), 1882.0);
    near(numbers(&out, "expected_purchases").iter().sum(), 1653.0, 1.0);
    let churned = column(&out, "churned_next");
    for (churned, purchases) in churned.iter().zip(numbers(&out, "purchases_next")) {
        assert_eq!(churned == "true", purchases == 0.0);
    }
    // Never a column that people would take for a churn score.
    assert!(columns(&out).iter().all(|(name, _)| !name.contains("alive")));
    let task = std::fs::read_to_string(task).unwrap();
    assert!(
        task.contains("kind = \"ltv\"") && task.contains("target = \"value_next\"") && task.contains("entity = \"customer_id\""),
        "{task}"
    );
}

#[test]
fn parquet_holds_the_same_as_csv() {
    let folder = Folder::new();
    let (csv, parquet) = (folder.path("t.csv"), folder.path("t.parquet"));
    make(CDNOW, "1997-12-31", "90", &csv, &["--threads", "1"]).expect(0);
    make(CDNOW, "1997-12-31", "90", &parquet, &["--threads", "2"]).expect(0);
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&parquet).unwrap()).unwrap().build().unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    for (name, values) in columns(&csv).into_iter().skip(2).filter(|(name, _)| name != "churned_next") {
        let found = batches.iter().flat_map(|batch| batch[name.as_str()].as_primitive::<Float64Type>().iter());
        let expected = values.iter().map(|cell| cell.parse().ok());
        assert!(found.eq(expected), "{name}");
        assert!(values.iter().all(|cell| cell != "-0"), "{name}");
    }
}

#[test]
fn several_dates_give_several_rows_of_a_customer() {
    let folder = Folder::new();
    let (out, task) = (folder.path("t.csv"), folder.path("task.toml"));
    let more = ["--every-days", "28", "--origins", "3", "--task", &task];
    let json = make(CDNOW, "1998-03-31", "90", &out, &more).expect(0).json();
    assert_eq!(json["observed_at"], serde_json::json!(["1998-02-03", "1998-03-03", "1998-03-31"]));
    assert_eq!(json["n_rows"], 3 * 2357);
    // The parameters know nothing that the first rows did not.
    assert_eq!(json["btyd"]["parameters"]["fitted_to"], "1998-02-03");
    assert!(std::fs::read_to_string(&task).unwrap().contains("observed_at = \"observed_at\""));
    let refused = make(CDNOW, "1998-06-15", "90", &folder.path("no.csv"), &more[..4]).expect(2);
    refused.says("observation dates have no labels").says("`--observe-at 1998-04-01` is the latest");
    assert_eq!(folder.names(), ["t.csv", "task.toml"]);
}

#[test]
fn saved_parameters_give_the_same_forecasts_later() {
    let folder = Folder::new();
    let (first, second, saved) = (folder.path("1.csv"), folder.path("2.csv"), folder.path("p.json"));
    make(CDNOW, "1997-09-30", "273", &first, &["--btyd", "mbg-nbd", "--btyd-out", &saved]).expect(0);
    let json = make(CDNOW, "1997-09-30", "273", &second, &["--btyd-from", &saved]).expect(0).json();
    assert_eq!(json["btyd"]["parameters"]["purchases"]["kind"], "mbg-nbd");
    assert_eq!(std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
    let damaged = folder.file("damaged.json", "{}");
    make(CDNOW, "1997-09-30", "273", &folder.path("3.csv"), &["--btyd-from", &damaged]).expect(2).says("is not usable");
    make(CDNOW, "1997-09-30", "273", CDNOW, &[]).expect(2).says("named twice");
}

#[test]
fn a_log_that_ends_early_has_no_labels_but_forecasts() {
    let folder = Folder::new();
    let out = folder.path("t.csv");
    let run = make(CDNOW, "1998-06-30", "90", &out, &[]).expect(0).says("warning[no_labels]").says("1998-04-01");
    assert_eq!(run.json()["labels"], serde_json::json!([]));
    assert!(columns(&out).iter().all(|(name, _)| !name.ends_with("_next")));
    assert!(numbers(&out, "expected_value").iter().all(|value| value.is_finite() && *value >= 0.0));
    let task = folder.path("task.toml");
    let run = make(CDNOW, "1998-06-30", "900", &out, &["--task", &task]).expect(0);
    run.says("a horizon of 900 days is longer than the log").says("warning[no_task]");
    assert!(!std::path::Path::new(&task).exists());
}

#[test]
fn dates_that_do_not_fit_the_log_are_usage_errors() {
    let folder = Folder::new();
    let out = folder.path("t.csv");
    make(CDNOW, "2030-01-01", "90", &out, &[])
        .expect(2)
        .says("every customer would look as if gone")
        .says("31 days after its end");
    make(CDNOW, "1996-12-31", "90", &out, &[]).expect(2).says("nobody bought on or before 1996-12-31");
    make(CDNOW, "soon", "90", &out, &[]).expect(2).says("--observe-at");
    make(CDNOW, "1997-09-30", "0", &out, &[]).expect(2);
    let mixed = folder.file("mixed.csv", "customer,date,amount\na,2026-01-02,1\nb,31/01/2026,2\nc,20260201,3\n");
    make(&mixed, "2026-02-01", "5", &out, &[]).expect(5).says("row 2 has `31/01/2026`");
    assert_eq!(folder.names(), ["mixed.csv"]);
}

#[test]
fn logs_without_repeat_purchases_name_the_reason() {
    let folder = Folder::new();
    let once = (0..300).map(|n| format!("c{n},2026-01-{:02},5\n", 1 + n % 28)).collect::<Vec<_>>().concat();
    let one_day = (0..300).map(|n| format!("c{},2026-01-01,5\n", n % 100)).collect::<Vec<_>>().concat();
    for (name, rows) in [("once", once), ("day", one_day), ("one", "c,2026-01-01,5\nc,2026-01-09,6\n".to_owned())] {
        let log = folder.file(&format!("{name}.csv"), format!("customer,date,amount\n{rows}"));
        let out = folder.path(&format!("{name}-table.csv"));
        let run = make(&log, "2026-01-28", "7", &out, &[]).expect(0);
        let code = if name == "one" { "too_few_repeat_buyers" } else { "no_repeat_purchase" };
        let run = run.says(&format!("warning[{code}]"));
        assert_eq!(run.json()["btyd"], serde_json::Value::Null);
        assert!(columns(&out).iter().all(|(name, _)| !name.starts_with("expected")));
        make(&log, "2026-01-28", "7", &out, &["--btyd-out", &folder.path("p.json")])
            .expect(5)
            .says("no buy-till-you-die parameters");
    }
}

#[test]
fn a_log_may_come_through_a_pipe_and_go_into_one() {
    let log = std::fs::read(CDNOW).unwrap();
    let arguments = ["data", "transactions", "--file", "-", "--observe-at", "1997-09-30", "--horizon-days", "30", "--out", "-"];
    let run = retain_with_input(&arguments, &log).expect(0);
    assert_eq!(run.stdout.lines().count(), 2358);
    assert!(run.stdout.starts_with("customer_id,observed_at,frequency"), "{:?}", run.stdout.lines().next());
}

fn public(file: &str) -> Option<String> {
    let Some(folder) = std::env::var_os("RETAIN_DATA_DIR") else {
        eprintln!("skipped: RETAIN_DATA_DIR does not name the folder with the public transaction logs");
        return None;
    };
    Some(std::path::Path::new(&folder).join(file).to_str().unwrap().to_owned())
}

/// All 23,570 customers: the same numbers came from an independent fit in Python.
#[test]
fn the_full_cdnow_cohort_has_its_known_fit() {
    let Some(file) = public("cdnow/cdnow.csv") else { return };
    let folder = Folder::new();
    let out = folder.path("t.csv");
    let json = make(&file, "1997-09-30", "273", &out, &[]).expect(0).json();
    let purchases = &json["btyd"]["parameters"]["purchases"];
    for (name, expected) in [("r", 0.2516), ("a", 0.7234), ("b", 2.161)] {
        near(purchases[name].as_f64().unwrap(), expected, 1e-3);
    }
    let errors = numbers(&out, "expected_purchases").into_iter().zip(numbers(&out, "purchases_next"));
    near(errors.map(|(expected, made)| (expected - made).abs()).sum::<f64>() / 23_570.0, 0.8187, 1e-4);
}

/// Wholesale customers who buy to the end: `a` runs to zero.
#[test]
fn online_retail_has_no_dropout_to_learn_and_still_has_forecasts() {
    let Some(file) = public("online_retail_ii/invoices.csv") else { return };
    let folder = Folder::new();
    for kind in ["bg-nbd", "mbg-nbd"] {
        let out = folder.path("t.csv");
        let json = make(&file, "2010-05-31", "90", &out, &["--btyd", kind]).expect(0).json();
        assert_eq!(json["btyd"]["diagnoses"][0]["code"], "dropout_not_identified");
        let expected: f64 = numbers(&out, "expected_purchases").iter().sum();
        let made: f64 = numbers(&out, "purchases_next").iter().sum();
        assert!((expected / made - 1.0).abs() < 0.25, "{expected} expected, {made} made");
    }
}
