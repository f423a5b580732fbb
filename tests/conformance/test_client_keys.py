"""A client's own key for a provider: sent where it is allowed, to the one provider it names, and seen nowhere else."""

import json
import os
import re

import anthropic
import httpx
import openai
import pytest
from llama_stack_client import LlamaStackClient

HELLO = [{"role": "user", "content": "Hello"}]
KEYS = {"groq_api_key": "theirs-groq", "spare_api_key": "theirs-spare", "closed_api_key": "theirs-closed",
        "claude_api_key": "theirs-claude", "gem_api_key": "theirs-gem", "named_token": "theirs-named"}  # fmt: skip
CHAT = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip
MESSAGE = {
    "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}


@pytest.fixture(scope="module")
def gateway(scripted_server, another_frontdesk):
    up = scripted_server.url
    own = "api_key: ours, models: [m]"
    return another_frontdesk(
        f'{{ id: groq, type: openai, config: {{ preset: groq, base_url: "{up}/groq", client_keys: true, {own} }} }}',
        f'{{ id: spare, type: openai, config: {{ base_url: "{up}/spare", client_keys: true, {own} }} }}',
        f'{{ id: closed, type: openai, config: {{ base_url: "{up}/closed", {own} }} }}',
        f'{{ id: named, type: openai, config: {{ preset: azure, base_url: "{up}/azure", client_keys: named_token, {own} }} }}',
        f'{{ id: claude, type: anthropic, config: {{ base_url: "{up}/claude", client_keys: true, {own} }} }}',
        f'{{ id: gem, type: gemini, config: {{ base_url: "{up}/gem", client_keys: true, {own} }} }}',
        models=["{ id: route, targets: [ { model: groq/m }, { model: closed/m } ] }"],
        log="trace",
    )


def client(gateway, **keys):
    headers = {"X-LlamaStack-Provider-Data": json.dumps(keys)} if keys else {}
    return openai.OpenAI(base_url=gateway.v1, api_key=gateway.key, max_retries=0, default_headers=headers,
                         http_client=httpx.Client(trust_env=False))  # fmt: skip


CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")


def credentials(request):
    return {name: value for name, value in request["headers"] if name in CREDENTIALS}


@pytest.mark.parametrize("provider, answer, theirs, ours", [
    ("groq", CHAT, {"authorization": "Bearer theirs-groq"}, {"authorization": "Bearer ours"}),
    ("spare", CHAT, {"authorization": "Bearer theirs-spare"}, {"authorization": "Bearer ours"}),
    ("named", CHAT, {"api-key": "theirs-named"}, {"api-key": "ours"}),
    ("claude", MESSAGE, {"x-api-key": "theirs-claude"}, {"x-api-key": "ours"}),
    ("gem", GEMINI, {"x-goog-api-key": "theirs-gem"}, {"x-goog-api-key": "ours"}),
    # Nobody allowed it there.
    ("closed", CHAT, {"authorization": "Bearer ours"}, {"authorization": "Bearer ours"}),
])  # fmt: skip
def test_a_key_goes_to_the_provider_it_names(gateway, scripted, provider, answer, theirs, ours):
    scripted.script([{"times": 2, "reply": {"json": answer}}])
    client(gateway, **KEYS).chat.completions.create(model=f"{provider}/m", messages=HELLO)
    client(gateway).chat.completions.create(model=f"{provider}/m", messages=HELLO)
    assert [credentials(request) for request in scripted.requests()] == [theirs, ours]
    assert not any(name.startswith("x-llamastack") for name, _ in scripted.requests()[0]["headers"])


def test_the_clients_of_anthropic_and_llama_stack_bring_keys_too(gateway, scripted):
    scripted.script([{"reply": {"json": MESSAGE}}])
    data = json.dumps(KEYS)
    http = anthropic.DefaultHttpxClient(trust_env=False)
    claude = anthropic.Anthropic(base_url=gateway.url, api_key=gateway.key, http_client=http, default_headers={"X-OGX-Provider-Data": data})
    claude.messages.create(model="claude/m", max_tokens=5, messages=HELLO)
    scripted.script([{"reply": {"json": CHAT}}])
    stack = LlamaStackClient(base_url=gateway.url, api_key=gateway.key, provider_data=KEYS, http_client=httpx.Client(trust_env=False))
    stack.inference.chat_completion(model_id="groq/m", messages=HELLO)
    first, second = scripted.requests()[-2:]
    assert (credentials(first), credentials(second)) == ({"x-api-key": "theirs-claude"}, {"authorization": "Bearer theirs-groq"})


def test_another_provider_is_asked_with_its_own_key(gateway, scripted):
    scripted.script([{"when": {"path": "/groq/chat/completions"}, "reply": {"status": 500, "json": {"error": {"message": "down"}}}},
                     {"reply": {"json": CHAT}}])  # fmt: skip
    client(gateway, **KEYS).chat.completions.create(model="route", messages=HELLO)
    assert [(r["path"], credentials(r)) for r in scripted.requests()] == [
        ("/groq/chat/completions", {"authorization": "Bearer theirs-groq"}),
        ("/closed/chat/completions", {"authorization": "Bearer ours"}),
    ]


@pytest.mark.parametrize("status, error", [(401, openai.AuthenticationError), (403, openai.PermissionDeniedError),
                                           (402, openai.PermissionDeniedError), (429, openai.RateLimitError)])  # fmt: skip
def test_a_key_that_is_not_taken_is_the_clients_affair(gateway, scripted, status, error):
    refusal = {"status": status, "json": {"error": {"message": "what is theirs-groq?"}}}
    scripted.script([{"times": 6, "reply": refusal}, {"reply": {"json": CHAT}}])
    for _ in range(6):
        with pytest.raises(error) as refused:
            client(gateway, **KEYS).chat.completions.create(model="route", messages=HELLO)
        assert refused.value.code == "client_key" and "theirs-groq" not in str(refused.value)
        assert "'groq'" in str(refused.value)
    # Nobody else was asked at the operator's expense, and the target is as well as before.
    assert {request["path"] for request in scripted.requests()} == {"/groq/chat/completions"}
    client(gateway).chat.completions.create(model="route", messages=HELLO)
    assert credentials(scripted.requests()[-1]) == {"authorization": "Bearer ours"}
    assert scripted.requests()[-1]["path"] == "/groq/chat/completions"
    (provider,) = (p for p in gateway.http.get("/v1/providers").json()["data"] if p["provider_id"] == "groq")
    assert {t["state"] for t in provider["health"]["facts"]["targets"]} == {"closed"}


def test_a_header_that_holds_no_object_is_refused(gateway):
    with pytest.raises(openai.BadRequestError) as refused:
        openai.OpenAI(base_url=gateway.v1, api_key=gateway.key, default_headers={"X-LlamaStack-Provider-Data": "theirs-odd"},
                      max_retries=0, http_client=httpx.Client(trust_env=False)).models.list()  # fmt: skip
    assert refused.value.param == "x-llamastack-provider-data" and "theirs-odd" not in str(refused.value)


def test_no_key_is_in_the_log_or_on_disk(gateway, scripted):
    """Last in the file: every test above has sent keys, some of them refused."""
    scripted.script([{"reply": {"json": CHAT}}])
    client(gateway, **KEYS).chat.completions.create(model="groq/m", messages=HELLO)
    gateway.http.get("/v1/usage").raise_for_status()
    log = "".join(gateway.program.lines)
    assert re.search("chat/completions", log), "the log is written"
    kept = b"".join(
        open(os.path.join(folder, file), "rb").read() for folder, _, files in os.walk(gateway.home) for file in files
    )
    assert b"groq/m" in kept, "the books are kept"
    for key in [*KEYS.values(), "theirs-odd"]:
        assert key not in log and key.encode() not in kept
