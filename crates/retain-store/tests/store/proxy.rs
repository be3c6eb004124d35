//! A way to PostgreSQL that can be cut, also in the middle of a commit.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

/// What the proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Hands everything over.
    Open,
    /// Refuses new connections.
    Cut,
    /// The next commit reaches the server, its answer reaches nobody; then as open.
    LoseNextAnswer,
    /// The next commit does not reach the server; then as open.
    LoseNextCommit,
    /// The next commit reaches the server, its answer reaches nobody; then as cut.
    LoseNextAnswerAndCut,
}

const MODES: [Mode; 5] = [Mode::Open, Mode::Cut, Mode::LoseNextAnswer, Mode::LoseNextCommit, Mode::LoseNextAnswerAndCut];
const COMMIT: &[u8] = b"COMMIT\0";

#[derive(Clone)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
}

struct Shared {
    port: u16,
    server: SocketAddr,
    mode: AtomicU8,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// A proxy for the server in an address, and the address of the proxy.
    pub(crate) fn before(url: &str) -> (Self, String) {
        let (credentials, rest) = url.rsplit_once('@').unwrap();
        let (server, database) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, open) = (AtomicU8::new(Mode::Open as u8), Mutex::default());
        let proxy = Self { shared: Arc::new(Shared { port, server: server.parse().unwrap(), mode, open }) };
        let shared = proxy.shared.clone();
        std::thread::spawn(move || shared.accept(&listener));
        let address = format!("{credentials}@127.0.0.1:{}/{database}", proxy.shared.port);
        (proxy, address)
    }

    /// Changes what it does, and ends all connections where it is to be cut.
    pub(crate) fn set(&self, mode: Mode) {
        self.shared.mode.store(mode as u8, Ordering::SeqCst);
        if mode == Mode::Cut {
            self.shared.end_all();
        }
    }
}

impl Shared {
    fn mode(&self) -> Mode {
        MODES[usize::from(self.mode.load(Ordering::SeqCst))]
    }

    fn end_all(&self) {
        self.open.lock().unwrap().drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming().map_while(Result::ok) {
            if self.mode() == Mode::Cut {
                continue;
            }
            let Ok(server) = TcpStream::connect(self.server) else { continue };
            let streams = [client.try_clone().unwrap(), server.try_clone().unwrap()];
            self.open.lock().unwrap().extend(streams);
            let (forth, back) = ((client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client));
            let (one, other) = (self.clone(), self.clone());
            std::thread::spawn(move || one.pump(forth.0, forth.1, true));
            std::thread::spawn(move || other.pump(back.0, back.1, false));
        }
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, is_forth: bool) {
        let mut buffer = [0; 1 << 16];
        while let Ok(n_read @ 1..) = from.read(&mut buffer) {
            let bytes = &buffer[..n_read];
            if is_forth && bytes.windows(COMMIT.len()).any(|window| window == COMMIT) {
                match self.mode() {
                    Mode::Open | Mode::Cut => {}
                    Mode::LoseNextCommit => {
                        self.mode.store(Mode::Open as u8, Ordering::SeqCst);
                        break;
                    }
                    mode => return self.lose_answer(bytes, from, to, mode),
                }
            }
            if to.write_all(bytes).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Hands a commit over, and ends the way back first and the way there once the server has ended the session in order.
    fn lose_answer(&self, commit: &[u8], client: TcpStream, mut server: TcpStream, mode: Mode) {
        let after = if mode == Mode::LoseNextAnswerAndCut { Mode::Cut } else { Mode::Open };
        self.mode.store(after as u8, Ordering::SeqCst);
        // The other pump writes the server's answer into a connection that has ended.
        client.shutdown(Shutdown::Both).unwrap();
        server.write_all(commit).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        if after == Mode::Cut {
            self.end_all_but_writing();
        }
    }

    /// Ends what clients read; the server still reads what is on its way.
    fn end_all_but_writing(&self) {
        self.open.lock().unwrap().iter().for_each(|stream| drop(stream.shutdown(Shutdown::Write)));
    }
}
