"""The official openai package's text completions: through a server that has them, and written out of a chat by one that has not.

Every answer is checked against the package's own types, strictly.
"""

import json

import openai
import pytest
from openai.types import Completion
from pydantic import TypeAdapter

# The server behind both has text completions; `chats` says in its configuration that it has none.
NATIVE, CHATS = "up/scripted", "chats/scripted"


def strict(value):
    """Checks an answer as its type says; pieces before the last have no reason to end yet, as at OpenAI."""
    shown = json.loads(value.model_dump_json())
    for choice in shown["choices"]:
        choice["finish_reason"] = choice["finish_reason"] or "stop"
    TypeAdapter(Completion).validate_python(shown)
    return value


def sent(scripted):
    seen = scripted.requests()[-1]
    return seen["path"], json.loads(seen["body"])


@pytest.mark.parametrize("model", [NATIVE, CHATS])
def test_a_text_goes_on(openai_client, scripted, model):
    scripted.script([{"reply": {"text": "upon a time"}}])
    answer = strict(openai_client.completions.create(model=model, prompt="Once", max_tokens=7, stop=["."]))
    assert (answer.object, answer.choices[0].text, answer.choices[0].finish_reason) == ("text_completion", "upon a time", "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1, 3)
    path, body = sent(scripted)
    assert (body["model"], body["max_tokens"], body["stop"]) == ("scripted", 7, ["."])
    if model == NATIVE:
        assert (path, body["prompt"]) == ("/v1/completions", "Once")
    else:
        assert (path, body["messages"]) == ("/v1/chat/completions", [{"role": "user", "content": "Once"}])


@pytest.mark.parametrize("model", [NATIVE, CHATS])
def test_a_text_goes_on_in_pieces(lenient_openai_client, scripted, model):
    scripted.script([{"when": {"stream": True}, "reply": {"text": "upon a time", "finish_reason": "length"}}])
    ask = {"model": model, "prompt": "Once", "stream": True}
    pieces = [strict(piece) for piece in lenient_openai_client.completions.create(**ask)]
    assert "".join(piece.choices[0].text for piece in pieces) == "upon a time"
    assert len(pieces) > 3 and pieces[-1].choices[0].finish_reason == "length"
    assert all(piece.usage is None for piece in pieces)
    *_, last = lenient_openai_client.completions.create(**ask, stream_options={"include_usage": True})
    assert last.choices == [] and last.usage.total_tokens == 4


def test_a_server_of_text_completions_gets_what_only_it_can_do(openai_client, scripted):
    scripted.script([{"reply": {"text": "x", "extra": {"vendor": [1]}}}])
    answer = openai_client.completions.create(
        model=NATIVE, prompt=[[1, 2], [3]], echo=True, suffix="end", best_of=3, n=2, logprobs=2
    )
    assert answer.model_extra["vendor"] == [1]
    path, body = sent(scripted)
    want = {"prompt": [[1, 2], [3]], "echo": True, "suffix": "end", "best_of": 3, "n": 2, "logprobs": 2}
    assert path == "/v1/completions" and {name: body[name] for name in want} == want


@pytest.mark.parametrize(
    ("member", "ask"),
    [
        ("echo", {"prompt": "a", "echo": True}),
        ("suffix", {"prompt": "a", "suffix": "b"}),
        ("best_of", {"prompt": "a", "best_of": 2}),
        ("prompt", {"prompt": ["a", "b"]}),
        ("prompt", {"prompt": [1, 2]}),
    ],
)
def test_what_a_chat_cannot_say_is_refused_by_its_name(openai_client, scripted, member, ask):
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.completions.create(model=CHATS, **ask)
    assert (refused.value.param, refused.value.code) == (member, "unsupported_member")
    assert scripted.requests() == []


def test_log_probabilities_are_told_in_the_older_shape(openai_client, scripted):
    token = {"token": "Hi", "logprob": -0.1, "bytes": None, "top_logprobs": [{"token": "Ho", "logprob": -2, "bytes": None}]}
    choice = {
        "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"},
        "logprobs": {"content": [token], "refusal": None},
    }  # fmt: skip
    scripted.script([{"reply": {"json": {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}}}])
    answer = strict(openai_client.completions.create(model=CHATS, prompt="a", logprobs=1))
    told = answer.choices[0].logprobs
    assert (told.tokens, told.token_logprobs, told.text_offset, told.top_logprobs) == (["Hi"], [-0.1], [0], [{"Ho": -2}])
    body = sent(scripted)[1]
    assert (body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 1, 16)


def test_a_stream_that_is_cut_is_an_error(openai_client, scripted):
    scripted.script([{"reply": {"text": "one two three", "cut_after": 2}}])
    with pytest.raises(openai.APIError):
        list(openai_client.completions.create(model=CHATS, prompt="a", stream=True))
