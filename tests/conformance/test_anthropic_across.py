"""Anthropic's client over Gemini and Bedrock: what is sent is what those clouds' own SDKs send for the same question, and
their recorded answers are good answers to Anthropic's own types.

Each question stands here once in Anthropic's words and once in each cloud's; google-genai and botocore write theirs.
"""

import base64
import json

import pytest
from google.genai import types

import test_bedrock_provider as bedrock
import test_gemini_provider as gemini
from test_gemini_provider import sdk  # noqa: F401 - a fixture

PIXEL, WEATHER, HELLO = gemini.PIXEL, gemini.WEATHER, gemini.HELLO
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
PAPER = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}, "title": "report"}
TOOL = {"name": "get_weather", "description": "The weather.", "input_schema": WEATHER}
SPECS = [{"toolSpec": {"name": "get_weather", "description": "The weather.", "inputSchema": {"json": WEATHER}}}]
SHORT, LONG = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}


def use(id, location):
    return {"type": "tool_use", "id": id, "name": "get_weather", "input": {"location": location}}


def gave(id, content, **more):
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


def asks(*content):
    return {"messages": [{"role": "user", "content": list(content)}]}


def converse(*content, **more):
    return {"messages": [{"role": "user", "content": list(content)}], **more}


def to_use(id, location):
    return {"toolUse": {"toolUseId": id, "name": "get_weather", "input": {"location": location}}}


def given(id, *content, **more):
    return {"toolResult": {"toolUseId": id, "content": list(content), **more}}


def pixels(kind="image/png"):
    return types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type=kind)


LOOP = [
    {"role": "user", "content": "Oslo and Rome?"},
    {"role": "assistant", "content": [{"type": "text", "text": "I look."}, use("t1", "Oslo"), use("t2", "Rome")]},
    {"role": "user", "content": [
        gave("t1", [{"type": "text", "text": "snow"}]), gave("t2", "no such city", is_error=True), {"type": "text", "text": "In one word."},
    ]},
]  # fmt: skip

