//! What a compiled rule says of one customer.
//!
//! A comparison with something unknown is unknown, and unknown goes on through everything that could still go either way (Kleene's
//! three values). A fault, such as a division by zero, goes on in the same way: what is decided without it stays decided.

use super::expression::{Arithmetic, Comparison, Constant, Expression, Extreme, TextTest};
use super::name::{Known, SlotId, Values};

/// Why a rule has no answer although everything it reads is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleFault {
    /// A division or remainder by zero.
    #[error("divides by zero")]
    DivisionByZero,
    /// A result beyond what a double holds.
    #[error("comes to a number that is too large")]
    NotFinite,
    /// A text or a boolean where a number belongs.
    #[error("needs a number and has {found}")]
    NotNumber {
        /// What it has.
        found: &'static str,
    },
    /// Neither yes nor no.
    #[error("needs yes or no and has {found}")]
    NotBoolean {
        /// What it has.
        found: &'static str,
    },
    /// Not a text.
    #[error("needs a text and has {found}")]
    NotText {
        /// What it has.
        found: &'static str,
    },
    /// Values of two kinds.
    #[error("compares {left} with {right}")]
    Incomparable {
        /// The left one.
        left: &'static str,
        /// The right one.
        right: &'static str,
    },
}

/// A value on the way; `Err` is a value that is not there.
type Evaluated<'a> = Result<Known<'a>, Absent>;

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Absent {
    Unknown(SlotId),
    Fault(RuleFault),
}

impl Expression {
    pub(super) fn evaluate<'a>(&'a self, values: &Values<'a>) -> Evaluated<'a> {
        match self {
            Self::Constant(constant) => Ok(constant.known()),
            Self::Read(slot) => match values.get(*slot) {
                Known::Missing => Err(Absent::Unknown(*slot)),
                known => Ok(known),
            },
            Self::Has(slot) => Ok(Known::Boolean(values.get(*slot) != Known::Missing)),
            Self::Not(inner) => Ok(Known::Boolean(!inner.boolean(values)?)),
            Self::Negate(inner) => Ok(Known::Number(-inner.number(values)?)),
            Self::Arithmetic(operator, left, right) => operator.of(left.number(values)?, right.number(values)?),
            Self::Compare(operator, left, right) => operator.of(left.evaluate(values)?, right.evaluate(values)?),
            Self::All(parts) => decide(parts, values, false),
            Self::Any(parts) => decide(parts, values, true),
            Self::Choose(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                if condition.boolean(values)? { then.evaluate(values) } else { otherwise.evaluate(values) }
            }
            Self::OneOf(value, constants) => {
                let value = value.evaluate(values)?;
                Ok(Known::Boolean(constants.iter().any(|constant| equal(value, constant.known()) == Some(true))))
            }
            Self::Text(test, left, right) => Ok(Known::Boolean(test.of(left.text(values)?, right.text(values)?))),
            Self::Extreme(extreme, parts) => extreme.of(parts, values),
        }
    }

    pub(super) fn number(&self, values: &Values<'_>) -> Result<f64, Absent> {
        match self.evaluate(values)? {
            Known::Number(number) => Ok(number),
            other => Err(Absent::Fault(RuleFault::NotNumber { found: kind(other) })),
        }
    }

    /// Yes or no; 1 and 0 too, because tables write flags that way.
    pub(super) fn boolean(&self, values: &Values<'_>) -> Result<bool, Absent> {
        match self.evaluate(values)? {
            Known::Boolean(boolean) => Ok(boolean),
            Known::Number(0.0) => Ok(false),
            Known::Number(1.0) => Ok(true),
            other => Err(Absent::Fault(RuleFault::NotBoolean { found: kind(other) })),
        }
    }

    fn text<'a>(&'a self, values: &Values<'a>) -> Result<&'a str, Absent> {
        match self.evaluate(values)? {
            Known::Text(text) => Ok(text),
            other => Err(Absent::Fault(RuleFault::NotText { found: kind(other) })),
        }
    }
}

