"""Batches with the official openai and anthropic packages: made, watched, cancelled, read; types checked strictly."""

import json
import time

import anthropic
import openai
import pytest
from openai.types import Batch
from pydantic import TypeAdapter

CHAT, COMPLETION, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


def line(custom_id, url, **body):
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": "up/scripted", **body}})


def chat(custom_id, words, **more):
    return line(custom_id, CHAT, messages=[{"role": "user", "content": words}], **more)


def begun(client, lines, endpoint=CHAT, **more):
    file = client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)
    TypeAdapter(Batch).validate_python(json.loads(batch.model_dump_json()))
    assert (batch.input_file_id, batch.endpoint, batch.completion_window) == (file.id, endpoint, "24h")
    assert batch.expires_at - batch.created_at == 24 * 60 * 60
    return batch


def until(look, done):
    """The batch once it is `done`; gives up after a minute."""
    for _ in range(1200):
        batch = look()
        if done(batch):
            return batch
        time.sleep(0.05)
    raise AssertionError(f"it does not end: {batch}")


def ended(client, batch):
    final = ("completed", "failed", "cancelled", "expired")
    batch = until(lambda: client.batches.retrieve(batch.id), lambda b: b.status in final)
    TypeAdapter(Batch).validate_python(json.loads(batch.model_dump_json()))
    return batch


def read(client, file_id):
    return [json.loads(text) for text in client.files.content(file_id).text.splitlines()]


@pytest.mark.parametrize(
    ("endpoint", "asks", "reply", "answer"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "hi"}]}, {"text": "hello"}, lambda b: b["choices"][0]["message"]["content"] == "hello"),
        (COMPLETION, {"prompt": "Once"}, {"text": "upon"}, lambda b: b["choices"][0]["text"] == "upon"),
        (EMBEDDINGS, {"input": "a"}, {"embed": 2}, lambda b: len(b["data"][0]["embedding"]) == 2),
    ],
)
def test_every_endpoint_is_answered_line_by_line(openai_client, scripted, endpoint, asks, reply, answer):
    scripted.script([{"when": {"body_contains": "scripted"}, "reply": reply}])
    lines = [line("a", endpoint, **asks), line("b", endpoint, **asks, **{"model": "nobody/there"})]
    batch = ended(openai_client, begun(openai_client, lines, endpoint, metadata={"for": "tests"}))
    assert (batch.status, batch.metadata) == ("completed", {"for": "tests"})
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (2, 1, 1)
    (good,), (bad,) = read(openai_client, batch.output_file_id), read(openai_client, batch.error_file_id)
    assert good["custom_id"] == "a" and good["error"] is None and good["response"]["status_code"] == 200
    assert answer(good["response"]["body"]), good
    assert bad["custom_id"] == "b" and bad["response"]["status_code"] == 404
    assert bad["response"]["body"]["error"]["code"] == "model_not_found"
    assert openai_client.files.retrieve(batch.output_file_id).purpose == "batch_output"


def test_a_file_that_is_wrong_is_told_line_by_line(openai_client):
    lines = [chat("a", "hi"), "oops", chat("a", "again"), line("b", EMBEDDINGS, input="x")]
    batch = ended(openai_client, begun(openai_client, lines))
    assert (batch.status, batch.output_file_id, batch.request_counts.total) == ("failed", None, 0)
    told = [(error.line, error.code, error.param) for error in batch.errors.data]
    assert told == [(2, "invalid_json_line", None), (3, "duplicate_custom_id", "custom_id"), (4, "invalid_url", "url")]


def test_one_that_is_cancelled_keeps_what_it_has(openai_client, scripted):
    scripted.script([
        {"when": {"last_user_contains": "slow"}, "reply": {"text": "late", "hold": "batch"}},
        {"when": {"body_contains": "scripted"}, "reply": {"text": "hello"}},
    ])  # fmt: skip
    # Four are asked at once, so the last two wait for a place.
    batch = begun(openai_client, [chat("first", "hi"), *(chat(f"slow-{n}", "slow") for n in range(4)), chat("x", "hi"), chat("y", "hi")])
    scripted.waiting("batch")
    until(lambda: openai_client.batches.retrieve(batch.id), lambda b: b.request_counts.completed == 1)
    batch = openai_client.batches.cancel(batch.id)
    assert batch.status == "cancelling" and batch.cancelling_at
    for _ in range(4):
        scripted.release("batch")
    batch = ended(openai_client, batch)
    assert batch.status == "cancelled" and batch.cancelled_at
    assert [line["custom_id"] for line in read(openai_client, batch.output_file_id)] == ["first", *(f"slow-{n}" for n in range(4))]
    left = read(openai_client, batch.error_file_id)
    assert [(line["custom_id"], line["error"]["code"]) for line in left] == [("x", "batch_cancelled"), ("y", "batch_cancelled")]
    with pytest.raises(openai.ConflictError, match="has ended"):
        openai_client.batches.cancel(batch.id)


