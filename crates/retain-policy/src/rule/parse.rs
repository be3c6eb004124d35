//! From CEL's tree to an [`Expression`]: names get slots, types are checked as far as they are known.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators};
use cel::parser::Parser;
use retain_core::{OutcomeEvent, nearest};

use super::expression::{Arithmetic, Comparison, Constant, Expression, Extreme, TextTest};
use super::name::{ClockField, HealthField, HistoryQuery, Name, NameType, Names, PredictionField};
use super::{MAX_RULE_BYTES, RuleError, RuleKind};

/// Brackets within brackets; the parser's own stack grows with them.
const MAX_DEPTH: u16 = 32;
/// Signs in a row, such as `!!!!`; each is a level of the tree too.
const MAX_SIGNS: usize = 16;
/// The longest window of a question to the history.
const MAX_DAYS: f64 = 3_650.0;

/// What rules can begin a name with.
const ROOTS: [&str; 11] = [
    "features",
    "predictions",
    "health",
    "signals",
    "signal_count",
    "segments",
    "tier",
    "points",
    "badges",
    "now",
    "customer_id",
];

pub(super) fn parse(source: &str, kind: RuleKind, names: &mut Names) -> Result<Expression, RuleError> {
    check_size(source)?;
    let parsed = Parser::new().max_recursion_depth(MAX_DEPTH).error_recovery_limit(1).parse_with_source_info(source);
    let (tree, places) = parsed.map_err(|errors| unreadable(source, &errors))?;
    let mut compiler = Compiler { names, places: &places };
    compiler.typed(
        &tree,
        match kind {
            RuleKind::Condition => NameType::Boolean,
            RuleKind::Number => NameType::Number,
            RuleKind::Text => NameType::Text,
        },
    )
}

/// What the parser would spend a stack or a second on.
fn check_size(source: &str) -> Result<(), RuleError> {
    let refuse = |what: String, fix: &str| Err(RuleError { offset: 0, what, fix: fix.to_owned() });
    if source.len() > MAX_RULE_BYTES {
        let what = format!("a rule has at most {MAX_RULE_BYTES} bytes, found {}", source.len());
        return refuse(what, "say parts of it as signals or segments, and name those");
    }
    if source.trim().is_empty() {
        return refuse("the rule is empty".to_owned(), "leave the key out, or write a condition such as `features.tenure > 12`");
    }
    let mut signs = 0;
    let mut depth = 0_u16;
    for letter in source.chars() {
        signs = if matches!(letter, '!' | '-') {
            signs + 1
        } else if letter.is_whitespace() {
            signs
        } else {
            0
        };
        match letter {
            '(' | '[' | '{' | '?' => depth += 1,
            ')' | ']' | '}' | ':' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if signs > MAX_SIGNS || depth > MAX_DEPTH {
            return refuse(format!("the rule is nested deeper than {MAX_DEPTH} levels"), "name its parts as signals or segments");
        }
    }
    Ok(())
}

fn unreadable(source: &str, errors: &cel::ParseErrors) -> RuleError {
    let Some(first) = errors.errors.first() else {
        return RuleError { offset: 0, what: "the rule cannot be read".to_owned(), fix: String::new() };
    };
    let (line, column) = first.pos;
    let before: usize = source.split_inclusive('\n').take((line - 1).max(0) as usize).map(|text| text.chars().count()).sum();
    let message = first.msg.trim_start_matches("Syntax error:").trim();
    RuleError {
        offset: before + (column - 1).max(0) as usize,
        what: format!("the rule cannot be read: {}", message.chars().take(200).collect::<String>()),
        fix: "rules are CEL conditions such as `features.tenure > 12 && predictions.churn.probability >= 0.3`".to_owned(),
    }
}

struct Compiler<'a> {
    names: &'a mut Names,
    places: &'a SourceInfo,
}

type Compiled = Result<(Expression, NameType), RuleError>;

