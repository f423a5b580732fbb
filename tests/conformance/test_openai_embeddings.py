"""Embeddings by the official openai package, and reranking in the shapes of Cohere, Jina, vLLM and OGX.

The scripted upstream's vector begins with the length of its text, so a test sees which text it belongs to.
"""

import json

import openai
import pytest
from openai.types import CreateEmbeddingResponse
from pydantic import BaseModel, TypeAdapter

MODEL = "up/scripted"


def sent(scripted):
    seen = scripted.requests()[-1]
    return seen["path"], json.loads(seen["body"])


def test_texts_become_vectors_in_their_order(openai_client, scripted):
    scripted.script([{"reply": {"embed": 4}}])
    answer = openai_client.embeddings.create(model=MODEL, input=["two", "three"], encoding_format="float", user="u")
    TypeAdapter(CreateEmbeddingResponse).validate_python(answer.model_dump(), strict=True)
    assert [entry.embedding for entry in answer.data] == [[3, 0.5, 1, 1.5], [5, 0.5, 1, 1.5]]
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (8, 8)
    path, body = sent(scripted)
    assert path == "/v1/embeddings"
    assert body == {"model": "scripted", "input": ["two", "three"], "encoding_format": "float", "user": "u"}


def test_the_client_s_own_base64_arrives_as_floats(lenient_openai_client, scripted):
    scripted.script([{"reply": {"embed": 2}}])
    answer = lenient_openai_client.embeddings.create(model=MODEL, input="hello")
    assert answer.data[0].embedding == [5, 0.5]
    assert sent(scripted)[1]["encoding_format"] == "base64"


def test_dimensions_and_tokens_travel_on(lenient_openai_client, scripted):
    scripted.script([{"times": 2, "reply": {"embed": 9}}])
    answer = lenient_openai_client.embeddings.create(model=MODEL, input=[[1, 2], [3]], dimensions=3)
    assert [len(entry.embedding) for entry in answer.data] == [3, 3]
    assert sent(scripted)[1]["input"] == [[1, 2], [3]]
    assert len(lenient_openai_client.embeddings.create(model=MODEL, input=[1, 2]).data) == 1


def test_a_provider_without_embeddings_is_named(openai_client):
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.embeddings.create(model="claude/claude-scripted", input="a")
    assert refused.value.code == "not_offered" and "claude" in refused.value.message


def test_what_upstream_refuses_is_told_in_its_words(openai_client, scripted):
    error = {"message": "this model does not embed", "type": "invalid_request_error", "param": "model", "code": None}
    scripted.script([{"reply": {"status": 400, "json": {"error": error}}}])
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.embeddings.create(model=MODEL, input="a")
    assert "this model does not embed" in refused.value.message and refused.value.param == "model"


def test_nonsense_instead_of_vectors_is_the_upstream_s_fault(openai_client, scripted):
    scripted.script([{"reply": {"json": {"hello": 1}}}])
    with pytest.raises(openai.InternalServerError) as refused:
        openai_client.embeddings.create(model=MODEL, input="a")
    assert refused.value.status_code == 502 and "embeddings" in refused.value.message


DOCUMENTS = ["Carson City", {"text": "Washington"}, "Saipan"]


class Result(BaseModel):
    """What Cohere's, Jina's and vLLM's references agree on."""

    index: int
    relevance_score: float
    document: dict | None = None


class Ranking(BaseModel):
    results: list[Result]


def rank(frontdesk, path="/v1/rerank", **body):
    answer = frontdesk.http.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_documents_are_put_in_order(frontdesk, scripted, path):
    scripted.script([{"reply": {"rank": [0.1, 0.9, 0.5]}}])
    body = {"query": "the capital", "documents": DOCUMENTS, "top_n": 2, "return_documents": True, "max_tokens_per_doc": 9}
    answer = rank(frontdesk, path, model=MODEL, **body)
    results = TypeAdapter(Ranking).validate_python(answer, strict=True).results
    assert [(r.index, r.relevance_score, r.document) for r in results] == [
        (1, 0.9, {"text": "Washington"}), (2, 0.5, {"text": "Saipan"}),
    ]  # fmt: skip
    assert answer["usage"]["total_tokens"] == 3 and "meta" in answer, "the upstream's own answer"
    assert sent(scripted) == ("/v1/rerank", {"model": "scripted", **body})


def test_a_server_of_texts_is_asked_in_its_own_shape(frontdesk, scripted):
    scripted.script([{"reply": {"rank": [0.1, 0.9, 0.5]}}])
    answer = rank(frontdesk, model="tei/ranker", query="q", documents=DOCUMENTS, top_n=1, return_documents=True)
    assert answer["results"] == [{"index": 1, "relevance_score": 0.9, "document": {"text": "Washington"}}]
    path, body = sent(scripted)
    assert (path, body["query"], body["texts"]) == ("/rerank", "q", ["Carson City", "Washington", "Saipan"])
    refused = frontdesk.http.post("/v1/rerank", json={"model": "tei/ranker", "query": "q", "documents": [{"body": "x"}]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "documents[0]")


def test_ogx_s_path_and_shape(frontdesk, scripted):
    scripted.script([{"reply": {"rank": [0.1, 0.9]}}])
    items = ["a", {"type": "text", "text": "b"}]
    answer = rank(frontdesk, "/v1alpha/inference/rerank", model=MODEL, query="q", items=items, max_num_results=1)
    assert answer == {"data": [{"index": 1, "relevance_score": 0.9}]}
    assert sent(scripted)[1] == {"model": "scripted", "query": "q", "documents": ["a", "b"], "top_n": 1}


def test_models_say_what_they_do_where_the_configuration_says_it(openai_client):
    kinds = {model.id: model.model_extra["model_type"] for model in openai_client.models.list()}
    assert (kinds["tei/ranker"], kinds["tei/embedder"], kinds[MODEL]) == ("rerank", "embedding", "llm")
