//! The learners on IBM's telco sample, out of fold, against what good models of their kind reach on it.
//!
//! Needs the folder of public tables in `RETAIN_DATA_DIR`; without it the test says so and passes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::PathBuf;

use retain_data::{Dataset, TableSource, Task, read_training, stratified_folds};
use retain_eval::{Labelled, Metric};
use retain_score::sigmoid;
use retain_train::{FitContext, Loss, learners};

const TASK: &str = r#"
[task]
name = "telco-churn"
kind = "churn"
definition = "left within the last month"
horizon_days = 30

[table]
entity = "customerID"
target = "Churn"
positive = "Yes"
"#;

/// Best out-of-fold ROC AUC and log loss over the learner's configurations, over five stratified folds.
fn best_out_of_fold(name: &str, dataset: &Dataset) -> (f64, f64) {
    let learner = learners::by_name(name).unwrap();
    let configurations = learner.configurations(dataset, Loss::Logistic);
    let context = FitContext { loss: Loss::Logistic, seed: 7, deadline: None, gap_days: None };
    let mut probabilities = vec![vec![f64::NAN; dataset.n_rows()]; configurations.len()];
    for fold in stratified_folds(&dataset.target, &dataset.group, 5, 7) {
        let models = learner.fit(dataset, &fold.train, &configurations, &context).unwrap();
        let rows = dataset.rows(&fold.validate);
        for (model, probabilities) in models.iter().zip(&mut probabilities) {
            for (&row_idx, row) in fold.validate.iter().zip(rows.in_order()) {
                probabilities[row_idx] = sigmoid(model.margin(row));
            }
        }
    }
    let mut best = (0.0_f64, f64::INFINITY);
    for (configuration, probabilities) in configurations.iter().zip(&probabilities) {
        let labelled = Labelled::new(&dataset.target, probabilities, &dataset.group).unwrap();
        let (auc, loss) = (Metric::RocAuc.measure(&labelled).unwrap(), Metric::LogLoss.measure(&labelled).unwrap());
        eprintln!("{name} {configuration}: AUC {auc:.4}, log loss {loss:.4}");
        best = (best.0.max(auc), best.1.min(loss));
    }
    best
}

#[test]
fn learners_reach_what_their_kind_reaches_on_telco() {
    let Some(folder) = std::env::var_os("RETAIN_DATA_DIR").map(PathBuf::from) else {
        eprintln!("skipped: RETAIN_DATA_DIR does not name the folder of public tables");
        return;
    };
    let source = TableSource::open(&folder.join("telco_churn/telco_churn.csv")).unwrap();
    let dataset = read_training(&source, &Task::parse(TASK).unwrap()).unwrap().dataset;
    // scikit-learn's logistic regression with squares reaches 0.8473 and 0.4142.
    for (name, least_auc, most_loss) in [("logistic", 0.845, 0.4165), ("tree", 0.828, 0.435), ("forest", 0.843, 0.418)] {
        let (auc, loss) = best_out_of_fold(name, &dataset);
        assert!(auc >= least_auc && loss <= most_loss, "{name}: AUC {auc:.4}, log loss {loss:.4}");
    }
}
