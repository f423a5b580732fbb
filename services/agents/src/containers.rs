//! Containers: what code of a conversation runs in, the files it left there, and which of them an answer speaks of.
//!
//! A container is found, or made, before the first item that shows a call of code is written, since the item names it.
//! Citations are made here from what the runs of the turn were told to have kept; no model writes one.

use std::collections::HashMap;

use frontdesk_api::{
    Cx, Page, PageRequest, Result,
    chat::ToolCall,
    code::{self, Named},
    customer::Customer,
    cx::Workspace,
    tools::ToolDef,
    turn::{Citation, Item, ItemBody},
};
use frontdesk_store::containers::{self, ContainerFile, StoredContainer};

use crate::{
    Agents, access,
    halt::{Halt, failed},
    worker::Worker,
};

impl Agents {
    /// # Errors
    /// `NotFound`, also where its time is over; as [`Cx::sees`].
    pub async fn container(&self, cx: &Cx, id: &str) -> Result<StoredContainer> {
        let deps = &self.0.deps;
        access::load_container(&mut deps.store.tenant(cx).read().await?, cx, id, deps.clock.now()).await
    }

    /// Those that the caller sees; of one name where it is given.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_containers(
        &self,
        cx: &Cx,
        name: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<StoredContainer>> {
        let deps = &self.0.deps;
        deps.store.tenant(cx).list_containers(&cx.sight(), name, page, deps.clock.now()).await
    }

    /// Deletes a container with its files. The conversation that it was of has another from its next run on.
    ///
    /// # Errors
    /// As [`Agents::container`].
    pub async fn delete_container(&self, cx: &Cx, id: &str) -> Result<()> {
        self.container(cx, id).await?;
        self.0.deps.store.tenant(cx).delete_container(id).await?;
        self.0.deps.tools.forget_conversations(cx, &[id.to_owned()]);
        Ok(())
    }

    /// # Errors
    /// As [`Agents::container`].
    pub async fn container_files(&self, cx: &Cx, id: &str, page: &PageRequest) -> Result<Page<ContainerFile>> {
        self.container(cx, id).await?;
        self.0.deps.store.tenant(cx).list_container_files(id, page).await
    }

    /// # Errors
    /// As [`Agents::container`]; `NotFound` where the container has no such file.
    pub async fn container_file(&self, cx: &Cx, id: &str, file_id: &str) -> Result<ContainerFile> {
        self.container(cx, id).await?;
        containers::load_file(&mut self.0.deps.store.tenant(cx).read().await?, id, file_id).await
    }

    /// # Errors
    /// As [`Agents::container_file`].
    pub async fn delete_container_file(&self, cx: &Cx, id: &str, file_id: &str) -> Result<()> {
        self.container(cx, id).await?;
        self.0.deps.store.tenant(cx).delete_container_file(id, file_id).await?;
        // Interpreters hold what they were given of it.
        self.0.deps.tools.forget_conversations(cx, &[id.to_owned()]);
        Ok(())
    }
}

impl Agents {
    /// By which ids tools keep something for a session, a conversation or a response ([`Workspace::id`]).
    pub(crate) async fn workspaces(&self, cx: &Cx, id: &str) -> Result<Vec<String>> {
        let mut all = containers::of_conversation(&mut self.0.deps.store.tenant(cx).read().await?, id).await?;
        all.push(id.to_owned());
        Ok(all)
    }

    /// The container, for who may let code run in it and put files there.
    ///
    /// # Errors
    /// `NotFound`; as [`Cx::speaks`].
    pub async fn container_to_use(&self, cx: &Cx, id: &str) -> Result<StoredContainer> {
        let container = self.container(cx, id).await?;
        let mut tx = self.0.deps.store.tenant(cx).write().await?;
        let theirs =
            cx.speaks(container.owner.as_ref())? && containers::enter(&mut tx, cx, id, self.0.deps.clock.now()).await?;
        tx.commit().await?;
        if theirs { Ok(container) } else { Err(containers::missing(id)) }
    }

    /// Makes a container that no conversation has; it is the customer's for whom the caller asks. `minutes`: how long it is
    /// kept after its last use.
    ///
    /// # Errors
    /// As any query.
    pub async fn make_container(&self, cx: &Cx, name: &str, minutes: i64) -> Result<StoredContainer> {
        let deps = &self.0.deps;
        let owner = cx.customer.as_ref().map(Customer::owner);
        let (id, now) = (deps.ids.next("cntr"), deps.clock.now());
        let container = StoredContainer::made(id, name, owner, minutes, now);
        deps.store.tenant(cx).add_container(&container).await?;
        Ok(container)
    }
}

impl Worker {
    /// Whether the platform's interpreter runs it.
    pub(crate) fn is_code(&self, call: &ToolCall) -> bool {
        is_code(&self.offered, &call.name)
    }

