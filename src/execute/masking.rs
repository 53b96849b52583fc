//! The values of one attempt that no output may show, shared by its streams.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::broker::{Masks, Unmaskable};
use crate::domain::SecretName;
use crate::record::{Patterns, Redactor};
use crate::sops::Plaintext;

/// Grows while the attempt runs: the broker adds a value before it hands it over.
#[derive(Default)]
pub(super) struct Masking {
    patterns: Mutex<Arc<Patterns>>,
    hits: Mutex<BTreeMap<String, u64>>,
}

impl Masking {
    /// What is masked by now.
    pub(super) fn patterns(&self) -> Arc<Patterns> {
        Arc::clone(&self.patterns.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often each form was taken out, of the streams that are over.
    pub(super) fn hits(&self) -> BTreeMap<String, u64> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the values out of a text that is whole; counts like a stream.
    pub(super) fn redact(self: &Arc<Self>, text: &str) -> String {
        let mut stream = Masked::new(Arc::clone(self));
        let mut out = stream.push(text.as_bytes());
        out.extend(stream.finish());
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl Masks for Masking {
    fn mask(&self, name: &SecretName, value: &Plaintext) -> Result<(), Unmaskable> {
        let mut patterns = self.patterns.lock().unwrap_or_else(PoisonError::into_inner);
        *patterns = patterns.with(name, value).map_err(|_| Unmaskable)?;
        Ok(())
    }
}

/// One stream of the attempt, with the values taken out.
pub(super) struct Masked {
    masking: Arc<Masking>,
    known: Arc<Patterns>,
    redactor: Redactor,
}

impl Masked {
    pub(super) fn new(masking: Arc<Masking>) -> Self {
        let known = masking.patterns();
        let redactor = Redactor::over(Arc::clone(&known));
        Self { masking, known, redactor }
    }

    /// Takes a chunk that was just read; gives out what is decided. A value was masked before the script had it, so
    /// looking after the read and before the chunk is early enough.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        let current = self.masking.patterns();
        if !Arc::ptr_eq(&current, &self.known) {
            self.known = Arc::clone(&current);
            self.redactor.adopt(current);
        }
        self.redactor.push(chunk)
    }

    /// Gives out the rest and adds the counts up.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let rest = self.redactor.finish();
        let mut hits = self.masking.hits.lock().unwrap_or_else(PoisonError::into_inner);
        for (form, count) in self.redactor.hits() {
            *hits.entry(form.word().to_owned()).or_default() += count;
        }
        rest
    }
}
