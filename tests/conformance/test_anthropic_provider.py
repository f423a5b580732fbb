"""Anthropic as an upstream: what our provider sends against what the official SDK sends, and recorded streams through Frontdesk.

The scripted upstream keeps what it was asked and answers with the cassettes below, which are the streams of
Anthropic's documentation; before anything else, the SDK's own types must accept every event of them.
"""

import json

import anthropic
import httpx
import openai
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from llama_stack_client import LlamaStackClient
from pydantic import TypeAdapter

MODEL = "claude/claude-scripted"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def sdk(scripted_server):
    """The SDK, at the upstream itself."""
    with anthropic.DefaultHttpxClient(trust_env=False) as http:
        yield anthropic.Anthropic(
            base_url=scripted_server.url, api_key="upstream-key", max_retries=0, http_client=http
        )


def message(**more):
    return {
        "id": "msg_013Zva2CMHLNnjNjJKqJ2EF", "type": "message", "role": "assistant", "model": "claude-scripted",
        "content": [{"type": "text", "text": "Hi! My name is Claude.", "citations": None}],
        "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {
            "input_tokens": 20, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 8,
            "service_tier": "standard",
        },
        **more,
    }  # fmt: skip


# ---------------------------------------------------------------- requests

TOOL_CALL = {"id": "toolu_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"location": "Oslo"}'}}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"location": "Oslo"}}
OPENAI_TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": WEATHER}}]
SDK_TOOLS = [{"name": "get_weather", "description": "The weather.", "input_schema": WEATHER}]

# name → what the openai client is asked for, what the anthropic client is asked for
CASES = {
    "plain": ({"messages": HELLO}, {"messages": HELLO}),
    "system": (
        {"messages": [{"role": "system", "content": "Be brief."}, *HELLO]},
        {"system": "Be brief.", "messages": HELLO},
    ),
    "two instructions and a long talk": (
        {"messages": [
            {"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Be kind."},
            *HELLO, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Who are you?"},
        ]},
        {
            "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
            "messages": [*HELLO, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Who are you?"}],
        },
    ),
    "stop and stream": (
        {"messages": HELLO, "stop": ["END", "STOP"], "stream": True},
        {"messages": HELLO, "stop_sequences": ["END", "STOP"], "stream": True},
    ),
    "sampling": (
        {"messages": HELLO, "temperature": 0.5, "top_p": 0.9, "seed": 7, "extra_body": {"top_k": 5}},
        # Version 2026-10-21 refuses these, so the SDK has no parameters for them; 2023-06-01 takes them.
        {"messages": HELLO, "extra_body": {"temperature": 0.5, "top_p": 0.9, "top_k": 5}},
    ),
    "thinking": (
        {"messages": HELLO, "extra_body": {"thinking": {"type": "adaptive"}}, "reasoning_effort": "high"},
        {"messages": HELLO, "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
    ),
    "tools": (
        {"messages": HELLO, "tools": OPENAI_TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
        {"messages": HELLO, "tools": SDK_TOOLS, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    ),
    "one tool by name": (
        {"messages": HELLO, "tools": OPENAI_TOOLS, "tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        {"messages": HELLO, "tools": SDK_TOOLS, "tool_choice": {"type": "tool", "name": "get_weather"}},
    ),
    "results of parallel calls": (
        {"tools": OPENAI_TOOLS, "messages": [
            {"role": "user", "content": "Oslo and Rome?"},
            {"role": "assistant", "content": "I look.", "tool_calls": [TOOL_CALL, {**TOOL_CALL, "id": "toolu_2"}]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "snow"},
            {"role": "tool", "tool_call_id": "toolu_2", "content": "sun"},
            {"role": "user", "content": "In one word."},
        ]},
        {"tools": SDK_TOOLS, "messages": [
            {"role": "user", "content": "Oslo and Rome?"},
            {"role": "assistant", "content": [{"type": "text", "text": "I look."}, TOOL_USE, {**TOOL_USE, "id": "toolu_2"}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "snow"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "sun"},
                {"type": "text", "text": "In one word."},
            ]},
        ]},
    ),
    "images": (
        {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/ant.jpg"}},
            {"type": "text", "text": "What is this?"},
        ]}]},
        {"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/ant.jpg"}},
            {"type": "text", "text": "What is this?"},
        ]}]},
    ),
    "structured output and a user": (
        {"messages": HELLO, "user": "u-1", "response_format": {
            "type": "json_schema", "json_schema": {"name": "place", "schema": {**WEATHER, "additionalProperties": False}},
        }},
        {"messages": HELLO, "metadata": {"user_id": "u-1"}, "output_config": {
            "format": {"type": "json_schema", "schema": {**WEATHER, "additionalProperties": False}},
        }},
    ),
    "cached instructions": (
        {"messages": [
            {"role": "system", "content": [{"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}]}, *HELLO,
        ]},
        {"system": [{"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}], "messages": HELLO},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_our_request_is_the_sdk_s(name, openai_client, sdk, scripted):
    asked_openai, asked_sdk = CASES[name]
    answer = {"sse": cassette("text")} if asked_sdk.get("stream") else {"json": message()}
    scripted.script([{"times": 2, "reply": answer}])
    openai_client.chat.completions.create(model=MODEL, max_tokens=1024, **asked_openai)
    sdk.messages.create(model="claude-scripted", max_tokens=1024, **asked_sdk)
    ours, theirs = scripted.requests()
    assert ours["path"] == theirs["path"] == "/v1/messages"
    assert json.loads(ours["body"]) == json.loads(theirs["body"])
    ours, theirs = dict(ours["headers"]), dict(theirs["headers"])
    assert ours["content-type"] == theirs["content-type"]
    # The API takes a key either way; the older version, which our default is, also takes what tunes the sampling.
    assert ours["x-api-key"] == theirs["authorization"].removeprefix("Bearer ") == "upstream-key"
    assert (ours["anthropic-version"], theirs["anthropic-version"]) == ("2023-06-01", "2026-10-21")
    assert "authorization" not in ours, "the client's key stays here"


def test_an_answer_has_a_bound_though_the_client_named_none(openai_client, scripted):
    scripted.script([{"reply": {"json": message()}}])
    openai_client.chat.completions.create(model=MODEL, messages=HELLO)
    assert json.loads(scripted.requests()[-1]["body"])["max_tokens"] == 8192


# ---------------------------------------------------------------- answers

START = {"type": "message_start", "message": message(content=[], stop_reason=None, usage={
    "input_tokens": 20, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 1,
})}  # fmt: skip
STOP = {"type": "message_stop"}


def begin(index, block):
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index, kind, member, value):
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, member: value}}


def end(index):
    return {"type": "content_block_stop", "index": index}


def last(reason, **more):
    usage = {"input_tokens": 20, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 89}
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None, **more}, "usage": usage}


def text(index, *pieces):
    words = [delta(index, "text_delta", "text", piece) for piece in pieces]
    return [begin(index, {"type": "text", "text": "", "citations": None}), *words, end(index)]


def tool_use(index, id, *pieces):
    words = [delta(index, "input_json_delta", "partial_json", piece) for piece in ("", *pieces)]
    return [begin(index, {"type": "tool_use", "id": id, "name": "get_weather", "input": {}}), *words, end(index)]


CASSETTES = {
    "text": [START, *text(0, "Hello", "!"), last("end_turn"), STOP],
    "tools": [
        START, *text(0, "I look."), *tool_use(1, "toolu_1", '{"location":', ' "Oslo"}'), *tool_use(2, "toolu_2"),
        last("tool_use"), STOP,
    ],
    "thinking": [
        START, begin(0, {"type": "thinking", "thinking": "", "signature": ""}), delta(0, "thinking_delta", "thinking", "Let me see."),
        delta(0, "signature_delta", "signature", "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"), end(0),
        begin(1, {"type": "redacted_thinking", "data": "EmwKAhgBEgy3"}), end(1), *text(2, "27"), last("end_turn"), STOP,
    ],
    "length": [START, *text(0, "Hel"), last("max_tokens"), STOP],
    "refusal": [START, last("refusal", stop_details={"type": "refusal", "category": "cyber", "explanation": "Not that."}), STOP],
    "a server's own tool": [
        START, begin(0, {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}, "caller": {"type": "direct"}}),
        delta(0, "input_json_delta", "partial_json", '{"query":"x"}'), end(0),
        begin(1, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [], "caller": {"type": "direct"}}), end(1),
        *text(2, "Found nothing."), last("end_turn"), STOP,
    ],
}  # fmt: skip


