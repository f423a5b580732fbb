"""llama-stack-client 0.2.12's own agent loop (`Agent`, tools of the client, `EventLogger`), unchanged, and what a turn says of tools."""

import json

import pytest
from llama_stack_client import Agent, AgentEventLogger, BadRequestError, LlamaStackClient
from llama_stack_client.lib.agents.client_tool import client_tool

MODEL = "up/scripted"


@pytest.fixture
def client(frontdesk):
    return LlamaStackClient(base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0, timeout=60)


def ask(agent, session, text, stream):
    return agent.create_turn([{"role": "user", "content": text}], session, stream=stream)


@pytest.mark.parametrize("stream", [True, False])
def test_tools_of_the_client_run_there_until_the_answer(client, scripted, stream):
    seen = []

    @client_tool
    def weigh(parcel: str) -> str:
        """Weighs a parcel.

        :param parcel: Its number
        """
        if parcel == "lost":
            raise ValueError("no such parcel")
        seen.append(parcel)
        return f"{parcel} weighs 3 kg"

    calls = [{"id": f"call_{n}", "name": "weigh", "arguments": {"parcel": n}} for n in ("a", "b")]
    scripted.script([
        {"reply": {"tool_calls": calls}},
        {"reply": {"tool_call": {"id": "call_c", "name": "weigh", "arguments": {"parcel": "lost"}}}},
        {"reply": {"text": "Two of them."}},
    ])
    agent = Agent(client, model=MODEL, instructions="Be brief.", tools=[weigh])
    session = agent.create_session("parcels")
    if stream:
        logged = "".join(str(line) for line in AgentEventLogger().log(ask(agent, session, "weigh a, b, lost", True)))
        assert "Two of them." in logged and "weigh" in logged, logged
    else:
        turn = ask(agent, session, "weigh a, b, lost", False)
        assert turn.output_message.content == "Two of them."
    assert seen == ["a", "b"]
    prompts = [json.loads(request["body"])["messages"] for request in scripted.requests()]
    outputs = [message["content"] for message in prompts[-1] if message["role"] == "tool"]
    assert [json.loads(output) if output.startswith('"') else output for output in outputs[:2]] == ["a weighs 3 kg", "b weighs 3 kg"]
    assert "no such parcel" in outputs[2]
    client.agents.delete(agent.agent_id)


def test_what_a_turn_says_of_tools_stands_for_its_agents_word(client, scripted):
    tool = {"name": "look", "description": "", "parameters": []}
    created = client.agents.create(agent_config={"model": MODEL, "instructions": "", "client_tools": [tool]})
    session = client.agents.session.create(created.agent_id, session_name="choice")
    scripted.script([{"times": 3, "reply": {"text": "yes"}}])
    for config in [{"tool_choice": "none"}, {"tool_choice": "look"}, None]:
        given = {"tool_config": config} if config else {}
        client.agents.turn.create(
            session.session_id, agent_id=created.agent_id, stream=False, messages=[{"role": "user", "content": "hi"}], **given
        )
    chosen = [json.loads(request["body"]).get("tool_choice") for request in scripted.requests()]
    assert chosen == ["none", {"type": "function", "function": {"name": "look"}}, None]
    with pytest.raises(BadRequestError, match="tool_config.tool_choice"):
        client.agents.turn.create(
            session.session_id, agent_id=created.agent_id, stream=False,
            messages=[{"role": "user", "content": "hi"}], tool_config={"tool_choice": {"a": 1}},
        )  # fmt: skip
    client.agents.delete(created.agent_id)
