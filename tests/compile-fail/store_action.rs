// error: error[E0308]: mismatched types
use tenantry::authz::{Permit, action};
use tenantry::domain::AuditEntry;
use tenantry::store::Store;

async fn whoever_may_view_may_suspend(store: &dyn Store, permit: &Permit<action::View>, audit: AuditEntry) {
    let _ = store.set_suspension(permit, None, audit).await;
}

fn main() {}
