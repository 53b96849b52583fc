// error: error[E0277]: the trait bound `Permit<View>:
use tenantry::authz::{Permit, action};

fn kept(permit: &Permit<action::View>) -> String {
    tenantry::domain::digest_of(permit)
}

fn main() {}
