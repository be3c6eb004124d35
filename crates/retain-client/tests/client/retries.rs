//! Which failures are tried again, and how often.

use std::time::{Duration, Instant};

use retain_client::{Health, v1};
use tonic::{Code, Status};

use crate::support::{Scripted, client, failure, request, until_seen, with_hint};

fn alias() -> v1::SetAliasRequest {
    v1::SetAliasRequest { name: "telco".to_owned(), alias: "champion".to_owned(), version: 2 }
}

#[tokio::test]
async fn unavailable_is_tried_again_until_the_attempts_are_used_up() {
    let server = Scripted::start().await;
    let client = client([server.address]).connect().await.unwrap();
    server.refuse(vec![Status::unavailable("as told"); 3]);
    client.predict(&request()).await.unwrap();
    assert_eq!((server.calls().len(), client.n_retries()), (4, 3));
    server.refuse(vec![Status::unavailable("as told"); 4]);
    let refused = failure(client.predict(&request()).await);
    assert_eq!((refused.code(), refused.attempts), (Code::Unavailable, 4));
}

#[tokio::test]
async fn other_codes_are_final() {
    let server = Scripted::start().await;
    let client = client([server.address]).connect().await.unwrap();
    for code in (1..17).map(Code::from_i32).filter(|code| *code != Code::Unavailable) {
        server.refuse([Status::new(code, "as told")]);
        let refused = failure(client.predict(&request()).await);
        assert_eq!((refused.code(), refused.attempts), (code, 1));
    }
    assert_eq!(client.n_retries(), 0);
}

#[tokio::test]
async fn a_full_server_is_left_alone_as_long_as_it_asks() {
    let server = Scripted::start().await;
    let client = client([server.address]).connect().await.unwrap();
    let hint = Duration::from_millis(300);
    server.refuse([with_hint(Code::ResourceExhausted, hint)]);
    let began = Instant::now();
    client.predict(&request()).await.unwrap();
    assert!(began.elapsed() >= hint);
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test]
async fn what_changes_something_is_made_again_only_when_it_was_not_executed() {
    let server = Scripted::start().await;
    let client = client([server.address]).connect().await.unwrap();
    server.refuse([Status::unavailable("as told")]);
    assert_eq!(failure(client.set_alias(&alias()).await).attempts, 1);
    server.refuse([with_hint(Code::ResourceExhausted, Duration::from_millis(1))]);
    client.set_alias(&alias()).await.unwrap();
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test]
async fn another_attempt_goes_to_another_server() {
    let (first, second) = (Scripted::start().await, Scripted::start().await);
    let client = client([first.address, second.address]).connect().await.unwrap();
    until_seen(&client, 0, Health::Serving).await;
    until_seen(&client, 1, Health::Serving).await;
    for server in [&first, &second] {
        server.refuse([with_hint(Code::Unavailable, Duration::from_hours(1))]);
    }
    // Both refuse once and ask to be left alone for an hour; a third attempt would have to wait for that.
    let refused = failure(client.predict(&request()).await);
    assert_eq!(refused.attempts, 2);
    assert_eq!((first.calls().len(), second.calls().len()), (1, 1));
    client.predict(&request()).await.unwrap();
}

#[tokio::test]
async fn retries_end_when_their_share_of_the_calls_is_spent() {
    let server = Scripted::start().await;
    let client =
        client([server.address]).max_attempts(2).retry_share(0.0).pauses(Duration::ZERO, Duration::ZERO).connect().await.unwrap();
    server.refuse(vec![Status::unavailable("as told"); 250]);
    let mut attempts = 0;
    for _ in 0..120 {
        attempts += failure(client.predict(&request()).await).attempts;
    }
    // A hundred at the beginning, and no more.
    assert_eq!((attempts, client.n_retries()), (220, 100));
}
