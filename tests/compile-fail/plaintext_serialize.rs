// error: the trait bound `Plaintext: serde::Serialize` is not satisfied
fn main() {
    let value = tenantry::sops::Plaintext::new(b"hunter2-hunter2".to_vec());
    tenantry::domain::digest_of(&value);
}
