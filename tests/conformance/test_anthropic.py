"""The official anthropic package through Frontdesk to an OpenAI-compatible upstream: it works unchanged, and every event fits its types."""

import json

import anthropic
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import BaseModel, TypeAdapter

MODEL = "up/scripted"
HELLO = [{"role": "user", "content": "hello"}]
LOOK = {
    "name": "lookup_order",
    "description": "Looks an order up.",
    "input_schema": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
}


def sent(scripted, number=-1):
    return json.loads(scripted.requests()[number]["body"])


def fits(kind, value):
    """The value as the SDK's type; fails where a member is missing, ill-typed or unknown to the SDK."""
    seen = TypeAdapter(kind).validate_python(value, strict=True)
    known(seen)
    return seen


def known(seen):
    if isinstance(seen, BaseModel):
        assert not seen.model_extra, f"{type(seen).__name__} has no {list(seen.model_extra)}"
        seen = [getattr(seen, name) for name in type(seen).model_fields]
    if isinstance(seen, list):
        for inner in seen:
            known(inner)


def raw_events(frontdesk, **body):
    """The stream's events as they are on the wire, name and data."""
    body = {"model": MODEL, "max_tokens": 64, "messages": HELLO, "stream": True, **body}
    events, name = [], None
    with frontdesk.http.stream("POST", "/v1/messages", json=body) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((name, json.loads(line.removeprefix("data: "))))
    return events


def test_plain_answer(anthropic_client, scripted):
    scripted.script([{"reply": {"text": "Hello from the shop."}}])
    answer = anthropic_client.messages.create(
        model=MODEL, max_tokens=64, system="Be brief.", messages=HELLO, stop_sequences=["END"],
        # Of the API, and no longer a parameter of this SDK.
        extra_body={"temperature": 0.2},
    )  # fmt: skip
    assert [block.text for block in answer.content] == ["Hello from the shop."]
    assert (answer.stop_reason, answer.role, answer.type) == ("end_turn", "assistant", "message")
    assert answer.usage.input_tokens == 3 and answer.usage.output_tokens == 4
    assert answer._request_id.startswith("req_")
    body = sent(scripted)
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, *HELLO]
    assert (body["model"], body["max_tokens"], body["temperature"], body["stop"]) == ("scripted", 64, 0.2, ["END"])


def test_a_whole_answer_fits_the_sdks_types(frontdesk, scripted):
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
    calls = [{"name": "lookup_order", "arguments": {"order_id": "7"}}]
    scripted.script([{"reply": {"reasoning": "hm", "text": "I look.", "tool_calls": calls, "usage": usage}}])
    answer = frontdesk.http.post("/v1/messages", json={"model": MODEL, "max_tokens": 64, "messages": HELLO})
    message = fits(Message, answer.json())
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (5, 4)


def test_every_event_of_a_stream_fits_the_sdks_types(frontdesk, scripted):
    calls = [{"name": "lookup_order", "arguments": {"order_id": n}} for n in ("1001", "1002")]
    scripted.script([{"reply": {"reasoning": "two calls", "text": "I look.", "tool_calls": calls, "argument_piece": 3}}])
    events = raw_events(frontdesk)
    seen = [fits(RawMessageStreamEvent, data) for _, data in events]
    assert [name for name, _ in events] == [event.type for event in seen]
    assert [event.type for event in seen][0] == "message_start"
    assert [event.type for event in seen][-2:] == ["message_delta", "message_stop"]
    # One block after the other, each begun and ended once.
    marks = [(e.type, e.index) for e in seen if e.type in ("content_block_start", "content_block_stop")]
    assert marks == [(kind, i) for i in range(4) for kind in ("content_block_start", "content_block_stop")]
    open_block = None
    for event in seen:
        if event.type == "content_block_start":
            open_block = event.index
        elif event.type == "content_block_delta":
            assert event.index == open_block
    kinds = [e.content_block.type for e in seen if e.type == "content_block_start"]
    assert kinds == ["thinking", "text", "tool_use", "tool_use"]


