// compiles: shows that the others fail for the reason they state, not for their setting
fn main() {
    let value = tenantry::sops::Plaintext::new(b"hunter2-hunter2".to_vec());
    println!("{value:?} {}", value.len());
}
