//! From one target to the next, again on the same, two at once: when, and when not.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use frontdesk_api::{Attempt, Error, Inference, Kind, attempt::Outcome, chat::Usage};
use futures::StreamExt;
use tokio::sync::Notify;

use super::stage::{Actor, Hand, Piece, Say, ask, cx, hear, question, router};
use crate::policy::{Hedge, Retries, Route, Timeouts};

fn down() -> Say {
    Say::Fails(Error::unavailable("down"))
}

fn retrying(max: u32, targets: &[&str]) -> Route {
    Route { retries: Retries { max, ..Retries::default() }, ..Route::to("r", targets) }
}

#[tokio::test]
async fn a_failure_before_the_first_word_moves_on_exactly_once() {
    for (first, kind, cost) in [
        (Say::Fails(Error::upstream("refused")), Kind::Upstream, None),
        (Say::Answers(vec![Piece::Preamble, Piece::Breaks(Error::upstream("cut"))]), Kind::Upstream, None),
        (Say::Answers(vec![Piece::Counted, Piece::Breaks(Error::unavailable("busy"))]), Kind::Unavailable, Some(9)),
        (Say::Answers(vec![Piece::Preamble]), Kind::Upstream, None),
        (Say::Answers(vec![]), Kind::Upstream, None),
        (Say::Answers(vec![Piece::Preamble, Piece::Silence]), Kind::Timeout, None),
        (Say::Nothing, Kind::Timeout, None),
    ] {
        let (a, b) = (Actor::new("a", [first]), Actor::well("b"));
        let timeouts = Timeouts { first_token_ms: Some(40), ..Timeouts::default() };
        let route = Route { timeouts, ..Route::to("r", &["a/m", "b/n"]) };
        let heard = ask(&router(&[&a, &b], &Hand::new(), vec![route]), "r").await.expect("an answer");
        assert_eq!((heard.words.as_str(), heard.error.is_none()), ("<b", true));
        assert_eq!((a.asked(), b.asked()), (1, 1));
        assert_eq!((heard.head.provider.as_str(), heard.head.model.as_str()), ("b", "n"));
        let [other] = &heard.head.effort.others[..] else { panic!("{:?}", heard.head.effort.others) };
        assert_eq!((other.provider.as_str(), other.model.as_str()), ("a", "m"));
        assert_eq!((other.outcome, other.usage.map(|u| u.input_tokens)), (Outcome::Failed(kind), cost));
        assert_eq!(other.took, Duration::from_millis(if kind == Kind::Timeout { 40 } else { 0 }));
        assert_eq!(heard.head.effort.waited(), other.took);
    }
}

#[tokio::test]
async fn after_the_first_word_an_error_is_the_answers() {
    let a = Actor::new("a", [Say::Answers(vec![Piece::Word("hi"), Piece::Breaks(Error::upstream("cut"))])]);
    let b = Actor::well("b");
    let router = router(&[&a, &b], &Hand::new(), vec![retrying(3, &["a/m", "b/m"])]);
    let heard = ask(&router, "r").await.expect("an answer");
    assert_eq!((heard.words.as_str(), heard.error.map(|e| e.kind)), ("hi", Some(Kind::Upstream)));
    assert_eq!((a.asked(), b.asked(), heard.head.effort.others.len()), (1, 0, 0));
    assert_eq!(router.targets()[0].breaker.failures, 1, "and it counts");
}

#[tokio::test]
async fn the_first_word_is_out_before_the_second_exists() {
    let gate = Arc::new(Notify::new());
    let pieces =
        vec![Piece::Preamble, Piece::Preamble, Piece::Word("a"), Piece::Gate(Arc::clone(&gate)), Piece::Word("b")];
    let a = Actor::new("a", [Say::Answers(pieces)]);
    let router = router(&[&a, &Actor::well("b")], &Hand::new(), vec![Route::to("r", &["a/m", "b/m"])]);
    let mut frames = router.chat(&cx(), question("r")).await.expect("an answer").frames;
    let mut shown = vec![];
    for _ in 0..3 {
        shown.push(frames.next().await.expect("a frame").expect("a good one").raw);
    }
    assert_eq!(shown.concat(), b"<<a");
    gate.notify_one();
    assert_eq!(frames.next().await.expect("a frame").expect("a good one").raw, "b");
    assert!(frames.next().await.is_none());
}

