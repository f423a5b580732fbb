"""Records how vendors' own packages ask for answers: where, with which header for the key, and with which members.

Run by hand, in an environment of its own, when a row of the table changes or an SDK may have:

    pip install cerebras-cloud-sdk databricks-sdk fireworks-ai groq ibm-watsonx-ai langchain-nvidia-ai-endpoints \
        mistralai openai openrouter sambanova together
    python record.py > sdk.json

Nothing leaves the machine: what answers by itself stands where each library would open a connection.
"""

import contextlib
import importlib
import inspect
import io
import json
import sys
import warnings
from importlib.metadata import version
from urllib.parse import urlsplit

import httpx
import requests

# With a dot in it, as a token of IBM's IAM has: its SDK sends what has none as `Basic`.
KEY = "recorded.key"
HI = [{"role": "user", "content": "hi"}]
CHAT = {"model": "m", "messages": HI, "temperature": 0.5, "seed": 7}
TEXT = {"model": "m", "prompt": "hi", "temperature": 0.5, "seed": 7, "max_tokens": 5}
VECTORS = {"model": "m", "input": ["hi"], "encoding_format": "float"}
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
SAID = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "text": "hi", "finish_reason": "stop", "logprobs": None}
ANSWERS = {
    "chat/completions": {"object": "chat.completion", "choices": [SAID], "system_fingerprint": None},
    "completions": {"object": "text_completion", "choices": [SAID]},
    "embeddings": {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]},
}
seen = []


def answered(method, url, headers, body):
    """Keeps a request; its answer."""
    path = urlsplit(url).path
    if method == "GET" or not path.endswith(tuple(ANSWERS)):
        return "application/json", json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode()
    body = json.loads(body)
    seen.append({"url": url, "key": {n.lower(): v for n, v in headers if KEY in v}, "body": body})
    if body.get("stream"):
        return "text/event-stream", b"data: [DONE]\n\n"
    kind = next(kind for kind in ANSWERS if path.endswith(kind))
    return "application/json", json.dumps({"id": "x", "created": 1, "model": "m", "usage": USAGE, **ANSWERS[kind]}).encode()


def shut(module):
    """Answers what this copy of httpx would send."""

    def send(_, request):
        kind, body = answered(request.method, str(request.url), request.headers.items(), request.read())
        return module.Response(200, headers={"content-type": kind}, content=body, request=request)

    module.HTTPTransport.handle_request = send


def sent(_, request, **__):
    kind, body = answered(request.method, request.url, request.headers.items(), request.body)
    response = requests.Response()
    response.status_code, response.raw, response.url, response.request = 200, io.BytesIO(body), request.url, request
    response.headers["content-type"] = kind
    return response


def known(method, **more):
    """Those of `more` that the SDK has a name for."""
    return {name: value for name, value in more.items() if name in inspect.signature(method).parameters}


def like_openai(client, bound="max_completion_tokens", vectors=True, texts=True):
    """What a client with OpenAI's methods is asked for."""
    chat = client.chat.completions.create
    yield "chat", lambda: chat(**CHAT, **{bound: 5})
    yield "stream", lambda: list(chat(**CHAT, **{bound: 5}, stream=True, **known(chat, stream_options={"include_usage": True})))
    if texts:
        yield "completions", lambda: client.completions.create(**TEXT)
    if vectors:
        yield "embeddings", lambda: client.embeddings.create(model="m", input=["hi"], **known(client.embeddings.create, encoding_format="float"))


def azure(dated, endpoint="https://r.openai.azure.com"):
    from openai import AzureOpenAI, OpenAI

    if dated:
        return like_openai(AzureOpenAI(api_key=KEY, azure_endpoint=endpoint, api_version="2024-10-21"))
    # As Microsoft's page on the v1 API sets it up: the key as a bearer token, where its curl has `api-key`.
    return like_openai(OpenAI(api_key=KEY, base_url=f"{endpoint}/openai/v1/"))


def cerebras():
    from cerebras.cloud.sdk import Cerebras

    # Else it opens a connection before it is asked for anything.
    return like_openai(Cerebras(api_key=KEY, warm_tcp_connection=False), vectors=False)


def databricks():
    from databricks.sdk import WorkspaceClient

    client = WorkspaceClient(host="https://w.databricks.example", token=KEY, auth_type="pat")
    return like_openai(client.serving_endpoints.get_open_ai_client())


