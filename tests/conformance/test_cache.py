"""Kept and shared answers, as the official openai and anthropic clients hear them: the same words, nobody asked, no cost."""

from concurrent.futures import ThreadPoolExecutor

import anthropic
import httpx
import pytest
from openai import OpenAI

TIMEOUT_S = 60
HELLO = [{"role": "user", "content": "hello"}]
ASK = {"model": "faq", "messages": HELLO, "temperature": 0}
USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


@pytest.fixture(scope="module")
def caching(another_frontdesk, scripted_server):
    up = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", api_key: upstream-key }} }}'
    return another_frontdesk(up, models=[
        "{ id: faq, targets: [ { model: up/scripted } ], cache: { ttl_s: 600 } }",
        "{ id: shared, targets: [ { model: up/scripted } ], cache: {}, coalesce: {} }",
    ])  # fmt: skip


@pytest.fixture
def openai(caching):
    with httpx.Client(trust_env=False) as http:
        yield OpenAI(base_url=caching.v1, api_key=caching.key, max_retries=0, timeout=TIMEOUT_S, http_client=http)


@pytest.fixture
def claude(caching):
    with anthropic.DefaultHttpxClient(trust_env=False) as http:
        yield anthropic.Anthropic(
            base_url=caching.url, api_key=caching.key, max_retries=0, timeout=TIMEOUT_S, http_client=http,
            _strict_response_validation=True,
        )  # fmt: skip


def total(caching):
    return caching.http.get("/v1/usage").json()["total"]


def test_a_whole_answer_is_told_again_and_costs_nothing(caching, openai, scripted):
    scripted.script([{"times": 1, "reply": {"text": "Open from nine.", "usage": USAGE}}])
    before = total(caching)
    heard = [
        openai.chat.completions.with_raw_response.create(**ASK, user=user, metadata={"n": user}) for user in ("a", "b")
    ]
    assert [answer.headers["x-frontdesk-cache"] for answer in heard] == ["miss", "hit"]
    assert [answer.headers["x-frontdesk-attempts"] for answer in heard] == ["1", "0"]
    assert heard[0].content == heard[1].content
    assert heard[1].parse().choices[0].message.content == "Open from nine."
    assert len(scripted.requests()) == 1
    after = total(caching)
    moved = {name: after[name] - before[name] for name in ("num_model_requests", "num_reused", "num_failed", "input_tokens", "output_tokens")}
    assert moved == {"num_model_requests": 2, "num_reused": 1, "num_failed": 0, "input_tokens": 20, "output_tokens": 5}


def test_a_stream_is_told_again_as_a_stream(openai, scripted):
    scripted.script([{"times": 1, "reply": {"text": "one two three", "usage": USAGE}}])

    def heard(**more):
        answer = openai.chat.completions.with_raw_response.create(**ASK, stream=True, **more)
        return answer.headers["x-frontdesk-cache"], list(answer.parse())

    (first, told), (second, again) = heard(), heard()
    assert (first, second) == ("miss", "hit") and told == again and len(told) > 3
    assert "".join(chunk.choices[0].delta.content or "" for chunk in again) == "one two three"
    third, counted = heard(stream_options={"include_usage": True})
    assert third == "hit" and counted[:-1] == told and counted[-1].usage.total_tokens == 25
    assert len(scripted.requests()) == 1


def test_another_dialect_hears_its_own_words_again(claude, scripted):
    scripted.script([{"times": 2, "reply": {"text": "one two", "usage": USAGE}}])
    # The package has no member for it any more.
    ask = {"model": "faq", "messages": HELLO, "max_tokens": 50, "extra_body": {"temperature": 0}}
    heard = [claude.messages.with_raw_response.create(**ask) for _ in range(2)]
    assert [answer.headers["x-frontdesk-cache"] for answer in heard] == ["miss", "hit"]
    said = [answer.parse() for answer in heard]
    assert said[0].content == said[1].content and said[1].content[0].text == "one two"
    assert said[1].stop_reason == "end_turn" and said[1].usage.output_tokens == 5
    streams = []
    for _ in range(2):
        with claude.messages.stream(**ask) as stream:
            streams.append((list(stream.text_stream), stream.response.headers["x-frontdesk-cache"]))
    assert streams == [(["one ", "two"], "miss"), (["one ", "two"], "hit")]
    assert len(scripted.requests()) == 2


