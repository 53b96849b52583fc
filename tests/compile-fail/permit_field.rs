// error: error[E0451]: fields `actor`, `tenant`, `incarnation`, `authority`, `expires` and `_action` of struct `Permit` are private
use tenantry::authz::{Permit, action};
use tenantry::domain::Timestamp;

fn main() {
    let _ = Permit::<action::View> {
        actor: "user:mallory".parse().unwrap(),
        tenant: "globex".parse().unwrap(),
        incarnation: 1,
        authority: 0,
        expires: Timestamp::from_millis(0),
        _action: std::marker::PhantomData,
    };
}
