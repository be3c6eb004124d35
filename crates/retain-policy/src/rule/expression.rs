//! A compiled rule: what is left of CEL once every name has a slot and every type that can be known is.

use super::name::SlotId;

/// One node of a compiled rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A literal.
    Constant(Constant),
    /// The value of a name.
    Read(SlotId),
    /// Whether anything is known of a name.
    Has(SlotId),
    /// Logical not.
    Not(Box<Expression>),
    /// Minus.
    Negate(Box<Expression>),
    /// Two numbers to one.
    Arithmetic(Arithmetic, Box<Expression>, Box<Expression>),
    /// Two values to yes or no.
    Compare(Comparison, Box<Expression>, Box<Expression>),
    /// All of them: `&&`.
    All(Vec<Expression>),
    /// Any of them: `||`.
    Any(Vec<Expression>),
    /// `condition ? then : otherwise`.
    Choose(Box<[Expression; 3]>),
    /// Whether the value is one of these: `in`.
    OneOf(Box<Expression>, Vec<Constant>),
    /// A question to two texts.
    Text(TextTest, Box<Expression>, Box<Expression>),
    /// The least or the greatest of some numbers.
    Extreme(Extreme, Vec<Expression>),
}

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub enum Constant {
    /// A number; whole numbers too.
    Number(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A text.
    Text(Box<str>),
}

/// What makes one number of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}

/// What compares two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

/// What is asked of two texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextTest {
    /// `startsWith`
    StartsWith,
    /// `endsWith`
    EndsWith,
    /// `contains`
    Contains,
}

/// Which of some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extreme {
    /// `min`
    Least,
    /// `max`
    Greatest,
}

impl Expression {
    /// Every slot that is read, each once, in the order they stand.
    pub fn reads(&self) -> Vec<SlotId> {
        let mut slots = Vec::new();
        self.visit(&mut |expression| {
            if let Self::Read(slot) | Self::Has(slot) = expression
                && !slots.contains(slot)
            {
                slots.push(*slot);
            }
        });
        slots
    }

    fn visit(&self, see: &mut impl FnMut(&Self)) {
        see(self);
        match self {
            Self::Constant(_) | Self::Read(_) | Self::Has(_) => {}
            Self::Not(inner) | Self::Negate(inner) | Self::OneOf(inner, _) => inner.visit(see),
            Self::Arithmetic(_, left, right) | Self::Compare(_, left, right) | Self::Text(_, left, right) => {
                left.visit(see);
                right.visit(see);
            }
            Self::All(parts) | Self::Any(parts) | Self::Extreme(_, parts) => parts.iter().for_each(|part| part.visit(see)),
            Self::Choose(parts) => parts.iter().for_each(|part| part.visit(see)),
        }
    }
}
