"""Agents as models: the official openai package on chat completions, Anthropic's on messages, both strict.

The upstream is scripted and the shop's tools are a real component, run here; the clients see a model that answers.
"""

import json
import pathlib

import anthropic
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types import Model

from test_openai_node import node  # noqa: F401: a fixture; without Node.js that one test is left out

MODEL = "agent/lamp-shop"
SHOP_TOOLS = pathlib.Path(__file__).parents[2] / "services/gateway/demo/tools/shop-tools.wasm"
SHOW = {"type": "function", "function": {"name": "show_map", "parameters": {"type": "object", "properties": {"town": {"type": "string"}}}}}
ASKED = [{"role": "user", "content": "Where is order 48213?"}]


@pytest.fixture(scope="module", autouse=True)
def shop(frontdesk):
    """An agent with tools of its own and an end; its id."""

    def post(path, **more):
        answer = frontdesk.http.post(path, **more)
        assert answer.is_success, answer.text
        return answer.json()

    component = post("/v1/files", files={"file": ("shop-tools.wasm", SHOP_TOOLS.read_bytes())}, data={"purpose": "assistants"})["id"]
    post("/v1/toolgroups", json={"toolgroup_id": "lamp-shop", "provider_id": "wasm", "args": {"component": component, "grants": ["kv"]}})
    config = {
        "name": "lamp-shop", "model": "up/scripted", "instructions": "You answer for a lamp shop.", "toolgroups": ["lamp-shop"],
        "frontdesk": {"hand_off": {"message": "A colleague will write to you."}},
    }  # fmt: skip
    agent = post("/v1/agents", json={"agent_config": config})["agent_id"]
    yield agent
    frontdesk.http.delete(f"/v1/agents/{agent}")
    frontdesk.http.delete("/v1/toolgroups/lamp-shop")


def sent(scripted, number=-1):
    return json.loads(scripted.requests()[number]["body"])


def look_and_say(text):
    return [{"reply": {"tool_call": {"name": "lookup_order", "arguments": {"order_id": "48213"}}}}, {"reply": {"text": text}}]


def put_together(chunks):
    """The text of a stream, its calls, how it ended, and the last chunk."""
    text, calls, finish = "", [], None
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            calls += choice.delta.tool_calls or []
            finish = choice.finish_reason or finish
    return text, calls, finish, chunk


