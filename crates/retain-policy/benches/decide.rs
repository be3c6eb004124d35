//! One decision among twenty actions with three rules each: filling in the values, deciding, writing the record.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use retain_core::{Day, DecisionId, FeatureValue, PastDecision};
use retain_policy::decide::{Facts, PriorsOnly, Situation, Supply, decide};
use retain_policy::playbook::Playbook;

const NOW_MS: i64 = 1_700_000_000_000;

fn playbook() -> Playbook {
    let head = "[playbook]\nname = \"p\"\ncurrency = \"USD\"\nvalue_at_stake = \"features.value\"\n[fatigue]\ncost_per_contact = 0.1\n\
                [contact]\noverall = [{ days = 7, max = 9 }]\n[contact.channels.email]\nlimits = [{ days = 30, max = 20 }]\n\
                consent = \"features.agreed\"\n";
    let action = |id: u32| {
        format!(
            "[[action]]\nid = \"a{id}\"\nchannel = \"email\"\ncost = {}\ncooldown_days = 0.5\nprior = {{ effect = 0.0{}, sd = 0.02 }}\n\
             eligible = \"features.tenure > {id} && features.plan in ['pro', 'team']\"\napplicable = \"features.logins < 100 || \
             history.count(30) == 0\"\nsuitable = \"now.weekday < 8 && features.value / 2.0 > 1.0\"\n",
            0.1 * f64::from(id),
            1 + id % 9,
        )
    };
    let actions = (0..20).map(action).collect::<Vec<_>>().concat();
    Playbook::parse(&format!("{head}{actions}"), &BTreeMap::new()).expect("the playbook is right")
}

fn history() -> Vec<PastDecision> {
    let past = |days: i64| PastDecision {
        id: DecisionId::new(NOW_MS, [0; 10]),
        playbook: "p".to_owned(),
        action: format!("a{days}"),
        channel: Some("email".to_owned()),
        decided_at_ms: NOW_MS - days * 86_400_000,
        holdout: false,
        outcomes: Vec::new(),
        overridden: None,
    };
    (1..11).map(past).collect()
}

fn one_of_twenty(criterion: &mut Criterion) {
    let (playbook, history, supply) = (playbook(), history(), Supply::default());
    let features = |name: &str| match name {
        "plan" => FeatureValue::Text("pro"),
        "agreed" => FeatureValue::Boolean(true),
        _ => FeatureValue::Number(50.0),
    };
    let facts = Facts {
        customer_id: "customer",
        now_ms: NOW_MS,
        observed: Day::from_seconds(NOW_MS as f64 / 1000.0),
        features: &features,
        predictions: &[],
        history: &history,
    };
    let situation = Situation {
        customer_id: "customer",
        now_ms: NOW_MS,
        history: &history,
        effects: &[],
        learned: &PriorsOnly,
        supply: &supply,
        channels: None,
        reasons: &[],
        uniform: 0.5,
    };
    criterion.bench_function("decide/values", |bencher| bencher.iter(|| black_box(playbook.values(&facts))));
    let values = playbook.values(&facts);
    assert!(decide(&playbook, &values, &situation).candidates.iter().all(|candidate| candidate.eligible));
    criterion.bench_function("decide/20x3", |bencher| bencher.iter(|| black_box(decide(&playbook, &values, &situation))));
    let decided = decide(&playbook, &values, &situation);
    criterion.bench_function("decide/record", |bencher| bencher.iter(|| black_box(decided.candidates_json(usize::MAX))));
}

criterion_group!(benches, one_of_twenty);
criterion_main!(benches);
