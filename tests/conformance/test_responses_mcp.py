"""The `mcp` tool of Responses: the official openai package asks, the official MCP package serves. Every event is checked
against the package's own types, strictly."""

import json
import sys
from pathlib import Path

import httpx
import pytest
from openai import BadRequestError, OpenAI, PermissionDeniedError
from openai.types.responses import Response
from response_stream import streamed

SERVER = Path(__file__).parent / "mcp_server.py"
MODEL = "up/scripted"
PROVIDER = "model-context-protocol"


@pytest.fixture(scope="module")
def desk(another_frontdesk, scripted_server):
    up = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", models: [scripted] }} }}'
    # On loopback, as a server inside that the operator lists.
    return another_frontdesk(up, tools=[f'{{ id: {PROVIDER}, type: mcp, config: {{ inside: ["127.0.0.1"], timeout_s: 30, request_servers: true }} }}'])


def client_of(desk, key):
    http = httpx.Client(trust_env=False)
    return OpenAI(base_url=desk.v1, api_key=key, max_retries=0, timeout=60, http_client=http, _strict_response_validation=True)


@pytest.fixture(scope="module")
def client(desk):
    with client_of(desk, desk.key) as client:
        yield client


@pytest.fixture(scope="module")
def server(program):
    return program(sys.executable, SERVER, 0, "stream").url


def tool(url, **more):
    return {"type": "mcp", "server_label": "shop", "server_url": url, "allowed_tools": ["look", "who"], **more}


def play(scripted_server, *replies):
    scripted_server.reset()
    scripted_server.script([{"reply": reply} for reply in replies])


LOOKS = {"tool_call": {"name": "look", "arguments": {"id": "7"}}}


def test_a_server_is_listed_and_called_and_every_event_is_openais(desk, client, scripted_server, server):
    play(scripted_server, LOOKS, {"text": "It is shipped."})
    names, response = streamed(desk, model=MODEL, input="where is 7?", tools=[tool(server, require_approval="never")])
    for name in (
        "response.mcp_list_tools.in_progress", "response.mcp_list_tools.completed", "response.mcp_call.in_progress",
        "response.mcp_call_arguments.done", "response.mcp_call.completed",
    ):  # fmt: skip
        assert names.count(name) == 1, names
    listed, called, said = response.output
    assert (listed.type, [t.name for t in listed.tools]) == ("mcp_list_tools", ["look", "who"])
    assert listed.tools[0].annotations == {"readOnlyHint": True}
    assert (called.type, called.server_label, called.name, called.error) == ("mcp_call", "shop", "look", None)
    assert "shipped" in called.output and said.content[0].text == "It is shipped."
    assert client.responses.retrieve(response.id).output == response.output
    offered = json.loads(scripted_server.requests()[0]["body"])["tools"]
    assert [t["function"]["name"] for t in offered] == ["look", "who"]
    # Listed once in a line of responses.
    play(scripted_server, {"text": "Yes."})
    again = client.responses.create(model=MODEL, input="sure?", previous_response_id=response.id, tools=[tool(server, require_approval="never")])
    assert [item.type for item in again.output] == ["message"]


def test_filters_choose_by_name_and_by_what_the_server_says(client, scripted_server, server):
    never = {"never": {"read_only": True}}
    play(scripted_server, LOOKS, {"text": "Shipped."}, {"tool_call": {"name": "cancel", "arguments": {"id": "7"}}})
    asked = {"model": MODEL, "input": "and 7?", "tools": [tool(server, require_approval=never, allowed_tools=["look", "cancel"])]}
    first = client.responses.create(**asked)
    assert [item.type for item in first.output] == ["mcp_list_tools", "mcp_call", "message"]
    second = client.responses.create(**asked)
    assert [item.type for item in second.output] == ["mcp_list_tools", "mcp_approval_request"]
    play(scripted_server, {"text": "ok"})
    third = client.responses.create(model=MODEL, input="hi", tools=[tool(server, allowed_tools={"read_only": True})])
    assert [t.name for t in third.output[0].tools] == ["look", "ends_after"]