def test_its_tools_run_inside_and_the_words_come_as_any_models(openai_client, scripted):
    scripted.script(look_and_say("It is on its way."))
    messages = [{"role": "system", "content": "The customer is called Ada."}, *ASKED]
    answer = openai_client.chat.completions.create(model=MODEL, messages=messages, temperature=0.1, max_tokens=40)
    (choice,) = answer.choices
    assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == ("It is on its way.", None, "stop")
    assert answer.model == MODEL and answer.usage.total_tokens > answer.usage.completion_tokens > 0
    body = sent(scripted)
    assert body["messages"][0]["content"] == "You answer for a lamp shop.\n\nThe customer is called Ada."
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "tool"]
    assert (body["temperature"], body["max_tokens"]) == (0.1, 40)

    scripted.script(look_and_say("It is on its way."))
    asked = {"model": MODEL, "messages": ASKED, "stream": True, "stream_options": {"include_usage": True}}
    text, calls, finish, last = put_together(openai_client.chat.completions.create(**asked))
    assert (text, calls, finish) == ("It is on its way.", [], "stop")
    assert last.usage.total_tokens > last.usage.completion_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_of_the_client_goes_out_and_its_result_comes_back(openai_client, scripted, stream):
    scripted.script([
        {"reply": {"tool_call": {"name": "lookup_order", "arguments": {"order_id": "48213"}}}},
        {"reply": {"tool_call": {"name": "show_map", "arguments": {"town": "Ulm"}}}},
        {"reply": {"text": "It is in Ulm."}},
    ])  # fmt: skip
    if stream:
        chunks = openai_client.chat.completions.create(model=MODEL, messages=ASKED, tools=[SHOW], stream=True)
        _, (call,), finish, _ = put_together(chunks)
        call = {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
    else:
        (choice,) = openai_client.chat.completions.create(model=MODEL, messages=ASKED, tools=[SHOW]).choices
        finish, (call,) = choice.finish_reason, [c.model_dump() for c in choice.message.tool_calls]
    assert (finish, call["function"]) == ("tool_calls", {"name": "show_map", "arguments": '{"town":"Ulm"}'})
    history = [*ASKED, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": call["id"], "content": "shown"}]
    answer = openai_client.chat.completions.create(model=MODEL, messages=history, tools=[SHOW])
    assert answer.choices[0].message.content == "It is in Ulm."
    # What the agent looked up before it asked the client is still known, and is not looked up again.
    told = sent(scripted)["messages"]
    assert [m["role"] for m in told] == ["system", "user", "assistant", "tool", "assistant", "tool"]
    assert [c["function"]["name"] for m in told for c in m.get("tool_calls", [])] == ["lookup_order", "show_map"]
    assert told[-1]["content"] == "shown"


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_has_its_own_place_and_goes_back_as_one(openai_client, scripted, stream):
    scripted.script([{"reply": {"refusal": "I will not.", "piece": 4}}, {"reply": {"text": "As I said."}}])
    asked = openai_client.chat.completions.create(model=MODEL, messages=ASKED, stream=stream)
    if stream:
        deltas = [choice.delta for chunk in asked for choice in chunk.choices]
        refusal, content = "".join(d.refusal or "" for d in deltas), "".join(d.content or "" for d in deltas)
        message = {"role": "assistant", "content": content or None, "refusal": refusal}
    else:
        message = asked.choices[0].message.model_dump(exclude_none=True) | {"content": asked.choices[0].message.content}
    assert (message["refusal"], message["content"]) == ("I will not.", None)
    again = openai_client.chat.completions.create(model=MODEL, messages=[*ASKED, message, {"role": "user", "content": "why?"}])
    assert again.choices[0].message.content == "As I said."
    assert [(m["role"], m["content"]) for m in sent(scripted)["messages"]][2] == ("assistant", "I will not.")


def test_a_hand_off_stands_beside_the_words(openai_client, scripted):
    scripted.script([{"reply": {"tool_call": {"name": "hand_off", "arguments": {"reason": "customer_request"}}}}])
    answer = openai_client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "A person, please."}])
    assert answer.choices[0].message.content == "A colleague will write to you."
    assert answer.frontdesk["hand_off"]["reason"] == "customer_request"
    scripted.script([{"reply": {"tool_call": {"name": "hand_off", "arguments": {"reason": "customer_request"}}}}])
    chunks = list(openai_client.chat.completions.create(model=MODEL, messages=ASKED, stream=True))
    (beside,) = [chunk.frontdesk for chunk in chunks if hasattr(chunk, "frontdesk")]
    assert beside["hand_off"]["reason"] == "customer_request"


def test_faults_are_openais(openai_client, scripted):
    with pytest.raises(openai.NotFoundError) as missing:
        openai_client.chat.completions.create(model="agent/lamb-shop", messages=ASKED)
    assert missing.value.code == "model_not_found" and "agent/lamp-shop" in missing.value.message
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.chat.completions.create(model=MODEL, messages=ASKED, n=2)
    assert refused.value.param == "n"
    scripted.script([{"reply": {"status": 429, "body": json.dumps({"error": {"message": "slow down"}})}}])
    with pytest.raises(openai.RateLimitError):
        openai_client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)


def test_it_is_listed_and_shown_as_a_model(frontdesk, openai_client, shop):
    listed = {model.id: model for model in openai_client.models.list()}
    assert MODEL in listed
    shown = openai_client.models.retrieve(MODEL)
    assert isinstance(shown, Model) and shown == listed[MODEL]
    assert (shown.custom_metadata["model_type"], shown.custom_metadata["provider_resource_id"]) == ("llm", shop)
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("agent/nobody")


