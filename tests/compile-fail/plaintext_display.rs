// error: `Plaintext` doesn't implement `std::fmt::Display`
fn main() {
    let value = tenantry::sops::Plaintext::new(b"hunter2-hunter2".to_vec());
    println!("{value}");
}