def wire(event):
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


def cassette(name):
    """As it goes over the wire, with the pings the API puts in."""
    first, *rest = CASSETTES[name]
    return [wire(first), wire({"type": "ping"}), *(wire(event) for event in rest)]


@pytest.mark.parametrize("name", CASSETTES)
def test_the_cassettes_are_what_the_sdk_reads(name, sdk, scripted):
    for event in CASSETTES[name]:
        TypeAdapter(RawMessageStreamEvent).validate_python(event)
    scripted.script([{"reply": {"sse": cassette(name)}}])
    seen = list(sdk.messages.create(model="claude-scripted", max_tokens=1024, messages=HELLO, stream=True))
    assert [event.type for event in seen] == [event["type"] for event in CASSETTES[name]]
    TypeAdapter(Message).validate_python(message())


def streamed(client, name, scripted, **more):
    scripted.script([{"reply": {"sse": cassette(name), "split": 7}}])
    chunks = list(client.chat.completions.create(
        model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}, **more
    ))  # fmt: skip
    *chunks, usage = chunks
    assert usage.choices == [] and all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {chunk.id for chunk in chunks} == {"msg_013Zva2CMHLNnjNjJKqJ2EF"} and chunks[0].created > 0
    return [chunk.choices[0] for chunk in chunks], usage.usage


