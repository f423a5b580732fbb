"""The official openai package on Responses and Conversations: every answer and every event is checked against its types.

The upstream is scripted and speaks chat completions; the turns, their rows and everything Responses adds are ours.
"""

import json

import httpx
import openai
import pytest
from pydantic import BaseModel
from response_stream import stream_of

MODEL = "up/scripted"
LOOK = {
    "type": "function", "name": "look", "description": "Looks an order up.", "strict": None,
    "parameters": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
}  # fmt: skip


def sent(scripted, number=-1):
    return json.loads(scripted.requests()[number]["body"])


def said(scripted, number=-1):
    return [(m["role"], m.get("content")) for m in sent(scripted, number)["messages"]]


def ended(client, response_id):
    """Follows a response to its end."""
    for event in client.responses.retrieve(response_id, stream=True):
        last = event
    return last


def test_an_answer_and_what_is_kept_of_it(openai_client, scripted):
    scripted.script([{"reply": {"text": "Hello from the shop."}}])
    asked = {"model": MODEL, "input": "hello", "instructions": "be brief", "temperature": 0.2, "metadata": {"shop": "lamps"}, "max_output_tokens": 50}
    response = openai_client.responses.create(**asked, user="u-1", reasoning={"effort": "low"})
    assert response.output_text == "Hello from the shop." and response.status == "completed"
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0
    assert (response.instructions, response.temperature, response.metadata) == ("be brief", 0.2, {"shop": "lamps"})
    body = sent(scripted)
    assert said(scripted) == [("system", "be brief"), ("user", "hello")]
    assert (body["temperature"], body["max_tokens"], body["user"], body["reasoning_effort"]) == (0.2, 50, "u-1", "low")
    assert openai_client.responses.retrieve(response.id) == response
    items = openai_client.responses.input_items.list(response.id)
    assert [(i.type, i.role, i.content[0].text) for i in items] == [("message", "user", "hello")]
    openai_client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError) as gone:
        openai_client.responses.retrieve(response.id)
    assert gone.value.code == "response_not_found"


def test_every_event_of_a_stream_is_openais_and_a_replay_is_the_same(frontdesk, openai_client, scripted):
    scripted.script([{"reply": {"text": "one two three", "piece": 4}}])
    seen = stream_of(frontdesk, "/v1/responses", "POST", json={"model": MODEL, "input": "count", "stream": True})
    names = [name for name, _, _ in seen]
    assert names[:4] == ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
    assert names[-4:] == ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"]
    assert [number for _, number, _ in seen] == list(range(len(seen)))
    deltas = "".join(data["delta"] for name, _, data in seen if name == "response.output_text.delta")
    assert deltas == "one two three"
    response = seen[-1][2]["response"]
    # A reconnect behind every number sees the same bytes.
    for after in range(-1, len(seen)):
        query = {"stream": "true"} | ({} if after < 0 else {"starting_after": after})
        assert stream_of(frontdesk, f"/v1/responses/{response['id']}?{httpx.QueryParams(query)}") == seen[after + 1 :]
    assert openai_client.responses.retrieve(response["id"]).model_dump(exclude_unset=True) == openai.types.responses.Response.model_validate(response).model_dump(exclude_unset=True)


def test_the_first_word_is_streamed_before_the_second_exists(openai_client, scripted):
    scripted.script([{"reply": {"text": "one two", "gates": {"before-two": 2}}}])
    stream = openai_client.responses.create(model=MODEL, input="count", stream=True)
    for event in stream:
        if event.type == "response.output_text.delta":
            break
    assert event.delta == "one "
    scripted.waiting("before-two")
    scripted.release("before-two")
    rest = list(stream)
    assert rest[0].delta == "two" and rest[-1].response.output_text == "one two"


