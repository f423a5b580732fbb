"""Attributes of files in vector stores, and filters over them, with the official packages."""

import httpx
import llama_stack_client
import ogx_client
import openai
import pytest

MODEL = "up/scripted"
PAGES = {
    "de.md": {"lang": "de", "year": 2023, "price": 9.5, "public": True},
    "en.md": {"lang": "en", "year": 2024, "price": 12, "public": False},
    "plain.md": None,
}
GERMAN = {"type": "eq", "key": "lang", "value": "de"}


@pytest.fixture
def shelf(openai_client):
    """A store with three pages that say the same; the ids of store and files."""
    store = openai_client.vector_stores.create(name="pages").id
    files = {}
    for name, attributes in PAGES.items():
        given = {} if attributes is None else {"attributes": attributes}
        uploaded = openai_client.files.create(file=(name, b"# Returns\n\nReturns are free within 30 days."), purpose="assistants")
        file = openai_client.vector_stores.files.create(store, file_id=uploaded.id, **given)
        assert (file.status, file.attributes) == ("completed", attributes or {})
        files[name] = file.id
    yield store, files
    openai_client.vector_stores.delete(store)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (GERMAN, "de"),
        ({"type": "ne", "key": "lang", "value": "de"}, "en plain"),
        ({"type": "gt", "key": "year", "value": 2023}, "en"),
        ({"type": "gte", "key": "price", "value": 9.5}, "de en"),
        ({"type": "lt", "key": "price", "value": 12.0}, "de"),
        ({"type": "lte", "key": "lang", "value": "de"}, "de"),
        ({"type": "in", "key": "year", "value": [2022, 2023]}, "de"),
        ({"type": "nin", "key": "year", "value": [2022, 2023]}, "en plain"),
        ({"type": "eq", "key": "public", "value": False}, "en"),
        ({"type": "or", "filters": [GERMAN, {"type": "and", "filters": [{"type": "eq", "key": "lang", "value": "en"}, {"type": "gt", "key": "year", "value": 2020}]}]}, "de en"),
        ({"type": "eq", "key": "lang", "value": "fr"}, ""),
    ],
)
def test_a_search_is_among_the_files_that_pass(openai_client, shelf, filters, names):
    found = openai_client.vector_stores.search(shelf[0], query="Are returns free?", filters=filters).data
    assert sorted(one.filename for one in found) == [f"{name}.md" for name in names.split()]
    assert all(one.attributes == (PAGES[one.filename] or {}) for one in found)


def test_a_search_leaves_out_what_scores_less_and_refuses_what_it_cannot_do(openai_client, shelf):
    search = openai_client.vector_stores.search
    found = search(shelf[0], query="Are returns free?", rewrite_query=True)
    assert found.search_query == ["Are returns free?"]
    scores = [one.score for one in found.data]
    least = max(scores)
    kept = search(shelf[0], query="Are returns free?", ranking_options={"ranker": "auto", "score_threshold": least}).data
    assert [one.score for one in kept] == [score for score in scores if score >= least] and kept
    for more, words in [
        ({"ranking_options": {"score_threshold": 1.5}}, "score_threshold must be 0 to 1"),
        ({"ranking_options": {"ranker": "best"}}, "best"),
        ({"ranking_options": {"weight": 1}}, "weight"),
        ({"extra_body": {"search_mode": "vector"}}, "vector"),
        ({"extra_body": {"depth": 1}}, "depth"),
    ]:
        with pytest.raises(openai.BadRequestError) as refused:
            search(shelf[0], query="x", **more)
        assert words in refused.value.message, refused.value.message


