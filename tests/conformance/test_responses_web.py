"""The `web_search` tool of Responses with the official openai package, over a SearXNG that says what the test wants. Every
event is checked against the package's own types, strictly."""

import json

import httpx
import pytest
import searxng
from openai import BadRequestError, OpenAI
from response_stream import streamed

MODEL = "up/scripted"
LAMPS = {"title": "Lamps", "url": "https://lamps.example/", "content": "Our lamps burn for ten thousand hours."}
OTHER = {"title": "Other", "url": "https://shop.other.example/a", "content": "Nothing is said about them."}


@pytest.fixture(scope="module")
def engine():
    engine = searxng.serve([LAMPS, OTHER])
    yield engine
    engine.shutdown()


@pytest.fixture(scope="module")
def desk(another_frontdesk, scripted_server, engine):
    up = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", models: [scripted] }} }}'
    return another_frontdesk(up, tools=[f'{{ id: search, type: searxng, config: {{ base_url: "{engine.url}" }} }}'])


@pytest.fixture(scope="module")
def client(desk):
    with httpx.Client(trust_env=False) as http:
        yield OpenAI(base_url=desk.v1, api_key=desk.key, max_retries=0, timeout=60, http_client=http, _strict_response_validation=True)


SEARCHES = {"tool_call": {"name": "web_search", "arguments": {"query": "lamps that last"}}}


def play(scripted_server, engine, *replies):
    scripted_server.reset()
    scripted_server.script([{"reply": reply} for reply in replies])
    engine.asked.clear()
    engine.down = False


def test_a_search_is_shown_with_its_sources_and_what_is_said_by_them_is_cited(desk, client, scripted_server, engine):
    said = "They burn long, see [Lamps](https://lamps.example/). And: Nothing is said about them."
    play(scripted_server, engine, SEARCHES, {"text": said})
    asked = {"input": "which lamps last?", "tools": [{"type": "web_search"}], "include": ["web_search_call.action.sources"]}
    names, response = streamed(desk, model=MODEL, **asked)
    own = [name for name in names if "web_search" in name]
    assert own == [f"response.web_search_call.{state}" for state in ("in_progress", "searching", "completed")]
    call, message = response.output
    assert (call.type, call.status, call.action.type, call.action.query) == ("web_search_call", "completed", "search", "lamps that last")
    assert [source.url for source in call.action.sources] == [LAMPS["url"], OTHER["url"]]
    (first,) = message.content[0].annotations
    assert (first.type, first.title, said[first.start_index : first.end_index]) == ("url_citation", "Lamps", LAMPS["url"])
    assert names.count("response.output_text.annotation.added") == 1
    assert response.tools[0].search_context_size == "medium" and engine.asked == ["lamps that last"]
    # Without being asked for them, sources are not shown; the item can be sent back.
    again = client.responses.retrieve(response.id)
    assert again.output[0].action.sources is None and again.output[1] == message
    play(scripted_server, engine, {"text": "ok"})
    assert client.responses.create(model=MODEL, input=[*again.output, {"role": "user", "content": "thanks"}]).output_text == "ok"


def test_domains_are_kept_and_a_choice_forces_a_search(client, scripted_server, engine):
    play(scripted_server, engine, SEARCHES, {"text": f"See {OTHER['url']}."})
    where = {"type": "approximate", "city": "Paris", "country": "FR"}
    tool = {"type": "web_search", "filters": {"allowed_domains": ["other.example"]}, "search_context_size": "low", "user_location": where}
    response = client.responses.create(model=MODEL, input="which?", tools=[tool], tool_choice={"type": "web_search_preview"}, include=["web_search_call.action.sources"])
    assert [source.url for source in response.output[0].action.sources] == [OTHER["url"]]
    assert engine.asked == ["lamps that last (site:other.example)"]
    assert [a.url for a in response.output[1].content[0].annotations] == [OTHER["url"]]
    assert response.tools[0].filters.allowed_domains == ["other.example"] and response.tools[0].user_location.city == "Paris"
    sent = [json.loads(request["body"]) for request in scripted_server.requests()]
    assert sent[0]["tool_choice"]["function"]["name"] == "web_search"
    assert LAMPS["url"] not in json.dumps(sent[1])


def test_an_engine_that_fails_is_a_failed_call_and_the_answer_comes(desk, scripted_server, engine):
    play(scripted_server, engine, SEARCHES, {"text": "I could not look."})
    engine.down = True
    names, response = streamed(desk, model=MODEL, input="which?", tools=[{"type": "web_search_preview"}])
    assert "response.web_search_call.completed" not in names
    assert response.output[0].status == "failed" and response.output[1].content[0].annotations == []


def test_without_an_engine_a_search_is_refused(openai_client, scripted):
    scripted.script([])
    with pytest.raises(BadRequestError) as refused:
        openai_client.responses.create(model=MODEL, input="which?", tools=[{"type": "web_search"}])
    assert refused.value.code == "unsupported_tool" and "search engine" in refused.value.message
