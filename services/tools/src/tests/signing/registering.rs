//! Registering, and looking at what would be registered, with tokens there or not.

use frontdesk_api::client_keys::ClientKeys;

use super::*;

async fn row(store: &Store, cx: &Cx) -> Option<frontdesk_store::sign_ins::StoredSignIn> {
    store.tenant(cx).find_sign_in("shop").await.expect("asked")
}

#[tokio::test]
async fn looking_at_a_registration_takes_nothing_from_the_one_there_is() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let closed = Arc::new(Closed::default());
        let registry = at_the_door(store.clone(), &closed);
        registry.register(&cx, registration()).await.expect("registered");
        let_in(&registry, &cx).await.expect("let in");
        let before = row(&store, &cx).await;
        let shown = registry.preview(&cx, registration()).await.expect("a preview");
        assert_eq!((shown.tools.len(), problem(&shown.group)), (2, None));

        // Their tokens are for their server: nobody else's is shown them, and none is lost.
        let moved = || otherwise(json!({ "password": "sesame", "server": "elsewhere" }));
        closed.forget();
        for refused in
            [registry.preview(&cx, moved()).await.map(|_| ()), registry.register(&cx, moved()).await.map(|_| ())]
        {
            let refused = refused.expect_err("it would have no tools");
            assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Conflict, Some("needs_authorization")));
        }
        registry.preview(&cx, registration()).await.expect_err("refused, and nothing is renewed for a dry run");
        assert_eq!(row(&store, &cx).await, before);
        assert_eq!(registry.list_tools(&cx, Some("shop")).await.expect("a list").len(), 2);

        // Refused at registration they are renewed, as they are for a call.
        registry.register(&cx, registration()).await.expect("registered anew");
        assert_eq!(look(&registry, &cx).await.content, "done");
        closed.forget();
        closed.refuse(Some("unavailable"));
        registry.register(&cx, registration()).await.expect_err("not now");
        closed.refuse(None);
        assert_eq!(registry.list_tools(&cx, Some("shop")).await.expect("a list").len(), 2);
        assert!(row(&store, &cx).await.expect("there").sealed.is_some());
    })
    .await;
}

#[tokio::test]
async fn registered_anew_with_tokens_that_are_good_a_group_has_no_problem_any_more() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let closed = Arc::new(Closed::default());
        let registry = at_the_door(store.clone(), &closed);
        registry.register(&cx, registration()).await.expect("registered");
        let_in(&registry, &cx).await.expect("let in");
        *closed.wants.lock().expect("a scope") = Some("admin");
        assert!(look(&registry, &cx).await.is_error);
        *closed.wants.lock().expect("a scope") = None;
        assert_eq!(standing(&registry, &cx).await.as_deref(), Some("more, says the server"));
        let group = registry.register(&cx, registration()).await.expect("registered anew");
        assert_eq!(problem(&group), None);
        assert_eq!(row(&store, &cx).await.expect("there").scope, None);
    })
    .await;
}

#[tokio::test]
async fn whoever_needs_no_sign_in_any_more_keeps_no_tokens() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let closed = Arc::new(Closed::default());
        let registry = at_the_door(store.clone(), &closed);
        for then in [
            otherwise(json!({ "password": "sesame", "badge": "b" })),
            otherwise(json!({ "password": "sesame", "server": "open" })),
            Registration { provider_id: "shop".into(), ..registration() },
        ] {
            registry.register(&cx, registration()).await.expect("registered");
            let_in(&registry, &cx).await.expect("let in");
            closed.open.store(then.args.contains_key("server"), Ordering::SeqCst);
            // What there was is due just then.
            closed.forget();
            registry.register(&cx, then).await.expect("registered anew");
            assert_eq!(row(&store, &cx).await, None);
            assert!(actions(&registry, &cx).await.contains(&"deauthorized".to_owned()));
            assert_eq!(look(&registry, &cx).await.content, "done");
            closed.open.store(false, Ordering::SeqCst);
            registry.delete_group(&cx, "shop").await.expect("deleted");
        }
        let nowhere = Registration { toolgroup_id: "open".into(), provider_id: "shop".into(), ..registration() };
        registry.register(&cx, nowhere).await.expect("registered");
        let refused = registry.authorize(&cx, "open", "x").await.expect_err("nothing to sign in at");
        assert_eq!(refused.code.as_deref(), Some("no_sign_in"));
    })
    .await;
}

