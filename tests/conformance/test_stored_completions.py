"""Stored chat completions as the official openai client lists, reads, changes and deletes them."""

import json
import time

import httpx
import openai
import pytest

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Grüße \u0000"}]}]
ANSWER = {
    "id": "chatcmpl-7", "object": "chat.completion", "created": 1, "model": "scripted", "x_vendor": {"kept": [1]},
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHUNKS = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [CALL]}, "finish_reason": "tool_calls"}]},
    {"choices": [], "usage": ANSWER["usage"]},
]  # fmt: skip
CHUNKS = [{"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1, "model": "scripted", **chunk} for chunk in CHUNKS]


@pytest.fixture
def stored(openai_client):
    """`client.chat.completions`, with nothing stored before and after."""
    completions = openai_client.chat.completions

    def clear():
        for one in list(completions.list(limit=100)):
            completions.delete(one.id)

    clear()
    yield completions
    clear()


@pytest.fixture
def messages(frontdesk):
    """`client.chat.completions.messages`, unchecked: the SDK types every role as `assistant`, against the example of
    OpenAI's own API reference ("Get chat messages"), whose message is a user's."""
    with httpx.Client(trust_env=False) as http:
        yield openai.OpenAI(base_url=frontdesk.v1, api_key=frontdesk.key, max_retries=0, http_client=http).chat.completions.messages


def test_what_is_stored_is_what_the_client_had(stored, scripted):
    scripted.script([{"times": 2, "reply": {"json": ANSWER}}])
    one = stored.create(model="up/scripted", messages=HELLO, store=True, metadata={"shop": "lamps", "n": "1"})
    stored.create(model="up/scripted", messages=HELLO)
    # Upstream is told nothing of it.
    assert [set(json.loads(request["body"])) for request in scripted.requests()] == [{"model", "messages"}] * 2
    assert one.id != ANSWER["id"] and one.x_vendor == {"kept": [1]}
    read = stored.retrieve(one.id)
    assert read.metadata == {"shop": "lamps", "n": "1"}
    assert {**read.model_dump(), "metadata": None} == {**one.model_dump(), "metadata": None}
    assert [listed.id for listed in stored.list()] == [one.id]


def test_the_messages_are_there_too(stored, messages, scripted):
    scripted.script([{"reply": {"json": ANSWER}}])
    one = stored.create(model="up/scripted", messages=HELLO, store=True)
    first, second = messages.list(one.id)
    assert (first.role, first.content, first.content_parts) == ("system", "Be brief.", None)
    assert (second.role, second.content, second.content_parts[0].text) == ("user", None, "Grüße \u0000")
    page = messages.list(one.id, limit=1, order="desc")
    assert [message.id for message in page.data] == [second.id] and page.has_more
    assert [message.id for message in page] == [second.id, first.id], "page by page"


def test_a_stream_is_stored_when_it_has_ended(stored, messages, scripted):
    scripted.script([{"reply": {"sse": [*CHUNKS, "data: [DONE]\n\n"]}}])
    chunks = list(stored.create(model="up/scripted", messages=HELLO, store=True, stream=True))
    (id,) = {chunk.id for chunk in chunks}
    one = stored.retrieve(id)
    assert one.choices[0].message.content == "hi" and one.choices[0].finish_reason == "tool_calls"
    assert one.choices[0].message.tool_calls[0].function.name == "f"
    # The client did not ask for usage, and so it was not told; it is kept.
    assert one.usage.total_tokens == 2 and not any(chunk.usage for chunk in chunks)
    assert messages.list(id).data[0].content == "Be brief."


def test_a_client_that_leaves_once_all_is_said_finds_it_stored(stored, scripted):
    finish, last = {"gate": "before-the-end"}, {"gate": "after-the-end"}
    scripted.script([{"reply": {"sse": [CHUNKS[0], finish, CHUNKS[1], last, CHUNKS[2], "data: [DONE]\n\n"]}}] * 2)
    stream = stored.create(model="up/scripted", messages=HELLO, store=True, stream=True)
    early = next(stream).id
    stream.close()
    assert scripted.ended(scripted.requests(1)[0]["number"]) == "abandoned", "upstream is told to stop"
    scripted.release("before-the-end")
    stream = stored.create(model="up/scripted", messages=HELLO, store=True, stream=True)
    chunk = next(stream)
    assert chunk.id != early and next(stream).choices[0].finish_reason == "tool_calls"
    stream.close()
    for _ in range(1200):
        if listed := list(stored.list()):
            break
        time.sleep(0.05)
    (one,) = listed
    assert one.id == chunk.id and one.choices[0].message.content == "hi"
    with pytest.raises(openai.NotFoundError):
        stored.retrieve(early)


def test_a_provider_of_another_dialect_is_stored_alike(stored, scripted):
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-scripted", "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip
    scripted.script([{"reply": {"json": message}}])
    one = stored.create(model="claude/claude-scripted", messages=[HELLO[0], {"role": "user", "content": "Hello"}], store=True, metadata={"a": "b"})
    assert {"store", "metadata"}.isdisjoint(json.loads(scripted.requests()[-1]["body"]))
    read = stored.retrieve(one.id)
    assert (read.choices, read.usage, read.model) == (one.choices, one.usage, one.model)


def test_lists_have_pages_orders_and_filters(stored, scripted):
    scripted.script([{"times": 3, "reply": {"json": ANSWER}}])
    notes = [{"shop": "lamps", "day": "1"}, {"shop": "lamps"}, {}]
    a, b, c = [stored.create(model="up/scripted", messages=HELLO, store=True, metadata=note).id for note in notes]
    ids = lambda **query: [one.id for one in stored.list(**query)]  # noqa: E731
    assert ids() == ids(limit=1) == [a, b, c]
    assert ids(order="desc", limit=2) == [c, b, a]
    assert ids(after=a) == [b, c]
    assert ids(model="up/scripted") == ids(model="scripted") == [a, b, c] and ids(model="other") == []
    assert ids(metadata={"shop": "lamps"}) == [a, b]
    assert ids(metadata={"shop": "lamps", "day": "1"}) == [a]
    assert ids(metadata={"shop": "chairs"}) == []


def test_metadata_is_replaced_and_a_completion_is_deleted(stored, scripted):
    scripted.script([{"reply": {"json": ANSWER}}])
    id = stored.create(model="up/scripted", messages=HELLO, store=True, metadata={"a": "1"}).id
    assert stored.update(id, metadata={"b": "2"}).metadata == {"b": "2"}
    assert stored.retrieve(id).metadata == {"b": "2"}
    assert stored.update(id, metadata=None).metadata == {}
    gone = stored.delete(id)
    assert (gone.id, gone.deleted, gone.object) == (id, True, "chat.completion.deleted")
    for call in (stored.retrieve, stored.delete, lambda id: stored.update(id, metadata={}), stored.messages.list):
        with pytest.raises(openai.NotFoundError) as refused:
            call(id)
        assert refused.value.code == "chat_completion_not_found" and id in str(refused.value)


def test_an_answer_that_is_no_answer_is_not_stored(stored, scripted):
    scripted.script([{"reply": {"status": 400, "json": {"error": {"message": "no"}}}}])
    with pytest.raises(openai.BadRequestError):
        stored.create(model="up/scripted", messages=HELLO, store=True)
    with pytest.raises(openai.BadRequestError) as refused:
        stored.create(model="up/scripted", messages=HELLO, store=True, metadata={"k": "v" * 513})
    assert refused.value.param == "metadata"
    assert list(stored.list()) == []
