//! Which names an expression reads, so that `validate` finds the ones that nobody declares.

use std::collections::BTreeSet;

use cel::common::ast::{EntryExpr, Expr, LiteralValue, SourceInfo, operators};
use cel::parser::Expression as Syntax;
use serde_json::{Map, Value};

use super::{ExpressionError, Root, functions};

/// A use of `steps`: the step and, where one is named, the output.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepReference {
    /// As written after `steps.`.
    pub step: String,
    /// `outputs` or `status`; `None` where the step is used as a whole.
    pub field: Option<String>,
    /// As written after `.outputs.`; `None` where all outputs are used, or another field.
    pub output: Option<String>,
}

/// The names that an expression reads. A name that is computed cannot be listed: its root is in `computed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Inputs by name.
    pub inputs: BTreeSet<String>,
    /// Steps and their outputs.
    pub steps: BTreeSet<StepReference>,
    /// Fields of `trigger`, `run` and `tenant`.
    pub fields: BTreeSet<(Root, String)>,
    /// Roots used at all.
    pub roots: BTreeSet<Root>,
    /// Roots of which any part may be read, as in `inputs[item]`.
    pub computed: BTreeSet<Root>,
}

impl References {
    /// Adds those of another expression.
    pub fn merge(&mut self, other: &Self) {
        self.inputs.extend(other.inputs.iter().cloned());
        self.steps.extend(other.steps.iter().cloned());
        self.fields.extend(other.fields.iter().cloned());
        self.roots.extend(&other.roots);
        self.computed.extend(&other.computed);
    }

    /// The part of a root's value that is read; `None` if the root is not used.
    pub(super) fn needed(&self, root: Root, value: &Value) -> Option<Value> {
        if !self.roots.contains(&root) {
            return None;
        }
        if self.computed.contains(&root) || root == Root::Item {
            return Some(value.clone());
        }
        let Value::Object(fields) = value else { return Some(value.clone()) };
        let kept: Map<String, Value> = fields
            .iter()
            .filter(|(name, _)| match root {
                Root::Inputs => self.inputs.contains(*name),
                Root::Steps => self.steps.iter().any(|used| used.step == **name),
                _ => self.fields.contains(&(root, (*name).clone())),
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Some(Value::Object(kept))
    }
}

/// Walks a tree once.
pub(super) fn of(syntax: &Syntax, source: &SourceInfo) -> Result<References, ExpressionError> {
    let mut walk = Walk { source, found: References::default(), bound: Vec::new() };
    walk.visit(syntax)?;
    Ok(walk.found)
}

struct Walk<'a> {
    source: &'a SourceInfo,
    found: References,
    /// Variables of the loops around this place.
    bound: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    fn offset(&self, syntax: &Syntax) -> usize {
        self.source.offset_for(syntax.id).map_or(0, |(start, _)| start as usize)
    }

    fn visit(&mut self, syntax: &'a Syntax) -> Result<(), ExpressionError> {
        if let Some((root, path)) = path_of(syntax, &self.bound) {
            self.note(root, &path);
            return Ok(());
        }
        match &syntax.expr {
            Expr::Ident(name) => self.visit_name(syntax, name),
            // `has(inputs.day)` reads a name that must exist as much as `inputs.day` does.
            Expr::Select(select) => match path_of(&select.operand, &self.bound) {
                Some((root, mut path)) if select.test => {
                    path.push(&select.field);
                    self.note(root, &path);
                    Ok(())
                }
                _ => self.visit(&select.operand),
            },
            Expr::Call(call) => {
                if !functions::known(&call.func_name) {
                    let name = call.func_name.clone();
                    return Err(ExpressionError::UnknownFunction { name, offset: self.offset(syntax) });
                }
                call.target.iter().try_for_each(|target| self.visit(target))?;
                call.args.iter().try_for_each(|operand| self.visit(operand))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.visit(element)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key)?;
                    self.visit(&entry.value)
                }
                EntryExpr::StructField(field) => self.visit(&field.value),
            }),
            Expr::Comprehension(turn) => {
                self.visit(&turn.iter_range)?;
                self.visit(&turn.accu_init)?;
                let outside = self.bound.len();
                self.bound.push(&turn.accu_var);
                self.bound.push(&turn.iter_var);
                self.bound.extend(turn.iter_var2.as_deref());
                let inside = [&turn.loop_cond, &turn.loop_step, &turn.result];
                let result = inside.into_iter().try_for_each(|part| self.visit(part));
                self.bound.truncate(outside);
                result
            }
            Expr::Struct(message) => {
                let name = message.type_name.clone();
                Err(ExpressionError::UnknownName { name, offset: self.offset(syntax) })
            }
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
        }
    }

    fn visit_name(&mut self, syntax: &Syntax, name: &str) -> Result<(), ExpressionError> {
        const TYPES: [&str; 10] =
            ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
        if self.bound.contains(&name) || TYPES.contains(&name) {
            return Ok(());
        }
        Err(ExpressionError::UnknownName { name: name.to_owned(), offset: self.offset(syntax) })
    }

    fn note(&mut self, root: Root, path: &[&str]) {
        self.found.roots.insert(root);
        let name = |place: usize| path.get(place).map(|name| (*name).to_owned());
        match (root, name(0)) {
            (Root::Item, _) => {}
            (_, None) => {
                self.found.computed.insert(root);
            }
            (Root::Inputs, Some(input)) => {
                self.found.inputs.insert(input);
            }
            (Root::Steps, Some(step)) => {
                let field = name(1);
                let output = if field.as_deref() == Some("outputs") { name(2) } else { None };
                self.found.steps.insert(StepReference { step, field, output });
            }
            (_, Some(field)) => {
                self.found.fields.insert((root, field));
            }
        }
    }
}

/// `inputs.day` and `inputs["day"]` as a root and the names after it; `None` for anything else, and for an index that is
/// computed: its parts are looked at on their own.
pub(super) fn path_of<'a>(syntax: &'a Syntax, bound: &[&str]) -> Option<(Root, Vec<&'a str>)> {
    match &syntax.expr {
        Expr::Ident(name) if !bound.contains(&name.as_str()) => {
            Root::from_name(name).map(|root| (root, Vec::new()))
        }
        Expr::Select(select) if !select.test => {
            let (root, mut path) = path_of(&select.operand, bound)?;
            path.push(&select.field);
            Some((root, path))
        }
        Expr::Call(call) if call.func_name == operators::INDEX && call.args.len() == 2 => {
            let Expr::Literal(LiteralValue::String(name)) = &call.args[1].expr else { return None };
            let (root, mut path) = path_of(&call.args[0], bound)?;
            path.push(name.inner());
            Some((root, path))
        }
        _ => None,
    }
}
