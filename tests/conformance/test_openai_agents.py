"""OpenAI's framework for agents (openai-agents), unchanged, over our Responses: runs, streams, tools, hand-offs, sessions.

The programs are written as the examples of its published package are: agents and tools declared, `Runner` does the rest.
"""

import asyncio
import json

import httpx
import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIConversationsSession,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    SQLiteSession,
    function_tool,
)
from openai import AsyncOpenAI
from pydantic import BaseModel

MODEL = "up/scripted"
# Nothing is sent to OpenAI's own collector.
QUIET = RunConfig(tracing_disabled=True)


@pytest.fixture
def model(frontdesk):
    http = httpx.AsyncClient(trust_env=False)
    client = AsyncOpenAI(base_url=frontdesk.v1, api_key=frontdesk.key, max_retries=0, timeout=60, http_client=http)
    return OpenAIResponsesModel(model=MODEL, openai_client=client)


@function_tool
def get_weather(city: str) -> str:
    """Get the current weather information for a specified city."""
    return f"sunny in {city}"


class Weather(BaseModel):
    city: str
    sunny: bool


def run(work):
    return asyncio.run(work)


def test_hello_world(model, scripted):
    scripted.script([{"reply": {"text": "Code calls itself anew."}}])
    agent = Agent(name="Assistant", instructions="You only respond in haikus.", model=model)
    result = run(Runner.run(agent, "Tell me about recursion.", run_config=QUIET))
    assert result.final_output == "Code calls itself anew."
    assert result.last_response_id.startswith("resp_")


def test_a_function_tool_and_what_it_answers(model, scripted):
    scripted.script([
        {"when": {"last_role": "tool"}, "reply": {"text": "It is {tool_content}."}},
        {"reply": {"tool_call": {"name": "get_weather", "arguments": {"city": "Tokyo"}}}},
    ])  # fmt: skip
    agent = Agent(name="Weather", instructions="You are helpful.", model=model, tools=[get_weather])
    result = run(Runner.run(agent, "What's the weather in Tokyo?", run_config=QUIET))
    assert result.final_output == "It is sunny in Tokyo."
    assert [item.type for item in result.new_items] == ["tool_call_item", "tool_call_output_item", "message_output_item"]


def test_a_streamed_run(model, scripted):
    scripted.script([
        {"when": {"last_role": "tool"}, "reply": {"text": "It is sunny.", "piece": 4}},
        {"reply": {"tool_call": {"name": "get_weather", "arguments": {"city": "Tokyo"}}, "argument_piece": 3}},
    ])  # fmt: skip
    agent = Agent(name="Weather", instructions="You are helpful.", model=model, tools=[get_weather])

    async def follow():
        result = Runner.run_streamed(agent, "What's the weather?", run_config=QUIET)
        raw, names = [], []
        async for event in result.stream_events():
            if event.type == "raw_response_event":
                raw.append(event.data)
            elif event.type == "run_item_stream_event":
                names.append(event.name)
        return result.final_output, "".join(e.delta for e in raw if e.type == "response.output_text.delta"), names

    output, text, names = run(follow())
    assert output == text == "It is sunny."
    assert names == ["tool_called", "tool_output", "message_output_created"]


def test_a_hand_off_between_two_agents(model, scripted):
    scripted.script([
        {"when": {"last_role": "tool"}, "reply": {"text": "¡Hola! ¿Cómo estás?"}},
        {"reply": {"tool_call": {"name": "transfer_to_spanish_agent", "arguments": {}}}},
    ])  # fmt: skip
    spanish = Agent(name="Spanish agent", instructions="You only speak Spanish.", model=model)
    triage = Agent(name="Triage agent", instructions="Hand off by language.", model=model, handoffs=[spanish])
    result = run(Runner.run(triage, "Hola, ¿cómo estás?", run_config=QUIET))
    assert (result.last_agent.name, result.final_output) == ("Spanish agent", "¡Hola! ¿Cómo estás?")


def test_an_agent_as_a_tool_of_another(model, scripted):
    scripted.script([
        {"when": {"last_role": "tool"}, "reply": {"text": "It says: {tool_content}"}},
        {"when": {"last_user_contains": "translate this"}, "reply": {"text": "hola"}},
        {"reply": {"tool_call": {"name": "translate", "arguments": {"input": "translate this: hello"}}}},
    ])  # fmt: skip
    translator = Agent(name="translator", instructions="You translate into Spanish.", model=model)
    tool = translator.as_tool(tool_name="translate", tool_description="Translates into Spanish.")
    boss = Agent(name="boss", instructions="Use your tools.", model=model, tools=[tool])
    assert run(Runner.run(boss, "Say hello in Spanish.", run_config=QUIET)).final_output == "It says: hola"


def test_a_structured_output(model, scripted):
    scripted.script([{"reply": {"text": '{"city":"Tokyo","sunny":true}'}}])
    agent = Agent(name="Weather", model=model, output_type=Weather, model_settings=ModelSettings(temperature=0.1))
    assert run(Runner.run(agent, "Tokyo?", run_config=QUIET)).final_output == Weather(city="Tokyo", sunny=True)


@pytest.mark.parametrize("kind", ["of its own", "conversation", "previous response"])
def test_sessions_remember(model, scripted, kind):
    scripted.script([{"times": 2, "reply": {"text": "You said {last_user}."}}])
    agent = Agent(name="Assistant", instructions="Be brief.", model=model)

    async def twice():
        if kind == "previous response":
            first = await Runner.run(agent, "one", run_config=QUIET)
            return await Runner.run(agent, "two", previous_response_id=first.last_response_id, run_config=QUIET)
        session = SQLiteSession("s") if kind == "of its own" else OpenAIConversationsSession(openai_client=model._client)
        await Runner.run(agent, "one", session=session, run_config=QUIET)
        second = await Runner.run(agent, "two", session=session, run_config=QUIET)
        assert len(await session.get_items()) == 4
        await session.clear_session()
        return second

    assert run(twice()).final_output == "You said two."
    told = [(m["role"], m["content"]) for m in json.loads(scripted.requests()[-1]["body"])["messages"]]
    assert told == [("system", "Be brief."), ("user", "one"), ("assistant", "You said one."), ("user", "two")]
