//! [`against_model`]: a rule and a model that are allowed as many alerts as each other.

use serde::Serialize;

use super::{AuditError, Customers, Outcomes, Proportion, check_length, check_range};
use retain_eval::wilson;

/// What a rule finds, and what a model finds with as many alerts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgainstModel {
    /// Alerts of each.
    pub n_alerts: usize,
    /// Of the rule's alerts, those that left.
    pub rule_precision: Proportion,
    /// Of those that left, the share the rule finds.
    pub rule_recall: Option<f64>,
    /// Of the model's alerts, those that left; where the last place is shared by rows of one probability, the expectation of a draw.
    pub model_precision: Option<f64>,
    /// Lower end of the model's Wilson interval, with the rule's effective number of rows.
    pub model_low: f64,
    /// Upper end.
    pub model_high: f64,
    /// Of those that left, the share the model finds.
    pub model_recall: Option<f64>,
    /// Who leaves more often among the alerts, where the intervals lie apart.
    pub better: Option<Better>,
}

/// Which of the two finds more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The rule.
    Rule,
    /// The model.
    Model,
}

/// Compares a rule with a model's probabilities of leaving, on the rows where the rule has an answer.
///
/// # Errors
/// [`AuditError`] for columns of different lengths, no rows, or a number that is no probability.
pub fn against_model(
    fired: &[Option<bool>],
    probability: &[f64],
    outcomes: &Outcomes<'_>,
    confidence: f64,
) -> Result<AgainstModel, AuditError> {
    outcomes.check()?;
    check_length("fired", fired.len(), outcomes.churned.len())?;
    check_length("probability", probability.len(), outcomes.churned.len())?;
    check_range("probability", probability.iter().map(|&probability| Some(probability)), 0.0, 1.0)?;
    let customers = Customers::new(outcomes.customer, confidence);
    let rule_precision = customers.share(|row_idx| fired[row_idx].filter(|&fires| fires).map(|_| outcomes.churned[row_idx]));
    let rows: Vec<usize> = (0..fired.len()).filter(|&row_idx| fired[row_idx].is_some()).collect();
    let n_alerts = rule_precision.n_rows;
    let n_churned = rows.iter().filter(|&&row_idx| outcomes.churned[row_idx]).count();
    let found = top_hits(&rows, probability, outcomes.churned, n_alerts);
    let recall = |hits: f64| (n_churned > 0).then(|| hits / n_churned as f64);
    let model_precision = (n_alerts > 0).then(|| found / n_alerts as f64);
    let (model_low, model_high) = wilson(model_precision.unwrap_or(0.0), rule_precision.n_effective, confidence);
    Ok(AgainstModel {
        n_alerts,
        rule_recall: recall(rule_precision.n_hits as f64),
        model_recall: recall(found),
        better: better(&rule_precision, model_low, model_high),
        rule_precision,
        model_precision,
        model_low,
        model_high,
    })
}

fn better(rule: &Proportion, model_low: f64, model_high: f64) -> Option<Better> {
    if rule.low > model_high {
        Some(Better::Rule)
    } else if model_low > rule.high {
        Some(Better::Model)
    } else {
        None
    }
}

/// How many of those that left are among the `n_alerts` rows of highest probability, in expectation over ties.
fn top_hits(rows: &[usize], probability: &[f64], churned: &[bool], n_alerts: usize) -> f64 {
    let mut order = rows.to_vec();
    order.sort_by(|&a, &b| probability[b].total_cmp(&probability[a]));
    let (mut hits, mut left) = (0.0, n_alerts as f64);
    for tied in order.chunk_by(|&a, &b| probability[a] == probability[b]) {
        let inside = (left / tied.len() as f64).clamp(0.0, 1.0);
        hits += inside * tied.iter().filter(|&&row_idx| churned[row_idx]).count() as f64;
        left -= tied.len() as f64;
        if left <= 0.0 {
            break;
        }
    }
    hits
}
