// error: error[E0277]: the trait bound `Everything:
use tenantry::authz::{Action, ActionKind};

struct Everything;

impl Action for Everything {
    const KIND: ActionKind = ActionKind::ReadSecret;
}

fn main() {}
