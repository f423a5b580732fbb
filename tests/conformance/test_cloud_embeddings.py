"""Embeddings and reranking on Google's and Amazon's clouds: what our providers send against what the vendors' own packages
send, and answers through Frontdesk that those packages read the same.

Judges: `google-genai` for the Gemini API and Vertex AI; Cohere's own package for its models on Bedrock, botocore for paths
and headers there (the body of InvokeModel is opaque to it; Titan's follows the user guide, which is quoted by our tests in
Rust). That invocations are signed as botocore signs them is checked in test_bedrock_signature.py.
"""

import json

import botocore.session
import cohere
import cohere.aws_client
import httpx
import openai
import pytest
from google import genai
from google.genai import types

TEXTS = ["Hello", "Grüße \U0001f600"]
VECTORS = [[0.5, -1.0, 0.25], [1.0, 2.0, -0.125]]


def sent(request):
    return request["path"], json.loads(request["body"])


# ---------------------------------------------------------------- Google


@pytest.fixture(scope="module")
def google(scripted_server, another_frontdesk):
    """A Frontdesk that asks both of Google's APIs; Vertex AI with a token, so that nothing else is asked."""
    up = scripted_server.url
    return another_frontdesk(
        f'{{ id: gem, type: gemini, config: {{ base_url: "{up}/v1beta", api_key: upstream-key }} }}',
        f'{{ id: vertex, type: gemini, config: {{ base_url: "{up}/v1beta1", models: [{{ id: text-embedding-005, kind: embedding }}],'
        " vertex: { project: shop-1, location: europe-west4, access_token: of-the-account } } }",
    )


@pytest.fixture
def client(google):
    with httpx.Client(trust_env=False) as http:
        # As the package is by default: it asks for Base64, which its own types do not know.
        yield openai.OpenAI(base_url=google.v1, api_key=google.key, max_retries=0, timeout=60, http_client=http)


@pytest.fixture
def sdks(scripted_server):
    """The SDK at the upstream itself, by either way."""
    up = scripted_server.url
    options = lambda version: types.HttpOptions(base_url=up, api_version=version, client_args={"trust_env": False})  # noqa: E731
    credentials = genai.client.google.auth.credentials.AnonymousCredentials()
    credentials.token = "of-the-account"
    return {
        "gem": genai.Client(api_key="upstream-key", http_options=options("v1beta")),
        "vertex": genai.Client(
            vertexai=True, project="shop-1", location="europe-west4", credentials=credentials, http_options=options("v1beta1"),
        ),
    }  # fmt: skip


def by_gemini(vectors, **more):
    return {"embeddings": [{"values": values} for values in vectors], **more}


def by_predict(vectors):
    statistics = {"token_count": 4.0, "truncated": False}
    return {"predictions": [{"embeddings": {"values": v, "statistics": statistics}} for v in vectors], "metadata": {"billableCharacterCount": 12}}


