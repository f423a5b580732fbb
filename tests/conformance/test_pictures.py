"""Pictures on their way to a model: in what a client's function answers, and in what an agent is asked on each of the wires, with
the official clients."""

import json

import openai
import pytest
from llama_stack_client import BadRequestError, LlamaStackClient

from test_responses import LOOK, MODEL, said

PIXEL = "iVBORw0KGgo="
URL = f"data:image/png;base64,{PIXEL}"
ADDRESS = "https://shop.example/lamp.png"


def text(words):
    return {"type": "text", "text": words}


def picture(url, **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


@pytest.fixture
def agent(frontdesk):
    """Its id."""
    created = frontdesk.http.post("/v1/agents", json={"agent_config": {"name": "looker", "model": MODEL, "instructions": "", "client_tools": []}})
    assert created.is_success, created.text
    yield created.json()["agent_id"]
    frontdesk.http.delete(f"/v1/agents/{created.json()['agent_id']}")


@pytest.fixture
def llama(frontdesk):
    return LlamaStackClient(base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0, timeout=60)


def test_what_a_function_answers_with_pictures_reaches_the_model_and_stays(openai_client, scripted):
    note = openai_client.files.create(file=("note.md", b"# Lamps\n\nIt is green."), purpose="user_data")
    calls = [{"id": f"call-{n}", "name": "look", "arguments": {"id": n}} for n in ("1", "2")]
    scripted.script([{"reply": {"tool_calls": calls}}, {"times": 2, "reply": {"text": "A lamp."}}])
    first = openai_client.responses.create(model=MODEL, input="look", tools=[LOOK])
    ids = [call.call_id for call in first.output]
    output = [
        {"type": "input_text", "text": "a lamp"},
        {"type": "input_image", "image_url": URL, "detail": "low"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"},
    ]
    outputs = [
        {"type": "function_call_output", "call_id": ids[0], "output": output},
        {"type": "function_call_output", "call_id": ids[1], "output": [{"type": "input_file", "file_id": note.id}]},
    ]
    response = openai_client.responses.create(model=MODEL, input=outputs, previous_response_id=first.id, tools=[LOOK])
    # A tool's message holds words alone in this dialect.
    results = [("tool", "a lamp"), ("tool", "note.md:\nLamps\nIt is green.")]
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
    behind = [text(f"Also in the result of the tool call {ids[0]}:"), picture(URL, detail="low"), file]
    assert said(scripted)[2:] == [*results, ("user", behind)]
    # It is listed as it was sent, and asked with again.
    kept, note_kept = openai_client.responses.input_items.list(response.id, order="asc").data
    assert [part.model_dump(exclude_none=True) for part in kept.output] == output
    assert note_kept.output == "note.md:\nLamps\nIt is green."
    openai_client.responses.create(model=MODEL, input="And now?", previous_response_id=response.id)
    assert said(scripted)[2:] == [*results, ("user", behind), ("assistant", "A lamp."), ("user", "And now?")]
    with pytest.raises(openai.BadRequestError) as refused:
        outputs = [{"type": "function_call_output", "call_id": ids[0], "output": [{"type": "input_audio", "input_audio": {}}]}]
        openai_client.responses.create(model=MODEL, input=outputs, previous_response_id=first.id)
    assert refused.value.param == "input[0].output[0].type"


def test_a_conversation_keeps_them_too(openai_client, scripted):
    conversation = openai_client.conversations.create()
    scripted.script([{"reply": {"tool_call": {"name": "look", "arguments": {"id": "1"}}}}, {"reply": {"text": "A lamp."}}])
    ask = {"model": MODEL, "conversation": conversation.id, "tools": [LOOK]}
    call = openai_client.responses.create(**ask, input="look").output[0]
    output = [{"type": "input_image", "image_url": ADDRESS, "detail": "auto"}]
    openai_client.responses.create(**ask, input=[{"type": "function_call_output", "call_id": call.call_id, "output": output}])
    items = list(openai_client.conversations.items.list(conversation.id, order="asc"))
    assert [item.type for item in items] == ["message", "function_call", "function_call_output", "message"]
    assert [part.model_dump(exclude_none=True) for part in items[2].output] == output


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_of_llama_stack_takes_pictures_and_shows_them(llama, scripted, agent, stream):
    scripted.script([{"times": 2, "reply": {"text": "A lamp."}}])
    session = llama.agents.session.create(agent, session_name="pictures").session_id
    content = [
        {"type": "text", "text": "What is it?"},
        {"type": "image", "image": {"url": {"uri": ADDRESS}}},
        {"type": "image", "image": {"data": "/9j/4AAQ"}},
    ]
    ask = {"session_id": session, "agent_id": agent, "messages": [{"role": "user", "content": content}], "stream": stream}
    turn = llama.agents.turn.create(**ask)
    if stream:
        turn = [event.event.payload for event in turn][-1].turn
    told = [text("What is it?"), picture(ADDRESS), picture("data:image/jpeg;base64,/9j/4AAQ")]
    assert said(scripted) == [("user", told)]
    # The format of data is written into its address.
    shown = [*content[:2], {"type": "image", "image": {"url": {"uri": "data:image/jpeg;base64,/9j/4AAQ"}}}]
    for seen in (turn, llama.agents.turn.retrieve(turn.turn_id, agent_id=agent, session_id=session)):
        (asked,) = seen.input_messages
        assert [item.model_dump(exclude_none=True) for item in asked.content] == shown
    llama.agents.turn.create(**{**ask, "messages": [{"role": "user", "content": "And now?"}], "stream": False})
    assert said(scripted) == [("user", told), ("assistant", "A lamp."), ("user", "And now?")]
    with pytest.raises(BadRequestError, match=r"messages\[0\]\.content"):
        llama.agents.turn.create(**{**ask, "messages": [{"role": "user", "content": {"type": "image", "image": {}}}], "stream": False})


def test_a_chat_with_an_agent_takes_pictures(openai_client, scripted, agent):
    scripted.script([{"times": 2, "reply": {"text": "A lamp."}}])
    content = [text("What is it?"), picture(URL, detail="low"), picture(ADDRESS)]
    ask = {"model": "agent/looker", "messages": [{"role": "user", "content": content}]}
    assert openai_client.chat.completions.create(**ask).choices[0].message.content == "A lamp."
    assert said(scripted) == [("user", content)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in openai_client.chat.completions.create(**ask, stream=True) if chunk.choices) == "A lamp."
    for part in ({"type": "file", "file": {"file_id": "file-1"}}, {"type": "video_url", "video_url": {"url": ADDRESS}}):
        with pytest.raises(openai.BadRequestError) as refused:
            openai_client.chat.completions.create(model="agent/looker", messages=[{"role": "user", "content": [text("a"), part]}])
        assert refused.value.param == "messages[0].content[1]"


def test_a_client_of_anthropics_shows_an_agent_pictures(anthropic_client, scripted, agent):
    scripted.script([{"reply": {"text": "A lamp."}}])
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    answer = anthropic_client.messages.create(model="agent/looker", max_tokens=64, messages=[{"role": "user", "content": content}])
    assert answer.content[0].text == "A lamp."
    assert said(scripted) == [("user", [picture(URL), text("What is it?")])]
    assert json.loads(scripted.requests()[-1]["body"])["max_tokens"] == 64
