//! People on their way to a server and back.

use super::*;

#[tokio::test]
async fn a_group_waits_with_what_was_said_of_its_tools_until_a_person_comes_back() {
    each_database(|store| async move {
        let (cx, other) = tenants(&store).await;
        let closed = Arc::new(Closed::default());
        let registry = at_the_door(store.clone(), &closed);
        let group = registry.register(&cx, registration()).await.expect("registered");
        assert_eq!(problem(&group), Some("nobody has signed in yet"));
        assert_eq!(registry.list_tools(&cx, Some("shop")).await.expect("a list"), []);
        assert_eq!(registry.authorize(&other, "shop", "x").await.expect_err("not theirs").kind, Kind::NotFound);

        let (place, state) = set_out(&registry, &cx).await;
        assert!(state.len() >= 43, "too easily guessed: {state}");
        let refused = come_back(&registry, &place, &state, "bad").await.expect_err("a bad code");
        assert_eq!(refused.message, "a bad code");
        assert_eq!(standing(&registry, &cx).await.as_deref(), Some("a bad code"));
        for state in [state.as_str(), "guess"] {
            let refused = come_back(&registry, &place, state, "good").await.expect_err("once, and who was sent");
            assert_eq!(refused.code.as_deref(), Some("attempt_not_found"));
        }

        // Another process, which has only the rows.
        let elsewhere = at_the_door(store.clone(), &closed);
        let landed = let_in(&elsewhere, &cx).await.expect("let in");
        assert_eq!(problem(&landed.group), None);
        let tools = registry.list_tools(&cx, Some("shop")).await.expect("a list");
        let risks: Vec<_> = tools.iter().map(|(def, _)| (def.name.as_str(), def.risk)).collect();
        assert_eq!(risks, [("look", Risk::LowImpactWrite), ("refund", Risk::ApprovalRequired)]);
        assert_eq!(look(&registry, &cx).await.content, "done");
        let row = store.tenant(&cx).find_sign_in("shop").await.expect("asked").expect("there");
        // `Turned` shows what it was sealed for.
        assert!(row.sealed.expect("tokens").starts_with(format!("sign_in/{}/shop", cx.tenant).as_bytes()));
        assert_eq!(actions(&registry, &cx).await, ["authorized", "registered", "registered"]);
        let changes = registry.changes(&cx, "shop", &PageRequest::default()).await.expect("a page").items;
        let by = changes.iter().find(|change| change.action == "authorized").expect("it is noted");
        assert_eq!((&by.key_id, &by.detail), (&cx.principal.key_id, &json!({ "issuer": "https://issuer" })));
        registry.delete_group(&cx, "shop").await.expect("deleted");
        assert_eq!(store.tenant(&cx).list_sign_ins().await.expect("a list"), []);
    })
    .await;
}

#[tokio::test]
async fn who_comes_back_is_who_was_shown_what_for_and_at_the_groups_own_address() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let registry = at_the_door(store, &Arc::new(Closed::default()));
        registry.register(&cx, registration()).await.expect("registered");
        let other = Registration { toolgroup_id: "other".into(), ..registration() };
        registry.register(&cx, other).await.expect("registered");
        let (place, state) = set_out(&registry, &cx).await;
        let visit = registry.visit(&place, &state).await.expect("what for");
        assert_eq!((visit.tenant.as_str(), visit.group.as_str()), (cx.tenant.as_str(), "shop"));
        assert_eq!((visit.server.as_str(), visit.issuer.as_str()), ("home", "https://issuer"));
        assert!(visit.url.starts_with("https://issuer/authorize?"));
        assert_eq!(visit.redirect_uri, format!("https://desk/{place}"));

        let elsewhere = registry.sign_in_place(&cx, "other");
        assert_ne!(elsewhere, place);
        assert!(registry.visit(&elsewhere, &state).await.is_err());
        for (place, cookie, code) in [
            (&place, None, "another_browser"),
            (&place, Some(state.as_str()), "another_browser"),
            (&elsewhere, Some(visit.cookie.as_str()), "attempt_not_found"),
        ] {
            let brought = Ok(Brought { code: "good".into(), iss: None });
            let refused = registry.land("req", place, &state, cookie, brought).await.expect_err(code);
            assert_eq!(refused.code.as_deref(), Some(code), "{refused}");
        }
        // None of that was it.
        come_back(&registry, &place, &state, "good").await.expect("let in");
    })
    .await;
}