def test_thoughts_are_shown_before_the_words_and_told_to_no_model_again(frontdesk, openai_client, scripted):
    scripted.script([{"times": 2, "reply": {"reasoning": "They count.", "text": "one two"}}])
    seen = stream_of(frontdesk, "/v1/responses", "POST", json={"model": MODEL, "input": "count", "stream": True})
    response = openai.types.responses.Response.model_validate(seen[-1][2]["response"])
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].content[0].text == "They count." and response.output_text == "one two"
    names = [name for name, _, _ in seen]
    assert names.index("response.reasoning_text.done") < names.index("response.output_text.delta")
    assert "".join(d["delta"] for n, _, d in seen if n == "response.reasoning_text.delta") == "They count."
    # Sent back by a client that keeps its own history, and continued by one that does not.
    items = [item.model_dump(exclude_unset=True) for item in response.output]
    openai_client.responses.create(model=MODEL, input=[{"role": "user", "content": "count"}, *items, {"role": "user", "content": "on"}])
    assert said(scripted) == [("user", "count"), ("assistant", "one two"), ("user", "on")]
    scripted.script([{"reply": {"text": "three"}}])
    openai_client.responses.create(model=MODEL, input="on", previous_response_id=response.id)
    assert said(scripted) == [("user", "count"), ("assistant", "one two"), ("user", "on")]


def test_the_packages_own_stream_helper(openai_client, scripted):
    scripted.script([{"reply": {"tool_call": {"name": "look", "arguments": {"id": "7"}}, "text": "One moment."}}])
    with openai_client.responses.stream(model=MODEL, input="where is 7?", tools=[LOOK]) as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["message", "function_call"]
    assert final.output[1].arguments == '{"id":"7"}'


@pytest.mark.parametrize("stream", [False, True])
def test_function_calls_in_parallel_and_their_outputs(openai_client, scripted, stream):
    calls = [{"id": f"call-{n}", "name": "look", "arguments": {"id": n}} for n in ("1001", "1002")]
    scripted.script([
        {"when": {"last_role": "tool"}, "reply": {"text": "It is {tool_content}."}},
        {"reply": {"tool_calls": calls, "argument_piece": 3}},
    ])  # fmt: skip
    ask = {"model": MODEL, "tools": [LOOK], "parallel_tool_calls": True}
    asked = openai_client.responses.create(**ask, input="where are they?", stream=stream)
    response = list(asked)[-1].response if stream else asked
    assert response.status == "completed"
    assert [(c.type, json.loads(c.arguments)["id"]) for c in response.output] == [("function_call", "1001"), ("function_call", "1002")]
    assert sent(scripted)["tools"][0]["function"]["name"] == "look" and sent(scripted)["parallel_tool_calls"] is True
    outputs = [{"type": "function_call_output", "call_id": c.call_id, "output": "shipped"} for c in response.output]
    answer = openai_client.responses.create(**ask, input=outputs, previous_response_id=response.id)
    assert answer.output_text == "It is shipped."
    assert [role for role, _ in said(scripted)] == ["user", "assistant", "tool", "tool"]
    assert [c["id"] for c in sent(scripted)["messages"][1]["tool_calls"]] == [c.call_id for c in response.output]
    items = openai_client.responses.input_items.list(answer.id, order="asc", limit=1)
    assert [i.call_id for i in items] == [c.call_id for c in response.output], "the package asks for page after page"


def test_a_client_that_keeps_its_own_history(openai_client, scripted):
    scripted.script([
        {"when": {"last_role": "tool"}, "reply": {"text": "It is {tool_content}."}},
        {"reply": {"tool_call": {"name": "look", "arguments": {"id": "1"}}}},
    ])  # fmt: skip
    history = [{"role": "user", "content": "where is 1?"}]
    first = openai_client.responses.create(model=MODEL, input=history, tools=[LOOK], store=False)
    history += first.output
    history.append({"type": "function_call_output", "call_id": first.output[0].call_id, "output": "lost"})
    second = openai_client.responses.create(model=MODEL, input=history, tools=[LOOK], store=False)
    assert second.output_text == "It is lost."
    assert [role for role, _ in said(scripted)] == ["user", "assistant", "tool"]
    for one in (first, second):
        with pytest.raises(openai.NotFoundError):
            openai_client.responses.retrieve(one.id)
        with pytest.raises(openai.BadRequestError) as refused:
            openai_client.responses.create(model=MODEL, input="and now?", previous_response_id=one.id)
        assert refused.value.code == "previous_response_not_found"


