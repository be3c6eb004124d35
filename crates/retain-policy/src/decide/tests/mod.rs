//! Decisions of small playbooks whose right answers are known.

use std::collections::BTreeMap;

use retain_core::{Day, DecisionId, FeatureValue, NO_ACTION, OutcomeEvent, PastDecision};

use super::*;
use crate::playbook::{Action, Language};

mod chances;
mod sequences;

const DAY_MS: i64 = 86_400_000;
/// 2023-11-14 22:13:20 UTC, a Tuesday.
const NOW_MS: i64 = 1_700_000_000_000;

const HEAD: &str = "[playbook]\nname = \"p\"\ncurrency = \"USD\"\nvalue_at_stake = 1000\n[exploration]\nholdout = 0\n";

const TWO: &str = r#"
[[action]]
id = "call"
channel = "phone"
cost = 24.0
prior = { effect = 0.03, sd = 0.02 }
[[action]]
id = "mail"
channel = "email"
cost = 0.5
prior = { effect = 0.01, sd = 0.02 }
"#;

/// What is known of the customer, all of it replaceable.
#[derive(Clone)]
struct Case<'a> {
    customer_id: &'a str,
    now_ms: i64,
    features: Vec<(&'a str, FeatureValue<'a>)>,
    predictions: Vec<Prediction<'a>>,
    history: Vec<PastDecision>,
    effects: Vec<TreatmentEffect<'a>>,
    supply: Supply,
    channels: Option<Vec<&'a str>>,
    reasons: Vec<&'a str>,
    uniform: f64,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            customer_id: "c",
            now_ms: NOW_MS,
            features: Vec::new(),
            predictions: Vec::new(),
            history: Vec::new(),
            effects: Vec::new(),
            supply: Supply::default(),
            channels: None,
            reasons: Vec::new(),
            uniform: 0.5,
        }
    }
}

#[track_caller]
fn read(rest: &str) -> Playbook {
    let text = if rest.contains("[playbook]") { rest.to_owned() } else { format!("{HEAD}{rest}") };
    Playbook::parse(&text, &BTreeMap::new()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn with<T>(playbook: &Playbook, case: &Case<'_>, see: impl FnOnce(&Decided<'_>) -> T) -> T {
    with_learned(playbook, case, &PriorsOnly, see)
}

fn with_learned<T>(playbook: &Playbook, case: &Case<'_>, learned: &dyn Posteriors, see: impl FnOnce(&Decided<'_>) -> T) -> T {
    let features = |name: &str| {
        let found = case.features.iter().find(|(known, _)| *known == name);
        found.map_or(FeatureValue::Missing, |(_, value)| *value)
    };
    let mut values = playbook.values(&Facts {
        customer_id: case.customer_id,
        now_ms: case.now_ms,
        observed: Day::from_seconds(case.now_ms as f64 / 1000.0),
        features: &features,
        predictions: &case.predictions,
        history: &case.history,
    });
    playbook.assessment().assess(&mut values, None, case.now_ms);
    let situation = Situation {
        customer_id: case.customer_id,
        now_ms: case.now_ms,
        history: &case.history,
        effects: &case.effects,
        learned,
        supply: &case.supply,
        channels: case.channels.as_deref(),
        reasons: &case.reasons,
        uniform: case.uniform,
    };
    see(&decide(playbook, &values, &situation))
}

fn past(action: &str, channel: Option<&str>, days_ago: f64) -> PastDecision {
    PastDecision {
        id: DecisionId::new(NOW_MS, [0; 10]),
        playbook: "p".to_owned(),
        action: action.to_owned(),
        channel: channel.map(str::to_owned),
        decided_at_ms: NOW_MS - (days_ago * DAY_MS as f64) as i64,
        holdout: false,
        outcomes: Vec::new(),
        overridden: None,
    }
}

