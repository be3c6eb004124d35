//! Out-of-fold quality on public churn tables, and the CPU time of a fit. The folder with the tables is named by
//! `RETAIN_DATA_DIR`; without it these tests say so and check nothing.

use std::path::PathBuf;
use std::time::Instant;

use super::{CONTEXT, dataset};
use retain_core::{ColumnKind, FeatureSpec};
use retain_data::Dataset;

use crate::boosting::Boosting;
use crate::learner::{Configuration, Learner, Loss};

const N_FOLDS: usize = 5;

struct Table {
    path: &'static str,
    target: &'static str,
    positive: &'static str,
    exclude: &'static [&'static str],
}

/// Reads a plain CSV table: a column of numbers is a number, any other a category; blank is missing.
fn load(table: &Table) -> Option<Dataset> {
    let Some(folder) = std::env::var_os("RETAIN_DATA_DIR") else {
        eprintln!("skipped: RETAIN_DATA_DIR does not name the folder with {}", table.path);
        return None;
    };
    let text = std::fs::read_to_string(PathBuf::from(folder).join(table.path)).unwrap();
    let mut lines = text.lines().map(|line| line.trim_end_matches('\r').split(',').map(str::trim).collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let rows: Vec<Vec<&str>> = lines.collect();
    assert!(rows.iter().all(|row| row.len() == names.len()));
    let column =
        |name: &str| rows.iter().map(|row| row[names.iter().position(|known| *known == name).unwrap()]).collect::<Vec<_>>();
    let (mut features, mut columns) = (Vec::new(), Vec::new());
    for name in names.iter().filter(|name| **name != table.target && !table.exclude.contains(name)) {
        let (feature, values) = encode(name, &column(name));
        features.push(feature);
        columns.push(values);
    }
    let labels: Vec<&str> = column(table.target);
    let target = labels.iter().map(|label| f64::from(u8::from(*label == table.positive))).collect();
    Some(dataset(features, columns, target))
}

fn encode(name: &str, texts: &[&str]) -> (FeatureSpec, Vec<f64>) {
    if texts.iter().all(|text| text.is_empty() || text.parse::<f64>().is_ok()) {
        let values = texts.iter().map(|text| text.parse().unwrap_or(f64::NAN)).collect();
        return (FeatureSpec::new(name, ColumnKind::Number), values);
    }
    let mut categories: Vec<String> = texts.iter().filter(|text| !text.is_empty()).map(ToString::to_string).collect();
    categories.sort();
    categories.dedup();
    let position = |text: &&str| categories.iter().position(|known| known == text).map_or(f64::NAN, |position| position as f64);
    let values = texts.iter().map(position).collect();
    let mut feature = FeatureSpec::new(name, ColumnKind::Category);
    feature.set_categories(categories);
    (feature, values)
}

/// The fold of each row: stratified, shuffled by a hash that other languages can repeat.
fn folds(target: &[f64], repeat: u64) -> Vec<usize> {
    let mut fold = vec![0; target.len()];
    for class in [0.0, 1.0] {
        let mut rows: Vec<usize> = (0..target.len()).filter(|&row| target[row] == class).collect();
        rows.sort_by_key(|&row| ((row as u64 + 1 + repeat * 1_000_003) * 2_654_435_761 % 4_294_967_296, row));
        rows.iter().enumerate().for_each(|(place, &row)| fold[row] = place % N_FOLDS);
    }
    fold
}

fn roc_auc(margins: &[f64], target: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..margins.len()).collect();
    order.sort_by(|&a, &b| margins[a].total_cmp(&margins[b]));
    let (mut rank_sum, mut place) = (0.0, 0);
    for tied in order.chunk_by(|&a, &b| margins[a] == margins[b]) {
        let rank = f64::midpoint(place as f64 + 1.0, (place + tied.len()) as f64);
        rank_sum += rank * tied.iter().map(|&row| target[row]).sum::<f64>();
        place += tied.len();
    }
    let n_positives: f64 = target.iter().sum();
    (rank_sum - n_positives * (n_positives + 1.0) / 2.0) / (n_positives * (target.len() as f64 - n_positives))
}

struct Quality {
    roc_auc: f64,
    log_loss: f64,
}

fn out_of_fold(data: &Dataset, configuration: &Configuration, repeat: u64) -> Quality {
    let fold = folds(&data.target, repeat);
    let mut margins = vec![0.0; data.n_rows()];
    let mut n_trees = Vec::new();
    let start = Instant::now();
    for held_out in 0..N_FOLDS {
        let (test, train): (Vec<usize>, Vec<usize>) = (0..data.n_rows()).partition(|&row| fold[row] == held_out);
        let model = Boosting.fit(data, &train, std::slice::from_ref(configuration), &CONTEXT).unwrap().remove(0);
        n_trees.push(model.trees.len());
        for (row, &row_idx) in data.rows(&test).in_order().zip(&test) {
            margins[row_idx] = model.margin(row);
        }
    }
    let seconds = start.elapsed().as_secs_f64() / N_FOLDS as f64;
    let loss: f64 = margins.iter().zip(&data.target).map(|(&margin, &label)| Loss::Logistic.value(margin, label)).sum();
    let quality = Quality { roc_auc: roc_auc(&margins, &data.target), log_loss: loss / data.n_rows() as f64 };
    eprintln!(
        "  auc {:.5} log loss {:.5}  {seconds:.2} s/fit  trees {n_trees:?}  {configuration}",
        quality.roc_auc, quality.log_loss
    );
    quality
}

/// The best configuration by log loss has to reach these figures.
#[track_caller]
fn check(table: &Table, least_auc: f64, most_log_loss: f64) {
    let Some(data) = load(table) else { return };
    eprintln!("{} ({} rows, {} features)", table.path, data.n_rows(), data.n_features());
    let tried = Boosting.configurations(&data, Loss::Logistic);
    let best = tried.iter().map(|configuration| out_of_fold(&data, configuration, 0));
    let best = best.min_by(|a, b| a.log_loss.total_cmp(&b.log_loss)).unwrap();
    assert!(best.roc_auc >= least_auc, "{} < {least_auc}", best.roc_auc);
    assert!(best.log_loss <= most_log_loss, "{} > {most_log_loss}", best.log_loss);
}

const TELCO: Table = Table { path: "telco_churn/telco_churn.csv", target: "Churn", positive: "Yes", exclude: &["customerID"] };
const BANK: Table = Table {
    path: "bank_churn/bank_churn.csv",
    target: "Exited",
    positive: "1",
    exclude: &["RowNumber", "CustomerId", "Surname"],
};
const MLC: Table = Table { path: "mlc_churn/mlc_churn.csv", target: "churn", positive: "yes", exclude: &[] };
const INTERNET: Table = Table {
    path: "internet_service_churn/internet_service_churn.csv",
    target: "churn",
    positive: "1",
    exclude: &["id", "remaining_contract"],
};
const SAAS: Table =
    Table { path: "saas_survival/saas_survival.csv", target: "churned", positive: "1.0", exclude: &["months_active"] };

#[test]
fn telco() {
    check(&TELCO, 0.8475, 0.4130);
}

#[test]
fn bank() {
    check(&BANK, 0.8680, 0.3315);
}

#[test]
fn mlc() {
    check(&MLC, 0.9195, 0.1535);
}

#[test]
fn internet() {
    check(&INTERNET, 0.9132, 0.3633);
}

#[test]
fn saas() {
    check(&SAAS, 0.9160, 0.3555);
}
