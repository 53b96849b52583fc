//! How a command ends: exit codes that other people's scripts rely on.

use std::process::ExitCode;

use crate::client::ClientError;

/// Why a command did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Done, and the answer is no: a finding, a run that failed, a denial.
    No(String),
    /// The command line is wrong.
    Usage(String),
    /// It could not be done: no daemon, repository, store or sandbox.
    CouldNot(String),
    /// Done; the answer stands in the code alone, everything is said already.
    Quiet(u8),
}

impl Ending {
    /// The exit code. Source: design page `interfaces.md`.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::No(_) => 1,
            Self::Usage(_) => 2,
            Self::CouldNot(_) => 3,
            Self::Quiet(code) => *code,
        }
    }
    /// Could not, for whatever reason an error tells, its causes included.
    pub fn could_not(error: impl std::error::Error) -> Self {
        Self::CouldNot(with_causes(&error))
    }
}

/// An error and its causes in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}

impl From<ClientError> for Ending {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused { status, .. } if status >= 500 => Self::CouldNot(error.to_string()),
            ClientError::Refused { status: 400, .. } => Self::Usage(error.to_string()),
            ClientError::Refused { .. } => Self::No(error.to_string()),
            ClientError::NoDaemon { .. }
            | ClientError::NotAllowed { .. }
            | ClientError::Broken(_)
            | ClientError::Silent => Self::CouldNot(error.to_string()),
            ClientError::Malformed(_) => Self::Usage(error.to_string()),
        }
    }
}

/// Says how it ended, on standard error, and gives the exit code.
pub fn finish(result: Result<(), Ending>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(ending) => {
            match &ending {
                Ending::No(message) | Ending::Usage(message) | Ending::CouldNot(message) => {
                    anstream::eprintln!("error: {message}");
                }
                Ending::Quiet(_) => {}
            }
            ExitCode::from(ending.code())
        }
    }
}
