//! Rules: conditions and numbers about one customer, written in CEL.
//!
//! The `cel` crate parses; [`Rule::compile`] turns its tree into an [`Expression`] whose names have slots, so that an unknown name is
//! found when a playbook is read and not when a customer waits, contradictions can be looked for, and a rule answers in tens of
//! nanoseconds without allocating. Loops (`all`, `exists`, `map`, `filter`), regular expressions and lists of anything but literals
//! are refused: nothing a rule does depends on more than its own length.

mod evaluate;
mod expression;
mod name;
mod parse;

pub use evaluate::RuleFault;
pub use expression::{Arithmetic, Comparison, Constant, Expression, Extreme, TextTest};
pub use name::{ClockField, HealthField, HistoryQuery, Known, Name, NameType, Names, PredictionField, SlotId, Values};

use evaluate::Absent;

/// The most bytes of one rule.
pub const MAX_RULE_BYTES: usize = 4_096;

/// What a rule has to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// Yes or no.
    Condition,
    /// A number.
    Number,
    /// A text.
    Text,
}

/// What is wrong with a rule, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct RuleError {
    /// Characters before the place.
    pub offset: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// A compiled rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    source: Box<str>,
    expression: Expression,
    reads: Box<[SlotId]>,
}

/// What a condition says of a customer. Only [`Answer::Yes`] lets something pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// This is missing, and the condition could go either way.
    Unknown(SlotId),
    /// The condition cannot be answered for this customer.
    Fault(RuleFault),
}

/// What a number rule says of a customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NumberAnswer {
    /// A finite number.
    Number(f64),
    /// This is missing.
    Unknown(SlotId),
    /// There is no number for this customer.
    Fault(RuleFault),
}

impl Rule {
    /// Reads a rule; its names get slots.
    ///
    /// # Errors
    /// [`RuleError`] says what is wrong, where, and what to do.
    pub fn compile(source: &str, kind: RuleKind, names: &mut Names) -> Result<Self, RuleError> {
        let expression = parse::parse(source, kind, names)?;
        let reads = expression.reads().into();
        Ok(Self { source: source.into(), expression, reads })
    }

    /// The rule as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The compiled rule.
    pub fn expression(&self) -> &Expression {
        &self.expression
    }

    /// What it reads, each once, in the order of the rule.
    pub fn reads(&self) -> &[SlotId] {
        &self.reads
    }

    /// Answers a condition.
    pub fn test(&self, values: &Values<'_>) -> Answer {
        match self.expression.boolean(values) {
            Ok(true) => Answer::Yes,
            Ok(false) => Answer::No,
            Err(Absent::Unknown(slot)) => Answer::Unknown(slot),
            Err(Absent::Fault(fault)) => Answer::Fault(fault),
        }
    }

    /// Answers a number.
    pub fn number(&self, values: &Values<'_>) -> NumberAnswer {
        match self.expression.number(values) {
            Ok(number) => NumberAnswer::Number(number),
            Err(Absent::Unknown(slot)) => NumberAnswer::Unknown(slot),
            Err(Absent::Fault(fault)) => NumberAnswer::Fault(fault),
        }
    }
}

#[cfg(test)]
mod tests;
