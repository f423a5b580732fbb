"""The official clients against the engine of this very program, over the demo's tiny model: the real worker, no script.

What the model says hardly matters, and what it was made to repeat is all that is looked at; the shape of everything is
checked against the packages' own types.
"""

import json
import time
from pathlib import Path
from typing import Literal

import anthropic
import httpx
import openai
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from llama_stack_client import LlamaStackClient
from llama_stack_client.types import ChatCompletionResponseStreamChunk
from llama_stack_client.types.shared import ChatCompletionResponse
from pydantic import BaseModel, Field, TypeAdapter

MODEL = "local/demo"
FOLDER = Path(__file__).resolve().parent.parent.parent / "services/gateway/demo/model"
SAY = [{"role": "user", "content": 'Say "red green blue river"'}]
SAID = "red green blue river"
PATIENCE_S = 120
LOOK = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}


@pytest.fixture(scope="module")
def desk(another_frontdesk):
    frontdesk = another_frontdesk(f'{{ id: local, type: mistralrs, config: {{ models: [ {{ id: demo, path: "{FOLDER}" }} ] }} }}')
    end = time.monotonic() + PATIENCE_S
    # While the engine starts the gateway says so, and when to come back.
    while True:
        answer = frontdesk.http.post("/v1/chat/completions", json={"model": MODEL, "messages": SAY, "temperature": 0})
        if answer.status_code == 200:
            return frontdesk
        assert answer.status_code in (502, 503) and time.monotonic() < end, answer.text
        time.sleep(0.1)


@pytest.fixture
def client(desk):
    with httpx.Client(trust_env=False) as http:
        yield openai.OpenAI(base_url=desk.v1, api_key=desk.key, max_retries=0, http_client=http, _strict_response_validation=True)


@pytest.fixture
def claude(desk):
    with anthropic.DefaultHttpxClient(trust_env=False) as http:
        yield anthropic.Anthropic(base_url=desk.url, api_key=desk.key, max_retries=0, http_client=http, _strict_response_validation=True)


def tool(name):
    return {"type": "function", "function": {"name": name, "parameters": LOOK}}


def test_openai_a_chat_whole_and_in_pieces(client):
    ask = {"model": MODEL, "messages": SAY, "temperature": 0}
    whole = client.chat.completions.create(**ask)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (SAID, "stop")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens > 8
    *pieces, last = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == SAID
    assert len(pieces) > 3 and pieces[-1].choices[0].finish_reason == "stop"
    assert (last.choices, last.usage.completion_tokens) == ([], whole.usage.completion_tokens)


def test_openai_limits_and_log_probabilities(client):
    ask = {"model": MODEL, "messages": SAY, "temperature": 0}
    stopped = client.chat.completions.create(**ask, stop=["blue"])
    assert stopped.choices[0].message.content.strip() == "red green"
    short = client.chat.completions.create(**ask, max_completion_tokens=2)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 2)
    likely = client.chat.completions.create(**ask, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert all(one.logprob <= 0 and len(one.top_logprobs) == 2 and one.top_logprobs[0].token == one.token for one in likely)
    assert "".join(one.token for one in likely).replace("</s>", "").strip().startswith("red")


@pytest.mark.parametrize("stream", [False, True])
def test_openai_a_call_that_was_asked_for(client, stream):
    ask = {
        "model": MODEL, "messages": SAY, "temperature": 0, "tools": [tool("echo"), tool("lookup_order")],
        "tool_choice": {"type": "function", "function": {"name": "lookup_order"}},
    }  # fmt: skip
    if stream:
        with client.chat.completions.stream(**ask) as events:
            choice = events.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**ask).choices[0]
    [call] = choice.message.tool_calls
    assert (choice.finish_reason, call.type, call.function.name) == ("tool_calls", "function", "lookup_order")
    assert isinstance(json.loads(call.function.arguments)["order_id"], str)


class Place(BaseModel):
    city: Literal["Oslo", "Bern"]
    zip: int = Field(ge=10_000, le=99_999)


def test_openai_an_answer_of_a_type(client):
    place = client.chat.completions.parse(model=MODEL, messages=SAY, response_format=Place, max_completion_tokens=200)
    assert place.choices[0].message.parsed.city in ("Oslo", "Bern")


def test_openai_responses_over_the_engine(client):
    whole = client.responses.create(model=MODEL, input=SAY[0]["content"], temperature=0)
    assert (whole.output_text, whole.status) == (SAID, "completed")
    events = list(client.responses.create(model=MODEL, input=SAY[0]["content"], temperature=0, stream=True))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == SAID
    assert events[-1].type == "response.completed" and events[-1].response.usage.output_tokens == whole.usage.output_tokens


def test_openai_errors_name_what_is_wrong(client):
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 20_000}])
    assert wrong.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError, match="local/demo"):
        client.chat.completions.create(model="local/dem", messages=SAY)
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    with pytest.raises(openai.BadRequestError, match="text"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": picture}])
    # And it is as it was.
    assert client.chat.completions.create(model=MODEL, messages=SAY, temperature=0).choices[0].message.content == SAID


def test_anthropic_a_message_whole_and_in_pieces(desk, claude):
    ask = {"model": MODEL, "max_tokens": 64, "messages": SAY}
    # No longer a parameter of this SDK.
    cold = {"temperature": 0}
    whole = claude.messages.create(**ask, extra_body=cold)
    assert ([block.text for block in whole.content], whole.stop_reason) == ([SAID], "end_turn")
    with claude.messages.stream(**ask, extra_body=cold) as stream:
        assert "".join(stream.text_stream) == SAID
        assert stream.get_final_message().usage.output_tokens == whole.usage.output_tokens
    TypeAdapter(Message).validate_python(desk.http.post("/v1/messages", json={**ask, **cold}).json(), strict=True)
    with desk.http.stream("POST", "/v1/messages", json={**ask, **cold, "stream": True}) as answer:
        lines = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    events = [TypeAdapter(RawMessageStreamEvent).validate_python(line, strict=True) for line in lines]
    assert (events[0].type, events[-1].type) == ("message_start", "message_stop")


def test_anthropic_a_call_that_was_asked_for(claude):
    tools = [{"name": name, "input_schema": LOOK} for name in ("echo", "lookup_order")]
    answer = claude.messages.create(
        model=MODEL, max_tokens=200, messages=SAY, tools=tools, tool_choice={"type": "tool", "name": "lookup_order"}
    )
    [call] = [block for block in answer.content if block.type == "tool_use"]
    assert (call.name, answer.stop_reason) == ("lookup_order", "tool_use") and isinstance(call.input["order_id"], str)


def test_llama_stack_a_chat_whole_and_in_pieces(desk):
    client = LlamaStackClient(base_url=desk.url, api_key=desk.key, max_retries=0)
    ask = {"model_id": MODEL, "messages": SAY, "sampling_params": {"strategy": {"type": "greedy"}, "max_tokens": 64}}
    whole = TypeAdapter(ChatCompletionResponse).validate_python(json.loads(client.inference.chat_completion(**ask).model_dump_json()))
    assert (whole.completion_message.content, whole.completion_message.stop_reason) == (SAID, "end_of_turn")
    kind = TypeAdapter(ChatCompletionResponseStreamChunk)
    events = [kind.validate_python(json.loads(chunk.model_dump_json())).event for chunk in client.inference.chat_completion(**ask, stream=True)]
    assert "".join(event.delta.text for event in events) == SAID
    assert (events[0].event_type, events[-1].event_type) == ("start", "complete")
