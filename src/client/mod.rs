//! A daemon's HTTP from outside: over the socket in its data directory.
//!
//! Knows how to ask and how to read an answer, not what is asked. Deliberately absent: addresses and tokens of
//! daemons elsewhere, remote workers.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::domain::UserId;

/// What is asked of a daemon.
#[derive(Clone, Debug)]
pub struct Question {
    /// `GET` or `POST`.
    pub method: hyper::Method,
    /// Path and query.
    pub target: String,
    /// Whom the caller wants to act as.
    pub wanted: Option<UserId>,
    /// The key under which it counts once.
    pub key: Option<String>,
    /// The body, as JSON.
    pub body: Option<Value>,
}

impl Question {
    /// Asks to look at something.
    #[must_use]
    pub fn get(target: impl Into<String>) -> Self {
        Self { method: hyper::Method::GET, target: target.into(), wanted: None, key: None, body: None }
    }
    /// Asks to do something.
    #[must_use]
    pub fn post(target: impl Into<String>, body: Value) -> Self {
        Self { method: hyper::Method::POST, target: target.into(), wanted: None, key: None, body: Some(body) }
    }

    /// The request, for whatever answers it.
    ///
    /// # Errors
    /// [`ClientError::Malformed`] if a name in it cannot stand in a target.
    pub fn request(&self) -> Result<hyper::Request<Full<Bytes>>, ClientError> {
        let mut request = hyper::Request::builder()
            .method(self.method.clone())
            .uri(&self.target)
            .header("host", "tenantry")
            .header("accept", "application/json");
        if let Some(wanted) = &self.wanted {
            request = request.header("x-tenantry-as", wanted.as_str());
        }
        if let Some(key) = &self.key {
            request = request.header("idempotency-key", key);
        }
        let body = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        request.body(Full::new(Bytes::from(body))).map_err(|_| ClientError::Malformed(self.target.clone()))
    }
}

/// A body that comes in pieces.
pub type Pieces = UnsyncBoxBody<Bytes, io::Error>;

/// What came back.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, not yet read.
    pub body: Pieces,
}

/// The most of an answer that is read as one document.
const DOCUMENT_BYTES_MAX: usize = 64 << 20;

impl Answer {
    /// Reads the whole body as one document.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the daemon's own words for a status of 400 and above.
    pub async fn document(self) -> Result<Value, ClientError> {
        let status = self.status;
        let body = http_body_util::Limited::new(self.body, DOCUMENT_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| ClientError::Broken(io::Error::other(error)))?
            .to_bytes();
        let document: Value =
            serde_json::from_slice(&body).map_err(|error| ClientError::Broken(io::Error::other(error)))?;
        if status < 400 {
            return Ok(document);
        }
        let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Err(ClientError::Refused { status, code: text("code"), detail: text("detail") })
    }
}

/// A question got no answer, or a no.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no daemon runs in `{}`: start one with `tenantry serve`", data.display())]
    NoDaemon {
        /// The data directory.
        data: PathBuf,
    },
    /// The socket is another user's.
    #[error("`{}` may not be used by this user: run as the owner of the data directory", socket.display())]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
    },
    /// The daemon went away, or answers nonsense.
    #[error("the daemon broke off: {0}")]
    Broken(#[source] io::Error),
    /// It does not answer in time.
    #[error("the daemon does not answer")]
    Silent,
    /// The question cannot be sent.
    #[error("`{0}` cannot be asked for")]
    Malformed(String),
    /// It says no.
    #[error("{detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// One word for programs.
        code: String,
        /// For people.
        detail: String,
    },
}

/// How long a daemon may take until its answer begins.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon on this machine.
#[derive(Clone, Debug)]
pub struct Client {
    data: PathBuf,
}

impl Client {
    /// The daemon of a data directory, whether or not it runs.
    #[must_use]
    pub fn at(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    /// Whether it runs.
    pub async fn is_up(&self) -> bool {
        UnixStream::connect(self.socket()).await.is_ok()
    }

    fn socket(&self) -> PathBuf {
        self.data.join("tenantry.sock")
    }

    /// Asks.
    ///
    /// # Errors
    /// [`ClientError`]; a no of the daemon is an answer and comes from [`Answer::document`].
    pub async fn ask(&self, question: &Question) -> Result<Answer, ClientError> {
        let request = question.request()?;
        let socket = self.socket();
        let stream = UnixStream::connect(&socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket },
            _ => ClientError::NoDaemon { data: self.data.clone() },
        })?;
        let broken = |error: hyper::Error| ClientError::Broken(io::Error::other(error));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request))
            .await
            .map_err(|_| ClientError::Silent)?
            .map_err(broken)?;
        let status = answer.status().as_u16();
        Ok(Answer { status, body: answer.into_body().map_err(io::Error::other).boxed_unsync() })
    }
}