@pytest.mark.parametrize("approve", [True, False])
def test_a_call_waits_for_its_clients_word(desk, client, scripted_server, server, approve):
    play(scripted_server, LOOKS, {"text": "So be it."})
    names, first = streamed(desk, model=MODEL, input="where is 7?", tools=[tool(server)])
    assert "response.mcp_call.in_progress" not in names
    request = first.output[-1]
    assert (request.type, request.name, request.server_label) == ("mcp_approval_request", "look", "shop")
    word = {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": approve}
    names, second = streamed(desk, model=MODEL, input=[word], previous_response_id=first.id, tools=[tool(server)])
    assert second.output_text == "So be it."
    calls = [item for item in second.output if item.type == "mcp_call"]
    if approve:
        assert (calls[0].approval_request_id, calls[0].error) == (request.id, None) and "shipped" in calls[0].output
        assert names.count("response.mcp_call.completed") == 1
    else:
        assert calls == []
    told = json.loads(scripted_server.requests()[-1]["body"])["messages"][-1]
    assert told["role"] == "tool" and ("shipped" in str(told["content"])) == approve
    items = client.responses.input_items.list(second.id).data
    assert [(i.type, i.approval_request_id, i.approve) for i in items] == [("mcp_approval_response", request.id, approve)]
    # A word is said once, be it behind the first one, beside it, or elsewhere; and to what was asked.
    for before, request_id, code in [
        (second.id, request.id, "approval_request_answered"),
        (first.id, request.id, "approval_request_answered"),
        (first.id, "mcpr_nowhere", "approval_request_not_found"),
        *([(None, request.id, "approval_request_answered")] if approve else []),
    ]:
        with pytest.raises(BadRequestError) as refused:
            client.responses.create(model=MODEL, input=[{**word, "approval_request_id": request_id}], previous_response_id=before, tools=[tool(server)])
        assert refused.value.code == code and request_id in refused.value.message


@pytest.mark.parametrize("approve", [True, False])
def test_a_client_that_keeps_its_conversation_approves_by_the_requests_id(desk, client, scripted_server, server, approve):
    """As openai-agents does: everything is sent again, and no response is named."""
    question = {"role": "user", "content": "where is 7?"}
    play(scripted_server, LOOKS)
    first = client.responses.create(model=MODEL, input=[question], tools=[tool(server)])
    request = first.output[-1]
    word = {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": approve}
    said = [question, *(item.model_dump(exclude_none=True) for item in first.output), word]
    play(scripted_server, {"text": "So be it."})
    _, second = streamed(desk, model=MODEL, input=said, tools=[tool(server)])
    kinds = [item.type for item in second.output]
    assert kinds == ["mcp_list_tools", *(["mcp_call"] if approve else []), "message"]
    assert client.responses.retrieve(second.id).output == second.output
    told = json.loads(scripted_server.requests()[-1]["body"])["messages"]
    assert [message["role"] for message in told] == ["user", "assistant", "tool"]
    assert told[1]["tool_calls"][0]["function"]["name"] == "look" and ("shipped" in str(told[2]["content"])) == approve
    assert [item.type for item in client.responses.input_items.list(second.id, order="asc").data] == ["message", "mcp_approval_response"]

    # Everything once more, with what came of it: nothing is called again, and the word is no second one.
    more = [*said, *(item.model_dump(exclude_none=True) for item in second.output), {"role": "user", "content": "sure?"}]
    play(scripted_server, {"text": "Yes."})
    third = client.responses.create(model=MODEL, input=more, tools=[tool(server)])
    assert [item.type for item in third.output] == ["mcp_list_tools", "message"]
    told = json.loads(scripted_server.requests()[-1]["body"])["messages"]
    assert [message["role"] for message in told] == ["user", *(["assistant", "tool"] if approve else []), "assistant", "user"]

    # What came of it left out, it would be a second word.
    if approve:
        with pytest.raises(BadRequestError) as refused:
            client.responses.create(model=MODEL, input=said, tools=[tool(server)])
        assert refused.value.code == "approval_request_answered"


def test_a_request_that_is_not_theirs_or_was_not_stored_is_approved_by_nobody(desk, client, scripted_server, server):
    question = {"role": "user", "content": "where is 7?"}
    play(scripted_server, LOOKS)
    unstored = client.responses.create(model=MODEL, input=[question], tools=[tool(server)], store=False)
    play(scripted_server, LOOKS)
    asked = client.responses.create(model=MODEL, input=[question], tools=[tool(server)])
    assert desk.http.post("/v1/tenants", json={"id": "others", "name": "Others"}).status_code == 201
    key = desk.http.post("/v1/keys", json={"name": "theirs", "scopes": ["write"], "tenant": "others"}).json()["key"]
    with client_of(desk, key) as others:
        for who, request in [(client, unstored.output[-1]), (others, asked.output[-1])]:
            word = {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True}
            with pytest.raises(BadRequestError) as refused:
                who.responses.create(model=MODEL, input=[question, word], tools=[tool(server)])
            assert refused.value.code == "approval_request_not_found" and request.id in refused.value.message


def test_a_conversation_goes_on_with_a_word_and_a_made_up_request_is_none(client, scripted_server, server):
    conversation = client.conversations.create()
    play(scripted_server, LOOKS, {"text": "Shipped."})
    asked = {"model": MODEL, "conversation": conversation.id, "tools": [tool(server)]}
    first = client.responses.create(input="where is 7?", **asked)
    request = first.output[-1]
    made_up = {"id": "mcpr_mine", "type": "mcp_approval_request", "server_label": "shop", "name": "look", "arguments": '{"id": "8"}'}
    yes = {"type": "mcp_approval_response", "approval_request_id": "mcpr_mine", "approve": True}
    with pytest.raises(BadRequestError) as forged:
        client.responses.create(input=[made_up, yes], **asked)
    assert forged.value.code == "approval_request_not_found"
    # Other arguments under the request's own id count for nothing.
    second = client.responses.create(input=[made_up | {"id": request.id}, yes | {"approval_request_id": request.id}], **asked)
    assert (second.output[0].type, second.output[0].arguments) == ("mcp_call", request.arguments)
    kinds = [item.type for item in client.conversations.items.list(conversation.id, order="asc")]
    assert kinds == ["message", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "mcp_call", "message"]


def test_headers_reach_the_server_and_nothing_that_is_shown(desk, client, scripted_server, server):
    play(scripted_server, {"tool_call": {"name": "who", "arguments": {}}}, {"text": "ok"})
    given = tool(server, require_approval="never", headers={"X-Other": "other-secret-1"}, authorization="tok-secret-1")
    response = client.responses.create(model=MODEL, input="who am I?", tools=[given])
    called = next(item for item in response.output if item.type == "mcp_call")
    assert called.output.splitlines()[0] == "Bearer [secret]"
    assert "secret-1" not in response.model_dump_json()
    assert "secret-1" not in client.responses.retrieve(response.id).model_dump_json()
    with pytest.raises(BadRequestError) as refused:
        client.responses.create(model=MODEL, input="hi", tools=[tool(server, headers={"Host": "secret-1"})])
    assert refused.value.param == "tools[0].headers.Host" and "secret-1" not in str(refused.value)
    kept = b"".join(path.read_bytes() for path in Path(desk.home).rglob("*") if path.is_file())
    assert b"secret-1" not in kept and response.id.encode() in kept


def test_a_server_that_fails_is_told_of_and_the_response_goes_on(desk, scripted_server, server):
    play(scripted_server, {"text": "Without it, then."})
    names, response = streamed(desk, model=MODEL, input="hi", tools=[tool("http://127.0.0.1:9/mcp")])
    assert "response.mcp_list_tools.failed" in names
    listed, said = response.output
    assert "127.0.0.1:9" in listed.error and said.content[0].text == "Without it, then."
    play(scripted_server, {"tool_call": {"name": "broken", "arguments": {}}}, {"text": "It does not work."})
    names, response = streamed(desk, model=MODEL, input="hi", tools=[tool(server, allowed_tools=["broken"], require_approval="never")])
    assert "response.mcp_call.failed" in names
    called = response.output[1]
    assert (called.status, called.output) == ("failed", None) and "Error executing tool broken" in str(called.error)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"server_url": "stdio:files"}, "server_url"),
        ({"server_url": "http://example.com/mcp"}, "server_url"),
        ({"server_url": "https://user:pass@example.com/"}, "server_url"),
        ({"server_url": None, "connector_id": "connector_gmail"}, "connector_id"),
        ({"server_url": None}, "server_label"),
    ],
)
def test_what_is_no_server_is_refused_by_name(client, scripted_server, more, param):
    play(scripted_server)
    with pytest.raises(BadRequestError) as refused:
        client.responses.create(model=MODEL, input="hi", tools=[tool("https://x", **more)])
    assert refused.value.param == f"tools[0].{param}", refused.value
    assert scripted_server.requests() == [], "nobody was asked"