def test_two_responses_continue_one_and_know_nothing_of_each_other(openai_client, scripted):
    scripted.script([{"times": 9, "reply": {"text": "You said {last_user}."}}])
    ask = lambda words, before=None: openai_client.responses.create(model=MODEL, input=words, previous_response_id=before)  # noqa: E731
    root = ask("root")
    left, right = ask("left", root.id), ask("right", root.id)
    assert right.previous_response_id == root.id
    ask("on the left", left.id)
    assert [text for role, text in said(scripted) if role == "user"] == ["root", "left", "on the left"]
    ask("on the right", right.id)
    assert [text for role, text in said(scripted) if role == "user"] == ["root", "right", "on the right"]
    # What one continued is deleted: it goes on from what came before.
    openai_client.responses.delete(left.id)
    tip = ask("root again", root.id)
    assert [text for role, text in said(scripted) if role == "user"] == ["root", "root again"]
    # Instructions are a request's own.
    openai_client.responses.create(model=MODEL, input="x", instructions="be brief", previous_response_id=tip.id)
    assert said(scripted)[0] == ("system", "be brief")
    ask("y", tip.id)
    assert said(scripted)[0][0] == "user"


def test_in_the_background_it_is_looked_up_streamed_and_continued(openai_client, scripted):
    scripted.script([{"reply": {"text": "one two", "gates": {"hold": 2}}}])
    response = openai_client.responses.create(model=MODEL, input="count", background=True)
    assert response.status in ("queued", "in_progress") and response.background
    scripted.waiting("hold")
    assert openai_client.responses.retrieve(response.id).status == "in_progress"
    with pytest.raises(openai.BadRequestError) as early:
        openai_client.responses.create(model=MODEL, input="x", previous_response_id=response.id)
    assert early.value.code == "previous_response_in_progress"
    # A stream from behind a number follows what is still to come.
    stream = openai_client.responses.retrieve(response.id, stream=True, starting_after=3)
    assert next(stream).sequence_number == 4
    scripted.release("hold")
    assert list(stream)[-1].response.output_text == "one two"
    assert openai_client.responses.retrieve(response.id).output_text == "one two"


def test_background_and_stream_outlive_the_client(openai_client, scripted):
    scripted.script([{"reply": {"text": "one two", "gates": {"hold": 2}}}])
    stream = openai_client.responses.create(model=MODEL, input="count", background=True, stream=True)
    seen = [next(stream) for _ in range(5)]
    assert [e.type for e in seen[:3]] == ["response.created", "response.queued", "response.in_progress"]
    stream.close()
    scripted.waiting("hold")
    scripted.release("hold")
    rest = list(openai_client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number))
    assert [e.sequence_number for e in seen + rest] == list(range(len(seen + rest)))
    assert rest[-1].type == "response.completed" and rest[-1].response.output_text == "one two"


def test_cancel(openai_client, scripted):
    scripted.script([{"reply": {"text": "one two", "gates": {"never": 2}}}, {"reply": {"text": "done"}}, {"reply": {"text": "done"}}])
    response = openai_client.responses.create(model=MODEL, input="count", background=True)
    scripted.waiting("never")
    number = scripted.requests()[-1]["number"]
    cancelled = openai_client.responses.cancel(response.id)
    assert cancelled.status == "cancelled" and cancelled.id == response.id
    assert scripted.ended(number) == "abandoned"
    assert openai_client.responses.cancel(response.id) == cancelled, "twice is as once"
    last = ended(openai_client, response.id)
    assert (last.type, last.response.status) == ("response.incomplete", "cancelled")
    done = openai_client.responses.create(model=MODEL, input="count", background=True)
    assert ended(openai_client, done.id).type == "response.completed"
    with pytest.raises(openai.BadRequestError) as late:
        openai_client.responses.cancel(done.id)
    assert late.value.code == "response_not_cancellable" and "completed" in late.value.message
    plain = openai_client.responses.create(model=MODEL, input="count")
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.responses.cancel(plain.id)
    assert refused.value.code == "response_not_in_background"


class Order(BaseModel):
    id: str
    late: bool


