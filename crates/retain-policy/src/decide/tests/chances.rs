//! Logged probabilities against frequencies, batches, and properties of random playbooks and histories.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;
use crate::allocate::Limit;

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
    let head = HEAD.replace("1000", "1");
    let poor = read(&format!("{head}{TWO}"));
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
    fn a_changed_playbook_is_read_or_refused(at in 0_usize..2_000, letters in "\\PC{0,6}", cut in 0_usize..30) {
        let mut text = format!("{HEAD}{TWO}{}", sequences::SEQUENCE).replace("value_at_stake", "presets = []\nvalue_at_stake");
        let from = (0..=at.min(text.len())).rev().find(|byte| text.is_char_boundary(*byte)).unwrap_or(0);
        let to = (from..=(from + cut).min(text.len())).rev().find(|byte| text.is_char_boundary(*byte)).unwrap_or(from);
        text.replace_range(from..to, &letters);
        match Playbook::parse(&text, &BTreeMap::new()) {
            Ok(playbook) => with(&playbook, &Case::default(), |decided| assert!(decided.chosen().probability > 0.0)),
            Err(problems) => prop_assert!(problems.iter().all(|problem| problem.place.line > 0 && !problem.fix.is_empty())),
        }
    }
}