#[tokio::test]
async fn nothing_is_held_back_where_nothing_could_be_done() {
    let gate = Arc::new(Notify::new());
    let a = Actor::new("a", [Say::Answers(vec![Piece::Gate(gate), Piece::Word("a")])]);
    let router = router(&[&a], &Hand::new(), vec![Route::to("r", &["a/m"])]);
    for name in ["r", "a/m"] {
        assert_eq!(router.chat(&cx(), question(name)).await.expect("a head").head.provider, "a");
    }
}

#[tokio::test]
async fn a_target_is_asked_again_after_growing_random_waits() {
    let (a, hand) = (Actor::new("a", [down(), down(), down()]), Hand::new());
    let heard = ask(&router(&[&a], &hand, vec![retrying(3, &["a/m"])]), "r").await.expect("an answer");
    assert_eq!((a.asked(), heard.head.effort.others.len(), heard.words.as_str()), (4, 3, "<a"));
    let bounds = [250, 500, 1000].map(Duration::from_millis);
    assert!(hand.waited().iter().zip(bounds).all(|(wait, bound)| *wait <= bound), "{:?}", hand.waited());
    assert_eq!(hand.waited().len(), 3);
    assert_eq!(heard.head.effort.waited(), Duration::ZERO, "no provider was waited for in them");
}

#[tokio::test]
async fn what_a_target_asks_for_is_waited_for_or_the_next_one_asked() {
    let slow = |s| Say::Fails(Error::new(Kind::RateLimited, "slow down").with_retry_after(Duration::from_secs(s)));
    let (a, b, hand) = (Actor::new("a", [slow(2)]), Actor::well("b"), Hand::new());
    let heard = ask(&router(&[&a, &b], &hand, vec![retrying(1, &["a/m", "b/m"])]), "r").await.expect("an answer");
    assert_eq!((heard.words.as_str(), a.asked()), ("<a", 2));
    let waited = hand.waited()[0].as_millis();
    assert!((2_000..=2_500).contains(&waited), "{waited}");

    let (a, hand) = (Actor::new("a", [slow(6)]), Hand::new());
    let heard = ask(&router(&[&a, &b], &hand, vec![retrying(1, &["a/m", "b/m"])]), "r").await.expect("an answer");
    assert_eq!((heard.words.as_str(), a.asked(), hand.waited().len()), ("<b", 1, 0));
}

#[tokio::test]
async fn retries_end_with_their_budget() {
    let a = Actor::new("a", (0..9).map(|_| down()));
    let retries = Retries { max: 5, budget_percent: 100, budget_min_per_s: 0, ..Retries::default() };
    let route = Route { retries, ..Route::to("r", &["a/m"]) };
    let error = ask(&router(&[&a], &Hand::new(), vec![route]), "r").await.err().expect("down");
    assert_eq!((a.asked(), error.attempts().len()), (2, 2), "one request buys one retry");
}

#[tokio::test]
async fn only_trouble_is_worth_another_attempt() {
    let refused = Error::upstream("refused its credentials").with_code("provider_credentials");
    for (error, asked) in [
        (Error::invalid("n", "bad n"), (1, 0)),
        (Error::new(Kind::TooLarge, "long"), (1, 0)),
        (Error::new(Kind::Refused, "policy"), (1, 0)),
        (Error::cancelled(), (1, 0)),
        (refused, (1, 1)),
        (Error::not_found("no such model"), (1, 1)),
        (Error::new(Kind::Timeout, "late"), (1, 1)),
        (Error::upstream("cut"), (2, 0)),
    ] {
        let (kind, a, b) = (error.kind, Actor::new("a", [Say::Fails(error)]), Actor::well("b"));
        let answer = ask(&router(&[&a, &b], &Hand::new(), vec![retrying(1, &["a/m", "b/m"])]), "r").await;
        assert_eq!((a.asked(), b.asked()), asked, "{kind:?}");
        assert_eq!(answer.is_err(), asked == (1, 0), "{kind:?}");
    }
}

#[tokio::test]
async fn a_model_that_is_gone_says_nothing_about_its_server() {
    let a = Actor::new("a", (0..50).map(|_| Say::Fails(Error::not_found("it was retired"))));
    let router = router(&[&a, &Actor::well("b")], &Hand::new(), vec![retrying(1, &["a/m", "b/m"])]);
    for _ in 0..50 {
        assert_eq!(ask(&router, "r").await.expect("an answer").words, "<b");
    }
    assert_eq!((a.asked(), router.targets()[0].breaker.failures), (50, 0));
}

