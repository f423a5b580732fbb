//! Customers' tokens, and what is tried with them: each attack by itself, on both databases.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use frontdesk_accounts::{Accounts, CustomerKeyRequest, Material};
use frontdesk_api::{Cx, Kind, PageRequest, cx::Customer};
use frontdesk_store::testing::each_database;
use ring::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use crate::{House, NOW};

const SECRET: &str = "a secret of thirty-two bytes, yes";
const NOW_S: i64 = NOW / 1_000_000;

fn cx(tenant: &str) -> Cx {
    Cx::internal(tenant, "req")
}

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a pair")
}

fn hs256(text: &str, secret: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes()).as_ref().to_vec()
}

fn eddsa(text: &str) -> Vec<u8> {
    pair().sign(text.as_bytes()).as_ref().to_vec()
}

/// A token with these very texts as header and claims.
fn raw(header: &[u8], claims: &[u8], sign: impl Fn(&str) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(&signed));
    format!("{signed}.{signature}")
}

fn token(header: &Value, claims: &Value) -> String {
    raw(header.to_string().as_bytes(), claims.to_string().as_bytes(), |text| hs256(text, SECRET.as_bytes()))
}

fn header() -> Value {
    json!({ "alg": "HS256", "typ": "JWT", "kid": "web" })
}

fn claims() -> Value {
    json!({ "sub": "ada", "aud": "shop", "iss": "https://shop.example", "exp": NOW_S + 60 })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().expect("claims").remove(name);
    claims
}

/// `acme` has an HS256 key `web` and an Ed25519 key `app`; `bolt` has an HS256 key `web` of another secret.
async fn house(house: &House) -> Accounts {
    let accounts = house.two_tenants().await;
    let keys = [
        ("acme", "web", Material::Secret(Some(SECRET.into()))),
        ("acme", "app", Material::PublicKey(URL_SAFE_NO_PAD.encode(pair().public_key().as_ref()))),
        ("bolt", "web", Material::Secret(Some(format!("{SECRET}, and bolt's")))),
    ];
    for (tenant, kid, material) in keys {
        let request = CustomerKeyRequest {
            kid: Some(kid.into()),
            audience: "shop".into(),
            issuer: (kid == "web").then(|| "https://shop.example".into()),
            material,
        };
        accounts.add_customer_key(&cx(tenant), request).await.expect("added");
    }
    accounts
}

async fn good(accounts: &Accounts, token: &str) -> Customer {
    accounts.verify_customer(&cx("acme"), token).await.expect("a good token")
}

/// The code and the words of the refusal.
async fn refused(accounts: &Accounts, tenant: &str, token: &str) -> (String, String) {
    let error = accounts.verify_customer(&cx(tenant), token).await.expect_err("refused");
    assert_eq!(error.kind, Kind::Unauthenticated, "{error}");
    assert_eq!(error.param.as_deref(), Some("X-Frontdesk-Customer-Token"));
    let told = format!("{error:?}");
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!told.contains(part), "the token is repeated: {told}");
    }
    (error.code.expect("a code"), error.message)
}

