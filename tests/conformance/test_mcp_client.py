"""MCP servers as tool groups: the official MCP package for Python serves, Frontdesk registers and calls."""

import sys
import time
from pathlib import Path

import pytest

SERVER = Path(__file__).parent / "mcp_server.py"
PROVIDER = "model-context-protocol"


@pytest.fixture(scope="module")
def desk(started):
    return started()


@pytest.fixture(scope="module")
def started(another_frontdesk, scripted_server):
    up = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", models: [scripted] }} }}'
    mcp = f'{{ id: {PROVIDER}, type: mcp, config: {{ inside: ["127.0.0.1"], timeout_s: 30 }} }}'
    return lambda **more: another_frontdesk(up, tools=[mcp], **more)


@pytest.fixture
def serve(program):
    return lambda style="stream": program(sys.executable, SERVER, 0, style)


def register(desk, server, **more):
    body = {"toolgroup_id": "shop", "provider_id": PROVIDER, "mcp_endpoint": {"uri": server.url}, **more}
    return desk.http.post("/v1/toolgroups", json=body)


def invoke(desk, tool, headers=None, **kwargs):
    answer = desk.http.post("/v1/tool-runtime/invoke", json={"tool_name": tool, "kwargs": kwargs}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("style", ["stream", "json", "stateless"])
def test_tools_of_a_server_are_listed_and_called(desk, serve, style):
    registered = register(desk, serve(style))
    assert registered.status_code == 200, registered.text
    assert registered.json()["mcp_endpoint"]["uri"].endswith("/mcp")
    names = {tool["identifier"] for tool in desk.http.get("/v1/tools", params={"toolgroup_id": "shop"}).json()["data"]}
    assert {"look", "cancel", "orders_count"} <= names
    assert '"shipped"' in invoke(desk, "look", id="7")["content"]
    # The package says it again as structured content.
    assert invoke(desk, "orders_count")["content"].splitlines() == ["7", '{"result":"7"}']
    assert invoke(desk, "slow", steps=3)["content"].startswith("done at last")
    broken = invoke(desk, "broken")
    assert "broken" in broken["error_message"] or "till is closed" in broken["error_message"]
    # It says of itself that it destroys.
    assert "needs the approval" in invoke(desk, "cancel", id="7")["error_message"]
    # Arguments are looked at before the server is asked.
    assert "arguments do not fit" in invoke(desk, "look", id=7)["error_message"]
    picture = invoke(desk, "test_image_content")["content"]
    assert picture.startswith("[image, image/png, ")


def test_an_agent_calls_a_tool_and_goes_on_when_the_server_dies(desk, serve, scripted_server):
    server = serve()
    assert register(desk, server, args={"allowed_tools": ["look", "dies"]}).status_code == 200
    scripted_server.reset()
    scripted_server.script([
        {"reply": {"tool_call": {"name": "look", "arguments": {"id": "7"}}}},
        {"reply": {"tool_call": {"name": "dies", "arguments": {}}}},
        {"reply": {"text": "it is shipped"}},
    ])
    agent = desk.http.post("/v1/agents", json={"agent_config": {"model": "up/scripted", "instructions": "", "toolgroups": ["shop"]}})
    agent = agent.json()["agent_id"]
    session = desk.http.post(f"/v1/agents/{agent}/session", json={"session_name": "s"}).json()["session_id"]
    asked = {"messages": [{"role": "user", "content": "where is 7?"}]}
    turn = desk.http.post(f"/v1/agents/{agent}/session/{session}/turn", json=asked).json()
    assert turn["output_message"]["content"] == "it is shipped"
    results = [r["content"] for step in turn["steps"] if step["step_type"] == "tool_execution" for r in step["tool_responses"]]
    assert "shipped" in str(results[0]) and "whether the call did its work is not known" in str(results[1])


def test_a_turn_shows_how_far_a_tool_is_while_it_works(desk, serve, scripted_server):
    llama_stack = pytest.importorskip("llama_stack_client")
    assert register(desk, serve(), args={"allowed_tools": ["packs", "ends_after"]}).status_code == 200
    scripted_server.reset()
    scripted_server.script([{"reply": {"tool_call": {"name": "packs", "arguments": {}}}}, {"reply": {"text": "{tool_content}"}}])
    client = llama_stack.LlamaStackClient(base_url=desk.url, api_key=desk.key)
    agent = client.agents.create(agent_config={"model": "up/scripted", "instructions": "", "toolgroups": ["shop"]}).agent_id
    session = client.agents.session.create(agent, session_name="s").session_id
    shown = []
    for chunk in client.agents.turn.create(session, agent_id=agent, messages=[{"role": "user", "content": "go"}], stream=True):
        payload = chunk.event.payload
        if payload.event_type == "step_progress" and payload.step_type == "tool_execution":
            assert llama_stack.types.agents.AgentTurnResponseStreamChunk.model_validate(chunk.model_dump(), strict=True)
            shown.append(payload.delta.text)
            # It works until then.
            invoke(desk, "ends_after", name="packing")
        elif payload.event_type == "turn_complete":
            assert payload.turn.output_message.content.startswith("packed")
    assert shown == ["1 of 3: taped\n"]


def asking(desk, server, scripted_server, tool):
    """A turn in which this tool asks a person: where its conversation's turns are, and the turn."""
    assert register(desk, server, args={"allowed_tools": [tool]}).status_code == 200
    scripted_server.reset()
    scripted_server.script([
        {"reply": {"tool_call": {"name": tool, "arguments": {"day": "Monday"}}}},
        {"reply": {"text": "the tool said {tool_content}"}},
    ])
    agent = desk.http.post("/v1/agents", json={"agent_config": {"model": "up/scripted", "instructions": "", "toolgroups": ["shop"]}})
    agent = agent.json()["agent_id"]
    session = desk.http.post(f"/v1/agents/{agent}/session", json={"session_name": "s"}).json()["session_id"]
    path = f"/v1/agents/{agent}/session/{session}/turn"
    return path, desk.http.post(path, json={"messages": [{"role": "user", "content": "a table"}]}).json()


def stands(desk, path, turn):
    """The turn once it runs no more."""
    limit = time.monotonic() + 60
    while (turn := desk.http.get(f"{path}/{turn['turn_id']}").json())["frontdesk"]["state"] == "running":
        assert time.monotonic() < limit, f"still running: {turn}"
    return turn


@pytest.mark.parametrize("answer, said", [
    ({"action": "accept", "content": {"people": 4}}, "Monday, 4 True"),
    ({"action": "decline"}, "it was decline"),
    ({"action": "cancel"}, "it was cancel"),
])  # fmt: skip
def test_what_a_tool_asks_while_it_is_called_is_answered_and_the_call_goes_on(desk, serve, scripted_server, answer, said):
    path, turn = asking(desk, serve("greets"), scripted_server, "reserve")
    assert turn["frontdesk"]["state"] == "awaiting_input", turn
    asked, = desk.http.get("/v1/questions", params={"turn_id": turn["turn_id"]}).json()["data"]
    assert asked["message"] == "For how many on Monday?" and asked["state"] == "open", asked
    assert asked["requested_schema"]["properties"]["people"]["minimum"] == 1
    where = f"/v1/questions/{asked['id']}"
    for content, param in [({"people": 0}, "content.people"), ({"people": "four"}, "content.people"), ({}, "content.people")]:
        refused = desk.http.post(where, json={"action": "accept", "content": content})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), refused.text
    first = desk.http.post(where, json=answer)
    assert first.status_code == 200, first.text
    assert desk.http.post(where, json=answer).json() == first.json()
    other = desk.http.post(where, json={"action": "accept", "content": {"people": 5}})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "question_answered"), other.text
    turn = stands(desk, path, turn)
    assert turn["frontdesk"]["state"] == "completed", turn
    assert said in turn["output_message"]["content"], turn["output_message"]


