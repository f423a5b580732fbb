"""Files that code writes, with OpenAI's client: kept, cited, listed, fetched, and nobody else's.

The model is scripted; what runs the code is real.
"""

import json
import os

import openai
import pytest
from openai.types.responses import Response

from response_stream import stream_of
from test_code_interpreter import TOOL, runs, says
from test_customers import HEADER, SECRET, token
from test_responses import MODEL, sent

WRITES = "open('totals.csv', 'wb').write(b'id,total\\n1,42\\n\\xff\\x00')"
BYTES = b"id,total\n1,42\n\xff\x00"


@pytest.fixture(autouse=True)
def _interpreters():
    if not os.environ.get("FRONTDESK_INTERPRETERS"):
        assert not os.environ.get("CI"), "FRONTDESK_INTERPRETERS names no folder of built interpreters"
        pytest.skip("FRONTDESK_INTERPRETERS names no folder of built interpreters (providers/wasm/interpreters/build.sh)")


@pytest.fixture
def asked(openai_client, scripted):
    """Asks for a response whose model has this code run, and answers with these words."""

    def ask(code, words="done", tool=TOOL, **more):
        scripted.script([runs(code), says(words)])
        response = openai_client.responses.create(model=MODEL, input="go", tools=[tool], **more)
        assert response.status == "completed"
        return response

    return ask


def told(scripted):
    """What the model read of the run."""
    return json.loads(sent(scripted)["messages"][-1]["content"])


def gone(call, *path, **more):
    with pytest.raises(openai.NotFoundError) as missing:
        call(*path, **more)
    return missing.value.code


def test_a_file_that_code_wrote_is_listed_fetched_and_cited(openai_client, scripted, asked):
    words = "Zwölf Zeilen: [totals.csv](sandbox:/mnt/data/totals.csv)."
    response = asked(WRITES, words)
    call, message = response.output
    container = openai_client.containers.retrieve(call.container_id)
    assert (container.object, container.status, container.expires_after.anchor) == ("container", "running", "last_active_at")
    assert container.expires_after.minutes == 30 * 24 * 60 and container.name == response.id
    assert call.container_id in [one.id for one in openai_client.containers.list()]
    (file,) = openai_client.containers.files.list(call.container_id).data
    assert (file.path, file.bytes, file.source, file.container_id) == ("/mnt/data/totals.csv", len(BYTES), "assistant", call.container_id)
    assert openai_client.containers.files.retrieve(file.id, container_id=call.container_id).model_dump() == file.model_dump()
    assert openai_client.containers.files.content.retrieve(file.id, container_id=call.container_id).read() == BYTES
    assert told(scripted)["files"] == [{"name": "totals.csv", "bytes": len(BYTES), "file_id": file.id}]
    text = message.content[0]
    (cited,) = text.annotations
    assert (cited.type, cited.container_id, cited.file_id, cited.filename) == ("container_file_citation", call.container_id, file.id, "totals.csv")
    assert text.text[cited.start_index : cited.end_index] == "sandbox:/mnt/data/totals.csv"
    assert openai_client.responses.retrieve(response.id).output == response.output


def test_the_citation_is_streamed_and_a_replay_is_the_same(frontdesk, scripted):
    scripted.script([runs(WRITES), says("It is in totals.csv.")])
    body = {"model": MODEL, "input": "go", "tools": [TOOL], "stream": True}
    seen = stream_of(frontdesk, "/v1/responses", "POST", json=body)
    (added,) = [event for name, _, event in seen if name == "response.output_text.annotation.added"]
    final = Response.model_validate(seen[-1][2]["response"])
    annotation = final.output[1].content[0].annotations[0]
    assert added["annotation"] == annotation.model_dump() and (annotation.start_index, annotation.end_index) == (9, 19)
    calls = [event["item"] for name, _, event in seen if name.startswith("response.output_item") and event["item"]["type"] == "code_interpreter_call"]
    assert [item["container_id"] for item in calls] == [annotation.container_id] * 2
    assert stream_of(frontdesk, f"/v1/responses/{final.id}?stream=true") == seen


