//! The servers of a client: what is known of each, and which one is asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tonic::transport::Channel;

use crate::retry::Random;

/// What is known of a server's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It has not been heard yet.
    Unknown,
    /// It answers.
    Serving,
    /// It says that it does not: it is stopping, or has no models.
    NotServing,
    /// It cannot be reached.
    Unreachable,
}

/// One server as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHealth {
    /// Its address, as it was given.
    pub address: String,
    /// Whether it answers.
    pub health: Health,
    /// Calls of this client that it has not answered yet.
    pub in_flight: usize,
    /// Why it cannot be reached; empty otherwise.
    pub problem: String,
}

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) channel: Channel,
    state: Mutex<(Health, String)>,
    in_flight: AtomicUsize,
    /// Told whenever the health of any server has changed.
    changed: watch::Sender<()>,
}

impl Server {
    pub(crate) fn new(address: String, channel: Channel, changed: watch::Sender<()>) -> Self {
        let state = Mutex::new((Health::Unknown, String::new()));
        Self { address, channel, state, in_flight: AtomicUsize::new(0), changed }
    }

    /// Notes what its health is, and why it cannot be reached.
    pub(crate) fn set_health(&self, health: Health, problem: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = state.0 != health;
        *state = (health, problem.to_owned());
        drop(state);
        if is_news {
            tracing::info!(server = self.address, ?health, problem, "the health of a server changed");
            self.changed.send_replace(());
        }
    }

    fn is_serving(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 == Health::Serving
    }

    pub(crate) fn seen(&self) -> ServerHealth {
        let (health, problem) = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        ServerHealth { address: self.address.clone(), health, in_flight, problem }
    }
}

/// A call's place at a server, which counts as long as this is held.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) server: Arc<Server>,
    /// The server's position in the list.
    pub(crate) position: usize,
}

impl Place {
    pub(crate) fn take(server: &Arc<Server>, position: usize) -> Self {
        server.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { server: server.clone(), position }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All servers of a client.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) list: Vec<Arc<Server>>,
    changed: watch::Receiver<()>,
}

impl Servers {
    pub(crate) fn new(list: Vec<Arc<Server>>, changed: watch::Receiver<()>) -> Self {
        Self { list, changed }
    }

    /// A server that is ready: of two drawn at random the one with fewer calls in flight, and one of those that were `tried`
    /// already only where there is no other.
    pub(crate) fn pick(&self, tried: &[usize], random: &Random) -> Option<Place> {
        let serving: Vec<usize> = (0..self.list.len()).filter(|&position| self.list[position].is_serving()).collect();
        let fresh: Vec<usize> = serving.iter().copied().filter(|position| !tried.contains(position)).collect();
        let choice = if fresh.is_empty() { serving } else { fresh };
        let first = *choice.get(random.below(choice.len().max(1)))?;
        let mut second = random.below(choice.len());
        if choice[second] == first {
            second = (second + 1) % choice.len();
        }
        let load = |position: usize| self.list[position].in_flight.load(Ordering::Relaxed);
        let position = if load(choice[second]) < load(first) { choice[second] } else { first };
        Some(Place::take(&self.list[position], position))
    }

    /// The same, as soon as there is one.
    pub(crate) async fn ready(&self, tried: &[usize], random: &Random) -> Place {
        // Subscribed before the look, so that no change is missed.
        let mut changed = self.changed.clone();
        loop {
            changed.borrow_and_update();
            if let Some(place) = self.pick(tried, random) {
                return place;
            }
            if changed.changed().await.is_err() {
                // Nobody watches any more; the deadline of the call ends this.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether a server is ready that has not been tried.
    pub(crate) fn has_other(&self, tried: &[usize]) -> bool {
        self.list.iter().enumerate().any(|(position, server)| !tried.contains(&position) && server.is_serving())
    }

    /// What is known of each, in words.
    pub(crate) fn in_words(&self) -> String {
        let words = |server: &Arc<Server>| {
            let ServerHealth { address, health, problem, .. } = server.seen();
            match health {
                Health::Unknown => format!("{address} has not answered yet"),
                Health::Serving => format!("{address} is serving"),
                Health::NotServing => format!("{address} says that it is not serving"),
                Health::Unreachable => format!("{address} cannot be reached: {problem}"),
            }
        };
        self.list.iter().map(words).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(health: &[Health]) -> Servers {
        let (changed, receiver) = watch::channel(());
        let server = |(position, health): (usize, &Health)| {
            let channel = Channel::from_static("http://127.0.0.1:1").connect_lazy();
            let server = Server::new(format!("s{position}"), channel, changed.clone());
            server.set_health(*health, "");
            Arc::new(server)
        };
        Servers::new(health.iter().enumerate().map(server).collect(), receiver)
    }

    #[tokio::test]
    async fn only_servers_that_serve_are_picked() {
        let random = Random::new(7);
        let servers = servers(&[Health::NotServing, Health::Serving, Health::Unreachable, Health::Unknown]);
        assert!((0..100).all(|_| servers.pick(&[], &random).unwrap().position == 1));
        assert!(!servers.has_other(&[1]) && servers.has_other(&[]));
        assert_eq!(servers.pick(&[1], &random).unwrap().position, 1);
        servers.list[1].set_health(Health::NotServing, "");
        assert!(servers.pick(&[], &random).is_none());
    }

    #[tokio::test]
    async fn calls_spread_and_go_to_who_has_fewer() {
        let random = Random::new(7);
        let servers = servers(&[Health::Serving; 3]);
        let places: Vec<Place> = (0..300).map(|_| servers.pick(&[], &random).unwrap()).collect();
        for server in &servers.list {
            assert!((90..=110).contains(&server.seen().in_flight), "{:?}", server.seen());
        }
        drop(places);
        assert!(servers.list.iter().all(|server| server.seen().in_flight == 0));
        assert!((0..100).all(|_| servers.pick(&[0, 2], &random).unwrap().position == 1));
    }

    #[tokio::test]
    async fn a_call_waits_for_a_server_to_come() {
        let random = Random::new(7);
        let servers = servers(&[Health::NotServing]);
        let server = servers.list[0].clone();
        let (place, ()) = tokio::join!(servers.ready(&[], &random), async { server.set_health(Health::Serving, "") });
        assert_eq!(place.position, 0);
    }
}