/// `&&` where `deciding` is no, `||` where it is yes: one part that is `deciding` decides, whatever the others are.
fn decide<'a>(parts: &'a [Expression], values: &Values<'a>, deciding: bool) -> Evaluated<'a> {
    let mut absent = None;
    for part in parts {
        match part.boolean(values) {
            Ok(boolean) if boolean == deciding => return Ok(Known::Boolean(deciding)),
            Ok(_) => {}
            // A fault is worth more to say than something unknown.
            Err(fault @ Absent::Fault(_)) => absent = Some(fault),
            Err(unknown) => absent = absent.or(Some(unknown)),
        }
    }
    absent.map_or(Ok(Known::Boolean(!deciding)), Err)
}

impl Constant {
    pub(super) fn known(&self) -> Known<'_> {
        match self {
            Self::Number(number) => Known::Number(*number),
            Self::Boolean(boolean) => Known::Boolean(*boolean),
            Self::Text(text) => Known::Text(text),
        }
    }
}

impl Arithmetic {
    fn of(self, left: f64, right: f64) -> Evaluated<'static> {
        let result = match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide | Self::Remainder if right == 0.0 => return Err(Absent::Fault(RuleFault::DivisionByZero)),
            Self::Divide => left / right,
            Self::Remainder => left % right,
        };
        if result.is_finite() { Ok(Known::Number(result)) } else { Err(Absent::Fault(RuleFault::NotFinite)) }
    }
}

impl Comparison {
    fn of(self, left: Known<'_>, right: Known<'_>) -> Evaluated<'static> {
        let incomparable = || Absent::Fault(RuleFault::Incomparable { left: kind(left), right: kind(right) });
        let numbers = || match (left, right) {
            (Known::Number(left), Known::Number(right)) => Ok((left, right)),
            _ => Err(incomparable()),
        };
        let holds = match self {
            Self::Equal => equal(left, right).ok_or_else(incomparable)?,
            Self::NotEqual => !equal(left, right).ok_or_else(incomparable)?,
            Self::Less => numbers().map(|(left, right)| left < right)?,
            Self::AtMost => numbers().map(|(left, right)| left <= right)?,
            Self::Greater => numbers().map(|(left, right)| left > right)?,
            Self::AtLeast => numbers().map(|(left, right)| left >= right)?,
        };
        Ok(Known::Boolean(holds))
    }
}

/// Whether two values are the same; `None` where they cannot be compared. A boolean is the same as 1 or 0.
fn equal(left: Known<'_>, right: Known<'_>) -> Option<bool> {
    match (left, right) {
        (Known::Number(left), Known::Number(right)) => Some(left == right),
        (Known::Boolean(left), Known::Boolean(right)) => Some(left == right),
        (Known::Text(left), Known::Text(right)) => Some(left == right),
        (Known::Boolean(boolean), Known::Number(number)) | (Known::Number(number), Known::Boolean(boolean)) => {
            Some(number == f64::from(u8::from(boolean)))
        }
        _ => None,
    }
}

impl TextTest {
    fn of(self, left: &str, right: &str) -> bool {
        match self {
            Self::StartsWith => left.starts_with(right),
            Self::EndsWith => left.ends_with(right),
            Self::Contains => left.contains(right),
        }
    }
}

impl Extreme {
    fn of<'a>(self, parts: &'a [Expression], values: &Values<'a>) -> Evaluated<'a> {
        let mut found: Option<f64> = None;
        for part in parts {
            let number = part.number(values)?;
            found = Some(match (found, self) {
                (None, _) => number,
                (Some(so_far), Self::Least) => so_far.min(number),
                (Some(so_far), Self::Greatest) => so_far.max(number),
            });
        }
        found.map_or(Err(Absent::Fault(RuleFault::NotFinite)), |number| Ok(Known::Number(number)))
    }
}

fn kind(known: Known<'_>) -> &'static str {
    match known {
        Known::Missing => "nothing",
        Known::Number(_) => "a number",
        Known::Boolean(_) => "yes or no",
        Known::Text(_) => "a text",
    }
}
