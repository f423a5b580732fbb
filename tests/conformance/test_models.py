"""Models by three official clients: registered with Llama Stack's, read by Anthropic's and OpenAI's, removed by either."""

import json

import openai
import pytest
from llama_stack_client import APIStatusError, BadRequestError, LlamaStackClient
from llama_stack_client.types import Model
from pydantic import TypeAdapter


@pytest.fixture
def client(frontdesk):
    return LlamaStackClient(base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0)


@pytest.fixture
def mine(client):
    """A registered model; gone afterwards."""
    model = client.models.register(
        model_id="shop/words", provider_id="up", provider_model_id="scripted", model_type="llm", metadata={"owner": "shop"}
    )
    yield model
    if any(m.identifier == "shop/words" for m in client.models.list()):
        client.models.unregister("shop/words")


def fits(model):
    return TypeAdapter(Model).validate_python(json.loads(model.model_dump_json(by_alias=True)))


def test_a_registered_model_answers_and_is_shown(client, mine, openai_client, scripted):
    want = ("shop/words", "up", "scripted", "llm", {"owner": "shop"})
    listed = next(model for model in client.models.list() if model.identifier == "shop/words")
    for model in (mine, listed, client.models.retrieve("shop/words")):
        model = fits(model)
        seen = (model.identifier, model.provider_id, model.provider_resource_id, model.api_model_type, model.metadata)
        assert seen == want
    scripted.script([{"reply": {"text": "Hello."}}])
    hello = [{"role": "user", "content": "hello"}]
    answer = openai_client.chat.completions.create(model="shop/words", messages=hello)
    assert answer.choices[0].message.content == "Hello."
    assert json.loads(scripted.requests()[-1]["body"])["model"] == "scripted"


def test_removal_by_either_client(client, mine, openai_client):
    client.models.unregister("shop/words")
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("shop/words")
    client.models.register(model_id="shop/words", provider_id="up")
    gone = openai_client.models.delete("shop/words")
    assert (gone.id, gone.object, gone.deleted) == ("shop/words", "model", True)


def test_the_configuration_is_read_only_and_not_shadowed(client, openai_client):
    with pytest.raises(openai.ConflictError) as refused:
        openai_client.models.delete("up/scripted")
    assert refused.value.code == "configured"
    with pytest.raises(APIStatusError) as shadowed:
        client.models.register(model_id="up/other", provider_id="up")
    assert shadowed.value.status_code == 409
    with pytest.raises(BadRequestError) as unknown:
        client.models.register(model_id="other", provider_id="down")
    assert "up" in str(unknown.value)


def test_anthropic_s_client_pages_through_its_own_list(anthropic_client, mine, client):
    ids = {model.identifier for model in client.models.list()}
    first = anthropic_client.models.list(limit=1)
    assert first.has_more and first.first_id == first.last_id == first.data[0].id
    assert {model.id for model in first} == ids, "all pages, by their last ids"
    model = anthropic_client.models.retrieve("shop/words")
    assert (model.type, model.display_name, model.lifecycle) == ("model", "shop/words", "active")