def by_one(vectors):
    (values,) = vectors
    return {"embedding": {"values": values}, "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}, "truncated": False}


COUNTED = {"usageMetadata": {"promptTokenCount": 9}}
E5 = "publishers/intfloat/models/multilingual-e5-large-instruct-maas"
TASK = ({"task_type": "RETRIEVAL_DOCUMENT", "title": "Lamps"}, {"task_type": "RETRIEVAL_DOCUMENT", "title": "Lamps"})
CUT = ({"auto_truncate": False, "task_type": "CLUSTERING"}, {"auto_truncate": False, "task_type": "CLUSTERING"})
NONE = ({}, {})

# name → where, the model, how many texts, dimensions, what the openai client adds and what the SDK's config has of it,
# the server's answer, tokens
CASES = {
    "the Gemini API, one": ("gem", "gemini-embedding-001", 1, None, NONE, by_gemini(VECTORS[:1]), 0),
    "the Gemini API, several": ("gem", "gemini-embedding-001", 2, None, NONE, by_gemini(VECTORS, **COUNTED), 9),
    "the Gemini API, sized": ("gem", "text-embedding-004", 2, 3, NONE, by_gemini(VECTORS), 0),
    "the Gemini API, for a task": ("gem", "gemini-embedding-001", 2, 3, TASK, by_gemini(VECTORS), 0),
    "the Gemini API, a model of pictures too": ("gem", "gemini-embedding-2", 2, 3, NONE, by_gemini(VECTORS), 0),
    "Vertex AI, predict": ("vertex", "text-embedding-005", 2, None, NONE, by_predict(VECTORS), 8),
    "Vertex AI, predict, sized": ("vertex", "text-embedding-005", 1, 3, NONE, by_predict(VECTORS[:1]), 4),
    "Vertex AI, predict, for a task": ("vertex", "text-multilingual-embedding-002", 2, 3, TASK, by_predict(VECTORS), 8),
    "Vertex AI, predict, uncut": ("vertex", "text-embedding-005", 2, None, CUT, by_predict(VECTORS), 8),
    "Vertex AI, Gemini's, one": ("vertex", "gemini-embedding-001", 1, None, NONE, by_one(VECTORS[:1]), 3),
    "Vertex AI, Gemini's, one, for a task": ("vertex", "gemini-embedding-001", 1, 3, TASK, by_one(VECTORS[:1]), 3),
    "Vertex AI, Gemini's, several": ("vertex", "gemini-embedding-001", 2, None, NONE, by_gemini(VECTORS, **COUNTED), 9),
    "Vertex AI, Gemini's, several, uncut": ("vertex", "gemini-embedding-001", 2, 3, CUT, by_gemini(VECTORS), 0),
    "Vertex AI, an open model": ("vertex", E5, 1, None, NONE, by_one(VECTORS[:1]), 3),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_our_request_is_the_sdk_s_and_the_answer_says_the_same(name, client, sdks, scripted):
    where, model, count, dimensions, (extra, config), answer, tokens = CASES[name]
    scripted.script([{"times": 2, "reply": {"json": answer}}])
    sized = {} if dimensions is None else {"dimensions": dimensions}
    got = client.embeddings.create(model=f"{where}/{model}", input=TEXTS[:count], extra_body=extra, **sized)
    # A content each: of texts alone the SDK makes one content for models that read pictures too.
    contents = [types.Content(role="user", parts=[types.Part(text=text)]) for text in TEXTS[:count]]
    config = types.EmbedContentConfig(output_dimensionality=dimensions, **config)
    theirs = sdks[where].models.embed_content(model=model, contents=contents, config=config)
    assert [entry.embedding for entry in got.data] == [one.values for one in theirs.embeddings] == VECTORS[:count]
    assert [entry.index for entry in got.data] == list(range(count))
    assert (got.model, got.usage.prompt_tokens, got.usage.total_tokens) == (model, tokens, tokens)
    ours, theirs = scripted.requests()
    assert sent(ours) == sent(theirs)
    ours, theirs = dict(ours["headers"]), dict(theirs["headers"])
    credentials = ("x-goog-api-key", "authorization")
    assert [ours.get(name) for name in credentials] == [theirs.get(name) for name in credentials]
    assert ours["content-type"] == theirs["content-type"]


def test_several_texts_of_an_open_model_are_asked_one_by_one(client, scripted):
    scripted.script([{"times": 2, "reply": {"json": by_one(VECTORS[:1])}}])
    got = client.embeddings.create(model=f"vertex/{E5}", input=TEXTS)
    assert len(got.data) == 2 and got.usage.prompt_tokens == 6
    requests = [sent(request) for request in scripted.requests()]
    assert {path.rsplit(":")[-1] for path, _ in requests} == {"embedContent"}
    assert sorted(body["content"]["parts"][0]["text"] for _, body in requests) == sorted(TEXTS)


def test_models_that_embed_are_listed_as_such(google, sdks, scripted):
    listed = {"models": [
        {"name": "models/gemini-embedding-001", "supportedGenerationMethods": ["embedContent", "countTextTokens"], "inputTokenLimit": 2048},
        {"name": "models/gemini-2.5-flash", "supportedGenerationMethods": ["generateContent"]},
        {"name": "models/imagen-4", "supportedGenerationMethods": ["predict"]},
    ]}  # fmt: skip
    scripted.script([{"when": {"path": "/v1beta/models"}, "reply": {"json": listed}}])
    seen = google.http.get("/v1/models").raise_for_status().json()["data"]
    kinds = {model["id"]: model["model_type"] for model in seen}
    assert kinds == {"gem/gemini-embedding-001": "embedding", "gem/gemini-2.5-flash": "llm", "vertex/text-embedding-005": "embedding"}
    assert [model.supported_actions for model in sdks["gem"].models.list()][0] == ["embedContent", "countTextTokens"]


def test_what_google_refuses_is_told_in_its_words(client, scripted):
    error = {"code": 400, "message": "outputDimensionality is too large", "status": "INVALID_ARGUMENT"}
    scripted.script([{"reply": {"status": 400, "json": {"error": error}}}])
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="gem/gemini-embedding-001", input="a", dimensions=9000)
    assert "too large" in refused.value.message
    scripted.reset()
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="gem/gemini-embedding-001", input=[[1, 2]])
    assert refused.value.param == "input" and not scripted.requests()