def test_a_client_that_leaves_stops_the_model(openai_client, scripted):
    scripted.script([{"reply": {"text": "one two three", "gates": {"never": 2}}}])
    stream = openai_client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
    next(iter(stream))
    scripted.waiting("never")
    number = scripted.requests()[-1]["number"]
    stream.close()
    assert scripted.ended(number) == "abandoned"


def test_a_request_with_a_key_gets_its_answer_again(openai_client, scripted):
    scripted.script([{"reply": {"text": "Only once."}}])
    before = len(scripted.requests())
    asked = {"model": MODEL, "messages": ASKED, "extra_headers": {"Idempotency-Key": "chat-once"}}
    first = openai_client.chat.completions.create(**asked)
    again = openai_client.chat.completions.create(**asked)
    text, _, finish, _ = put_together(openai_client.chat.completions.create(**asked, stream=True))
    assert first.choices == again.choices and (text, finish) == ("Only once.", "stop")
    assert len(scripted.requests()) == before + 1


def test_a_key_outlives_a_new_version_and_the_agent(frontdesk, openai_client, scripted):
    config = {"name": "once", "model": "up/scripted", "instructions": "Old.", "toolgroups": []}
    created = frontdesk.http.post("/v1/agents", json={"agent_config": config})
    assert created.is_success, created.text
    agent = created.json()["agent_id"]
    before = len(scripted.requests())
    chat = {"model": "agent/once", "messages": ASKED, "extra_headers": {"Idempotency-Key": "outlives-chat"}}
    response = {"model": "agent/once", "input": "hi", "extra_headers": {"Idempotency-Key": "outlives-response"}}
    scripted.script([{"reply": {"text": "Old words."}}])
    said = openai_client.chat.completions.create(**chat)
    scripted.script([{"reply": {"text": "Old words."}}])
    first = openai_client.responses.create(**response)

    def the_same():
        assert openai_client.chat.completions.create(**chat).choices == said.choices
        again = openai_client.responses.create(**response)
        assert (again.id, again.output_text, again.tools) == (first.id, "Old words.", first.tools)

    changed = frontdesk.http.patch(f"/v1/agents/{agent}", params={"publish": "true"}, json={"instructions": "New."})
    assert changed.is_success, changed.text
    the_same()
    with pytest.raises(openai.ConflictError):
        openai_client.responses.create(**{**response, "input": "ho"})
    assert frontdesk.http.delete(f"/v1/agents/{agent}").is_success
    the_same()
    assert len(scripted.requests()) == before + 2


def test_a_choice_of_allowed_tools_leaves_an_agents_own_out(openai_client, scripted):
    scripted.script([{"reply": {"tool_call": {"name": "show_map", "arguments": {"town": "Ulm"}}}}])
    tools = [{"type": "function", **SHOW["function"], "strict": False}, {"type": "function", "name": "weigh", "parameters": {"type": "object"}, "strict": False}]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "show_map"}]}
    response = openai_client.responses.create(model=MODEL, input="Where are you?", tools=tools, tool_choice=choice)
    assert [tool["function"]["name"] for tool in sent(scripted)["tools"]] == ["show_map"]
    assert sent(scripted)["tool_choice"] == "required"
    assert [(item.type, item.name) for item in response.output] == [("function_call", "show_map")]


def test_a_stored_chat_with_an_agent(openai_client, scripted):
    scripted.script(look_and_say("Kept."))
    answer = openai_client.chat.completions.create(model=MODEL, messages=ASKED, store=True, metadata={"shop": "lamps"})
    kept = openai_client.chat.completions.retrieve(answer.id)
    assert kept.choices[0].message.content == "Kept." and kept.model == MODEL