def test_a_line_of_responses_has_one_container_and_a_branch_another(openai_client, asked):
    first = asked("n = 1\nopen('a.txt', 'w').write('one')")
    container = first.output[0].container_id
    second = asked("n += 1\nopen('a.txt', 'w').write('two' * n)", previous_response_id=first.id)
    assert second.output[0].container_id == container
    files = openai_client.containers.files
    contents = [files.content.retrieve(file.id, container_id=container).read() for file in files.list(container).data]
    assert contents == [b"twotwo", b"one"], "the newest first; what an earlier answer spoke of is what it was"
    # Written again as it was, it is the same file.
    asked("open('a.txt', 'w').write('twotwo')", previous_response_id=second.id)
    assert len(files.list(container).data) == 2
    branch = asked("open('a.txt', 'w').write('b')", previous_response_id=first.id)
    assert branch.output[0].container_id != container and len(files.list(branch.output[0].container_id).data) == 1
    conversation = openai_client.conversations.create()
    one, two = (asked("1", conversation=conversation.id).output[0].container_id for _ in range(2))
    assert one == two not in (container, branch.output[0].container_id)


def test_what_is_not_kept_is_told_by_name(openai_client, scripted, asked):
    container = asked("for n in range(22): open(f'{n}.txt', 'w').write('x')").output[0].container_id
    result = told(scripted)
    assert [file["name"] for file in result["files_not_kept"]] == ["20.txt", "21.txt"]
    assert result["files_not_kept"][0]["why"] == "20 files of a run are kept"
    assert len(openai_client.containers.files.list(container, limit=100).data) == 20
    asked("open('small.txt', 'w').write('x')\nopen('big.bin', 'wb').write(bytes(9 << 20))")
    result = told(scripted)
    assert "big.bin (9437184 bytes)" in result["stderr"] and [file["name"] for file in result["files"]] == ["small.txt"]
    scripted.script([runs("writeFile('big.bin', new Uint8Array(9 << 20))", language="javascript"), says("done")])
    openai_client.responses.create(model=MODEL, input="go", tools=[TOOL])
    assert "big.bin (9437184 bytes)" in told(scripted)["stderr"]


def test_nothing_of_it_is_another_tenants_or_another_customers(frontdesk, openai_client, scripted):
    def post(path, body):
        answer = frontdesk.http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    tenant = post("/v1/tenants", {"name": "another shop"})["id"]
    theirs = openai_client.with_options(api_key=post("/v1/keys", {"tenant": tenant, "name": "x", "scopes": ["admin"]})["key"])
    app = openai_client.with_options(api_key=post("/v1/keys", {"name": "app", "scopes": ["use"]})["key"])
    key = post("/v1/customer-keys", {"algorithm": "HS256", "audience": "shop", "secret": SECRET})
    mona, otto = ({HEADER: token(sub, kid=key["id"])} for sub in ("mona", "otto"))
    for conversation in (None, app.conversations.create(extra_headers=mona).id):
        scripted.script([runs(WRITES), says("done")])
        more = {"conversation": conversation} if conversation else {}
        response = app.responses.create(model=MODEL, input="go", tools=[TOOL], extra_headers=mona, **more)
        container = response.output[0].container_id
        (file,) = app.containers.files.list(container, extra_headers=mona).data
        of = {"container_id": container}
        # Its own customer, and the shop's own people.
        for headers, client in ((mona, app), ({}, openai_client)):
            assert client.containers.files.content.retrieve(file.id, **of, extra_headers=headers).read() == BYTES
            assert container in [one.id for one in client.containers.list(extra_headers=headers)]
        for client, headers in ((app, otto), (theirs, {})):
            assert gone(client.containers.retrieve, container, extra_headers=headers) == "container_not_found"
            assert gone(client.containers.files.list, container, extra_headers=headers) == "container_not_found"
            for call in (client.containers.files.retrieve, client.containers.files.content.retrieve):
                assert gone(call, file.id, **of, extra_headers=headers) == "container_not_found"
            assert container not in [one.id for one in client.containers.list(extra_headers=headers)]
            # Nor does code of theirs run in it: whoever guesses is told what of an id is told that never was.
            with pytest.raises(openai.BadRequestError) as refused:
                client.responses.create(model=MODEL, input="go", tools=[{**TOOL, "container": container}], extra_headers=headers)
            assert (refused.value.param, refused.value.code) == ("tools[0].container", "container_not_found")
        # To delete is for keys that may put something there, of the tenant's own.
        for delete in (lambda **who: who.pop("by").containers.delete(container, **who), lambda **who: who.pop("by").containers.files.delete(file.id, **of, **who)):
            assert gone(delete, by=theirs) == "container_not_found"
            assert gone(delete, by=openai_client, extra_headers=otto) == "container_not_found"
            with pytest.raises(openai.PermissionDeniedError):
                delete(by=app, extra_headers=mona)
        with pytest.raises(openai.PermissionDeniedError) as unproven:
            app.containers.files.content.retrieve(file.id, **of)
        assert unproven.value.code == "customer_token_required"
        # Nor is it found as an uploaded file.
        for call in (openai_client.files.retrieve, openai_client.files.content, openai_client.files.delete):
            gone(call, file.id)
    # One that nobody has is the first customer's who lets code run in it.
    made = openai_client.containers.create(name="shared")
    scripted.script([runs(WRITES), says("done")])
    named = {**TOOL, "container": made.id}
    app.responses.create(model=MODEL, input="go", tools=[named], extra_headers=mona)
    assert app.containers.files.list(made.id, extra_headers=mona).data
    assert gone(app.containers.files.list, made.id, extra_headers=otto) == "container_not_found"
    # To put something into a container is for keys that may upload files.
    for call in (lambda: app.containers.create(name="mine"), lambda: app.containers.files.create(made.id, file=("a.txt", b"a"))):
        with pytest.raises(openai.PermissionDeniedError):
            call()
    frontdesk.http.delete(f"/v1/customer-keys/{key['id']}")