#[tokio::test]
async fn a_count_says_nothing_about_a_target_and_takes_no_place() {
    let busy = || Say::Fails(Error::new(Kind::RateLimited, "slow down").with_retry_after(Duration::from_secs(3)));
    let (a, b) = (Actor::new("a", (0..9).map(|_| busy())), Actor::well("b"));
    let mut route = Route::to("r", &["a/m", "b/m"]);
    route.targets[1].max_in_flight = Some(1);
    let router = router(&[&a, &b], &Hand::new(), vec![route]);
    let taken = router.chat(&cx(), question("b/m")).await.expect("an answer");
    for _ in 0..9 {
        assert_eq!(router.count_tokens(&cx(), question("r")).await.expect("the second cannot count"), None);
    }
    assert_eq!((a.asked(), b.asked(), router.targets()[1].in_flight), (9, 10, 1));
    assert_eq!(router.targets()[0].breaker.failures, 0);
    drop(taken);
    assert_eq!(ask(&router, "r").await.expect("the first is well").words, "<a");
}

#[tokio::test]
async fn a_route_that_fails_tells_all_it_tried() {
    let (a, b) = (Actor::new("a", [down()]), Actor::new("b", [Say::Fails(Error::upstream("last"))]));
    let error = ask(&router(&[&a, &b], &Hand::new(), vec![Route::to("r", &["a/m", "b/m"])]), "r").await;
    let error = error.err().expect("both are down");
    assert_eq!(error.message, "last");
    let tried: Vec<_> = error.attempts().iter().map(|t| (t.provider.as_str(), t.outcome)).collect();
    assert_eq!(tried, [("a", Outcome::Failed(Kind::Unavailable)), ("b", Outcome::Failed(Kind::Upstream))]);
    let plain = Actor::new("a", [down()]);
    let error = ask(&router(&[&plain], &Hand::new(), vec![]), "a/m").await.err().expect("down");
    assert_eq!((error.attempts().len(), error.attempts()[0].model.as_str()), (1, "m"));
}

/// As of a request that a provider makes several calls of: those before the one that failed were paid for.
#[tokio::test]
async fn what_a_failure_is_known_to_have_cost_is_told_with_it() {
    let paid = || {
        let (kind, usage) = (Kind::RateLimited, Usage { input_tokens: 7, ..Usage::default() });
        let (provider, model, outcome) = ("a".into(), "m".into(), Outcome::Failed(kind));
        let attempt = Attempt { provider, model, outcome, took: Duration::ZERO, usage: Some(usage) };
        Actor::new("a", [Say::Fails(Error::new(kind, "busy").with_tried(vec![attempt]))])
    };
    let (a, b) = (paid(), Actor::new("b", [down()]));
    let route = router(&[&a, &b], &Hand::new(), vec![Route::to("r", &["a/m", "b/m"])]);
    let plain = router(&[&paid()], &Hand::new(), vec![]);
    for (router, model, want) in [(route, "r", vec![Some(7), None]), (plain, "a/m", vec![Some(7)])] {
        let error = ask(&router, model).await.err().expect("it fails");
        let told: Vec<_> = error.attempts().iter().map(|t| t.usage.map(|usage| usage.input_tokens)).collect();
        assert_eq!(told, want, "{model}");
    }
}

#[tokio::test]
async fn nobody_is_asked_after_the_caller_left() {
    let (a, b) = (Actor::new("a", [down()]), Actor::well("b"));
    let router = router(&[&a, &b], &Hand::new(), vec![retrying(3, &["a/m", "b/m"])]);
    let cx = cx();
    cx.cancel.cancel();
    assert!(router.chat(&cx, question("r")).await.is_err());
    assert_eq!((a.asked(), b.asked()), (1, 0));
}

fn hedged(targets: &[&str]) -> Route {
    Route { hedge: Some(Hedge { after_ms: 30 }), ..Route::to("r", targets) }
}

