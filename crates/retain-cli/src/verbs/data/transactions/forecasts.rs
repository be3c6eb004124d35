//! The columns that buy-till-you-die models add: parameters are fitted to the customers of the first observation date, or read.

use std::path::Path;

use anyhow::Result;
use retain_core::Day;
use retain_data::{CustomerTable, PurchaseSummary};
use retain_train::btyd::{
    BuyerHistory, Diagnosis, Forecast, PurchaseHistory, PurchaseModelKind, SpendHistory, ValueFit, ValueModel, fit_value,
};
use serde_json::{Value, json};

use super::{Arguments, Btyd};
use crate::exit::{Complaint, Exit};
use crate::input::read_text;
use crate::output::Output;

const DAYS_PER_WEEK: f64 = 7.0;

/// Parameters that are ready to forecast with.
pub(super) struct Forecasts {
    model: ValueModel,
    /// None where the parameters came from a file.
    fit: Option<ValueFit>,
    horizon_days: f64,
}

impl Forecasts {
    /// Reads or fits the parameters and tells about them; none when they are not wanted, or cannot be fitted.
    ///
    /// All rows of a table are forecast with one set of parameters, from the first observation date: later ones would know more
    /// than the first rows did.
    pub(super) fn prepare(arguments: &Arguments, customers: &CustomerTable<'_>, output: Output) -> Result<Option<Self>> {
        let kind = match arguments.btyd {
            Btyd::Off if arguments.btyd_out.is_some() || arguments.btyd_from.is_some() => {
                return Err(Complaint::usage("`--btyd off` leaves nothing to save or to read").into());
            }
            Btyd::Off => return Ok(None),
            Btyd::BgNbd => PurchaseModelKind::BgNbd,
            Btyd::MbgNbd => PurchaseModelKind::MbgNbd,
        };
        let horizon_days = f64::from(arguments.horizon_days);
        if let Some(path) = &arguments.btyd_from {
            let model = read(path)?;
            output.note(&format!("btyd: parameters from `{}`, fitted to {}", path.display(), model.fitted_to));
            return Ok(Some(Self { model, fit: None, horizon_days }));
        }
        match fit(kind, customers) {
            Ok(fit) => {
                tell(&fit, output);
                Ok(Some(Self { model: fit.model.clone(), fit: Some(fit), horizon_days }))
            }
            Err(diagnosis) if arguments.btyd_out.is_some() => {
                let complaint =
                    Complaint::new(Exit::DATA, format!("there are no buy-till-you-die parameters to save: {diagnosis}"));
                Err(complaint.hint("take more customers or a longer log, or leave out `--btyd-out`").into())
            }
            Err(diagnosis) => {
                output.warn(diagnosis.code(), &format!("btyd: {diagnosis}; the table has no forecast columns"));
                Ok(None)
            }
        }
    }

    pub(super) fn model(&self) -> &ValueModel {
        &self.model
    }

    /// Names of the columns, in the order of [`Forecasts::values`].
    pub(super) fn names(&self) -> &'static [&'static str] {
        const NAMES: [&str; 4] = ["expected_purchases", "purchase_probability", "expected_spend", "expected_value"];
        if self.model.spend.is_some() { &NAMES } else { &NAMES[..2] }
    }

    /// What to expect of a customer in the horizon.
    pub(super) fn values(&self, summary: &PurchaseSummary) -> Vec<f64> {
        let Some(buyer) = buyer(summary) else { return vec![f64::NAN; self.names().len()] };
        let Forecast { expected_purchases, purchase_probability, expected_spend, expected_value } =
            self.model.forecast(&buyer, self.horizon_days);
        [expected_purchases, purchase_probability].into_iter().chain(expected_spend).chain(expected_value).collect()
    }

    pub(super) fn json(&self) -> Value {
        let diagnosis = |d: &Diagnosis| json!({ "code": d.code(), "message": d.to_string() });
        let diagnoses = self.fit.as_ref().map(|fit| fit.diagnoses().iter().map(diagnosis).collect::<Vec<_>>());
        json!({
            "parameters": self.model,
            "columns": self.names(),
            "n_customers": self.fit.as_ref().map(|fit| fit.purchases.n_customers),
            "n_repeat_buyers": self.fit.as_ref().map(|fit| fit.purchases.n_repeat_buyers),
            "log_likelihood": self.fit.as_ref().map(|fit| fit.purchases.log_likelihood),
            "spend_log_likelihood": self.fit.as_ref().and_then(|fit| fit.spend.as_ref().ok()).map(|fit| fit.log_likelihood),
            "prior_spread": self.fit.as_ref().and_then(|fit| fit.purchases.prior_spread),
            "diagnoses": diagnoses.unwrap_or_default(),
        })
    }
}

fn read(path: &Path) -> Result<ValueModel> {
    let text = read_text(path, "parameter file")?;
    ValueModel::from_json(&text).map_err(|error| {
        let complaint = Complaint::usage(format!("the parameter file `{}` is not usable", path.display()));
        complaint.hint("name a file that `--btyd-out` wrote").because(error).into()
    })
}

fn fit(kind: PurchaseModelKind, customers: &CustomerTable<'_>) -> Result<ValueFit, Diagnosis> {
    let origin = customers.origins().first().copied().unwrap_or_default();
    let buyers: Vec<BuyerHistory> = customers.summaries(origin).iter().filter_map(buyer).collect();
    fit_value(kind, &buyers, customers.kept_share(origin), &Day::from_days(f64::from(origin)).to_string())
}

/// A customer as the models see it; days of the log are always in order, so every one has a history.
fn buyer(summary: &PurchaseSummary) -> Option<BuyerHistory> {
    let purchases = PurchaseHistory::new(summary.frequency, f64::from(summary.recency_days), f64::from(summary.t_days)).ok()?;
    let spend = summary.monetary.and_then(|mean| SpendHistory::new(summary.n_paid_repeats, mean));
    Some(BuyerHistory { purchases, spend })
}

/// Prints the parameters as papers do, with time in weeks, and what is wrong with them.
fn tell(fit: &ValueFit, output: Output) {
    let model = &fit.model.purchases;
    let ln_weeks = DAYS_PER_WEEK.ln() * fit.purchases.n_repeats as f64;
    output.note(&format!(
        "btyd: {} of {} customers, {} with repeat purchases: r {:.4}, alpha {:.3} days ({:.3} weeks), a {:.4}, b {:.4}; log likelihood \
         {:.1} in days, {:.1} in weeks",
        model.kind.as_str(),
        fit.purchases.n_customers,
        fit.purchases.n_repeat_buyers,
        model.r,
        model.alpha,
        model.alpha / DAYS_PER_WEEK,
        model.a,
        model.b,
        fit.purchases.log_likelihood,
        fit.purchases.log_likelihood + ln_weeks,
    ));
    if let Ok(spend) = &fit.spend {
        let kept = if fit.model.kept_share < 1.0 {
            format!("; refunds leave {:.1} % of what is paid", 100.0 * fit.model.kept_share)
        } else {
            String::new()
        };
        output.note(&format!(
            "btyd: gamma-gamma of {} repeat buyers: p {:.3}, q {:.3}, v {:.3}{kept}",
            spend.n_repeat_buyers, spend.model.p, spend.model.q, spend.model.v
        ));
    }
    for diagnosis in fit.diagnoses() {
        output.warn(diagnosis.code(), &format!("btyd: {diagnosis}"));
    }
}
