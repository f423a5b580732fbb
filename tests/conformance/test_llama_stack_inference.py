"""llama-stack-client 0.2.12's own inference resource against the built binary, checked against its own types."""

import json

import pytest
from llama_stack_client import BadRequestError, LlamaStackClient, NotFoundError
from llama_stack_client.types import (
    ChatCompletionResponseStreamChunk, CompletionResponse, EmbeddingsResponse,
)  # fmt: skip
from llama_stack_client.types.shared import ChatCompletionResponse
from pydantic import TypeAdapter

MODEL = "up/scripted"
HELLO = [{"role": "user", "content": "hello"}]
LOOK = {"tool_name": "lookup_order", "description": "Looks.", "parameters": {"order_id": {"param_type": "str"}}}


@pytest.fixture
def client(frontdesk):
    return LlamaStackClient(base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0)


def fits(kind, value):
    """The client never checks what it gets: here its types do."""
    return TypeAdapter(kind).validate_python(json.loads(value.model_dump_json()))


def sent(scripted):
    seen = scripted.requests()[-1]
    return seen["path"], json.loads(seen["body"])


def test_a_chat(client, scripted):
    scripted.script([{"reply": {"text": "Hello from the shop."}}])
    sampling = {"strategy": {"type": "top_p", "temperature": 0.5, "top_p": 0.9}, "max_tokens": 7}
    answer = client.inference.chat_completion(model_id=MODEL, messages=HELLO, sampling_params=sampling)
    message = fits(ChatCompletionResponse, answer).completion_message
    assert (message.content, message.stop_reason, message.tool_calls) == ("Hello from the shop.", "end_of_turn", [])
    assert {metric.metric: metric.value for metric in answer.metrics}["completion_tokens"] == 4
    path, body = sent(scripted)
    assert path == "/v1/chat/completions" and body["messages"] == HELLO
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.5, 0.9, 7)


def test_a_chat_in_pieces(client, scripted):
    scripted.script([{"reply": {"text": "one two", "finish_reason": "length"}}])
    stream = client.inference.chat_completion(model_id=MODEL, messages=HELLO, stream=True)
    events = [fits(ChatCompletionResponseStreamChunk, chunk).event for chunk in stream]
    assert [event.event_type for event in events] == ["start", "progress", "progress", "complete"]
    assert "".join(event.delta.text for event in events) == "one two"
    assert events[-1].stop_reason == "out_of_tokens"


def test_chats_and_texts_by_the_batch(client, scripted):
    scripted.script([{"times": 5, "reply": {"text": "Hello."}}])
    asked = [[{"role": "user", "content": word}] for word in ("one", "two", "three")]
    answers = client.inference.batch_chat_completion(model_id=MODEL, messages_batch=asked, sampling_params={"strategy": {"type": "greedy"}, "max_tokens": 7})
    assert [fits(ChatCompletionResponse, answer).completion_message.content for answer in answers.batch] == ["Hello."] * 3
    bodies = [json.loads(seen["body"]) for seen in scripted.requests()[-3:]]
    assert sorted(body["messages"][0]["content"] for body in bodies) == ["one", "three", "two"]
    assert all(body["max_tokens"] == 7 for body in bodies)
    answers = client.inference.batch_completion(model_id=MODEL, content_batch=["a", "b"])
    assert [fits(CompletionResponse, answer).content for answer in answers.batch] == ["Hello."] * 2
    with pytest.raises(BadRequestError, match=r"messages_batch\[1\]"):
        client.inference.batch_chat_completion(model_id=MODEL, messages_batch=[HELLO, []])


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_and_its_result(client, scripted, stream):
    scripted.script([
        {"when": {"last_role": "tool"}, "reply": {"text": "It is {tool_content}."}},
        {"reply": {"tool_call": {"name": "lookup_order", "arguments": {"order_id": "7"}}, "argument_piece": 3}},
    ])  # fmt: skip
    ask = {"model_id": MODEL, "messages": HELLO, "tools": [LOOK], "tool_config": {"tool_choice": "required"}}
    if stream:
        chunks = [fits(ChatCompletionResponseStreamChunk, c) for c in client.inference.chat_completion(**ask, stream=True)]
        deltas = [chunk.event.delta for chunk in chunks if chunk.event.delta.type == "tool_call"]
        assert [deltas[0].parse_status, deltas[-1].parse_status] == ["started", "succeeded"]
        assert "".join(delta.tool_call for delta in deltas[:-1]) == '{"order_id":"7"}'
        call = deltas[-1].tool_call
    else:
        (call,) = fits(ChatCompletionResponse, client.inference.chat_completion(**ask)).completion_message.tool_calls
    assert (call.tool_name, call.arguments) == ("lookup_order", {"order_id": "7"})
    assert sent(scripted)[1]["tool_choice"] == "required"
    said = {"role": "assistant", "content": "", "stop_reason": "end_of_turn", "tool_calls": [call.model_dump()]}
    result = {"role": "tool", "call_id": call.call_id, "content": "shipped"}
    answer = client.inference.chat_completion(model_id=MODEL, messages=[*HELLO, said, result], tools=[LOOK])
    assert answer.completion_message.content == "It is shipped."


def test_structured_output_reaches_the_server(client, scripted):
    scripted.script([{"reply": {"text": "{}"}}])
    schema = {"type": "object", "properties": {}}
    client.inference.chat_completion(
        model_id=MODEL, messages=HELLO, response_format={"type": "json_schema", "json_schema": schema}
    )
    assert sent(scripted)[1]["response_format"]["json_schema"]["schema"] == schema
    with pytest.raises(BadRequestError):
        client.inference.chat_completion(model_id=MODEL, messages=HELLO, response_format={"type": "grammar", "bnf": {}})


def test_a_completion(client, scripted):
    scripted.script([{"times": 2, "reply": {"text": "upon a time"}}])
    answer = fits(CompletionResponse, client.inference.completion(model_id=MODEL, content="Once"))
    assert (answer.content, answer.stop_reason) == ("upon a time", "end_of_turn")
    pieces = list(client.inference.completion(model_id=MODEL, content="Once", stream=True))
    assert "".join(piece.delta for piece in pieces) == "upon a time"
    assert [piece.stop_reason for piece in pieces] == [None, None, None, "end_of_turn"]


def test_embeddings(client, scripted):
    scripted.script([{"reply": {"embed": 3}}])
    contents = ["hello", {"type": "text", "text": "you"}]
    answer = client.inference.embeddings(model_id=MODEL, contents=contents, output_dimension=2)
    assert fits(EmbeddingsResponse, answer).embeddings == [[5, 0.5], [3, 0.5]]
    path, body = sent(scripted)
    assert (path, body["input"], body["dimensions"]) == ("/v1/embeddings", ["hello", "you"], 2)


def test_an_unknown_model_is_not_found(client, scripted):
    with pytest.raises(NotFoundError):
        client.inference.chat_completion(model_id="nowhere", messages=HELLO)


def test_openai_s_routes_behind_llama_stack_s_prefix(openai_client, frontdesk, scripted):
    scripted.script([{"when": {"stream": True}, "reply": {"text": "one two"}}, {"reply": {"embed": 2}}])
    client = openai_client.with_options(base_url=f"{frontdesk.url}/v1/openai/v1")
    chunks = client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one two"
    assert client.embeddings.create(model=MODEL, input="hi").data[0].embedding == [2, 0.5]
    assert client.models.retrieve(MODEL).id == MODEL
