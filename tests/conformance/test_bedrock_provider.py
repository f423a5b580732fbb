"""Amazon Bedrock as an upstream: what our provider sends against what botocore sends, and recorded streams through Frontdesk.

The scripted upstream keeps what it was asked and answers with the cassettes below, which follow the service model of
`bedrock-runtime` and the user guide's pages on Converse; before anything else, botocore must read every event of them.
"""

import base64
import json
import struct
import zlib

import anthropic
import httpx
import openai
import pytest
from botocore.exceptions import ClientError, EventStreamError
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from llama_stack_client import LlamaStackClient

MODEL = "aws/claude-scripted"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE = {"image": {"format": "png", "source": {"bytes": base64.b64decode(PIXEL)}}}
WEATHER = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
HELLO = [{"role": "user", "content": "Hello"}]
SAID = [{"role": "user", "content": [{"text": "Hello"}]}]

USAGE = {
    "inputTokens": 20, "outputTokens": 89, "totalTokens": 214, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 5,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 2}, {"ttl": "5m", "inputTokens": 3}],
}  # fmt: skip


def answer(*content, reason="end_turn", **more):
    content = list(content) or [{"text": "Hi! I am a model."}]
    message = {"role": "assistant", "content": content}
    return {"output": {"message": message}, "stopReason": reason, "usage": USAGE, "metrics": {"latencyMs": 12}, **more}


# ---------------------------------------------------------------- requests

