//! How many, how long, who is left alone, and who keeps whom.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use frontdesk_api::{Error, Inference, Kind};
use futures::{FutureExt, StreamExt};

use super::stage::{Actor, Hand, Piece, Say, ask, cx, hear, question, router};
use crate::{
    Router,
    policy::{Affinity, Breaker, Route, Timeouts},
};

fn limited(max: usize, targets: &[&str]) -> Route {
    let mut route = Route::to("r", targets);
    route.targets.iter_mut().for_each(|target| target.max_in_flight = Some(max));
    route
}

#[tokio::test]
async fn a_full_target_sends_on_and_a_full_route_says_when_to_come_back() {
    let (a, b) = (Actor::well("a"), Actor::well("b"));
    let router = router(&[&a, &b], &Hand::new(), vec![limited(1, &["a/m", "b/m"])]);
    let first = router.chat(&cx(), question("r")).await.expect("the first place");
    let second = router.chat(&cx(), question("r")).await.expect("the next target");
    assert_eq!((first.head.provider.as_str(), second.head.provider.as_str()), ("a", "b"));
    assert!(second.head.effort.others.is_empty(), "nobody was asked in vain");
    let error = router.chat(&cx(), question("r")).await.err().expect("full");
    assert_eq!((error.kind, error.code.as_deref()), (Kind::Unavailable, Some("no_capacity")));
    assert_eq!(error.retry_after, Some(Duration::from_secs(1)));
    // The body's end frees a place, and so does leaving.
    hear(first).await.expect("all of it");
    drop(second);
    assert!(router.targets().iter().all(|target| target.in_flight == 0));
    assert_eq!(ask(&router, "r").await.expect("a place").words, "<a");
}

#[tokio::test]
async fn who_waits_for_a_place_gets_the_first_that_is_free() {
    let (a, b) = (Actor::well("a"), Actor::well("b"));
    let router = router(&[&a, &b], &Hand::still(), vec![limited(1, &["a/m", "b/m"])]);
    let _first = router.chat(&cx(), question("r")).await.expect("a place");
    let second = router.chat(&cx(), question("r")).await.expect("a place");
    let cx = cx();
    let mut third = router.chat(&cx, question("r"));
    assert!((&mut third).now_or_never().is_none());
    drop(second);
    assert_eq!(third.await.expect("the place of the second").head.provider, "b");
}

#[tokio::test]
async fn who_waits_for_a_place_waits_no_longer_than_for_the_answer() {
    let a = Actor::well("a");
    let timeouts = Timeouts { total_ms: Some(60), queue_ms: 5_000, ..Timeouts::default() };
    let hand = Hand::new();
    let router = router(&[&a], &hand, vec![Route { timeouts, ..limited(1, &["a/m"]) }]);
    let _held = router.chat(&cx(), question("r")).await.expect("the place");
    let error = router.chat(&cx(), question("r")).await.err().expect("no place");
    assert_eq!((error.kind, error.code.as_deref()), (Kind::Timeout, Some("deadline")), "{error}");
    assert_eq!((a.asked(), hand.waited()), (1, vec![Duration::from_millis(60)]));
}

#[tokio::test]
async fn who_waited_for_a_target_that_fails_may_have_the_place_of_another() {
    let held = || Say::Answers(vec![Piece::Preamble, Piece::Word("held")]);
    let (a, b) = (Actor::new("a", [held(), Say::Fails(Error::upstream("down"))]), Actor::new("b", [held()]));
    let router = router(&[&a, &b], &Hand::still(), vec![limited(1, &["a/m", "b/m"])]);
    let first = router.chat(&cx(), question("r")).await.expect("a place");
    let second = router.chat(&cx(), question("r")).await.expect("a place");
    let cx = cx();
    let mut third = router.chat(&cx, question("r"));
    assert!((&mut third).now_or_never().is_none());
    drop((first, second));
    let answer = third.await.expect("the other's place");
    assert_eq!((answer.head.provider.as_str(), answer.head.effort.others.len()), ("b", 1));
}

