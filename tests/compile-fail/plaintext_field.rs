// error: cannot initialize a tuple struct which contains private fields
fn main() {
    drop(tenantry::sops::Plaintext(Default::default()));
}
