//! CEL over declared names: what an expression may see, checked before it runs, evaluated on a large stack.
//!
//! An expression reads `inputs`, `steps`, `item`, `trigger`, `run` and `tenant`, nothing else. It is bounded four
//! times: characters and nesting before it is parsed, the cost of evaluating it (every operand is charged its size,
//! every turn of a loop too), and the size of its result. Runs on a stack of its own: the parser recurses, and a deep
//! expression must not end the daemon.
//!
//! Deliberately absent: secrets (a step declares them, no expression reads them), time and randomness
//! (`trigger.time` is a value like any other), timestamps and durations as types, and everything CEL marks optional.

mod fuel;
mod functions;
mod parsed;
mod references;
mod template;
mod types;
mod values;

pub use parsed::Parsed;
pub use references::{References, StepReference};
pub use template::{Template, TemplateError, whole_input};
pub use types::{Kind, Kinds};

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::common::ast::SourceInfo;
use cel::parser::{Expression as Syntax, ParseErrors};
use cel::{Context, Env, ExecutionError};
use serde::{Deserialize, Serialize};

/// Characters of the longest expression.
pub const EXPRESSION_CHARS_MAX: usize = 2_000;
/// Brackets of any kind that may stand inside each other.
pub const NESTING_MAX: usize = 24;
/// Operators, dots and opening brackets of one expression: each may be one more frame of the parser's stack.
pub const PARTS_MAX: usize = 300;
/// Bytes of the largest result, as JSON.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of stack that reading an expression may take. Reserved, not used: the system commits pages when they are
/// touched. A thread with this much left works on its own stack, any other one on a stack made for each expression.
pub const STACK_BYTES: usize = 64 * 1024 * 1024;

/// One of the names that an expression may start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Root {
    /// The run's inputs by name.
    Inputs,
    /// The steps that ended, each with `status` and `outputs`.
    Steps,
    /// The element that a `for_each` step is at.
    Item,
    /// What started the run: `kind`, `time`, `commit`, `body`.
    Trigger,
    /// The run: `id`, `workflow`, `commit`.
    Run,
    /// The tenant: `id`, `environment`.
    Tenant,
}

impl Root {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 6] =
        [Self::Inputs, Self::Steps, Self::Item, Self::Trigger, Self::Run, Self::Tenant];

    /// The name as written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Steps => "steps",
            Self::Item => "item",
            Self::Trigger => "trigger",
            Self::Run => "run",
            Self::Tenant => "tenant",
        }
    }

    /// The fields it always has; `None` where the workflow decides.
    #[must_use]
    pub const fn fields(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Inputs | Self::Steps | Self::Item => None,
            Self::Trigger => Some(&["kind", "time", "commit", "body"]),
            Self::Run => Some(&["id", "workflow", "commit"]),
            Self::Tenant => Some(&["id", "environment"]),
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|root| root.as_str() == name)
    }
}

/// The values an expression reads; a root that was not set is unknown to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope(BTreeMap<Root, serde_json::Value>);

impl Scope {
    /// Puts a value under a root, in place of the one before.
    #[must_use]
    pub fn with(mut self, root: Root, value: serde_json::Value) -> Self {
        self.0.insert(root, value);
        self
    }
    fn get(&self, root: Root) -> Option<&serde_json::Value> {
        self.0.get(&root)
    }
}

