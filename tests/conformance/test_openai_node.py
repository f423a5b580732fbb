"""The official openai package for Node: what it sends is understood, what it gets is what its types say.

The client runs as a process of its own (node/openai.js); its answers are checked here, strictly, against the types of the
Python package, which are made of the same description of the API.
"""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from openai.types import Batch, Completion, CreateEmbeddingResponse, FileDeleted, FileObject, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionDeleted
from openai.types.conversations import Conversation, ConversationDeletedResource
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

MODEL = "up/scripted"
# The upstream speaks Anthropic's dialect there: the answer is ours.
WRITTEN = "claude/claude-scripted"
HELLO = [{"role": "user", "content": "hello"}]
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"id": {"type": "string"}}}}}
SCRIPT = Path(__file__).parent / "node" / "openai.js"
PATIENCE_S = 60

pytestmark = pytest.mark.usefixtures("packages")


@pytest.fixture
def node(frontdesk, packages):
    """Begins a call; what the client sees comes line by line."""
    started = []

    def begin(call, *at, key=frontdesk.key, **args):
        env = {**os.environ, "OPENAI_BASE_URL": frontdesk.v1, "OPENAI_API_KEY": key, "CLIENT_PACKAGES": packages}
        process = subprocess.Popen(["node", str(SCRIPT)], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        process.stdin.write(json.dumps({"call": call, "args": [*at, *([args] if args else [])]}))
        process.stdin.close()
        return (json.loads(line) for line in process.stdout)

    yield begin
    for process in started:
        if process.wait(PATIENCE_S) != 0:
            pytest.fail(f"node ended with {process.returncode}")


def only(lines):
    (line,) = list(lines)
    return line


def strict(kind, value):
    return kind.model_validate_json(json.dumps(value), strict=True)


def chunks(lines):
    *seen, end = list(lines)
    assert end == {"end": True}, end
    return [strict(ChatCompletionChunk, line["chunk"]) for line in seen]


def test_an_answer(node, scripted):
    scripted.script([{"reply": {"text": "Hello from the shop."}}])
    answer = strict(ChatCompletion, only(node("chat.completions.create", model=MODEL, messages=HELLO))["value"])
    assert answer.choices[0].message.content == "Hello from the shop."
    assert json.loads(scripted.requests()[-1]["body"]) == {"model": "scripted", "messages": HELLO}


def test_a_stream_frame_by_frame(node, scripted):
    scripted.script([{"reply": {"text": "one two", "gates": {"before-two": 2}}}])
    lines = node("chat.completions.create", model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True})
    assert strict(ChatCompletionChunk, next(lines)["chunk"]).choices[0].delta.role == "assistant"
    assert strict(ChatCompletionChunk, next(lines)["chunk"]).choices[0].delta.content == "one "
    # The upstream stands at the gate: it has not written the second word.
    scripted.waiting("before-two")
    scripted.release("before-two")
    rest = chunks(lines)
    assert rest[0].choices[0].delta.content == "two" and rest[-1].usage.completion_tokens == 2


@pytest.mark.parametrize("stream", [False, True])
def test_tools_and_their_results(node, scripted, stream):
    calls = [{"name": "look", "arguments": {"id": n}} for n in ("1001", "1002")]
    scripted.script([
        {"when": {"last_role": "tool"}, "reply": {"text": "It is {tool_content}."}},
        {"reply": {"tool_calls": calls, "argument_piece": 3}},
    ])  # fmt: skip
    call = "chat.completions.stream" if stream else "chat.completions.create"
    shown = only(node(call, model=MODEL, messages=HELLO, tools=[LOOK]))["value"]
    message = strict(ChatCompletion, shown).choices[0].message
    assert [json.loads(c.function.arguments)["id"] for c in message.tool_calls] == ["1001", "1002"]
    results = [{"role": "tool", "tool_call_id": c.id, "content": "shipped"} for c in message.tool_calls]
    # The message goes back as the client holds it.
    history = [*HELLO, shown["choices"][0]["message"], *results]
    answer = only(node("chat.completions.create", model=MODEL, messages=history, tools=[LOOK]))["value"]
    assert strict(ChatCompletion, answer).choices[0].message.content == "It is shipped."