/// The names of the checks of an action that did not pass.
fn failed(playbook: &Playbook, case: &Case<'_>, action: &str) -> Vec<&'static str> {
    with(playbook, case, |decided| {
        let candidate = decided.candidates.iter().find(|candidate| decided.id(candidate) == action).unwrap();
        let checks = decided.checks(candidate).iter().filter(|check| check.result != CheckResult::Passed);
        let names: Vec<&'static str> = checks.map(|check| check.what.name()).collect();
        assert_eq!(candidate.eligible, names.is_empty(), "{action}: {names:?}");
        assert!(candidate.eligible || candidate.probability == 0.0);
        names
    })
}

fn number(name: &str, value: f64) -> (&str, FeatureValue<'static>) {
    (name, FeatureValue::Number(value))
}

#[test]
fn worth_is_effect_times_stake_less_what_it_costs() {
    let playbook = read(&format!("{TWO}[fatigue]\ncost_per_contact = 0.4\nhalves_after_days = 7\n"));
    let call = playbook.action_idx("call").unwrap();
    let mut supply = Supply { actions: vec![Stock::default(); 2], channels: Vec::new(), budget_price: 0.25 };
    supply.actions[call] = Stock { price: 1.5, left: Some(3) };
    let case = Case { supply, history: vec![past("mail", Some("email"), 7.0)], ..Case::default() };
    with(&playbook, &case, |decided| {
        let valuation = decided.candidates[call].valuation.unwrap();
        assert_eq!(
            (valuation.effect.mean, valuation.effect.source, valuation.effect.prior_share),
            (0.03, EffectSource::Prior, 1.0)
        );
        assert!((valuation.fatigue - 0.2).abs() < 1e-12);
        assert!((valuation.capacity_price - 7.5).abs() < 1e-12);
        assert!((valuation.net - (30.0 - 24.0 - 0.2 - 7.5)).abs() < 1e-12);
        assert!((valuation.net_sd - 20.0).abs() < 1e-12);
        assert_eq!(
            decided.ranked().iter().map(|candidate| decided.id(candidate)).collect::<Vec<_>>(),
            ["mail", NO_ACTION, "call"]
        );
    });
}

#[test]
fn what_a_model_says_is_joined_by_precision() {
    let playbook = read(TWO);
    let sd = 0.02;
    let half = 1.959_963_984_540_054 * sd;
    let effect =
        |conclusive| TreatmentEffect { treatment: "mail", effect: 0.05, low: 0.05 - half, high: 0.05 + half, conclusive };
    let of_mail = |case: &Case<'_>| with(&playbook, case, |decided| decided.candidates[1].valuation.unwrap().effect);
    let joined = of_mail(&Case { effects: vec![effect(true)], ..Case::default() });
    // Two equally sure beliefs of 0.01 and 0.05.
    assert!((joined.mean - 0.03).abs() < 1e-12 && (joined.sd - sd / 2_f64.sqrt()).abs() < 1e-12);
    assert!((joined.prior_share - 0.5).abs() < 1e-12 && joined.source == EffectSource::Model);
    let alone = of_mail(&Case { effects: vec![effect(false)], ..Case::default() });
    assert_eq!((alone.mean, alone.source), (0.01, EffectSource::Prior));
}

struct Known(Learned);

impl Posteriors for Known {
    fn effect(&self, action_idx: usize, _action: &Action) -> Option<Learned> {
        (action_idx == 0).then_some(self.0)
    }
}

#[test]
fn what_does_harm_is_kept_from_customers_unless_it_is_mandatory() {
    let learned = Known(Learned { mean: -0.02, sd: 0.01, own_sd: 0.01, n: 500.0, prior_share: 0.02, blocked: true });
    let seen = |rest: &str| {
        with_learned(&read(&format!("{TWO}{rest}")), &Case::default(), &learned, |decided| {
            let call = &decided.candidates[0];
            (call.eligible, call.probability, call.valuation.unwrap().effect.source, decided.reason(call, Language::English))
        })
    };
    assert_eq!(seen(""), (false, 0.0, EffectSource::Outcomes, "Not offered: it probably does harm.".to_owned()));
    let mandatory = TWO.replace("cost = 24.0", "cost = 24.0\nmandatory = \"true\"");
    with_learned(&read(&mandatory), &Case::default(), &learned, |decided| {
        assert_eq!((decided.candidates[0].probability, decided.chosen), (1.0, 0));
    });
}

#[test]
fn a_mandatory_action_passes_the_same_filters() {
    let consent = "[contact.channels.phone]\nconsent = \"features.phone\"\n[contact.channels.email]\n";
    let playbook = read(&format!("{}{consent}", TWO.replace("cost = 24.0", "cost = 24.0\nmandatory = \"features.churned\"")));
    let case = |phone, churned| Case { features: vec![number("phone", phone), number("churned", churned)], ..Case::default() };
    let chosen = |case: &Case<'_>| {
        with(&playbook, case, |decided| (decided.candidates[0].probability, decided.id(decided.chosen()).to_owned()))
    };
    assert_eq!(chosen(&case(1.0, 1.0)), (1.0, "call".to_owned()));
    assert_eq!(chosen(&case(0.0, 1.0)).0, 0.0);
    let (probability, _) = chosen(&case(1.0, 0.0));
    assert!(probability > 0.0 && probability < 1.0);
}

