//! The kinds of values an expression works with, as far as they follow from what is declared.

use std::collections::BTreeMap;

use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators};
use cel::parser::Expression as Syntax;

use crate::domain::ValueType;

use super::references::path_of;
use super::{Expression, ExpressionError, Root, functions, on_large_stack};

/// The kind of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A number with a fraction.
    Float,
    /// A text.
    String,
    /// A list of anything.
    List,
    /// A map.
    Map,
    /// Known only when it is evaluated.
    #[default]
    Unknown,
}

impl Kind {
    /// As CEL and its messages spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "double",
            Self::String => "string",
            Self::List => "list",
            Self::Map => "map",
            Self::Unknown => "dyn",
        }
    }
    const fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }
    /// Whether a value of this kind may turn out to be of the other.
    #[must_use]
    pub fn may_be(self, other: Self) -> bool {
        self == other || self == Self::Unknown || other == Self::Unknown
    }
}

impl From<ValueType> for Kind {
    fn from(declared: ValueType) -> Self {
        match declared {
            ValueType::String => Self::String,
            ValueType::Int => Self::Int,
            ValueType::Float => Self::Float,
            ValueType::Bool => Self::Bool,
            ValueType::List => Self::List,
            ValueType::Map => Self::Map,
        }
    }
}

/// What is declared of the names that an expression may read; all others are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Inputs by name.
    pub inputs: BTreeMap<String, Kind>,
    /// Outputs by step and name.
    pub outputs: BTreeMap<(String, String), Kind>,
}

impl Expression {
    /// The kind of its value.
    ///
    /// # Errors
    /// `Types` where an operator or function cannot take what it is given, whatever the values are.
    pub fn kind(&self, kinds: &Kinds) -> Result<Kind, ExpressionError> {
        on_large_stack(|| Inference { kinds, bound: Vec::new() }.of(&self.syntax))
    }
}

struct Inference<'a> {
    kinds: &'a Kinds,
    /// Variables of the loops around this place, with the kinds of accumulators.
    bound: Vec<(&'a str, Kind)>,
}

