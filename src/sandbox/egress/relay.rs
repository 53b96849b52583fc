//! Bytes both ways between a step and a host, in buffers of a fixed size.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::ledger::Sum;
use super::request::Body;

/// Bytes of a buffer; a connection has one each way.
const BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of the line that begins a chunk.
const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Bytes of what may follow the last chunk.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// When something last went either way.
struct Pulse {
    last: Mutex<Instant>,
    idle: Duration,
}

impl Pulse {
    fn new(idle: Duration) -> Self {
        Self { last: Mutex::new(Instant::now()), idle }
    }
    fn beat(&self) {
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }
    /// Ends once nothing has gone for the idle time.
    async fn stops(&self) {
        loop {
            let end = *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) + self.idle;
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// Copies until both sides have ended, or nothing goes any more. An end on one side is passed on to the other, which
/// may still have something to say.
pub(super) async fn both_ways(mut near: TcpStream, mut far: TcpStream, sum: &Sum, idle: Duration) {
    let pulse = Pulse::new(idle);
    let (mut near_in, mut near_out) = near.split();
    let (mut far_in, mut far_out) = far.split();
    let out = copy(&mut near_in, &mut far_out, u64::MAX, |bytes| {
        pulse.beat();
        sum.sent(bytes);
    });
    let back = copy(&mut far_in, &mut near_out, u64::MAX, |bytes| {
        pulse.beat();
        sum.received(bytes);
    });
    let both = async { tokio::try_join!(ended(out), ended(back)) };
    tokio::select! {
        _ = both => {}
        () = pulse.stops() => {}
    }
}

/// Fails where a copy broke, so that the other way ends as well.
async fn ended(copy: impl Future<Output = io::Result<u64>>) -> io::Result<()> {
    copy.await.map(drop)
}

/// Passes a request's body on, and the answer back until its end. What the client sends beyond the body belongs to
/// no request and goes nowhere.
pub(super) async fn one_answer(
    mut near: TcpStream,
    mut far: TcpStream,
    begun: &[u8],
    body: Body,
    sum: &Sum,
    idle: Duration,
) {
    let pulse = Pulse::new(idle);
    let (near_in, mut near_out) = near.split();
    let (mut far_in, mut far_out) = far.split();
    let mut near_in = begun.chain(near_in);
    let counted = |bytes| {
        pulse.beat();
        sum.sent(bytes);
    };
    let out = async {
        let sent = match body {
            Body::Length(0) => Ok(()),
            Body::Length(length) => match copy_only(&mut near_in, &mut far_out, length, counted).await {
                Ok(copied) if copied == length => Ok(()),
                Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => Err(error),
            },
            Body::Chunked => chunks(&mut near_in, &mut far_out, counted).await,
        };
        // A body that breaks off must not look like one that has ended.
        if sent.is_err() {
            return;
        }
        std::future::pending().await
    };
    let back = copy(&mut far_in, &mut near_out, u64::MAX, |bytes| {
        pulse.beat();
        sum.received(bytes);
    });
    tokio::select! {
        _ = back => {}
        () = out => {}
        () = pulse.stops() => {}
    }
}

/// Copies up to `most` bytes and passes the end on.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    most: u64,
    counted: impl Fn(usize),
) -> io::Result<u64> {
    let copied = copy_only(from, to, most, counted).await?;
    to.shutdown().await?;
    Ok(copied)
}

/// Copies up to `most` bytes; gives how many there were.
async fn copy_only(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    most: u64,
    counted: impl Fn(usize),
) -> io::Result<u64> {
    let mut buffer = vec![0u8; BUFFER_BYTES];
    let mut copied = 0;
    while copied < most {
        let room = usize::try_from(most - copied).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        let count = from.read(&mut buffer[..room]).await?;
        if count == 0 {
            break;
        }
        to.write_all(&buffer[..count]).await?;
        copied += count as u64;
        counted(count);
    }
    Ok(copied)
}

/// Copies a chunked body, each chunk's head written anew; what follows the last one is left out.
async fn chunks(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    counted: impl Fn(usize),
) -> io::Result<()> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    loop {
        let line = line(from, CHUNK_LINE_BYTES_MAX).await?;
        let size = match httparse::parse_chunk_size(&line) {
            Ok(httparse::Status::Complete((length, size))) if length == line.len() => size,
            _ => return Err(malformed()),
        };
        let head = format!("{size:x}\r\n");
        to.write_all(head.as_bytes()).await?;
        counted(head.len());
        if size == 0 {
            let mut left = TRAILER_BYTES_MAX;
            loop {
                let field = self::line(from, left).await?;
                left -= field.len();
                if field == b"\r\n" {
                    break;
                }
            }
            to.write_all(b"\r\n").await?;
            return Ok(());
        }
        if copy_only(from, to, size, &counted).await? != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self::line(from, 2).await? != b"\r\n" {
            return Err(malformed());
        }
        to.write_all(b"\r\n").await?;
    }
}

/// One line with its CR LF, at most so long.
async fn line(from: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.len() < most {
        line.push(from.read_u8().await?);
        if line.ends_with(b"\r\n") {
            return Ok(line);
        }
        if line.ends_with(b"\n") {
            break;
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, want: Option<&str>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut written = Vec::new();
        let result = runtime.block_on(chunks(&mut body.as_bytes(), &mut written, |_| ()));
        let got = result.ok().map(|()| String::from_utf8(written).unwrap());
        assert_eq!(got.as_deref(), want, "{body:?}");
    }

    #[test]
    fn a_chunked_body_ends_where_both_sides_see_it() {
        check("0\r\n\r\n", Some("0\r\n\r\n"));
        check("3\r\nabc\r\n0\r\n\r\nGET /next", Some("3\r\nabc\r\n0\r\n\r\n"));
        check("A;x=\"y\"\r\n0123456789\r\n0\r\nX: 1\r\n\r\n", Some("a\r\n0123456789\r\n0\r\n\r\n"));
        for broken in [
            "",
            "3",
            "3\r\nab",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\nabc\r\n0\r\n\r\n",
            "-3\r\nabc\r\n",
            "0x3\r\nabc\r\n",
            " 3\r\nabc\r\n",
            "fffffffffffffffff\r\n",
            "g\r\n",
            "\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "0\r\n",
            "0\r\nX: 1\n\r\n",
        ] {
            check(broken, None);
        }
        check(&format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(300)), None);
        check(&format!("0\r\nX: {}\r\n\r\n", "x".repeat(9000)), None);
    }
}