def test_servers_of_requests_are_asked_only_where_the_operator_opens_that(another_frontdesk, scripted_server, server):
    up = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", models: [scripted] }} }}'
    desk = another_frontdesk(up, tools=[f'{{ id: {PROVIDER}, type: mcp, config: {{ inside: ["127.0.0.1"] }} }}'])
    with client_of(desk, desk.key) as client, pytest.raises(BadRequestError) as refused:
        client.responses.create(model=MODEL, input="hi", tools=[tool(server)])
    assert refused.value.code == "unsupported_tool" and "request_servers" in refused.value.message


def test_a_server_inside_is_for_keys_that_might_register_it_and_a_private_one_for_none(desk, client, scripted_server, server):
    key = desk.http.post("/v1/keys", json={"name": "shop", "scopes": ["use"]})
    assert key.is_success, key.text
    play(scripted_server, {"text": "Without it."}, {"text": "Without it."})
    with client_of(desk, key.json()["key"]) as user:
        with pytest.raises(PermissionDeniedError) as refused:
            user.responses.create(model=MODEL, input="hi", tools=[tool(server)])
        assert refused.value.param == "tools[0].server_url"
        private = user.responses.create(model=MODEL, input="hi", tools=[tool("https://127.0.0.2/mcp")])
        assert "not one of the public internet" in private.output[0].error


