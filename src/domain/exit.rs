//! How an attempt ended and what it used.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Outcome;

/// The way an attempt ended. Source: design page `interfaces.md`, "Exit kind".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitKind {
    /// The script ended by itself; its code stands beside.
    Exited,
    /// A signal that nobody here sent ended it.
    Signalled,
    /// Its time was over.
    TimedOut,
    /// Somebody ended it.
    Cancelled,
    /// The kernel ended it or one of its processes for memory.
    OutOfMemory,
    /// It failed after the kernel had refused it another process.
    PidLimit,
    /// It failed with its disk, or the number of its files, used up.
    DiskLimit,
    /// It wrote more than anybody reads.
    OutputLimit,
    /// The sandbox could not be made or broke.
    SandboxError,
    /// Nobody knows: the machine or the worker went away.
    Lost,
}

impl ExitKind {
    /// As in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Signalled => "signalled",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::OutOfMemory => "out_of_memory",
            Self::PidLimit => "pid_limit",
            Self::DiskLimit => "disk_limit",
            Self::OutputLimit => "output_limit",
            Self::SandboxError => "sandbox_error",
            Self::Lost => "lost",
        }
    }
}
impl fmt::Display for ExitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Exit {
    /// The way.
    pub kind: ExitKind,
    /// The exit code, 0 to 255, where the script ended by itself, whatever `kind` makes of it.
    pub code: Option<i32>,
    /// The signal's number, where one ended it.
    pub signal: Option<i32>,
}

impl Exit {
    /// The script ended by itself.
    #[must_use]
    pub const fn exited(code: i32) -> Self {
        Self { kind: ExitKind::Exited, code: Some(code), signal: None }
    }
    /// An end without code or signal.
    #[must_use]
    pub const fn of(kind: ExitKind) -> Self {
        Self { kind, code: None, signal: None }
    }
    /// Whether the script did what it was made for.
    #[must_use]
    pub fn succeeded(self) -> bool {
        self.kind == ExitKind::Exited && self.code == Some(0)
    }
    /// What it means for the step.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        match self.kind {
            ExitKind::Exited if self.code == Some(0) => Outcome::Success,
            ExitKind::Exited
            | ExitKind::Signalled
            | ExitKind::OutOfMemory
            | ExitKind::PidLimit
            | ExitKind::DiskLimit
            | ExitKind::OutputLimit => Outcome::Failure,
            ExitKind::TimedOut => Outcome::TimedOut,
            ExitKind::Cancelled => Outcome::Cancelled,
            ExitKind::SandboxError | ExitKind::Lost => Outcome::Error,
        }
    }
}
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, " with code {code}"),
            (None, Some(signal)) => write!(f, " by signal {signal}"),
            (None, None) => Ok(()),
        }
    }
}

/// What an attempt ran in; said on every record. In ascending order of strength: this order is the only one there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// None at all: a process of the daemon's user.
    UnsafeNone,
    /// The walls of `sandbox`, raised by `bwrap` where only that program may make user namespaces. The number of files
    /// in `/work` is bounded by the memory limit alone.
    Bubblewrap,
    /// The default tier: namespaces, seccomp, no capabilities.
    #[default]
    Sandbox,
}

impl Tier {
    /// Every tier, the weakest first.
    pub const ALL: [Self; 3] = [Self::UnsafeNone, Self::Bubblewrap, Self::Sandbox];

    /// Whether an attempt has namespaces of its own, which end with it.
    #[must_use]
    pub fn has_walls(self) -> bool {
        self > Self::UnsafeNone
    }

    /// As in JSON and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Bubblewrap => "bubblewrap",
            Self::UnsafeNone => "unsafe-none",
        }
    }
}
impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How memory, processes and processor were limited; said on every record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitsKind {
    /// By control groups, for the whole process tree.
    #[default]
    Enforced,
    /// By limits of each process alone, which many processes together can pass.
    BestEffort,
}

impl LimitsKind {
    /// As in JSON and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::BestEffort => "best-effort",
        }
    }
}
impl fmt::Display for LimitsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an attempt used, and under which walls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// From the script's start to the death of its last process.
    pub wall_ms: u64,
    /// Processor time of the whole tree; without control groups, of the processes that were waited for.
    pub cpu_ms: u64,
    /// The most memory of the whole tree at one time, its files in memory included; without control groups,
    /// of its largest process.
    pub memory_bytes_max: u64,
    /// What it ran in.
    pub tier: Tier,
    /// How it was limited.
    pub limits: LimitsKind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_one_spelling() {
        for kind in [
            ExitKind::Exited,
            ExitKind::Signalled,
            ExitKind::TimedOut,
            ExitKind::Cancelled,
            ExitKind::OutOfMemory,
            ExitKind::PidLimit,
            ExitKind::DiskLimit,
            ExitKind::OutputLimit,
            ExitKind::SandboxError,
            ExitKind::Lost,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for tier in Tier::ALL {
            assert_eq!(serde_json::to_value(tier).unwrap(), tier.as_str());
        }
        for limits in [LimitsKind::Enforced, LimitsKind::BestEffort] {
            assert_eq!(serde_json::to_value(limits).unwrap(), limits.as_str());
        }
    }

    #[test]
    fn tiers_are_listed_from_the_weakest() {
        assert!(Tier::ALL.is_sorted());
        assert!(!Tier::UnsafeNone.has_walls() && Tier::Bubblewrap.has_walls() && Tier::Sandbox.has_walls());
    }

    #[test]
    fn only_code_zero_is_success() {
        assert_eq!(Exit::exited(0).outcome(), Outcome::Success);
        assert_eq!(Exit::exited(1).outcome(), Outcome::Failure);
        let out_of_memory = Exit { kind: ExitKind::OutOfMemory, code: Some(0), signal: None };
        assert_eq!(out_of_memory.outcome(), Outcome::Failure);
        assert_eq!(Exit::of(ExitKind::Lost).outcome(), Outcome::Error);
    }
}
