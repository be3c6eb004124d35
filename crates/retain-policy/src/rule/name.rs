//! What rules can read, and the values they read.

use std::collections::HashMap;
use std::fmt;

use retain_core::{DEFAULT_MISSING, Day, FeatureValue, OutcomeEvent, parse_boolean, parse_number};

/// Something a rule can read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// `features.tenure` or `features["Monthly charges"]`; dates are the days until now.
    Feature(String),
    /// `predictions.churn.probability`: the playbook's own name of a model, and what of its answer.
    Prediction {
        /// The playbook's name of the model.
        model: String,
        /// What of its answer.
        field: PredictionField,
    },
    /// `health.score`.
    Health(HealthField),
    /// `signals.low_logins`: whether it fires.
    Signal(String),
    /// `signal_count`: how many warning signals fire.
    SignalCount,
    /// `segments.dormant`: whether the customer is in it.
    Segment(String),
    /// `tier`: the id of the customer's tier.
    Tier,
    /// `points`: the customer's balance.
    Points,
    /// `badges.leader`: whether the customer has it.
    Badge(String),
    /// `history.count("email", 30)`.
    History(HistoryQuery),
    /// `now.hour`.
    Clock(ClockField),
    /// `customer_id`.
    Customer,
}

/// What of a model's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PredictionField {
    /// The calibrated probability, from 0 to 1.
    Probability,
    /// The expected amount; unknown for models of events.
    ExpectedValue,
    /// `"low"`, `"medium"` or `"high"`.
    Band,
}

/// What of the health score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HealthField {
    /// From 0 to 100.
    Score,
    /// The id of the band.
    Band,
    /// The share of the points that could be judged, from 0 to 1.
    Coverage,
    /// The score less the last one; unknown where there is no last one.
    Change,
}

/// A question to what was done for the customer before. Days count back from now.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HistoryQuery {
    /// How often an action reached the customer in the last days: any, or those of one channel or of one id.
    Count {
        /// A channel or the id of an action; absent for any.
        what: Option<String>,
        /// Length of the window.
        days: u32,
    },
    /// Days since an action last reached the customer; unknown where none did.
    DaysSince {
        /// A channel or the id of an action; absent for any.
        what: Option<String>,
    },
    /// How often this was reported in the last days.
    Outcomes {
        /// What was reported.
        event: OutcomeEvent,
        /// Length of the window.
        days: u32,
    },
}

/// What of the clock, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClockField {
    /// 0 to 23.
    Hour,
    /// 1 for Monday to 7 for Sunday.
    Weekday,
    /// Of the month, 1 to 31.
    Day,
    /// 1 to 12.
    Month,
    /// 1 to 4.
    Quarter,
}

/// What a name always is; features may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameType {
    /// A number.
    Number,
    /// Yes or no.
    Boolean,
    /// A text.
    Text,
    /// It depends on the customer's table.
    Any,
}

impl Name {
    /// What the name's values are.
    pub fn value_type(&self) -> NameType {
        match self {
            Self::Feature(_) => NameType::Any,
            Self::Prediction { field: PredictionField::Band, .. }
            | Self::Health(HealthField::Band)
            | Self::Tier
            | Self::Customer => NameType::Text,
            Self::Signal(_) | Self::Segment(_) | Self::Badge(_) => NameType::Boolean,
            Self::Prediction { .. } | Self::Health(_) | Self::SignalCount | Self::Points | Self::History(_) | Self::Clock(_) => {
                NameType::Number
            }
        }
    }
}

impl fmt::Display for Name {
    /// As it is written in a rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feature(name) if is_word(name) => write!(f, "features.{name}"),
            Self::Feature(name) => write!(f, "features[{name:?}]"),
            Self::Prediction { model, field } => write!(f, "predictions.{model}.{}", field.as_str()),
            Self::Health(field) => write!(f, "health.{}", field.as_str()),
            Self::Signal(id) => write!(f, "signals.{id}"),
            Self::SignalCount => f.write_str("signal_count"),
            Self::Segment(id) => write!(f, "segments.{id}"),
            Self::Tier => f.write_str("tier"),
            Self::Points => f.write_str("points"),
            Self::Badge(id) => write!(f, "badges.{id}"),
            Self::History(query) => write!(f, "history.{query}"),
            Self::Clock(field) => write!(f, "now.{}", field.as_str()),
            Self::Customer => f.write_str("customer_id"),
        }
    }
}

impl fmt::Display for HistoryQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { what: Some(what), days } => write!(f, "count({what:?}, {days})"),
            Self::Count { what: None, days } => write!(f, "count({days})"),
            Self::DaysSince { what: Some(what) } => write!(f, "days_since({what:?})"),
            Self::DaysSince { what: None } => f.write_str("days_since()"),
            Self::Outcomes { event, days } => write!(f, "outcomes(\"{event}\", {days})"),
        }
    }
}