#[test]
fn rules_tell_what_they_saw() {
    let playbook = read(&TWO.replace(
        "cost = 0.5",
        "cost = 0.5\neligible = \"features.tenure > 3\"\nsuitable = \"features.plan == 'pro'\"\napplicable = \"1.0 / features.zero > 1.0\"",
    ));
    let case = Case { features: vec![number("tenure", 2.0), number("zero", 0.0)], ..Case::default() };
    assert_eq!(failed(&playbook, &case, "mail"), ["eligible", "applicable", "suitable"]);
    with(&playbook, &case, |decided| {
        let mail = &decided.candidates[1];
        let results: Vec<&str> = decided.checks(mail).iter().map(|check| check.result.as_str()).collect();
        assert_eq!(results, ["failed", "fault", "unknown"]);
        assert_eq!(decided.seen(&decided.checks(mail)[0]), ["features.tenure = 2"]);
        assert_eq!(decided.seen(&decided.checks(mail)[2]), ["features.plan = missing"]);
        assert_eq!(
            decided.reason(mail, Language::English),
            "Not offered: `eligible` does not allow it, `features.tenure > 3` (features.tenure = 2)."
        );
        assert_eq!(
            decided.reason(mail, Language::Spanish),
            "No se ofrece: `eligible` no lo permite, `features.tenure > 3` (features.tenure = 2)."
        );
    });
}

#[test]
fn the_past_keeps_actions_back() {
    let rules = "cost = 24.0\ncooldown_days = 14\nexpires_days = 5\nexcludes = [\"mail\"]\nsuppress = { rejected = 90 }";
    let playbook = read(&format!("{}[contact]\nsuppress = {{ churned = 3650 }}\n", TWO.replace("cost = 24.0", rules)));
    let case = |history: Vec<PastDecision>| Case { history, ..Case::default() };
    assert_eq!(failed(&playbook, &case(vec![past("call", Some("phone"), 13.9)]), "call"), ["cooldown"]);
    assert!(failed(&playbook, &case(vec![past("call", Some("phone"), 14.0)]), "call").is_empty());
    // Both ways: a call is open for five days, a mail for the thirty of the attribution window.
    assert_eq!(failed(&playbook, &case(vec![past("call", Some("phone"), 4.9)]), "mail"), ["excludes"]);
    assert!(failed(&playbook, &case(vec![past("call", Some("phone"), 5.0)]), "mail").is_empty());
    assert_eq!(failed(&playbook, &case(vec![past("mail", Some("email"), 29.0)]), "call"), ["excludes"]);
    let with_outcome = |action: &str, event, days_ago: f64| PastDecision {
        outcomes: vec![(event, NOW_MS - (days_ago * DAY_MS as f64) as i64)],
        ..past(action, Some("phone"), 300.0)
    };
    assert_eq!(failed(&playbook, &case(vec![with_outcome("call", OutcomeEvent::Rejected, 89.0)]), "call"), ["suppress"]);
    assert!(failed(&playbook, &case(vec![with_outcome("call", OutcomeEvent::Rejected, 90.0)]), "call").is_empty());
    assert!(failed(&playbook, &case(vec![with_outcome("mail", OutcomeEvent::Rejected, 1.0)]), "call").is_empty());
    assert_eq!(failed(&playbook, &case(vec![with_outcome("mail", OutcomeEvent::Churned, 1.0)]), "call"), ["suppress"]);
}

