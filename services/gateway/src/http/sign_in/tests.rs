//! The pages, and who may send people to them.

use axum::{body::Body, http::Request};
use serde_json::json;

use super::*;
use crate::testing::{Frames, TestGateway};

#[test]
fn a_cookie_is_found_by_its_whole_name() {
    let mut headers = HeaderMap::new();
    headers.append(header::COOKIE, HeaderValue::from_static("ab=1; a=2;c=x=y"));
    headers.append(header::COOKIE, HeaderValue::from_static("d=4"));
    for (name, value) in [("a", Some("2")), ("ab", Some("1")), ("c", Some("x=y")), ("d", Some("4")), ("b", None)] {
        assert_eq!(cookie(&headers, name), value, "{name}");
    }
}

#[tokio::test]
async fn whoever_was_not_sent_here_reads_a_page_that_says_nothing() {
    let gateway = TestGateway::start(Frames::whole()).await;
    for (method, path) in
        [("GET", "/x?state=guess&code=c"), ("GET", "/x/begin?state=guess"), ("POST", "/x/begin?state=guess")]
    {
        let request = Request::builder().method(method).uri(format!("{PLACE}{path}"));
        let answer = gateway.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.status, 400, "{method} {path}");
        assert!(answer.text().contains("used already, or is older"), "{}", answer.text());
        assert!(answer.headers["content-security-policy"].to_str().expect("text").contains("frame-ancestors 'none'"));
        assert_eq!(
            (&answer.headers["cache-control"], answer.headers.get("set-cookie")),
            (&HeaderValue::from_static("no-store"), None)
        );
    }
}

#[tokio::test]
async fn only_who_may_write_sends_people_and_only_to_where_browsers_come_back_to() {
    let gateway = TestGateway::start(Frames::whole()).await;
    let key = gateway.post("/v1/keys", &json!({ "name": "reader", "scopes": ["use"] })).await.json();
    let key = key["key"].as_str().expect("a key").to_owned();
    let path = "/v1/toolgroups/shop/authorize";
    let reader = Request::builder().method("POST").uri(path).header("authorization", format!("Bearer {key}"));
    let refused = gateway.send(reader.body(Body::empty()).expect("a request")).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    for (host, status, code) in
        [("desk.example", 409, "public_url_needed"), ("127.0.0.1:8321", 404, "toolgroup_not_found")]
    {
        let request = gateway.request("POST", path).header("host", host).header("x-forwarded-proto", "https");
        let answer = gateway.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error"]["code"].as_str()), (status, Some(code)));
    }
    let public = TestGateway::configured("public_url: https://desk.example/", Frames::whole()).await;
    let anyhow = redirect_uri(&public.app, &HeaderMap::new(), "p").expect("an address");
    assert_eq!(anyhow, format!("https://desk.example{PLACE}/p"));
    assert_eq!(cookie_name(&public.app, "p"), "__Host-frontdesk-sign-in-p");
    assert_eq!(cookie_name(&gateway.app, "p"), "frontdesk-sign-in-p");
}