def test_names_that_leave_the_folder_are_not_kept(openai_client, scripted):
    code = "f = open('a', 'w'); f.write('x'); f.name = '../../up'; f.close()\nopen('b.txt', 'w').write('x')"
    scripted.script([runs(code), says("done")])
    response = openai_client.responses.create(model=MODEL, input="go", tools=[TOOL])
    names = [file.path for file in openai_client.containers.files.list(response.output[0].container_id).data]
    assert names and all("/" not in name.removeprefix("/mnt/data/") and ".." not in name for name in names), names


def test_what_is_deleted_is_gone(openai_client, asked):
    files = openai_client.containers.files
    conversation = openai_client.conversations.create().id
    container = asked(WRITES, conversation=conversation).output[0].container_id
    (file,) = files.list(container).data
    openai_client.conversations.delete(conversation)
    assert gone(files.content.retrieve, file.id, container_id=container) == "container_not_found"
    # With its response goes what its code wrote, and nothing of those before it.
    first = asked("open('a.txt', 'w').write('a')")
    second = asked("open('b.txt', 'w').write('b')", previous_response_id=first.id)
    container = first.output[0].container_id
    openai_client.responses.delete(second.id)
    (file,) = files.list(container).data
    assert file.path == "/mnt/data/a.txt"
    files.delete(file.id, container_id=container)
    assert gone(files.content.retrieve, file.id, container_id=container) == "container_file_not_found"
    openai_client.containers.delete(container)
    assert gone(openai_client.containers.retrieve, container) == "container_not_found"
    # One that is not stored is gone, and what it wrote is to be fetched nevertheless.
    passing = asked(WRITES, store=False).output[0].container_id
    (file,) = files.list(passing).data
    assert files.content.retrieve(file.id, container_id=passing).read() == BYTES


