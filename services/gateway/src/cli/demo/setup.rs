//! Moves a shop in: its tools with their data, its pages, its agent. The same steps an operator takes.

use frontdesk_api::{
    Cx, Error, Result,
    agent::{AgentSpec, HandOffSpec},
};
use frontdesk_memory::Change;
use frontdesk_tools::Registration;
use serde_json::{Map, json};

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
        let kind = Some("application/wasm");
        let file = app.knowledge.create_file(cx, &tool.filename, "tool", kind, &tool.bytes).await?;
        let args = json!({ "component": file.id, "grants": tool.grants });
        let registration = Registration {
            toolgroup_id: format!("shop-{}", n + 1),
            provider_id: "wasm".into(),
            args: args.as_object().cloned().unwrap_or_default(),
            ..Registration::default()
        };
        let group = app.tools.register(cx, registration).await.map_err(|e| about(&tool.filename, e))?;
        tools += app.tools.list_tools(cx, Some(&group.id)).await?.len();
        for data in &tool.data {
            app.tools.replace_data(cx, &group.id, &data.prefix, &data.entries).await?;
        }
        toolgroups.push(group.id);
    }
    let store = app.knowledge.create_store(cx, &shop.name, Map::new()).await?;
    for (n, page) in shop.pages.iter().enumerate() {
        spinner.say(&format!("reading page {} of {}: {}", n + 1, shop.pages.len(), page.filename));
        let added = app.knowledge.add_file(cx, &store.id, page.clone()).await.map_err(|e| about(&page.filename, e))?;
        if added.change == Change::Failed {
            let why = added.file.error.unwrap_or_default();
            return Err(Error::invalid("pages", format!("{}: {why}", page.filename)));
        }
    }
    let spec = AgentSpec {
        name: Some(shop.name.clone()),
        instructions: shop.instructions.clone(),
        greeting: Some(shop.greeting.clone()),
        toolgroups,
        knowledge: vec![store.id],
        shields: vec![SHIELD.into()],
        hand_off: Some(HandOffSpec::to_people(shop.hand_off.clone())),
        ..AgentSpec::new(&shop.model)
    };
    let agent = app.agents.create_agent(cx, spec).await?;
    Ok(Moved { agent: agent.id, tools, pages: shop.pages.len() })
}

fn about(file: &str, mut e: Error) -> Error {
    e.message = format!("{file}: {}", e.message);
    e
}
