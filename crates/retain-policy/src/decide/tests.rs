//! Decisions of small playbooks whose right answers are known.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_core::{Day, DecisionId, FeatureValue, NO_ACTION, OutcomeEvent, PastDecision};

use super::*;
use crate::allocate::Limit;
use crate::playbook::{Action, Language};

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
    let learned = Known(Learned { mean: -0.02, sd: 0.01, n: 500.0, prior_share: 0.02, blocked: true });
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

const SEQUENCE: &str = r#"
[[action]]
id = "welcome"
cost = 0
[[action]]
id = "guide"
cost = 0
[[action]]
id = "review"
cost = 0
[[sequence]]
id = "onboarding"
start = "features.tenure < 5"
stop = "features.left"
patience_days = 20
steps = [{ day = 1, action = "welcome" }, { day = 3, action = "guide" }, { day = 14, action = "review" }]
"#;

#[test]
fn the_next_step_of_a_sequence_is_one_candidate() {
    let playbook = read(SEQUENCE);
    let due = |tenure: f64, done: &[(&str, f64)]| -> Vec<String> {
        let history = done.iter().map(|(action, days_ago)| past(action, None, *days_ago)).collect();
        let case = Case { features: vec![number("tenure", tenure), number("left", 0.0)], history, ..Case::default() };
        with(&playbook, &case, |decided| {
            let steps = decided.candidates.iter().filter(|candidate| candidate.step.is_some());
            steps.map(|candidate| format!("{} {}", decided.id(candidate), candidate.eligible)).collect()
        })
    };
    assert_eq!(due(2.0, &[]), ["welcome true"]);
    assert!(due(6.0, &[]).is_empty(), "it has not begun");
    // Welcome was day 1, so two days later is day 3; it goes on although `start` no longer holds.
    assert_eq!(due(6.0, &[("welcome", 2.0)]), ["guide true"]);
    assert!(due(6.0, &[("welcome", 1.9)]).is_empty());
    assert_eq!(due(6.0, &[("welcome", 13.0), ("guide", 11.0)]), ["review true"]);
    assert!(due(6.0, &[("welcome", 30.0), ("guide", 28.0), ("review", 17.0)]).is_empty());
    assert_eq!(due(6.0, &[("welcome", 23.0)]), ["review true"], "the guide was passed over twenty days after its day");
    let left = Case { features: vec![number("tenure", 1.0), number("left", 1.0)], ..Case::default() };
    assert_eq!(failed(&playbook, &left, "welcome"), ["sequence"]);
}