def test_files_expire_when_the_client_says_so(openai_client, scripted):
    scripted.script([{"when": {"body_contains": "scripted"}, "reply": {"text": "hello"}}])
    after = {"anchor": "created_at", "seconds": 3600}
    file = openai_client.files.create(file=("in.jsonl", chat("a", "hi").encode()), purpose="batch", expires_after=after)
    assert file.expires_at == file.created_at + 3600
    batch = openai_client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", output_expires_after=after)
    output = openai_client.files.retrieve(ended(openai_client, batch).output_file_id)
    assert output.expires_at == output.created_at + 3600
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.files.create(file=("a.md", b"x"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 60})
    assert refused.value.param == "expires_after"


def test_batches_are_listed_page_by_page(openai_client):
    made = [begun(openai_client, ["oops"]).id for _ in range(3)]
    seen = [batch.id for batch in openai_client.batches.list(limit=2)]
    assert [batch for batch in seen if batch in made] == made[::-1]
    with pytest.raises(openai.NotFoundError, match="batch_none"):
        openai_client.batches.retrieve("batch_none")


def message(custom_id, words, model="up/scripted"):
    return {"custom_id": custom_id, "params": {"model": model, "max_tokens": 16, "messages": [{"role": "user", "content": words}]}}


def messages_ended(client, batch):
    return until(lambda: client.messages.batches.retrieve(batch.id), lambda b: b.processing_status == "ended")


def test_messages_are_made_watched_read_and_deleted(anthropic_client, scripted):
    scripted.script([{"when": {"body_contains": "scripted"}, "reply": {"text": "hello"}}])
    batches = anthropic_client.messages.batches
    batch = batches.create(requests=[message("a", "hi"), message("b", "hi", "nobody/there")])
    assert batch.processing_status == "in_progress" and batch.results_url is None
    assert (batch.expires_at - batch.created_at).total_seconds() == 24 * 60 * 60
    batch = messages_ended(anthropic_client, batch)
    counts = batch.request_counts
    assert (counts.succeeded, counts.errored, counts.processing) == (1, 1, 0) and batch.ended_at
    first, second = batches.results(batch.id)
    assert (first.custom_id, first.result.type, first.result.message.content[0].text) == ("a", "succeeded", "hello")
    assert (second.custom_id, second.result.type, second.result.error.error.type) == ("b", "errored", "not_found_error")
    assert batch.id in [listed.id for listed in batches.list(limit=1)]
    assert batches.delete(batch.id).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        batches.retrieve(batch.id)


def test_messages_that_are_canceled_say_so(anthropic_client, scripted):
    scripted.script([{"when": {"body_contains": "scripted"}, "reply": {"text": "late", "hold": "messages"}}])
    batches = anthropic_client.messages.batches
    batch = batches.create(requests=[message(f"m{n}", "hi") for n in range(6)])
    scripted.waiting("messages")
    with pytest.raises(anthropic.ConflictError):
        batches.delete(batch.id)
    assert batches.cancel(batch.id).processing_status == "canceling"
    for _ in range(4):
        scripted.release("messages")
    batch = messages_ended(anthropic_client, batch)
    assert (batch.request_counts.succeeded, batch.request_counts.canceled) == (4, 2) and batch.cancel_initiated_at
    kinds = [result.result.type for result in batches.results(batch.id)]
    assert kinds == ["succeeded"] * 4 + ["canceled"] * 2


def test_results_that_are_deleted_while_they_are_read_break_off(anthropic_client, scripted):
    # More than what lies in buffers on the way to the client.
    scripted.script([{"when": {"body_contains": "scripted"}, "reply": {"text": "x" * 100_000}}])
    batches = anthropic_client.messages.batches
    batch = messages_ended(anthropic_client, batches.create(requests=[message(f"m{n}", "hi") for n in range(300)]))
    results = batches.results(batch.id)
    assert next(iter(results)).custom_id == "m0"
    batches.delete(batch.id)
    # Of whichever HTTP library the client brings.
    with pytest.raises(Exception, match="without sending complete message body"):
        list(results)


def test_metadata_has_openais_limits(openai_client):
    file = openai_client.files.create(file=("in.jsonl", chat("a", "hi").encode()), purpose="batch")
    for metadata in ({"k" * 65: "v"}, {"k": "v" * 513}, {str(n): "v" for n in range(17)}, {"k": "\0"}):
        with pytest.raises(openai.BadRequestError) as refused:
            openai_client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata=metadata)
        assert refused.value.param == "metadata"


def test_messages_that_cannot_be_name_their_member(anthropic_client):
    with pytest.raises(anthropic.BadRequestError, match=r"requests\[1\].custom_id"):
        anthropic_client.messages.batches.create(requests=[message("a", "hi"), message("a", "hi")])
