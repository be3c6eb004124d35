//! [`audit_health`]: who left, by band.

use retain_eval::BootstrapOptions;
use serde::Serialize;

use super::{AuditError, Customers, Estimate, Outcomes, Proportion, auc_of_scores, check_length, check_range};
use crate::assess::Health;

/// A band as far as scores need it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BandCut {
    /// Its id.
    pub id: String,
    /// The lowest score in it.
    pub from: f64,
}

/// What a health score is worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthAudit {
    /// Rows with a score.
    pub n_scored: usize,
    /// Rows without one.
    pub n_unscored: usize,
    /// Who left, of all with a score.
    pub base_rate: Proportion,
    /// From the healthiest on.
    pub bands: Vec<BandAudit>,
    /// Pairs of bands of which the healthier one loses more.
    pub violations: Vec<OrderViolation>,
    /// How well the score orders customers, 0.5 being not at all.
    pub roc_auc: Option<Estimate>,
}

/// One band.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BandAudit {
    /// Its id.
    pub id: String,
    /// Its share of the rows with a score.
    pub share: f64,
    /// Who left.
    pub churn: Proportion,
    /// Its rate of leaving over that of everybody.
    pub lift: Option<f64>,
}

/// A healthier band that loses more customers than a less healthy one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderViolation {
    /// The healthier band.
    pub healthier: String,
    /// The less healthy one.
    pub weaker: String,
    /// Whether the two Wilson intervals lie apart, which makes it an error of the score; chance may explain it otherwise.
    pub certain: bool,
}

impl HealthAudit {
    /// Whether the score is wrong for certain: a healthier band loses more, by intervals that lie apart.
    pub fn is_wrong(&self) -> bool {
        self.violations.iter().any(|violation| violation.certain)
    }
}

impl Health {
    /// The bands as far as scores need them.
    pub fn cuts(&self) -> Vec<BandCut> {
        self.bands.iter().map(|band| BandCut { id: band.id.clone(), from: band.from }).collect()
    }
}

/// Measures a health score: `scores` has one per row, from 0 to 100, where there is one; `bands` begin with the healthiest.
///
/// Bands are out of order where a healthier band loses more customers than a less healthy one. It is certain where the lower end of
/// the healthier band's interval lies above the upper end of the other's: by chance alone that happens to two equal bands about 6
/// times in 1,000 for intervals of 95 %.
///
/// # Errors
/// [`AuditError`] for columns of different lengths, no rows, or a score outside its range.
pub fn audit_health(
    scores: &[Option<f64>],
    bands: &[BandCut],
    outcomes: &Outcomes<'_>,
    options: &BootstrapOptions,
) -> Result<HealthAudit, AuditError> {
    outcomes.check()?;
    check_length("scores", scores.len(), outcomes.churned.len())?;
    check_range("scores", scores.iter().copied(), 0.0, 100.0)?;
    let customers = Customers::new(outcomes.customer, options.confidence);
    let base_rate = customers.share(|row_idx| scores[row_idx].map(|_| outcomes.churned[row_idx]));
    let bands = audit_bands(scores, bands, outcomes, &customers, &base_rate);
    Ok(HealthAudit {
        n_scored: base_rate.n_rows,
        n_unscored: scores.len() - base_rate.n_rows,
        violations: violations(&bands),
        roc_auc: auc_of_scores(scores, outcomes, options)?,
        base_rate,
        bands,
    })
}

/// The position of a score's band; those below all bands are in the last one.
pub(in crate::assess) fn band_of(bands: &[BandCut], score: f64) -> usize {
    bands.iter().position(|band| score >= band.from).unwrap_or(bands.len().saturating_sub(1))
}

/// Who left, band by band.
pub(in crate::assess) fn audit_bands(
    scores: &[Option<f64>],
    bands: &[BandCut],
    outcomes: &Outcomes<'_>,
    customers: &Customers,
    base_rate: &Proportion,
) -> Vec<BandAudit> {
    let audit = |(position, band): (usize, &BandCut)| {
        let inside = |row_idx: usize| scores[row_idx].filter(|&score| band_of(bands, score) == position);
        let churn = customers.share(|row_idx| inside(row_idx).map(|_| outcomes.churned[row_idx]));
        BandAudit {
            id: band.id.clone(),
            share: churn.n_rows as f64 / base_rate.n_rows.max(1) as f64,
            lift: churn.value.zip(base_rate.value).filter(|(_, base)| *base > 0.0).map(|(rate, base)| rate / base),
            churn,
        }
    };
    bands.iter().enumerate().map(audit).collect()
}

pub(in crate::assess) fn violations(bands: &[BandAudit]) -> Vec<OrderViolation> {
    let mut violations = Vec::new();
    for (position, healthier) in bands.iter().enumerate() {
        for weaker in &bands[position + 1..] {
            let (Some(better), Some(worse)) = (healthier.churn.value, weaker.churn.value) else { continue };
            if better > worse {
                let certain = healthier.churn.low > weaker.churn.high;
                violations.push(OrderViolation { healthier: healthier.id.clone(), weaker: weaker.id.clone(), certain });
            }
        }
    }
    violations
}
