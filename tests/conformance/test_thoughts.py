"""Thinking and tools over two turns: what Claude signed comes back to it, whatever the client speaks.

The official clients keep what their types have; the upstream stands for Anthropic's API and for Amazon Bedrock.
"""

import base64
import json
from pathlib import Path

import openai
import pytest
from response_stream import stream_of

SHOP_TOOLS = Path(__file__).parents[2] / "services/gateway/demo/tools/shop-tools.wasm"

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


CLAUDE = "claude/claude-scripted"
FUNCTION = {"type": "function", "name": "look", "parameters": LOOK, "strict": None}
SAYS = {"type": "text", "text": "Shipped."}
REDACTED = {"type": "redacted_thinking", "data": "EmwKAhgB=="}


def message(*blocks):
    """A message of Anthropic's as it is streamed."""
    kinds = {"thinking": ("thinking", "thinking_delta"), "text": ("text", "text_delta"), "tool_use": ("input", "input_json_delta")}
    events = [EVENTS[0]]
    for index, block in enumerate(blocks):
        member, delta = kinds.get(block["type"], (None, None))
        begun = {**block, **({member: {} if member == "input" else ""} if member else {})}
        deltas = []
        if member == "input":
            deltas = [{"type": delta, "partial_json": json.dumps(block["input"])}]
        elif member:
            deltas = [{"type": delta, member: block[member]}]
        if block["type"] == "thinking":
            begun["signature"] = ""
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events.extend({"type": "content_block_delta", "index": index, "delta": d} for d in deltas)
        events.append({"type": "content_block_stop", "index": index})
    stop = "tool_use" if blocks[-1]["type"] == "tool_use" else "end_turn"
    events += [{**EVENTS[-2], "delta": {"stop_reason": stop, "stop_sequence": None}}, EVENTS[-1]]
    return {"reply": {"sse": [{"event": e["type"], "data": e} for e in events]}}


def messages(scripted):
    return json.loads(scripted.requests()[-1]["body"])["messages"]


RESULT = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "shipped"}]


@pytest.mark.parametrize("stored", [True, False])
def test_a_function_of_a_response_goes_on_from_what_was_thought(openai_client, scripted, stored):
    scripted.script([message(THOUGHT, CALL), message(SAYS)])
    asked = {"model": CLAUDE, "tools": [FUNCTION], "store": stored}
    first = openai_client.responses.create(input=HELLO, **asked)
    assert [item.type for item in first.output] == ["reasoning", "function_call"]
    output = {"type": "function_call_output", "call_id": first.output[1].call_id, "output": "shipped"}
    if stored:
        second = openai_client.responses.create(input=[output], previous_response_id=first.id, **asked)
    else:
        items = [item.model_dump(exclude_unset=True) for item in first.output]
        second = openai_client.responses.create(input=[*HELLO, *items, output], **asked)
    assert second.output_text == "Shipped."
    assert [(m["role"], m["content"]) for m in messages(scripted)][1:] == [("assistant", [THOUGHT, CALL]), ("user", RESULT)]


@pytest.mark.parametrize("between", ["words", "calls"])
def test_thoughts_between_words_and_calls_come_back_in_their_places(openai_client, scripted, between):
    later = {"type": "thinking", "thinking": "and further", "signature": "EqSecond=="}
    other = {**CALL, "id": "toolu_2"}
    said = [THOUGHT, SAYS, later, CALL] if between == "words" else [THOUGHT, CALL, later, other]
    scripted.script([message(*said), message(SAYS)])
    asked = {"model": CLAUDE, "tools": [FUNCTION], "store": False}
    first = openai_client.responses.create(input=HELLO, **asked)
    items = [item.model_dump(exclude_unset=True) for item in first.output]
    outputs = [{"type": "function_call_output", "call_id": item.call_id, "output": "shipped"} for item in first.output if item.type == "function_call"]
    openai_client.responses.create(input=[*HELLO, *items, *outputs], **asked)
    assert messages(scripted)[1] == {"role": "assistant", "content": said}


