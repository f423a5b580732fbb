"""The official openai package for Node: what it sends is understood, what it gets is what its types say.

The client runs as a process of its own (node/openai.js); its answers are checked here, strictly, against the types of the
Python package, which are made of the same description of the API.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from openai.types import CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

MODEL = "up/scripted"
# The upstream speaks Anthropic's dialect there: the answer is ours.
WRITTEN = "claude/claude-scripted"
HELLO = [{"role": "user", "content": "hello"}]
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"id": {"type": "string"}}}}}
SCRIPT = Path(__file__).parent / "node" / "openai.js"
PATIENCE_S = 60


@pytest.fixture(scope="module", autouse=True)
def packages():
    """Where npm has put the client (tests/run.sh)."""
    folder = os.environ.get("FRONTDESK_NODE", "")
    if shutil.which("node") and Path(folder, "node_modules", "openai").is_dir():
        return folder
    why = "no Node.js with the openai package (tests/run.sh puts it into FRONTDESK_NODE)"
    return pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)


@pytest.fixture
def node(frontdesk, packages):
    """Begins a call; what the client sees comes line by line."""
    started = []

    def begin(call, key=frontdesk.key, **args):
        env = {**os.environ, "OPENAI_BASE_URL": frontdesk.v1, "OPENAI_API_KEY": key, "CLIENT_PACKAGES": packages}
        process = subprocess.Popen(["node", str(SCRIPT)], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        process.stdin.write(json.dumps({"call": call, "args": args}))
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


def compiled(packages, home, name, values):
    """What the compiler says where each value stands as a literal of the package's type: nothing where all fit it,
    members that the type does not have included."""
    (home / "node_modules").symlink_to(Path(packages, "node_modules"))
    lines = "".join(f"  {json.dumps(value)},\n" for value in values)
    imported = 'import type { Response, ResponseStreamEvent } from "openai/resources/responses/responses";\n'
    (home / "seen.ts").write_text(f"{imported}export const seen: {name}[] = [\n{lines}];\n")
    options = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--skipLibCheck", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]
    tsc = Path(packages, "node_modules", "typescript", "bin", "tsc")
    return subprocess.run(["node", str(tsc), *options, "seen.ts"], cwd=home, text=True, capture_output=True, timeout=PATIENCE_S).stdout


def as_declared(event):
    """Without what OpenAI's own API sends and this package does not declare: `usage` that is null while there is none,
    `store` and `max_tool_calls`, as they stand in the examples of OpenAI's reference; with `output_text`, which it
    declares and makes itself."""
    if response := event.get("response"):
        for name in ("max_tool_calls", "store"):
            response.pop(name, None)
        response["output_text"] = ""
        if response["usage"] is None:
            del response["usage"]
    return event


def test_the_events_of_responses_are_those_of_the_packages_declarations(frontdesk, packages, scripted, tmp_path):
    if not Path(packages, "node_modules", "typescript").is_dir():
        why = "no TypeScript beside the client (tests/run.sh puts it there)"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    scripted.script([
        {"reply": {"text": "It is on its way.", "reasoning": "Let me see.", "piece": 4}},
        {"reply": {"tool_calls": [{"name": "look", "arguments": {"id": n}} for n in ("7", "8")], "argument_piece": 3}},
        {"reply": {"text": '{"a":1}'}},
        {"reply": {"text": "one two three", "finish_reason": "length"}},
        {"reply": {"status": 400, "json": {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}}}},
        {"reply": {"text": "later"}},
    ])  # fmt: skip
    look = {"type": "function", "strict": True, **LOOK["function"]}
    form = {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
    events = []
    for more in [{}, {"tools": [look]}, {"text": form, "metadata": {"a": "b"}}, {"max_output_tokens": 16}, {}, {"background": True}]:
        with frontdesk.http.stream("POST", "/v1/responses", json={"model": MODEL, "input": "hello", "stream": True, **more}) as answer:
            assert answer.status_code == 200, answer.read()
            frames = [block.split("data: ", 1)[1] for block in "".join(answer.iter_text()).split("\n\n") if "data: " in block]
        events += [as_declared(json.loads(frame)) for frame in frames]
    ends = [event["type"] for event in events if event["type"] in ("response.completed", "response.incomplete", "response.failed")]
    assert ends == ["response.completed"] * 3 + ["response.incomplete", "response.failed", "response.completed"]
    assert len({event["type"] for event in events}) >= 15
    assert compiled(packages, tmp_path, "ResponseStreamEvent", events) == ""
    # The compiler does look: an event with a member too many, and one with one too few.
    for number, wrong in enumerate([{**events[0], "more": 1}, {k: v for k, v in events[-1].items() if k != "sequence_number"}]):
        home = tmp_path / str(number)
        home.mkdir()
        assert "error TS" in compiled(packages, home, "ResponseStreamEvent", [wrong])
