//! The tools of this component: a function each, from typed arguments to an answer that is written as JSON.

mod sdk;

use sdk::{Effect, Risk, Tool, ToolError};
use serde::{Deserialize, Serialize};
use serde_json::json;

wit_bindgen::generate!({ path: "wit", world: "component", generate_all });

use frontdesk::tool::{fetch, log};

const CARRIER: &str = "https://parcels.example";

/// Stands for the shop's own orders: number, status, parcel.
const ORDERS: [(&str, &str, Option<&str>); 2] =
    [("48213", "shipped", Some("PX-481")), ("48302", "in production", None)];

fn tools() -> Vec<Tool> {
    vec![
        Tool::new(
            "order_status",
            "Look up one of the shop's orders by its number: its status and the number of its parcel.",
            json!({
                "type": "object",
                "properties": {
                    "order_number": { "type": "string", "minLength": 1, "maxLength": 32, "description": "For example 48213." }
                },
                "required": ["order_number"],
                "additionalProperties": false
            }),
            Effect::None,
            Risk::Read,
            order_status,
        ),
        Tool::new(
            "track_parcel",
            "Ask the carrier where a parcel is.",
            json!({
                "type": "object",
                "properties": {
                    "parcel": { "type": "string", "pattern": "^PX-[0-9]+$", "description": "The parcel's number, for example PX-481." }
                },
                "required": ["parcel"],
                "additionalProperties": false
            }),
            Effect::None,
            Risk::Read,
            track_parcel,
        ),
    ]
}

#[derive(Deserialize)]
struct OrderStatus {
    order_number: String,
}

#[derive(Serialize)]
struct Order {
    order_number: String,
    status: &'static str,
    parcel: Option<&'static str>,
}

fn order_status(args: OrderStatus) -> Result<Order, ToolError> {
    let found = ORDERS.into_iter().find(|(number, ..)| *number == args.order_number);
    let Some((_, status, parcel)) = found else {
        return Err(ToolError::failed(format!("no order has the number {}", args.order_number)));
    };
    Ok(Order { order_number: args.order_number, status, parcel })
}

#[derive(Deserialize)]
struct TrackParcel {
    parcel: String,
}

#[derive(Serialize)]
struct Parcel {
    parcel: String,
    state: String,
    city: String,
}

/// What the carrier says of a parcel.
#[derive(Deserialize)]
struct Tracked {
    state: String,
    city: String,
}

fn track_parcel(TrackParcel { parcel }: TrackParcel) -> Result<Parcel, ToolError> {
    let request = fetch::Request {
        method: "GET".into(),
        // The schema lets nothing through that an address would read otherwise.
        url: format!("{CARRIER}/v1/parcels/{parcel}"),
        headers: vec![],
        // A secret goes along by its name alone, and it has to be among `secrets` in tool.yaml:
        // fetch::Credential { secret: "carrier_token".into(), place: fetch::Place::Header, name: "authorization".into(),
        //     prefix: "Bearer ".into(), base64: false }
        credentials: vec![],
        body: vec![],
    };
    let answer = fetch::send(&request).map_err(|error| {
        let why = match error {
            fetch::Error::Denied(why) | fetch::Error::Failed(why) => why,
            fetch::Error::Timeout => "timeout".into(),
            fetch::Error::TooLarge => "the answer is too large".into(),
        };
        ToolError::failed(format!("the carrier could not be asked: {why}"))
    })?;
    log::write(log::Level::Info, &format!("the carrier answered {} for {parcel}", answer.status));
    match answer.status {
        200 => {}
        404 => return Err(ToolError::failed(format!("the carrier knows no parcel {parcel}"))),
        status => return Err(ToolError::failed(format!("the carrier answered with status {status}"))),
    }
    let Tracked { state, city } = serde_json::from_slice(&answer.body)
        .map_err(|error| ToolError::failed(format!("the carrier's answer cannot be read: {error}")))?;
    Ok(Parcel { parcel, state, city })
}

struct Component;

export!(Component);

impl exports::frontdesk::tool::tools::Guest for Component {
    fn describe() -> String {
        sdk::describe(&tools())
    }

    fn call(name: String, args: String) -> Result<String, ToolError> {
        sdk::call(&tools(), &name, &args)
    }
}