def test_structured_output(openai_client, scripted):
    scripted.script([{"times": 2, "reply": {"text": '{"id":"7","late":true}'}}])
    response = openai_client.responses.parse(model=MODEL, input="which?", text_format=Order)
    assert response.output_parsed == Order(id="7", late=True)
    wanted = sent(scripted)["response_format"]
    assert wanted["type"] == "json_schema" and wanted["json_schema"]["name"] == "Order" and wanted["json_schema"]["strict"] is True
    assert response.text.format.type == "json_schema"
    openai_client.responses.create(model=MODEL, input="JSON?", text={"format": {"type": "json_object"}})
    assert sent(scripted)["response_format"] == {"type": "json_object"}


def test_a_limit_of_tokens_leaves_it_incomplete(openai_client, scripted):
    scripted.script([{"reply": {"text": "one two", "finish_reason": "length"}}])
    response = openai_client.responses.create(model=MODEL, input="count", max_output_tokens=2)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output_text == "one two"


def test_a_response_that_fails(openai_client, scripted):
    error = {"error": {"message": "slow down", "type": "rate_limit_error", "param": None, "code": None}}
    scripted.script([{"times": 99, "reply": {"status": 429, "headers": {"retry-after": "0"}, "json": error}}])
    with pytest.raises(openai.RateLimitError) as refused:
        openai_client.responses.create(model=MODEL, input="hello")
    assert "slow down" in refused.value.message
    last = list(openai_client.responses.create(model=MODEL, input="hello", stream=True))[-1]
    assert (last.type, last.response.error.code) == ("response.failed", "rate_limit_exceeded")
    assert "slow down" in last.response.error.message
    assert openai_client.responses.retrieve(last.response.id).status == "failed"


def test_conversations(openai_client, scripted):
    scripted.script([{"times": 9, "reply": {"text": "You said {last_user}."}}])
    conversations = openai_client.conversations
    first = {"type": "message", "role": "developer", "content": "be kind"}
    conversation = conversations.create(metadata={"shop": "lamps"}, items=[first])
    assert conversations.retrieve(conversation.id) == conversation and conversation.metadata == {"shop": "lamps"}
    conversation = conversations.update(conversation.id, metadata={"shop": "chairs"})
    assert conversation.metadata == {"shop": "chairs"}
    response = openai_client.responses.create(model=MODEL, input="hello", conversation=conversation.id)
    assert response.conversation.id == conversation.id
    assert said(scripted) == [("developer", "be kind"), ("user", "hello")]
    added = conversations.items.create(conversation.id, items=[{"type": "message", "role": "user", "content": "by the way"}])
    assert [i.content[0].text for i in added.data] == ["by the way"]
    openai_client.responses.create(model=MODEL, input="bye", conversation={"id": conversation.id}, stream=False)
    told = ["be kind", "hello", "You said hello.", "by the way", "bye", "You said bye."]
    assert [text for _, text in said(scripted)] == told[:-1]
    items = list(conversations.items.list(conversation.id, order="asc", limit=2))
    assert [i.content[0].text for i in items] == told
    newest = conversations.items.list(conversation.id, limit=1)
    assert newest.data[0] == items[-1] and newest.has_more
    assert conversations.items.retrieve(items[2].id, conversation_id=conversation.id) == items[2]
    assert conversations.items.delete(items[3].id, conversation_id=conversation.id).id == conversation.id
    with pytest.raises(openai.NotFoundError):
        conversations.items.retrieve(items[3].id, conversation_id=conversation.id)
    # A response that is deleted leaves the conversation as it is.
    openai_client.responses.delete(response.id)
    assert [i.content[0].text for i in conversations.items.list(conversation.id, order="asc")] == told[:3] + told[4:]
    # An item can be named instead of sent.
    openai_client.responses.create(model=MODEL, input=[{"type": "item_reference", "id": items[1].id}])
    assert said(scripted) == [("user", "hello")]
    assert conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError) as gone:
        conversations.retrieve(conversation.id)
    assert gone.value.code == "conversation_not_found"


def test_a_conversation_has_one_open_response(openai_client, scripted):
    scripted.script([{"reply": {"text": "one two", "gates": {"hold": 2}}}])
    conversation = openai_client.conversations.create()
    running = openai_client.responses.create(model=MODEL, input="count", conversation=conversation.id, background=True)
    scripted.waiting("hold")
    with pytest.raises(openai.ConflictError) as busy:
        openai_client.responses.create(model=MODEL, input="and?", conversation=conversation.id)
    assert busy.value.code == "conversation_locked"
    scripted.release("hold")
    assert ended(openai_client, running.id).type == "response.completed"


