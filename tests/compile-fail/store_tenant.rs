// error: error[E0308]: mismatched types
use tenantry::domain::TenantId;
use tenantry::store::{RunFilter, Store};

async fn runs_of(store: &dyn Store, tenant: &TenantId) {
    let _ = store.runs(tenant, &RunFilter::default()).await;
}

fn main() {}
