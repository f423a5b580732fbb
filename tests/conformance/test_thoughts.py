"""Thinking and tools over two turns: what Claude signed comes back to it, whatever the client speaks.

The official clients keep what their types have; the upstream stands for Anthropic's API and for Amazon Bedrock.
"""

import json

import pytest

HELLO = [{"role": "user", "content": "Where is order 7?"}]
LOOK = {"type": "object", "properties": {"id": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": LOOK}}
THINK = {"type": "enabled", "budget_tokens": 1024}
USAGE = {"input_tokens": 3, "output_tokens": 1}

# Oracle: the answer of Anthropic's page "Extended thinking", "Preserving thinking blocks".
THOUGHT = {"type": "thinking", "thinking": 'Grüße. "Look it up."', "signature": "EqQBCg+/IYCh=="}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"id": "7"}}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_sequence": None, "usage": USAGE}
DONE = {**MESSAGE, "content": [{"type": "text", "text": "Shipped."}], "stop_reason": "end_turn"}
EVENTS = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": THOUGHT["thinking"]}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": THOUGHT["signature"]}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {**CALL, "input": {}}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"id": "7"}'}},
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]

# Oracle: the API reference of Amazon Bedrock, "Converse", `ReasoningContentBlock`.
REASONED = {"reasoningContent": {"reasoningText": {"text": THOUGHT["thinking"], "signature": THOUGHT["signature"]}}}
CALLED = {"toolUse": {"toolUseId": "tooluse_1", "name": "look", "input": {"id": "7"}}}


def converse(stop, *content):
    usage = {"inputTokens": 3, "outputTokens": 9, "totalTokens": 12}
    return {"output": {"message": {"role": "assistant", "content": list(content)}}, "stopReason": stop, "usage": usage, "metrics": {"latencyMs": 1}}


def second(scripted):
    body = json.loads(scripted.requests()[-1]["body"])
    return body, body["messages"][1]["content"], body["messages"][2]["content"]


def second_turn(client, model, message):
    """Only what OpenAI's API has goes back, as a typed client of another language sends it."""
    calls = [{"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}} for c in message.tool_calls]
    results = [{"role": "tool", "tool_call_id": c["id"], "content": "shipped"} for c in calls]
    messages = [*HELLO, {"role": "assistant", "content": message.content, "tool_calls": calls}, *results]
    return client.chat.completions.create(model=model, messages=messages, tools=[TOOL], extra_body={"thinking": THINK})


@pytest.mark.parametrize("stream", [False, True])
def test_openai_s_client_and_anthropic_s_api(openai_client, scripted, stream):
    first = {"sse": [{"event": e["type"], "data": e} for e in EVENTS]} if stream else {"json": {**MESSAGE, "content": [THOUGHT, CALL], "stop_reason": "tool_use"}}
    scripted.script([{"reply": first}, {"reply": {"json": DONE}}])
    asked = {"model": "claude/claude-scripted", "messages": HELLO, "tools": [TOOL], "extra_body": {"thinking": THINK}}
    if stream:
        with openai_client.chat.completions.stream(**asked) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = openai_client.chat.completions.create(**asked).choices[0].message
    assert second_turn(openai_client, "claude/claude-scripted", message).choices[0].message.content == "Shipped."
    _, said, results = second(scripted)
    assert said == [THOUGHT, CALL]
    assert results == [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "shipped"}]


def test_openai_s_client_and_bedrock(openai_client, scripted):
    scripted.script([
        {"reply": {"json": converse("tool_use", REASONED, CALLED)}},
        {"reply": {"json": converse("end_turn", {"text": "Shipped."})}},
    ])  # fmt: skip
    asked = {"messages": HELLO, "tools": [TOOL], "extra_body": {"thinking": THINK}}
    message = openai_client.chat.completions.create(model="aws/claude-scripted", **asked).choices[0].message
    assert second_turn(openai_client, "aws/claude-scripted", message).choices[0].message.content == "Shipped."
    body, said, results = second(scripted)
    assert said == [REASONED, CALLED]
    assert results == [{"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "shipped"}]}}]
    assert body["additionalModelRequestFields"] == {"thinking": THINK}


def test_anthropic_s_client_and_bedrock(anthropic_client, scripted):
    scripted.script([
        {"reply": {"json": converse("tool_use", REASONED, CALLED)}},
        {"reply": {"json": converse("end_turn", {"text": "Shipped."})}},
    ])  # fmt: skip
    mark = {"type": "ephemeral"}
    asked = {
        "model": "aws/claude-scripted", "max_tokens": 2000, "thinking": THINK,
        "system": [{"type": "text", "text": "A long manual.", "cache_control": mark}], "tools": [{"name": "look", "input_schema": LOOK}],
    }  # fmt: skip
    first = anthropic_client.messages.create(messages=HELLO, **asked)
    assert first.content[0].thinking == THOUGHT["thinking"]
    # The answer goes back as the client holds it.
    result = {"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "shipped", "cache_control": mark}
    messages = [*HELLO, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    assert anthropic_client.messages.create(messages=messages, **asked).content[0].text == "Shipped."
    body, said, results = second(scripted)
    point = {"cachePoint": {"type": "default"}}
    assert body["system"] == [{"text": "A long manual."}, point]
    assert said == [REASONED, CALLED]
    assert results == [{"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "shipped"}]}}, point]
    assert body["additionalModelRequestFields"] == {"thinking": THINK}
