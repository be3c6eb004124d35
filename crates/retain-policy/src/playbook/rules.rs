//! The rules of a playbook: compiled once, with the place that each stands at.

use crate::rule::{MAX_RULE_BYTES, Names, Rule, RuleKind};

use super::problem::Place;
use super::reader::Section;

/// A rule and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedRule {
    /// The rule.
    pub rule: Rule,
    /// Where it stands.
    pub place: Place,
}

/// An amount: the same for everybody, or a rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Amount {
    /// For everybody.
    Fixed(f64),
    /// By customer.
    Rule(PlacedRule),
}

/// Compiles rules and gathers the names they read.
pub(super) struct Rules {
    pub(super) names: Names,
}

impl Rules {
    /// A condition.
    pub(super) fn condition(&mut self, section: &Section<'_>, key: &str) -> Option<PlacedRule> {
        self.compile(section, key, RuleKind::Condition)
    }

    /// A number of at least `min`, or a rule that gives one.
    pub(super) fn amount(&mut self, section: &Section<'_>, key: &str, min: f64) -> Option<Amount> {
        if section.is_number(key) {
            return section.number(key, min, 1e12).map(Amount::Fixed);
        }
        self.compile(section, key, RuleKind::Number).map(Amount::Rule)
    }

    /// A rule that gives a number.
    pub(super) fn number(&mut self, section: &Section<'_>, key: &str) -> Option<PlacedRule> {
        self.compile(section, key, RuleKind::Number)
    }

    fn compile(&mut self, section: &Section<'_>, key: &str, kind: RuleKind) -> Option<PlacedRule> {
        let source = section.text_up_to(key, MAX_RULE_BYTES)?;
        match Rule::compile(&source, kind, &mut self.names) {
            Ok(rule) => Some(PlacedRule { rule, place: section.place_of(key) }),
            Err(error) => {
                let place = section.place_inside(key, &source, error.offset);
                section.problems().error(place, format!("`{key}` of {}: {}", section.name(), error.what), error.fix);
                None
            }
        }
    }
}
