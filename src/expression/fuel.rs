//! The cost of an evaluation: every operand and every turn of a loop is charged before it is used.
//!
//! The evaluator has no limit of its own, so the syntax tree is rewritten: an operand `x` becomes a call that charges
//! the size of `x` and hands it on. A list that doubles itself, or a loop in a loop, then fails within the bound
//! of [`FUEL`] units. The call's name starts with `@`, which nobody can write.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::common::ast::{CallExpr, EntryExpr, Expr, operators};
use cel::common::types::{CelBytes, CelList, CelMap, CelString, DYN_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::parser::Expression as Syntax;
use cel::{Context, DeclarationError, Env, ExecutionError};

/// Units one evaluation has: one for an operand, and one for each 16 bytes or element of it.
pub(super) const FUEL: u64 = 400_000;
/// The function that charges.
pub(super) const CHARGE: &str = "@charge";
/// The variable that holds what is left.
pub(super) const VARIABLE: &str = "@fuel";
/// A regular expression is compiled at each use; compiling costs more than its length says.
const MATCHES_UNITS: u64 = 2_000;

static FUEL_TYPE: Type = Type::new_unspecified_type("@fuel");

/// What is left for one evaluation.
#[derive(Debug)]
pub(super) struct Fuel(AtomicU64);

impl Fuel {
    pub(super) fn full() -> Self {
        Self(AtomicU64::new(FUEL))
    }
    fn take(&self, units: u64) -> Result<(), ExecutionError> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(units));
        if taken.is_err() {
            // Once out, it stays out: `error || true` must not go on.
            self.0.store(0, Ordering::Relaxed);
            return Err(ExecutionError::function_error(CHARGE, "out of fuel"));
        }
        Ok(())
    }
}
impl Val for Fuel {
    fn get_type(&self) -> &Type {
        &FUEL_TYPE
    }
    fn cel_type() -> &'static Type {
        &FUEL_TYPE
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(Self(AtomicU64::new(self.0.load(Ordering::Relaxed))))
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
impl StaticVal for Fuel {}

/// Declares the charge: `@charge(fuel, value)` and, for what costs more than its size, `@charge(fuel, value, units)`.
pub(super) fn declare(environment: &mut Env) -> Result<(), DeclarationError> {
    environment.add_overload(CHARGE, "charge", vec![DYN_TYPE, DYN_TYPE], charge)?;
    environment.add_overload(CHARGE, "charge_matches", vec![DYN_TYPE, DYN_TYPE, DYN_TYPE], charge)
}

fn charge<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let extra = if args.len() == 3 { MATCHES_UNITS } else { 0 };
    let mut args = args.into_iter();
    let (Some(fuel), Some(value)) = (args.next(), args.next()) else {
        return Err(ExecutionError::MissingArgumentOrTarget);
    };
    let fuel = fuel.downcast_ref::<Fuel>().ok_or(ExecutionError::MissingArgumentOrTarget)?;
    fuel.take(extra)?;
    size(value.as_ref(), &mut |units| fuel.take(units))?;
    Ok(value)
}

/// Charges the result, which is nobody's operand.
pub(super) fn charge_result(context: &Context<'_, '_>, value: &dyn Val) -> Result<(), ExecutionError> {
    let fuel = context.get_variable(VARIABLE).ok_or(ExecutionError::MissingArgumentOrTarget)?;
    let fuel = fuel.downcast_ref::<Fuel>().ok_or(ExecutionError::MissingArgumentOrTarget)?;
    size(value, &mut |units| fuel.take(units))
}

/// Walks a value and stops at the unit that is not there.
fn size(
    value: &dyn Val,
    take: &mut impl FnMut(u64) -> Result<(), ExecutionError>,
) -> Result<(), ExecutionError> {
    let bytes = |bytes: usize| 1 + (bytes as u64) / 16;
    if let Some(text) = value.downcast_ref::<CelString>() {
        take(bytes(text.inner().len()))
    } else if let Some(data) = value.downcast_ref::<CelBytes>() {
        take(bytes(data.inner().len()))
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        take(1)?;
        list.inner().iter().try_for_each(|element| size(element.as_ref(), take))
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        take(1)?;
        map.inner().iter().try_for_each(|(key, element)| {
            size(key.inner(), take)?;
            size(element.as_ref(), take)
        })
    } else {
        take(1)
    }
}

/// Rewrites a tree so that its evaluation is charged.
pub(super) fn charged(mut syntax: Syntax) -> Syntax {
    rewrite(&mut syntax);
    syntax
}

fn rewrite(syntax: &mut Syntax) {
    match &mut syntax.expr {
        Expr::Call(call) => rewrite_call(call),
        Expr::List(list) => list.elements.iter_mut().for_each(wrap),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                match &mut entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        wrap(&mut entry.key);
                        wrap(&mut entry.value);
                    }
                    EntryExpr::StructField(field) => wrap(&mut field.value),
                }
            }
        }
        Expr::Select(select) => rewrite(&mut select.operand),
        Expr::Comprehension(turn) => {
            wrap(&mut turn.iter_range);
            rewrite(&mut turn.accu_init);
            rewrite(&mut turn.loop_cond);
            rewrite(&mut turn.loop_step);
            rewrite(&mut turn.result);
        }
        Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn rewrite_call(call: &mut CallExpr) {
    // What is only looked into is not charged: indexing borrows.
    let looked_into = call.func_name == operators::INDEX;
    let chosen = call.func_name == operators::CONDITIONAL;
    let matches = call.func_name == "matches";
    if let Some(target) = &mut call.target {
        wrap(target);
    }
    for (place, operand) in call.args.iter_mut().enumerate() {
        if (looked_into && place == 0) || (chosen && place > 0) {
            rewrite(operand);
        } else {
            wrap(operand);
            if matches && let Expr::Call(charge) = &mut operand.expr {
                charge.args.push(ident(VARIABLE));
            }
        }
    }
}

/// Charges an operand. An accumulator is left alone: the evaluator appends to it in place when it sees one. So is a
/// list or map literal: its parts are charged.
fn wrap(operand: &mut Syntax) {
    rewrite(operand);
    match &operand.expr {
        Expr::Ident(name) if name.starts_with('@') => return,
        Expr::List(list) if !list.elements.is_empty() => return,
        Expr::Map(map) if !map.entries.is_empty() => return,
        _ => {}
    }
    let id = operand.id;
    let inner = std::mem::take(operand);
    *operand = Syntax {
        id,
        expr: Expr::Call(CallExpr {
            func_name: CHARGE.to_owned(),
            target: None,
            args: vec![ident(VARIABLE), inner],
        }),
    };
}

fn ident(name: &str) -> Syntax {
    Syntax { id: 0, expr: Expr::Ident(name.to_owned()) }
}