#[test]
fn a_sequence_can_begin_again_and_can_know_its_beginning() {
    let again = read(&SEQUENCE.replace("patience_days = 20", "repeat_days = 60"));
    let done = |days: &[(&str, f64)]| days.iter().map(|(action, days_ago)| past(action, None, *days_ago)).collect::<Vec<_>>();
    let step = |playbook: &Playbook, features: Vec<(&str, FeatureValue<'static>)>, history: Vec<PastDecision>| {
        let case = Case { features, history, ..Case::default() };
        with(playbook, &case, |decided| decided.candidates.iter().find_map(|candidate| candidate.step))
    };
    let new = || vec![number("tenure", 1.0)];
    let all = [("welcome", 58.0), ("guide", 56.0), ("review", 45.0)];
    assert_eq!(step(&again, new(), done(&all)), None);
    let earlier: Vec<(&str, f64)> = all.iter().map(|(action, days_ago)| (*action, days_ago + 1.0)).collect();
    assert_eq!(step(&again, new(), done(&earlier)), Some((0, 0)));
    let since = read(&SEQUENCE.replace("patience_days = 20", "since = \"features.age\""));
    let aged = |age| vec![number("tenure", 1.0), number("age", age)];
    assert_eq!(step(&since, aged(0.5), Vec::new()), None);
    assert_eq!(step(&since, aged(1.0), Vec::new()), Some((0, 0)));
    assert_eq!(step(&since, aged(2.0), done(&[("welcome", 0.5)])), None);
    assert_eq!(step(&since, aged(2.0), done(&[("welcome", 9.0)])), Some((0, 0)), "that welcome was of an earlier time");
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

/// Six actions, one costly, one never eligible, near to each other.
fn six(method: &str) -> Playbook {
    let action = |id: usize, effect: f64, more: &str| {
        format!("[[action]]\nid = \"a{id}\"\ncost = 5\nprior = {{ effect = {effect}, sd = 0.02 }}\n{more}\n")
    };
    let head = HEAD.replace("holdout = 0", &format!("holdout = 0\nmethod = \"{method}\"\nfloor = 0.01"));
    let gamma = if method == "inverse_gap" { "gamma = 0.2\n" } else { "" };
    let actions =
        [0.01, 0.02, 0.0, -0.01].iter().enumerate().map(|(id, effect)| action(id, *effect, "")).collect::<Vec<_>>().concat();
    let costly = action(4, 0.015, "costly = true");
    read(&format!("{head}{gamma}{actions}{costly}{}", action(5, 0.5, "eligible = \"features.a > 1\"")))
}

#[test]
fn actions_are_chosen_as_often_as_their_logged_probability_says() {
    for method in ["thompson", "inverse_gap"] {
        let playbook = six(method);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
        let case = Case { uniform: 0.0, ..Case::default() };
        let values = playbook.values(&Facts {
            customer_id: "c",
            now_ms: NOW_MS,
            observed: Day::from_seconds(NOW_MS as f64 / 1000.0),
            features: &|_| FeatureValue::Missing,
            predictions: &[],
            history: &[],
        });
        let (mut counts, mut logged) = (vec![0_u32; 7], vec![0.0; 7]);
        let draws = 200_000;
        for _ in 0..draws {
            let situation = Situation {
                customer_id: "c",
                now_ms: NOW_MS,
                history: &[],
                effects: &[],
                learned: &PriorsOnly,
                supply: &case.supply,
                channels: None,
                reasons: &[],
                uniform: random.random(),
            };
            let decided = decide(&playbook, &values, &situation);
            counts[decided.chosen] += 1;
            logged = decided.candidates.iter().map(|candidate| candidate.probability).collect();
        }
        assert_eq!((counts[5], logged[5]), (0, 0.0), "never eligible");
        let possible = logged.iter().zip(&counts).filter(|(probability, _)| **probability > 0.0);
        let chi_square: f64 = possible
            .map(|(probability, count)| {
                let expected = probability * f64::from(draws);
                (f64::from(*count) - expected).powi(2) / expected
            })
            .sum();
        // The 0.999 quantile with five degrees of freedom.
        assert!(chi_square < 20.515, "{method}: {chi_square}, {counts:?}, {logged:?}");
        assert!(logged.iter().enumerate().all(|(idx, probability)| idx == 5 || idx == 4 || *probability >= 0.01), "{logged:?}");
    }
}

#[test]
fn the_best_is_always_taken_without_exploration() {
    with(&six("none"), &Case::default(), |decided| {
        assert_eq!((decided.id(decided.chosen()), decided.chosen().probability), ("a1", 1.0));
    });
    let poor = read(
        &TWO.replace("effect = 0.0", "effect = -0.0")
            .replace("[[action]]\nid = \"call\"", "[exploration]\n[[action]]\nid = \"call\"")
            .replace("[exploration]\n", ""),
    );
    with(&poor, &Case::default(), |decided| assert_eq!(decided.id(decided.ranked()[0]), NO_ACTION));
}

#[test]
fn the_same_arguments_give_the_same_bits() {
    let playbook = six("thompson");
    let bits = || {
        with(&playbook, &Case::default(), |decided| {
            let probabilities: Vec<u64> = decided.candidates.iter().map(|candidate| candidate.probability.to_bits()).collect();
            (probabilities, decided.chosen, decided.candidates_json(usize::MAX))
        })
    };
    assert_eq!(bits(), bits());
}

#[test]
fn a_batch_keeps_capacity_and_logs_exact_probabilities() {
    let playbook = read(TWO);
    let appraised = |customer: usize| {
        let effect = 0.03 + 0.0001 * customer as f64;
        let model = TreatmentEffect { treatment: "call", effect, low: effect - 0.001, high: effect + 0.001, conclusive: true };
        with(&playbook, &Case { effects: vec![model], ..Case::default() }, BatchCustomer::of)
    };
    let customers: Vec<BatchCustomer> = (0..200).map(appraised).collect();
    let limits = vec![Limit { actions: vec![0], capacity: 50 }];
    let terms = BatchTerms { n_actions: 2, limits, budget: None, explored_share: 0.3 };
    let (mut called, mut random) = (vec![0_u32; 200], Xoshiro256PlusPlus::seed_from_u64(3));
    let rounds = 4_000;
    let mut logged = vec![0.0; 200];
    for _ in 0..rounds {
        let uniforms: Vec<f64> = (0..200).map(|_| random.random()).collect();
        let batch = assign(&customers, &terms, &uniforms).unwrap();
        assert!(batch.assigned.iter().filter(|assigned| assigned.action == Some(0)).count() <= 50);
        for (position, assigned) in batch.assigned.iter().enumerate() {
            called[position] += u32::from(assigned.action == Some(0));
            let sum: f64 = assigned.probabilities.iter().map(|(_, probability)| probability).sum();
            assert!((sum - 1.0).abs() < 1e-12);
            let of_call = assigned.probabilities.iter().find(|(action, _)| *action == Some(0));
            logged[position] = of_call.map_or(0.0, |(_, probability)| *probability);
        }
    }
    // Those to whom a call brings most were called, with the probability that was logged: 0.7 and a third of 0.3.
    assert!(logged[150..].iter().all(|probability| (probability - 0.8).abs() < 1e-12), "{logged:?}");
    let total: u32 = called.iter().sum();
    let expected: f64 = logged.iter().sum::<f64>() * f64::from(rounds);
    assert!((f64::from(total) - expected).abs() < 6.0 * (0.16 * 50.0 * f64::from(rounds)).sqrt(), "{total} {expected}");
    assert!(called.iter().zip(&logged).all(|(count, probability)| (*count == 0) == (*probability == 0.0)));
}

#[test]
fn a_batch_gives_mandatory_actions_first_while_there_is_room() {
    let playbook = read(&TWO.replace("cost = 24.0", "cost = 24.0\nmandatory = \"features.must\""));
    let of = |must: f64| with(&playbook, &Case { features: vec![number("must", must)], ..Case::default() }, BatchCustomer::of);
    let customers = vec![of(0.0), of(1.0), of(1.0)];
    let limits = vec![Limit { actions: vec![0], capacity: 1 }];
    let terms = BatchTerms { n_actions: 2, limits, budget: Some(30.0), explored_share: 0.0 };
    let batch = assign(&customers, &terms, &[0.5; 3]).unwrap();
    let actions: Vec<Option<usize>> = batch.assigned.iter().map(|assigned| assigned.action).collect();
    assert_eq!(actions, [Some(1), Some(0), Some(1)]);
    assert_eq!(batch.assigned[1].probabilities, [(Some(0), 1.0)]);
}

/// A customer's decisions over time: how long after the last one, the random number, and what a person or the customer did.
fn days() -> impl Strategy<Value = Vec<(f64, f64, u8)>> {
    prop::collection::vec((0.0..4.0, 0.0..1.0, 0_u8..8), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn contact_limits_are_never_exceeded(days in days(), floor in 0.0..0.3) {
        let policy = "[contact]\noverall = [{ days = 7, max = 3 }, { days = 30, max = 8 }]\n[contact.channels.email]\n\
                      limits = [{ days = 10, max = 2 }]\n[contact.channels.phone]\nlimits = [{ days = 20, max = 1 }]\n";
        let playbook = read(&format!("{}{TWO}{policy}", HEAD.replace("holdout = 0", &format!("holdout = 0\nfloor = {floor}"))));
        let mut case = Case { now_ms: NOW_MS, ..Case::default() };
        for (gap, uniform, happened) in days {
            case.now_ms += (gap * DAY_MS as f64) as i64;
            case.uniform = uniform;
            let (action, channel) = with(&playbook, &case, |decided| {
                (decided.id(decided.chosen()).to_owned(), decided.channel(decided.chosen()).map(str::to_owned))
            });
            let mut decision = PastDecision { decided_at_ms: case.now_ms, ..past(&action, channel.as_deref(), 0.0) };
            match happened {
                0 => decision.overridden = Some(NO_ACTION.to_owned()),
                1 => decision.outcomes.push((OutcomeEvent::NotTaken, case.now_ms)),
                2 => decision.outcomes.push((OutcomeEvent::Clicked, case.now_ms)),
                _ => {}
            }
            case.history.push(decision);
            let contacts = |channel: Option<&str>, days: f64| {
                let counted = case.history.iter().filter(|past| {
                    let done = past.overridden.is_none() && past.outcomes.iter().all(|(kind, _)| *kind != OutcomeEvent::NotTaken);
                    let by = past.channel.is_some() && (channel.is_none() || past.channel.as_deref() == channel);
                    done && by && ((case.now_ms - past.decided_at_ms) as f64) < days * DAY_MS as f64
                });
                counted.count()
            };
            prop_assert!(contacts(None, 7.0) <= 3 && contacts(None, 30.0) <= 8);
            prop_assert!(contacts(Some("email"), 10.0) <= 2 && contacts(Some("phone"), 20.0) <= 1);
        }
    }

    #[test]
    fn probabilities_sum_to_one_and_only_the_eligible_are_chosen(
        effects in prop::collection::vec((-0.2..0.2_f64, 0.0..0.1_f64, 0.0..100.0_f64, any::<bool>(), 0_u8..5), 0..25),
        method in prop::sample::select(vec!["thompson", "inverse_gap", "none"]),
        mode in prop::sample::select(vec!["incremental", "pcvl"]),
        feature in prop::option::of(-1e3..1e3_f64),
        price in prop::sample::select(vec![0.0, 3.0, -2.0, f64::NAN, f64::INFINITY, 1e308]),
        uniform in prop::sample::select(vec![0.0, 0.3, 0.999_999_999_999, 1.0, f64::NAN, -1.0]),
        stake in prop::sample::select(vec![0.0, 1.0, 5e4, 1e12]),
    ) {
        let actions = effects.iter().enumerate().map(|(id, (effect, sd, cost, costly, kind))| {
            let rule = ["features.a > 0", "features.a / features.a > 0", "1 / features.b > 2", "true", "!(features.a < 10)"];
            format!(
                "[[action]]\nid = \"a{id}\"\ncost = {cost}\ncostly = {costly}\nprior = {{ effect = {effect}, sd = {} }}\n\
                 eligible = \"{}\"\npcvl = {{ propensity = \"features.a\" }}\n",
                sd.max(1e-6), rule[usize::from(*kind)]
            )
        }).collect::<Vec<_>>().concat();
        let head = HEAD.replace("currency", &format!("mode = \"{mode}\"\ncurrency")).replace("1000", &format!("{stake:?}"));
        let playbook = read(&format!("{}{actions}", head.replace("holdout = 0", &format!("holdout = 0\nmethod = \"{method}\""))));
        let stock = Stock { price, left: None };
        let case = Case {
            features: feature.map(|value| number("a", value)).into_iter().collect(),
            supply: Supply { actions: vec![stock], channels: Vec::new(), budget_price: 0.0 },
            uniform,
            ..Case::default()
        };
        with(&playbook, &case, |decided| {
            let sum: f64 = decided.candidates.iter().map(|candidate| candidate.probability).sum();
            prop_assert!((sum - 1.0).abs() < 1e-12, "{sum}");
            prop_assert!(decided.candidates.iter().all(|c| c.eligible || c.probability == 0.0));
            prop_assert!(decided.chosen().eligible && decided.chosen().probability > 0.0);
            prop_assert!(decided.candidates.iter().all(|c| c.rank.is_some() == c.eligible));
            let json = decided.candidates_json(usize::MAX);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
            for candidate in &decided.candidates {
                prop_assert!(!decided.reason(candidate, Language::Spanish).is_empty());
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_changed_playbook_is_read_or_refused(at in 0_usize..2_000, with in "\\PC{0,6}", cut in 0_usize..30) {
        let mut text = format!("{HEAD}{TWO}{SEQUENCE}").replace("value_at_stake", "presets = []\nvalue_at_stake");
        let from = (0..=at.min(text.len())).rev().find(|byte| text.is_char_boundary(*byte)).unwrap_or(0);
        let to = (from..=(from + cut).min(text.len())).rev().find(|byte| text.is_char_boundary(*byte)).unwrap_or(from);
        text.replace_range(from..to, &with);
        match Playbook::parse(&text, &BTreeMap::new()) {
            Ok(playbook) => {
                with_case(&playbook);
            }
            Err(problems) => prop_assert!(problems.iter().all(|problem| problem.place.line > 0 && !problem.fix.is_empty())),
        }
    }
}

fn with_case(playbook: &Playbook) {
    with(playbook, &Case::default(), |decided| assert!(decided.chosen().probability > 0.0));
}
