//! IANA zones by name.

use std::fmt;

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// A zone of the IANA database, spelled as there: `Europe/Berlin`, `UTC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

/// A text names no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone `{name}`")]
pub struct ZoneError {
    /// As written.
    pub name: String,
    /// A zone that may have been meant.
    pub nearest: Option<String>,
}

impl Zone {
    /// Coordinated universal time.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".into(), rules: TimeZone::UTC }
    }

    /// Finds a zone by its exact name.
    ///
    /// # Errors
    /// The name is unknown, or known in another spelling, which is then the nearest.
    pub fn parse(name: &str) -> Result<Self, ZoneError> {
        let unknown = |nearest| ZoneError { name: name.to_owned(), nearest };
        if name.len() > 64 {
            return Err(unknown(None));
        }
        match TimeZoneDatabase::bundled().get(name) {
            Ok(rules) => match rules.iana_name() {
                Some(exact) if exact == name => Ok(Self { name: name.to_owned(), rules }),
                Some(exact) => Err(unknown(Some(exact.to_owned()))),
                None => Err(unknown(None)),
            },
            Err(_) => Err(unknown(nearest(name))),
        }
    }

    /// Every name of the database, sorted.
    #[must_use]
    pub fn names() -> Vec<String> {
        let mut names: Vec<String> =
            TimeZoneDatabase::bundled().available().map(|zone| zone.as_str().to_owned()).collect();
        names.sort();
        names
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn rules(&self) -> &TimeZone {
        &self.rules
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The zone whose name, or whose city alone, is at most three edits away.
fn nearest(name: &str) -> Option<String> {
    let wanted = name.to_ascii_lowercase();
    TimeZoneDatabase::bundled()
        .available()
        .map(|zone| {
            let zone = zone.as_str().to_owned();
            let lower = zone.to_ascii_lowercase();
            let city = lower.rsplit('/').next().unwrap_or(&lower);
            let wanted_city = wanted.rsplit('/').next().unwrap_or(&wanted);
            let whole = edits(&lower, &wanted);
            // A city under the wrong region counts as one edit.
            (whole.min(edits(city, wanted_city) + 1), zone)
        })
        .min()
        .filter(|(distance, _)| *distance <= 3 && *distance * 3 <= name.len())
        .map(|(_, zone)| zone)
}

/// The number of letters to insert, remove or replace.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (at, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, nearest: Option<&str>) {
        let got = Zone::parse(name).expect_err(name);
        assert_eq!(got.nearest.as_deref(), nearest, "{name}");
    }

    #[test]
    fn a_zone_is_spelled_as_in_the_database() {
        for name in ["Europe/Berlin", "UTC", "America/New_York", "Australia/Lord_Howe"] {
            assert_eq!(Zone::parse(name).map(|zone| zone.name().to_owned()), Ok(name.to_owned()));
        }
        check("europe/berlin", Some("Europe/Berlin"));
        check("Europe/Berlni", Some("Europe/Berlin"));
        check("Germany/Berlin", Some("Europe/Berlin"));
        check("Mars/Olympus_Mons", None);
        check("", None);
        check(&"x".repeat(65), None);
    }
}
