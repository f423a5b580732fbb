"""Every answer of the Llama Stack routes against llama-stack-client 0.2.12's own models, strictly.

The client itself never validates what it gets; here its types do, so that a missing or ill-typed member fails.
"""

import json
import pathlib

import pytest
from llama_stack_client.types import (
    AgentCreateResponse, HealthInfo, ProviderInfo, RouteInfo, RunShieldResponse, Shield, Tool, ToolDef, ToolGroup,
    ToolInvocationResult, VectorStore, VersionInfo,
)  # fmt: skip
from llama_stack_client.types.agents import (
    AgentTurnResponseStreamChunk, Session, SessionCreateResponse, StepRetrieveResponse, Turn,
)  # fmt: skip
from pydantic import TypeAdapter

SHOP_TOOLS = pathlib.Path(__file__).parents[2] / "services/gateway/demo/tools/shop-tools.wasm"


def fits(kind, value):
    return TypeAdapter(kind).validate_python(value)


@pytest.fixture(scope="module")
def house(frontdesk):
    """A shop's tools, a page, and an agent that has both; the agent's id."""

    def post(path, **more):
        answer = frontdesk.http.post(path, **more)
        assert answer.is_success, answer.text
        return answer.json()

    def upload(name, content):
        return post("/v1/files", files={"file": (name, content)}, data={"purpose": "assistants"})["id"]

    args = {"component": upload("shop-tools.wasm", SHOP_TOOLS.read_bytes()), "grants": ["kv"]}
    group = post("/v1/toolgroups", json={"toolgroup_id": "shapes", "provider_id": "wasm", "args": args})
    fits(ToolGroup, group)
    page = upload("returns.md", b"# Returns\n\nReturns are free within 30 days of delivery.")
    store = post("/v1/vector_stores", json={"name": "pages", "file_ids": [page]})
    fits(VectorStore, store)
    config = {
        "model": "up/scripted", "instructions": "Be brief.", "toolgroups": ["shapes"],
        "frontdesk": {"knowledge": [store["id"]], "shields": ["rules"]},
    }  # fmt: skip
    agent = post("/v1/agents", json={"agent_config": config})
    fits(AgentCreateResponse, agent)
    yield agent["agent_id"]
    frontdesk.http.delete(f"/v1/agents/{agent['agent_id']}")
    frontdesk.http.delete("/v1/toolgroups/shapes")


def test_a_turn_with_every_kind_of_step(frontdesk, scripted, house):
    scripted.script([
        {"reply": {"tool_call": {"name": "lookup_order", "arguments": {"order_id": "48213"}}}},
        {"reply": {"text": "Returns are free within 30 days of delivery. My card is 4111 1111 1111 1111."}},
    ])  # fmt: skip
    session = frontdesk.http.post(f"/v1/agents/{house}/session", json={"session_name": "shapes"}).json()
    path = f"/v1/agents/{house}/session/{fits(SessionCreateResponse, session).session_id}"
    body = {"messages": [{"role": "user", "content": "Are returns free?"}], "stream": True}
    chunks = []
    with frontdesk.http.stream("POST", f"{path}/turn", json=body) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                chunks.append(fits(AgentTurnResponseStreamChunk, json.loads(line.removeprefix("data:"))))
    payload = chunks[-1].event.payload
    assert payload.event_type == "turn_complete"
    kinds = {step.step_type for step in payload.turn.steps}
    assert kinds == {"inference", "tool_execution", "shield_call", "memory_retrieval"}
    turn = fits(Turn, frontdesk.http.get(f"{path}/turn/{payload.turn.turn_id}").json())
    assert turn == payload.turn, "what was streamed is what is kept"
    for step in turn.steps:
        kept = frontdesk.http.get(f"{path}/turn/{turn.turn_id}/step/{step.step_id}").json()
        assert fits(StepRetrieveResponse, kept).step == step
    assert fits(Session, frontdesk.http.get(path).json()).turns == [turn]
    events = [chunk.event.payload.event_type for chunk in chunks]
    assert {"turn_start", "step_start", "step_progress", "step_complete", "turn_complete"} == set(events)


def test_tools_and_their_results(frontdesk, house):
    fits(list[ToolGroup], frontdesk.http.get("/v1/toolgroups").json()["data"])
    tools = fits(list[Tool], frontdesk.http.get("/v1/tools", params={"toolgroup_id": "shapes"}).json()["data"])
    fits(list[ToolDef], frontdesk.http.get("/v1/tool-runtime/list-tools").json()["data"])
    assert fits(Tool, frontdesk.http.get(f"/v1/tools/{tools[0].identifier}").json()) == tools[0]
    for arguments in ({"order_id": "1"}, {"number": 1}):
        invoked = {"tool_name": "lookup_order", "kwargs": arguments}
        fits(ToolInvocationResult, frontdesk.http.post("/v1/tool-runtime/invoke", json=invoked).json())


def test_shields_and_the_platform(frontdesk):
    fits(list[Shield], frontdesk.http.get("/v1/shields").json()["data"])
    for words, found in (("my card is 4111 1111 1111 1111", True), ("hello", False)):
        asked = {"shield_id": "rules", "messages": [{"role": "user", "content": words}], "params": {}}
        answer = fits(RunShieldResponse, frontdesk.http.post("/v1/safety/run-shield", json=asked).json())
        assert (answer.violation is not None) == found
    fits(list[ProviderInfo], frontdesk.http.get("/v1/providers").json()["data"])
    fits(list[RouteInfo], frontdesk.http.get("/v1/inspect/routes").json()["data"])
    fits(HealthInfo, frontdesk.http.get("/v1/health").json())
    fits(VersionInfo, frontdesk.http.get("/v1/version").json())
