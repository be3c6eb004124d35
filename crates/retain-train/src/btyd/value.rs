//! Purchases times spend: the value to expect of a customer, and the file that carries the parameters from month to month.

use serde::{Deserialize, Serialize};

use super::Diagnosis;
use super::purchases::{PurchaseHistory, PurchaseModel, PurchaseModelKind};
use super::purchases_fit::{PurchaseFit, fit_purchases};
use super::spend::{SpendFit, SpendHistory, SpendModel, fit_spend};

const FORMAT_VERSION: u32 = 1;

/// A customer as both models see it; times in days.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BuyerHistory {
    /// When and how often.
    pub purchases: PurchaseHistory,
    /// How much; none without a repeat purchase that had an amount.
    pub spend: Option<SpendHistory>,
}

/// Parameters of both models, times in days, and how they came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueModel {
    format_version: u32,
    /// The last day of the purchases that it was fitted to.
    pub fitted_to: String,
    /// How often customers buy and when they stop; `alpha` in days.
    pub purchases: PurchaseModel,
    /// What they spend on a purchase; none where it could not be fitted.
    pub spend: Option<SpendModel>,
    /// Part of what was paid that refunds left, from 0 to 1.
    pub kept_share: f64,
}

/// What to expect of a customer within a horizon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Number of purchases.
    pub expected_purchases: f64,
    /// Chance of at least one.
    pub purchase_probability: f64,
    /// Mean amount of one, after refunds; none without a spend model.
    pub expected_spend: Option<f64>,
    /// Expected amount of all, after refunds; none without a spend model.
    pub expected_value: Option<f64>,
}

/// A fit of both models.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueFit {
    /// What predicts.
    pub model: ValueModel,
    /// How the purchase model was fitted.
    pub purchases: PurchaseFit,
    /// How the spend model was fitted, or why not.
    pub spend: Result<SpendFit, Diagnosis>,
}

/// Why a file of parameters is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValueModelError {
    /// Not such a file.
    #[error("it is not a file of buy-till-you-die parameters")]
    Json(#[from] serde_json::Error),
    /// Written by a newer program.
    #[error("its format version is {found}, this program reads {FORMAT_VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// A parameter outside its range.
    #[error("its parameters are {found}; expected finite numbers above zero, `q` above one, and a kept share from 0 to 1")]
    Parameters {
        /// The parameters.
        found: String,
    },
}

/// Fits both models to customers observed up to the day `fitted_to`, times in days.
///
/// `kept_share` is the part of what was paid that refunds left; expected amounts are multiplied by it.
///
/// # Errors
/// The [`Diagnosis`] that leaves no purchase model; without a spend model there still is one of purchases.
pub fn fit_value(
    kind: PurchaseModelKind,
    buyers: &[BuyerHistory],
    kept_share: f64,
    fitted_to: &str,
) -> Result<ValueFit, Diagnosis> {
    let histories: Vec<PurchaseHistory> = buyers.iter().map(|buyer| buyer.purchases).collect();
    let spends: Vec<SpendHistory> = buyers.iter().filter_map(|buyer| buyer.spend).collect();
    let purchases = fit_purchases(kind, &histories)?;
    let spend = fit_spend(&spends);
    let model = ValueModel {
        format_version: FORMAT_VERSION,
        fitted_to: fitted_to.to_owned(),
        purchases: purchases.model,
        spend: spend.as_ref().ok().map(|fit| fit.model),
        kept_share: kept_share.clamp(0.0, 1.0),
    };
    Ok(ValueFit { model, purchases, spend })
}

impl ValueFit {
    /// Everything there is to say about the fit.
    pub fn diagnoses(&self) -> Vec<Diagnosis> {
        let of_spend = match &self.spend {
            Ok(fit) => fit.diagnoses.clone(),
            Err(diagnosis) => vec![*diagnosis],
        };
        self.purchases.diagnosis.into_iter().chain(of_spend).collect()
    }
}

impl ValueModel {
    /// Reads what [`ValueModel::to_json`] wrote.
    ///
    /// # Errors
    /// [`ValueModelError`] when the text is something else, or a parameter is outside its range.
    pub fn from_json(text: &str) -> Result<Self, ValueModelError> {
        let model: Self = serde_json::from_str(text)?;
        if model.format_version != FORMAT_VERSION {
            return Err(ValueModelError::Version { found: model.format_version });
        }
        let spend_is_sound = model.spend.is_none_or(|spend| spend.is_sound());
        if model.purchases.is_sound() && spend_is_sound && (0.0..=1.0).contains(&model.kept_share) {
            Ok(model)
        } else {
            Err(ValueModelError::Parameters { found: format!("{:?}, {:?}, {}", model.purchases, model.spend, model.kept_share) })
        }
    }

    /// The parameters as JSON; reading them back gives the same bits.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }

    /// What to expect of a customer within `horizon_days`.
    pub fn forecast(&self, buyer: &BuyerHistory, horizon_days: f64) -> Forecast {
        let expected_purchases = self.purchases.expected_purchases(&buyer.purchases, horizon_days);
        let expected_spend = self.spend.map(|spend| self.kept_share * spend.expected_spend(buyer.spend));
        Forecast {
            expected_purchases,
            purchase_probability: self.purchases.purchase_probability(&buyer.purchases, horizon_days),
            expected_spend,
            expected_value: expected_spend.map(|spend| spend * expected_purchases),
        }
    }
}
