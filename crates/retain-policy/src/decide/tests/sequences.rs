//! Steps of sequences as candidates.

use super::*;

pub(super) const SEQUENCE: &str = r#"
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
