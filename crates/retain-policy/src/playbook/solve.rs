//! Whether conditions can hold together: intervals of numbers and sets of words, name by name.
//!
//! Comparisons of one name with literals, joined by `&&`, `||`, `!`, `in` and `? :`, are understood; anything else counts as possible. So
//! what is called impossible is, and not everything impossible is found. A value that is missing makes no comparison hold.

use std::collections::BTreeMap;

use crate::rule::{
    ClockField, Comparison, Constant, Expression, HealthField, HistoryQuery, Name, Names, PredictionField, SlotId,
};

/// Ways that `||` opens are tried up to so many; beyond, the conditions count as possible.
const MAX_WAYS: usize = 200;

/// Why conditions cannot hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    /// Nothing that this name can be satisfies them.
    Name(SlotId),
    /// A literal `false`.
    Literal,
}

/// What a name can still be.
#[derive(Debug, Clone, Default)]
struct Domain {
    low: Option<Bound>,
    high: Option<Bound>,
    whole: bool,
    /// Nothing but these, where given.
    only: Option<Vec<Constant>>,
    never: Vec<Constant>,
    present: bool,
    absent: bool,
}

#[derive(Debug, Clone, Copy)]
struct Bound {
    at: f64,
    open: bool,
}

/// Conditions that have to hold (or not), and what is known of the names so far.
#[derive(Clone)]
struct Case<'e> {
    open: Vec<(&'e Expression, bool)>,
    domains: BTreeMap<SlotId, Domain>,
}

/// Why all of the conditions cannot be as they are wanted at once; absent where they can, as far as is understood.
pub(super) fn conflict(wanted: &[(&Expression, bool)], names: &Names) -> Option<Conflict> {
    conflict_from(wanted, None, names)
}

/// As [`conflict`], with a name that is at least a number.
pub(super) fn conflict_from(wanted: &[(&Expression, bool)], at_least: Option<(SlotId, f64)>, names: &Names) -> Option<Conflict> {
    let mut case = Case { open: wanted.to_vec(), domains: BTreeMap::new() };
    // The first condition is looked at first.
    case.open.reverse();
    if let Some((slot, number)) = at_least {
        case.domain(slot, names).compare(Comparison::AtLeast, number);
    }
    let mut ways_left = MAX_WAYS;
    case.solve(names, &mut ways_left).err()
}

impl<'e> Case<'e> {
    fn solve(mut self, names: &Names, ways_left: &mut usize) -> Result<(), Conflict> {
        while let Some((expression, wanted)) = self.open.pop() {
            match (expression, wanted) {
                (Expression::All(parts), true) | (Expression::Any(parts), false) => {
                    self.open.extend(parts.iter().rev().map(|part| (part, wanted)));
                }
                (Expression::All(parts), false) | (Expression::Any(parts), true) => {
                    let ways = parts.iter().map(|part| vec![(part, wanted)]).collect();
                    return self.try_ways(ways, names, ways_left);
                }
                (Expression::Choose(parts), _) => {
                    let [condition, then, otherwise] = &**parts;
                    let ways = vec![vec![(condition, true), (then, wanted)], vec![(condition, false), (otherwise, wanted)]];
                    return self.try_ways(ways, names, ways_left);
                }
                (Expression::Not(inner), _) => self.open.push((inner, !wanted)),
                (Expression::Constant(Constant::Boolean(literal)), _) if *literal != wanted => return Err(Conflict::Literal),
                _ => self.take(expression, wanted, names)?,
            }
        }
        Ok(())
    }

