//! Moves a shop in: its tools with their data, its pages, its agent. The same steps an operator takes.

use frontdesk_api::{
    agent::{AgentSpec, HandOffSpec},
    Cx, Error, Result,
};
use frontdesk_tools::Registration;
use serde_json::json;

use super::{print::Spinner, shop::Shop};
use crate::app::App;

/// The shield's id in the demo's configuration.
pub(super) const SHIELD: &str = "shop-rules";

/// What was moved in.
pub(super) struct Moved {
    pub agent: String,
    pub tools: usize,
    pub pages: usize,
}

/// # Errors
/// What the services say of the shop's files, with the file's name.
pub(super) async fn move_in(app: &App, cx: &Cx, shop: &Shop, spinner: &Spinner) -> Result<Moved> {
    let mut toolgroups = vec![];
    let mut tools = 0;
    for (n, tool) in shop.tools.iter().enumerate() {
        spinner.say(&format!("compiling the tool {}", tool.filename));
        let file = app.memory.create_file(cx, &tool.filename, "tool", Some("application/wasm"), &tool.bytes).await?;
        let id = format!("shop-{}", n + 1);
        let args = json!({ "component": file.id, "grants": tool.grants });
        let registration = Registration {
            toolgroup_id: id.clone(),
            provider_id: "wasm".into(),
            args: args.as_object().cloned().unwrap_or_default(),
            ..Registration::default()
        };
        let group = app.tools.register(cx, registration).await.map_err(|e| about(&tool.filename, e))?;
        tools += group.tools.len();
        let orders: Vec<(String, Vec<u8>)> =
            shop.orders.iter().map(|(number, order)| (format!("order/{number}"), order.to_string().into_bytes())).collect();
        app.tools.replace_data(cx, &id, "order/", &orders).await?;
        toolgroups.push(id);
    }
    let store = app.memory.create_store(cx, &shop.name, serde_json::Map::new()).await?;
    for (n, page) in shop.pages.iter().enumerate() {
        spinner.say(&format!("reading page {} of {}: {}", n + 1, shop.pages.len(), page.filename));
        app.memory.add_file(cx, &store.id, page).await.map_err(|e| about(&page.filename, e))?;
    }
    let spec = AgentSpec {
        name: Some(shop.name.clone()),
        model: shop.model.clone(),
        instructions: shop.instructions.clone(),
        greeting: Some(shop.greeting.clone()),
        toolgroups,
        knowledge: vec![store.id],
        shields: vec![SHIELD.into()],
        hand_off: Some(HandOffSpec { message: shop.hand_off.clone() }),
        ..AgentSpec::default()
    };
    let agent = app.agents.create_agent(cx, spec).await?;
    Ok(Moved { agent: agent.id, tools, pages: shop.pages.len() })
}

fn about(file: &str, mut e: Error) -> Error {
    e.message = format!("{file}: {}", e.message);
    e
}
