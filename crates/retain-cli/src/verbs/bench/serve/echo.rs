//! The bare echo: what tonic costs with nothing behind it.
//!
//! It takes a request as the bytes that came and answers with the bytes that the real server gave for it, which it is told on standard
//! input; nothing is decoded. It runs on the same runtime and the same HTTP/2 settings, in a process of its own.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, Result};
use clap::Args;
use prost::bytes::{Buf, BufMut, Bytes};
use serde_json::json;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::requests::row_of_request;
use crate::exit::Exit;
use crate::output::Output;
use crate::verbs::serve::block_on;

#[derive(Debug, Args)]
pub(crate) struct Arguments {}

/// Answers until standard input ends, as it does when the process that asked for it is gone.
pub(crate) fn run(_: &Arguments, output: Output) -> Result<Exit> {
    let answers = read_answers(&mut io::stdin().lock()).context("cannot read the answers from standard input")?;
    let (gone, all_read) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = gone.send(());
    });
    block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen")?;
        output.json_line(&json!({ "listen": listener.local_addr()?.to_string() }))?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let echo = Echo { answers: Arc::new(answers) };
        let until = async { drop(all_read.await) };
        retain_server::transport().serve_with_incoming_shutdown(echo, incoming, until).await?;
        Ok(Exit::GOOD)
    })
}

/// Writes answers as [`read_answers`] reads them: their number, then each with its length before it.
pub(super) fn write_answers(writer: &mut impl Write, answers: &[Bytes]) -> io::Result<()> {
    writer.write_all(&(answers.len() as u64).to_le_bytes())?;
    for answer in answers {
        writer.write_all(&(answer.len() as u64).to_le_bytes())?;
        writer.write_all(answer)?;
    }
    writer.flush()
}

fn read_answers(reader: &mut impl Read) -> io::Result<Vec<Bytes>> {
    let n_answers = read_length(reader)?;
    // The lengths are not believed: memory grows with what is there.
    let mut answers = Vec::new();
    for _ in 0..n_answers {
        let length = read_length(reader)?;
        let mut answer = Vec::new();
        reader.take(length).read_to_end(&mut answer)?;
        if answer.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answers.push(Bytes::from(answer));
    }
    Ok(answers)
}

fn read_length(reader: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[derive(Clone)]
struct Echo {
    answers: Arc<Vec<Bytes>>,
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = self.clone();
        Box::pin(async move { Ok(Grpc::new(Raw).unary(method, request).await) })
    }
}

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let answer = row_of_request(request.get_ref()).and_then(|row| self.answers.get(row));
        ready(answer.cloned().map(Response::new).ok_or_else(|| Status::invalid_argument("not a request of the bench")))
    }
}

/// Messages are bytes and stay so.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, place: &mut EncodeBuf<'_>) -> Result<(), Status> {
        place.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_the_way_to_the_echo() {
        let answers = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        let mut written = Vec::new();
        write_answers(&mut written, &answers).unwrap();
        assert_eq!(read_answers(&mut written.as_slice()).unwrap(), answers);
        assert!(read_answers(&mut &written[..written.len() - 1]).is_err());
    }
}