impl<'a> Inference<'a> {
    fn of(&mut self, syntax: &'a Syntax) -> Result<Kind, ExpressionError> {
        let bound: Vec<&str> = self.bound.iter().map(|(name, _)| *name).collect();
        if let Some((root, path)) = path_of(syntax, &bound) {
            return Ok(self.declared(root, &path));
        }
        match &syntax.expr {
            Expr::Literal(literal) => Ok(match literal {
                LiteralValue::Boolean(_) => Kind::Bool,
                LiteralValue::Int(_) => Kind::Int,
                LiteralValue::Double(_) => Kind::Float,
                LiteralValue::String(_) => Kind::String,
                LiteralValue::UInt(_) | LiteralValue::Bytes(_) | LiteralValue::Null => Kind::Unknown,
            }),
            Expr::Ident(name) => Ok(self
                .bound
                .iter()
                .rev()
                .find(|(bound, _)| bound == name)
                .map_or(Kind::Unknown, |(_, kind)| *kind)),
            Expr::Select(select) => {
                self.of(&select.operand)?;
                Ok(if select.test { Kind::Bool } else { Kind::Unknown })
            }
            Expr::List(list) => {
                list.elements.iter().try_for_each(|element| self.of(element).map(|_| ()))?;
                Ok(Kind::List)
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.of(&entry.key)?;
                        self.of(&entry.value)?;
                    }
                }
                Ok(Kind::Map)
            }
            Expr::Comprehension(turn) => {
                let range = self.of(&turn.iter_range)?;
                if !(range.may_be(Kind::List) || range.may_be(Kind::Map)) {
                    return Err(wrong("a loop", &[range]));
                }
                let accumulator = self.of(&turn.accu_init)?;
                let outside = self.bound.len();
                self.bound.push((&turn.accu_var, accumulator));
                self.bound.push((&turn.iter_var, Kind::Unknown));
                let result = self.of(&turn.loop_step).and_then(|_| self.of(&turn.result));
                self.bound.truncate(outside);
                result
            }
            Expr::Call(call) => self.call(call),
            Expr::Struct(_) | Expr::Unspecified => Ok(Kind::Unknown),
        }
    }

    fn declared(&self, root: Root, path: &[&str]) -> Kind {
        match (root, path) {
            (Root::Inputs, [input]) => self.kinds.inputs.get(*input).copied().unwrap_or_default(),
            (Root::Steps, [_, "status"]) => Kind::String,
            (Root::Steps, [step, "outputs", output]) => {
                let name = ((*step).to_owned(), (*output).to_owned());
                self.kinds.outputs.get(&name).copied().unwrap_or_default()
            }
            (Root::Trigger, ["kind" | "time" | "commit"]) | (Root::Run, [_]) | (Root::Tenant, ["id"]) => {
                Kind::String
            }
            (Root::Inputs | Root::Steps | Root::Trigger | Root::Run | Root::Tenant, []) => Kind::Map,
            _ => Kind::Unknown,
        }
    }

    fn call(&mut self, call: &'a CallExpr) -> Result<Kind, ExpressionError> {
        let operands: Vec<Kind> = call
            .target
            .iter()
            .map(|target| &**target)
            .chain(&call.args)
            .map(|operand| self.of(operand))
            .collect::<Result<_, _>>()?;
        let name = call.func_name.as_str();
        let need = |holds: bool| if holds { Ok(()) } else { Err(wrong(name, &operands)) };
        match (name, operands.as_slice()) {
            (operators::CONDITIONAL, [condition, yes, no]) => {
                need(condition.may_be(Kind::Bool))?;
                Ok(if yes == no { *yes } else { Kind::Unknown })
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [left, right]) => {
                need(left.may_be(Kind::Bool) && right.may_be(Kind::Bool)).map(|()| Kind::Bool)
            }
            (operators::LOGICAL_NOT, [one]) => need(one.may_be(Kind::Bool)).map(|()| Kind::Bool),
            (operators::EQUALS | operators::NOT_EQUALS, _) => Ok(Kind::Bool),
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [left, right],
            ) => {
                let numbers = left.is_number() && right.is_number();
                let ordered = |kind: Kind| !matches!(kind, Kind::List | Kind::Map);
                need(numbers || (left.may_be(*right) && ordered(*left) && ordered(*right)))
                    .map(|()| Kind::Bool)
            }
            (operators::ADD, [left, right]) => {
                let added = |kind: Kind| !matches!(kind, Kind::Bool | Kind::Map);
                need(left.may_be(*right) && added(*left) && added(*right))?;
                Ok(if left == right { *left } else { Kind::Unknown })
            }
            (operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE, [left, right]) => {
                let number = |kind: Kind| kind.is_number() || kind == Kind::Unknown;
                need(left.may_be(*right) && number(*left) && number(*right))?;
                Ok(if left == right { *left } else { Kind::Unknown })
            }
            (operators::MODULO, [left, right]) => {
                need(left.may_be(Kind::Int) && right.may_be(Kind::Int))?;
                Ok(if left == right { *left } else { Kind::Unknown })
            }
            (operators::NEGATE, [one]) => need(one.is_number() || *one == Kind::Unknown).map(|()| *one),
            (operators::IN, [_, right]) => {
                need(right.may_be(Kind::List) || right.may_be(Kind::Map)).map(|()| Kind::Bool)
            }
            (operators::INDEX, [left, _]) => {
                need(left.may_be(Kind::List) || left.may_be(Kind::Map)).map(|()| Kind::Unknown)
            }
            ("size", [one]) => need(!one.is_number() && *one != Kind::Bool).map(|()| Kind::Int),
            ("contains" | "startsWith" | "endsWith" | "matches", [text, part]) => {
                need(text.may_be(Kind::String) && part.may_be(Kind::String)).map(|()| Kind::Bool)
            }
            ("day", [time, offset, ..]) => {
                need(time.may_be(Kind::String) && offset.may_be(Kind::Int)).map(|()| Kind::String)
            }
            ("int", _) => Ok(Kind::Int),
            ("double", _) => Ok(Kind::Float),
            ("string", _) => Ok(Kind::String),
            ("bool", _) | (operators::NOT_STRICTLY_FALSE, _) => Ok(Kind::Bool),
            _ => Ok(Kind::Unknown),
        }
    }
}