# ---------------------------------------------------------------- Amazon

# What Cohere's package is made to sign with; its own host would be asked otherwise.
REGION = "eu-central-1"


class Session:
    """What `boto3.Session` is to Cohere's package, by botocore."""

    def __init__(self, region_name, **keys):
        self.region_name = region_name
        self.session = botocore.session.Session()
        self.session.set_credentials(keys["aws_access_key_id"], keys["aws_secret_access_key"], keys.get("aws_session_token"))

    def get_credentials(self):
        return self.session.get_credentials()


@pytest.fixture
def at_bedrock(scripted_server, aws_keys, monkeypatch):
    """Cohere's own client of Bedrock, at the upstream itself."""
    url = cohere.aws_client.get_url
    host = f"https://bedrock-runtime.{REGION}.amazonaws.com"
    monkeypatch.setattr(cohere.aws_client, "get_url", lambda **asked: url(**asked).replace(host, scripted_server.url))
    monkeypatch.setattr(cohere.aws_client, "lazy_boto3", lambda: type("boto3", (), {"Session": Session}))
    monkeypatch.setenv("NO_PROXY", "*")
    keys = {"aws_access_key": "access_key_id", "aws_secret_key": "secret_access_key", "aws_session_token": "session_token"}
    return cohere.BedrockClientV2(aws_region=REGION, timeout=60, **{name: aws_keys[key] for name, key in keys.items()})


TOKENS = {"x-amzn-bedrock-input-token-count": "7"}
BY_TYPE = {"id": "1", "texts": TEXTS, "response_type": "embeddings_by_type", "embeddings": {"float": VECTORS}}