def test_a_tool_that_nobody_answers_in_time_hears_that_it_is_cancelled(started, serve, scripted_server):
    desk = started(turns="{ question_wait_s: 1 }")
    path, turn = asking(desk, serve("greets"), scripted_server, "reserve")
    limit = time.monotonic() + 60
    while (turn := desk.http.get(f"{path}/{turn['turn_id']}").json())["frontdesk"]["state"] != "completed":
        assert time.monotonic() < limit, f"not yet: {turn}"
    said = turn["output_message"]["content"]
    assert "it was cancel" in said and "nobody answered in time" in said, said


@pytest.mark.parametrize("answers", [
    [({"people": 4}, "For how many on Monday?"), ({"sure": True}, "A table for 4, for sure?")],
    [(None, "For how many on Monday?")],
])  # fmt: skip
def test_what_a_tool_asks_a_person_is_answered_in_its_turn(desk, serve, scripted_server, answers):
    path, turn = asking(desk, serve("stateless"), scripted_server, "book")
    for content, words in answers:
        asked, = desk.http.get("/v1/questions", params={"turn_id": turn["turn_id"]}).json()["data"]
        assert asked["message"] == words and asked["toolgroup"] == "shop", asked
        answer = {"action": "accept", "content": content} if content else {"action": "decline"}
        said = desk.http.post(f"/v1/questions/{asked['id']}", json=answer)
        assert said.status_code == 200, said.text
        turn = stands(desk, path, turn)
    assert turn["frontdesk"]["state"] == "completed", turn
    said = turn["output_message"]["content"]
    # The package ends a call whose question was declined.
    assert ("Monday, 4 inside" if answers[0][0] else "elicitation was decline") in said, said


def test_secrets_of_a_registration_are_sent_and_shown_to_nobody(desk, serve):
    server = serve("json")
    shown = register(desk, server, args={"authorization": "tok-secret-1234"})
    assert "tok-secret" not in shown.text
    assert "tok-secret" not in desk.http.get("/v1/toolgroups/shop").text
    # What the server repeats of it does not come back either.
    assert invoke(desk, "who")["content"].splitlines()[0] == "Bearer [secret]"
    theirs = {"X-LlamaStack-Provider-Data": '{"mcp_headers": {"%s": {"Authorization": "Basic mine-87654321"}}}' % server.url}
    assert invoke(desk, "who", headers=theirs)["content"].splitlines()[0] == "[secret]"


def test_what_is_wrong_is_said_at_registration(desk, serve):
    server = serve()
    for uri, args, param in [
        ("http://127.0.0.1:9/mcp", {}, None),
        (server.url.replace("/mcp", "/nothing"), {}, None),
        ("http://10.0.0.1/mcp", {}, "mcp_endpoint.uri"),
        ("stdio:sh", {}, "mcp_endpoint.uri"),
        (server.url, {"allowed_tools": ["nothing"]}, "args.allowed_tools"),
        (server.url, {"tokens": 1}, "args.tokens"),
    ]:
        body = {"toolgroup_id": "bad", "provider_id": PROVIDER, "mcp_endpoint": {"uri": uri}, "args": args}
        refused = desk.http.post("/v1/toolgroups", json=body)
        assert 400 <= refused.status_code < 600 and refused.status_code != 500, refused.text
        assert refused.json()["error"]["param"] == param, refused.text
    assert desk.http.get("/v1/toolgroups/bad").status_code == 404