# name → Anthropic's request; the contents and config of google-genai; what botocore is asked for
CASES = {
    "plain": ({"messages": HELLO}, "Hello", {}, {"messages": bedrock.SAID}),
    "a long talk with instructions": (
        {"system": "Be brief.", "messages": [*HELLO, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Who are you?"}]},
        [gemini.said("user", "Hello"), gemini.said("model", "Hi."), gemini.said("user", "Who are you?")],
        {"system_instruction": "Be brief."},
        {
            "system": [{"text": "Be brief."}],
            "messages": [*bedrock.SAID, {"role": "assistant", "content": [{"text": "Hi."}]}, {"role": "user", "content": [{"text": "Who are you?"}]}],
        },
    ),
    "sampling": (
        # This version of the SDK names none of the three.
        {"messages": HELLO, "stop_sequences": ["END", "STOP"], "extra_body": {"temperature": 0.5, "top_p": 0.9, "top_k": 5}},
        "Hello", {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": ["END", "STOP"]},
        {
            "messages": bedrock.SAID, "additionalModelRequestFields": {"top_k": 5},
            "inferenceConfig": {"temperature": 0.5, "topP": 0.9, "stopSequences": ["END", "STOP"]},
        },
    ),
    "tools": ({"messages": HELLO, "tools": [TOOL]}, "Hello", {"tools": gemini.SDK_TOOLS}, {"messages": bedrock.SAID, "toolConfig": {"tools": SPECS}}),
    "tools, chosen freely": (
        {"messages": HELLO, "tools": [TOOL], "tool_choice": {"type": "auto"}},
        "Hello", {"tools": gemini.SDK_TOOLS, "tool_config": gemini.choice("AUTO")},
        {"messages": bedrock.SAID, "toolConfig": {"tools": SPECS, "toolChoice": {"auto": {}}}},
    ),
    "tools, one to be called": (
        {"messages": HELLO, "tools": [TOOL], "tool_choice": {"type": "any"}},
        "Hello", {"tools": gemini.SDK_TOOLS, "tool_config": gemini.choice("ANY")},
        {"messages": bedrock.SAID, "toolConfig": {"tools": SPECS, "toolChoice": {"any": {}}}},
    ),
    "tools, one by name": (
        {"messages": HELLO, "tools": [TOOL], "tool_choice": {"type": "tool", "name": "get_weather"}},
        "Hello", {"tools": gemini.SDK_TOOLS, "tool_config": gemini.choice("ANY", ["get_weather"])},
        {"messages": bedrock.SAID, "toolConfig": {"tools": SPECS, "toolChoice": {"tool": {"name": "get_weather"}}}},
    ),
    "tools, none to be called": (
        {"messages": HELLO, "tools": [TOOL], "tool_choice": {"type": "none"}},
        "Hello", {"tools": gemini.SDK_TOOLS, "tool_config": gemini.choice("NONE")},
        {"messages": bedrock.SAID},
    ),
    "results of parallel calls": (
        {"messages": LOOP, "tools": [TOOL]},
        [
            gemini.said("user", "Oslo and Rome?"),
            gemini.said("model", "I look.", gemini.calling("t1", "Oslo"), gemini.calling("t2", "Rome")),
            gemini.said("user", gemini.result("t1", {"output": "snow"}), gemini.result("t2", {"error": "no such city"})),
            gemini.said("user", "In one word."),
        ],
        {"tools": gemini.SDK_TOOLS},
        {"toolConfig": {"tools": SPECS}, "messages": [
            {"role": "user", "content": [{"text": "Oslo and Rome?"}]},
            {"role": "assistant", "content": [{"text": "I look."}, to_use("t1", "Oslo"), to_use("t2", "Rome")]},
            {"role": "user", "content": [
                given("t1", {"text": "snow"}), given("t2", {"text": "no such city"}, status="error"), {"text": "In one word."},
            ]},
        ]},
    ),
    "a picture and a document": (
        asks(PICTURE, PAPER, {"type": "text", "text": "What is this?"}),
        [gemini.said("user", pixels(), types.Part.from_bytes(data=b"%PDF", mime_type="application/pdf"), "What is this?")], {},
        converse(
            bedrock.PICTURE, {"document": {"format": "pdf", "name": "report", "source": {"bytes": b"%PDF"}}}, {"text": "What is this?"},
        ),
    ),
    "a picture that a tool gave": (
        {"tools": [TOOL], "messages": [
            *HELLO, {"role": "assistant", "content": [use("t1", "Oslo")]}, {"role": "user", "content": [gave("t1", [PICTURE, {"type": "text", "text": "snow"}])]},
        ]},
        None, {},
        {"toolConfig": {"tools": SPECS}, "messages": [
            *bedrock.SAID, {"role": "assistant", "content": [to_use("t1", "Oslo")]},
            {"role": "user", "content": [given("t1", bedrock.PICTURE, {"text": "snow"})]},
        ]},
    ),
    "what is to be cached": (
        {
            "system": [{"type": "text", "text": "Long.", "cache_control": SHORT}], "tools": [{**TOOL, "cache_control": LONG}],
            **asks({"type": "text", "text": "Hello", "cache_control": SHORT}),
        },
        "Hello", {"system_instruction": "Long.", "tools": gemini.SDK_TOOLS},
        {
            "system": [{"text": "Long."}, bedrock.MARK], **converse({"text": "Hello"}, bedrock.MARK),
            "toolConfig": {"tools": [*SPECS, {"cachePoint": {"type": "default", "ttl": "1h"}}]},
        },
    ),
    "thoughts of an earlier answer": (
        {"messages": [
            *HELLO,
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "Eq=="}, {"type": "redacted_thinking", "data": "EmwKAhgB"}, {"type": "text", "text": "Hi."},
            ]},
            {"role": "user", "content": "So?"},
        ]},
        [gemini.said("user", "Hello"), gemini.said("model", "Hi."), gemini.said("user", "So?")], {},
        {"messages": [
            *bedrock.SAID,
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "Eq=="}}},
                {"reasoningContent": {"redactedContent": base64.b64decode("EmwKAhgB")}}, {"text": "Hi."},
            ]},
            {"role": "user", "content": [{"text": "So?"}]},
        ]},
    ),
    "thinking": (
        {"messages": HELLO, "max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 2048}},
        "Hello", {"thinking_config": types.ThinkingConfig(include_thoughts=True, thinking_budget=2048)},
        {"messages": bedrock.SAID, "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2048}}},
    ),
    "structured output": (
        {"messages": HELLO, "output_config": {"format": {"type": "json_schema", "schema": WEATHER}}},
        "Hello", {"response_mime_type": "application/json", "response_json_schema": WEATHER},
        {"messages": bedrock.SAID, "outputConfig": {"textFormat": {"type": "json_schema", "structure": {
            "jsonSchema": {"name": "answer", "schema": json.dumps(WEATHER)},
        }}}},
    ),
}  # fmt: skip


def asked(client, model, question):
    client.messages.create(model=model, **{"max_tokens": 99, **question})


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[1] is not None])
def test_gemini_is_asked_as_its_sdk_asks(name, anthropic_client, sdk, scripted):  # noqa: F811
    question, contents, config, _ = CASES[name]
    scripted.script([{"times": 2, "reply": {"json": gemini.answer({"text": "Hi!"})}}])
    asked(anthropic_client, gemini.MODEL, question)
    config = {"max_output_tokens": question.get("max_tokens", 99), **config}
    sdk.models.generate_content(model="gemini-2.5-scripted", contents=contents, config=config)
    ours, theirs = scripted.requests()
    assert ours["path"] == theirs["path"]
    assert gemini.plain(json.loads(ours["body"])) == gemini.plain(json.loads(theirs["body"]))


