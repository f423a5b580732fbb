"""llama-stack-client 0.2.12, unchanged: agents, sessions, turns, steps, tools, and what else Frontdesk shares with it."""

import pathlib

import httpx
import pytest
from llama_stack_client import Agent, BadRequestError, ConflictError, LlamaStackClient, NotFoundError
from llama_stack_client.types.agents import Session

MODEL = "up/scripted"
DEMO_TOOLS = pathlib.Path(__file__).parents[2] / "services/gateway/demo/tools"


@pytest.fixture
def client(frontdesk):
    return LlamaStackClient(base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0, timeout=60)


@pytest.fixture
def agent_id(client):
    created = client.agents.create(agent_config={"model": MODEL, "instructions": "Be brief."})
    yield created.agent_id
    client.agents.delete(created.agent_id)


def test_a_turn_streams_its_steps(client, agent_id, scripted):
    scripted.script([{"reply": {"text": "one two", "gates": {"g": 2}}}])
    session = client.agents.session.create(agent_id, session_name="first")
    stream = client.agents.turn.create(
        session.session_id, agent_id=agent_id, stream=True, messages=[{"role": "user", "content": "hello"}]
    )
    kinds, text = [], ""
    for chunk in stream:
        payload = chunk.event.payload
        kinds.append(payload.event_type)
        if payload.event_type == "step_progress" and payload.delta.type == "text":
            if not text:
                # The first word is here; the upstream has not written the second.
                scripted.waiting("g")
                scripted.release("g")
            text += payload.delta.text
    assert text == "one two"
    assert kinds[0] == "turn_start" and kinds[-1] == "turn_complete"
    assert "step_start" in kinds and "step_complete" in kinds
    assert payload.turn.output_message.content == "one two"
    assert [s.step_type for s in payload.turn.steps] == ["inference"]

    kept = client.agents.turn.retrieve(payload.turn.turn_id, agent_id=agent_id, session_id=session.session_id)
    assert kept.output_message.content == "one two"
    step = kept.steps[0]
    again = client.agents.steps.retrieve(
        step.step_id, agent_id=agent_id, session_id=session.session_id, turn_id=kept.turn_id
    )
    assert again.step.model_dump() == step.model_dump()
    conversation = client.agents.session.retrieve(session.session_id, agent_id=agent_id)
    assert [t.turn_id for t in conversation.turns] == [kept.turn_id]


def test_a_session_is_shown_with_the_turns_that_are_named(client, agent_id, frontdesk, scripted):
    scripted.script([{"reply": {"text": words}} for words in ("one", "two", "three", "else")])
    ask = lambda session: client.agents.turn.create(  # noqa: E731
        session, agent_id=agent_id, stream=False, messages=[{"role": "user", "content": "and?"}]
    ).turn_id
    session = client.agents.session.create(agent_id, session_name="long").session_id
    other = client.agents.session.create(agent_id, session_name="other").session_id
    first, second, third = ask(session), ask(session), ask(session)
    elsewhere = ask(other)

    def turns(**named):
        shown = client.agents.session.retrieve(session, agent_id=agent_id, **named).turns
        return [(turn.turn_id, turn.output_message.content) for turn in shown]

    everything = [(first, "one"), (second, "two"), (third, "three")]
    assert turns() == turns(turn_ids=[]) == everything
    assert turns(turn_ids=[second]) == [(second, "two")]
    assert turns(turn_ids=[third, first]) == [(first, "one"), (third, "three")], "in the order of the session"
    assert turns(turn_ids=[second, elsewhere, "turn_none"]) == [(second, "two")], "what is not of it is left out"
    assert turns(turn_ids=[elsewhere]) == []
    path = f"/v1/agents/{agent_id}/session/{session}"
    repeated = frontdesk.http.get(path, params=[("turn_ids", first), ("turn_ids", third)]).json()
    assert [turn["turn_id"] for turn in repeated["turns"]] == [first, third]
    refused = frontdesk.http.get(path, params={"turn_id": first})
    assert refused.status_code == 400 and "unknown parameter: 'turn_id'" in refused.text, refused.text