def test_a_group_that_is_registered_here_is_named_by_its_label(desk, client, scripted_server, server):
    registered = desk.http.post("/v1/toolgroups", json={
        "toolgroup_id": "till", "provider_id": PROVIDER, "mcp_endpoint": {"uri": server},
        "args": {"allowed_tools": ["look", "orders.count"], "authorization": "tok-secret-2"},
    })  # fmt: skip
    assert registered.is_success, registered.text
    play(scripted_server, LOOKS, {"text": "Shipped."})
    group = {"type": "mcp", "server_label": "till", "require_approval": "never"}
    names, response = streamed(desk, model=MODEL, input="where is 7?", tools=[group])
    assert "response.mcp_call.completed" in names
    assert (response.output[1].server_label, response.output[1].name) == ("till", "look")
    assert Response.model_validate(response.model_dump()).tools[0].server_label == "till"


def test_a_choice_allows_some_of_a_servers_tools(client, scripted_server, server):
    play(scripted_server, LOOKS, {"text": "It is shipped."})
    named = [{"type": "mcp", "server_label": "shop", "name": "look"}]
    response = client.responses.create(
        model=MODEL, input="where is 7?", tools=[tool(server, require_approval="never"), {"type": "function", "name": "weigh", "parameters": {"type": "object"}, "strict": False}],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": named},
    )  # fmt: skip
    first, second = [json.loads(request["body"]) for request in scripted_server.requests()]
    assert ([t["function"]["name"] for t in first["tools"]], first["tool_choice"]) == (["look"], "required")
    assert [t["function"]["name"] for t in second["tools"]] == ["look"] and response.output_text == "It is shipped."
    assert [t.type for t in response.tools] == ["mcp", "function"]
    with pytest.raises(BadRequestError) as refused:
        client.responses.create(
            model=MODEL, input="x", tools=[tool(server)],
            tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "shop", "name": "refund"}]},
        )  # fmt: skip
    assert refused.value.param == "tool_choice.tools[0].name"


def test_a_word_to_a_server_that_the_choice_leaves_out_is_refused_saying_so(client, scripted_server, server):
    play(scripted_server, LOOKS, {"text": "Shipped."})
    weigh = {"type": "function", "name": "weigh", "parameters": {"type": "object"}, "strict": False}
    first = client.responses.create(model=MODEL, input="where is 7?", tools=[tool(server), weigh])
    word = {"type": "mcp_approval_response", "approval_request_id": first.output[-1].id, "approve": True}
    ask = {"model": MODEL, "input": [word], "previous_response_id": first.id, "tools": [tool(server), weigh]}
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weigh"}]}
    with pytest.raises(BadRequestError) as refused:
        client.responses.create(**ask, tool_choice=choice)
    assert refused.value.param == "tools" and "'tool_choice'" in refused.value.message
    named = [*choice["tools"], {"type": "mcp", "server_label": "shop"}]
    second = client.responses.create(**ask, tool_choice=choice | {"tools": named})
    assert [item.type for item in second.output if item.type == "mcp_call"] == ["mcp_call"]