def test_an_answer_that_was_written_here(node, scripted):
    # Oracle: the streams of Anthropic's page "Streaming messages".
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [], "stop_reason": None,
               "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1}}  # fmt: skip
    events = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t1", "name": "look", "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"id":"1"}'}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    scripted.script([{"times": 2, "reply": {"sse": [{"event": event["type"], "data": event} for event in events]}}])
    asked = {"model": WRITTEN, "messages": HELLO, "tools": [LOOK], "stream_options": {"include_usage": True}}
    seen = chunks(node("chat.completions.create", stream=True, **asked))
    assert "".join(c.choices[0].delta.content or "" for c in seen if c.choices) == "Hello"
    assert seen[-1].usage.total_tokens == 8
    whole = strict(ChatCompletion, only(node("chat.completions.stream", **asked))["value"])
    assert whole.choices[0].message.tool_calls[0].function.arguments == '{"id":"1"}'


def test_embeddings(node, scripted):
    scripted.script([{"times": 2, "reply": {"embed": 3}}])
    answer = only(node("embeddings.create", model=MODEL, input=["two", "three"], encoding_format="float"))["value"]
    assert [entry.embedding for entry in strict(CreateEmbeddingResponse, answer).data] == [[3, 0.5, 1], [5, 0.5, 1]]
    # Without a word it asks for Base64 and reads it itself.
    answer = only(node("embeddings.create", model=MODEL, input="two"))["value"]
    assert json.loads(scripted.requests()[-1]["body"])["encoding_format"] == "base64"
    assert list(answer["data"][0]["embedding"]) == [3, 0.5, 1]


def test_models(node):
    models = [strict(Model, model) for model in only(node("models.list"))["value"]]
    assert MODEL in [model.id for model in models]


def test_errors_have_their_classes(node, scripted):
    refused = only(node("chat.completions.create", model="scriptd-nowhere", messages=HELLO))["error"]
    assert (refused["name"], refused["status"], refused["code"], refused["param"]) == ("NotFoundError", 404, "model_not_found", "model")
    assert refused["request"].startswith("req_")
    refused = only(node("models.list", key="wrong"))["error"]
    assert (refused["name"], refused["status"]) == ("AuthenticationError", 401)
    error = {"error": {"message": "slow down", "type": "rate_limit_error", "param": None, "code": None}}
    scripted.script([{"reply": {"status": 429, "headers": {"retry-after": "1"}, "json": error}}])
    refused = only(node("chat.completions.create", model=MODEL, messages=HELLO))["error"]
    assert refused["name"] == "RateLimitError" and "slow down" in refused["message"]


def test_a_stream_that_breaks_off_is_an_error(node, scripted):
    scripted.script([{"reply": {"text": "one two three", "cut_after": 2}}])
    *seen, last = list(node("chat.completions.create", model=MODEL, messages=HELLO, stream=True))
    assert seen and last["error"]["name"] == "APIError" and "up" in last["error"]["message"], last


def test_responses(node, scripted):
    scripted.script([{"reply": {"text": "Hello from the shop."}}, {"reply": {"tool_call": {"name": "look", "arguments": {"id": "7"}}}}])
    response = strict(Response, only(node("responses.create", model=MODEL, input="hello"))["value"])
    assert response.output_text == "Hello from the shop."
    *seen, end = list(node("responses.create", model=MODEL, input="where is 7?", stream=True, previous_response_id=response.id,
                           tools=[{"type": "function", "strict": True, **LOOK["function"]}]))  # fmt: skip
    assert end == {"end": True}, end
    events = [TypeAdapter(ResponseStreamEvent).validate_json(json.dumps(line["chunk"]), strict=True) for line in seen]
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert events[-1].type == "response.completed" and events[-1].response.output[0].arguments == '{"id":"7"}'
    refused = only(node("responses.create", model=MODEL, input="hello", previous_response_id="resp_nowhere"))["error"]
    assert (refused["name"], refused["code"], refused["param"]) == ("BadRequestError", "previous_response_not_found", "previous_response_id")


def value(lines):
    line = only(lines)
    assert "value" in line, line
    return line["value"]


def test_text_completions(node, scripted):
    scripted.script([{"times": 2, "reply": {"text": "one two"}}])
    answer = strict(Completion, value(node("completions.create", model=MODEL, prompt="count")))
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("one two", "stop")
    *seen, end = list(node("completions.create", model=MODEL, prompt="count", stream=True))
    assert end == {"end": True} and "".join(line["chunk"]["choices"][0]["text"] for line in seen) == "one two"


def test_one_model(node):
    assert strict(Model, value(node("models.retrieve", MODEL))).id == MODEL
    refused = only(node("models.delete", MODEL))["error"]
    assert refused["status"] in (400, 403, 404, 409), "it is configured, not a tenant's own"