def test_a_client_tool_suspends_the_turn_and_resume_ends_it(client, scripted):
    tool = {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": [{"name": "city", "parameter_type": "string", "description": "City", "required": True}],
    }
    agent = client.agents.create(agent_config={"model": MODEL, "instructions": "", "client_tools": [tool]})
    scripted.script([
        {"reply": {"tool_call": {"id": "call_1", "name": "get_weather", "arguments": {"city": "Oslo"}}}},
        {"reply": {"text": "It is {tool_content} there."}},
    ])
    session = client.agents.session.create(agent.agent_id, session_name="weather")
    waiting = client.agents.turn.create(
        session.session_id, agent_id=agent.agent_id, stream=False, messages=[{"role": "user", "content": "Oslo?"}]
    )
    call = waiting.output_message.tool_calls[0]
    assert (call.tool_name, call.arguments) == ("get_weather", {"city": "Oslo"})
    done = client.agents.turn.resume(
        waiting.turn_id,
        agent_id=agent.agent_id,
        session_id=session.session_id,
        stream=False,
        tool_responses=[{"call_id": call.call_id, "tool_name": call.tool_name, "content": "snowing"}],
    )
    assert done.output_message.content == "It is snowing there."


def test_a_call_that_waits_for_a_person_is_none_of_the_clients(client, frontdesk, scripted):
    # A group of a demo tool, asked about by the agent's rules, and the client's own agent loop.
    component = (DEMO_TOOLS / "shop-tools.wasm").read_bytes()
    with httpx.Client(base_url=frontdesk.url, headers={"authorization": f"Bearer {frontdesk.key}"}, trust_env=False) as http:
        file = http.post("/v1/files", data={"purpose": "assistants"}, files={"file": ("shop-tools.wasm", component)}).json()
        group = {"toolgroup_id": "asked", "provider_id": "wasm", "args": {"component": file["id"], "grants": ["kv"]}}
        assert http.post("/v1/toolgroups", json=group).status_code < 300
        created = client.agents.create(
            agent_config={
                "model": MODEL, "instructions": "", "toolgroups": ["asked"],
                "frontdesk": {"approvals": [{"tool": "start_return"}]},
            }
        )  # fmt: skip
        agent = Agent(client, model=MODEL, instructions="", tools=[])
        agent.agent_id = created.agent_id
        session_id = agent.create_session("asked")
        scripted.script([
            {"reply": {"tool_call": {"id": "call_1", "name": "start_return", "arguments": {"order_id": "99999"}}}},
            {"reply": {"text": "It says {tool_content}"}},
        ])
        messages = [{"role": "user", "content": "send it back"}]
        chunks = list(agent.create_turn(messages, session_id, stream=True))
        last = chunks[-1].event.payload
        assert last.event_type == "turn_awaiting_input"
        assert not last.turn.output_message.tool_calls
        approval = http.get("/v1/approvals").json()["data"][0]
        assert (approval["tool"], approval["turn_id"]) == ("start_return", last.turn.turn_id)
        with pytest.raises(BadRequestError) as refused:
            client.agents.turn.resume(
                last.turn.turn_id, agent_id=created.agent_id, session_id=session_id, stream=False,
                tool_responses=[{"call_id": approval["call_id"], "tool_name": "start_return", "content": "done"}],
            )  # fmt: skip
        assert "waits for a person" in str(refused.value)
        assert http.post(f"/v1/approvals/{approval['id']}", json={"approve": True}).json()["state"] == "approved"
        turn = None
        while turn is None or turn.completed_at is None:
            turn = client.agents.turn.retrieve(last.turn.turn_id, agent_id=created.agent_id, session_id=session_id)
        assert "99999" in turn.output_message.content
        assert [s.step_type for s in turn.steps] == ["inference", "tool_execution", "inference"]
        # Its tools have the names of other tests' groups.
        client.agents.delete(created.agent_id)
        assert http.delete("/v1/toolgroups/asked").status_code < 300


