//! GETs that follow redirects, as downloads need them: a hub sends readers of large files on to other servers.
//!
//! Invariants: at most [`MOST`] redirects; a secret goes to the operator's own server and to no other, however it is
//! led on; from an https address nobody is led to plain http, and from a public one nobody is led inside.

use bytes::Bytes;
use frontdesk_api::{Cx, Error, Result};
use http::{HeaderMap, HeaderValue, Method, Uri, header};

use crate::{
    Answer, Client, Limits,
    guard::{is_public, literal},
    place,
};

/// The most redirects of one request.
pub const MOST: usize = 10;

/// Gets from one server of the operator's choice, and from wherever it leads on to.
pub struct Follow {
    own: Client,
    others: Client,
    origin: Uri,
    /// Sent to `origin` as `Authorization`.
    secret: Option<HeaderValue>,
}

impl Follow {
    /// `origin`: any address of the operator's server. Looks its name up: where it has an address inside (loopback, private),
    /// it may lead on to such ones too.
    ///
    /// # Errors
    /// `Invalid` where `origin` names no server, `Upstream` where its name cannot be looked up.
    pub async fn new(origin: &Uri, secret: Option<HeaderValue>, limits: Limits) -> Result<Self> {
        let Some(host) = origin.host() else {
            return Err(Error::invalid("url", format!("'{origin}' names no server")));
        };
        let inside = match literal(host) {
            Some(address) => !is_public(address),
            None => tokio::net::lookup_host((host, port(origin)))
                .await
                .map_err(|e| {
                    let message = format!("cannot find the address of {}: {e}", place(origin));
                    Error::upstream(message).with_code("unreachable")
                })?
                .any(|address| !is_public(address.ip())),
        };
        let others = if inside { Client::new(limits) } else { Client::public(limits) };
        Ok(Self { own: Client::new(limits), others, origin: origin.clone(), secret })
    }

    /// The first answer that is no redirect, whatever its status.
    ///
    /// # Errors
    /// As [`Client::send`], and `Upstream` for a redirect that is not followed.
    pub async fn get(&self, cx: &Cx, uri: &Uri, headers: &HeaderMap) -> Result<Answer> {
        let (mut from, mut at) = (self.origin.clone(), uri.clone());
        for _ in 0..=MOST {
            let answer = self.one(cx, &from, &at, headers.clone()).await?;
            let redirect = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(to) = answer.header("location").filter(|_| redirect) else { return Ok(answer) };
            let next = join(&at, to)
                .ok_or_else(|| Error::upstream(format!("{} leads on to something that is no address", place(&at))))?;
            from = std::mem::replace(&mut at, next);
        }
        Err(Error::upstream(format!("{} leads on more than {MOST} times", place(uri))))
    }

    /// `from`: where `at` was named.
    async fn one(&self, cx: &Cx, from: &Uri, at: &Uri, mut headers: HeaderMap) -> Result<Answer> {
        if is_same(&self.origin, at) {
            if let Some(secret) = &self.secret {
                headers.insert(header::AUTHORIZATION, secret.clone());
            }
            return self.own.send(cx, Method::GET, at, headers, Bytes::new()).await;
        }
        let plain = at.scheme_str() == Some("http");
        if plain && from.scheme_str() != Some("http") {
            let message = format!("{} leads on to {}, without TLS; that is not followed", place(from), place(at));
            return Err(Error::upstream(message).with_code("refused_redirect"));
        }
        self.others.send(cx, Method::GET, at, headers, Bytes::new()).await
    }
}

fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 })
}

/// Whether both are of one scheme, host and port.
#[must_use]
pub fn is_same(one: &Uri, other: &Uri) -> bool {
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    one.scheme_str() == other.scheme_str() && host(one) == host(other) && port(one) == port(other)
}