def test_attributes_are_replaced_and_searched_by_at_once(openai_client, shelf):
    store, files = shelf
    of = openai_client.vector_stores.files
    changed = of.update(files["plain.md"], vector_store_id=store, attributes={"lang": "de", "n": 1.5})
    assert (changed.attributes, changed.status) == ({"lang": "de", "n": 1.5}, "completed")
    assert of.retrieve(files["plain.md"], vector_store_id=store).attributes == changed.attributes
    found = openai_client.vector_stores.search(store, query="returns", filters=GERMAN, max_num_results=2).data
    assert sorted(one.filename for one in found) == ["de.md", "plain.md"]
    assert of.update(files["de.md"], vector_store_id=store, attributes=None).attributes == {}
    for wrong in [{"x" * 65: 1}, {"a": "x" * 513}, {str(n): n for n in range(17)}]:
        with pytest.raises(openai.BadRequestError) as refused:
            of.update(files["de.md"], vector_store_id=store, attributes=wrong)
        assert refused.value.param == "attributes"
    with pytest.raises(openai.NotFoundError):
        of.update("file-none", vector_store_id=store, attributes={})


def test_a_response_looks_into_the_files_that_pass(openai_client, scripted, shelf):
    scripted.script([{"times": 2, "reply": {"text": "Free."}}])
    store, _ = shelf

    def tool(filters):
        return {"type": "file_search", "vector_store_ids": [store], "filters": filters}

    def ask(filters, **more):
        return openai_client.responses.create(model=MODEL, input="Are returns free?", tools=[tool(filters)], include=["file_search_call.results"], **more)

    filters = {"type": "or", "filters": [GERMAN, {"type": "in", "key": "year", "value": [1999, 2000]}]}
    response = ask(filters)
    assert [(one.filename, one.attributes) for one in response.output[0].results] == [("de.md", PAGES["de.md"])]
    assert response.tools[0].filters.model_dump() == filters
    again = openai_client.responses.retrieve(response.id, include=["file_search_call.results"])
    assert (again.output[0].results, again.tools) == (response.output[0].results, response.tools)
    nothing = ask({"type": "eq", "key": "lang", "value": "fr"}, stream=True)
    assert [event for event in nothing if event.type == "response.completed"][0].response.output[0].results == []


@pytest.mark.parametrize(
    ("filters", "member", "said"),
    [
        ({"type": "like", "key": "lang", "value": "d"}, ".type", "eq, ne, gt"),
        ({"type": "and", "filters": [GERMAN, {"type": "gt", "key": "public", "value": True}]}, ".filters[1].value", "a string or a number"),
        ({"type": "in", "key": "year", "value": list(range(1001))}, "", "at most 1000"),
    ],
)
def test_a_filter_that_cannot_be_is_named(openai_client, shelf, filters, member, said):
    store, _ = shelf
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.vector_stores.search(store, query="x", filters=filters)
    assert refused.value.param == f"filters{member}" and said in refused.value.message
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.responses.create(model=MODEL, input="x", tools=[{"type": "file_search", "vector_store_ids": [store], "filters": filters}])
    assert refused.value.param == f"tools[0].filters{member}" and said in refused.value.message


@pytest.mark.parametrize("package", [llama_stack_client.LlamaStackClient, ogx_client.OgxClient])
def test_the_clients_of_llama_stack_and_ogx_filter_too(frontdesk, openai_client, shelf, package):
    store, files = shelf
    with httpx.Client(trust_env=False) as http:
        client = package(base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0, timeout=60, http_client=http)
        other = client.vector_stores.create(name="other").id
        file = client.vector_stores.files.create(other, file_id=files["en.md"], attributes={"lang": "fr", "year": 2024})
        assert file.attributes == {"lang": "fr", "year": 2024}
        found = client.vector_stores.search(other, query="returns", filters={"type": "eq", "key": "lang", "value": "fr"}).data
        assert [(one.filename, one.attributes) for one in found] == [("en.md", file.attributes)]
        assert client.vector_stores.search(other, query="returns", filters=GERMAN).data == []
        if package is ogx_client.OgxClient:
            changed = client.vector_stores.files.update(files["en.md"], vector_store_id=other, attributes={"lang": "de"})
            assert changed.attributes == {"lang": "de"}
            assert len(client.vector_stores.search(other, query="returns", filters=GERMAN).data) == 1
        client.vector_stores.delete(other)