def test_sessions_agents_and_lists(client, agent_id):
    session = client.agents.session.create(agent_id, session_name="kept")
    assert client.agents.session.retrieve(session.session_id, agent_id=agent_id).session_name == "kept"
    client.agents.session.delete(session.session_id, agent_id=agent_id)
    with pytest.raises(NotFoundError):
        client.agents.session.retrieve(session.session_id, agent_id=agent_id)
    assert any(m.identifier == MODEL for m in client.models.list())
    assert any(p.provider_id == "up" for p in client.providers.list())
    assert any(r.route == "/v1/agents" for r in client.routes.list())
    assert isinstance(client.toolgroups.list(), list)
    assert isinstance(client.shields.list(), list)


def test_an_agents_sessions_are_listed_as_the_client_reads_them(client, agent_id, frontdesk):
    made = {client.agents.session.create(agent_id, session_name=name).session_id: name for name in ("one", "two")}
    # The client reads sessions and has no method that lists them.
    path = f"/v1/agents/{agent_id}/sessions"
    listed = frontdesk.http.get(path).json()
    assert {s.session_id: s.session_name for s in map(Session.model_validate, listed["data"])} == made
    windows = [frontdesk.http.get(path, params={"start_index": n, "limit": 1}).json() for n in range(2)]
    assert [window["data"] for window in windows] == [[session] for session in listed["data"]]
    assert [window["has_more"] for window in windows] == [True, False]
    gone, left = made
    client.agents.session.delete(gone, agent_id=agent_id)
    assert [session["session_id"] for session in frontdesk.http.get(path).json()["data"]] == [left]


def test_an_unknown_agent_is_not_found(client):
    with pytest.raises(NotFoundError) as refused:
        client.agents.session.create("agent_none", session_name="x")
    assert "agent_none" in str(refused.value)


def test_what_the_documentation_shows_of_agents_is_so(frontdesk, client, scripted, capsys):
    page = (pathlib.Path(__file__).parents[2] / "docs/clients/llama-stack.md").read_text()
    code = page.split("## Agents, sessions, turns", 1)[1].split("```python\n", 1)[1].split("```", 1)[0]
    for shown, here in [("http://127.0.0.1:8321", frontdesk.url), ("fd_…", frontdesk.key), ("default", MODEL)]:
        assert f'"{shown}"' in code
        code = code.replace(f'"{shown}"', f'"{here}"')
    scripted.script([
        {"reply": {"tool_call": {"id": "call_1", "name": "weigh", "arguments": {"parcel": "7"}}}},
        {"reply": {"text": "It weighs {tool_content}."}},
        {"reply": {"tool_call": {"id": "call_2", "name": "weigh", "arguments": {"parcel": "8"}}}},
    ])
    made = {}
    exec(code, made)
    assert capsys.readouterr().out == "It weighs 3 kg.\n"
    # What is refused, as the page says it.
    agent, session, turn = made["agent"], made["session"], made["turn"]
    resume = {"agent_id": agent, "session_id": session, "tool_responses": made["outputs"]}
    with pytest.raises(ConflictError) as refused:
        client.agents.turn.resume(turn.turn_id, **resume)
    assert refused.value.body["error"]["code"] == "turn_not_waiting"
    turn = client.agents.turn.create(session, agent_id=agent, messages=[{"role": "user", "content": "Weigh parcel 8."}])
    assert turn.output_message.stop_reason == "end_of_message"
    with pytest.raises(BadRequestError) as refused:
        client.agents.turn.resume(turn.turn_id, **resume)
    assert refused.value.body["error"]["param"] == "tool_responses"
    with pytest.raises(BadRequestError) as refused:
        client.agents.create(agent_config={"model": MODEL, "instructions": "", "toolgroups": ["a", {"name": "b", "args": {"c": 1}}]})
    assert refused.value.body["error"]["param"] == "agent_config.toolgroups[1].args"
    client.agents.delete(agent)