@pytest.mark.parametrize("on_message", ["reject", "queue", "interrupt"])
def test_an_agent_says_what_a_second_response_of_its_conversation_does(frontdesk, openai_client, scripted, on_message):
    scripted.script([{"reply": {"text": "one two", "gates": {"hold": 2}}}, {"reply": {"text": "Yes."}}])
    config = {"model": MODEL, "instructions": "Be brief.", "name": f"meets-{on_message}", "toolgroups": [], "frontdesk": {"on_message": on_message}}
    agent = frontdesk.http.post("/v1/agents", json={"agent_config": config}).json()["agent_id"]
    conversation = openai_client.conversations.create().id
    ask = lambda words: openai_client.responses.create(model=f"agent/meets-{on_message}", input=words, conversation=conversation, stream=True)  # noqa: E731
    first = ask("count")
    scripted.waiting("hold")
    if on_message == "reject":
        with pytest.raises(openai.ConflictError) as busy:
            ask("and?")
        assert busy.value.code == "conversation_locked"
        scripted.release("hold")
        assert list(first)[-1].type == "response.completed" and len(scripted.requests()) == 1
    else:
        second = ask("and?")
        # Taken in and told at once, while the first is open.
        assert next(second).type == "response.created"
        if on_message == "queue":
            assert len(scripted.requests()) == 1
            scripted.release("hold")
        one, two = list(first)[-1], list(second)[-1]
        ends = {"queue": ("response.completed", "completed"), "interrupt": ("response.incomplete", "cancelled")}
        assert (one.type, one.response.status) == ends[on_message]
        assert (two.type, two.response.output_text) == ("response.completed", "Yes.")
        heard = [words for role, words in said(scripted) if role == "user"]
        assert heard == ["count", "and?"]
    frontdesk.http.delete(f"/v1/agents/{agent}")


def test_an_agent_is_a_model_and_its_own_tools_are_shown_as_calls_with_results(frontdesk, openai_client, scripted):
    spec = {"model": MODEL, "instructions": "You answer for a lamp shop.", "name": "lamps", "toolgroups": [], "frontdesk": {"hand_off": {"message": "A person comes."}}}
    created = frontdesk.http.post("/v1/agents", json={"agent_config": spec})
    assert created.is_success, created.text
    scripted.script([
        {"when": {"last_user_contains": "person"}, "reply": {"tool_call": {"name": "hand_off", "arguments": {"reason": "customer_request"}}}},
        {"reply": {"text": "We have lamps."}},
    ])  # fmt: skip
    response = openai_client.responses.create(model="agent/lamps", input="what have you?")
    assert response.output_text == "We have lamps." and response.model == "agent/lamps"
    assert said(scripted)[0] == ("system", "You answer for a lamp shop.")
    seen = stream_of(
        frontdesk, "/v1/responses", "POST",
        json={"model": "agent/lamps", "input": "a person, please", "stream": True, "previous_response_id": response.id},
    )  # fmt: skip
    final = openai.types.responses.Response.model_validate(seen[-1][2]["response"])
    assert [(i.type, i.status) for i in final.output] == [("mcp_call", "completed"), ("message", "completed")]
    assert final.output_text == "A person comes." and final.hand_off["reason"] == "customer_request"
    assert "response.mcp_call.completed" in [name for name, _, _ in seen]
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.responses.create(model="agent/lamps", input="x", instructions="be rude")
    assert refused.value.param == "instructions"
    with pytest.raises(openai.NotFoundError):
        openai_client.responses.create(model="agent/nobody", input="x")


