//! The sample shop's two tools: look an order up, start its return.
//!
//! Orders are the tool's own key-value data: `order/<id>` holds an [`Order`] as JSON, `return/<id>` the
//! answer of the return that was started. Each answer is compact JSON with its members in a fixed order,
//! so that the same order always reads the same to the model.

use serde::{Deserialize, Serialize};

wit_bindgen::generate!({ path: "../../../../../providers/wasm/wit", world: "tool" });

use exports::frontdesk::tool::tools::{Error, Guest};
use frontdesk::tool::kv;

/// Read by Frontdesk when the component is registered; the JSON shape is in the WIT.
const DESCRIBE: &str = include_str!("describe.json");

/// An order as the shop keeps it.
#[derive(Deserialize)]
struct Order {
    status: String,
    eta: String,
    item: String,
    /// Left out by a shop means yes.
    #[serde(default = "yes")]
    returnable: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Arguments {
    order_id: String,
}

#[derive(Serialize)]
struct Found<'a> {
    order_id: &'a str,
    status: &'a str,
    eta: &'a str,
    item: &'a str,
}

#[derive(Serialize)]
struct ReturnStarted<'a> {
    order_id: &'a str,
    return_id: String,
    status: &'static str,
}

/// An answer the model can tell the customer about: the call itself went well.
#[derive(Serialize)]
struct Refusal {
    error: String,
}

struct ShopTools;

impl Guest for ShopTools {
    fn describe() -> String {
        DESCRIBE.to_owned()
    }

    fn call(name: String, args: String) -> Result<String, Error> {
        let tool = match name.as_str() {
            "lookup_order" => lookup_order,
            "start_return" => start_return,
            _ => return Err(Error::BadArguments(format!("no tool is called {name}"))),
        };
        let args: Arguments = serde_json::from_str(&args).map_err(|e| Error::BadArguments(e.to_string()))?;
        // Models like to write the number as the customer said it.
        tool(args.order_id.trim().trim_start_matches('#'))
    }
}

fn lookup_order(id: &str) -> Result<String, Error> {
    let Some(order) = find_order(id)? else { return not_found(id) };
    json(&Found { order_id: id, status: &order.status, eta: &order.eta, item: &order.item })
}

/// The return's number follows from the order's, and the stored answer wins: starting it twice, or twice
/// at once, is one return.
fn start_return(id: &str) -> Result<String, Error> {
    let key = format!("return/{id}");
    if let Some(answer) = kv::get(&key) {
        return String::from_utf8(answer).map_err(|_| Error::Failed(format!("return of order {id} is unreadable")));
    }
    let Some(order) = find_order(id)? else { return not_found(id) };
    if !order.returnable {
        return json(&Refusal { error: format!("order {id} cannot be returned") });
    }
    let answer = json(&ReturnStarted { order_id: id, return_id: format!("R-{id}"), status: "return started" })?;
    kv::set(&key, answer.as_bytes()).map_err(|kv::Error::Full| Error::Failed("no room to note the return".into()))?;
    Ok(answer)
}

fn find_order(id: &str) -> Result<Option<Order>, Error> {
    let Some(bytes) = kv::get(&format!("order/{id}")) else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| Error::Failed(format!("order {id} is unreadable: {e}")))
}

fn not_found(id: &str) -> Result<String, Error> {
    json(&Refusal { error: format!("order {id} not found") })
}

fn json(answer: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(answer).map_err(|e| Error::Failed(e.to_string()))
}

export!(ShopTools);