TOOL_CALL = {"id": "tooluse_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"location": "Oslo"}'}}
TOOL_USE = {"toolUseId": "tooluse_1", "name": "get_weather", "input": {"location": "Oslo"}}
OPENAI_TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": WEATHER}}]
TOOLS = [{"toolSpec": {"name": "get_weather", "description": "The weather.", "inputSchema": {"json": WEATHER}}}]
MARK = {"cachePoint": {"type": "default"}}


def file(name, kind="application/pdf"):
    return {"type": "file", "file": {"filename": name, "file_data": f"data:{kind};base64,JVBERg=="}}


# name → what the openai client is asked for, what botocore's client is asked for
CASES = {
    "plain": ({"messages": HELLO}, {"messages": SAID}),
    "system": (
        {"messages": [{"role": "system", "content": "Be brief."}, *HELLO]},
        {"system": [{"text": "Be brief."}], "messages": SAID},
    ),
    "two instructions and a long talk": (
        {"messages": [
            {"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Be kind."},
            *HELLO, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Who are you?"},
        ]},
        {
            "system": [{"text": "Be brief."}, {"text": "Be kind."}],
            "messages": [*SAID, {"role": "assistant", "content": [{"text": "Hi."}]}, {"role": "user", "content": [{"text": "Who are you?"}]}],
        },
    ),
    "sampling": (
        {"messages": HELLO, "max_tokens": 64, "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["END", "STOP"], "extra_body": {"top_k": 5}},
        {
            "messages": SAID, "additionalModelRequestFields": {"top_k": 5},
            "inferenceConfig": {"maxTokens": 64, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END", "STOP"]},
        },
    ),
    "thinking": (
        {"messages": HELLO, "reasoning_effort": "high", "extra_body": {"thinking": {"type": "adaptive"}}},
        {"messages": SAID, "outputConfig": {"effort": "high"}, "additionalModelRequestFields": {"thinking": {"type": "adaptive"}}},
    ),
    "tools": (
        {"messages": HELLO, "tools": OPENAI_TOOLS, "tool_choice": "required"},
        {"messages": SAID, "toolConfig": {"tools": TOOLS, "toolChoice": {"any": {}}}},
    ),
    "one tool by name": (
        {"messages": HELLO, "tools": OPENAI_TOOLS, "tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        {"messages": SAID, "toolConfig": {"tools": TOOLS, "toolChoice": {"tool": {"name": "get_weather"}}}},
    ),
    "no tool": (
        {"messages": HELLO, "tools": OPENAI_TOOLS, "tool_choice": "none"},
        {"messages": SAID},
    ),
    "results of parallel calls": (
        {"tools": OPENAI_TOOLS, "messages": [
            {"role": "user", "content": "Oslo and Rome?"},
            {"role": "assistant", "content": "I look.", "tool_calls": [TOOL_CALL, {**TOOL_CALL, "id": "tooluse_2"}]},
            {"role": "tool", "tool_call_id": "tooluse_1", "content": "snow"},
            {"role": "tool", "tool_call_id": "tooluse_2", "content": "no such city", "is_error": True},
            {"role": "user", "content": "In one word."},
        ]},
        {"toolConfig": {"tools": TOOLS}, "messages": [
            {"role": "user", "content": [{"text": "Oslo and Rome?"}]},
            {"role": "assistant", "content": [{"text": "I look."}, {"toolUse": TOOL_USE}, {"toolUse": {**TOOL_USE, "toolUseId": "tooluse_2"}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "snow"}]}},
                {"toolResult": {"toolUseId": "tooluse_2", "content": [{"text": "no such city"}], "status": "error"}},
                {"text": "In one word."},
            ]},
        ]},
    ),
    "pictures, films, sound and documents": (
        {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            {"type": "image_url", "image_url": {"url": "s3://bucket/ant.webp"}},
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
            {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}},
            file("Report (1).pdf"), file("Report (1).pdf"), file("notes.md", "text/markdown"),
            {"type": "text", "text": "What is this?"},
        ]}]},
        {"messages": [{"role": "user", "content": [
            PICTURE,
            {"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://bucket/ant.webp"}}}},
            {"video": {"format": "mp4", "source": {"bytes": b"\0\0\0"}}},
            {"audio": {"format": "wav", "source": {"bytes": b"\0\0\0"}}},
            {"document": {"format": "pdf", "name": "Report (1)", "source": {"bytes": b"%PDF"}}},
            {"document": {"format": "pdf", "name": "Report (1)-2", "source": {"bytes": b"%PDF"}}},
            {"document": {"format": "md", "name": "notes", "source": {"bytes": b"%PDF"}}},
            {"text": "What is this?"},
        ]}]},
    ),
    "structured output": (
        {"messages": HELLO, "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": WEATHER}}},
        {"messages": SAID, "outputConfig": {"textFormat": {"type": "json_schema", "structure": {
            "jsonSchema": {"name": "place", "schema": json.dumps(WEATHER)},
        }}}},
    ),
    "cached instructions and a signed thought": (
        {"messages": [
            {"role": "system", "content": [{"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}]}, *HELLO,
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "Eq=="}, {"type": "text", "text": "Hi."}]},
            {"role": "user", "content": [{"type": "text", "text": "So?", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
        ]},
        {"system": [{"text": "Long."}, MARK], "messages": [
            *SAID,
            {"role": "assistant", "content": [{"reasoningContent": {"reasoningText": {"text": "hm", "signature": "Eq=="}}}, {"text": "Hi."}]},
            {"role": "user", "content": [{"text": "So?"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]},
        ]},
    ),
    "what is Bedrock's own": (
        {"messages": HELLO, "service_tier": "flex", "extra_body": {
            "guardrailConfig": {"guardrailIdentifier": "g1", "guardrailVersion": "1", "trace": "enabled"},
            "performanceConfig": {"latency": "optimized"}, "requestMetadata": {"team": "a"},
            "additionalModelResponseFieldPaths": ["/stop_sequence"], "promptVariables": {"x": {"text": "y"}},
        }},
        {
            "messages": SAID, "serviceTier": {"type": "flex"},
            "guardrailConfig": {"guardrailIdentifier": "g1", "guardrailVersion": "1", "trace": "enabled"},
            "performanceConfig": {"latency": "optimized"}, "requestMetadata": {"team": "a"},
            "additionalModelResponseFieldPaths": ["/stop_sequence"], "promptVariables": {"x": {"text": "y"}},
        },
    ),
}  # fmt: skip


def plain(body):
    """A body with the schema, which travels as text, as what it says."""
    body = json.loads(body)
    definition = body.get("outputConfig", {}).get("textFormat", {}).get("structure", {}).get("jsonSchema")
    if definition:
        definition["schema"] = json.loads(definition["schema"])
    return body


def fits_the_service_model(client, operation, body):
    """Reads the body by its shape, checks it against the shape, and writes it again: nothing may be lost."""
    model = client.meta.service_model.operation_model(operation)
    read = create_parser("rest-json")._parse_shape(model.input_shape, body)
    read["modelId"] = "claude-scripted"
    report = ParamValidator().validate(read, model.input_shape)
    assert not report.has_errors(), report.generate_report()
    again = create_serializer("rest-json").serialize_to_request(read, model)
    assert json.loads(again["body"]) == body


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_our_request_is_botocore_s(name, stream, openai_client, amazon, scripted):
    asked_openai, asked_amazon = CASES[name]
    scripted.script([{"times": 2, "reply": cassette("text") if stream else {"json": answer()}}])
    got = openai_client.chat.completions.create(model=MODEL, stream=stream, **asked_openai)
    client = amazon()
    if stream:
        list(got)
        list(client.converse_stream(modelId="claude-scripted", **asked_amazon)["stream"])
    else:
        client.converse(modelId="claude-scripted", **asked_amazon)
    ours, theirs = scripted.requests()
    operation = "converse-stream" if stream else "converse"
    assert ours["path"] == theirs["path"] == f"/model/claude-scripted/{operation}"
    assert plain(ours["body"]) == plain(theirs["body"])
    fits_the_service_model(client, "ConverseStream" if stream else "Converse", json.loads(ours["body"]))
    ours, theirs = dict(ours["headers"]), dict(theirs["headers"])
    assert ours["content-type"] == theirs["content-type"]
    assert ours["x-amz-security-token"] == theirs["x-amz-security-token"]
    assert "frontdesk" not in ours["authorization"], "the client's key stays here"


def test_our_request_to_count_is_botocore_s(amazon, anthropic_client, scripted):
    scripted.script([{"times": 2, "reply": {"json": {"inputTokens": 7}}}])
    asked = {"messages": HELLO, "tools": [{"name": "get_weather", "input_schema": WEATHER}], "system": "Be brief."}
    assert anthropic_client.messages.count_tokens(model=MODEL, **asked).input_tokens == 7
    client = amazon()
    tools = [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": WEATHER}}}]
    converse = {"messages": SAID, "system": [{"text": "Be brief."}], "toolConfig": {"tools": tools}}
    client.count_tokens(modelId="claude-scripted", input={"converse": converse})
    ours, theirs = scripted.requests()
    assert (ours["path"], json.loads(ours["body"])) == (theirs["path"], json.loads(theirs["body"]))


# ---------------------------------------------------------------- answers


def message(payload, **headers):
    """One message of an event stream; its headers are text."""
    head = b""
    for name, value in headers.items():
        name, value = f":{name.replace('_', '-')}".encode(), value.encode()
        head += struct.pack("!B", len(name)) + name + struct.pack("!BH", 7, len(value)) + value
    payload = json.dumps(payload).encode()
    out = struct.pack("!II", 16 + len(head) + len(payload), len(head))
    out += struct.pack("!I", zlib.crc32(out)) + head + payload
    return out + struct.pack("!I", zlib.crc32(out))


def event(kind, payload):
    return message(payload, event_type=kind, content_type="application/json", message_type="event")


def exception(kind, payload):
    return message(payload, exception_type=kind, content_type="application/json", message_type="exception")


def delta(index, new):
    return ("contentBlockDelta", {"contentBlockIndex": index, "delta": new})


def end(index):
    return ("contentBlockStop", {"contentBlockIndex": index})


def last(reason, **more):
    return [("messageStop", {"stopReason": reason}), ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 12}, **more})]


def text(index, *pieces):
    return [*(delta(index, {"text": piece}) for piece in pieces), end(index)]


def tool_use(index, id, *pieces, **more):
    start = {"toolUse": {"toolUseId": id, "name": "get_weather", **more}}
    words = [delta(index, {"toolUse": {"input": piece}}) for piece in pieces]
    return [("contentBlockStart", {"contentBlockIndex": index, "start": start}), *words, end(index)]


START = ("messageStart", {"role": "assistant"})
TRACE = {"guardrail": {"actionReason": "Guardrail blocked.", "modelOutput": ["x"]}}

CASSETTES = {
    "text": [START, *text(0, "Hello", "!"), *last("end_turn")],
    "tools": [
        START, *text(0, "I look."), *tool_use(1, "tooluse_1", '{"location":', ' "Oslo"}'), *tool_use(2, "tooluse_2"),
        *last("tool_use"),
    ],
    "thinking": [
        START, delta(0, {"reasoningContent": {"text": "Let me see."}}), delta(0, {"reasoningContent": {"signature": "EqQBCgIYAhIM1gbc"}}),
        end(0), delta(1, {"reasoningContent": {"redactedContent": "EmwKAhgB"}}), end(1), *text(2, "27"), *last("end_turn"),
    ],
    "length": [START, *text(0, "Hel"), *last("max_tokens")],
    "window": [START, *text(0, "Hel"), *last("model_context_window_exceeded")],
    "guardrail": [START, *text(0, "Sorry, no."), *last("guardrail_intervened", trace=TRACE)],
    "citations": [
        START, delta(0, {"text": "It says so."}), delta(0, {"citation": {"title": "Notes", "location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 1}}}}),
        end(0), *last("stop_sequence", performanceConfig={"latency": "standard"}, serviceTier={"type": "default"}),
    ],
    "a server's own tool": [
        START, *tool_use(0, "srv_1", '{"query":"x"}', type="server_tool_use"), *text(1, "Found nothing."), *last("end_turn"),
    ],
}  # fmt: skip

STREAM = {"content-type": "application/vnd.amazon.eventstream", "x-amzn-requestid": "req-1"}


def stream(*messages, **more):
    pieces = [m if isinstance(m, dict) else base64.b64encode(m).decode() for m in messages]
    return {"binary": pieces, "headers": STREAM, **more}


def cassette(name, **more):
    return stream(*(event(kind, payload) for kind, payload in CASSETTES[name]), **more)


def binary(value):
    """A payload with its Base64 read, as botocore gives it."""
    if isinstance(value, dict):
        return {k: base64.b64decode(v) if k == "redactedContent" else binary(v) for k, v in value.items()}
    return value


@pytest.mark.parametrize("name", CASSETTES)
def test_the_cassettes_are_what_botocore_reads(name, amazon, scripted):
    scripted.script([{"reply": cassette(name, split=11)}])
    seen = list(amazon().converse_stream(modelId="claude-scripted", messages=SAID)["stream"])
    assert seen == [{kind: binary(payload)} for kind, payload in CASSETTES[name]]


def streamed(client, name, scripted, **more):
    scripted.script([{"reply": cassette(name, split=7)}])
    chunks = list(client.chat.completions.create(
        model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}, **more
    ))  # fmt: skip
    *chunks, usage = chunks
    assert usage.choices == [] and all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    (id,) = {chunk.id for chunk in chunks}
    assert id.startswith("chatcmpl-") and chunks[0].created > 0 and {chunk.model for chunk in chunks} == {"claude-scripted"}
    return [chunk.choices[0] for chunk in chunks], usage.usage


def said(choices, member="content"):
    return "".join(getattr(choice.delta, member, None) or "" for choice in choices)


@pytest.mark.parametrize(("name", "words", "reason"), [
    ("text", "Hello!", "stop"), ("thinking", "27", "stop"), ("length", "Hel", "length"), ("window", "Hel", "length"),
    ("guardrail", "Sorry, no.", "content_filter"), ("tools", "I look.", "tool_calls"), ("citations", "It says so.", "stop"),
    ("a server's own tool", "Found nothing.", "stop"),
])  # fmt: skip
def test_every_cassette_reaches_an_openai_client(name, words, reason, openai_client, scripted):
    choices, usage = streamed(openai_client, name, scripted)
    assert said(choices) == words
    assert [c.finish_reason for c in choices if c.finish_reason] == [reason] and choices[-1].finish_reason == reason
    # Bedrock counts cached tokens beside the others, OpenAI among them.
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (125, 89, 214)
    assert (usage.prompt_tokens_details.cached_tokens, usage.prompt_tokens_details.cache_write_tokens) == (100, 5)


def test_what_a_guardrail_did_stands_beside_the_usage(openai_client, scripted):
    scripted.script([{"reply": cassette("guardrail")}])
    asked = {"model": MODEL, "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    *_, usage = openai_client.chat.completions.create(**asked)
    assert usage.trace == TRACE and usage.usage.total_tokens == 214


def test_thoughts_have_their_member(openai_client, scripted):
    choices, _ = streamed(openai_client, "thinking", scripted)
    assert said(choices, "reasoning_content") == "Let me see."


@pytest.mark.parametrize("stream", [False, True])
def test_parallel_calls_through_the_openai_client_s_own_accumulator(openai_client, scripted, stream):
    if stream:
        scripted.script([{"reply": cassette("tools")}])
        with openai_client.chat.completions.stream(model=MODEL, messages=HELLO, tools=OPENAI_TOOLS) as events:
            choice = events.get_final_completion().choices[0]
    else:
        blocks = [{"text": "I look."}, {"toolUse": TOOL_USE}, {"toolUse": {**TOOL_USE, "toolUseId": "tooluse_2", "input": {}}}]
        scripted.script([{"reply": {"json": answer(*blocks, reason="tool_use")}}])
        choice = openai_client.chat.completions.create(model=MODEL, messages=HELLO, tools=OPENAI_TOOLS).choices[0]
    calls = [(c.id, c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls]
    assert calls == [("tooluse_1", "get_weather", {"location": "Oslo"}), ("tooluse_2", "get_weather", {})]
    assert (choice.message.content, choice.finish_reason) == ("I look.", "tool_calls")


@pytest.mark.parametrize("stream", [False, True])
def test_an_anthropic_client_calls_a_tool_and_says_what_it_gave(anthropic_client, amazon, scripted, stream):
    tools = [{"name": "get_weather", "description": "The weather.", "input_schema": WEATHER}]
    asked = {"model": MODEL, "max_tokens": 64, "system": "Be brief.", "tools": tools}
    if stream:
        scripted.script([{"reply": cassette("tools", split=5)}, {"reply": cassette("text")}])
        with anthropic_client.messages.stream(messages=HELLO, **asked) as events:
            first = events.get_final_message()
    else:
        blocks = [{"text": "I look."}, {"toolUse": TOOL_USE}, {"toolUse": {**TOOL_USE, "toolUseId": "tooluse_2", "input": {}}}]
        scripted.script([{"reply": {"json": answer(*blocks, reason="tool_use")}}, {"reply": {"json": answer()}}])
        first = anthropic_client.messages.create(messages=HELLO, **asked)
    assert [block.type for block in first.content] == ["text", "tool_use", "tool_use"] and first.stop_reason == "tool_use"
    assert (first.content[1].id, first.content[1].input, first.content[2].input) == ("tooluse_1", {"location": "Oslo"}, {})
    usage = first.usage
    assert (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (20, 5, 100, 89)
    results = [{"type": "tool_result", "tool_use_id": f"tooluse_{i}", "content": "snow"} for i in (1, 2)]
    talk = [*HELLO, {"role": "assistant", "content": [b.to_dict() for b in first.content]}, {"role": "user", "content": results}]
    done = anthropic_client.messages.create(messages=talk, stream=stream, **asked)
    if stream:
        words = "".join(e.delta.text for e in done if e.type == "content_block_delta" and e.delta.type == "text_delta")
        assert words == "Hello!"
    else:
        assert done.content[0].text == "Hi! I am a model." and done.stop_reason == "end_turn"
    body = json.loads(scripted.requests()[-1]["body"])
    fits_the_service_model(amazon(), "Converse", body)
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"][1] == {"toolUse": TOOL_USE}
    assert body["messages"][2]["content"][0] == {"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "snow"}]}}
    assert (body["system"], body["inferenceConfig"], body["toolConfig"]) == ([{"text": "Be brief."}], {"maxTokens": 64}, {"tools": TOOLS})


def test_a_whole_answer(openai_client, scripted):
    scripted.script([{"reply": {"json": answer(trace=TRACE)}}])
    got = openai_client.chat.completions.create(model=MODEL, messages=HELLO)
    assert got.choices[0].message.content == "Hi! I am a model." and got.choices[0].finish_reason == "stop"
    assert got.usage.prompt_tokens == 125 and got.model == "claude-scripted" and got.trace == TRACE


def test_pieces_arrive_when_the_upstream_sends_them(openai_client, scripted):
    first, *rest = [event(kind, payload) for kind, payload in CASSETTES["text"]]
    scripted.script([{"reply": stream(first, rest[0], {"gate": "g"}, *rest[1:])}])
    got = openai_client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    assert next(got).choices[0].delta.role == "assistant"
    assert next(got).choices[0].delta.content == "Hello"
    scripted.waiting("g")
    scripted.release("g")
    assert next(got).choices[0].delta.content == "!"
    list(got)


@pytest.mark.parametrize(("status", "kind", "shown", "raised"), [
    (400, "ValidationException", 400, openai.BadRequestError), (404, "ResourceNotFoundException", 404, openai.NotFoundError),
    (429, "ThrottlingException", 429, openai.RateLimitError), (429, "ModelNotReadyException", 503, openai.InternalServerError),
    (403, "AccessDeniedException", 502, openai.InternalServerError), (408, "ModelTimeoutException", 504, openai.InternalServerError),
    (503, "ServiceUnavailableException", 503, openai.InternalServerError), (424, "ModelErrorException", 502, openai.InternalServerError),
])  # fmt: skip
def test_errors_keep_their_meaning(status, kind, shown, raised, openai_client, amazon, scripted):
    headers = {"retry-after": "2", "x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/"}
    scripted.script([{"times": 99, "reply": {"status": status, "headers": headers, "json": {"message": "as said"}}}])
    with pytest.raises(raised) as error:
        openai_client.chat.completions.create(model="aws/other", messages=HELLO)
    # A name that the provider does not list is answered with the nearest, and with its own words.
    assert "as said" in error.value.message and ("nearest" in error.value.message) == (status == 404)
    assert error.value.status_code == shown
    with pytest.raises(ClientError) as error:
        amazon().converse(modelId="other", messages=SAID)
    assert error.value.response["Error"] == {"Code": kind, "Message": "as said"}


@pytest.mark.parametrize("kind", ["throttlingException", "modelStreamErrorException", "serviceUnavailableException"])
def test_an_error_in_the_stream_is_one_of_the_client_s(kind, openai_client, anthropic_client, amazon, scripted):
    begun = [event(name, payload) for name, payload in CASSETTES["text"][:2]]
    scripted.script([{"times": 3, "reply": stream(*begun, exception(kind, {"message": "Overloaded"}))}])
    with pytest.raises((openai.APIError, httpx.RemoteProtocolError)) as error:
        list(openai_client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert "Overloaded" in str(error.value)
    with pytest.raises(anthropic.APIStatusError) as error:
        list(anthropic_client.messages.create(model=MODEL, max_tokens=9, messages=HELLO, stream=True))
    assert "Overloaded" in str(error.value)
    with pytest.raises(EventStreamError) as error:
        list(amazon().converse_stream(modelId="claude-scripted", messages=SAID)["stream"])
    assert error.value.response["Error"]["Code"] == kind


def test_what_cannot_be_translated_is_named(openai_client, scripted):
    with pytest.raises(openai.BadRequestError) as error:
        openai_client.chat.completions.create(model=MODEL, messages=HELLO, response_format={"type": "json_object"})
    assert error.value.param == "response_format.type" and not scripted.requests()


def test_an_agent_calls_a_tool_through_bedrock(frontdesk, scripted):
    tool = {
        "name": "get_weather", "description": "The weather.",
        "parameters": [{"name": "location", "parameter_type": "string", "description": "Where", "required": True}],
    }  # fmt: skip
    client = LlamaStackClient(base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0, timeout=60)
    agent = client.agents.create(agent_config={"model": MODEL, "instructions": "Be brief.", "client_tools": [tool]})
    session = client.agents.session.create(agent.agent_id, session_name="weather")
    calls = [START, *text(0, "I look."), *tool_use(1, "tooluse_1", '{"location":', ' "Oslo"}'), *last("tool_use")]
    scripted.script([{"reply": stream(*(event(*e) for e in calls))}, {"reply": cassette("text")}])
    asked = {"agent_id": agent.agent_id, "session_id": session.session_id, "stream": False}
    waiting = client.agents.turn.create(**asked, messages=HELLO)
    call = waiting.output_message.tool_calls[0]
    assert (call.call_id, call.tool_name, call.arguments) == ("tooluse_1", "get_weather", {"location": "Oslo"})
    given = {"call_id": call.call_id, "tool_name": call.tool_name, "content": "snow"}
    done = client.agents.turn.resume(waiting.turn_id, **asked, tool_responses=[given])
    assert done.output_message.content == "Hello!"
    body = json.loads(scripted.requests()[-1]["body"])
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"] and "Be brief." in json.dumps(body["system"])
    assert body["messages"][1]["content"] == [{"text": "I look."}, {"toolUse": TOOL_USE}]
    assert body["messages"][2]["content"] == [{"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "snow"}]}}]
    client.agents.delete(agent.agent_id)