def test_the_first_word_is_here_before_the_second_exists(anthropic_client, scripted):
    scripted.script([{"reply": {"text": "one two", "gates": {"before-two": 2}}}])
    with anthropic_client.messages.stream(model=MODEL, max_tokens=64, messages=HELLO) as stream:
        words = stream.text_stream
        assert next(words) == "one "
        # The upstream stands at the gate: it has not written the second word.
        scripted.waiting("before-two")
        scripted.release("before-two")
        assert list(words) == ["two"]
        message = stream.get_final_message()
    assert (message.content[0].text, message.stop_reason) == ("one two", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (1, 2)
    assert stream.request_id.startswith("req_")


@pytest.mark.parametrize("stream", [False, True])
def test_parallel_tool_calls_and_their_results(anthropic_client, scripted, stream):
    calls = [{"name": "lookup_order", "arguments": {"order_id": n}} for n in ("1001", "1002")]
    scripted.script(
        [
            {"when": {"last_role": "tool"}, "reply": {"text": "It is {tool_content}."}},
            {"reply": {"text": "I look.", "tool_calls": calls, "argument_piece": 3}},
        ]
    )
    asked = {"model": MODEL, "max_tokens": 64, "tools": [LOOK], "tool_choice": {"type": "any"}}
    if stream:
        with anthropic_client.messages.stream(**asked, messages=HELLO) as events:
            message = events.get_final_message()
    else:
        message = anthropic_client.messages.create(**asked, messages=HELLO)
    assert message.stop_reason == "tool_use"
    uses = [block for block in message.content if block.type == "tool_use"]
    assert [use.input for use in uses] == [{"order_id": "1001"}, {"order_id": "1002"}]
    function = {"name": LOOK["name"], "description": LOOK["description"], "parameters": LOOK["input_schema"]}
    assert sent(scripted)["tools"] == [{"type": "function", "function": function}]
    assert sent(scripted)["tool_choice"] == "required"

    results = [{"type": "tool_result", "tool_use_id": use.id, "content": "shipped"} for use in uses]
    history = [*HELLO, message.to_param(), {"role": "user", "content": results}]
    answer = anthropic_client.messages.create(model=MODEL, max_tokens=64, tools=[LOOK], messages=history)
    assert answer.content[0].text == "It is shipped."
    asked_again = sent(scripted)["messages"]
    assert [m["role"] for m in asked_again] == ["user", "assistant", "tool", "tool"]
    assert [c["id"] for c in asked_again[1]["tool_calls"]] == [m["tool_call_id"] for m in asked_again[2:]]


def test_thoughts_come_as_blocks_and_go_back_within_the_turn(anthropic_client, scripted):
    call = {"name": "lookup_order", "arguments": {"order_id": "7"}}
    scripted.script([{"reply": {"reasoning": "I must look.", "tool_call": call}}, {"reply": {"text": "Done."}}])
    with anthropic_client.messages.stream(model=MODEL, max_tokens=64, tools=[LOOK], messages=HELLO) as stream:
        message = stream.get_final_message()
    thought, use = message.content
    assert (thought.type, thought.thinking) == ("thinking", "I must look.")
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "shipped"}
    history = [*HELLO, message.to_param(), {"role": "user", "content": [result]}]
    anthropic_client.messages.create(model=MODEL, max_tokens=64, tools=[LOOK], messages=history)
    assert sent(scripted)["messages"][1]["reasoning_content"] == "I must look."