@pytest.mark.parametrize(
    ("asked", "param", "code"),
    [
        ({"previous_response_id": "resp_nowhere"}, "previous_response_id", "previous_response_not_found"),
        ({"tools": [{"type": "web_search"}]}, "tools", "unsupported_tool"),
        ({"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, "tools[0].container", "container_not_found"),
        ({"tools": [{"type": "mcp", "server_label": "x", "connector_id": "connector_gmail"}]}, "tools[0].connector_id", "unsupported_parameter"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_nowhere"]}]}, "tools[0].vector_store_ids", None),
        ({"top_logprobs": 21}, "top_logprobs", None),
        ({"service_tier": "gold"}, "service_tier", None),
        ({"stream": True, "stream_options": {"include_usage": True}}, "stream_options.include_usage", "unknown_parameter"),
        ({"input": [{"role": "user", "content": "x", "name": "Ada"}]}, "input[0].name", "unknown_parameter"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "x", "weight": 2}]}]}, "input[0].content[0].weight", "unknown_parameter"),
        ({"prompt": {"id": "pmpt_nowhere"}}, "prompt.id", "prompt_not_found"),
        ({"input": [{"type": "function_call_output", "call_id": "call_nowhere", "output": "x"}]}, "input", None),
        ({"input": [{"type": "compaction", "encrypted_content": "gAAAA"}]}, "input[0].encrypted_content", "invalid_encrypted_content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "detail": "auto"}]}]}, "input[0].content[0].image_url", None),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x"}]}]}, "input[0].content[0].file_url", "unsupported_parameter"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_nowhere"}]}]}, "input", None),
        ({"input": [{"role": "assistant", "content": [{"type": "input_image", "detail": "auto", "image_url": "u"}]}]}, "input[0].content[0].type", "unsupported_content"),
        ({"input": [{"type": "item_reference", "id": "msg_nowhere"}]}, "input[0].id", "item_not_found"),
        ({"extra_body": {"top_k": 3}}, "top_k", "unknown_parameter"),
        ({"background": True, "store": False}, "store", None),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(openai_client, scripted, asked, param, code):
    scripted.script([])
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.responses.create(**({"model": MODEL, "input": "hello"} | asked))
    assert (refused.value.param, refused.value.code) == (param, code), refused.value.message
    assert scripted.requests() == [], "nobody was asked"


def test_what_does_not_exist_is_not_found(openai_client, scripted):
    scripted.script([])
    for call, code in [
        (lambda: openai_client.responses.create(model=MODEL, input="x", conversation="conv_nowhere"), "conversation_not_found"),
        (lambda: openai_client.responses.retrieve("resp_nowhere"), "response_not_found"),
        (lambda: openai_client.responses.cancel("resp_nowhere"), "response_not_found"),
        (lambda: openai_client.responses.delete("resp_nowhere"), "response_not_found"),
        (lambda: openai_client.responses.input_items.list("resp_nowhere"), "response_not_found"),
        (lambda: openai_client.conversations.items.list("conv_nowhere"), "conversation_not_found"),
        (lambda: openai_client.responses.create(model="scriptd-nowhere", input="x"), "model_not_found"),
    ]:
        with pytest.raises(openai.NotFoundError) as missing:
            call()
        assert missing.value.code == code, missing.value.message


@pytest.fixture
def pages(frontdesk):
    """A knowledge store with one page."""
    upload = frontdesk.http.post("/v1/files", files={"file": ("returns.md", b"# Returns\n\nReturns are free within 30 days of delivery.")}, data={"purpose": "assistants"})
    store = frontdesk.http.post("/v1/vector_stores", json={"name": "pages", "file_ids": [upload.json()["id"]]})
    assert store.is_success, store.text
    return store.json()["id"]


