// error: no method named `clone` found for struct `DataKey`
fn main() {
    let key = tenantry::sops::DataKey::new([0; 32]);
    drop(key.clone());
}
