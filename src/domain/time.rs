//! Instants and lengths of time, in whole milliseconds.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant, in milliseconds since 1970-01-01T00:00:00Z; shown and stored in JSON as RFC 3339 in UTC.
///
/// ```
/// use tenantry::domain::Timestamp;
/// let noon: Timestamp = "2026-11-23T13:00:00+01:00".parse().unwrap();
/// assert_eq!(noon.to_string(), "2026-11-23T12:00:00Z");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A text is no RFC 3339 time with a zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time such as 2026-11-23T14:00:00Z")]
pub struct TimestampError(pub String);

impl Timestamp {
    /// Takes milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }
    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }
    /// The time from `earlier` to this instant, zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Length {
        Length::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}
impl Add<Length> for Timestamp {
    type Output = Self;
    fn add(self, length: Length) -> Self {
        Self(self.0.saturating_add(i64::try_from(length.0).unwrap_or(i64::MAX)))
    }
}
impl Sub<Length> for Timestamp {
    type Output = Self;
    fn sub(self, length: Length) -> Self {
        Self(self.0.saturating_sub(i64::try_from(length.0).unwrap_or(i64::MAX)))
    }
}
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) if self.0 % 1000 == 0 => write!(f, "{time:.0}"),
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "@{}ms", self.0),
        }
    }
}
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Timestamp {
    type Err = TimestampError;
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        text.parse::<jiff::Timestamp>()
            .map(|time| Self(time.as_millisecond()))
            .map_err(|_| TimestampError(text.to_owned()))
    }
}
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A length of time in milliseconds; written with a unit: `500ms`, `30s`, `10m`, `6h`, `90d`, `2w`, or several: `1h30m`.
///
/// ```
/// use tenantry::domain::{Length, LengthError};
/// assert_eq!("1h30m".parse(), Ok(Length::from_secs(5_400)));
/// assert_eq!("90".parse::<Length>(), Err(LengthError::NoUnit("90".into())));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Length(u64);

/// Why a text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// A number stands without `ms`, `s`, `m`, `h`, `d` or `w`.
    #[error("`{0}` has no unit")]
    NoUnit(String),
    /// Anything else.
    #[error("`{0}` is not a length of time such as 30s, 10m or 6h")]
    Malformed(String),
    /// Longer than 100 years.
    #[error("`{0}` is longer than 100 years")]
    TooLong(String),
}

impl Length {
    /// The longest length that can be written: 100 years of 365 days.
    pub const MAX: Self = Self(100 * 365 * 86_400_000);

    /// Takes milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }
    /// Takes seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1000)
    }
    /// Milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }
    /// The same as the standard library's duration.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}
impl FromStr for Length {
    type Err = LengthError;
    fn from_str(text: &str) -> Result<Self, LengthError> {
        let malformed = || LengthError::Malformed(text.to_owned());
        let too_long = || LengthError::TooLong(text.to_owned());
        if text.is_empty() || text.len() > 64 {
            return Err(malformed());
        }
        let mut rest = text;
        let mut total: u64 = 0;
        let mut smallest = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            if digits == 0 {
                return Err(malformed());
            }
            let unit = tail.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, tail) = tail.split_at(unit);
            let millis: u64 = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 604_800_000,
                "" if tail.is_empty() => return Err(LengthError::NoUnit(text.to_owned())),
                _ => return Err(malformed()),
            };
            if millis >= smallest {
                return Err(malformed());
            }
            smallest = millis;
            let number: u64 = number.parse().map_err(|_| too_long())?;
            total =
                number.checked_mul(millis).and_then(|part| total.checked_add(part)).ok_or_else(too_long)?;
            rest = tail;
        }
        if total > Self::MAX.0 { Err(too_long()) } else { Ok(Self(total)) }
    }
}
impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

/// Tells the time: given to whoever needs it by `app.rs`, a fixed or stepped one by tests.
pub type Clock = std::sync::Arc<dyn Fn() -> Timestamp + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<u64, &str>) {
        let got = text.parse::<Length>().map(Length::as_millis).map_err(|e| e.to_string());
        assert_eq!(got, want.map_err(str::to_owned), "{text:?}");
    }

    #[test]
    fn a_length_has_units_from_large_to_small() {
        check("500ms", Ok(500));
        check("1h30m", Ok(5_400_000));
        check("90d", Ok(7_776_000_000));
        check("10", Err("`10` has no unit"));
        check("", Err("`` is not a length of time such as 30s, 10m or 6h"));
        check("-1s", Err("`-1s` is not a length of time such as 30s, 10m or 6h"));
        check("1m1h", Err("`1m1h` is not a length of time such as 30s, 10m or 6h"));
        check("99999999999999999999d", Err("`99999999999999999999d` is longer than 100 years"));
    }

    #[test]
    fn a_timestamp_reads_what_it_shows() {
        for text in ["2026-11-23T14:00:00Z", "2026-11-23T14:00:00.123Z"] {
            assert_eq!(text.parse::<Timestamp>().map(|t| t.to_string()), Ok(text.to_owned()));
        }
        assert!("2026-11-23T14:00:00".parse::<Timestamp>().is_err(), "a time without a zone is no instant");
    }
}