/// Why a text is no expression, or why one has no value. Messages never hold a value, only names and types.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Nothing but space.
    #[error("an expression cannot be empty")]
    Empty,
    /// More than [`EXPRESSION_CHARS_MAX`] characters.
    #[error("an expression has at most {EXPRESSION_CHARS_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// More than [`NESTING_MAX`] brackets inside each other.
    #[error("an expression nests at most {NESTING_MAX} brackets deep")]
    TooDeep {
        /// Bytes before the bracket that is one too many.
        offset: usize,
    },
    /// More than [`PARTS_MAX`] operators, dots and brackets.
    #[error("an expression has at most {PARTS_MAX} operators, dots and brackets")]
    TooManyParts,
    /// Not the syntax of CEL.
    #[error("{message}")]
    Syntax {
        /// What the parser expected.
        message: String,
        /// Bytes before the place.
        offset: usize,
    },
    /// A name that is no root and no variable of a loop.
    #[error("unknown name `{name}`")]
    UnknownName {
        /// As written.
        name: String,
        /// Bytes before the name.
        offset: usize,
    },
    /// A function that CEL and this room do not have.
    #[error("unknown function `{name}`")]
    UnknownFunction {
        /// As written.
        name: String,
        /// Bytes before the call.
        offset: usize,
    },
    /// A field that the value does not have.
    #[error("no field `{0}`")]
    NoField(String),
    /// A field whose name is itself a value: it is not shown.
    #[error("a field that does not exist")]
    NoSuchField,
    /// An operator or function with values of types it does not take.
    #[error("`{function}` does not take {types}")]
    Types {
        /// As written.
        function: String,
        /// For instance `(int, string)`.
        types: String,
    },
    /// Division, index, overflow and the like, in words.
    #[error("{0}")]
    Evaluation(&'static str),
    /// The cost of evaluating is above its bound.
    #[error("the expression does too much work; let a step do it")]
    TooCostly,
    /// The result is above [`RESULT_BYTES_MAX`].
    #[error("the result has more than {RESULT_BYTES_MAX} bytes")]
    TooLarge,
    /// The result is of a kind that JSON does not have.
    #[error("the result is {0}, which has no JSON form")]
    NotJson(&'static str),
    /// A condition that is neither true nor false.
    #[error("a condition is true or false, this one is {0}")]
    NotBool(&'static str),
    /// A list or map inside a text.
    #[error("only a text, a number, true or false may stand inside a text, not {0}")]
    NotScalar(&'static str),
    /// The parser or the evaluator failed in a way it should not.
    #[error("the expression could not be evaluated")]
    Crashed,
}

impl ExpressionError {
    /// Bytes before the place in the expression, where one can be told.
    #[must_use]
    pub const fn offset(&self) -> Option<usize> {
        match self {
            Self::TooDeep { offset }
            | Self::Syntax { offset, .. }
            | Self::UnknownName { offset, .. }
            | Self::UnknownFunction { offset, .. } => Some(*offset),
            _ => None,
        }
    }

    /// The cure, where one is known.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownName { name, .. } if name == "secrets" => Some(
                "no expression reads a secret; declare it in the step's `secrets:` and the script gets it"
                    .into(),
            ),
            Self::UnknownName { .. } => {
                let names: Vec<_> = Root::ALL.iter().map(|root| format!("`{}`", root.as_str())).collect();
                Some(format!("an expression starts from {}", names.join(", ")))
            }
            Self::UnknownFunction { .. } => Some(format!("functions: {}", functions::NAMES.join(", "))),
            _ => None,
        }
    }
}

/// A text that was parsed and whose names were checked; evaluating it needs a [`Scope`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression {
    text: String,
    syntax: Arc<Syntax>,
    references: References,
}