COHERE = {
    "English": ("cohere.embed-english-v3", {}, {"input_type": "search_document"}),
    "all tongues, to search with": (
        "cohere.embed-multilingual-v3", {"extra_body": {"input_type": "search_query", "truncate": "END"}},
        {"input_type": "search_query", "truncate": "END"},
    ),
    "version 4 by a profile, sized": (
        "eu.cohere.embed-v4:0", {"dimensions": 256, "extra_body": {"max_tokens": 512}},
        {"input_type": "search_document", "output_dimension": 256, "max_tokens": 512},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COHERE)
def test_our_request_is_that_of_cohere_s_package(name, lenient_openai_client, at_bedrock, amazon, scripted):
    model, asked, theirs = COHERE[name]
    scripted.script([{"times": 3, "reply": {"json": BY_TYPE, "headers": TOKENS}}])
    got = lenient_openai_client.embeddings.create(model=f"aws/{model}", input=TEXTS, **asked)
    heard = at_bedrock.embed(model=model, texts=TEXTS, embedding_types=["float"], **theirs)
    assert [entry.embedding for entry in got.data] == heard.embeddings.float_ == VECTORS
    assert got.usage.prompt_tokens == heard.meta.tokens.input_tokens == 7
    body = scripted.requests()[0]["body"]
    amazon().invoke_model(modelId=model, body=body, contentType="application/json")
    ours, theirs, botocore_s = scripted.requests()
    assert json.loads(ours["body"]) == json.loads(theirs["body"])
    # Cohere's package does not escape the colon of a version; botocore does.
    assert ours["path"] == botocore_s["path"] == theirs["path"].replace(":", "%3A")
    ours, botocore_s = dict(ours["headers"]), dict(botocore_s["headers"])
    assert [ours[name] for name in ("content-type", "x-amz-security-token")] == [botocore_s[name] for name in ("content-type", "x-amz-security-token")]


def test_titan_is_asked_text_by_text(lenient_openai_client, scripted):
    said = {"embedding": VECTORS[0], "inputTextTokenCount": 5, "embeddingsByType": {"float": VECTORS[0]}}
    scripted.script([{"times": 2, "reply": {"json": said}}])
    asked = {"dimensions": 256, "extra_body": {"normalize": True}}
    got = lenient_openai_client.embeddings.create(model="aws/amazon.titan-embed-text-v2:0", input=TEXTS, **asked)
    assert [entry.embedding for entry in got.data] == [VECTORS[0]] * 2 and got.usage.prompt_tokens == 10
    bodies = [json.loads(request["body"]) for request in scripted.requests()]
    want = [{"inputText": text, "dimensions": 256, "normalize": True} for text in TEXTS]
    assert sorted(bodies, key=lambda body: body["inputText"]) == sorted(want, key=lambda body: body["inputText"])


def test_a_model_without_vectors_or_order_says_which_have_them(openai_client, frontdesk, scripted):
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.embeddings.create(model="aws/claude-scripted", input="a")
    assert refused.value.code == "not_offered" and "amazon.titan-embed-text-v2" in refused.value.message
    refused = frontdesk.http.post("/v1/rerank", json={"model": "aws/claude-scripted", "query": "q", "documents": ["a"]})
    assert refused.status_code == 400 and "amazon.rerank-v1" in refused.json()["error"]["message"]
    assert not scripted.requests()


DOCUMENTS = ["Carson City", {"text": "Washington"}, "Saipan"]
ORDER = {"results": [{"index": 1, "relevance_score": 0.9}, {"index": 2, "relevance_score": 0.25}]}


@pytest.mark.parametrize("model", ["cohere.rerank-v3-5:0", "amazon.rerank-v1:0"])
def test_documents_are_put_in_order(model, frontdesk, at_bedrock, amazon, scripted):
    scripted.script([{"times": 3, "reply": {"json": ORDER, "headers": TOKENS}}])
    asked = {"model": f"aws/{model}", "query": "capital?", "documents": DOCUMENTS, "top_n": 2, "return_documents": True}
    got = frontdesk.http.post("/v2/rerank", json=asked).raise_for_status().json()
    texts = [text if isinstance(text, str) else text["text"] for text in DOCUMENTS]
    heard = at_bedrock.rerank(model=model, query="capital?", documents=texts, top_n=2)
    places = [(result["index"], result["relevance_score"]) for result in got["results"]]
    assert places == [(result.index, result.relevance_score) for result in heard.results] == [(1, 0.9), (2, 0.25)]
    assert [result["document"] for result in got["results"]] == [{"text": "Washington"}, {"text": "Saipan"}]
    assert got["meta"]["tokens"]["input_tokens"] == heard.meta.tokens.input_tokens == 7
    amazon().invoke_model(modelId=model, body=scripted.requests()[0]["body"], contentType="application/json")
    ours, theirs, botocore_s = scripted.requests()
    body = json.loads(theirs["body"])
    if model.startswith("amazon"):
        # Amazon's own model has no versions of Cohere's API.
        del body["api_version"]
    assert json.loads(ours["body"]) == body
    assert ours["path"] == botocore_s["path"]
