"""ogx-client, unchanged: its responses, conversations and prompts."""

import json

import httpx
import ogx_client
import pytest
from ogx_client import OgxClient

MODEL = "up/scripted"


def made(frontdesk, http, strict):
    return OgxClient(
        base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0, timeout=60, http_client=http,
        _strict_response_validation=strict,
    )  # fmt: skip


@pytest.fixture
def client(frontdesk):
    """Checks every answer against the package's own types, and does not only read them."""
    with httpx.Client(trust_env=False) as http:
        yield made(frontdesk, http, strict=True)


@pytest.fixture
def lenient_client(frontdesk):
    """As the package is by default, for streams: its types want a `response_id` in events, which OpenAI's have not."""
    with httpx.Client(trust_env=False) as http:
        yield made(frontdesk, http, strict=False)


def test_a_response_is_made_streamed_looked_up_and_deleted(client, lenient_client, scripted):
    scripted.script([{"times": 2, "reply": {"text": "one two"}}])
    response = client.responses.create(model=MODEL, input="count", instructions="be brief")
    assert response.status == "completed" and response.output[0].content[0].text == "one two"
    assert client.responses.retrieve(response.id).id == response.id
    items = client.responses.input_items.list(response.id)
    assert [item.role for item in items.data] == ["user"]
    events = list(lenient_client.responses.create(model=MODEL, input="on", previous_response_id=response.id, stream=True))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "one two"
    assert events[-1].type == "response.completed"
    assert client.responses.delete(response.id).deleted
    with pytest.raises(ogx_client.NotFoundError):
        client.responses.retrieve(response.id)


def test_a_batch_is_made_once_however_often_it_is_asked_for(client):
    file = client.files.create(file=("in.jsonl", b"oops"), purpose="batch")
    asked = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    first = client.batches.create(**asked, idempotency_key="month-end")
    assert client.batches.create(**asked, idempotency_key="month-end").id == first.id
    assert client.batches.create(**asked).id != first.id
    with pytest.raises(ogx_client.ConflictError, match="month-end"):
        client.batches.create(**asked, metadata={"other": "request"}, idempotency_key="month-end")
    with pytest.raises(ogx_client.BadRequestError, match="255 bytes"):
        client.batches.create(**asked, idempotency_key="")


def test_responses_are_listed_page_by_page_and_by_model(client, scripted):
    scripted.script([{"times": 3, "reply": {"text": "You said {last_user}."}}])
    # Other models than any other test asks for, so that the list is this test's own.
    ids = [client.responses.create(model="up/listed", input=f"word {n}").id for n in range(3)]
    page = client.responses.list(model="up/listed", limit=2)
    assert [one.id for one in page.data] == ids[:0:-1] and page.has_more
    assert page.data[0].input[0].content[0].text == "word 2"
    assert page.data[0].output[0].content[0].text == "You said word 2."
    assert [one.id for one in client.responses.list(model="up/listed", order="asc", limit=2)] == ids, "page after page"
    client.responses.delete(ids[1])
    assert [one.id for one in client.responses.list(model="up/listed")] == [ids[2], ids[0]]
    assert client.responses.list(model="up/nobody").data == []


def test_a_page_of_large_responses_ends_early_and_the_next_one_goes_on(client, scripted):
    scripted.script([{"times": 4, "reply": {"text": "ok"}}])
    large = "x" * 4_500_000
    ids = [client.responses.create(model="up/large", input=large).id for _ in range(4)]
    page = client.responses.list(model="up/large", order="asc")
    assert [one.id for one in page.data] == ids[:2] and page.has_more
    assert [one.id for one in client.responses.list(model="up/large", order="asc")] == ids, "page after page"


def test_conversations(client, scripted):
    scripted.script([{"reply": {"text": "Hello."}}])
    conversation = client.conversations.create(metadata={"shop": "lamps"})
    client.conversations.update(conversation.id, metadata={"shop": "chairs"})
    assert client.conversations.retrieve(conversation.id).metadata == {"shop": "chairs"}
    client.responses.create(model=MODEL, input="hi", conversation=conversation.id)
    added = client.conversations.items.create(conversation.id, items=[{"type": "message", "role": "user", "content": "by the way"}])
    items = client.conversations.items.list(conversation.id, order="asc")
    assert [item.content[0].text for item in items.data] == ["hi", "Hello.", "by the way"]
    assert client.conversations.items.get(added.data[0].id, conversation_id=conversation.id).content[0].text == "by the way"
    client.conversations.items.delete(added.data[0].id, conversation_id=conversation.id)
    assert client.conversations.delete(conversation.id).deleted


def test_prompts_and_their_versions(client):
    first = client.prompts.create(prompt="You answer for {{ shop }}.", variables=["shop"])
    assert (first.version, first.is_default, first.variables) == (1, True, ["shop"])
    second = client.prompts.update(first.prompt_id, prompt="You are {{ shop }}.", version=1, variables=["shop"], set_as_default=False)
    assert (second.version, second.is_default) == (2, False)
    assert client.prompts.retrieve(first.prompt_id).version == 1
    assert client.prompts.retrieve(first.prompt_id, version=2).prompt == "You are {{ shop }}."
    assert client.prompts.set_default_version(first.prompt_id, version=2).is_default
    assert [(p.version, p.is_default) for p in client.prompts.versions.list(first.prompt_id)] == [(2, True), (1, False)]
    assert (first.prompt_id, 2) in [(p.prompt_id, p.version) for p in client.prompts.list()]
    with pytest.raises(ogx_client.ConflictError):
        client.prompts.update(first.prompt_id, prompt="x", version=1)
    with pytest.raises(ogx_client.BadRequestError):
        client.prompts.create(prompt="For {{ nobody }}.")
    client.prompts.delete(first.prompt_id)
    with pytest.raises(ogx_client.NotFoundError):
        client.prompts.retrieve(first.prompt_id)


def test_a_response_names_a_prompt(client, scripted):
    scripted.script([{"times": 2, "reply": {"text": "Hello."}}])
    prompt = client.prompts.create(prompt="You answer for {{ shop }}.", variables=["shop"])
    response = client.responses.create(
        model=MODEL, input="hi", instructions="be brief", prompt={"id": prompt.prompt_id, "variables": {"shop": {"type": "input_text", "text": "Lamps & Co"}}}
    )
    sent = json.loads(scripted.requests()[-1]["body"])["messages"]
    assert sent[0] == {"role": "system", "content": "You answer for Lamps & Co.\n\nbe brief"}
    assert (response.prompt.id, response.prompt.version) == (prompt.prompt_id, "1")
    for wrong, param in [
        ({"id": "pmpt_nowhere"}, "prompt.id"),
        ({"id": prompt.prompt_id}, "prompt.variables"),
        ({"id": prompt.prompt_id, "variables": {"shop": {"type": "input_text", "text": "x"}, "more": {"type": "input_text", "text": "x"}}}, "prompt.variables.more"),
    ]:
        with pytest.raises(ogx_client.BadRequestError) as refused:
            client.responses.create(model=MODEL, input="hi", prompt=wrong)
        assert refused.value.body["error"]["param"] == param
    client.prompts.delete(prompt.prompt_id)