fn wrong(function: &str, operands: &[Kind]) -> ExpressionError {
    let types: Vec<&str> = operands.iter().map(|kind| kind.as_str()).collect();
    ExpressionError::Types { function: functions::shown(function), types: format!("({})", types.join(", ")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::expression::Scope;

    fn kinds() -> Kinds {
        let inputs = [
            ("day", Kind::String),
            ("count", Kind::Int),
            ("rate", Kind::Float),
            ("wanted", Kind::Bool),
            ("names", Kind::List),
        ];
        Kinds {
            inputs: inputs.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect(),
            outputs: BTreeMap::from([(("pull".into(), "customers".into()), Kind::List)]),
        }
    }

    #[track_caller]
    fn check(text: &str, want: Result<Kind, &str>) {
        let got = Expression::parse(text).expect(text).kind(&kinds());
        assert_eq!(got.map_err(|cause| cause.to_string()), want.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn kinds_follow_from_what_is_declared() {
        check("inputs.count + 1", Ok(Kind::Int));
        check("inputs['rate'] * 2.0", Ok(Kind::Float));
        check("inputs.day + '!'", Ok(Kind::String));
        check("inputs.count > 0.5 && !inputs.wanted", Ok(Kind::Bool));
        check("steps.pull.outputs.customers.filter(c, c.id > 1)", Ok(Kind::List));
        check("steps.pull.outputs.customers.all(c, c.id > 1)", Ok(Kind::Bool));
        check("inputs.names.exists_one(n, n == 'x')", Ok(Kind::Bool));
        check("steps.pull.outputs.other", Ok(Kind::Unknown));
        check("item.id + 1", Ok(Kind::Unknown));
        check("size(inputs.names) + size('x')", Ok(Kind::Int));
        check("inputs.wanted ? 1 : 2", Ok(Kind::Int));
        check("inputs.wanted ? 1 : 'x'", Ok(Kind::Unknown));
        check("day(trigger.time, -1)", Ok(Kind::String));
        check("{'a': 1}", Ok(Kind::Map));
        check("has(inputs.day)", Ok(Kind::Bool));
        check("inputs.names[0] == 'x'", Ok(Kind::Bool));
        check("null == inputs.day", Ok(Kind::Bool));
    }

    #[test]
    fn what_can_never_work_is_found() {
        check("inputs.day + 1", Err("`+` does not take (string, int)"));
        check("inputs.count + 1.5", Err("`+` does not take (int, double)"));
        check("inputs.count && true", Err("`&&` does not take (int, bool)"));
        check("!inputs.day", Err("`!` does not take (string)"));
        check("inputs.day > 1", Err("`>` does not take (string, int)"));
        check("inputs.count.contains('1')", Err("`contains` does not take (int, string)"));
        check("[1].map(x, inputs.day - x)", Err("`-` does not take (string, dyn)"));
        check("inputs.count.all(x, true)", Err("`a loop` does not take (int)"));
        check("inputs.count ? 1 : 2", Err("`? :` does not take (int, int, int)"));
        check("1 in inputs.day", Err("`in` does not take (int, string)"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        /// What has a value has the kind that was found, and is never said to be impossible.
        #[test]
        fn what_evaluates_has_its_kind(tokens in prop::collection::vec(prop::sample::select(vec![
            "inputs.day", "inputs.count", "inputs.rate", "inputs.wanted", "inputs.names", "1", "2.5", "'a'", "true", "[1]", "{'a': 1}",
            " + ", " - ", " * ", " == ", " > ", " && ", " || ", " in ", " ? ", " : ", "!", "-", "(", ")", "size(", ".contains(", "[0]",
        ]), 1..8)) {
            let Ok(expression) = Expression::parse(&tokens.concat()) else { return Ok(()) };
            let inputs = json!({"day": "x", "count": 3, "rate": 1.5, "wanted": true, "names": ["x"]});
            let Ok(value) = expression.evaluate(&Scope::default().with(Root::Inputs, inputs)) else { return Ok(()) };
            let kind = expression.kind(&kinds());
            let got = match value {
                serde_json::Value::Bool(_) => Kind::Bool,
                serde_json::Value::Number(number) if number.is_f64() => Kind::Float,
                serde_json::Value::Number(_) => Kind::Int,
                serde_json::Value::String(_) => Kind::String,
                serde_json::Value::Array(_) => Kind::List,
                serde_json::Value::Object(_) => Kind::Map,
                serde_json::Value::Null => Kind::Unknown,
            };
            // `true || 'a'` has a value though its right side never could: only certain results are compared.
            if let Ok(kind) = kind {
                prop_assert!(kind.may_be(got), "{} is {:?}, found {:?}", expression, got, kind);
            } else {
                let text = expression.text();
                prop_assert!(text.contains("||") || text.contains("&&") || text.contains('?'), "{}: {:?}", text, kind);
            }
        }
    }
}
