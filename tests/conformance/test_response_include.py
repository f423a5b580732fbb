"""What each word of `include` brings, with the official openai package, strict. The words are the package's own, so one that
it learns and that no scene here is for fails the suite."""

import os
from typing import get_args

import httpx
import pytest
import searxng
from openai import OpenAI
from openai.types.responses import ResponseIncludable

from test_responses import MODEL
from test_responses_web import LAMPS, OTHER, SEARCHES
from test_thoughts import CLAUDE, SAYS, THOUGHT, message

WORDS = get_args(ResponseIncludable)
CODE = "code_interpreter_call.outputs"
PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture(scope="module")
def desk(another_frontdesk, scripted_server):
    up = f"{scripted_server.url}/v1"
    engine = searxng.serve([LAMPS, OTHER])
    tools = [f'{{ id: search, type: searxng, config: {{ base_url: "{engine.url}" }} }}', "{ id: code, type: code_interpreter }"]
    yield another_frontdesk(
        f'{{ id: up, type: openai, config: {{ base_url: "{up}", models: [scripted] }} }}',
        f'{{ id: claude, type: anthropic, config: {{ base_url: "{up}", api_key: upstream-key, models: [claude-scripted] }} }}',
        tools=tools,
    )
    engine.shutdown()


@pytest.fixture(scope="module")
def client(desk):
    with httpx.Client(trust_env=False) as http:
        yield OpenAI(base_url=desk.v1, api_key=desk.key, max_retries=0, timeout=60, http_client=http, _strict_response_validation=True)


def says(text):
    return {"reply": {"text": text}}


def says_by_tokens(*texts):
    tokens = [{"token": text, "logprob": -0.25, "bytes": list(text.encode()), "top_logprobs": []} for text in texts]
    choice = {"index": 0, "delta": {"content": "".join(texts)}, "logprobs": {"content": tokens, "refusal": None}}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    end = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    return {"reply": {"sse": [*({"data": {**head, "choices": [one]}} for one in (choice, end)), "data: [DONE]\n\n"]}}


def first(shown):
    """What is shown of the first item of a response, however it was asked for."""
    return lambda client, response, **more: shown(client.responses.retrieve(response.id, **more).output[0])


def picture(client, response, **more):
    """The word is one of lists of items."""
    (item,) = client.responses.input_items.list(response.id, **more).data
    return item.content[0].image_url


@pytest.fixture(scope="module")
def scenes(desk):
    """What is asked, what the model answers, where to look, and what is to be seen there: by the word."""
    page = {"file": ("returns.md", b"# Returns\n\nReturns are free within 30 days.")}
    file = desk.http.post("/v1/files", files=page, data={"purpose": "assistants"}).json()["id"]
    store = desk.http.post("/v1/vector_stores", json={"name": "pages", "file_ids": [file]}).json()["id"]
    sees = [{"role": "user", "content": [{"type": "input_image", "image_url": PIXEL, "detail": "low"}]}]
    searches, web = [SEARCHES, {"text": "They last."}], {"tools": [{"type": "web_search"}]}
    return {
        "file_search_call.results": (
            {"input": "Are returns free?", "tools": [{"type": "file_search", "vector_store_ids": [store]}]}, [says("Yes.")],
            first(lambda call: [(found.file_id, found.filename) for found in call.results or []]), [(file, "returns.md")],
        ),
        "web_search_call.action.sources": (
            web, [{"reply": reply} for reply in searches],
            first(lambda call: [source.url for source in call.action.sources or []]), [LAMPS["url"], OTHER["url"]],
        ),
        CODE: (
            {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
            [{"reply": {"tool_call": {"name": "code_interpreter", "arguments": {"code": "6 * 7"}}}}, says("It is 42.")],
            first(lambda call: [output.logs for output in call.outputs or []]), ["42"],
        ),
        "reasoning.encrypted_content": (
            {"model": CLAUDE}, [message(THOUGHT, SAYS)],
            first(lambda thought: (thought.encrypted_content or "").partition(".")[0]), "fdt1",
        ),
        "message.output_text.logprobs": (
            {}, [says_by_tokens("Hé", "llo")],
            first(lambda said: [token.token for token in said.content[0].logprobs or []]), ["Hé", "llo"],
        ),
        "message.input_image.image_url": ({"input": sees}, [says("A lamp.")], picture, PIXEL),
        # These bring nothing: nothing here makes what the one is a part of, and the package declares no member for the other.
        "computer_call_output.output.image_url": ({"input": sees}, [says("A lamp.")], None, None),
        "web_search_call.results": (web, [{"reply": reply} for reply in searches], None, None),
    }  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_include_brings_what_it_names_and_no_other_word_does(client, scripted, scenes, word):
    if word == CODE and not os.environ.get("FRONTDESK_INTERPRETERS"):
        assert not os.environ.get("CI"), "FRONTDESK_INTERPRETERS names no folder of built interpreters"
        pytest.skip("FRONTDESK_INTERPRETERS names no folder of built interpreters (providers/wasm/interpreters/build.sh)")
    asked, replies, look, brings = scenes[word]
    scripted.script(replies)
    response = client.responses.create(**{"model": MODEL, "input": "hello", **asked}, include=[word])
    assert response.status == "completed", response
    again = client.responses.retrieve(response.id, include=[word])
    assert again.output == response.output
    if look is None:
        assert again == client.responses.retrieve(response.id)
        return
    assert look(client, response, include=[word]) == brings
    assert not look(client, response), "nobody asked for it"
    assert not look(client, response, include=[other for other in WORDS if other != word])