def test_a_client_may_want_a_fresh_answer(openai, scripted):
    scripted.script([{"times": 1, "reply": {"text": "old"}}, {"times": 1, "reply": {"text": "new"}}])

    def heard(directive=None):
        headers = {"cache-control": directive} if directive else {}
        answer = openai.chat.completions.with_raw_response.create(**ASK, seed=11, extra_headers=headers)
        return answer.headers["x-frontdesk-cache"], answer.parse().choices[0].message.content

    assert [heard(), heard("no-cache"), heard(), heard("max-age=600"), heard("no-store")] == [
        ("miss", "old"), ("miss", "new"), ("hit", "new"), ("hit", "new"), ("hit", "new"),
    ]  # fmt: skip
    assert len(scripted.requests()) == 2


def test_completions_and_vectors_are_kept_too(caching, openai, scripted):
    scripted.script([{"times": 1, "reply": {"text": "and so on", "usage": USAGE}}, {"times": 1, "reply": {"embed": 4}}])
    go_on = {"model": "faq", "prompt": "Once", "temperature": 0}
    texts = [openai.completions.with_raw_response.create(**go_on) for _ in range(2)]
    assert [answer.headers["x-frontdesk-cache"] for answer in texts] == ["miss", "hit"]
    assert texts[0].content == texts[1].content and texts[1].parse().choices[0].text == "and so on"
    before, asked = total(caching), len(scripted.requests())
    vectors = [openai.embeddings.with_raw_response.create(model="faq", input=["a", "b"], user=user) for user in ("u", "v")]
    assert [answer.headers["x-frontdesk-cache"] for answer in vectors] == ["miss", "hit"]
    assert vectors[0].content == vectors[1].content and len(vectors[1].parse().data) == 2
    assert len(scripted.requests()) == asked + 1
    after = total(caching)
    assert (after["num_model_requests"] - before["num_model_requests"], after["num_reused"] - before["num_reused"]) == (2, 1)


def test_sampled_answers_and_failures_are_asked_for_each_time(openai, scripted):
    scripted.script([{"times": 2, "reply": {"text": "hm"}}])
    sampled = {**ASK, "temperature": 1}
    heard = [openai.chat.completions.with_raw_response.create(**sampled).headers["x-frontdesk-cache"] for _ in range(2)]
    assert heard == ["bypass", "bypass"] and len(scripted.requests()) == 2
    scripted.script([{"times": 1, "reply": {"status": 400, "json": {"error": {"message": "no"}}}}, {"reply": {"text": "yes"}}])
    refused = httpx.post(f"{openai.base_url}chat/completions", json={**ASK, "seed": 7}, headers={"authorization": f"Bearer {openai.api_key}"}, trust_env=False)
    assert refused.status_code == 400
    assert openai.chat.completions.create(**ASK, seed=7).choices[0].message.content == "yes"


def test_equal_requests_at_the_same_time_are_asked_once(caching, openai, scripted):
    scripted.script([{"times": 1, "reply": {"text": "one two", "hold": "head"}}])
    before = total(caching)

    def ask():
        answer = openai.chat.completions.with_raw_response.create(**{**ASK, "model": "shared"}, stream=True)
        return answer.headers["x-frontdesk-cache"], [chunk.choices[0].delta.content for chunk in answer.parse()]

    def active():
        lines = caching.http.get("/metrics").text.splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith("http_server_active_requests"))

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask) for _ in range(4)]
        scripted.waiting("head")
        while active() < 5:  # the four, and the one that asks
            pass
        scripted.release("head")
        heard = [future.result() for future in asked]
    reuse = sorted(reuse for reuse, _ in heard)
    # One that was slow to arrive finds the answer kept.
    assert reuse.count("miss") == 1 and set(reuse) <= {"miss", "shared", "hit"}
    assert all(words == heard[0][1] for _, words in heard) and "".join(filter(None, heard[0][1])) == "one two"
    assert len(scripted.requests()) == 1
    assert total(caching)["num_reused"] - before["num_reused"] == 3
