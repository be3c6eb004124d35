//! A client that costs little: whole requests are made beforehand, and HTTP/2 frames are sent and taken without a gRPC library between.
//!
//! Every answer's `grpc-status` is looked at; one answer in some is looked at whole.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use h2::client::{Builder, SendRequest};
use prost::bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, StatusCode, request};

/// One answer in so many is looked at whole. A prime: rows come round at another number, so in time every row is looked at.
const CHECK_EVERY: usize = 61;
/// What the server may send ahead.
const WINDOW: u32 = 4 << 20;
/// Bytes before a gRPC message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Looks at the answer to the request at a position.
type Check = dyn Fn(usize, &[u8]) -> Result<()> + Send + Sync;

/// Requests that are sent one after another, and what is known of their answers.
pub(super) struct Exchange {
    path: &'static str,
    authorization: Option<HeaderValue>,
    frames: Vec<Bytes>,
    check: Box<Check>,
}

impl Exchange {
    /// Calls of the method at `path`; `check` is told a request's position and its answer.
    pub(super) fn new(
        path: &'static str,
        api_key: Option<&str>,
        messages: &[Vec<u8>],
        check: impl Fn(usize, &[u8]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let frames = messages.iter().map(|message| framed(message)).collect();
        let authorization = api_key.map(|key| HeaderValue::from_str(&format!("Bearer {key}"))).transpose();
        let mut authorization = authorization.context("the API key cannot be sent as a header")?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Self { path, authorization, frames, check: Box::new(check) })
    }

    /// The same requests, whose answers are checked otherwise.
    pub(super) fn checked_by(&self, check: impl Fn(usize, &[u8]) -> Result<()> + Send + Sync + 'static) -> Self {
        let (authorization, frames) = (self.authorization.clone(), self.frames.clone());
        Self { path: self.path, authorization, frames, check: Box::new(check) }
    }

    /// How many requests there are before the first comes again.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Mean bytes of a message.
    pub(super) fn mean_bytes(&self) -> f64 {
        let total: usize = self.frames.iter().map(|frame| frame.len() - PREFIX_BYTES).sum();
        total as f64 / self.len().max(1) as f64
    }
}

/// A message as it goes over the wire.
fn framed(message: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(PREFIX_BYTES + message.len());
    frame.push(0);
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame.into()
}

/// Calls over one connection; clones share it.
#[derive(Clone)]
pub(super) struct Caller {
    sender: SendRequest<Bytes>,
    head: request::Parts,
}

impl Caller {
    /// Opens a connection for the calls of `exchange`.
    pub(super) async fn connect(address: SocketAddr, exchange: &Exchange) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to `{address}`"))?;
        stream.set_nodelay(true)?;
        let mut builder = Builder::new();
        builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).enable_push(false);
        let (sender, connection) = builder.handshake(stream).await.context("no HTTP/2 connection came about")?;
        // How it ends, those who call over it are told.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, head: head(address, exchange)? })
    }

    /// Makes the call with this number; `exchange`'s requests come round and round.
    pub(super) async fn call(&self, exchange: &Exchange, number: usize) -> Result<()> {
        let position = number % exchange.len();
        let answer = self.answer(exchange, position).await?;
        if number.is_multiple_of(CHECK_EVERY) { (exchange.check)(position, &answer) } else { Ok(()) }
    }

    /// The answer to the request at a position, checked.
    pub(super) async fn checked_answer(&self, exchange: &Exchange, position: usize) -> Result<Bytes> {
        let answer = self.answer(exchange, position).await?;
        (exchange.check)(position, &answer)?;
        Ok(answer)
    }

    async fn answer(&self, exchange: &Exchange, position: usize) -> Result<Bytes> {
        message_of(self.exchange_frames(exchange.frames[position].clone()).await?)
    }

    async fn exchange_frames(&self, frame: Bytes) -> Result<Bytes> {
        let mut sender = self.sender.clone().ready().await?;
        let (answer, mut body) = sender.send_request(Request::from_parts(self.head.clone(), ()), false)?;
        body.send_data(frame, true)?;
        let (head, mut body) = answer.await?.into_parts();
        if head.status != StatusCode::OK {
            bail!("the server answered with the HTTP status {}", head.status);
        }
        let mut frames = Frames::default();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            frames.push(data);
        }
        match body.trailers().await? {
            Some(trailers) => check_status(&trailers)?,
            // An answer without a message has its status among its headers.
            None => check_status(&head.headers)?,
        }
        Ok(frames.whole())
    }
}

fn head(address: SocketAddr, exchange: &Exchange) -> Result<request::Parts> {
    let mut request = Request::post(format!("http://{address}{}", exchange.path)).body(())?;
    let headers = request.headers_mut();
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("user-agent", HeaderValue::from_static("retain-bench"));
    if let Some(value) = &exchange.authorization {
        headers.insert("authorization", value.clone());
    }
    Ok(request.into_parts().0)
}

fn check_status(headers: &HeaderMap) -> Result<()> {
    match headers.get("grpc-status") {
        Some(status) if status == "0" => Ok(()),
        Some(status) => {
            let code = status.to_str().unwrap_or("?");
            let told = Status::from_header_map(headers);
            bail!("a call failed with the gRPC code {code}: {}", told.as_ref().map_or("", Status::message))
        }
        None => bail!("an answer has no `grpc-status`"),
    }
}

/// The message of an answer that holds one.
fn message_of(mut frame: Bytes) -> Result<Bytes> {
    if frame.len() < PREFIX_BYTES {
        bail!("an answer of {} bytes holds no message", frame.len());
    }
    let is_plain = frame.get_u8() == 0;
    let length = frame.get_u32() as usize;
    if !is_plain || frame.len() != length {
        bail!("an answer should hold one plain message of {length} bytes, found {}", frame.len());
    }
    Ok(frame)
}

/// What has come of an answer; most come in one piece, which is not copied.
#[derive(Default)]
struct Frames {
    first: Bytes,
    more: BytesMut,
}

impl Frames {
    fn push(&mut self, data: Bytes) {
        if self.first.is_empty() {
            self.first = data;
        } else {
            self.more.extend_from_slice(&data);
        }
    }

    fn whole(mut self) -> Bytes {
        if self.more.is_empty() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.first.len() + self.more.len());
        whole.extend_from_slice(&self.first);
        whole.extend_from_slice(&self.more.split());
        whole.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_out_of_its_frame() {
        assert_eq!(message_of(framed(b"abc")).unwrap(), b"abc"[..]);
        assert!(message_of(Bytes::from_static(b"abc")).is_err());
        let mut cut = framed(b"abc");
        cut.truncate(7);
        assert!(message_of(cut).is_err());
    }

    #[test]
    fn only_the_status_0_is_good() {
        let headers =
            |status: &'static str| HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(status))]);
        assert!(check_status(&headers("0")).is_ok());
        assert!(check_status(&headers("8")).unwrap_err().to_string().contains("code 8"));
        assert!(check_status(&HeaderMap::new()).is_err());
    }

    #[test]
    fn pieces_of_an_answer_are_put_together() {
        let mut frames = Frames::default();
        for piece in ["ab", "cd", "e"] {
            frames.push(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!(frames.whole(), "abcde");
    }
}
