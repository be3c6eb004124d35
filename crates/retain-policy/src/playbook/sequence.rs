//! Actions that follow each other over days: `[[sequence]]`. The next step of a sequence is one candidate among the others.

use std::collections::HashMap;

use super::problem::{Place, Problems};
use super::reader::{Placed, Section, did_you_mean};
use super::rules::{PlacedRule, Rules};
use super::settings::{MAX_DAYS, Words, read_words};

/// Most steps of a sequence once the sequences inside it are written out; each sequence inside counts as one more.
const MAX_STEPS: usize = 200;

/// Sequences within sequences.
const MAX_DEPTH: usize = 16;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Days after the beginning of the sequence at which it is due.
    pub day: f64,
    /// Index of its action.
    pub action: usize,
}

/// One `[[sequence]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// Its name.
    pub id: String,
    /// Its name for people.
    pub name: Words,
    /// When it begins; later it goes on whatever this says.
    pub start: Option<PlacedRule>,
    /// When it gives no further step.
    pub stop: Option<PlacedRule>,
    /// How many days ago it began; where absent, the first step that was taken was taken on its day.
    pub since: Option<PlacedRule>,
    /// The steps in their order, days never falling.
    pub steps: Vec<Step>,
    /// A step that was not taken within so many days of its day is passed over; absent, the sequence waits for it.
    pub patience_days: Option<f64>,
    /// So many days after its beginning it may begin again; absent, it is gone through once.
    pub repeat_days: Option<f64>,
    /// Where it stands.
    pub place: Place,
}

/// A sequence before what its steps name has been found.
pub(super) struct RawSequence {
    pub(super) sequence: Sequence,
    pub(super) steps: Vec<RawStep>,
}

/// A step as it is written: an action, or another sequence that is gone through from that day on.
pub(super) struct RawStep {
    day: f64,
    names: StepNames,
}

enum StepNames {
    Action(Placed<String>),
    Sequence(Placed<String>),
}

pub(super) fn read_sequence(id: &str, section: &Section<'_>, rules: &mut Rules) -> RawSequence {
    section.check_keys(&[
        "id",
        "name",
        "description",
        "source",
        "start",
        "stop",
        "since",
        "steps",
        "patience_days",
        "repeat_days",
    ]);
    let steps = section.sections("steps", &format!("a step of sequence `{id}`,"));
    if steps.is_empty() && !section.has("steps") {
        let fix = "add `steps = [{ day = 1, action = \"…\" }]`".to_owned();
        section.problems().error(section.place(), format!("sequence `{id}` has no steps"), fix);
    }
    let sequence = Sequence {
        id: id.to_owned(),
        name: read_words(section, "name").unwrap_or_else(|| Words { en: id.to_owned(), es: None }),
        start: rules.condition(section, "start"),
        stop: rules.condition(section, "stop"),
        since: rules.number(section, "since"),
        steps: Vec::new(),
        patience_days: section.number("patience_days", 0.0, MAX_DAYS),
        repeat_days: section.number("repeat_days", 0.01, MAX_DAYS),
        place: section.place(),
    };
    RawSequence { sequence, steps: steps.iter().filter_map(read_step).collect() }
}

fn read_step(step: &Section<'_>) -> Option<RawStep> {
    step.check_keys(&["day", "action", "sequence"]);
    let placed = |key: &str| step.text(key).map(|value| Placed { value, place: step.place_of(key) });
    let names = match (placed("action"), placed("sequence")) {
        (Some(action), None) => StepNames::Action(action),
        (None, Some(sequence)) => StepNames::Sequence(sequence),
        _ => {
            let what = format!("{} names an action or a sequence, one of both", step.name());
            step.problems().error(step.place(), what, "write it as `{ day = 1, action = \"…\" }`".to_owned());
            return None;
        }
    };
    if !step.has("day") {
        let what = format!("{} says nothing of `day`", step.name());
        step.problems().error(step.place(), what, "add the days since the sequence began, such as `day = 1`".to_owned());
    }
    Some(RawStep { day: step.number("day", 0.0, MAX_DAYS)?, names })
}