def said(choices, member="content"):
    return "".join(getattr(choice.delta, member, None) or "" for choice in choices)


@pytest.mark.parametrize(("name", "words", "reason"), [
    ("text", "Hello!", "stop"), ("thinking", "27", "stop"), ("length", "Hel", "length"), ("refusal", "", "content_filter"),
    ("tools", "I look.", "tool_calls"), ("a server's own tool", "Found nothing.", "stop"),
])  # fmt: skip
def test_every_cassette_reaches_an_openai_client(name, words, reason, openai_client, scripted):
    choices, usage = streamed(openai_client, name, scripted)
    assert said(choices) == words
    assert [c.finish_reason for c in choices if c.finish_reason] == [reason] and choices[-1].finish_reason == reason
    # Anthropic counts cached tokens beside the others, OpenAI among them.
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (125, 89, 214)
    details = usage.prompt_tokens_details
    assert (details.cached_tokens, details.cache_write_tokens) == (100, 5)


def test_thoughts_and_refusals_have_their_members(openai_client, scripted):
    choices, _ = streamed(openai_client, "thinking", scripted)
    assert said(choices, "reasoning_content") == "Let me see."
    choices, _ = streamed(openai_client, "refusal", scripted)
    assert said(choices, "refusal") == "Not that."


@pytest.mark.parametrize("stream", [False, True])
def test_parallel_calls_through_the_client_s_own_accumulator(openai_client, scripted, stream):
    if stream:
        scripted.script([{"reply": {"sse": cassette("tools")}}])
        with openai_client.chat.completions.stream(model=MODEL, messages=HELLO, tools=OPENAI_TOOLS) as events:
            choice = events.get_final_completion().choices[0]
    else:
        blocks = [{"type": "text", "text": "I look."}, TOOL_USE, {**TOOL_USE, "id": "toolu_2", "input": {}}]
        scripted.script([{"reply": {"json": message(content=blocks, stop_reason="tool_use")}}])
        choice = openai_client.chat.completions.create(model=MODEL, messages=HELLO, tools=OPENAI_TOOLS).choices[0]
    calls = [(c.id, c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls]
    assert calls == [("toolu_1", "get_weather", {"location": "Oslo"}), ("toolu_2", "get_weather", {})]
    assert (choice.message.content, choice.finish_reason) == ("I look.", "tool_calls")


def test_a_whole_answer(openai_client, scripted):
    scripted.script([{"reply": {"json": message()}}])
    answer = openai_client.chat.completions.create(model=MODEL, messages=HELLO)
    assert answer.choices[0].message.content == "Hi! My name is Claude." and answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 125 and answer.model == "claude-scripted"


def test_usage_stays_here_unless_asked_for(openai_client, scripted):
    scripted.script([{"reply": {"sse": cassette("text")}}])
    chunks = list(openai_client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_frame_one_arrives_before_frame_two_exists(openai_client, scripted):
    head, *rest = cassette("text")
    scripted.script([{"reply": {"sse": [head, *rest[:3], {"gate": "g"}, *rest[3:]]}}])
    stream = openai_client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    assert next(stream).choices[0].delta.role == "assistant"
    assert next(stream).choices[0].delta.content == "Hello"
    scripted.waiting("g")
    scripted.release("g")
    assert next(stream).choices[0].delta.content == "!"
    list(stream)


@pytest.mark.parametrize(("status", "kind", "raised"), [
    (400, "invalid_request_error", openai.BadRequestError), (404, "not_found_error", openai.NotFoundError),
    (413, "request_too_large", openai.APIStatusError), (429, "rate_limit_error", openai.RateLimitError),
    (529, "overloaded_error", openai.InternalServerError), (401, "authentication_error", openai.InternalServerError),
])  # fmt: skip
def test_errors_keep_their_meaning(status, kind, raised, openai_client, scripted):
    body = {"type": "error", "error": {"type": kind, "message": "as said"}, "request_id": "req_1"}
    scripted.script([{"times": 99, "reply": {"status": status, "headers": {"retry-after": "2"}, "json": body}}])
    with pytest.raises(raised) as error:
        openai_client.chat.completions.create(model="claude/other", messages=HELLO)
    # A name that the provider does not list is answered with the nearest, and with its own words.
    assert "as said" in error.value.message and ("nearest" in error.value.message) == (status == 404)
    shown = {529: 503, 401: 502}.get(status, status)
    assert error.value.status_code == shown


def test_an_error_in_the_stream_is_one_of_the_client_s(openai_client, scripted):
    overloaded = wire({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    scripted.script([{"reply": {"sse": [*cassette("text")[:4], overloaded]}}])
    stream = openai_client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    with pytest.raises((openai.APIError, httpx.RemoteProtocolError)) as error:
        list(stream)
    assert "Overloaded" in str(error.value)


def test_what_cannot_be_translated_is_named(openai_client, scripted):
    scripted.script([{"times": 99, "reply": {"json": message()}}])
    with pytest.raises(openai.BadRequestError) as error:
        openai_client.chat.completions.create(model=MODEL, messages=HELLO, response_format={"type": "json_object"})
    assert error.value.param == "response_format.type" and not scripted.requests()


def test_the_sdk_reaches_its_own_cloud_through_us_byte_for_byte(anthropic_client, sdk, scripted):
    asked = {"max_tokens": 1024, "messages": HELLO, "system": "Be brief.", "thinking": {"type": "adaptive"}}
    scripted.script([{"times": 2, "reply": {"sse": cassette("thinking")}}])
    through = [e.to_dict() for e in anthropic_client.messages.create(model=MODEL, stream=True, **asked)]
    straight = [e.to_dict() for e in sdk.messages.create(model="claude-scripted", stream=True, **asked)]
    assert through == straight
    ours, theirs = scripted.requests()
    assert ours["body"] == theirs["body"]


def chosen(request):
    return {name: value for name, value in dict(request["headers"]).items() if name.startswith("anthropic-")}


def test_the_sdk_chooses_the_version_and_beta_features_through_us(anthropic_client, sdk, scripted):
    scripted.script([{"times": 6, "reply": {"json": message(input_tokens=7)}}])
    for client, model in ((anthropic_client, MODEL), (sdk, "claude-scripted")):
        ask = {"model": model, "messages": HELLO, "betas": ["context-1m-2025-08-07", "files-api-2025-04-14"]}
        client.beta.messages.create(max_tokens=16, **ask)
        client.beta.messages.count_tokens(**ask)
        client.messages.create(model=model, max_tokens=16, messages=HELLO)
    ours, theirs = (list(map(chosen, half)) for half in (scripted.requests()[:3], scripted.requests()[3:]))
    assert ours == theirs
    assert ours[0]["anthropic-beta"].startswith("context-1m-2025-08-07,files-api-2025-04-14")
    assert "anthropic-beta" not in ours[2] and ours[2]["anthropic-version"] == "2026-10-21"
    for request in scripted.requests()[:3]:
        headers = dict(request["headers"])
        assert headers["x-api-key"] == "upstream-key" and "authorization" not in headers
        assert not [name for name in headers if name.startswith("x-stainless")]


def test_an_agent_calls_a_tool_through_anthropic(frontdesk, scripted):
    tool = {
        "name": "get_weather", "description": "The weather.",
        "parameters": [{"name": "location", "parameter_type": "string", "description": "Where", "required": True}],
    }  # fmt: skip
    client = LlamaStackClient(base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0, timeout=60)
    agent = client.agents.create(agent_config={"model": MODEL, "instructions": "Be brief.", "client_tools": [tool]})
    session = client.agents.session.create(agent.agent_id, session_name="weather")
    calls = [START, *text(0, "I look."), *tool_use(1, "toolu_1", '{"location":', ' "Oslo"}'), last("tool_use"), STOP]
    scripted.script([{"reply": {"sse": [wire(event) for event in calls]}}, {"reply": {"sse": cassette("text")}}])
    asked = {"agent_id": agent.agent_id, "session_id": session.session_id, "stream": False}
    waiting = client.agents.turn.create(**asked, messages=HELLO)
    call = waiting.output_message.tool_calls[0]
    assert (call.call_id, call.tool_name, call.arguments) == ("toolu_1", "get_weather", {"location": "Oslo"})
    answer = {"call_id": call.call_id, "tool_name": call.tool_name, "content": "snow"}
    done = client.agents.turn.resume(waiting.turn_id, **asked, tool_responses=[answer])
    assert done.output_message.content == "Hello!"
    body = json.loads(scripted.requests()[-1]["body"])
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"] and "Be brief." in json.dumps(body["system"])
    assert body["messages"][1]["content"] == [{"type": "text", "text": "I look."}, TOOL_USE]
    assert body["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "snow"}]
    client.agents.delete(agent.agent_id)


def test_a_picture_that_a_function_answered_with_stands_in_its_result(openai_client, sdk, scripted):
    call = {"type": "function_call", "call_id": "toolu_1", "name": "get_weather", "arguments": '{"location": "Oslo"}'}
    output = [{"type": "input_text", "text": "It snows."}, {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}]
    result = {"type": "function_call_output", "call_id": "toolu_1", "output": output}
    scripted.script([{"reply": {"sse": cassette("text")}}, {"reply": {"json": message()}}])
    tool = {"type": "function", **OPENAI_TOOLS[0]["function"], "strict": False}
    answer = openai_client.responses.create(model=MODEL, input=[*HELLO, call, result], tools=[tool])
    assert answer.output_text == "Hello!"
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    blocks = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "It snows."}, picture]}]
    told = [*HELLO, {"role": "assistant", "content": [TOOL_USE]}, {"role": "user", "content": blocks}]
    sdk.messages.create(model="claude-scripted", max_tokens=1024, messages=told, tools=SDK_TOOLS)
    ours, theirs = [json.loads(request["body"]) for request in scripted.requests()]
    assert (ours["messages"], ours["tools"]) == (theirs["messages"], theirs["tools"])