#[tokio::test]
async fn a_token_by_a_key_of_the_tenant_names_its_customer() {
    each_database(async |store| {
        let accounts = house(&House::on(store)).await;
        let told = with(with(claims(), "email", json!("ada@example.org")), "roles", json!(["x"]));
        let told = with(with(told, "age", json!(36)), "nbf", json!(NOW_S + 20));
        let ada = good(&accounts, &token(&header(), &with(told, "aud", json!(["others", "shop"])))).await;
        assert_eq!((ada.sub.as_str(), ada.issuer.as_deref()), ("ada", Some("https://shop.example")));
        assert_eq!(Value::Object(ada.claims), json!({ "email": "ada@example.org", "age": 36 }), "plain ones alone");
        let late = with(with(claims(), "exp", json!(NOW_S - 29)), "iat", json!(NOW_S - 90));
        good(&accounts, &token(&header(), &late)).await;
        good(&accounts, &token(&header(), &with(claims(), "exp", json!(NOW_S as f64 + 0.5)))).await;

        let ed = raw(br#"{"alg":"EdDSA","kid":"app"}"#, without(claims(), "iss").to_string().as_bytes(), eddsa);
        let customer = good(&accounts, &ed).await;
        assert_eq!((customer.sub.as_str(), customer.issuer), ("ada", None), "no issuer is asked for");
        // The same key in the form that OpenSSL writes.
        let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        der.extend_from_slice(pair().public_key().as_ref());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
        let (kid, material) = (Some("pem".to_owned()), Material::PublicKey(pem));
        let request = CustomerKeyRequest { kid, audience: "shop".into(), issuer: None, material };
        accounts.add_customer_key(&cx("acme"), request).await.expect("added");
        good(&accounts, &raw(br#"{"alg":"EdDSA","kid":"pem"}"#, claims().to_string().as_bytes(), eddsa)).await;
    })
    .await;
}

#[tokio::test]
async fn no_token_chooses_how_it_is_verified() {
    each_database(async |store| {
        let accounts = house(&House::on(store)).await;
        let claims = claims().to_string();
        let public = pair().public_key().as_ref().to_vec();
        let attacks = [
            ("none", raw(br#"{"alg":"none","kid":"web"}"#, claims.as_bytes(), |_| vec![])),
            (
                "None, with the key's own signature",
                raw(br#"{"alg":"None","kid":"web"}"#, claims.as_bytes(), |t| hs256(t, SECRET.as_bytes())),
            ),
            ("no algorithm", raw(br#"{"kid":"web"}"#, claims.as_bytes(), |t| hs256(t, SECRET.as_bytes()))),
            (
                "HS256 with the public key as its secret",
                raw(br#"{"alg":"HS256","kid":"app"}"#, claims.as_bytes(), |t| hs256(t, &public)),
            ),
            ("EdDSA on a secret's key", raw(br#"{"alg":"EdDSA","kid":"web"}"#, claims.as_bytes(), eddsa)),
            (
                "an EdDSA key that says HS256 and signs EdDSA",
                raw(br#"{"alg":"HS256","kid":"app"}"#, claims.as_bytes(), eddsa),
            ),
            (
                "an HMAC under EdDSA's name",
                raw(br#"{"alg":"EdDSA","kid":"app"}"#, claims.as_bytes(), |t| hs256(t, &public)),
            ),
            ("another secret", raw(br#"{"alg":"HS256","kid":"web"}"#, claims.as_bytes(), |t| hs256(t, b"guess"))),
            ("no signature", raw(br#"{"alg":"HS256","kid":"web"}"#, claims.as_bytes(), |_| vec![])),
            (
                "half a signature",
                raw(br#"{"alg":"HS256","kid":"web"}"#, claims.as_bytes(), |t| {
                    hs256(t, SECRET.as_bytes())[..16].to_vec()
                }),
            ),
            (
                "a critical extension",
                raw(br#"{"alg":"HS256","kid":"web","crit":["x"]}"#, claims.as_bytes(), |t| hs256(t, SECRET.as_bytes())),
            ),
        ];
        for (what, token) in attacks {
            let (code, message) = refused(&accounts, "acme", &token).await;
            assert_eq!(code, "invalid_customer_token", "{what}: {message}");
        }
        let body = token(&header(), &crate::customers::claims());
        let (front, signature) = body.rsplit_once('.').expect("parts");
        let (head, _) = front.split_once('.').expect("parts");
        let forged = URL_SAFE_NO_PAD.encode(with(crate::customers::claims(), "sub", json!("eve")).to_string());
        let (_, message) = refused(&accounts, "acme", &format!("{head}.{forged}.{signature}")).await;
        assert!(message.contains("signature"), "{message}");
    })
    .await;
}

#[tokio::test]
async fn what_a_token_says_of_itself_is_held_against_it() {
    each_database(async |store| {
        let accounts = house(&House::on(store)).await;
        let cases = [
            (with(claims(), "exp", json!(NOW_S - 30)), "expired_customer_token", "has expired"),
            (with(claims(), "exp", json!(i64::MIN)), "expired_customer_token", "has expired"),
            (with(claims(), "exp", json!("tomorrow")), "invalid_customer_token", "'exp' as a number"),
            (without(claims(), "exp"), "invalid_customer_token", "until when"),
            (with(claims(), "nbf", json!(NOW_S + 31)), "invalid_customer_token", "not good yet"),
            (
                with(claims(), "aud", json!("another")),
                "invalid_customer_token",
                "meant for others: 'aud' must be or hold 'shop'",
            ),
            (with(claims(), "aud", json!(["another"])), "invalid_customer_token", "meant for others"),
            (with(claims(), "aud", json!({ "shop": 1 })), "invalid_customer_token", "meant for others"),
            (without(claims(), "aud"), "invalid_customer_token", "meant for others"),
            (with(claims(), "iss", json!("https://else.example")), "invalid_customer_token", "'iss' must be"),
            (without(claims(), "iss"), "invalid_customer_token", "'iss' must be"),
            (with(claims(), "sub", json!(7)), "invalid_customer_token", "'sub', a text"),
            (with(claims(), "sub", json!(["ada"])), "invalid_customer_token", "'sub', a text"),
            (with(claims(), "sub", json!("")), "invalid_customer_token", "'sub', a text"),
            (with(claims(), "sub", json!("a\u{0}b")), "invalid_customer_token", "'sub', a text"),
            (with(claims(), "sub", json!("a".repeat(256))), "invalid_customer_token", "'sub', a text"),
            (without(claims(), "sub"), "invalid_customer_token", "'sub', a text"),
            (with(claims(), "note", json!("a".repeat(1025))), "invalid_customer_token", "too long"),
            (
                (0..33).fold(claims(), |c, i| with(c, &format!("c{i}"), json!(i))),
                "invalid_customer_token",
                "at most 32",
            ),
        ];
        for (claims, code, words) in cases {
            let said = refused(&accounts, "acme", &token(&header(), &claims)).await;
            assert_eq!(said.0, code, "{claims}");
            assert!(said.1.contains(words), "{claims}: {}", said.1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_is_its_tenants_and_good_until_it_is_revoked() {
    each_database(async |store| {
        let accounts = house(&House::on(store)).await;
        let ours = token(&header(), &claims());
        // bolt has a key of the same name.
        assert_eq!(refused(&accounts, "bolt", &ours).await.0, "invalid_customer_token");
        let app = raw(br#"{"alg":"EdDSA","kid":"app"}"#, claims().to_string().as_bytes(), eddsa);
        assert_eq!(refused(&accounts, "bolt", &app).await.0, "unknown_customer_key");
        for kid in [
            json!("nobody"),
            json!("' OR 1=1 --x"),
            json!("../../../dev/null"),
            json!(7),
            json!(""),
            json!("x".repeat(257)),
            Value::Null,
        ] {
            let (code, _) = refused(&accounts, "acme", &token(&with(header(), "kid", kid.clone()), &claims())).await;
            assert!(["unknown_customer_key", "invalid_customer_token"].contains(&code.as_str()), "{kid}");
        }
        good(&accounts, &ours).await;
        let listed = accounts.list_customer_keys(&cx("acme"), &PageRequest::default()).await.expect("a page");
        let id = &listed.items.iter().find(|key| key.kid == "web").expect("the key").id;
        let theirs = accounts.revoke_customer_key(&cx("bolt"), id).await.expect_err("not bolt's");
        assert_eq!(theirs.kind, Kind::NotFound);
        good(&accounts, &ours).await;
        accounts.revoke_customer_key(&cx("acme"), id).await.expect("revoked");
        assert_eq!(refused(&accounts, "acme", &ours).await.0, "revoked_customer_key");
        // A new key takes the name; what the old one signed stays worth nothing.
        let request = CustomerKeyRequest {
            kid: Some("web".into()),
            audience: "shop".into(),
            issuer: None,
            material: Material::Secret(None),
        };
        let (_, drawn) = accounts.add_customer_key(&cx("acme"), request).await.expect("added");
        assert_eq!(refused(&accounts, "acme", &ours).await.0, "invalid_customer_token");
        let drawn = drawn.expect("a secret");
        let fresh =
            raw(header().to_string().as_bytes(), claims().to_string().as_bytes(), |t| hs256(t, drawn.as_bytes()));
        good(&accounts, &fresh).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_no_token_is_told_so() {
    each_database(async |store| {
        let accounts = house(&House::on(store)).await;
        let (h, c) = (header().to_string(), claims().to_string());
        let sign = |text: &str| hs256(text, SECRET.as_bytes());
        let twice = |text: &str| text.replacen('{', r#"{"sub":"eve","kid":"web","#, 1);
        let huge = with(claims(), "note", json!("a".repeat(100_000)));
        let cases = [
            (token(&header(), &huge), "at most 8192"),
            (raw(h.as_bytes(), twice(&c).as_bytes(), sign), "each name once"),
            (raw(twice(&h).as_bytes(), c.as_bytes(), sign), "each name once"),
            (raw(h.as_bytes(), b"{\"sub\":\"\xff\xfe\"}", sign), "JSON object"),
            (raw(h.as_bytes(), b"[1]", sign), "JSON object"),
            (raw(b"{\"alg\":\"\xff\"}", c.as_bytes(), sign), "JSON object"),
            (raw(h.as_bytes(), "[".repeat(5_000).as_bytes(), sign), "JSON object"),
            (format!("{}=", token(&header(), &claims())), "base64url"),
            ("a.b".into(), "three parts"),
            ("a.b.c.d.e".into(), "three parts"),
            (String::new(), "three parts"),
        ];
        for (token, words) in cases {
            let (code, message) = refused(&accounts, "acme", &token).await;
            assert_eq!(code, "invalid_customer_token");
            assert!(message.contains(words), "{words}: {message}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_secret_is_sealed_in_its_row() {
    each_database(async |store| {
        house(&House::on(store.clone())).await;
        let row = store.tenant(&cx("acme")).find_customer_key("web").await.expect("asked").expect("a key");
        assert!(
            row.material.len() > SECRET.len() && !row.material.windows(8).any(|w| SECRET.as_bytes().starts_with(w))
        );
        // A row that is moved to another tenant opens nothing there.
        let moved = frontdesk_store::customer_keys::StoredCustomerKey { kid: "moved".into(), ..row };
        store.tenant(&cx("bolt")).add_customer_key(&moved, 9).await.expect("written by someone at the database");
        let accounts = House::on(store).gateway().await;
        let token = token(&with(header(), "kid", json!("moved")), &claims());
        assert_eq!(accounts.verify_customer(&cx("bolt"), &token).await.expect_err("refused").kind, Kind::Internal);
    })
    .await;
}