def test_an_agent_asks_another_and_one_hands_over_to_people(frontdesk, openai_client, scripted):
    post = frontdesk.http.post
    ask = {"agents": [{"agent": "lamp-shop", "description": "Knows every order."}]}
    config = {"name": "front", "model": "up/scripted", "instructions": "You are the first.", "frontdesk": ask}
    created = post("/v1/agents", json={"agent_config": config})
    assert created.is_success, created.text
    scripted.script([
        {"reply": {"tool_call": {"name": "ask_lamp-shop", "arguments": {"message": "Where is 48213?"}}}},
        *look_and_say("On its way."), {"reply": {"text": "It will come."}},
    ])  # fmt: skip
    answer = openai_client.chat.completions.create(model="agent/front", messages=ASKED)
    assert answer.choices[0].message.content == "It will come."
    first, asked, told, last = [sent(scripted, number)["messages"] for number in (-4, -3, -2, -1)]
    assert [m["content"] for m in asked] == ["You answer for a lamp shop.", "Where is 48213?"]
    assert last[-1]["content"] == "On its way." and first[0]["content"] == "You are the first." and len(told) == 4

    scripted.script([
        {"reply": {"tool_call": {"name": "ask_lamp-shop", "arguments": {"message": "A person!"}}}},
        {"reply": {"tool_call": {"name": "hand_off", "arguments": {"reason": "customer_request"}}}},
    ])  # fmt: skip
    answer = openai_client.chat.completions.create(model="agent/front", messages=ASKED)
    assert answer.frontdesk["hand_off"] == {"reason": "customer_request", "message": "A colleague will write to you."}
    newest = frontdesk.http.get("/v1/handoffs", params={"state": "open", "limit": 1}).json()["data"][0]
    assert (newest["agent_id"], newest["conversation"], newest["reason"]) == (created.json()["agent_id"], None, "customer_request")
    taken = post(f"/v1/handoffs/{newest['id']}/take", json={"by": "Ada"}).json()
    assert (taken["state"], taken["taken_by"]) == ("taken", "Ada")
    assert post(f"/v1/handoffs/{newest['id']}/done").json()["state"] == "done"
    frontdesk.http.delete(f"/v1/agents/{created.json()['agent_id']}")


def test_nodes_client(node, scripted):  # noqa: F811
    scripted.script(look_and_say("It is on its way."))
    (line,) = node("chat.completions.create", model=MODEL, messages=ASKED)
    answer = ChatCompletion.model_validate_json(json.dumps(line["value"]), strict=True)
    assert answer.choices[0].message.content == "It is on its way."
    scripted.script(look_and_say("It is on its way."))
    *lines, end = node("chat.completions.create", model=MODEL, messages=ASKED, stream=True)
    chunks = [ChatCompletionChunk.model_validate_json(json.dumps(line["chunk"]), strict=True) for line in lines]
    assert put_together(chunks)[0] == "It is on its way." and end == {"end": True}


def test_anthropics_client(anthropic_client, scripted):
    scripted.script(look_and_say("It is on its way."))
    asked = {"model": MODEL, "max_tokens": 100, "messages": ASKED, "system": "The customer is called Ada."}
    message = anthropic_client.messages.create(**asked)
    assert (message.content[0].text, message.stop_reason, message.model) == ("It is on its way.", "end_turn", MODEL)
    assert sent(scripted)["messages"][0]["content"].endswith("\n\nThe customer is called Ada.")
    scripted.script(look_and_say("It is on its way."))
    with anthropic_client.messages.stream(**asked) as stream:
        assert stream.get_final_message().content[0].text == "It is on its way."

    show = {"name": "show_map", "input_schema": SHOW["function"]["parameters"]}
    scripted.script([{"reply": {"tool_call": {"name": "show_map", "arguments": {"town": "Ulm"}}}}, {"reply": {"text": "In Ulm."}}])
    message = anthropic_client.messages.create(**asked, tools=[show])
    assert message.stop_reason == "tool_use"
    (use,) = message.content
    history = [*ASKED, {"role": "assistant", "content": [use.model_dump()]},
               {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "shown"}]}]  # fmt: skip
    message = anthropic_client.messages.create(**{**asked, "messages": history}, tools=[show])
    assert message.content[0].text == "In Ulm."
    scripted.script([{"reply": {"tool_call": {"name": "hand_off", "arguments": {"reason": "customer_request"}}}}])
    message = anthropic_client.messages.create(**asked)
    assert message.frontdesk["hand_off"]["reason"] == "customer_request"
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.messages.create(**{**asked, "model": "agent/nobody"})
