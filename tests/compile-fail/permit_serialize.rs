// error: error[E0277]: the trait bound `Permit<tenantry::authz::action::View>: serde::Serialize` is not satisfied
use tenantry::authz::{Permit, action};

fn kept(permit: &Permit<action::View>) -> String {
    tenantry::domain::digest_of(permit)
}

fn main() {}