#[tokio::test]
async fn who_brings_their_own_needs_nothing_of_the_groups() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let closed = Arc::new(Closed::default());
        let registry = at_the_door(store.clone(), &closed);
        registry.register(&cx, registration()).await.expect("registered");
        let_in(&registry, &cx).await.expect("let in");
        closed.forget();
        closed.refuse(Some("invalid_grant"));
        assert!(look(&registry, &cx).await.is_error);
        let keys = ClientKeys::new([("own".to_owned(), "mine".to_owned())]);
        let own = Cx { client_keys: keys, ..cx.clone() };
        assert_eq!(look(&registry, &own).await.content, "done");
        // And registering with them says nothing of how the group is let in.
        closed.refuse(None);
        let_in(&registry, &cx).await.expect("let in");
        let before = row(&store, &cx).await;
        registry.register(&own, registration()).await.expect("registered anew");
        assert_eq!(row(&store, &cx).await, before);
    })
    .await;
}

#[tokio::test]
async fn one_refusal_shuts_no_group_that_nobody_had_to_let_in() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let closed = Arc::new(Closed::default());
        let registry = at_the_door(store.clone(), &closed);
        closed.open.store(true, Ordering::SeqCst);
        registry.register(&cx, registration()).await.expect("registered");
        closed.open.store(false, Ordering::SeqCst);
        assert!(look(&registry, &cx).await.is_error, "refused for a moment");
        assert_eq!(row(&store, &cx).await, None, "it says nothing of the group");
        closed.open.store(true, Ordering::SeqCst);
        assert_eq!(look(&registry, &cx).await.content, "done");
        // One of its tools is for those who signed in.
        *closed.wants.lock().expect("a scope") = Some("write");
        assert!(look(&registry, &cx).await.is_error);
        *closed.wants.lock().expect("a scope") = None;
        assert_eq!(row(&store, &cx).await.expect("noted").scope.as_deref(), Some("write"));
        assert_eq!(look(&registry, &cx).await.content, "done", "the others work on");
        let_in(&registry, &cx).await.expect("let in");
        assert_eq!(standing(&registry, &cx).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_registration_that_is_none_any_more_is_in_nobodys_way() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let closed = Arc::new(Closed::default());
        let registry = at_the_door(store.clone(), &closed);
        registry.register(&cx, otherwise(json!({ "password": "sesame", "server": "old" }))).await.expect("registered");
        let_in(&registry, &cx).await.expect("let in");
        *closed.gone.lock().expect("a server") = Some("old");
        closed.open.store(true, Ordering::SeqCst);
        registry.preview(&cx, registration()).await.expect("a preview");
        registry.register(&cx, registration()).await.expect("registered anew");
        assert_eq!(look(&registry, &cx).await.content, "done");
    })
    .await;
}

#[tokio::test]
async fn a_group_that_signs_in_by_itself_does_so_by_what_is_proposed() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let closed = Arc::new(Closed { alone: true, ..Closed::default() });
        let registry = at_the_door(store.clone(), &closed);
        let by = |client: &str| otherwise(json!({ "password": "sesame", "client": client }));
        registry.register(&cx, by("old")).await.expect("registered");
        assert_eq!(look(&registry, &cx).await.content, "done");
        *closed.barred.lock().expect("a name") = Some("old");
        closed.forget();
        assert!(look(&registry, &cx).await.is_error, "its client is none any more");
        registry.preview(&cx, by("new")).await.expect("a preview");
        registry.register(&cx, by("new")).await.expect("registered anew");
        assert_eq!(look(&registry, &cx).await.content, "done");
    })
    .await;
}