impl Expression {
    /// Parses and checks a text.
    ///
    /// # Errors
    /// Every bound, mistake of syntax, and name that no [`Scope`] could have.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        check_bounds(text)?;
        let (syntax, references) = on_large_stack(|| {
            let (syntax, source) = read(text)?;
            let references = references::of(&syntax, &source)?;
            Ok((Arc::new(syntax), references))
        })?;
        Ok(Self { text: text.to_owned(), syntax, references })
    }

    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Which inputs, steps and outputs it reads.
    #[must_use]
    pub const fn references(&self) -> &References {
        &self.references
    }

    /// Evaluates against the values of `scope`.
    ///
    /// # Errors
    /// A missing field, types that do not fit, or a bound; none of the messages holds a value.
    pub fn evaluate(&self, scope: &Scope) -> Result<serde_json::Value, ExpressionError> {
        let result = on_large_stack(|| {
            let syntax = fuel::charged(Syntax::clone(&self.syntax));
            let mut context = Context::with_env(Arc::new(environment()));
            context.add_variable_as_val(fuel::VARIABLE, Box::new(fuel::Fuel::full()));
            for root in Root::ALL {
                if let Some(value) = scope.get(root).and_then(|value| self.references.needed(root, value)) {
                    context.add_variable_from_value(root.as_str(), values::to_cel(&value));
                }
            }
            let value = cel::Value::resolve_val(&syntax, &context).map_err(|cause| self.plain(&cause))?;
            // Charged before it is copied out, so that a result cannot grow past the fuel.
            fuel::charge_result(&context, value.as_ref()).map_err(|cause| self.plain(&cause))?;
            let value = cel::Value::try_from(value.as_ref()).map_err(|cause| self.plain(&cause))?;
            values::to_json(&value)
        })?;
        match serde_json::to_vec(&result) {
            Ok(bytes) if bytes.len() <= RESULT_BYTES_MAX => Ok(result),
            _ => Err(ExpressionError::TooLarge),
        }
    }

    /// Evaluates a condition.
    ///
    /// # Errors
    /// As [`Expression::evaluate`]; `NotBool` for anything but true and false.
    pub fn test(&self, scope: &Scope) -> Result<bool, ExpressionError> {
        match self.evaluate(scope)? {
            serde_json::Value::Bool(answer) => Ok(answer),
            other => Err(ExpressionError::NotBool(values::kind(&other))),
        }
    }

    /// Says what went wrong without the values that the evaluator's own messages hold.
    fn plain(&self, cause: &ExecutionError) -> ExpressionError {
        match cause {
            ExecutionError::NoSuchKey(key) | ExecutionError::UndeclaredReference(key) => {
                if self.text.contains(key.as_str()) {
                    ExpressionError::NoField(key.to_string())
                } else {
                    ExpressionError::NoSuchField
                }
            }
            ExecutionError::NoSuchOverload(overload) => ExpressionError::Types {
                function: functions::shown(overload.function()),
                types: format!("({})", overload.argument_types().join(", ")),
            },
            ExecutionError::UnsupportedBinaryOperator(operator, left, right) => ExpressionError::Types {
                function: functions::shown(operator),
                types: format!("({}, {})", left.type_of(), right.type_of()),
            },
            ExecutionError::UnexpectedType { got, want } => {
                ExpressionError::Types { function: functions::shown(want), types: functions::shown(got) }
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                ExpressionError::Evaluation("division by zero")
            }
            ExecutionError::Overflow(..) => ExpressionError::Evaluation("a number is out of range"),
            ExecutionError::IndexOutOfBounds(_) => {
                ExpressionError::Evaluation("an index is past the end of its list")
            }
            ExecutionError::DuplicateKey(_) => ExpressionError::Evaluation("a map has the same key twice"),
            ExecutionError::FunctionError { function, .. } if function == fuel::CHARGE => {
                ExpressionError::TooCostly
            }
            ExecutionError::FunctionError { function, .. } => functions::failure(function),
            ExecutionError::UnsupportedKeyType(_) => {
                ExpressionError::Evaluation("a key of a map is a text, a number or true or false")
            }
            _ => ExpressionError::Evaluation("the types do not fit"),
        }
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for Expression {}
impl TryFrom<String> for Expression {
    type Error = ExpressionError;
    fn try_from(text: String) -> Result<Self, ExpressionError> {
        Self::parse(&text)
    }
}
impl From<Expression> for String {
    fn from(expression: Expression) -> Self {
        expression.text
    }
}
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The standard library without its optional part, our own functions, and the charge.
fn environment() -> Env {
    let mut environment = Env::default().with_optional_support(false).with_stdlib();
    for step in [functions::declare, fuel::declare] {
        // INVARIANT: the names are ours and declared once; a test evaluates each of them.
        step(&mut environment).unwrap_or_else(|cause| unreachable!("{cause}"));
    }
    environment
}

fn read(text: &str) -> Result<(Syntax, SourceInfo), ExpressionError> {
    cel::parser::Parser::new().parse_with_source_info(text).map_err(|errors| syntax_error(text, &errors))
}

/// The first mistake, with lines and columns turned into bytes.
fn syntax_error(text: &str, errors: &ParseErrors) -> ExpressionError {
    let Some(first) = errors.errors.first() else {
        return ExpressionError::Syntax { message: "not an expression".into(), offset: 0 };
    };
    let line = usize::try_from(first.pos.0).unwrap_or(1).max(1);
    let column = usize::try_from(first.pos.1).unwrap_or(1).max(1);
    let before: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = text.get(before..).unwrap_or("");
    let offset = before + rest.chars().take(column - 1).map(char::len_utf8).sum::<usize>();
    // The parser names its tokens; the first clause is enough, and the place says the rest.
    let message = if first.msg.contains("recursion") {
        "too many parts inside each other".to_owned()
    } else {
        match text[offset..].chars().next() {
            Some(found) => format!("`{found}` is not expected here"),
            None => "something is missing at the end".to_owned(),
        }
    };
    ExpressionError::Syntax { message, offset }
}

/// Length, parts and nesting, before anything recurses.
fn check_bounds(text: &str) -> Result<(), ExpressionError> {
    if text.trim().is_empty() {
        return Err(ExpressionError::Empty);
    }
    let chars = text.chars().count();
    if chars > EXPRESSION_CHARS_MAX {
        return Err(ExpressionError::TooLong(chars));
    }
    // What stands in a text literal counts too: telling literals apart is the parser's work, which has not run yet.
    let part = |character: &char| ".+-*/%!<>=&|?([{".contains(*character);
    if text.chars().filter(part).count() > PARTS_MAX {
        return Err(ExpressionError::TooManyParts);
    }
    let mut depth = 0_usize;
    for (offset, character) in text.char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            return Err(ExpressionError::TooDeep { offset });
        }
    }
    Ok(())
}

/// Runs `work` on a large stack; a panic in it is an error of the expression.
///
/// Where the thread has too little left, another stack on the same thread: starting a thread took longer than most
/// expressions, and a fleet has many.
fn on_large_stack<T>(work: impl FnOnce() -> Result<T, ExpressionError>) -> Result<T, ExpressionError> {
    stacker::maybe_grow(STACK_BYTES, STACK_BYTES, || catch_unwind(AssertUnwindSafe(work)))
        .map_err(|_| ExpressionError::Crashed)?
}

#[cfg(test)]
mod tests;