def test_stored_completions(node, scripted):
    scripted.script([{"reply": {"text": "Kept."}}])
    made = strict(ChatCompletion, value(node("chat.completions.create", model=MODEL, messages=HELLO, store=True, metadata={"of": "node"})))
    end = time.monotonic() + PATIENCE_S
    # It is written a moment after its answer.
    while "error" in (kept := only(node("chat.completions.retrieve", made.id))):
        assert kept["error"]["status"] == 404 and time.monotonic() < end, kept
    assert strict(ChatCompletion, kept["value"]).choices[0].message.content == "Kept."
    assert made.id in [one["id"] for one in value(node("chat.completions.list", metadata={"of": "node"}))]
    messages = value(node("chat.completions.messages.list", made.id))
    # OpenAI's own page shows the messages of users here, though its types know the assistant's alone.
    assert [(one["role"], one["content"]) for one in messages] == [("user", "hello")]
    changed = value(node("chat.completions.update", made.id, metadata={"of": "others"}))
    assert changed["metadata"] == {"of": "others"}
    assert strict(ChatCompletionDeleted, value(node("chat.completions.delete", made.id))).deleted
    assert only(node("chat.completions.retrieve", made.id))["error"]["status"] == 404


def test_files_and_batches(node, scripted):
    scripted.script([{"times": 2, "reply": {"text": "Done."}}])
    asks = [{"custom_id": f"n{n}", "method": "POST", "url": "/v1/chat/completions", "body": {"model": MODEL, "messages": HELLO}} for n in range(2)]
    text = "".join(json.dumps(ask) + "\n" for ask in asks)
    file = strict(FileObject, value(node("files.create", purpose="batch", file={"name": "asks.jsonl", "text": text})))
    assert (file.filename, file.bytes, file.purpose) == ("asks.jsonl", len(text), "batch")
    assert strict(FileObject, value(node("files.retrieve", file.id))) == file
    assert file.id in [one["id"] for one in value(node("files.list", purpose="batch"))]
    assert value(node("files.content", file.id)) == text

    window = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = strict(Batch, value(node("batches.create", input_file_id=file.id, **window)))
    end = time.monotonic() + PATIENCE_S
    while batch.status not in ("completed", "failed"):
        assert time.monotonic() < end, batch
        batch = strict(Batch, value(node("batches.retrieve", batch.id)))
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 2, 0)
    lines = [json.loads(line) for line in value(node("files.content", batch.output_file_id)).splitlines()]
    assert {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in lines} == {"n0": "Done.", "n1": "Done."}
    assert batch.id in [one["id"] for one in value(node("batches.list"))]
    refused = only(node("batches.cancel", batch.id))["error"]
    assert refused["status"] in (400, 409), refused
    assert strict(FileDeleted, value(node("files.delete", file.id))).deleted
    refused = only(node("files.retrieve", file.id))["error"]
    assert (refused["name"], refused["status"]) == ("NotFoundError", 404)


def test_responses_in_the_background_and_conversations(node, scripted):
    scripted.script([{"reply": {"text": "one two", "gates": {"node-before-two": 2}}}])
    asked = strict(Response, value(node("responses.create", model=MODEL, input="count", background=True)))
    assert asked.status in ("queued", "in_progress")
    scripted.waiting("node-before-two")
    stopped = strict(Response, value(node("responses.cancel", asked.id)))
    assert stopped.status == "cancelled"
    scripted.release("node-before-two")
    assert strict(Response, value(node("responses.retrieve", asked.id))).status == "cancelled"
    assert [item["content"][0]["text"] for item in value(node("responses.inputItems.list", asked.id))] == ["count"]
    assert value(node("responses.delete", asked.id)) == {"id": asked.id, "object": "response", "deleted": True}
    assert only(node("responses.retrieve", asked.id))["error"]["status"] == 404

    scripted.script([{"reply": {"text": "Hello from the shop."}}])
    talk = strict(Conversation, value(node("conversations.create", metadata={"of": "node"})))
    value(node("responses.create", model=MODEL, input="hello", conversation=talk.id))
    items = value(node("conversations.items.list", talk.id, order="asc"))
    assert [(item["role"], item["content"][0]["text"]) for item in items] == [("user", "hello"), ("assistant", "Hello from the shop.")]
    assert strict(Conversation, value(node("conversations.retrieve", talk.id))).metadata == {"of": "node"}
    assert strict(ConversationDeletedResource, value(node("conversations.delete", talk.id))).deleted
