//! The components in the repository: built from the sources beside them, and answering as they should.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod common;

use std::{fs, path::Path, sync::Arc};

use common::{MemoryKv, text};
use frontdesk_api::tools::{Effect, Risk};
use frontdesk_wasm::{Capabilities, Capability, Component, HostGrants, Limits, Sandbox};
use sha2::{Digest, Sha256};

/// Folders of tool sources, from the workspace's root; the built file lies beside each.
const SOURCES: [&str; 2] = ["services/gateway/demo/tools/shop-tools", "tests/fixtures/tools/bestellung"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// What `build.sh` computes: the hash of `sha256sum`'s list over Cargo.lock, Cargo.toml and all of src, by path.
fn source_hash(folder: &Path) -> String {
    let mut files = vec!["Cargo.lock".to_owned(), "Cargo.toml".to_owned()];
    let mut open = vec!["src".to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(folder.join(&at)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{at}/{}", entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let line = |file: &String| format!("{}  {file}\n", hex(&fs::read(folder.join(file)).unwrap()));
    hex(files.iter().map(line).collect::<String>().as_bytes())
}

#[test]
fn each_built_component_belongs_to_the_source_beside_it() {
    for source in SOURCES {
        let folder = root().join(source);
        let built: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("built.json")).unwrap()).unwrap();
        assert_eq!(built["source_hash"], source_hash(&folder), "{source} was changed: run its build.sh");
        let wasm = fs::read(folder.with_extension("wasm")).unwrap();
        assert_eq!(built["wasm_hash"], hex(&wasm), "{source}.wasm is not what built.json says");
        let wit = include_bytes!("../wit/tool.wit");
        assert_eq!(built["wit_hash"], hex(wit), "{source} was built against another tool.wit: run its build.sh");
        assert!(built["toolchain"].as_str().is_some_and(|t| t.starts_with("rustc ")));
    }
}

async fn sample(sandbox: &Sandbox, source: &str) -> Component {
    let bytes = fs::read(root().join(source).with_extension("wasm")).unwrap();
    sandbox.inspect(bytes.into()).await.unwrap()
}

struct Shop {
    sandbox: Sandbox,
    component: Component,
    kv: Arc<MemoryKv>,
}

impl Shop {
    async fn open(source: &str, orders: &[(&str, &str)]) -> Self {
        let sandbox = Sandbox::new(Limits::default());
        let component = sample(&sandbox, source).await;
        Self { sandbox, component, kv: MemoryKv::with(orders) }
    }

    async fn ask(&self, tool: &str, arguments: &str) -> Result<String, String> {
        let kv = Some(Arc::clone(&self.kv) as _);
        let grants = HostGrants { log: true, kv, ..HostGrants::default() };
        let call = self.sandbox.call(&self.component, tool, arguments, grants).await;
        text(call).map_err(|fault| fault.to_string())
    }
}

const LAMP: &str = r#"{ "status": "shipped", "eta": "2026-11-28", "item": "Desk lamp", "returnable": true }"#;
const MADE: &str = r#"{"status":"in production","eta":"2026-12-18","item":"Lamp made to measure","returnable":false}"#;
const PLAIN: &str = r#"{"status":"waiting","eta":"2026-12-03","item":"Linen shade \"Ö\""}"#;

async fn shop() -> Shop {
    let orders = [("order/48213", LAMP), ("order/48302", MADE), ("order/A-7", PLAIN), ("order/bad", "{")];
    Shop::open(SOURCES[0], &orders).await
}

#[tokio::test]
async fn the_shops_component_offers_two_tools_and_asks_for_its_data_only() {
    let shop = shop().await;
    assert_eq!(shop.component.requests(), Capabilities::NONE.with(Capability::Kv));
    let tools: Vec<_> = shop.component.tools().iter().map(|t| (t.name.as_str(), t.effect, t.risk)).collect();
    let expected =
        [("lookup_order", Effect::None, Risk::Read), ("start_return", Effect::Idempotent, Risk::LowImpactWrite)];
    assert_eq!(tools, expected);
}

#[tokio::test]
async fn an_order_is_looked_up_in_a_fixed_form() {
    let shop = shop().await;
    let ask = async |id: &str| shop.ask("lookup_order", &format!("{{\"order_id\":\"{id}\"}}")).await;
    let lamp = r#"{"order_id":"48213","status":"shipped","eta":"2026-11-28","item":"Desk lamp"}"#;
    assert_eq!(ask("48213").await.unwrap(), lamp);
    assert_eq!(ask(" #48213").await.unwrap(), lamp);
    let shade = r#"{"order_id":"A-7","status":"waiting","eta":"2026-12-03","item":"Linen shade \"Ö\""}"#;
    assert_eq!(ask("A-7").await.unwrap(), shade);
    assert_eq!(ask("99999").await.unwrap(), r#"{"error":"order 99999 not found"}"#);
    assert!(ask("bad").await.unwrap_err().starts_with("order bad is unreadable: "));
    assert!(ask("").await.unwrap_err().starts_with("bad arguments: /order_id: "));
    assert!(shop.ask("lookup_order", r#"{"order_id":48213}"#).await.unwrap_err().contains("is not of type \"string\""));
}

#[tokio::test]
async fn a_return_is_started_once() {
    let shop = shop().await;
    let ask = async |id: &str| shop.ask("start_return", &format!("{{\"order_id\":\"{id}\"}}")).await;
    let started = r#"{"order_id":"48213","return_id":"R-48213","status":"return started"}"#;
    assert_eq!(ask("48213").await.unwrap(), started);
    assert_eq!(shop.kv.0.lock().unwrap()["return/48213"], started.as_bytes());
    // The order may go; the return stands.
    shop.kv.0.lock().unwrap().remove("order/48213");
    assert_eq!(ask("#48213").await.unwrap(), started);
    assert_eq!(ask("48302").await.unwrap(), r#"{"error":"order 48302 cannot be returned"}"#);
    assert_eq!(ask("99999").await.unwrap(), r#"{"error":"order 99999 not found"}"#);
    let keys: Vec<_> = shop.kv.0.lock().unwrap().keys().filter(|k| k.starts_with("return/")).cloned().collect();
    assert_eq!(keys, ["return/48213"]);
}

#[tokio::test]
async fn the_other_shop_speaks_its_own_language() {
    let orders = [("order/7001", r#"{"stand":"unterwegs","lieferung":"2026-12-02"}"#)];
    let shop = Shop::open(SOURCES[1], &orders).await;
    let asked = [Capability::Log, Capability::Kv].into_iter().collect::<Capabilities>();
    assert_eq!(shop.component.requests(), asked);
    let ask = async |arguments: &str| shop.ask("bestellung_finden", arguments).await;
    let found = r#"{"bestellnummer":7001,"stand":"unterwegs","lieferung":"2026-12-02"}"#;
    assert_eq!(ask(r#"{"bestellnummer":7001}"#).await.unwrap(), found);
    let missing = r#"{"fehler":"Bestellung 7002 nicht gefunden"}"#;
    assert_eq!(ask(r#"{"bestellnummer":7002}"#).await.unwrap(), missing);
    assert!(ask(r#"{"bestellnummer":"7001"}"#).await.unwrap_err().starts_with("bad arguments: "));
}
