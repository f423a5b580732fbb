//! What servers of tools have and do, in the stream: lists of tools, calls, and calls that were approved.

use frontdesk_api::{
    chat::ToolCall,
    turn::{Item, ItemBody},
};
use serde_json::{Value, json};

use super::{
    super::mcp::{self, Made},
    Projection, Shown,
};

impl Projection {
    /// A call that runs here.
    pub(super) fn runs(&mut self, id: &str, call: &ToolCall, begun: Value, out: &mut Vec<Shown>) {
        let at = self.begin(id, begun, out);
        self.calls.insert(call.id.clone(), (at, call.clone()));
        self.tell("response.mcp_call.in_progress", json!({ "item_id": id, "output_index": at }), out);
    }

    /// A call of an earlier response will be made now.
    pub(super) fn approves(&mut self, item: &Item) {
        if let ItemBody::ApprovalResponse { request_id, approved: true, waiting: Some(waiting), .. } = &item.body {
            self.approved.insert(waiting.call.id.clone(), Made::approved(request_id, waiting));
            self.due.push((mcp::approved_id(request_id), waiting.call.clone()));
        }
    }

    /// What was approved begins, as far as it is chosen.
    pub(super) fn begin_due(&mut self, chosen: impl Fn(&ToolCall) -> bool, out: &mut Vec<Shown>) {
        let (due, later) = std::mem::take(&mut self.due).into_iter().partition(|(_, call)| chosen(call));
        self.due = later;
        let due: Vec<(String, ToolCall)> = due;
        for (id, call) in due {
            let Some(made) = self.approved.get(&call.id) else { continue };
            let begun = made.begun(&id);
            self.runs_whole(&id, &call, begun, out);
        }
    }

    /// A call that would have waited has a result: it was refused.
    pub(super) fn show_refused(&mut self, call_id: &str, out: &mut Vec<Shown>) {
        let Some((id, call)) = self.withheld.remove(call_id) else { return };
        let begun = self.servers.call(&call).begun(&id);
        self.runs_whole(&id, &call, begun, out);
    }

    /// A call whose arguments are known.
    fn runs_whole(&mut self, id: &str, call: &ToolCall, begun: Value, out: &mut Vec<Shown>) {
        self.runs(id, call, begun, out);
        let Some(&at) = self.places.get(id) else { return };
        self.output[at]["arguments"] = json!(call.arguments);
        let whole = json!({ "item_id": id, "output_index": at, "arguments": call.arguments });
        self.tell("response.mcp_call_arguments.done", whole, out);
    }

    /// The tools of a server, or why there are none.
    pub(super) fn lists(&mut self, id: &str, body: &ItemBody, out: &mut Vec<Shown>) {
        self.servers.learn(body);
        let ItemBody::ServerTools { server, tools, error, known: false, .. } = body else { return };
        let at = self.begin(id, mcp::list(id, server, &[], None), out);
        let place = json!({ "item_id": id, "output_index": at });
        self.tell("response.mcp_list_tools.in_progress", place.clone(), out);
        let name = match error {
            None => "response.mcp_list_tools.completed",
            Some(_) => "response.mcp_list_tools.failed",
        };
        self.tell(name, place, out);
        self.finish(at, mcp::list(id, server, tools, error.as_deref()), out);
    }
}