def test_an_agent_s_tools_go_on_from_what_was_thought(frontdesk, openai_client, scripted):
    file = frontdesk.http.post("/v1/files", files={"file": ("shop-tools.wasm", SHOP_TOOLS.read_bytes())}, data={"purpose": "assistants"}).json()["id"]
    group = {"toolgroup_id": "thinkers-shop", "provider_id": "wasm", "args": {"component": file, "grants": ["kv"]}}
    assert (made := frontdesk.http.post("/v1/toolgroups", json=group)).is_success, made.text
    config = {"name": "thinker", "model": CLAUDE, "instructions": "", "toolgroups": ["thinkers-shop"]}
    assert (made := frontdesk.http.post("/v1/agents", json={"agent_config": config})).is_success, made.text
    call = {**CALL, "name": "lookup_order", "input": {"order_id": "10001"}}
    scripted.script([message(THOUGHT, call), message(SAYS)])
    try:
        response = openai_client.responses.create(model="agent/thinker", input="Where is order 10001?")
    finally:
        frontdesk.http.delete(f"/v1/agents/{made.json()['agent_id']}")
        frontdesk.http.delete("/v1/toolgroups/thinkers-shop")
    assert response.output_text == "Shipped."
    (_, said, result) = messages(scripted)
    assert (said["content"], result["content"][0]["tool_use_id"]) == ([THOUGHT, call], "toolu_1")


def test_who_keeps_the_conversation_keeps_the_thoughts_sealed(frontdesk, openai_client, scripted):
    include = ["reasoning.encrypted_content"]
    scripted.script([message(THOUGHT, SAYS), message(REDACTED, SAYS), message(SAYS)])
    first = openai_client.responses.create(model=CLAUDE, input=HELLO, store=False, include=include)
    kept = first.output[0].encrypted_content
    assert kept.startswith("fdt1.")
    plain = base64.urlsafe_b64decode(kept.removeprefix("fdt1.") + "==")
    assert THOUGHT["signature"].encode() not in plain and b"thinking" not in plain
    items = [item.model_dump(exclude_unset=True) for item in first.output]
    ahead = [*HELLO, *items, {"role": "user", "content": "And order 8?"}]
    second = openai_client.responses.create(model=CLAUDE, input=ahead, include=include)
    assert messages(scripted)[1] == {"role": "assistant", "content": [THOUGHT, SAYS]}
    # Thoughts of which nothing can be read are kept all the same, and read back as they were written.
    assert (second.output[0].type, second.output[0].content, second.output[0].summary) == ("reasoning", [], [])
    again = openai_client.responses.retrieve(second.id, include=include)
    assert again.output == second.output and again.output[0].encrypted_content
    assert openai_client.responses.retrieve(second.id).output[0].encrypted_content is None
    items = [item.model_dump(exclude_unset=True) for item in second.output]
    openai_client.responses.create(model=CLAUDE, input=[*ahead, *items, {"role": "user", "content": "Thanks."}])
    said = [m["content"] for m in messages(scripted) if m["role"] == "assistant"]
    assert said == [[THOUGHT, SAYS], [REDACTED, SAYS]]
    # A server of another dialect is told none of it.
    scripted.script([{"reply": {"text": "fine"}}])
    openai_client.responses.create(model="up/scripted", input=ahead)
    assert [(m["role"], m["content"]) for m in messages(scripted)][1] == ("assistant", "Shipped.")

    # What was not sealed here for this tenant is refused by its name.
    made = frontdesk.http.post("/v1/tenants", json={"id": "thinkers", "name": "Thinkers"})
    assert made.is_success, made.text
    key = frontdesk.http.post("/v1/keys", json={"name": "theirs", "scopes": ["use"], "tenant": "thinkers"}).json()["key"]
    other = openai_client.with_options(api_key=key)
    changed = kept[:-2] + ("AA" if kept[-2:] != "AA" else "BB")
    for client, content in [(openai_client, "gAAAAABo"), (openai_client, changed), (openai_client, "fdt1.*"), (other, kept)]:
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model=CLAUDE, input=[*HELLO, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": content}])
        assert (refused.value.code, refused.value.param) == ("invalid_encrypted_content", "input[1].encrypted_content"), refused.value
        assert "input[1].encrypted_content" in refused.value.message


def test_thoughts_are_a_summary_where_one_is_asked_for(frontdesk, openai_client, scripted):
    scripted.script([message(THOUGHT, SAYS)])
    asked = {"model": CLAUDE, "input": "Where is order 7?", "reasoning": {"summary": "auto"}, "stream": True}
    seen = stream_of(frontdesk, "/v1/responses", "POST", json=asked)
    names = [name.removeprefix("response.") for name, _, _ in seen if "reasoning" in name]
    assert names == ["reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done"]
    (done,) = [data for name, _, data in seen if name == "response.reasoning_summary_text.done"]
    assert done["text"] == THOUGHT["thinking"]
    response = openai.types.responses.Response.model_validate(seen[-1][2]["response"])
    assert [part.text for part in response.output[0].summary] == [THOUGHT["thinking"]] and response.output[0].content == []
    assert openai_client.responses.retrieve(response.id).output == response.output