#[tokio::test]
async fn a_hedge_takes_the_first_to_speak_and_drops_the_other() {
    let (a, b) = (Actor::new("a", [Say::Answers(vec![Piece::Preamble, Piece::Silence])]), Actor::well("b"));
    let router = router(&[&a, &b], &Hand::new(), vec![hedged(&["a/m", "b/m"])]);
    let heard = ask(&router, "r").await.expect("an answer");
    assert_eq!((heard.words.as_str(), a.asked(), b.asked()), ("<b", 1, 1));
    let [other] = &heard.head.effort.others[..] else { panic!("{:?}", heard.head.effort.others) };
    assert_eq!((other.provider.as_str(), other.outcome), ("a", Outcome::Outrun));
    assert_eq!((other.took, a.dropped.load(Ordering::SeqCst)), (Duration::from_millis(30), 1));
    assert_eq!(heard.head.effort.waited(), other.took);
    assert!(router.targets().iter().all(|target| target.in_flight == 0), "{:?}", router.targets());
}

#[tokio::test]
async fn a_hedge_that_fails_leaves_the_first_its_time() {
    let gate = Arc::new(Notify::new());
    let a = Actor::new("a", [Say::Answers(vec![Piece::Gate(Arc::clone(&gate)), Piece::Word("a")])]);
    let b = Actor::new("b", [down()]);
    let router = router(&[&a, &b], &Hand::new(), vec![hedged(&["a/m", "b/m"])]);
    let (heard, ()) = tokio::join!(ask(&router, "r"), async {
        while b.asked() == 0 {
            tokio::task::yield_now().await;
        }
        gate.notify_one();
    });
    let heard = heard.expect("an answer");
    assert_eq!((heard.words.as_str(), heard.head.effort.others.len()), ("a", 1));
    assert_eq!(heard.head.effort.others[0].outcome, Outcome::Failed(Kind::Unavailable));
}

#[tokio::test]
async fn without_a_budget_for_hedges_the_next_is_still_there_when_the_first_fails() {
    let none = Retries { max: 0, budget_percent: 0, budget_min_per_s: 0, ..Retries::default() };
    let gate = Arc::new(Notify::new());
    let breaks = Piece::Breaks(Error::upstream("down"));
    let (slow, b) = (Actor::new("a", [Say::Answers(vec![Piece::Gate(Arc::clone(&gate)), breaks])]), Actor::well("b"));
    let route = Route { retries: none, ..hedged(&["a/m", "b/m"]) };
    let router = router(&[&slow, &b], &Hand::new(), vec![route]);
    let (heard, ()) = tokio::join!(ask(&router, "r"), async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        gate.notify_one();
    });
    let heard = heard.expect("the next target");
    assert_eq!((heard.words.as_str(), slow.asked(), b.asked()), ("<b", 1, 1));
}

#[tokio::test]
async fn a_request_that_is_at_fault_ends_both_and_tells_of_both() {
    let (a, b) = (Actor::new("a", [Say::Nothing]), Actor::new("b", [Say::Fails(Error::invalid("n", "bad n"))]));
    let error = ask(&router(&[&a, &b], &Hand::new(), vec![hedged(&["a/m", "b/m"])]), "r").await.err().expect("bad");
    let tried: Vec<_> = error.attempts().iter().map(|t| (t.provider.as_str(), t.outcome)).collect();
    assert_eq!(tried, [("a", Outcome::Outrun), ("b", Outcome::Failed(Kind::Invalid))]);
}

#[tokio::test]
async fn a_quick_answer_is_not_hedged_and_a_whole_one_never() {
    let (a, b) = (Actor::well("a"), Actor::well("b"));
    let quick = router(&[&a, &b], &Hand::new(), vec![hedged(&["a/m", "b/m"])]);
    ask(&quick, "r").await.expect("an answer");
    assert_eq!((a.asked(), b.asked()), (1, 0));
    let gate = Arc::new(Notify::new());
    let slow = Actor::new("a", [Say::Answers(vec![Piece::Gate(Arc::clone(&gate)), Piece::Word("whole")])]);
    let router = router(&[&slow, &b], &Hand::new(), vec![hedged(&["a/m", "b/m"])]);
    let mut request = question("r");
    request.stream = false;
    gate.notify_one();
    let heard = hear(router.chat(&cx(), request).await.expect("an answer")).await.expect("all of it");
    assert_eq!((heard.words.as_str(), b.asked()), ("whole", 0));
}