    /// One of the ways has to do; the first one's conflict is told where none does.
    fn try_ways(&self, ways: Vec<Vec<(&'e Expression, bool)>>, names: &Names, ways_left: &mut usize) -> Result<(), Conflict> {
        let mut first = None;
        for way in ways {
            if *ways_left == 0 {
                return Ok(());
            }
            *ways_left -= 1;
            let mut case = self.clone();
            case.open.extend(way.into_iter().rev());
            match case.solve(names, ways_left) {
                Ok(()) => return Ok(()),
                Err(conflict) => first = first.or(Some(conflict)),
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Takes in what a condition of one name says of it.
    fn take(&mut self, expression: &Expression, wanted: bool, names: &Names) -> Result<(), Conflict> {
        let slot = match expression {
            Expression::Read(slot) => {
                self.domain(*slot, names).only(&[Constant::Boolean(wanted)]);
                *slot
            }
            Expression::Has(slot) => {
                let domain = self.domain(*slot, names);
                if wanted {
                    domain.present = true;
                } else {
                    domain.absent = true;
                }
                *slot
            }
            Expression::OneOf(inner, constants) => {
                let Expression::Read(slot) = &**inner else { return Ok(()) };
                let domain = self.domain(*slot, names);
                if wanted {
                    domain.only(constants);
                } else {
                    domain.not(constants);
                }
                *slot
            }
            Expression::Compare(comparison, left, right) => {
                let (slot, comparison, constant) = match (&**left, &**right) {
                    (Expression::Read(slot), Expression::Constant(constant)) => (*slot, *comparison, constant),
                    (Expression::Constant(constant), Expression::Read(slot)) => (*slot, turned(*comparison), constant),
                    _ => return Ok(()),
                };
                let comparison = if wanted { comparison } else { negated(comparison) };
                self.domain(slot, names).take(comparison, constant);
                slot
            }
            _ => return Ok(()),
        };
        if self.domains[&slot].is_empty() { Err(Conflict::Name(slot)) } else { Ok(()) }
    }

    fn domain(&mut self, slot: SlotId, names: &Names) -> &mut Domain {
        self.domains.entry(slot).or_insert_with(|| Domain::of(names.name(slot)))
    }
}

impl Domain {
    /// What a name can be at all.
    fn of(name: &Name) -> Self {
        let number = |low: Option<f64>, high: Option<f64>, whole| {
            let bound = |at| Bound { at, open: false };
            Self { low: low.map(bound), high: high.map(bound), whole, ..Self::default() }
        };
        match name {
            Name::Prediction { field: PredictionField::Probability, .. } | Name::Health(HealthField::Coverage) => {
                number(Some(0.0), Some(1.0), false)
            }
            Name::Prediction { field: PredictionField::Band, .. } => {
                let bands = ["low", "medium", "high"].map(|band| Constant::Text(band.into()));
                Self { only: Some(bands.to_vec()), ..Self::default() }
            }
            Name::Health(HealthField::Score) => number(Some(0.0), Some(100.0), false),
            Name::Health(HealthField::Change) => number(Some(-100.0), Some(100.0), false),
            Name::History(HistoryQuery::DaysSince { .. }) => number(Some(0.0), None, false),
            Name::SignalCount | Name::History(_) => number(Some(0.0), None, true),
            Name::Clock(field) => {
                let (low, high) = match field {
                    ClockField::Hour => (0.0, 23.0),
                    ClockField::Weekday => (1.0, 7.0),
                    ClockField::Day => (1.0, 31.0),
                    ClockField::Month => (1.0, 12.0),
                    ClockField::Quarter => (1.0, 4.0),
                };
                number(Some(low), Some(high), true)
            }
            _ => Self::default(),
        }
    }

    fn take(&mut self, comparison: Comparison, constant: &Constant) {
        match (comparison, constant) {
            (Comparison::Equal, _) => self.only(std::slice::from_ref(constant)),
            (Comparison::NotEqual, _) => self.not(std::slice::from_ref(constant)),
            (_, Constant::Number(number)) => self.compare(comparison, *number),
            // The order of words has nothing between them to reason about.
            _ => self.present = true,
        }
    }

    fn compare(&mut self, comparison: Comparison, number: f64) {
        self.present = true;
        match comparison {
            Comparison::Less => self.below(Bound { at: number, open: true }),
            Comparison::AtMost => self.below(Bound { at: number, open: false }),
            Comparison::Greater => self.above(Bound { at: number, open: true }),
            Comparison::AtLeast => self.above(Bound { at: number, open: false }),
            Comparison::Equal => self.only(&[Constant::Number(number)]),
            Comparison::NotEqual => self.not(&[Constant::Number(number)]),
        }
    }

    fn below(&mut self, bound: Bound) {
        let bound = if self.whole && bound.open { Bound { at: (bound.at - 1.0).ceil(), open: false } } else { bound };
        if self.high.is_none_or(|high| bound.at < high.at || bound.at == high.at && bound.open) {
            self.high = Some(bound);
        }
    }

    fn above(&mut self, bound: Bound) {
        let bound = if self.whole && bound.open { Bound { at: (bound.at + 1.0).floor(), open: false } } else { bound };
        if self.low.is_none_or(|low| bound.at > low.at || bound.at == low.at && bound.open) {
            self.low = Some(bound);
        }
    }

    fn only(&mut self, constants: &[Constant]) {
        self.present = true;
        let constants: Vec<Constant> = constants.iter().map(plain).collect();
        match &mut self.only {
            Some(only) => only.retain(|constant| constants.contains(constant)),
            None => self.only = Some(constants),
        }
    }

    fn not(&mut self, constants: &[Constant]) {
        self.present = true;
        self.never.extend(constants.iter().map(plain));
    }

    fn is_empty(&self) -> bool {
        if self.absent && self.present {
            return true;
        }
        if let (Some(low), Some(high)) = (self.low, self.high)
            && (low.at > high.at
                || low.at == high.at && (low.open || high.open || self.never.contains(&Constant::Number(low.at))))
        {
            return true;
        }
        let fits = |constant: &Constant| match constant {
            Constant::Number(number) => self.holds(*number),
            // What has bounds is a number.
            _ => self.low.is_none() && self.high.is_none(),
        };
        self.only.as_ref().is_some_and(|only| !only.iter().any(|constant| fits(constant) && !self.never.contains(constant)))
    }

    fn holds(&self, number: f64) -> bool {
        let above = self.low.is_none_or(|low| number > low.at || number == low.at && !low.open);
        let below = self.high.is_none_or(|high| number < high.at || number == high.at && !high.open);
        above && below && (!self.whole || number.fract() == 0.0)
    }
}

/// Tables write yes and no as 1 and 0, and rules take them so.
fn plain(constant: &Constant) -> Constant {
    match constant {
        Constant::Boolean(boolean) => Constant::Number(f64::from(u8::from(*boolean))),
        other => other.clone(),
    }
}

/// The comparison with its sides changed.
fn turned(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::AtMost => Comparison::AtLeast,
        Comparison::Greater => Comparison::Less,
        Comparison::AtLeast => Comparison::AtMost,
        same => same,
    }
}

/// The comparison that holds where this one does not.
fn negated(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Equal => Comparison::NotEqual,
        Comparison::NotEqual => Comparison::Equal,
        Comparison::Less => Comparison::AtLeast,
        Comparison::AtMost => Comparison::Greater,
        Comparison::Greater => Comparison::AtMost,
        Comparison::AtLeast => Comparison::Less,
    }
}