#[test]
fn limits_count_what_was_really_done() {
    let policy = "[contact]\noverall = [{ days = 7, max = 2 }]\n[contact.channels.email]\nlimits = [{ days = 7, max = 1 }]\n\
                  [contact.channels.phone]\n";
    let playbook = read(&format!("{TWO}{policy}"));
    let failed = |history: Vec<PastDecision>, action| failed(&playbook, &Case { history, ..Case::default() }, action);
    let mail = || past("mail", Some("email"), 6.9);
    assert_eq!(failed(vec![mail()], "mail"), ["contact channel"]);
    assert!(failed(vec![mail()], "call").is_empty());
    assert_eq!(failed(vec![mail(), mail()], "call"), ["contact"]);
    assert!(failed(vec![past("mail", Some("email"), 7.0)], "mail").is_empty());
    // A clock that went backwards leaves decisions of the future: they count as made now.
    assert_eq!(failed(vec![past("mail", Some("email"), -400.0)], "mail"), ["contact channel"]);
    // A person did nothing, or something else.
    let overridden = |by: &str| PastDecision { overridden: Some(by.to_owned()), ..mail() };
    assert!(failed(vec![overridden(NO_ACTION)], "mail").is_empty());
    assert!(failed(vec![overridden("call")], "mail").is_empty());
    assert_eq!(failed(vec![overridden("call"), overridden("a visit")], "mail"), ["contact"]);
    let not_taken = PastDecision { outcomes: vec![(OutcomeEvent::NotTaken, NOW_MS)], ..mail() };
    assert!(failed(vec![not_taken], "mail").is_empty());
    assert!(failed(vec![past(NO_ACTION, None, 1.0)], "mail").is_empty());
}

#[test]
fn channels_capacity_and_silence_keep_actions_back() {
    let policy = "[contact]\nquiet = \"now.hour >= 22\"\n[contact.channels.email]\nconsent = \"features.agreed\"\n[contact.channels.phone]\n\
                  quiet = \"features.asleep\"\n";
    let playbook = read(&format!("{TWO}{policy}"));
    let day = NOW_MS - 12 * 3_600_000;
    let agreed = vec![number("agreed", 1.0), number("asleep", 0.0)];
    let case = Case { now_ms: day, features: agreed, ..Case::default() };
    assert!(failed(&playbook, &case, "mail").is_empty() && failed(&playbook, &case, "call").is_empty());
    let no_consent = Case { features: vec![number("asleep", 0.0)], ..case.clone() };
    assert_eq!(failed(&playbook, &no_consent, "mail"), ["consent"], "unknown consent is none");
    let asleep = Case { features: vec![number("agreed", 1.0)], ..case.clone() };
    assert_eq!(failed(&playbook, &asleep, "call"), ["quiet"], "silence has to be known to be over");
    assert_eq!(failed(&playbook, &Case { now_ms: NOW_MS, ..case.clone() }, "mail"), ["quiet"]);
    assert_eq!(failed(&playbook, &Case { channels: Some(vec!["phone"]), ..case.clone() }, "mail"), ["channel"]);
    let used_up = Supply { actions: vec![Stock { price: 0.0, left: Some(0) }], ..Supply::default() };
    assert_eq!(failed(&playbook, &Case { supply: used_up, ..case }, "call"), ["capacity"]);
}

#[test]
fn an_unknown_value_at_stake_makes_nothing_eligible() {
    let head = HEAD.replace("1000", "\"predictions.ltv.expected_value\"");
    let playbook = read(&format!("{head}[models]\nltv = \"ltv\"\n{TWO}"));
    assert_eq!(failed(&playbook, &Case::default(), "mail"), ["value_at_stake"]);
    let ltv = Prediction { model: "ltv", probability: None, expected_value: Some(2_000.0), band: None };
    let case = Case { predictions: vec![ltv], ..Case::default() };
    with(&playbook, &case, |decided| assert_eq!(decided.candidates[1].valuation.unwrap().net, 19.5));
}

