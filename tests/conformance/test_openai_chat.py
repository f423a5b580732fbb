"""The official openai package through Frontdesk to an OpenAI-compatible upstream: what it sends arrives, what comes back parses."""

import json

import httpx
import openai
import pytest

MODEL = "up/scripted"
HELLO = [{"role": "user", "content": "hello"}]
LOOK = {
    "type": "function",
    "function": {
        "name": "lookup_order",
        "description": "Looks an order up.",
        "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
    },
}


def sent(scripted, number=-1):
    return json.loads(scripted.requests()[number]["body"])


def test_plain_answer(openai_client, scripted):
    scripted.script([{"reply": {"text": "Hello from the shop."}}])
    answer = openai_client.chat.completions.create(model=MODEL, messages=HELLO, temperature=0.2)
    assert answer.choices[0].message.content == "Hello from the shop."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    body = sent(scripted)
    assert body["model"] == "scripted", "the upstream gets its own name for the model"
    assert body["messages"] == HELLO and body["temperature"] == 0.2


def test_the_upstream_gets_its_own_key_never_ours(openai_client, scripted, frontdesk):
    scripted.script([{"reply": {"text": "ok"}}])
    openai_client.chat.completions.create(model=MODEL, messages=HELLO)
    headers = scripted.requests()[-1]["headers"]
    assert ["authorization", "Bearer upstream-key"] in headers
    assert frontdesk.key not in json.dumps(scripted.requests())


def test_stream_frame_one_arrives_before_frame_two_exists(openai_client, scripted):
    scripted.script([{"reply": {"text": "one two", "gates": {"before-two": 2, "end": 3}}}])
    stream = openai_client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    assert next(stream).choices[0].delta.role == "assistant"
    assert next(stream).choices[0].delta.content == "one "
    # The upstream stands at the gate: it has not written the second word.
    scripted.waiting("before-two")
    scripted.release("before-two")
    assert next(stream).choices[0].delta.content == "two"
    scripted.waiting("end")
    scripted.release("end")
    rest = list(stream)
    assert rest[-1].choices[0].finish_reason == "stop"


def test_stream_usage_only_for_who_asked(openai_client, scripted):
    scripted.script([{"when": {"stream": True}, "reply": {"text": "a b"}}])
    plain = list(openai_client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in plain)
    asked = list(
        openai_client.chat.completions.create(
            model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert asked[-1].choices == [] and asked[-1].usage.completion_tokens == 2


@pytest.mark.parametrize("stream", [False, True])
def test_parallel_tool_calls_and_their_results(openai_client, scripted, stream):
    calls = [{"name": "lookup_order", "arguments": {"order_id": n}} for n in ("1001", "1002")]
    scripted.script(
        [
            {"when": {"last_role": "tool"}, "reply": {"text": "It is {tool_content}."}},
            {"reply": {"tool_calls": calls, "argument_piece": 3}},
        ]
    )
    chat = openai_client.chat.completions
    if stream:
        with chat.stream(model=MODEL, messages=HELLO, tools=[LOOK]) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = chat.create(model=MODEL, messages=HELLO, tools=[LOOK]).choices[0].message
    assert [json.loads(c.function.arguments)["order_id"] for c in message.tool_calls] == ["1001", "1002"]
    assert sent(scripted)["tools"] == [LOOK]
    results = [{"role": "tool", "tool_call_id": c.id, "content": "shipped"} for c in message.tool_calls]
    call = message.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True)
    history = [*HELLO, call, *results]
    answer = openai_client.chat.completions.create(model=MODEL, messages=history, tools=[LOOK])
    assert answer.choices[0].message.content == "It is shipped."


def test_unknown_members_survive_both_ways(openai_client, scripted):
    scripted.script([{"reply": {"text": "x", "extra": {"vendor_answer": {"deep": [1, None]}}}}])
    answer = openai_client.chat.completions.create(model=MODEL, messages=HELLO, extra_body={"vendor_request": {"a": [1.5]}})
    assert answer.model_extra["vendor_answer"] == {"deep": [1, None]}
    assert sent(scripted)["vendor_request"] == {"a": [1.5]}


def test_models_are_listed_with_their_provider(openai_client):
    ids = [model.id for model in openai_client.models.list()]
    assert MODEL in ids


def test_unknown_model_is_not_found_and_names_the_nearest(openai_client, scripted):
    # What OpenAI answers (its error reference, `model_not_found`); a name behind a provider is the upstream's to judge.
    error = {"message": "The model `scriptd` does not exist", "type": "invalid_request_error", "param": None, "code": "model_not_found"}
    scripted.script([{"when": {"model": "scriptd"}, "reply": {"status": 404, "json": {"error": error}}}])
    with pytest.raises(openai.NotFoundError) as error:
        openai_client.chat.completions.create(model="up/scriptd", messages=HELLO)
    assert "up/scripted" in error.value.message


def test_wrong_key_is_unauthenticated(frontdesk, openai_client):
    with pytest.raises(openai.AuthenticationError):
        openai_client.with_options(api_key="wrong").chat.completions.create(model=MODEL, messages=HELLO)


def test_upstream_rate_limit_reaches_the_client(openai_client, scripted):
    error = {"error": {"message": "slow down", "type": "rate_limit_error", "param": None, "code": None}}
    # Whether the gateway tries again is its own affair: every attempt is refused.
    scripted.script([{"times": 99, "reply": {"status": 429, "headers": {"retry-after": "1"}, "json": error}}])
    with pytest.raises(openai.RateLimitError) as raised:
        openai_client.chat.completions.create(model=MODEL, messages=HELLO)
    assert "slow down" in raised.value.message


def test_stream_cut_by_the_upstream_is_an_error_not_an_end(openai_client, scripted):
    scripted.script([{"reply": {"text": "one two three", "cut_after": 2}}])
    stream = openai_client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    with pytest.raises((openai.APIError, httpx.RemoteProtocolError)):
        for _ in stream:
            pass


def test_a_client_that_leaves_ends_the_upstream_s_work(openai_client, scripted):
    scripted.script([{"reply": {"text": "one two three", "gates": {"never": 2}}}])
    stream = openai_client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    next(stream)
    scripted.waiting("never")
    number = scripted.requests()[-1]["number"]
    stream.close()
    assert scripted.ended(number) == "abandoned"
