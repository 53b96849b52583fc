//! A secret's value in memory.

use std::fmt;

use zeroize::Zeroizing;

/// A secret's value: overwritten when dropped, never shown, stored or copied by accident.
///
/// Has no `Display`, `Clone` or `Serialize`; its `Debug` shows a length. Tests in `tests/compile-fail/` keep it so.
pub struct Plaintext(Zeroizing<Vec<u8>>);

impl Plaintext {
    /// Takes the bytes over. Copies that the caller made before are the caller's to overwrite.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for those who hand them to their destination: the broker's reply, the redactor's patterns.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Bytes of the value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the value has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_a_length() {
        let value = Plaintext::new(b"hunter2-hunter2".to_vec());
        assert_eq!(format!("{value:?}"), "Plaintext(15 bytes)");
        assert_eq!(value.expose(), b"hunter2-hunter2");
    }
}
