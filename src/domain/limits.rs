//! Sizes and ceilings.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Length, Tier};

/// A size in bytes; written with a unit: `64KiB`, `512MiB`, `2GiB` (or `B`, `kB`, `MB`, `GB`, powers of 1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(u64);

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ByteSizeError {
    /// A number stands without a unit.
    #[error("`{0}` has no unit")]
    NoUnit(String),
    /// Anything else.
    #[error("`{0}` is not a size such as 64KiB, 512MiB or 2GiB")]
    Malformed(String),
}

impl ByteSize {
    /// Takes bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }
    /// Takes mebibytes.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }
    /// Bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.0
    }
}
impl FromStr for ByteSize {
    type Err = ByteSizeError;
    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let malformed = || ByteSizeError::Malformed(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| malformed())?;
        let factor: u64 = match unit {
            "" => return Err(ByteSizeError::NoUnit(text.to_owned())),
            "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(malformed()),
        };
        number.checked_mul(factor).filter(|bytes| *bytes <= 1 << 50).map(Self).ok_or_else(malformed)
    }
}
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// What one attempt may use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resources {
    /// Memory of the whole process tree.
    pub memory: ByteSize,
    /// Thousandths of a processor.
    pub cpu_millis: u32,
    /// Processes and threads at one time.
    pub pids: u32,
    /// Bytes of the working directory.
    pub disk: ByteSize,
    /// The weakest tier that it may run in; `None` leaves that to the tenant, the platform and the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
}

impl Default for Resources {
    /// Source: design page `runs.md`, "Defaults".
    fn default() -> Self {
        Self {
            memory: ByteSize::from_mib(512),
            cpu_millis: 1000,
            pids: 128,
            disk: ByteSize::from_mib(256),
            tier: None,
        }
    }
}

/// The most a tenant's runs may use; also the platform's ceilings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ceilings {
    /// Runs of the tenant at one time.
    pub concurrency: Option<u32>,
    /// Memory of one attempt.
    pub memory: Option<ByteSize>,
    /// Time of one run.
    pub run_timeout: Option<Length>,
    /// Length of an elevation.
    pub elevation_max: Option<Length>,
    /// The weakest tier that an attempt may run in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
}

/// How long payloads are kept once their run is over, where a tenant does not say.
pub const PAYLOADS_KEPT: Length = Length::from_secs(7 * 24 * 3600);

/// How long things are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retention {
    /// Payloads: inputs and outputs.
    pub payloads: Option<Length>,
    /// Logs.
    pub logs: Option<Length>,
    /// Run records.
    pub runs: Option<Length>,
}
