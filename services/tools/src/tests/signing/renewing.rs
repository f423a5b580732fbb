//! Tokens that end, are refused, or are for too little.

use super::*;

/// A hang is a failure: whoever waits for what another lost would wait for the whole time that it is held.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn many_calls_at_many_processes_renew_once_and_a_dropped_one_does_not_lose_it() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let closed = Arc::new(Closed { slow: true, ..Closed::default() });
        let (one, two) = (at_the_door(store.clone(), &closed), at_the_door(store.clone(), &closed));
        one.register(&cx, registration()).await.expect("registered");
        let_in(&one, &cx).await.expect("let in");
        closed.forget();
        {
            let dropped = look(&one, &cx);
            tokio::select! {
                _ = dropped => panic!("it waits"),
                () = closed.begun.notified() => {}
            }
        }
        let word = async {
            tokio::task::yield_now().await;
            closed.word.notify_one();
        };
        let all = async { tokio::join!(look(&one, &cx), look(&two, &cx), look(&two, &cx), word) };
        let (a, b, c, ()) = tokio::time::timeout(PATIENCE, Box::pin(all)).await.expect("what was begun is not lost");
        assert_eq!([a.content, b.content, c.content], ["done", "done", "done"]);
        assert_eq!(closed.given.load(Ordering::SeqCst), 3, "given, forgotten, renewed once");
    })
    .await;
}

#[tokio::test]
async fn a_call_that_wants_more_takes_nothing_from_whoever_renews() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let closed = Arc::new(Closed { slow: true, ..Closed::default() });
        let (one, two) = (at_the_door(store.clone(), &closed), at_the_door(store.clone(), &closed));
        one.register(&cx, registration()).await.expect("registered");
        let_in(&one, &cx).await.expect("let in");
        closed.forget();
        let renewing = tokio::spawn({
            let cx = cx.clone();
            async move { look(&one, &cx).await }
        });
        closed.begun.notified().await;
        *closed.wants.lock().expect("a scope") = Some("admin");
        let refused = look(&two, &cx).await;
        assert!(refused.is_error && !refused.content.contains("says the server"), "{}", refused.content);
        *closed.wants.lock().expect("a scope") = None;
        closed.word.notify_one();
        let renewed = tokio::time::timeout(PATIENCE, renewing).await.expect("in time").expect("a result");
        assert_eq!(renewed.content, "done");
        assert_eq!(look(&two, &cx).await.content, "done", "what was exchanged was written");
        assert_eq!(closed.asked.load(Ordering::SeqCst), 2, "no token was used twice");
        // A further scope takes a person still, and whoever goes is asked for it.
        assert_eq!(standing(&two, &cx).await.as_deref(), Some("more, says the server"));
        let (place, state) = set_out(&two, &cx).await;
        assert!(two.visit(&place, &state).await.expect("what for").url.ends_with("scope=admin"));
    })
    .await;
}

#[tokio::test]
async fn only_the_word_that_a_grant_is_over_lets_tokens_go() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let closed = Arc::new(Closed::default());
        let registry = at_the_door(store.clone(), &closed);
        registry.register(&cx, registration()).await.expect("registered");
        let_in(&registry, &cx).await.expect("let in");
        let kept =
            async || store.tenant(&cx).find_sign_in("shop").await.expect("asked").expect("there").sealed.is_some();

        // Refused: it is that call's failure. The tokens are renewed in between, and not again for a while, call as they may.
        closed.stubborn.store(true, Ordering::SeqCst);
        for asked in [2, 2, 3] {
            let refused = look(&registry, &cx).await;
            assert!(refused.is_error && !refused.content.contains("says the server"), "{}", refused.content);
            assert_eq!(closed.asked.load(Ordering::SeqCst), asked);
            closed.clock.pass(3 * 1_000_000);
        }
        closed.stubborn.store(false, Ordering::SeqCst);
        assert_eq!((kept().await, standing(&registry, &cx).await), (true, None));
        assert_eq!(look(&registry, &cx).await.content, "done");

        // A server that is not itself just now: nobody asks it again at once.
        closed.forget();
        closed.refuse(Some("invalid_client"));
        let asked = closed.asked.load(Ordering::SeqCst);
        for _ in 0..3 {
            let refused = look(&registry, &cx).await;
            let says = refused.content.contains("tried again") && !refused.content.contains("invalid_client");
            assert!(refused.is_error && says, "{}", refused.content);
        }
        assert_eq!((closed.asked.load(Ordering::SeqCst), kept().await), (asked + 1, true));
        assert_eq!(standing(&registry, &cx).await, None);

        let_in(&registry, &cx).await.expect_err("not now");
        closed.refuse(None);
        let_in(&registry, &cx).await.expect("let in");
        closed.forget();
        closed.refuse(Some("invalid_grant"));
        for _ in 0..2 {
            let refused = look(&registry, &cx).await;
            let says =
                refused.content.contains("/v1/toolgroups/shop/authorize") && !refused.content.contains("invalid");
            assert!(refused.is_error && says, "{}", refused.content);
        }
        assert_eq!((kept().await, standing(&registry, &cx).await.as_deref()), (false, Some("invalid_grant")));
        let noted = actions(&registry, &cx).await;
        assert_eq!(noted.iter().filter(|action| *action == "deauthorized").count(), 1, "{noted:?}");
        // Somebody signs in, and the tools are those that were pinned.
        closed.refuse(None);
        let landed = let_in(&registry, &cx).await.expect("let in");
        assert_eq!(problem(&landed.group), None);
        assert_eq!(look(&registry, &cx).await.content, "done");
    })
    .await;
}

#[tokio::test]
async fn a_group_that_signs_in_by_itself_is_not_dead_when_it_was_refused_once() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let closed = Arc::new(Closed { alone: true, ..Closed::default() });
        let registry = at_the_door(store.clone(), &closed);
        let group = registry.register(&cx, registration()).await.expect("registered");
        assert_eq!(problem(&group), None);
        assert_eq!(look(&registry, &cx).await.content, "done");
        closed.forget();
        closed.refuse(Some("invalid_grant"));
        for _ in 0..2 {
            let refused = look(&registry, &cx).await;
            let says = refused.content.contains("again") && !refused.content.contains("/authorize");
            assert!(refused.is_error && says, "{}", refused.content);
        }
        assert_eq!(closed.asked.load(Ordering::SeqCst), 2, "once at registration, once now");
        closed.refuse(None);
        // The pause is over.
        let version = store.tenant(&cx).find_sign_in("shop").await.expect("asked").expect("there").version;
        store.tenant(&cx).pause_sign_in("shop", version, None, -1).await.expect("asked");
        assert_eq!(look(&registry, &cx).await.content, "done");
        assert_eq!(standing(&registry, &cx).await, None);

        // Also one whose server let everyone in when it was registered.
        closed.open.store(true, Ordering::SeqCst);
        registry.delete_group(&cx, "shop").await.expect("deleted");
        assert_eq!(registry.register(&cx, registration()).await.expect("registered").authorization, None);
        closed.open.store(false, Ordering::SeqCst);
        assert_eq!(look(&registry, &cx).await.content, "done");
        assert_eq!(standing(&registry, &cx).await, None);
    })
    .await;
}
