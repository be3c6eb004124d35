//! [`audit_signals`]: what each signal finds, how early, and what it adds to the others.

use serde::Serialize;

use super::agreement::{CaughtTogether, Overlap, minimal_set, overlaps};
use super::{AuditError, Customers, Outcomes, Proportion, check_length};
use crate::assess::{Assessed, Assessment};
use crate::rule::Answer;

/// The share of what all signals find together that the minimal set has to find.
const KEPT_BY_MINIMAL_SET: f64 = 0.95;

/// One signal's answers, one per row; none where it cannot be answered.
#[derive(Debug, Clone, Copy)]
pub struct SignalColumn<'a> {
    /// The signal's id.
    pub id: &'a str,
    /// Whether it fires.
    pub fired: &'a [Option<bool>],
}

/// What signals are worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SignalsAudit {
    /// Number of rows.
    pub n_rows: usize,
    /// Who left.
    pub base_rate: Proportion,
    /// One per signal, in the order given.
    pub signals: Vec<SignalAudit>,
    /// The rows on which at least one signal fires, as if that were a signal of its own.
    pub any: SignalAudit,
    /// How much each pair fires on the same rows.
    pub overlaps: Vec<Overlap>,
    /// The few signals that find nearly all that all of them find, in the order in which they add most.
    pub minimal_set: Vec<CaughtTogether>,
}

/// What one signal is worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SignalAudit {
    /// Its id.
    pub id: String,
    /// Rows on which it cannot be answered; they count nowhere else.
    pub n_unknown: usize,
    /// How often it fires.
    pub fired: Proportion,
    /// Of the rows on which it fires, those that left.
    pub precision: Proportion,
    /// Of the rows that left, those on which it fires.
    pub recall: Proportion,
    /// Of the rows that stayed, those on which it fires.
    pub false_alarms: Proportion,
    /// Precision over the rate of leaving among the rows that it answers; 1 is no better than chance.
    pub lift: Option<f64>,
    /// The median of the days between the first row on which it fires for a customer and that customer's leaving.
    pub median_lead_days: Option<f64>,
    /// Customers that this median is of.
    pub n_leads: usize,
}

/// Per signal of an assessment, whether it fires for each of the customers: what [`audit_signals`] measures.
pub fn signal_columns(assessment: &Assessment, assessed: &[Assessed]) -> Vec<Vec<Option<bool>>> {
    let fires = |answer: Answer| match answer {
        Answer::Yes => Some(true),
        Answer::No => Some(false),
        Answer::Unknown(_) | Answer::Fault(_) => None,
    };
    let column = |position: usize| assessed.iter().map(|one| one.signals.get(position).copied().and_then(fires)).collect();
    (0..assessment.signals.len()).map(column).collect()
}

/// Measures signals. All columns have one value per row.
///
/// # Errors
/// [`AuditError`] for columns of different lengths or no rows.
pub fn audit_signals(signals: &[SignalColumn<'_>], outcomes: &Outcomes<'_>, confidence: f64) -> Result<SignalsAudit, AuditError> {
    outcomes.check()?;
    let n_rows = outcomes.churned.len();
    for signal in signals {
        check_length(signal.id, signal.fired.len(), n_rows)?;
    }
    let customers = Customers::new(outcomes.customer, confidence);
    let any: Vec<Option<bool>> = (0..n_rows).map(|row_idx| any_fires(signals, row_idx)).collect();
    Ok(SignalsAudit {
        n_rows,
        base_rate: customers.share(|row_idx| Some(outcomes.churned[row_idx])),
        signals: signals.iter().map(|signal| audit_signal(*signal, outcomes, &customers)).collect(),
        any: audit_signal(SignalColumn { id: "any", fired: &any }, outcomes, &customers),
        overlaps: overlaps(signals),
        minimal_set: minimal_set(signals, outcomes.churned, KEPT_BY_MINIMAL_SET),
    })
}

/// Whether any signal fires; unknown where none does and one cannot be answered.
fn any_fires(signals: &[SignalColumn<'_>], row_idx: usize) -> Option<bool> {
    let answers = || signals.iter().map(|signal| signal.fired[row_idx]);
    if answers().any(|answer| answer == Some(true)) {
        return Some(true);
    }
    answers().all(|answer| answer.is_some()).then_some(false)
}

fn audit_signal(signal: SignalColumn<'_>, outcomes: &Outcomes<'_>, customers: &Customers) -> SignalAudit {
    let (fired, churned) = (signal.fired, outcomes.churned);
    let precision = customers.share(|row_idx| fired[row_idx].filter(|&fires| fires).map(|_| churned[row_idx]));
    let base = customers.share(|row_idx| fired[row_idx].map(|_| churned[row_idx]));
    let leads = lead_days(signal, outcomes, customers);
    SignalAudit {
        id: signal.id.to_owned(),
        n_unknown: fired.iter().filter(|answer| answer.is_none()).count(),
        fired: customers.share(|row_idx| fired[row_idx]),
        recall: customers.share(|row_idx| fired[row_idx].filter(|_| churned[row_idx])),
        false_alarms: customers.share(|row_idx| fired[row_idx].filter(|_| !churned[row_idx])),
        lift: precision.value.zip(base.value).filter(|(_, base)| *base > 0.0).map(|(found, base)| found / base),
        median_lead_days: median(&leads),
        n_leads: leads.len(),
        precision,
    }
}

/// Per customer who left: days from the first row on which the signal fired to the leaving, sorted.
fn lead_days(signal: SignalColumn<'_>, outcomes: &Outcomes<'_>, customers: &Customers) -> Vec<f64> {
    let (Some(observed), Some(left)) = (outcomes.observed_day, outcomes.churn_day) else { return Vec::new() };
    let mut longest: Vec<Option<f64>> = vec![None; customers.len()];
    for (row_idx, answer) in signal.fired.iter().enumerate() {
        let lead = left[row_idx] - observed[row_idx];
        if *answer == Some(true) && outcomes.churned[row_idx] && lead.is_finite() {
            let known = &mut longest[customers.of_row(row_idx)];
            *known = Some(known.map_or(lead, |known| known.max(lead)));
        }
    }
    let mut leads: Vec<f64> = longest.into_iter().flatten().collect();
    leads.sort_unstable_by(f64::total_cmp);
    leads
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { *upper } else { f64::midpoint(sorted[middle - 1], *upper) })
}