def test_a_picture_arrives_as_the_upstream_reads_it(anthropic_client, scripted):
    scripted.script([{"reply": {"text": "A lamp."}}])
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    anthropic_client.messages.create(model=MODEL, max_tokens=64, messages=[{"role": "user", "content": content}])
    image, text = sent(scripted)["messages"][0]["content"]
    assert image == {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    assert text == {"type": "text", "text": "What is this?"}


def test_an_answer_cut_by_its_limit_says_so(anthropic_client, scripted):
    scripted.script([{"reply": {"text": "one", "finish_reason": "length"}}])
    answer = anthropic_client.messages.create(model=MODEL, max_tokens=1, messages=HELLO)
    assert answer.stop_reason == "max_tokens"


def test_unknown_model_is_not_found_and_names_the_nearest(anthropic_client, scripted):
    scripted.script([])
    with pytest.raises(anthropic.NotFoundError) as refused:
        anthropic_client.messages.create(model="scriptd", max_tokens=64, messages=HELLO)
    error = refused.value
    assert (error.type, error.error_code) == ("not_found_error", "model_not_found")
    assert "up/scripted" in error.api_message
    assert error.request_id == error.body["request_id"]


def test_wrong_key_is_unauthenticated(anthropic_client):
    with pytest.raises(anthropic.AuthenticationError) as refused:
        anthropic_client.with_options(api_key="wrong").messages.create(model=MODEL, max_tokens=64, messages=HELLO)
    assert refused.value.type == "authentication_error"


def test_a_tool_of_anthropics_own_is_refused_by_name(anthropic_client, scripted):
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    with pytest.raises(anthropic.BadRequestError) as refused:
        anthropic_client.messages.create(model=MODEL, max_tokens=64, messages=HELLO, tools=tools)
    assert "tools[0].type" in refused.value.api_message
    assert scripted.requests() == []


@pytest.mark.parametrize("status, kind", [(429, anthropic.RateLimitError), (503, anthropic.OverloadedError)])
def test_what_the_upstream_refuses_reaches_the_client_as_its_own_kind(anthropic_client, scripted, status, kind):
    error = {"error": {"message": "slow down", "type": "x", "param": None, "code": None}}
    scripted.script([{"times": 99, "reply": {"status": status, "headers": {"retry-after": "1"}, "json": error}}])
    with pytest.raises(kind) as refused:
        anthropic_client.messages.create(model=MODEL, max_tokens=64, messages=HELLO)
    assert "slow down" in refused.value.api_message
    assert refused.value.response.headers["retry-after"] == "1"


def test_stream_cut_by_the_upstream_is_an_error_not_an_end(anthropic_client, scripted):
    scripted.script([{"reply": {"text": "one two three", "cut_after": 2}}])
    with pytest.raises(anthropic.APIStatusError) as broken:
        with anthropic_client.messages.stream(model=MODEL, max_tokens=64, messages=HELLO) as stream:
            stream.until_done()
    assert broken.value.type == "api_error"


def test_a_client_that_leaves_ends_the_upstream_s_work(anthropic_client, scripted):
    scripted.script([{"reply": {"text": "one two three", "gates": {"never": 2}}}])
    with anthropic_client.messages.stream(model=MODEL, max_tokens=64, messages=HELLO) as stream:
        next(stream.text_stream)
        scripted.waiting("never")
        number = scripted.requests()[-1]["number"]
    assert scripted.ended(number) == "abandoned"


def test_what_a_server_of_this_dialect_says_goes_out_as_it_came(frontdesk, scripted):
    usage = {"input_tokens": 1, "output_tokens": 1}
    answer = {"id": "msg_1", "type": "message", "content": [], "stop_reason": "end_turn", "usage": usage, "future": {"a": [1]}}
    scripted.script([{"reply": {"json": answer}}])
    asked = {"model": "claude/scripted", "max_tokens": 64, "messages": HELLO, "thinking": {"type": "adaptive"}, "x": [1.5]}
    assert frontdesk.http.post("/v1/messages", json=asked).json() == answer
    assert sent(scripted) == {**asked, "model": "scripted"}


def test_tokens_are_counted_by_a_provider_that_can(anthropic_client, scripted):
    scripted.script([{"when": {"path": "/v1/messages/count_tokens"}, "reply": {"json": {"input_tokens": 12}}}])
    assert anthropic_client.messages.count_tokens(model="claude/scripted", messages=HELLO).input_tokens == 12


def test_tokens_that_the_provider_cannot_count_are_not_invented(anthropic_client):
    with pytest.raises(anthropic.BadRequestError) as refused:
        anthropic_client.messages.count_tokens(model=MODEL, messages=HELLO)
    assert refused.value.error_code == "tokens_not_counted"
