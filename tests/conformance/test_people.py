"""People in conversations: the official llama-stack-client and openai packages read what a person says there, and an agent
that is deleted takes nothing of another agent's conversation with it."""

import pytest
from llama_stack_client import LlamaStackClient
from openai.types.conversations import Message

MODEL = "up/scripted"
PEOPLE = {"reply": {"tool_call": {"name": "hand_off", "arguments": {"reason": "customer_request"}}}}


@pytest.fixture
def client(frontdesk):
    return LlamaStackClient(base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0, timeout=60)


@pytest.fixture
def agent(frontdesk):
    """Makes agents, which go with the test."""
    made = []

    def make(name, **more):
        config = {"name": name, "model": MODEL, "instructions": f"You are {name}.", "toolgroups": [], "frontdesk": more}
        answer = frontdesk.http.post("/v1/agents", json={"agent_config": config})
        assert answer.is_success, answer.text
        made.append(answer.json()["agent_id"])
        return made[-1]

    yield make
    for one in made:
        frontdesk.http.delete(f"/v1/agents/{one}")


def post(frontdesk, path, **body):
    answer = frontdesk.http.post(path, json=body)
    return answer.status_code, answer.json()


def newest(frontdesk):
    return frontdesk.http.get("/v1/handoffs", params={"state": "open", "limit": 1}).json()["data"][0]


def ask(client, agent_id, session_id, words):
    return client.agents.turn.create(
        session_id, agent_id=agent_id, stream=False, messages=[{"role": "user", "content": words}]
    )


def test_what_a_person_says_is_read_with_llama_stacks_client_and_known_to_the_agent(client, frontdesk, agent, scripted):
    shop = agent("people-shop", hand_off={"message": "A colleague will write to you."})
    session = client.agents.session.create(shop, session_name="s").session_id
    scripted.script([PEOPLE])
    ask(client, shop, session, "A person!")
    handoff = newest(frontdesk)
    path = f"/v1/handoffs/{handoff['id']}"
    status, refused = post(frontdesk, f"{path}/messages", by="Ada", text="Hello.")
    assert (status, refused["error"]["code"]) == (409, "handoff_not_taken")
    status, refused = post(frontdesk, f"{path}/take")
    assert (status, refused["error"]["param"]) == (400, "by"), refused
    status, taken = post(frontdesk, f"{path}/take", by="Ada")
    assert status == 200 and taken["taken_by"] == "Ada" and taken["taken_key"]
    assert ask(client, shop, session, "Is it late?").output_message.content == ""
    status, said = post(frontdesk, f"{path}/messages", by="Ada", text="It comes on Monday.")
    assert status == 200 and (said["from"], said["by"]) == ("person", "Ada"), said

    turns = client.agents.session.retrieve(session, agent_id=shop).turns
    person = turns[-1]
    assert (person.turn_id, person.output_message.content) == (said["turn"], "It comes on Monday.")
    assert person.input_messages == [] and person.to_dict()["frontdesk"]["author"] == "Ada"
    read = frontdesk.http.get(f"{path}/messages", params={"order": "asc"}).json()["data"]
    assert [(one["from"], one["text"]) for one in read] == [
        ("customer", "A person!"), ("agent", "A colleague will write to you."),
        ("customer", "Is it late?"), ("person", "It comes on Monday."),
    ]  # fmt: skip
    assert frontdesk.http.post(f"{path}/done").is_success
    scripted.script([{"reply": {"text": "As my colleague said."}}])
    assert ask(client, shop, session, "When?").output_message.content == "As my colleague said."
    assert "It comes on Monday." in scripted.requests()[-1]["body"]


def test_what_a_person_says_is_an_item_to_openais_client(openai_client, frontdesk, agent, scripted):
    agent("people-desk", hand_off={"message": "A colleague will write to you."})
    conversation = openai_client.conversations.create().id
    scripted.script([PEOPLE])
    asked = {"model": "agent/people-desk", "conversation": conversation}
    openai_client.responses.create(**asked, input="A person!")
    path = f"/v1/handoffs/{newest(frontdesk)['id']}"
    assert post(frontdesk, f"{path}/take", by="Ada")[0] == 200
    _, said = post(frontdesk, f"{path}/messages", by="Ada", text="It comes on Monday.")
    item = openai_client.conversations.items.list(conversation, limit=1).data[0]
    assert isinstance(item, Message) and (item.id, item.role) == (said["id"], "assistant")
    assert item.content[0].text == "It comes on Monday." and item.to_dict()["frontdesk"] == {"author": "Ada"}
    assert frontdesk.http.post(f"{path}/done").is_success
    scripted.script([{"reply": {"text": "As my colleague said."}}])
    assert openai_client.responses.create(**asked, input="When?").output_text == "As my colleague said."
    assert "It comes on Monday." in scripted.requests()[-1]["body"]


def test_an_agent_that_is_deleted_leaves_the_conversation_that_was_handed_to_it(client, frontdesk, agent, scripted):
    returns = agent("people-returns", hand_off={"message": "A colleague will write to you."})
    shop = agent("people-front", hand_off={"message": "I pass you on.", "targets": [{"to": "people-returns"}]})
    session = client.agents.session.create(shop, session_name="s").session_id
    scripted.script([{"reply": {"tool_call": {"name": "hand_off", "arguments": {"reason": "unsupported_request"}}}}])
    ask(client, shop, session, "I send it back.")
    scripted.script([{"reply": {"text": "Within 30 days."}}])
    ask(client, shop, session, "How long?")
    scripted.script([PEOPLE])
    ask(client, shop, session, "A person!")
    path = f"/v1/handoffs/{newest(frontdesk)['id']}"
    assert post(frontdesk, f"{path}/take", by="Ada")[0] == 200
    assert frontdesk.http.delete(f"/v1/agents/{returns}").is_success
    words = [turn.output_message.content for turn in client.agents.session.retrieve(session, agent_id=shop).turns]
    assert words == ["I pass you on.", "Within 30 days.", "A colleague will write to you."]
    assert ask(client, shop, session, "Hello?").output_message.content == "", "the conversation is still Ada's"
    assert frontdesk.http.get(path).json()["state"] == "taken"
