"""Records how vendors' own SDKs ask for a chat: where, with which header for the key, and with which members.

Run by hand, in an environment of its own, when a row of the table changes or an SDK may have:

    pip install groq mistralai together cerebras-cloud-sdk openai
    python record.py > sdk.json

Nothing leaves the machine: a transport that answers by itself stands where the network would.
"""

import json
from importlib.metadata import version

import httpx

KEY, ENDPOINT = "recorded-key", "https://r.openai.azure.com"
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}
ANSWER = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip


def recorded(name, package, ask, module=httpx, **config):
    """One row: what the SDK sent."""
    seen = []

    def answer(request):
        seen.append(request)
        if json.loads(request.content).get("stream"):
            return module.Response(200, headers={"content-type": "text/event-stream"}, content=b"data: [DONE]\n\n")
        return module.Response(200, json=ANSWER)

    ask(module.Client(transport=module.MockTransport(answer)))
    (request,) = seen
    keys = {n: v for n, v in request.headers.items() if KEY in v}
    return {
        "preset": name, "oracle": f"{package} {version(package)}", "config": config, "url": str(request.url),
        "key": keys, "body": json.loads(request.content),
    }  # fmt: skip


def groq(http):
    from groq import Groq

    Groq(api_key=KEY, http_client=http).chat.completions.create(**ASKED, max_completion_tokens=5, seed=7)


def together(http):
    from together import Together

    Together(api_key=KEY, http_client=http).chat.completions.create(**ASKED, max_tokens=5, seed=7)


def cerebras(http):
    from cerebras.cloud.sdk import Cerebras

    # Else it opens a connection before it is asked for anything.
    client = Cerebras(api_key=KEY, http_client=http, warm_tcp_connection=False)
    client.chat.completions.create(**ASKED, max_completion_tokens=5, seed=7)


def mistral(http):
    from mistralai.client import Mistral

    for _ in Mistral(api_key=KEY, client=http).chat.stream(**ASKED, max_tokens=5, random_seed=7):
        pass


def openai(http):
    from openai import OpenAI

    OpenAI(api_key=KEY, http_client=http).chat.completions.create(**ASKED, max_completion_tokens=5, seed=7)


def azure(http, dated):
    from openai import AzureOpenAI, OpenAI

    if dated:
        client = AzureOpenAI(api_key=KEY, azure_endpoint=ENDPOINT, api_version="2024-10-21", http_client=http)
    else:
        # As Microsoft's page on the v1 API sets it up: the key as a bearer token, where its curl has `api-key`.
        client = OpenAI(api_key=KEY, base_url=f"{ENDPOINT}/openai/v1/", http_client=http)
    client.chat.completions.create(**ASKED, max_completion_tokens=5, seed=7)


def main():
    import openai as package

    own = __import__("httpx2") if "httpx2" in vars(package._base_client) else httpx
    rows = [
        recorded("azure", "openai", lambda http: azure(http, True), own, base_url=ENDPOINT, api_version="2024-10-21"),
        recorded("azure", "openai", lambda http: azure(http, False), own, base_url=ENDPOINT),
        recorded("cerebras", "cerebras_cloud_sdk", cerebras),
        recorded("groq", "groq", groq),
        recorded("mistral", "mistralai", mistral),
        recorded("openai", "openai", openai, own),
        recorded("together", "together", together),
    ]
    print(json.dumps(rows, indent=1, sort_keys=True))


main()
