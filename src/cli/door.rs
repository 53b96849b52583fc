//! The way of a command to its answers: a daemon's socket or, to look while none runs, the store itself.
//!
//! Both ends are the same router, so what a command shows and who may see it do not depend on which one answers.

use std::path::PathBuf;

use axum::Router;
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use super::Ending;
use crate::client::{Answer, Client, Question};
use crate::domain::UserId;

/// Where the data directory is, and whom the caller wants to act as.
#[derive(Clone, Debug, clap::Args)]
pub struct ReachArgs {
    /// The data directory of the daemon
    #[arg(long, value_name = "DATA", env = "TENANTRY_DATA")]
    pub data: Option<PathBuf>,
    /// Acts as this person; only where change control is `open`, or under `solo`
    #[arg(long = "as", value_name = "PERSON")]
    pub wanted: Option<UserId>,
}

impl ReachArgs {
    /// The data directory.
    ///
    /// # Errors
    /// A usage error that says where to name one.
    pub fn data(&self) -> Result<&PathBuf, Ending> {
        self.data.as_ref().ok_or_else(|| {
            Ending::Usage("which daemon? name its data directory by `--data` or TENANTRY_DATA".to_owned())
        })
    }
}

/// What answers.
pub struct Door {
    end: End,
    wanted: Option<UserId>,
}

enum End {
    Daemon(Client),
    Here(Router),
}

impl Door {
    /// The running daemon.
    ///
    /// # Errors
    /// Could not, when none runs.
    pub async fn daemon(reach: &ReachArgs) -> Result<Self, Ending> {
        let data = reach.data()?;
        let client = Client::at(data);
        if !client.is_up().await {
            return Err(crate::client::ClientError::NoDaemon { data: data.clone() }.into());
        }
        Ok(Self { end: End::Daemon(client), wanted: reach.wanted.clone() })
    }

    /// The running daemon or, while there is none, the store; says so on standard error.
    ///
    /// # Errors
    /// Could not, when there is neither.
    pub async fn to_look(reach: &ReachArgs) -> Result<Self, Ending> {
        Self::looking(reach, false).await
    }

    /// The same for what is recorded before it is shown.
    ///
    /// # Errors
    /// Could not, when there is neither, or when another process has the store.
    pub async fn to_look_audited(reach: &ReachArgs) -> Result<Self, Ending> {
        Self::looking(reach, true).await
    }

    async fn looking(reach: &ReachArgs, audited: bool) -> Result<Self, Ending> {
        let data = reach.data()?;
        let client = Client::at(data);
        if client.is_up().await {
            return Ok(Self { end: End::Daemon(client), wanted: reach.wanted.clone() });
        }
        let ports = crate::app::look(data, audited).await.map_err(Ending::could_not)?;
        anstream::eprintln!("no daemon runs; reading the store in `{}`", data.display());
        let ids = ports.ids.clone();
        let uid = rustix::process::geteuid().as_raw();
        let router = crate::api::in_process(crate::api::router(ports), uid, ids);
        Ok(Self { end: End::Here(router), wanted: reach.wanted.clone() })
    }

    /// Whether a daemon answers.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        matches!(self.end, End::Daemon(_))
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// [`Ending`], a daemon's no included.
    pub async fn ask(&self, question: Question) -> Result<Value, Ending> {
        Ok(self.stream(question).await?.document().await?)
    }

    /// Asks for something that comes in pieces.
    ///
    /// # Errors
    /// As [`Door::ask`].
    pub async fn stream(&self, mut question: Question) -> Result<Answer, Ending> {
        question.wanted = self.wanted.clone();
        match &self.end {
            End::Daemon(client) => Ok(client.ask(&question).await?),
            End::Here(router) => {
                let request = question.request()?;
                let service = TowerToHyperService::new(router.clone());
                // INVARIANT: a router answers every request; its error type has no value.
                let response = match service.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                let status = response.status().as_u16();
                Ok(Answer {
                    status,
                    body: response.into_body().map_err(std::io::Error::other).boxed_unsync(),
                })
            }
        }
    }
}

/// Writes a value into a path or query: everything but letters, digits, `-`, `_` and `.` as percent and hex.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