/// The address that `to` means when it is read at `at` (RFC 3986, section 5.2, without dot segments); None: none that is http.
fn join(at: &Uri, to: &str) -> Option<Uri> {
    let to = to.split('#').next().unwrap_or_default();
    let (scheme, authority) = (at.scheme_str()?, at.authority()?.as_str());
    let whole = if to.contains("://") && !to.starts_with(['/', '?']) {
        to.to_owned()
    } else if to.starts_with("//") {
        format!("{scheme}:{to}")
    } else if to.starts_with('/') {
        format!("{scheme}://{authority}{to}")
    } else if to.starts_with('?') || to.is_empty() {
        format!("{scheme}://{authority}{}{to}", at.path())
    } else {
        let folder = at.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{to}")
    };
    let uri: Uri = whole.parse().ok()?;
    (matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()).then_some(uri)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        sync::mpsc,
    };

    use super::*;

    /// A server that answers its requests in turn with these, and its address; what it was asked comes out of the channel.
    fn server(answers: Vec<String>) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = format!("http://{}", listener.local_addr().expect("an address"));
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for answer in answers {
                let Ok((mut socket, _)) = listener.accept() else { return };
                let mut asked = Vec::new();
                let mut byte = [0];
                while !asked.ends_with(b"\r\n\r\n") && matches!(socket.read(&mut byte), Ok(1)) {
                    asked.extend(byte);
                }
                let _ = tell.send(String::from_utf8_lossy(&asked).to_lowercase());
                let _ = socket.write_all(answer.as_bytes());
            }
        });
        (at, told)
    }

    fn to(location: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    }

    const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone";

    fn uri(text: &str) -> Uri {
        text.parse().expect(text)
    }

    async fn follow(origin: &str) -> Follow {
        let secret = Some(HeaderValue::from_static("Bearer s3cret"));
        Follow::new(&uri(origin), secret, Limits::default()).await.expect("it is here")
    }

    #[tokio::test]
    async fn the_secret_stays_with_its_server() {
        let (other, others_asked) = server(vec![DONE.into()]);
        let (own, asked) = server(vec![to("/moved"), to(&format!("{other}/file?sig=1"))]);
        let cx = Cx::internal("", "r");
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=3-"));
        let mut answer = follow(&own).await.get(&cx, &uri(&format!("{own}/file")), &headers).await.expect("an answer");
        assert_eq!(answer.body.whole(100).await.expect("its body"), "done");
        for path in ["get /file ", "get /moved "] {
            let asked = asked.recv().expect("asked");
            assert!(asked.starts_with(path) && asked.contains("authorization: bearer s3cret"), "{asked}");
        }
        let asked = others_asked.recv().expect("asked");
        assert!(asked.starts_with("get /file?sig=1 ") && asked.contains("range: bytes=3-"), "{asked}");
        assert!(!asked.contains("s3cret"), "{asked}");
    }

    #[tokio::test]
    async fn a_public_server_leads_nobody_inside() {
        let (inside, _) = server(vec![DONE.into()]);
        let cx = Cx::internal("", "r");
        for to in [
            inside.clone(),
            inside.replace("127.0.0.1", "localhost"),
            inside.replace("127.0.0.1", "[::ffff:127.0.0.1]"),
        ] {
            let follow = Follow {
                own: Client::new(Limits::default()),
                others: Client::public(Limits::default()),
                origin: uri("http://hub.example"),
                secret: None,
            };
            let error = follow.get(&cx, &uri(&to), &HeaderMap::new()).await.err().expect(&to);
            assert!(error.message.contains("public internet"), "{}", error.message);
        }
    }

    #[tokio::test]
    async fn from_https_nobody_is_led_to_plain_http() {
        let follow = Follow { origin: uri("https://hub.example"), ..follow("http://127.0.0.1:1").await };
        let error = follow.get(&Cx::internal("", "r"), &uri("http://127.0.0.1:1/x"), &HeaderMap::new()).await.err();
        let error = error.expect("refused");
        assert_eq!(
            error.message,
            "https://hub.example leads on to http://127.0.0.1:1, without TLS; that is not followed"
        );
    }

    #[tokio::test]
    async fn a_circle_ends() {
        let (own, asked) = server(vec![to("/round"); MOST + 2]);
        let error = follow(&own).await.get(&Cx::internal("", "r"), &uri(&own), &HeaderMap::new()).await.err();
        assert!(error.expect("refused").message.ends_with("leads on more than 10 times"));
        assert_eq!(asked.try_iter().count(), MOST + 1);
    }

    #[test]
    fn a_redirect_is_read_where_it_was_given() {
        let at = uri("https://h:8/a/b?q=1");
        for (to, whole) in [
            ("https://o/x", "https://o/x"),
            ("//o/x", "https://o/x"),
            ("/x?y=1#z", "https://h:8/x?y=1"),
            ("/x?to=http://o", "https://h:8/x?to=http://o"),
            ("c", "https://h:8/a/c"),
            ("?q=2", "https://h:8/a/b?q=2"),
        ] {
            assert_eq!(join(&at, to).map(|uri| uri.to_string()).as_deref(), Some(whole), "{to}");
        }
        for bad in ["ftp://o/x", "file:///etc/passwd", "https://", "https://o/ x"] {
            assert_eq!(join(&at, bad), None, "{bad}");
        }
    }

    #[test]
    fn a_server_is_scheme_host_and_port() {
        let same = |one, other| is_same(&uri(one), &uri(other));
        assert!(same("https://Hub.example/a", "https://hub.example:443/b"));
        assert!(!same("https://hub.example", "http://hub.example:443"));
        assert!(!same("https://hub.example", "https://cdn.hub.example"));
        assert!(!same("http://127.0.0.1:1", "http://127.0.0.1:2"));
    }
}