def test_a_search_in_files_is_shown_cited_and_the_same_from_every_number(frontdesk, openai_client, scripted, pages):
    scripted.script([
        {"when": {"last_user_contains": "then?"}, "reply": {"text": "Free within 30 days [1]."}},
        {"reply": {"tool_call": {"name": "look", "arguments": {"id": "7"}}, "text": "Free [1].", "argument_piece": 3}},
    ])  # fmt: skip
    search = {"type": "file_search", "vector_store_ids": [pages], "max_num_results": 3}
    asked = {"model": MODEL, "input": "Are returns free?", "tools": [search, LOOK], "include": ["file_search_call.results"]}
    seen = stream_of(frontdesk, "/v1/responses", "POST", json=asked | {"stream": True})
    names = [name for name, _, _ in seen]
    at = names.index("response.file_search_call.in_progress")
    assert names[at - 1 : at + 4] == [
        "response.output_item.added", "response.file_search_call.in_progress", "response.file_search_call.searching",
        "response.file_search_call.completed", "response.output_item.done",
    ]  # fmt: skip
    assert "response.function_call_arguments.done" in names
    response = openai.types.responses.Response.model_validate(seen[-1][2]["response"])
    assert [item.type for item in response.output] == ["file_search_call", "message", "function_call"]
    assert "30 days" in response.output[0].results[0].text and response.output[0].queries == ["Are returns free?"]
    assert said(scripted)[-1][1].startswith("<sources>\n[1] ")
    # With calls of a search and of a function: a reconnect behind every number gives the same bytes.
    query = f"/v1/responses/{response.id}?stream=true&include=file_search_call.results"
    text = lambda after: frontdesk.http.get(query + ("" if after < 0 else f"&starting_after={after}")).text  # noqa: E731
    whole = text(-1)
    blocks = whole.split("\n\n")[:-1]
    assert len(blocks) == len(seen)
    for after in range(-1, len(seen)):
        assert text(after) == "".join(block + "\n\n" for block in blocks[after + 1 :])
    answer = openai_client.responses.create(
        model=MODEL, previous_response_id=response.id, tools=[search, LOOK],
        input=[{"type": "function_call_output", "call_id": response.output[2].call_id, "output": "yes"}, {"role": "user", "content": "Are returns free, then?"}],
    )  # fmt: skip
    (citation,) = answer.output[-1].content[0].annotations
    assert (citation.type, citation.filename, answer.output_text[: citation.index]) == ("file_citation", "returns.md", "Free within 30 days ")
    assert answer.output[0].results is None, "nobody asked for them"
    assert {tool.type for tool in answer.tools} == {"file_search", "function"}


def test_passages_below_the_threshold_stay_out(openai_client, scripted, pages):
    scripted.script([{"times": 4, "reply": {"text": "Free."}}])

    def search(**ranking):
        tool = {"type": "file_search", "vector_store_ids": [pages], **({"ranking_options": ranking} if ranking else {})}
        asked = {"model": MODEL, "input": "Are returns free?", "tools": [tool], "include": ["file_search_call.results"]}
        return openai_client.responses.create(**asked)

    (passage,) = search().output[0].results
    assert 0 < passage.score < 1
    shown = search(score_threshold=passage.score, ranker="auto")
    assert [found.score for found in shown.output[0].results] == [passage.score]
    assert shown.tools[0].ranking_options.score_threshold == passage.score
    assert said(scripted)[-1][1].startswith("<sources>")
    assert search(score_threshold=(passage.score + 1) / 2).output[0].results == []
    assert said(scripted) == [("user", "Are returns free?")]
    for member, ranking in [("score_threshold", {"score_threshold": 2}), ("ranker", {"ranker": "mine"}), ("hybrid_search", {"hybrid_search": {}})]:
        with pytest.raises(openai.BadRequestError) as refused:
            search(**ranking)
        assert refused.value.param == f"tools[0].ranking_options.{member}", refused.value


def test_pictures_and_files_reach_the_model_and_stay(openai_client, scripted):
    scripted.script([{"times": 2, "reply": {"text": "A lamp."}}])
    pixel = "data:image/png;base64,iVBORw0KGgo="
    note = openai_client.files.create(file=("note.md", b"# Lamps\n\nIt is green."), purpose="user_data")
    photo = openai_client.files.create(file=("photo.png", b"\x89PNG", "image/png"), purpose="vision")
    content = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": pixel, "detail": "low"},
        {"type": "input_image", "file_id": photo.id, "detail": "auto"},
        {"type": "input_file", "file_id": note.id},
        {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"},
    ]
    response = openai_client.responses.create(model=MODEL, input=[{"role": "user", "content": content}])
    told = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": pixel, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw==", "detail": "auto"}},
        {"type": "text", "text": "note.md:\nLamps\nIt is green."},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]
    assert said(scripted)[0] == ("user", told)
    (item,) = openai_client.responses.input_items.list(response.id).data
    assert [part.type for part in item.content] == ["input_text", "input_image", "input_image", "input_text", "input_file"]
    assert [item.content[1].image_url, item.content[1].detail] == [None, "low"], "nobody asked for it"
    (item,) = openai_client.responses.input_items.list(response.id, include=["message.input_image.image_url"]).data
    assert item.content[1].image_url == pixel
    openai_client.responses.create(model=MODEL, input="And now?", previous_response_id=response.id)
    assert said(scripted) == [("user", told), ("assistant", "A lamp."), ("user", "And now?")]


