use super::super::{AlertBudget, AlertEvent, AlertState, Assessment, Previous, Severity, within_budget};
use super::{parse, with};
use crate::rule::{Known, Names};

const DAY: i64 = 86_400_000;

fn definition() -> (Assessment, Names) {
    parse(
        r#"
        [[alert]]
        id = "low"
        enter = "features.score < 60"
        leave = "features.score > 65"
        cooldown_days = 7
        severity = "P1"
        [[milestone]]
        id = "week"
        when = "features.days >= 7"
        "#,
    )
}

/// Looks at one customer on each of these days with these scores.
fn events(looks: &[(i64, Option<f64>)]) -> Vec<AlertEvent> {
    let (assessment, names) = definition();
    let mut kept: Option<Previous> = None;
    let look = |&(day, score): &(i64, Option<f64>)| {
        let known = score.map_or(Known::Missing, Known::Number);
        let mut values = with(&names, &[("score", known)]);
        let assessed = assessment.assess(&mut values, kept.as_ref(), day * DAY);
        kept = Some(assessment.remember(&assessed, day * DAY));
        assessed.alerts[0].event
    };
    looks.iter().map(look).collect()
}

#[test]
fn an_alert_is_raised_once_and_ends_above_where_it_began() {
    use AlertEvent::{Continues, Ended, Quiet, Raised};
    let looks = [(0, 61.0), (1, 59.0), (2, 61.0), (3, 59.0), (4, 65.0), (5, 65.1), (6, 70.0), (20, 60.0), (21, 59.9)];
    let expected = [Quiet, Raised, Continues, Continues, Continues, Ended, Quiet, Quiet, Raised];
    assert_eq!(events(&looks.map(|(day, score)| (day, Some(score)))), expected);
}

#[test]
fn within_the_cool_down_an_alert_waits() {
    use AlertEvent::{Continues, CoolingDown, Ended, Raised};
    let looks = [(0, 50.0), (1, 70.0), (2, 50.0), (6, 50.0), (7, 50.0), (8, 50.0)];
    let expected = [Raised, Ended, CoolingDown, CoolingDown, Raised, Continues];
    assert_eq!(events(&looks.map(|(day, score)| (day, Some(score)))), expected);
}

#[test]
fn what_is_missing_changes_nothing() {
    use AlertEvent::{Continues, Raised, Unknown};
    assert_eq!(events(&[(0, None), (1, Some(50.0)), (2, None)]), [Unknown, Raised, Continues]);
}

#[test]
fn a_clock_that_was_set_back_does_not_silence_for_long() {
    let (assessment, names) = definition();
    let values = with(&names, &[("score", Known::Number(50.0))]);
    let future = AlertState { active: false, raised_at_ms: Some(1_000 * DAY) };
    let now = assessment.alerts[0].look(&values, future, 10 * DAY);
    assert_eq!((now.event, now.state.raised_at_ms), (AlertEvent::CoolingDown, Some(10 * DAY)));
    let later = assessment.alerts[0].look(&values, now.state, 17 * DAY);
    assert_eq!(later.event, AlertEvent::Raised);
}

#[test]
fn a_milestone_is_new_once() {
    let (assessment, names) = definition();
    let look = |days: f64, before: Option<&Previous>| {
        let mut values = with(&names, &[("days", Known::Number(days))]);
        let assessed = assessment.assess(&mut values, before, 0);
        (assessment.remember(&assessed, 0), assessed.new_milestones)
    };
    let (before, first) = look(6.0, None);
    let (reached, second) = look(7.0, Some(&before));
    let (_, third) = look(8.0, Some(&reached));
    assert_eq!((first, second, third), (vec![], vec![0], vec![]));
    // Nobody celebrates what happened before anybody looked.
    assert!(look(9.0, None).1.is_empty());
}

#[test]
fn what_is_kept_survives_being_written_down() {
    let (assessment, names) = definition();
    let mut values = with(&names, &[("score", Known::Number(50.0)), ("days", Known::Number(9.0))]);
    let assessed = assessment.assess(&mut values, None, 5);
    let kept = assessment.remember(&assessed, 5);
    let written = serde_json::to_string(&kept).unwrap();
    assert_eq!(serde_json::from_str::<Previous>(&written).unwrap(), kept);
    assert_eq!(Assessment::raised(&assessed).collect::<Vec<_>>(), [0]);
}

#[test]
fn the_budget_goes_to_the_most_severe() {
    use Severity::{Immediate, Info, Monitor, Urgent};
    let raised = [Monitor, Immediate, Info, Urgent, Monitor];
    let chosen = |max, sent| within_budget(&raised, AlertBudget { max, days: 7.0 }, sent);
    assert_eq!(chosen(3, 0), [true, true, false, true, false]);
    assert_eq!(chosen(3, 2), [false, true, false, false, false]);
    assert_eq!(chosen(3, 9), [false; 5]);
    assert_eq!(chosen(9, 0), [true; 5]);
}
