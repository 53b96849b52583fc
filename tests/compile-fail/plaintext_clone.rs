// error: no method named `clone` found for struct `Plaintext`
fn main() {
    let value = tenantry::sops::Plaintext::new(b"hunter2-hunter2".to_vec());
    drop(value.clone());
}