@pytest.mark.parametrize("name", CASES)
def test_bedrock_is_asked_as_botocore_asks(name, anthropic_client, amazon, scripted):
    question, _, _, meant = CASES[name]
    scripted.script([{"times": 2, "reply": {"json": bedrock.answer()}}])
    asked(anthropic_client, bedrock.MODEL, question)
    limit = {"maxTokens": question.get("max_tokens", 99), **meant.get("inferenceConfig", {})}
    client = amazon()
    client.converse(modelId="claude-scripted", **{**meant, "inferenceConfig": limit})
    ours, theirs = scripted.requests()
    assert ours["path"] == theirs["path"]
    assert bedrock.plain(ours["body"]) == bedrock.plain(theirs["body"])
    bedrock.fits_the_service_model(client, "Converse", json.loads(ours["body"]))


def heard(client, model, stream):
    """The message that the client's own accumulator makes; strict, so every event is one of its types."""
    question = {"model": model, "max_tokens": 99, "messages": HELLO}
    if not stream:
        return client.messages.create(**question)
    with client.messages.stream(**question) as events:
        return events.get_final_message()


def blocks(message):
    shown = {"text": "text", "thinking": "thinking", "redacted_thinking": "data", "tool_use": "input"}
    return [(block.type, getattr(block, shown[block.type])) for block in message.content]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "content", "reason"), [
    ("text", [("text", "Hello!")], "end_turn"),
    ("thinking", [("thinking", "Let me see."), ("text", "27")], "end_turn"),
    ("length", [("text", "Hel")], "max_tokens"),
    ("safety", [("text", "Hel")], "refusal"),
    ("tools", [("text", "I look."), ("tool_use", {"location": "Oslo"}), ("tool_use", {"location": "Rome"})], "tool_use"),
    ("grounded", [("text", "Grüße. Spain won.")], "end_turn"),
    ("code that ran", [("text", "1")], "end_turn"),
])  # fmt: skip
def test_every_cassette_of_gemini_reaches_an_anthropic_client(name, content, reason, stream, anthropic_client, scripted):
    reply = {"sse": gemini.cassette(name), "split": 7} if stream else {"json": gemini.joined(name)}
    scripted.script([{"reply": reply}])
    message = heard(anthropic_client, gemini.MODEL, stream)
    assert (blocks(message), message.stop_reason) == (content, reason)
    usage = message.usage
    # Anthropic counts what was read from a cache beside the rest, Google in it; thoughts are output to both.
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (25, 100, 89)


@pytest.mark.parametrize(("name", "content", "reason"), [
    ("text", [("text", "Hello!")], "end_turn"),
    # What a thought without a call was signed with, or held back, is for nobody to send back, and is left out.
    ("thinking", [("thinking", "Let me see."), ("text", "27")], "end_turn"),
    ("length", [("text", "Hel")], "max_tokens"),
    ("window", [("text", "Hel")], "max_tokens"),
    ("guardrail", [("text", "Sorry, no.")], "refusal"),
    ("tools", [("text", "I look."), ("tool_use", {"location": "Oslo"}), ("tool_use", {})], "tool_use"),
    ("citations", [("text", "It says so.")], "end_turn"),
])  # fmt: skip
def test_every_cassette_of_bedrock_reaches_an_anthropic_client(name, content, reason, anthropic_client, scripted):
    scripted.script([{"reply": bedrock.cassette(name, split=7)}])
    message = heard(anthropic_client, bedrock.MODEL, stream=True)
    assert (blocks(message), message.stop_reason) == (content, reason)
    usage = message.usage
    assert (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (20, 5, 100, 89)
