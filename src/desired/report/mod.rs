//! Findings as people and other programs read them: text with excerpts, JSON, SARIF, annotations of forges.
//!
//! Pure: takes findings and the texts they point into, gives text. A secret file is never excerpted, whoever asks.

mod human;
mod machine;
#[cfg(test)]
mod tests;

pub use human::human;
pub use machine::{Checked, github, gitlab, json, junit, sarif};

use crate::domain::Diagnostic;

/// Gives the text of a file by its path, where there is one to show.
pub type Texts<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Whether a file holds ciphertext or keys, so that no line of it may be shown.
#[must_use]
pub fn is_secret_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.contains("/secrets/")
        || name.contains(".sops.")
        || name.ends_with(".agekey")
        || name.ends_with(".pem")
        || name.ends_with(".key")
        || name.starts_with(".env")
        || name.starts_with("id_")
}

/// Puts findings into the order of files and places, the same in every run.
pub fn sort(found: &mut [Diagnostic]) {
    found.sort_by(|a, b| (&a.at, a.rule, &a.message).cmp(&(&b.at, b.rule, &b.message)));
}
