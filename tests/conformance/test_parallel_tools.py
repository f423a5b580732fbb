"""Tool calls of one answer side by side, as the official openai package sees them: two tools of an MCP server."""

import json
import sys
from pathlib import Path

import httpx
import openai
import pytest

SERVER = Path(__file__).parent / "mcp_server.py"
PROVIDER = "model-context-protocol"


@pytest.fixture(scope="module")
def desk(another_frontdesk, scripted_server, program):
    up = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", models: [scripted] }} }}'
    mcp = f'{{ id: {PROVIDER}, type: mcp, config: {{ inside: ["127.0.0.1"], timeout_s: 20 }} }}'
    desk = another_frontdesk(up, tools=[mcp])
    server = program(sys.executable, SERVER, 0, "stream")
    body = {
        "toolgroup_id": "shop", "provider_id": PROVIDER, "mcp_endpoint": {"uri": server.url},
        # The operator's word, and not the server's, makes a tool one that only reads.
        "tools": {"ends_after": {"effect": "none"}},
    }  # fmt: skip
    assert desk.http.post("/v1/toolgroups", json=body).status_code == 200
    spec = {"model": "up/scripted", "instructions": "", "name": "pair", "toolgroups": ["shop"]}
    assert desk.http.post("/v1/agents", json={"agent_config": spec}).is_success
    return desk


@pytest.fixture
def client(desk):
    with httpx.Client(trust_env=False) as http:
        yield openai.OpenAI(base_url=desk.v1, api_key=desk.key, max_retries=0, http_client=http, _strict_response_validation=True)


def script(scripted, calls):
    calls = [{"name": "ends_after", "arguments": arguments} for arguments in calls]
    scripted.script([{"reply": {"tool_calls": calls}}, {"reply": {"text": "Both ended."}}])


@pytest.mark.parametrize("stream", [False, True])
def test_two_tools_run_side_by_side_and_stand_as_the_model_asked(client, scripted, stream):
    # The first ends only once the second has ended: one after the other, neither the turn would end.
    first, second = (f"{name} {stream}" for name in ("first", "second"))
    script(scripted, [{"name": first, "other": second}, {"name": second}])
    if stream:
        events = list(client.responses.create(model="agent/pair", input="go", stream=True))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        ends = [event.item_id for event in events if event.type == "response.mcp_call.completed"]
        response = events[-1].response
        assert ends == [item.id for item in response.output[:2]], "in the model's order, whichever ended first"
    else:
        response = client.responses.create(model="agent/pair", input="go")
    assert response.output_text == "Both ended."
    calls = [(item.type, item.status, json.loads(item.arguments)["name"], item.output) for item in response.output[:2]]
    assert calls == [("mcp_call", "completed", name, f"{name} ended") for name in (first, second)]
    assert client.responses.retrieve(response.id).output == response.output
    told = [m for m in json.loads(scripted.requests()[-1]["body"])["messages"] if m["role"] == "tool"]
    assert [m["content"] for m in told] == [f"{first} ended", f"{second} ended"]
    # Picked up behind any event, it reads the same.
    whole = [event.to_json() for event in client.responses.retrieve(response.id, stream=True)]
    for at in range(0, len(whole) - 1, 5):
        rest = client.responses.retrieve(response.id, stream=True, starting_after=at)
        assert [event.to_json() for event in rest] == whole[at + 1 :]


def test_a_request_that_wants_them_one_after_the_other_is_told_on(client, scripted):
    script(scripted, [{"name": "one"}, {"name": "two", "other": "one"}])
    response = client.responses.create(model="agent/pair", input="go", parallel_tool_calls=False)
    assert response.parallel_tool_calls is False and response.output_text == "Both ended."
    assert [item.output for item in response.output[:2]] == ["one ended", "two ended"]
    assert json.loads(scripted.requests()[0]["body"])["parallel_tool_calls"] is False