impl Compiler<'_> {
    fn compile(&mut self, tree: &IdedExpr) -> Compiled {
        match &tree.expr {
            Expr::Literal(literal) => self.literal(tree, literal),
            Expr::Ident(_) | Expr::Select(_) => self.read(tree),
            Expr::Call(call) => self.call(tree, call),
            Expr::Comprehension(_) => {
                Err(self.wrong(tree, "rules have no loops (`all`, `exists`, `map`, `filter`)", "compare the values one by one"))
            }
            Expr::List(_) => Err(self.wrong(tree, "a list stands only behind `in`", "write `features.plan in [\"a\", \"b\"]`")),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err(self.wrong(tree, "rules have no maps and messages", "use names, literals and operators"))
            }
        }
    }

    fn literal(&self, tree: &IdedExpr, literal: &LiteralValue) -> Compiled {
        let (constant, found) = self.constant(tree, literal)?;
        Ok((Expression::Constant(constant), found))
    }

    fn constant(&self, tree: &IdedExpr, literal: &LiteralValue) -> Result<(Constant, NameType), RuleError> {
        match literal {
            LiteralValue::Int(number) => Ok((Constant::Number(*number.inner() as f64), NameType::Number)),
            LiteralValue::UInt(number) => Ok((Constant::Number(*number.inner() as f64), NameType::Number)),
            LiteralValue::Double(number) if number.inner().is_finite() => {
                Ok((Constant::Number(*number.inner()), NameType::Number))
            }
            LiteralValue::Double(_) => Err(self.wrong(tree, "the number is too large", "write a number below 1e308")),
            LiteralValue::Boolean(boolean) => Ok((Constant::Boolean(*boolean.inner()), NameType::Boolean)),
            LiteralValue::String(text) => Ok((Constant::Text(text.inner().into()), NameType::Text)),
            LiteralValue::Null => Err(self.wrong(tree, "`null` can only be compared with a name", "write `has(features.x)`")),
            LiteralValue::Bytes(_) => Err(self.wrong(tree, "rules have no bytes", "write a text: `\"…\"`")),
        }
    }

    fn read(&mut self, tree: &IdedExpr) -> Compiled {
        if let Expr::Select(SelectExpr { operand, field, test: true }) = &tree.expr {
            let name = self.name(tree, &[self.path(operand)?, vec![field.clone()]].concat())?;
            return Ok((Expression::Has(self.names.slot(name)), NameType::Boolean));
        }
        let name = self.name(tree, &self.path(tree)?)?;
        let found = name.value_type();
        Ok((Expression::Read(self.names.slot(name)), found))
    }

    /// `a.b["c"]` as its three words.
    fn path(&self, tree: &IdedExpr) -> Result<Vec<String>, RuleError> {
        let mut words = Vec::new();
        let mut at = tree;
        loop {
            match &at.expr {
                Expr::Ident(root) => {
                    words.push(root.trim_start_matches('.').to_owned());
                    words.reverse();
                    return Ok(words);
                }
                Expr::Select(select) => {
                    words.push(select.field.clone());
                    at = &select.operand;
                }
                Expr::Call(call) if call.func_name == operators::INDEX && call.args.len() == 2 => {
                    let Expr::Literal(LiteralValue::String(key)) = &call.args[1].expr else {
                        return Err(self.wrong(at, "what stands in the brackets should be a text", "write `features[\"name\"]`"));
                    };
                    words.push(key.inner().to_owned());
                    at = &call.args[0];
                }
                _ => return Err(self.wrong(at, "this is not a name", "names begin with `features.` and the like")),
            }
        }
    }

    fn name(&self, tree: &IdedExpr, path: &[String]) -> Result<Name, RuleError> {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["features", name] => Ok(Name::Feature((*name).to_owned())),
            ["predictions", model, field] => match PredictionField::of_word(field) {
                Some(field) => Ok(Name::Prediction { model: (*model).to_owned(), field }),
                None => Err(self.unknown(tree, field, PredictionField::WORDS)),
            },
            ["health", field] => {
                HealthField::of_word(field).map(Name::Health).ok_or_else(|| self.unknown(tree, field, HealthField::WORDS))
            }
            ["now", field] => {
                ClockField::of_word(field).map(Name::Clock).ok_or_else(|| self.unknown(tree, field, ClockField::WORDS))
            }
            ["signals", id] => Ok(Name::Signal((*id).to_owned())),
            ["segments", id] => Ok(Name::Segment((*id).to_owned())),
            ["badges", id] => Ok(Name::Badge((*id).to_owned())),
            ["signal_count"] => Ok(Name::SignalCount),
            ["tier"] => Ok(Name::Tier),
            ["points"] => Ok(Name::Points),
            ["customer_id"] => Ok(Name::Customer),
            [root, ..] if ROOTS.contains(root) => {
                let what = format!("`{}` is not a name that rules can read", words.join("."));
                Err(self.wrong(tree, &what, "write `features.NAME`, `predictions.MODEL.probability`, `health.score`, `now.hour`"))
            }
            [root, ..] => Err(self.unknown(tree, root, &ROOTS)),
            [] => Err(self.wrong(tree, "a name is missing", "write `features.NAME`")),
        }
    }

    fn call(&mut self, tree: &IdedExpr, call: &CallExpr) -> Compiled {
        let args = call.args.as_slice();
        match (call.func_name.as_str(), args) {
            (operators::INDEX, _) => self.read(tree),
            (operators::LOGICAL_AND, _) => Ok((Expression::All(self.parts(tree, operators::LOGICAL_AND)?), NameType::Boolean)),
            (operators::LOGICAL_OR, _) => Ok((Expression::Any(self.parts(tree, operators::LOGICAL_OR)?), NameType::Boolean)),
            (operators::LOGICAL_NOT, [inner]) => {
                Ok((Expression::Not(Box::new(self.typed(inner, NameType::Boolean)?)), NameType::Boolean))
            }
            (operators::NEGATE, [inner]) => {
                Ok((Expression::Negate(Box::new(self.typed(inner, NameType::Number)?)), NameType::Number))
            }
            (operators::CONDITIONAL, [condition, then, otherwise]) => self.choose(condition, then, otherwise),
            (operators::IN, [value, list]) => self.one_of(value, list),
            (name, [left, right]) if arithmetic(name).is_some() => self.arithmetic(name, left, right),
            (name, [left, right]) if comparison(name).is_some() => self.comparison(name, left, right),
            (name, _) if call.target.is_some() => self.method(tree, call, name),
            (name @ ("min" | "max"), [_, ..]) => {
                let which = if name == "min" { Extreme::Least } else { Extreme::Greatest };
                let parts = args.iter().map(|arg| self.typed(arg, NameType::Number)).collect::<Result<_, _>>()?;
                Ok((Expression::Extreme(which, parts), NameType::Number))
            }
            (name, _) => {
                let what = format!("rules have no function `{}`", shorten(name));
                Err(self.wrong(
                    tree,
                    &what,
                    "there are `min`, `max`, `has`, `startsWith`, `endsWith`, `contains` and those of `history`",
                ))
            }
        }
    }

    /// The parts of a chain of one logical operator.
    fn parts(&mut self, tree: &IdedExpr, operator: &str) -> Result<Vec<Expression>, RuleError> {
        let mut waiting = vec![tree];
        let mut parts = Vec::new();
        while let Some(at) = waiting.pop() {
            match &at.expr {
                Expr::Call(call) if call.func_name == operator => waiting.extend(call.args.iter().rev()),
                _ => parts.push(self.typed(at, NameType::Boolean)?),
            }
        }
        Ok(parts)
    }

    fn choose(&mut self, condition: &IdedExpr, then: &IdedExpr, otherwise: &IdedExpr) -> Compiled {
        let condition = self.typed(condition, NameType::Boolean)?;
        let (then_part, then_type) = self.compile(then)?;
        let (otherwise_part, otherwise_type) = self.compile(otherwise)?;
        let found = if then_type == NameType::Any { otherwise_type } else { then_type };
        self.expect(otherwise, otherwise_type, found)?;
        Ok((Expression::Choose(Box::new([condition, then_part, otherwise_part])), found))
    }

    fn one_of(&mut self, value: &IdedExpr, list: &IdedExpr) -> Compiled {
        let Expr::List(items) = &list.expr else {
            return Err(self.wrong(list, "behind `in` stands a list of literals", "write `in [\"a\", \"b\"]`"));
        };
        let (read, found) = self.compile(value)?;
        let mut constants = Vec::with_capacity(items.elements.len());
        for item in &items.elements {
            let Expr::Literal(literal) = &item.expr else {
                return Err(self.wrong(item, "behind `in` stands a list of literals", "write the value itself"));
            };
            let (constant, kind) = self.constant(item, literal)?;
            self.expect(item, kind, found)?;
            self.take_for(item, &read, kind)?;
            constants.push(constant);
        }
        Ok((Expression::OneOf(Box::new(read), constants), NameType::Boolean))
    }

    fn arithmetic(&mut self, name: &str, left: &IdedExpr, right: &IdedExpr) -> Compiled {
        let operator = arithmetic(name).expect("the caller has asked");
        let left = self.typed(left, NameType::Number)?;
        let divisor = self.typed(right, NameType::Number)?;
        let divides = matches!(operator, Arithmetic::Divide | Arithmetic::Remainder);
        if divides && divisor == Expression::Constant(Constant::Number(0.0)) {
            return Err(self.wrong(right, "the rule divides by zero", "write another divisor"));
        }
        Ok((Expression::Arithmetic(operator, Box::new(left), Box::new(divisor)), NameType::Number))
    }

    fn comparison(&mut self, name: &str, left: &IdedExpr, right: &IdedExpr) -> Compiled {
        let operator = comparison(name).expect("the caller has asked");
        if let Some(null) = self.with_null(operator, left, right)? {
            return Ok((null, NameType::Boolean));
        }
        let ordered = !matches!(operator, Comparison::Equal | Comparison::NotEqual);
        let (left_part, left_type) = self.compile(left)?;
        let (right_part, right_type) = self.compile(right)?;
        let wanted = match left_type {
            _ if ordered => NameType::Number,
            NameType::Any => right_type,
            known => known,
        };
        for (tree, part, found) in [(left, &left_part, left_type), (right, &right_part, right_type)] {
            self.expect(tree, found, wanted)?;
            self.take_for(tree, part, wanted)?;
        }
        Ok((Expression::Compare(operator, Box::new(left_part), Box::new(right_part)), NameType::Boolean))
    }

    /// `name == null` and `name != null` ask whether anything is known.
    fn with_null(&mut self, operator: Comparison, left: &IdedExpr, right: &IdedExpr) -> Result<Option<Expression>, RuleError> {
        let is_null = |tree: &IdedExpr| matches!(tree.expr, Expr::Literal(LiteralValue::Null));
        let named = match (is_null(left), is_null(right)) {
            (false, true) => left,
            (true, false) => right,
            _ => return Ok(None),
        };
        let path = self.path(named)?;
        let has = Expression::Has({
            let name = self.name(named, &path)?;
            self.names.slot(name)
        });
        match operator {
            Comparison::NotEqual => Ok(Some(has)),
            Comparison::Equal => Ok(Some(Expression::Not(Box::new(has)))),
            _ => Err(self.wrong(named, "`null` has no order", "write `!= null`")),
        }
    }

    fn method(&mut self, tree: &IdedExpr, call: &CallExpr, name: &str) -> Compiled {
        let target = call.target.as_deref().expect("the caller has asked");
        if matches!(&target.expr, Expr::Ident(root) if root == "history") {
            let query = self.history(tree, name, &call.args)?;
            return Ok((Expression::Read(self.names.slot(Name::History(query))), NameType::Number));
        }
        let test = match name {
            "startsWith" => TextTest::StartsWith,
            "endsWith" => TextTest::EndsWith,
            "contains" => TextTest::Contains,
            _ => return Err(self.unknown(tree, name, &["startsWith", "endsWith", "contains"])),
        };
        let [argument] = call.args.as_slice() else {
            return Err(self.wrong(tree, &format!("`{name}` has one argument"), "write it with one text"));
        };
        let left = self.typed(target, NameType::Text)?;
        let right = self.typed(argument, NameType::Text)?;
        Ok((Expression::Text(test, Box::new(left), Box::new(right)), NameType::Boolean))
    }

    fn history(&self, tree: &IdedExpr, name: &str, args: &[IdedExpr]) -> Result<HistoryQuery, RuleError> {
        match (name, args) {
            ("count", [days]) => Ok(HistoryQuery::Count { what: None, days: self.days(days)? }),
            ("count", [what, days]) => Ok(HistoryQuery::Count { what: Some(self.word(what)?), days: self.days(days)? }),
            ("days_since", []) => Ok(HistoryQuery::DaysSince { what: None }),
            ("days_since", [what]) => Ok(HistoryQuery::DaysSince { what: Some(self.word(what)?) }),
            ("outcomes", [event, days]) => {
                let word = self.word(event)?;
                let known = OutcomeEvent::ALL.map(OutcomeEvent::as_str);
                let event = word.parse().map_err(|_| self.unknown(event, &word, &known))?;
                Ok(HistoryQuery::Outcomes { event, days: self.days(days)? })
            }
            ("count" | "days_since" | "outcomes", _) => {
                let fix = "write `history.count(\"email\", 30)`, `history.days_since(\"call\")` or `history.outcomes(\"rejected\", 90)`";
                Err(self.wrong(tree, &format!("`history.{name}` has other arguments"), fix))
            }
            _ => Err(self.unknown(tree, name, &["count", "days_since", "outcomes"])),
        }
    }

    fn days(&self, tree: &IdedExpr) -> Result<u32, RuleError> {
        let number = match &tree.expr {
            Expr::Literal(LiteralValue::Int(days)) => *days.inner() as f64,
            _ => f64::NAN,
        };
        if (1.0..=MAX_DAYS).contains(&number) {
            return Ok(number as u32);
        }
        Err(self.wrong(
            tree,
            &format!("days should be a whole number from 1 to {MAX_DAYS}"),
            "write the days themselves, such as 30",
        ))
    }

    fn word(&self, tree: &IdedExpr) -> Result<String, RuleError> {
        match &tree.expr {
            Expr::Literal(LiteralValue::String(text)) if !text.inner().is_empty() => Ok(text.inner().to_owned()),
            _ => Err(self.wrong(tree, "this should be a text", "write the channel, action or outcome in quotes")),
        }
    }

    fn typed(&mut self, tree: &IdedExpr, wanted: NameType) -> Result<Expression, RuleError> {
        let (expression, found) = self.compile(tree)?;
        self.expect(tree, found, wanted)?;
        self.take_for(tree, &expression, wanted)?;
        Ok(expression)
    }

    /// Where a feature is read, this is what it is taken for, here and in every other rule.
    fn take_for(&mut self, tree: &IdedExpr, expression: &Expression, wanted: NameType) -> Result<(), RuleError> {
        let Expression::Read(slot) = expression else { return Ok(()) };
        if self.names.take_for(*slot, wanted) {
            return Ok(());
        }
        let what = format!(
            "`{}` is taken for {} here and for {} elsewhere",
            self.names.name(*slot),
            wanted.words(),
            self.names.value_type(*slot).words()
        );
        Err(self.wrong(tree, &what, "compare it with values of one kind"))
    }

    fn expect(&self, tree: &IdedExpr, found: NameType, wanted: NameType) -> Result<(), RuleError> {
        if found == wanted || found == NameType::Any || wanted == NameType::Any {
            return Ok(());
        }
        let what = format!("this is {} where {} belongs", found.words(), wanted.words());
        Err(self.wrong(tree, &what, "compare it with a value of its own kind"))
    }

    fn wrong(&self, tree: &IdedExpr, what: &str, fix: &str) -> RuleError {
        let offset = self.places.offset_for(tree.id).map_or(0, |(start, _)| start as usize);
        RuleError { offset, what: what.to_owned(), fix: fix.to_owned() }
    }

    fn unknown(&self, tree: &IdedExpr, found: &str, known: &[&str]) -> RuleError {
        let fix = match nearest(found, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")),
        };
        self.wrong(tree, &format!("`{}` is unknown here", shorten(found)), &fix)
    }
}

impl NameType {
    fn words(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Boolean => "yes or no",
            Self::Text => "a text",
            Self::Any => "anything",
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

fn arithmetic(name: &str) -> Option<Arithmetic> {
    match name {
        operators::ADD => Some(Arithmetic::Add),
        operators::SUBSTRACT => Some(Arithmetic::Subtract),
        operators::MULTIPLY => Some(Arithmetic::Multiply),
        operators::DIVIDE => Some(Arithmetic::Divide),
        operators::MODULO => Some(Arithmetic::Remainder),
        _ => None,
    }
}

fn comparison(name: &str) -> Option<Comparison> {
    match name {
        operators::EQUALS => Some(Comparison::Equal),
        operators::NOT_EQUALS => Some(Comparison::NotEqual),
        operators::LESS => Some(Comparison::Less),
        operators::LESS_EQUALS => Some(Comparison::AtMost),
        operators::GREATER => Some(Comparison::Greater),
        operators::GREATER_EQUALS => Some(Comparison::AtLeast),
        _ => None,
    }
}