def test_a_container_is_made_beforehand_with_files_and_named_by_the_tool(openai_client, scripted, asked):
    uploaded = openai_client.files.create(file=("one.csv", b"1"), purpose="user_data")
    expires = {"anchor": "last_active_at", "minutes": 20}
    container = openai_client.containers.create(name=uploaded.id, file_ids=[uploaded.id], expires_after=expires)
    assert (container.name, container.expires_after.minutes) == (uploaded.id, 20)
    assert [one.id for one in openai_client.containers.list(name=uploaded.id)] == [container.id]
    put = openai_client.containers.files.create(container.id, file=("two.csv", b"2"))
    assert (put.path, put.source) == ("/mnt/data/two.csv", "user")
    tool = {"type": "code_interpreter", "container": container.id}
    response = asked("k = open('one.csv').read() + open('two.csv').read()\nk", tool=tool)
    assert told(scripted)["value"] == "'12'"
    assert (response.output[0].container_id, response.tools[0].container) == (container.id, container.id)
    # Another response, of no line with it, goes on in the same container; and finds what came meanwhile.
    openai_client.containers.files.create(container.id, file_id=uploaded.id)
    asked("import os\nopen('three.csv', 'w').write(k)\nlen(os.listdir())", tool=tool)
    assert told(scripted)["value"] == "4"
    sources = [file.source for file in openai_client.containers.files.list(container.id).data]
    assert sources == ["assistant", "user", "user", "user"]
    for wrong, param in (({"container": "cntr_none"}, "tools[0].container"), ({"container": 1}, "tools[0].container")):
        with pytest.raises(openai.BadRequestError) as refused:
            openai_client.responses.create(model=MODEL, input="go", tools=[{"type": "code_interpreter", **wrong}])
        assert refused.value.param == param
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.containers.create(name="large", memory_limit="4g")
    assert (refused.value.param, refused.value.code) == ("memory_limit", "unsupported_parameter")


def test_an_interpreter_that_starts_anew_finds_what_code_wrote_and_not_what_was_deleted(openai_client, scripted, asked):
    files = openai_client.containers.files
    first = asked("open('a.csv', 'w').write('1')\nopen('b.csv', 'w').write('2')\nopen('c.csv', 'w').write('3')")
    container = first.output[0].container_id
    second = asked("open('a.csv', 'w').write('one')", previous_response_id=first.id)
    files.create(container, file=("put.csv", b"4"))
    (written,) = [file for file in files.list(container).data if file.path.endswith("/b.csv")]
    files.delete(written.id, container_id=container)
    files.create(container, file=("c.csv", b"three"))
    # The limit ends the interpreter, as time and a restart do.
    third = asked("while True: pass", previous_response_id=second.id)
    assert "files that were not kept" in told(scripted)["error"]
    fourth = asked("import os\n{name: open(name).read() for name in sorted(os.listdir())}", previous_response_id=third.id)
    assert fourth.output[0].container_id == container
    assert told(scripted)["value"] == "{'a.csv': 'one', 'c.csv': 'three', 'put.csv': '4'}"


def test_an_agents_client_fetches_what_its_tool_step_names(frontdesk, openai_client, scripted):
    llama_stack = pytest.importorskip("llama_stack_client")
    client = llama_stack.LlamaStackClient(base_url=frontdesk.url, api_key=frontdesk.key)
    config = {"model": MODEL, "instructions": "You count.", "toolgroups": ["builtin::code_interpreter"]}
    agent = client.agents.create(agent_config=config).agent_id
    session = client.agents.session.create(agent, session_name="s").session_id
    scripted.script([runs(WRITES), says("See totals.csv.")])
    body = {"messages": [{"role": "user", "content": "go"}], "stream": False}
    turn = frontdesk.http.post(f"/v1/agents/{agent}/session/{session}/turn", json=body)
    assert turn.is_success, turn.text
    (step,) = [step for step in turn.json()["steps"] if step["step_type"] == "tool_execution"]
    result = json.loads(step["tool_responses"][0]["content"])
    container, (file,) = result["container_id"], result["files"]
    assert openai_client.containers.retrieve(container).name == session
    content = openai_client.containers.files.content.retrieve(file["file_id"], container_id=container)
    assert content.read() == BYTES
    client.agents.session.delete(session_id=session, agent_id=agent)
    assert gone(openai_client.containers.files.content.retrieve, file["file_id"], container_id=container) == "container_not_found"
    # Without a conversation nothing is kept, and no id is told.
    invoked = client.tool_runtime.invoke_tool(tool_name="code_interpreter", kwargs={"code": WRITES})
    assert json.loads(invoked.content)["files"] == [{"name": "totals.csv", "bytes": len(BYTES)}]