/// Writes out every sequence: names become indexes, sequences inside sequences become their steps.
pub(super) fn write_out(raw: Vec<RawSequence>, action_ids: &[String], problems: &Problems) -> Vec<Sequence> {
    let by_id = raw.iter().enumerate().map(|(idx, raw)| (raw.sequence.id.as_str(), idx)).collect();
    let mut writer = Writer { raw: &raw, by_id, action_ids, problems, way: Vec::new(), written: 0 };
    let steps: Vec<Vec<Step>> = (0..raw.len())
        .map(|idx| {
            let mut steps = Vec::new();
            writer.written = 0;
            writer.write(idx, 0.0, &mut steps);
            steps
        })
        .collect();
    for (raw, steps) in raw.iter().zip(&steps) {
        check_order(&raw.sequence, steps, problems);
    }
    raw.into_iter().zip(steps).map(|(raw, steps)| Sequence { steps, ..raw.sequence }).collect()
}

struct Writer<'a> {
    raw: &'a [RawSequence],
    by_id: HashMap<&'a str, usize>,
    action_ids: &'a [String],
    problems: &'a Problems,
    /// The sequences that are being written, outermost first.
    way: Vec<usize>,
    /// Steps of all of them so far.
    written: usize,
}

impl Writer<'_> {
    fn write(&mut self, idx: usize, from_day: f64, steps: &mut Vec<Step>) {
        self.way.push(idx);
        for step in &self.raw[idx].steps {
            self.written += 1;
            if self.written > MAX_STEPS {
                break;
            }
            let day = from_day + step.day;
            match &step.names {
                StepNames::Action(action) => self.write_action(action, day, steps),
                StepNames::Sequence(sequence) => self.write_sequence(sequence, day, steps),
            }
        }
        self.way.pop();
        if self.way.is_empty() && self.written > MAX_STEPS {
            let what = format!("sequence `{}` has more than {MAX_STEPS} steps once it is written out", self.id(idx));
            self.problems.error(self.raw[idx].sequence.place.clone(), what, "divide it".to_owned());
        }
    }

    fn write_action(&self, name: &Placed<String>, day: f64, steps: &mut Vec<Step>) {
        match self.action_ids.iter().position(|id| *id == name.value) {
            Some(action) => steps.push(Step { day, action }),
            // The same name is told once, where the sequence itself is written out.
            None if self.way.len() > 1 => {}
            None => {
                let what = format!("sequence `{}` names the action `{}`, and there is none", self.id(self.way[0]), name.value);
                let fix = did_you_mean(&name.value, self.action_ids.iter().map(String::as_str));
                self.problems.error(name.place.clone(), what, fix);
            }
        }
    }

    fn write_sequence(&mut self, name: &Placed<String>, day: f64, steps: &mut Vec<Step>) {
        let Some(&inner) = self.by_id.get(name.value.as_str()) else {
            let what = format!("sequence `{}` names the sequence `{}`, and there is none", self.id(self.way[0]), name.value);
            let fix = did_you_mean(&name.value, self.raw.iter().map(|raw| raw.sequence.id.as_str()));
            self.problems.error(name.place.clone(), what, fix);
            return;
        };
        if let Some(at) = self.way.iter().position(|idx| *idx == inner) {
            let circle: Vec<String> = self.way[at..].iter().chain([&inner]).map(|idx| format!("`{}`", self.id(*idx))).collect();
            let what = format!("sequence {} returns to itself: {}", circle[0], circle.join(" → "));
            let fix = "let the last of them name actions only; `repeat_days` lets a sequence begin again".to_owned();
            self.problems.error(name.place.clone(), what, fix);
            return;
        }
        if self.way.len() == MAX_DEPTH {
            let what =
                format!("sequence `{}` holds sequences within sequences, more than {MAX_DEPTH} deep", self.id(self.way[0]));
            self.problems.error(name.place.clone(), what, "write the inner steps out".to_owned());
            return;
        }
        self.write(inner, day, steps);
    }

    fn id(&self, idx: usize) -> &str {
        &self.raw[idx].sequence.id
    }
}

/// The days of steps never fall, and no sequence begins again before it has ended.
fn check_order(sequence: &Sequence, steps: &[Step], problems: &Problems) {
    if let Some(pair) = steps.windows(2).find(|pair| pair[1].day < pair[0].day) {
        let what = format!("a step of sequence `{}` on day {} stands after one on day {}", sequence.id, pair[1].day, pair[0].day);
        problems.error(sequence.place.clone(), what, "put the steps in the order of their days".to_owned());
    }
    let last = steps.last().map_or(0.0, |step| step.day);
    if let Some(repeat) = sequence.repeat_days.filter(|repeat| *repeat <= last) {
        let what = format!("sequence `{}` begins again after {repeat} days, before its last step on day {last}", sequence.id);
        problems.error(sequence.place.clone(), what, format!("set `repeat_days` above {last}"));
    }
}
