//! `POST /v1/tool-runtime/invoke`.

use axum::{Json, extract::State};
use frontdesk_wire::llama_stack::tool::{InvokeTool, ToolInvocationResult};

use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// Call a tool directly
///
/// Wrong arguments and a tool that fails are answers with `error_message`; limits that fired are named in `metadata`.
#[utoipa::path(
    post, path = "/v1/tool-runtime/invoke", tag = "tools",
    request_body = InvokeTool, responses((status = 200, body = ToolInvocationResult))
)]
pub async fn invoke(
    State(app): State<App>,
    Caller(cx): Caller,
    extract::Json(body): extract::Json<InvokeTool>,
) -> Result<Json<ToolInvocationResult>, Problem> {
    // A call of its own: nobody repeats it under the same key.
    let key = app.ids.next("call");
    let outcome = app.tools.invoke(&cx, &body.tool_name, &body.kwargs, &key).await?;
    Ok(Json(ToolInvocationResult::of(&outcome)))
}