def fireworks():
    from fireworks import Fireworks

    return like_openai(Fireworks(api_key=KEY), vectors=False)


def groq():
    from groq import Groq

    return like_openai(Groq(api_key=KEY), texts=False)


def mistral():
    from mistralai.client import Mistral

    client = Mistral(api_key=KEY)
    asked = {"model": "m", "messages": HI, "temperature": 0.5, "random_seed": 7, "max_tokens": 5}
    yield "chat", lambda: client.chat.complete(**asked)
    yield "stream", lambda: list(client.chat.stream(**asked))
    yield "embeddings", lambda: client.embeddings.create(model="m", inputs=["hi"], encoding_format="float")


def nvidia():
    from langchain_nvidia_ai_endpoints import ChatNVIDIA

    client = ChatNVIDIA(model="m", nvidia_api_key=KEY, temperature=0.5, seed=7, max_completion_tokens=5)
    yield "chat", lambda: client.invoke("hi")
    yield "stream", lambda: list(client.stream("hi"))


def openai():
    from openai import OpenAI

    return like_openai(OpenAI(api_key=KEY))


def openrouter():
    from openrouter import OpenRouter

    client = OpenRouter(api_key=KEY)
    asked = {**CHAT, "max_completion_tokens": 5}
    yield "chat", lambda: client.chat.send(**asked)
    yield "stream", lambda: list(client.chat.send(**asked, stream=True, stream_options={"include_usage": True}))
    yield "embeddings", lambda: client.embeddings.generate(**VECTORS)


def sambanova():
    from sambanova import SambaNova

    return like_openai(SambaNova(api_key=KEY))


def together():
    from together import Together

    # Its own default for chats alone is another host (api-inference.together.ai); with an address written down, this
    # one as its page on OpenAI's clients has it, all is sent there.
    return like_openai(Together(api_key=KEY, base_url="https://api.together.ai"), bound="max_tokens")


def watsonx():
    from ibm_watsonx_ai import APIClient, Credentials
    from ibm_watsonx_ai.gateway import Gateway

    client = Gateway(credentials=Credentials(url="https://us-south.ml.cloud.ibm.com", token=KEY))
    yield "chat", lambda: client.chat.completions.create(**CHAT, max_completion_tokens=5)
    yield "stream", lambda: list(client.chat.completions.create(**CHAT, max_completion_tokens=5, stream=True, stream_options={"include_usage": True}))
    yield "completions", lambda: client.completions.create(**TEXT)
    yield "embeddings", lambda: client.embeddings.create(**VECTORS)


ROWS = [
    ("azure", "openai", lambda: azure(True), {"base_url": "https://r.openai.azure.com", "api_version": "2024-10-21"}),
    ("azure", "openai", lambda: azure(False), {"base_url": "https://r.openai.azure.com"}),
    ("cerebras", "cerebras_cloud_sdk", cerebras, {}),
    ("databricks", "databricks-sdk", databricks, {"base_url": "https://w.databricks.example"}),
    ("fireworks", "fireworks-ai", fireworks, {}),
    ("groq", "groq", groq, {}),
    ("mistral", "mistralai", mistral, {}),
    ("nvidia", "langchain-nvidia-ai-endpoints", nvidia, {}),
    ("openai", "openai", openai, {}),
    ("openrouter", "openrouter", openrouter, {}),
    ("sambanova", "sambanova", sambanova, {}),
    ("together", "together", together, {}),
    ("watsonx", "ibm-watsonx-ai", watsonx, {"base_url": "https://us-south.ml.cloud.ibm.com"}),
]


def main():
    shut(httpx)
    with contextlib.suppress(ImportError):
        shut(importlib.import_module("httpx2"))
    requests.adapters.HTTPAdapter.send = sent
    warnings.simplefilter("ignore")
    out = []
    for preset, package, asks, config in ROWS:
        for ask, go in asks():
            seen.clear()
            # An answer that an SDK cannot read does not change what it asked.
            try:
                go()
            except Exception as error:
                print(preset, ask, repr(error), file=sys.stderr)
            (request,) = seen
            out.append({"preset": preset, "oracle": f"{package} {version(package)}", "config": config, "ask": ask, **request})
    print(json.dumps(out, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
