"""Reranking by Cohere's official client: what it sends arrives, what each kind of server answers is what it reads.

The oracle is the client itself, pointed at the scripted upstream as it would be at Cohere's own API, and then at
Frontdesk in front of it: both must see and say the same. Answers are those of the API references of Cohere ("Rerank",
v1 and v2) and Jina ("Reranker"), of vLLM's "Re-rank API" and of text-embeddings-inference's OpenAPI document.
"""

import json

import cohere
import httpx
import pytest
from cohere.core.api_error import ApiError

DOCUMENTS = ["Carson City", "Washington", "Saipan"]
ASK = {"query": "the capital of the United States", "documents": DOCUMENTS, "top_n": 2}
SCORES = [(1, 0.98), (0, 0.27)]
COHERE = {
    "id": "07734bd2-2473-4f07-94e1-0d9f0e6843cf",
    "results": [{"index": i, "relevance_score": score} for i, score in SCORES],
    "meta": {"api_version": {"version": "2", "is_experimental": False}, "billed_units": {"search_units": 1}},
}
JINA = {
    "model": "jina-reranker-v2-base-multilingual",
    "usage": {"total_tokens": 15},
    "results": [{"index": i, "document": {"text": DOCUMENTS[i]}, "relevance_score": score} for i, score in SCORES],
}
VLLM = {
    "id": "rerank-b389becfb1070107", "model": "scripted", "usage": {"prompt_tokens": 56, "total_tokens": 56},
    "results": [{"index": i, "document": {"text": DOCUMENTS[i], "multi_modal": None}, "relevance_score": score} for i, score in SCORES],
}  # fmt: skip
TEI = [{"index": i, "score": score} for i, score in [*SCORES, (2, 0.01)]]


@pytest.fixture(scope="module")
def ranking(another_frontdesk, scripted_server):
    up = scripted_server.url
    entry = "{{ id: {}, type: openai, config: {{ base_url: {}/v1, api_key: upstream-key, models: [{{ id: scripted, kind: rerank }}], rerank: {{ {} }} }} }}"
    return another_frontdesk(*(
        entry.format(name, up, rerank)
        for name, rerank in [("cohere", "path: /v2/rerank"), ("jina", "shape: cohere"), ("vllm", "shape: cohere"), ("tei", "shape: tei")]
    ))  # fmt: skip


@pytest.fixture
def http():
    with httpx.Client(trust_env=False) as http:
        yield http


@pytest.fixture
def client(ranking, http):
    return cohere.ClientV2(ranking.key, base_url=ranking.url, max_retries=0, timeout=60, httpx_client=http)


def body(scripted):
    return json.loads(scripted.requests()[-1]["body"])


def test_the_client_says_and_hears_the_same_as_at_cohere_itself(client, http, scripted, scripted_server):
    direct = cohere.ClientV2("upstream-key", base_url=scripted_server.url, max_retries=0, timeout=60, httpx_client=http)
    more = {"max_tokens_per_doc": 4096, "priority": 3, "request_options": {"additional_body_parameters": {"x_new": {"kept": True}}}}
    scripted.script([{"times": 2, "reply": {"json": COHERE}}])
    heard, said = [], []
    for side, model in [(direct, "scripted"), (client, "cohere/scripted")]:
        heard.append(side.rerank(model=model, **ASK, **more))
        said.append((scripted.requests()[-1]["path"], body(scripted)))
    assert said[0] == said[1] and said[1][0] == "/v2/rerank"
    assert heard[0] == heard[1] and heard[1].meta.billed_units.search_units == 1
    assert [(result.index, result.relevance_score) for result in heard[1].results] == SCORES


@pytest.mark.parametrize(
    ("server", "answer", "tokens"), [("cohere", COHERE, None), ("jina", JINA, 15), ("vllm", VLLM, 56), ("tei", TEI, None)]
)
def test_every_server_s_answer_is_read_by_cohere_s_client(ranking, client, scripted, server, answer, tokens):
    scripted.script([{"reply": {"json": answer}}])
    heard = client.rerank(model=f"{server}/scripted", **ASK)
    assert [(result.index, result.relevance_score) for result in heard.results] == SCORES
    sent = body(scripted)
    if server == "tei":
        assert scripted.requests()[-1]["path"] == "/rerank"
        assert sent == {"query": ASK["query"], "texts": DOCUMENTS, "truncate": True}
        assert heard.id.startswith("rerank-")
    else:
        assert sent == {"model": "scripted", **ASK}
        assert heard.id == answer.get("id")
    booked = ranking.http.get("/v1/usage", params={"model": f"{server}/scripted"}).json()["total"]
    # What the server did not count is estimated, and the books say so.
    if tokens is None:
        assert booked["num_estimated"] >= 1
    else:
        assert (booked["input_tokens"], booked["num_estimated"]) == (tokens, 0)


def test_the_older_client_and_its_objects(ranking, http, scripted):
    older = cohere.Client(ranking.key, base_url=ranking.url, max_retries=0, timeout=60, httpx_client=http)
    documents = [{"title": "Nevada", "text": "Carson City"}, {"title": "DC", "text": "Washington"}]
    answer = {**COHERE, "results": [{"index": 1, "relevance_score": 0.9, "document": documents[1]}]}
    scripted.script([{"reply": {"json": answer}}, {"reply": {"json": [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}]}}])
    ask = {"query": "q", "documents": documents, "rank_fields": ["title", "text"], "return_documents": True, "top_n": 1}
    heard = older.rerank(model="cohere/scripted", **ask)
    assert body(scripted) == {"model": "scripted", **ask}
    assert (heard.results[0].index, heard.results[0].document.text) == (1, "Washington")
    heard = older.rerank(model="tei/scripted", **ask)
    assert body(scripted)["texts"] == ["title: Nevada\ntext: Carson City", "title: DC\ntext: Washington"]
    assert (heard.results[0].index, heard.results[0].document.text) == (1, "Washington")


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        ({"status": 401, "json": {"message": "invalid api token"}}, ApiError, "credentials"),
        ({"status": 429, "headers": {"retry-after": "3"}, "json": {"message": "slow down"}}, cohere.TooManyRequestsError, "slow down"),
        ({"status": 422, "json": {"message": "top_n is odd"}}, ApiError, "top_n is odd"),
        ({"json": {"results": "none"}}, ApiError, "not a ranking"),
        ({"hangup": True}, ApiError, ""),
    ],
)  # fmt: skip
def test_failures_are_the_client_s_own_errors(client, scripted, reply, kind, words):
    scripted.script([{"reply": reply}])
    with pytest.raises(kind) as refused:
        client.rerank(model="cohere/scripted", **ASK)
    assert words in json.dumps(refused.value.body)


def test_bad_requests_name_their_member(client, ranking):
    with pytest.raises(cohere.NotFoundError) as unknown:
        client.rerank(model="nowhere", **ASK)
    assert "nowhere" in json.dumps(unknown.value.body)
    for model, wrong, param in [("tei/scripted", {"documents": []}, "documents"), ("tei/scripted", {"top_n": 0}, "top_n")]:
        with pytest.raises(cohere.BadRequestError) as refused:
            client.rerank(model=model, **{**ASK, **wrong})
        assert refused.value.body["error"]["param"] == param
