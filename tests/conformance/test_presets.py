"""Presets as an upstream sees them: what a Frontdesk with a preset sends against what the official client sends there.

The scripted upstream keeps what it was asked; `AzureOpenAI` and `OpenAI` of the openai package are set up at the
upstream itself, as a vendor's page says, and then at Frontdesk in front of it.
"""

import json

import pytest
from openai import AzureOpenAI, BadRequestError, InternalServerError, OpenAI

HELLO = [{"role": "user", "content": "Grüße \U0001f600"}]
KEY = "upstream-key"
ANSWER = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip
TEXT = {**ANSWER, "object": "text_completion", "choices": [{"text": "hi", "index": 0, "logprobs": None, "finish_reason": "stop"}]}
VECTORS = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
CHUNKS = [
    {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
    {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]},
    {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": ANSWER["usage"]},
]  # fmt: skip


@pytest.fixture(scope="module")
def presets(scripted_server, another_frontdesk):
    up = scripted_server.url
    return another_frontdesk(
        f'{{ id: dated, type: openai, config: {{ preset: azure, base_url: "{up}", api_version: "2024-10-21", api_key: {KEY} }} }}',
        f'{{ id: azure, type: openai, config: {{ preset: azure, base_url: "{up}/", api_key: {KEY}, models: [gpt-eu] }} }}',
        f'{{ id: vendor, type: openai, config: {{ preset: openai, base_url: "{up}", api_key: {KEY} }} }}',
        f'{{ id: router, type: openai, config: {{ preset: openrouter, base_url: "{up}", api_key: {KEY} }} }}',
        f'{{ id: local, type: openai, config: {{ preset: ollama, base_url: "{up}" }} }}',
    )


def vendors(name, up):
    """The official client at the vendor's address."""
    more = {"max_retries": 0}
    return {
        "dated": lambda: AzureOpenAI(azure_endpoint=up, api_version="2024-10-21", api_key=KEY, **more),
        "azure": lambda: OpenAI(base_url=f"{up}/openai/v1/", api_key=KEY, **more),
        "vendor": lambda: OpenAI(base_url=f"{up}/v1", api_key=KEY, **more),
        "router": lambda: OpenAI(base_url=f"{up}/api/v1", api_key=KEY, **more),
        "local": lambda: OpenAI(base_url=f"{up}/v1", api_key="ollama", **more),
    }[name]()


def ours(presets):
    """The same client at Frontdesk."""
    return OpenAI(base_url=presets.v1, api_key=presets.key, max_retries=0)


def seen(request):
    """What of a request is the vendor's affair: the rest tells of the client."""
    headers = dict(request["headers"])
    kept = {name: headers.get(name) for name in ("api-key", "authorization", "content-type")}
    return request["method"], request["path"], kept, request["body"]


ASKS = {
    "chat": lambda client, model: client.chat.completions.create(
        model=model, messages=HELLO, max_completion_tokens=5, seed=7, extra_body={"x_new": {"deep": [1]}}
    ),
    "stream": lambda client, model: list(client.chat.completions.create(
        model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )),
    "completions": lambda client, model: client.completions.create(model=model, prompt="Grüße", max_tokens=5, seed=7),
    "embeddings": lambda client, model: client.embeddings.create(model=model, input=["a"], encoding_format="float"),
}  # fmt: skip
REPLIES = {"chat": {"json": ANSWER}, "stream": {"sse": [*CHUNKS, "data: [DONE]\n\n"]}, "completions": {"json": TEXT}, "embeddings": {"json": VECTORS}}


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("name", ["dated", "azure", "router", "local"])
def test_a_vendor_is_asked_as_the_official_client_asks_it(presets, scripted, monkeypatch, name, ask):
    monkeypatch.setenv("NO_PROXY", "*")
    scripted.script([{"times": 2, "reply": REPLIES[ask]}])
    theirs = ASKS[ask](vendors(name, scripted.url), "gpt-eu")
    assert ASKS[ask](ours(presets), f"{name}/gpt-eu") == theirs
    (method, path, headers, body), sent = map(seen, scripted.requests())
    if name == "azure":
        # Microsoft's page sets up the client with a bearer token and has `api-key` in its curl examples.
        headers |= {"api-key": KEY, "authorization": None}
    if name == "local":
        # The client cannot do without a key; the server passes over it.
        headers["authorization"] = None
        # Ollama passes over the newer name, so the bound would not hold (ollama/ollama#7125).
        body = body.replace('"max_completion_tokens"', '"max_tokens"')
    assert sent == (method, path, headers, body)


def test_azure_offers_the_deployments_that_are_written_down(presets):
    listed = [model["id"] for model in presets.http.get("/v1/models").raise_for_status().json()["data"]]
    assert "azure/gpt-eu" in listed and not any(model.startswith("dated/") for model in listed)


COUNTED = {
    "instructions": "be brief",
    "input": [
        {"role": "user", "content": [
            {"type": "input_text", "text": "Where is it?"}, {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "low"},
        ]},
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"id": "7"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "shipped"},
        {"role": "assistant", "content": "It is shipped."},
        {"role": "user", "content": "Grüße \U0001f600"},
    ],
    "tools": [{
        "type": "function", "name": "look", "description": "Looks an order up.", "strict": True,
        "parameters": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"], "additionalProperties": False},
    }],
    "tool_choice": {"type": "function", "name": "look"}, "parallel_tool_calls": False, "reasoning": {"effort": "low"},
    "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "said", "strict": True, "schema": {"type": "object", "properties": {}}}},
}  # fmt: skip


def test_openai_itself_is_asked_to_count_tokens_as_its_own_client_asks(presets, scripted, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    scripted.script([{"times": 2, "reply": {"json": {"object": "response.input_tokens", "input_tokens": 31}}}])
    for client, model in ((vendors("vendor", scripted.url), "gpt-5"), (ours(presets), "vendor/gpt-5")):
        assert client.responses.input_tokens.count(model=model, **COUNTED).input_tokens == 31
    (*theirs, wanted), (*sent, body) = (seen(request) for request in scripted.requests())
    assert (sent, json.loads(body)) == (theirs, json.loads(wanted))


def test_a_count_that_is_none_is_the_vendors_fault_and_others_are_not_asked(presets, scripted, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    scripted.script([{"reply": {"json": {"object": "response.input_tokens"}}}])
    with pytest.raises(InternalServerError) as none:
        ours(presets).responses.input_tokens.count(model="vendor/gpt-5", input="hello")
    assert "not a count of tokens" in none.value.message
    with pytest.raises(BadRequestError) as unknown:
        ours(presets).responses.input_tokens.count(model="local/m", input="hello")
    assert unknown.value.code == "tokens_not_counted" and len(scripted.requests()) == 1