#[test]
fn the_holdout_gets_nothing() {
    let head = HEAD.replace("holdout = 0", "holdout = 0.3");
    let playbook = read(&format!("{head}{}", TWO.replace("cost = 24.0", "cost = 24.0\nmandatory = \"true\"")));
    let mut held = 0;
    for customer in 0..1_000 {
        let id = format!("customer {customer}");
        with(&playbook, &Case { customer_id: &id, ..Case::default() }, |decided| {
            let nothing = decided.id(decided.chosen()) == NO_ACTION;
            assert_eq!((decided.holdout, decided.chosen().probability), (nothing, 1.0));
            held += u32::from(nothing);
        });
    }
    // Six standard deviations around 300.
    assert!((213..387).contains(&held), "{held}");
}

#[test]
fn pcvl_orders_by_the_product() {
    let head = HEAD.replace("value_at_stake = 1000", "mode = \"pcvl\"").replace("holdout = 0", "holdout = 0\nmethod = \"none\"");
    let call = TWO.replace("cost = 24.0", "cost = 24.0\npcvl = { propensity = 0.2, value = 50, lever = 1.5 }");
    let both = call.replace("cost = 0.5", "cost = 0.5\npcvl = { propensity = \"features.clicks\", context = 2, value = 30 }");
    let playbook = read(&format!("{head}{both}"));
    let case = Case { features: vec![number("clicks", 0.3)], ..Case::default() };
    with(&playbook, &case, |decided| {
        assert_eq!(decided.candidates[0].valuation.unwrap().factors, Some([0.2, 1.0, 50.0, 1.5]));
        assert!((decided.candidates[0].valuation.unwrap().priority - 15.0).abs() < 1e-12);
        assert_eq!((decided.id(decided.chosen()), decided.chosen().probability), ("mail", 1.0));
    });
    let negative = Case { features: vec![number("clicks", -0.3)], ..Case::default() };
    assert_eq!(failed(&playbook, &negative, "mail"), ["worth"]);
}

#[test]
fn answered_reasons_break_ties_and_are_told() {
    let playbook = read("[[action]]\nid = \"a\"\ncost = 0\n[[action]]\nid = \"b\"\ncost = 0\nanswers = [\"price\", \"use\"]\n");
    let ranked = |reasons: Vec<&'static str>| {
        with(&playbook, &Case { reasons, ..Case::default() }, |decided| {
            let best = decided.ranked()[0];
            (decided.id(best).to_owned(), decided.reason(best, Language::English))
        })
    };
    assert_eq!(ranked(vec![]).0, "a");
    assert_eq!(
        ranked(vec!["price"]),
        (
            "b".to_owned(),
            "Expected to bring 10.00 USD: it changes the chance that the customer stays by +1.00 points (as the playbook assumes), of \
             1000.00, less 0.00. It answers: price."
                .to_owned()
        )
    );
}

#[test]
fn a_record_holds_every_candidate_and_can_be_made_short() {
    let playbook = read(&TWO.replace("cost = 0.5", "cost = 0.5\neligible = \"features.tenure > 3\""));
    with(&playbook, &Case::default(), |decided| {
        let decision = decided.decision(DecisionId::new(NOW_MS, [1; 10]), "{}".to_owned(), 10_000);
        let rows: serde_json::Value = serde_json::from_str(&decision.candidates).unwrap();
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), 3);
        let sum: f64 = rows.iter().map(|row| row["propensity"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        let mail = rows.iter().find(|row| row["action"] == "mail").unwrap();
        assert_eq!(mail["rules"][0]["result"], "unknown");
        assert_eq!(mail["rules"][0]["seen"][0], "features.tenure = missing");
        assert_eq!(rows[0]["effect_source"], "prior");
        assert_eq!(decision.propensity, decided.chosen().probability);
        assert_eq!(decision.window_closes_at_ms, NOW_MS + 30 * DAY_MS);
        let short: serde_json::Value = serde_json::from_str(&decided.candidates_json(0)).unwrap();
        assert_eq!(short.as_array().unwrap().len(), 2, "only those that may be chosen");
    });
}