#[tokio::test]
async fn who_comes_back_to_what_is_no_more_as_it_was_changes_nothing() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let closed = Arc::new(Closed::default());
        let registry = at_the_door(store.clone(), &closed);
        registry.register(&cx, registration()).await.expect("registered");
        let (place, late) = set_out(&registry, &cx).await;
        let stricter = Registration { trust: Trust::ThirdParty, ..registration() };
        registry.register(&cx, stricter).await.expect("registered anew");
        let refused = come_back(&registry, &place, &late, "good").await.expect_err("it was changed");
        assert_eq!(refused.code.as_deref(), Some("toolgroup_changed"));
        assert_eq!(registry.load_group(&cx, "shop").await.expect("the group").trust, Trust::ThirdParty);
        assert_eq!(standing(&registry, &cx).await.as_deref(), Some("nobody has signed in yet"));

        // Also where that happens in the middle of it.
        let (place, state) = set_out(&registry, &cx).await;
        registry.set_disabled(&cx, "shop", true).await.expect("off");
        assert!(come_back(&registry, &place, &state, "good").await.is_err());

        let (place, state) = set_out(&registry, &cx).await;
        let visit = registry.visit(&place, &state).await.expect("what for");
        registry.delete_group(&cx, "shop").await.expect("deleted");
        let brought = Ok(Brought { code: "good".into(), iss: None });
        let refused = registry.land("req", &place, &state, Some(&visit.cookie), brought).await;
        assert_eq!(refused.expect_err("it is gone").kind, Kind::NotFound);
        assert!(registry.load_group(&cx, "shop").await.is_err(), "it stays deleted");

        registry.register(&cx, registration()).await.expect("registered");
        let (place, state) = set_out(&registry, &cx).await;
        store.tenant(&cx).revoke_key(&cx.principal.key_id, 0).await.expect("revoked");
        let refused = come_back(&registry, &place, &state, "good").await.expect_err("the key is revoked");
        assert_eq!(refused.kind, Kind::Forbidden);
        assert_eq!(closed.given.load(Ordering::SeqCst), 0, "nobody was let in");
    })
    .await;
}

#[tokio::test]
async fn whoever_is_sent_is_sent_with_what_is_good_of_before() {
    each_database(|store| async move {
        let (cx, _) = tenants(&store).await;
        let closed = Arc::new(Closed::default());
        let registry = at_the_door(store.clone(), &closed);
        registry.register(&cx, registration()).await.expect("registered");
        let sent = async || {
            let (place, state) = set_out(&registry, &cx).await;
            let url = registry.visit(&place, &state).await.expect("what for").url;
            (url.split_once("&kept=").expect("what is known").1.to_owned(), place, state)
        };
        assert_eq!(sent().await.0, "false&tried=false&scope=");
        let (known, place, state) = sent().await;
        assert_eq!(known, "false&tried=true&scope=", "two who are on their way are of one client");
        come_back(&registry, &place, &state, "good").await.expect("let in");
        assert_eq!(sent().await.0, "true&tried=false&scope=", "who set out before the group had tools is another's");

        // Two tools want more, and whoever goes is asked for both.
        for scope in ["orders", "refunds"] {
            *closed.wants.lock().expect("a scope") = Some(scope);
            assert!(look(&registry, &cx).await.is_error);
        }
        assert_eq!(sent().await.0, "true&tried=true&scope=orders refunds");

        // What cannot be renewed is nothing to build on.
        *closed.wants.lock().expect("a scope") = None;
        closed.forget();
        closed.refuse(Some("invalid_client"));
        assert!(look(&registry, &cx).await.is_error);
        assert_eq!(sent().await.0, "false&tried=false&scope=orders refunds");
    })
    .await;
}