def test_a_conversation_made_short(openai_client, lenient_openai_client, scripted):
    scripted.script([
        {"when": {"last_user_contains": "Summarise the conversation"}, "reply": {"text": "They have a lamp."}},
        {"times": 2, "reply": {"text": "You said {last_user}."}},
    ])  # fmt: skip
    first = openai_client.responses.create(model=MODEL, input="I have a lamp")
    # The package's own type of the answer has no place for the customer's messages, which it says come first.
    short = lenient_openai_client.responses.compact(model=MODEL, input="and a chair", previous_response_id=first.id)
    assert (short.object, [item.type for item in short.output]) == ("response.compaction", ["message", "message", "compaction"])
    assert short.usage.total_tokens > 0
    sent_on = [item.model_dump(exclude_unset=True) for item in short.output] + [{"role": "user", "content": "what have I?"}]
    assert openai_client.responses.create(model=MODEL, input=sent_on).output_text == "You said what have I?."
    assert said(scripted) == [
        ("user", "I have a lamp"), ("user", "and a chair"), ("user", "A summary of what was said before:\nThey have a lamp."),
        ("user", "what have I?"),
    ]  # fmt: skip


def test_metadata_that_nobody_names_stays(openai_client):
    conversation = openai_client.conversations.create(metadata={"shop": "lamps"})
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.conversations.with_raw_response.update(conversation.id, metadata=openai.omit)
    assert (refused.value.param, refused.value.code) == ("metadata", "missing_required_parameter")
    assert openai_client.conversations.retrieve(conversation.id).metadata == {"shop": "lamps"}
    assert openai_client.conversations.update(conversation.id, metadata=None).metadata == {}


def test_a_conversation_outlives_an_agent_that_spoke_in_it(frontdesk, openai_client, scripted):
    spec = {"model": MODEL, "instructions": "", "name": "passing"}
    agent = frontdesk.http.post("/v1/agents", json={"agent_config": spec}).json()["agent_id"]
    scripted.script([{"times": 2, "reply": {"text": "You said {last_user}."}}])
    conversation = openai_client.conversations.create()
    openai_client.responses.create(model="agent/passing", input="one", conversation=conversation.id)
    assert frontdesk.http.delete(f"/v1/agents/{agent}").is_success
    openai_client.responses.create(model=MODEL, input="two", conversation=conversation.id)
    assert [text for _, text in said(scripted)] == ["one", "You said one.", "two"]


def test_a_stream_that_is_not_to_be_stored_ends_with_its_reader(openai_client, scripted):
    scripted.script([{"reply": {"text": "one two", "gates": {"never": 2}}}])
    stream = openai_client.responses.create(model=MODEL, input="count", stream=True, store=False)
    response = next(stream).response
    scripted.waiting("never")
    number = scripted.requests()[-1]["number"]
    stream.close()
    assert scripted.ended(number) == "abandoned"
    with pytest.raises(openai.NotFoundError):
        openai_client.responses.retrieve(response.id)


def test_one_key_one_response(frontdesk, scripted):
    scripted.script([{"times": 2, "reply": {"text": "Hello."}}])
    ask = lambda words: frontdesk.http.post("/v1/responses", json={"model": MODEL, "input": words}, headers={"idempotency-key": "responses-1"})  # noqa: E731
    first = ask("hello")
    assert first.json() == ask("hello").json() and len(scripted.requests()) == 1
    other = ask("bye")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")


def test_tokens_are_counted_by_the_models_server_or_not_at_all(openai_client, scripted):
    scripted.script([{"when": {"path": "/v1/messages/count_tokens"}, "reply": {"json": {"input_tokens": 12}}}])
    count = openai_client.responses.input_tokens.count(model="claude/claude-scripted", input="hello", instructions="be brief")
    assert count.input_tokens == 12
    with pytest.raises(openai.BadRequestError) as unknown:
        openai_client.responses.input_tokens.count(model=MODEL, input="hello")
    assert unknown.value.code == "tokens_not_counted"
