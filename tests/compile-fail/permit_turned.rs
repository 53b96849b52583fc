// error: error[E0624]: method `turned` is private
use tenantry::authz::{Permit, Standing, action};
use tenantry::domain::Timestamp;

fn main() {
    let standing = Standing::unseen("globex".parse().unwrap());
    let lease = Permit::for_lease("worker", &standing, Timestamp::from_millis(0));
    let _: Permit<action::Start> = lease.turned(Timestamp::from_millis(0));
}
