//! Customers that the models cannot tell apart, or not fit at all: a named diagnosis, and finite forecasts wherever there is a fit.

use super::super::{
    BuyerHistory, Diagnosis, PurchaseFit, PurchaseHistory, PurchaseModelKind, SpendHistory, Unidentified, ValueModel,
    fit_purchases, fit_spend, fit_value,
};
use super::history;

const KINDS: [PurchaseModelKind; 2] = [PurchaseModelKind::BgNbd, PurchaseModelKind::MbgNbd];

#[track_caller]
fn check_usable(fit: &PurchaseFit, customers: &[PurchaseHistory]) {
    for customer in customers {
        let expected = fit.model.expected_purchases(customer, 90.0);
        let probability = fit.model.purchase_probability(customer, 90.0);
        assert!(expected.is_finite() && expected >= 0.0, "{expected} for {customer:?} by {:?}", fit.model);
        assert!((0.0..=1.0).contains(&probability) && probability <= expected + 1e-9, "{probability} of {expected}");
    }
}

#[test]
fn customers_without_a_repeat_purchase_are_not_fitted() {
    let once = vec![history(0, 0.0, 100.0); 500];
    let today = vec![history(0, 0.0, 0.0); 500];
    for customers in [once, today] {
        let diagnosis = fit_purchases(PurchaseModelKind::BgNbd, &customers).unwrap_err();
        assert_eq!(diagnosis, Diagnosis::NoRepeatPurchase { n_customers: 500 });
    }
    assert_eq!(fit_purchases(PurchaseModelKind::BgNbd, &[]).unwrap_err(), Diagnosis::NoRepeatPurchase { n_customers: 0 });
}

#[test]
fn a_handful_of_repeat_buyers_is_not_fitted() {
    let mut customers = vec![history(0, 0.0, 100.0); 500];
    customers.extend(vec![history(2, 50.0, 100.0); 24]);
    let few = Diagnosis::TooFewRepeatBuyers { found: 24, needed: 25 };
    assert_eq!(fit_purchases(PurchaseModelKind::BgNbd, &customers).unwrap_err(), few);
    let spends: Vec<SpendHistory> = (0..24).map(|_| SpendHistory::new(2, 9.0).unwrap()).collect();
    assert_eq!(fit_spend(&spends).unwrap_err(), few);
}

/// Everybody buys to the very end.
#[test]
fn customers_who_never_stop_have_no_dropout() {
    let customers: Vec<PurchaseHistory> =
        (0..1000).map(|number| history(3 + number % 12, 96.0 + f64::from(number % 5), 101.0)).collect();
    for kind in KINDS {
        let fit = fit_purchases(kind, &customers).unwrap();
        assert!(matches!(fit.diagnosis, Some(Diagnosis::DropoutNotIdentified { .. })), "{:?}", fit.diagnosis);
        assert!(fit.prior_spread.is_some());
        check_usable(&fit, &customers);
    }
}

/// Everybody buys every week and stops after the fourth time: neither rates nor dropout differ.
#[test]
fn customers_who_are_all_alike_have_no_heterogeneity() {
    let customers = vec![history(3, 21.0, 200.0); 400];
    for kind in KINDS {
        let fit = fit_purchases(kind, &customers).unwrap();
        assert!(matches!(fit.diagnosis, Some(Diagnosis::HeterogeneityNotIdentified { .. })), "{:?}", fit.diagnosis);
        check_usable(&fit, &customers);
    }
}

#[test]
fn extreme_histories_have_finite_forecasts() {
    let mut customers: Vec<PurchaseHistory> = (0..100).map(|number| history(number, f64::from(number), 3650.0)).collect();
    customers.push(history(36_500, 36_500.0, 36_500.0));
    customers.push(history(1, 1e-9, 36_500.0));
    customers.push(history(0, 0.0, 36_500.0));
    for kind in KINDS {
        check_usable(&fit_purchases(kind, &customers).unwrap(), &customers);
    }
}

#[test]
fn impossible_histories_are_refused() {
    for (n, recency, age) in
        [(1, 0.0, 9.0), (0, 1.0, 9.0), (1, 10.0, 9.0), (1, f64::NAN, 9.0), (0, 0.0, f64::INFINITY), (0, 0.0, -1.0)]
    {
        assert!(PurchaseHistory::new(n, recency, age).is_err(), "{n} {recency} {age}");
    }
    assert!(
        SpendHistory::new(0, 5.0).is_none() && SpendHistory::new(1, 0.0).is_none() && SpendHistory::new(1, f64::NAN).is_none()
    );
}

#[test]
fn an_infinite_mean_spend_is_named_and_held_finite() {
    // Quantiles of a Pareto distribution whose mean is infinite.
    let spends: Vec<SpendHistory> =
        (1..1000).map(|rank| SpendHistory::new(1, (1.0 - f64::from(rank) / 1000.0).powf(-1.0 / 0.6)).unwrap()).collect();
    let fit = fit_spend(&spends).unwrap();
    assert!(fit.diagnoses.iter().any(|diagnosis| matches!(diagnosis, Diagnosis::InfiniteMeanSpend { q } if *q <= 1.0)));
    let expected = fit.model.expected_spend(None);
    assert!(fit.model.q > 1.0 && expected > 0.0 && expected.is_finite(), "{:?}", fit.model);
}

#[test]
fn amounts_that_are_all_alike_are_named_and_predicted() {
    let spends = vec![SpendHistory::new(4, 12.5).unwrap(); 300];
    let fit = fit_spend(&spends).unwrap();
    let of = Unidentified::Spend;
    assert!(
        matches!(fit.diagnoses[..], [Diagnosis::HeterogeneityNotIdentified { of: found, .. }] if found == of),
        "{:?}",
        fit.diagnoses
    );
    assert!((fit.model.expected_spend(Some(spends[0])) / 12.5 - 1.0).abs() < 0.02, "{:?}", fit.model);
}

#[test]
fn spend_that_grows_with_frequency_is_told_of() {
    let spends: Vec<SpendHistory> =
        (0..900).map(|number| SpendHistory::new(1 + number % 9, f64::from(10 + number % 9 + number % 4)).unwrap()).collect();
    let diagnoses = fit_spend(&spends).unwrap().diagnoses;
    let told =
        diagnoses.iter().any(|d| matches!(d, Diagnosis::SpendCorrelatedWithFrequency { correlation } if *correlation > 0.8));
    assert!(told, "{diagnoses:?}");
}

#[test]
fn parameters_survive_their_file_and_wrong_files_are_refused() {
    let buyers: Vec<BuyerHistory> = (0..400)
        .map(|number| {
            let n = number % 7;
            let recency = if n > 0 { f64::from(40 + number % 50) } else { 0.0 };
            let spend = SpendHistory::new(n, f64::from(8 + number % 40));
            BuyerHistory { purchases: history(n, recency, 120.0), spend }
        })
        .collect();
    let model = fit_value(PurchaseModelKind::BgNbd, &buyers, 0.9, "2026-01-31").unwrap().model;
    let text = model.to_json();
    assert_eq!(ValueModel::from_json(&text).unwrap(), model);
    for wrong in [
        text.replace("\"format_version\": 1", "\"format_version\": 2"),
        text.replace("\"a\": ", "\"a\": -"),
        text.replace("\"kept_share\": 0.9", "\"kept_share\": 1.9"),
        text.replace("bg-nbd", "pareto-nbd"),
        text.replace("\"r\"", "\"s\""),
        "[]".to_owned(),
    ] {
        assert!(ValueModel::from_json(&wrong).is_err(), "{wrong}");
    }
}
