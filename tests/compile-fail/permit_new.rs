// error: error[E0624]: associated function `new` is private
use tenantry::authz::{Permit, Standing, action};
use tenantry::domain::Timestamp;

fn main() {
    let standing = Standing::unseen("globex".parse().unwrap());
    let _ = Permit::<action::View>::new("user:mallory".parse().unwrap(), &standing, Timestamp::from_millis(0));
}