    /// Finds what the turn's code will run in: the items of its calls name it, and the interpreter is the one that is kept
    /// for it.
    pub(crate) async fn find_container(&mut self) -> Result<(), Halt> {
        if self.container.is_some() {
            return Ok(());
        }
        let (store, cx) = (self.room.deps.store.clone(), self.cx.clone());
        let (new, now) = (self.room.deps.ids.next("cntr"), self.room.deps.clock.now());
        let claimed = async {
            let mut tx = store.tenant(&cx).write().await?;
            let id = containers::claim(&mut tx, &cx, &new, None, now).await?;
            tx.commit().await?;
            Ok(id)
        };
        let claimed = self.wait(claimed).await?;
        let (Some(id), Some(workspace)) = (claimed, &mut self.cx.workspace) else {
            // Elsewhere the code would find nothing of what it was given.
            return match self.cx.workspace.as_ref().and_then(|workspace| workspace.container.as_ref()) {
                Some(named) => {
                    let message = format!("the container '{named}' is gone, and the code was to run there");
                    Err(Halt::Failed(failed("container_not_found", message)))
                }
                None => Ok(()),
            };
        };
        let (files, conversation) = (std::mem::take(&mut workspace.files), std::mem::take(&mut workspace.conversation));
        *workspace = Workspace { id: id.clone(), conversation, after: vec![], files, container: Some(id.clone()) };
        self.container = Some(id);
        Ok(())
    }
}

fn is_code(offered: &[ToolDef], name: &str) -> bool {
    offered.iter().any(|def| def.name == name && def.toolgroup == code::GROUP)
}

/// What the code of these items wrote and was kept, of one name the newest.
pub(crate) fn written(items: &[Item], offered: &[ToolDef]) -> Vec<Named> {
    // A call that a client sent, with what it says came of it, names no container.
    let calls: HashMap<&str, &str> = items
        .iter()
        .filter_map(|item| match &item.body {
            ItemBody::FunctionCall { call, container: Some(container) } if is_code(offered, &call.name) => {
                Some((call.id.as_str(), container.as_str()))
            }
            _ => None,
        })
        .collect();
    let mut files: Vec<Named> = vec![];
    for item in items {
        // Code that failed may have written something before.
        let ItemBody::FunctionCallOutput { call_id, output, .. } = &item.body else { continue };
        if let Some(container) = calls.get(call_id.as_str()) {
            for file in code::named(output).into_iter().filter(|file| file.container_id == *container) {
                files.retain(|known| known.name != file.name);
                files.push(file);
            }
        }
    }
    files
}

/// Citations of one file, and of all files together, in one answer.
const MOST_OF_FILE: usize = 20;
const MOST_CITED: usize = 100;

/// Where `answer` speaks of these files.
pub(crate) fn cite_files(answer: &str, files: &[Named]) -> Vec<Citation> {
    let mut cited = vec![];
    for file in files {
        for (n, place) in (1..).zip(code::mentions(answer, &file.name)).take(MOST_OF_FILE) {
            if cited.len() >= MOST_CITED {
                return cited;
            }
            cited.push(Citation {
                number: n,
                file_id: file.file_id.clone(),
                container_id: Some(file.container_id.clone()),
                filename: file.name.clone(),
                title: file.name.clone(),
                url: None,
                quote: answer[place].to_owned(),
            });
        }
    }
    cited
}

#[cfg(test)]
mod tests {
    use frontdesk_api::tools::{Effect, Risk, Runs};

    use super::*;

    fn tool(toolgroup: &str) -> ToolDef {
        ToolDef {
            name: code::TOOL.into(),
            wire_name: code::TOOL.into(),
            toolgroup: toolgroup.into(),
            description: String::new(),
            schema: serde_json::Value::Null,
            runs: Runs::Server,
            effect: Effect::None,
            risk: Risk::Read,
            bound_args: Default::default(),
            alone: true,
            hash: String::new(),
        }
    }

    fn run(n: usize, files: &[(&str, &str)]) -> [Item; 2] {
        let files: Vec<_> =
            files.iter().map(|(name, id)| serde_json::json!({ "name": name, "bytes": 1, "file_id": id })).collect();
        let output = serde_json::json!({ "stdout": "", "container_id": "cntr_1", "files": files }).to_string();
        let call = ToolCall { id: format!("c{n}"), name: code::TOOL.into(), arguments: String::new() };
        let (call_id, is_error) = (call.id.clone(), n == 2);
        [ItemBody::FunctionCall { call, container: Some("cntr_1".into()) }, ItemBody::output(call_id, output, is_error)]
            .map(|body| Item { id: String::new(), turn_id: String::new(), pos: 0, body })
    }

    #[test]
    fn the_newest_of_a_name_is_cited_at_each_of_its_links_and_another_tools_words_are_no_file() {
        let items = [run(1, &[("a.csv", "cfile_1"), ("b.csv", "cfile_2")]), run(2, &[("a.csv", "cfile_3")])].concat();
        let files = written(&items, &[tool(code::GROUP)]);
        let cited = cite_files("[a](sandbox:/mnt/data/a.csv) or sandbox:/mnt/data/a.csv, not c.csv", &files);
        let seen: Vec<_> = cited.iter().map(|c| (c.number, c.file_id.as_str(), c.container_id.as_deref())).collect();
        assert_eq!(seen, [(1, "cfile_3", Some("cntr_1")), (2, "cfile_3", Some("cntr_1"))]);
        assert_eq!(written(&items, &[tool("shop")]), []);

        // A client's own item names no container, and a result speaks of none but its call's.
        for given in [None, Some("cntr_2".to_owned())] {
            let mut sent = run(1, &[("a.csv", "cfile_1")]);
            if let ItemBody::FunctionCall { container, .. } = &mut sent[0].body {
                *container = given;
            }
            assert_eq!(written(&sent, &[tool(code::GROUP)]), []);
        }
        let often = "sandbox:/mnt/data/a.csv ".repeat(500);
        assert_eq!(cite_files(&often, &files).len(), MOST_OF_FILE);
    }
}