#[tokio::test]
async fn a_limit_holds_by_every_name() {
    let a = Actor::well("a");
    let routes = vec![limited(1, &["a/m"]), Route { id: "s".into(), ..Route::to("s", &["a/m"]) }];
    let router = router(&[&a], &Hand::new(), routes);
    let held = router.chat(&cx(), question("a/m")).await.expect("a place");
    for name in ["r", "s", "a/m"] {
        let error = router.chat(&cx(), question(name)).await.err().expect("full");
        assert_eq!(error.code.as_deref(), Some("no_capacity"), "{name}");
    }
    assert!(router.chat(&cx(), question("a/other")).await.is_ok());
    drop(held);
    let listed = router.models(&cx()).await.expect("a list");
    assert_eq!(listed.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["r", "s"]);
}

#[tokio::test]
async fn an_answer_that_falls_silent_or_outlives_its_time_ends_with_a_timeout() {
    let idle = Timeouts { idle_ms: Some(50), ..Timeouts::default() };
    let total = Timeouts { total_ms: Some(60), ..Timeouts::default() };
    for (timeouts, code) in [(idle, "idle_timeout"), (total, "deadline")] {
        let a = Actor::new("a", [Say::Answers(vec![Piece::Word("hi"), Piece::Silence])]);
        let route = Route { timeouts, ..Route::to("r", &["a/m"]) };
        let heard = ask(&router(&[&a], &Hand::new(), vec![route]), "r").await.expect("an answer");
        let error = heard.error.expect("an end");
        assert_eq!((heard.words.as_str(), error.kind, error.code.as_deref()), ("hi", Kind::Timeout, Some(code)));
        assert_eq!(a.dropped.load(std::sync::atomic::Ordering::SeqCst), 1, "the work is stopped");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_ends_with_a_timeout_and_nobody_else_is_asked() {
    let timeouts = Timeouts { total_ms: Some(60), ..Timeouts::default() };
    let (a, b) = (Actor::new("a", [Say::Answers(vec![Piece::Silence])]), Actor::well("b"));
    let route = Route { timeouts, ..Route::to("r", &["a/m", "b/m"]) };
    let error = ask(&router(&[&a, &b], &Hand::new(), vec![route]), "r").await.err().expect("no answer");
    assert_eq!((error.kind, error.code.as_deref()), (Kind::Timeout, Some("deadline")), "{error}");
    assert_eq!((a.asked(), b.asked(), a.dropped.load(std::sync::atomic::Ordering::SeqCst)), (1, 0, 1));
}

#[tokio::test]
async fn the_callers_own_deadline_holds_by_a_plain_name_too() {
    let a = Actor::new("a", [Say::Answers(vec![Piece::Word("hi"), Piece::Silence])]);
    let mut cx = cx();
    cx.deadline = Some(std::time::Instant::now() + Duration::from_secs(60));
    let reply = router(&[&a], &Hand::new(), vec![]).chat(&cx, question("a/m")).await.expect("a head");
    assert_eq!(hear(reply).await.expect("frames").error.expect("an end").code.as_deref(), Some("deadline"));
}

#[tokio::test]
async fn no_retry_begins_that_could_not_end_in_time() {
    let a = Actor::new("a", [Say::Fails(Error::unavailable("x").with_retry_after(Duration::from_secs(4)))]);
    let timeouts = Timeouts { total_ms: Some(3_000), ..Timeouts::default() };
    let retries = crate::policy::Retries { max: 1, ..Default::default() };
    let route = Route { timeouts, retries, ..Route::to("r", &["a/m"]) };
    assert!(ask(&router(&[&a], &Hand::new(), vec![route]), "r").await.is_err());
    assert_eq!(a.asked(), 1);
}

fn down(times: usize) -> Vec<Say> {
    (0..times).map(|_| Say::Fails(Error::upstream("down"))).collect()
}

fn fragile(targets: &[&str]) -> Route {
    let breaker = Breaker { failures: 2, open_ms: 10_000, ..Breaker::default() };
    Route { breaker, ..Route::to("r", targets) }
}

#[tokio::test]
async fn a_target_that_is_plainly_down_is_left_alone_and_tried_again_later() {
    let (a, b, hand) = (Actor::new("a", down(3)), Actor::well("b"), Hand::new());
    let router = router(&[&a, &b], &hand, vec![fragile(&["a/m", "b/m"])]);
    for _ in 0..4 {
        assert_eq!(ask(&router, "r").await.expect("b is well").words, "<b");
    }
    assert_eq!((a.asked(), router.targets()[0].breaker.state), (2, "open"));
    // The one that tries it has b behind it.
    hand.pass(Duration::from_secs(10));
    assert_eq!(ask(&router, "r").await.expect("b is well").head.effort.others.len(), 1);
    assert_eq!((a.asked(), router.targets()[0].breaker.state), (3, "open"));
    hand.pass(Duration::from_secs(10));
    assert_eq!(ask(&router, "r").await.expect("a is back").words, "<a");
    assert_eq!(router.targets()[0].breaker.state, "closed");
}

#[tokio::test]
async fn no_retry_goes_to_a_target_that_this_failure_has_shut() {
    for (targets, asked) in [(&["a/m", "b/m"][..], (2, 1)), (&["a/m"], (3, 0))] {
        let (a, b) = (Actor::new("a", down(2)), Actor::well("b"));
        let retries = crate::policy::Retries { max: 5, ..Default::default() };
        let route = Route { retries, ..fragile(targets) };
        ask(&router(&[&a, &b], &Hand::new(), vec![route]), "r").await.expect("an answer");
        assert_eq!((a.asked(), b.asked()), asked);
    }
}

#[tokio::test]
async fn where_all_are_down_the_least_bad_is_asked() {
    let (a, b, hand) = (Actor::new("a", down(3)), Actor::new("b", down(2)), Hand::new());
    let router = router(&[&a, &b], &hand, vec![fragile(&["a/m", "b/m"])]);
    for _ in 0..2 {
        assert!(ask(&router, "r").await.is_err());
        hand.pass(Duration::from_secs(1));
    }
    assert!(router.targets().iter().all(|target| target.breaker.state == "open"));
    // Both opened in the same moment: the first of the list is as bad as the second.
    let error = ask(&router, "r").await.err().expect("a is still down");
    assert_eq!((error.attempts().len(), a.asked(), b.asked()), (1, 3, 2));
    // Now it was asked last, so the other one is the less bad.
    assert_eq!(ask(&router, "r").await.expect("b is back").words, "<b");
}

#[tokio::test]
async fn a_try_that_its_caller_left_is_the_next_ones() {
    let mut lines = down(2);
    lines.push(Say::Nothing);
    let (a, b, hand) = (Actor::new("a", lines), Actor::well("b"), Hand::new());
    let router = router(&[&a, &b], &hand, vec![fragile(&["a/m", "b/m"])]);
    for _ in 0..2 {
        ask(&router, "r").await.expect("b is well");
    }
    hand.pass(Duration::from_secs(10));
    let cx = cx();
    assert!(router.chat(&cx, question("r")).now_or_never().is_none(), "a was tried, and its caller left");
    assert_eq!(ask(&router, "r").await.expect("a is back").words, "<a");
}

async fn chosen(router: &Router, session: Option<&str>, key: Option<u64>) -> String {
    let (mut cx, mut request) = (cx(), question("r"));
    cx.session = session.map(str::to_owned);
    request.affinity = key;
    router.chat(&cx, request).await.expect("an answer").head.provider
}

#[tokio::test]
async fn a_conversation_stays_with_its_target_and_its_fallback() {
    let actors = ["a", "b", "c"].map(Actor::well);
    let mut route = Route::to("r", &["a/m", "b/m", "c/m"]);
    route.targets.iter_mut().for_each(|target| target.weight = Some(1));
    let all: Vec<&Arc<Actor>> = actors.iter().collect();
    let dealt = router(&all, &Hand::new(), vec![Route { affinity: Affinity::None, ..route.clone() }]);
    let kept = router(&all, &Hand::new(), vec![route]);
    let mut homes = BTreeSet::new();
    for session in ["s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"] {
        let home = chosen(&kept, Some(session), None).await;
        for other_key in [None, Some(1), Some(2)] {
            assert_eq!(chosen(&kept, Some(session), other_key).await, home);
        }
        homes.insert(home);
    }
    assert_eq!(homes.len(), 3, "and not all in one place");
    assert_eq!(chosen(&kept, None, Some(5)).await, chosen(&kept, None, Some(5)).await);
    let mut without = BTreeSet::new();
    for _ in 0..30 {
        without.insert(chosen(&dealt, Some("s1"), Some(5)).await);
    }
    assert_eq!(without.len(), 3);
}

#[tokio::test]
async fn priority_decides_before_weight() {
    let (a, b) = (Actor::well("a"), Actor::well("b"));
    let mut route = Route::to("r", &["a/m", "b/m"]);
    (route.targets[0].priority, route.targets[1].weight) = (Some(1), Some(1));
    let router = router(&[&a, &b], &Hand::new(), vec![route]);
    for _ in 0..10 {
        assert_eq!(ask(&router, "r").await.expect("an answer").words, "<b");
    }
}

#[test]
fn what_is_out_of_range_is_refused_with_its_path() {
    let refused = |change: fn(&mut Route)| {
        let mut route = Route::to("r", &["a/m", "a/n"]);
        change(&mut route);
        let providers = [("a".to_owned(), Actor::well("a") as Arc<dyn Inference>)].into();
        let other = limited(3, &["a/n"]);
        let error = Router::new(providers, vec![Route { id: "other".into(), ..other }, route]).err().expect("refused");
        error.param.expect("a place")
    };
    assert_eq!(refused(|r| r.id = "a/b".into()), "models[1].id");
    assert_eq!(refused(|r| r.id = "other".into()), "models[1].id");
    assert_eq!(refused(|r| r.targets[1].max_in_flight = Some(0)), "models[1].targets[1].max_in_flight");
    assert_eq!(refused(|r| r.targets[1].max_in_flight = Some(4)), "models[1].targets[1].max_in_flight");
    assert_eq!(refused(|r| r.targets.iter_mut().for_each(|t| t.weight = Some(0))), "models[1].targets");
    assert_eq!(refused(|r| r.timeouts.idle_ms = Some(0)), "models[1].timeouts.idle_ms");
    assert_eq!(refused(|r| r.retries.budget_percent = 101), "models[1].retries.budget_percent");
    assert_eq!(refused(|r| r.breaker.open_ms = 0), "models[1].breaker.open_ms");
    let hedge = |r: &mut Route| {
        r.targets.pop();
        r.hedge = Some(crate::policy::Hedge { after_ms: 1 });
    };
    assert_eq!(refused(hedge), "models[1].hedge");
}

#[tokio::test]
async fn an_answer_under_way_keeps_its_place_until_its_end() {
    let a = Actor::well("a");
    let router = router(&[&a], &Hand::new(), vec![limited(2, &["a/m"])]);
    let mut reply = router.chat(&cx(), question("r")).await.expect("a place");
    let in_flight = || router.targets()[0].in_flight;
    assert_eq!(in_flight(), 1);
    while let Some(frame) = reply.frames.next().await {
        frame.expect("a good one");
    }
    assert_eq!(in_flight(), 0, "before it is dropped");
}