/// Names of the variants in rules, both ways.
macro_rules! words {
    ($type:ident: $($variant:ident = $word:literal),+) => {
        impl $type {
            /// Every word, in order.
            pub const WORDS: &[&str] = &[$($word),+];

            /// The word in rules.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            pub(super) fn of_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

words!(PredictionField: Probability = "probability", ExpectedValue = "expected_value", Band = "band");
words!(HealthField: Score = "score", Band = "band", Coverage = "coverage", Change = "change");
words!(ClockField: Hour = "hour", Weekday = "weekday", Day = "day", Month = "month", Quarter = "quarter");

fn is_word(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// The place of a name's value in [`Values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(u32);

impl SlotId {
    /// The place as an index.
    pub fn idx(self) -> usize {
        self.0 as usize
    }
}

/// Every name that the rules of one playbook read, each with a slot.
#[derive(Debug, Clone, Default)]
pub struct Names {
    in_order: Vec<Name>,
    /// What the rules take each for.
    types: Vec<NameType>,
    slots: HashMap<Name, SlotId>,
}

impl Names {
    /// The slot of a name, new where it was not read before.
    pub fn slot(&mut self, name: Name) -> SlotId {
        if let Some(&slot) = self.slots.get(&name) {
            return slot;
        }
        // A playbook is far too short for 2³² names.
        let slot = SlotId(self.in_order.len() as u32);
        self.types.push(name.value_type());
        self.in_order.push(name.clone());
        self.slots.insert(name, slot);
        slot
    }

    /// The slot of a name that some rule reads.
    pub fn find(&self, name: &Name) -> Option<SlotId> {
        self.slots.get(name).copied()
    }

    /// The name of a slot.
    ///
    /// # Panics
    /// When the slot is of other names.
    pub fn name(&self, slot: SlotId) -> &Name {
        &self.in_order[slot.idx()]
    }

    /// What the rules take the value of a slot for: features are what they are compared with.
    ///
    /// # Panics
    /// When the slot is of other names.
    pub fn value_type(&self, slot: SlotId) -> NameType {
        self.types[slot.idx()]
    }

    /// Notes that a rule takes a feature for this; false where another rule takes it for something else. What is taken for yes or no may
    /// be taken for a number too, because tables write flags as 1 and 0.
    pub(super) fn take_for(&mut self, slot: SlotId, wanted: NameType) -> bool {
        use NameType::{Any, Boolean, Number};
        let known = &mut self.types[slot.idx()];
        match (*known, wanted) {
            (_, Any) | (Boolean, Number) => true,
            (Any, _) | (Number, Boolean) => {
                *known = wanted;
                true
            }
            (known, wanted) => known == wanted,
        }
    }

    /// All names with their slots, in the order of slots.
    pub fn iter(&self) -> impl Iterator<Item = (SlotId, &Name)> {
        self.in_order.iter().enumerate().map(|(idx, name)| (SlotId(idx as u32), name))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    /// Whether no rule reads anything.
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }
}

/// What is known of one name for one customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Known<'a> {
    /// Nothing.
    Missing,
    /// A finite number.
    Number(f64),
    /// Yes or no.
    Boolean(bool),
    /// A text.
    Text(&'a str),
}

impl<'a> Known<'a> {
    /// What a table or a request has of a feature, as rules take it: a text where a number belongs is read as one, or as a date, which
    /// is the days until `now`; one where yes or no belongs as a boolean. What cannot be read stays a text, and the rule says so.
    pub fn of_feature(value: FeatureValue<'a>, wanted: NameType, now: Day) -> Self {
        match (value, wanted) {
            (FeatureValue::Missing, _) => Self::Missing,
            (FeatureValue::Number(number), _) => Self::Number(number),
            (FeatureValue::Boolean(boolean), NameType::Number) => Self::Number(f64::from(u8::from(boolean))),
            (FeatureValue::Boolean(boolean), _) => Self::Boolean(boolean),
            (FeatureValue::Day(day), _) => Self::Number(now.days() - day.days()),
            (FeatureValue::Text(text), _) if is_missing(text) => Self::Missing,
            (FeatureValue::Text(text), NameType::Number) => {
                let days = || Some(now.days() - Day::parse(text).ok()?.days());
                parse_number(text).or_else(days).map_or(Self::Text(text), Self::Number)
            }
            (FeatureValue::Text(text), NameType::Boolean) => parse_boolean(text).map_or(Self::Text(text), Self::Boolean),
            (FeatureValue::Text(text), NameType::Text | NameType::Any) => Self::Text(text),
        }
    }
}

fn is_missing(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || DEFAULT_MISSING.contains(&text)
}

impl Known<'_> {
    /// The value as a person would write it.
    pub fn describe(self) -> String {
        match self {
            Self::Missing => "missing".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Boolean(boolean) => if boolean { "yes" } else { "no" }.to_owned(),
            Self::Text(text) => text.chars().take(60).collect(),
        }
    }
}

/// What is known of every name, for one customer at one time.
#[derive(Debug, Clone)]
pub struct Values<'a>(Vec<Known<'a>>);

impl<'a> Values<'a> {
    /// Nothing known of any name.
    pub fn new(names: &Names) -> Self {
        Self(vec![Known::Missing; names.len()])
    }

    /// Says what is known; NaN and infinities are missing.
    ///
    /// # Panics
    /// When the slot is of other names.
    pub fn set(&mut self, slot: SlotId, known: Known<'a>) {
        self.0[slot.idx()] = match known {
            Known::Number(number) if !number.is_finite() => Known::Missing,
            known => known,
        };
    }

    /// What is known.
    ///
    /// # Panics
    /// When the slot is of other names.
    pub fn get(&self, slot: SlotId) -> Known<'a> {
        self.0[slot.idx()]
    }
}
