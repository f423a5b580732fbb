"""End customers, as apps send them: llama-stack-client 0.2.12 by default_headers, the official openai package by extra_headers.

Tokens are signed here, by Python's hmac and by cryptography's Ed25519; the shop's tool is a real component that runs
here and says which order it was asked for, and that order is bound to the customer.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import time

import openai
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from llama_stack_client import AuthenticationError, LlamaStackClient, NotFoundError, PermissionDeniedError

HEADER = "X-Frontdesk-Customer-Token"
SECRET = "the secret of the shop's own sign-in"
SHOP_TOOLS = pathlib.Path(__file__).parents[2] / "services/gateway/demo/tools/shop-tools.wasm"
GROUP = "bound-shop"


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header, claims, sign):
    text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{text}.{b64(sign(text.encode()))}"


def token(sub, seconds=600, secret=SECRET, kid="conformance", **more):
    claims = {"sub": sub, "aud": "shop", "exp": int(time.time()) + seconds, **more}
    return signed({"alg": "HS256", "typ": "JWT", "kid": kid}, claims, lambda text: hmac.digest(secret.encode(), text, hashlib.sha256))


@pytest.fixture(scope="module", autouse=True)
def shop(frontdesk):
    """The keys, the tool with its order bound to the customer, and an agent with it."""

    def post(path, **more):
        answer = frontdesk.http.post(path, **more)
        assert answer.is_success, answer.text
        return answer.json()

    pair = Ed25519PrivateKey.generate()
    pem = pair.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    keys = [
        post("/v1/customer-keys", json={"algorithm": "HS256", "audience": "shop", "kid": "conformance", "secret": SECRET}),
        post("/v1/customer-keys", json={"algorithm": "EdDSA", "audience": "shop", "kid": "pair", "public_key": pem.decode()}),
    ]
    component = post("/v1/files", files={"file": ("shop-tools.wasm", SHOP_TOOLS.read_bytes())}, data={"purpose": "assistants"})["id"]
    tools = {"lookup_order": {"bind": {"order_id": "customer.sub"}}, "start_return": {"bind": {"order_id": "customer.order"}}}
    args = {"component": component, "grants": ["kv"]}
    post("/v1/toolgroups", json={"toolgroup_id": GROUP, "provider_id": "wasm", "args": args, "tools": tools})
    config = {"name": GROUP, "model": "up/scripted", "instructions": "", "toolgroups": [GROUP]}
    agent = post("/v1/agents", json={"agent_config": config})["agent_id"]
    use = post("/v1/keys", json={"name": "app", "scopes": ["use"]})
    yield {"agent": agent, "pair": pair, "app": use["key"]}
    frontdesk.http.delete(f"/v1/agents/{agent}")
    frontdesk.http.delete(f"/v1/toolgroups/{GROUP}")
    frontdesk.http.delete(f"/v1/keys/{use['id']}")
    for key in keys:
        frontdesk.http.delete(f"/v1/customer-keys/{key['id']}")


@pytest.fixture
def llama(frontdesk, shop):
    """Makes a client of the app's on behalf of a customer."""

    def client(token=None, key=shop["app"]):
        headers = {HEADER: token} if token else {}
        return LlamaStackClient(base_url=frontdesk.url, api_key=key, max_retries=0, timeout=60, default_headers=headers)

    return client


def calls(tool, arguments, then="It is {tool_content}."):
    return [{"reply": {"tool_call": {"name": tool, "arguments": arguments}}}, {"reply": {"text": then}}]


def sent(scripted, number=-1):
    return json.loads(scripted.requests()[number]["body"])


def ask(client, shop, session_id, words="Where is it?"):
    messages = [{"role": "user", "content": words}]
    return client.agents.turn.create(session_id, agent_id=shop["agent"], stream=False, messages=messages)


def test_a_bound_argument_is_the_verified_customers_whatever_the_model_writes(llama, shop, scripted):
    ada = llama(token("ada-7"))
    session = ada.agents.session.create(shop["agent"], session_name="mine").session_id
    scripted.script(calls("lookup_order", {"order_id": "eve-1"}))
    turn = ask(ada, shop, session)
    assert turn.output_message.content == 'It is {"error":"order ada-7 not found"}.'
    (offered,) = [t["function"] for t in sent(scripted, 0)["tools"] if t["function"]["name"] == "lookup_order"]
    assert "order_id" not in offered["parameters"].get("properties", {}), "the model is not shown it"

    # A claim beside `sub`, signed by the other key.
    pair = signed({"alg": "EdDSA", "kid": "pair"}, {"sub": "ada-7", "aud": ["shop"], "exp": time.time() + 60.5, "order": "o-42"}, shop["pair"].sign)
    scripted.script(calls("start_return", {"order_id": "eve-1"}))
    assert "order o-42 not found" in ask(llama(pair), shop, session).output_message.content


def test_without_the_customer_the_tool_is_not_run_and_the_model_reads_why(llama, shop, scripted):
    nobody = llama()
    session = nobody.agents.session.create(shop["agent"], session_name="anonymous").session_id
    scripted.script(calls("lookup_order", {"order_id": "eve-1"}))
    said = ask(nobody, shop, session).output_message.content
    assert "signed in" in said and "eve-1" not in said
    scripted.script(calls("start_return", {"order_id": "eve-1"}))
    said = ask(llama(token("ada-7")), shop, session).output_message.content
    assert "customer.order" in said and "eve-1" not in said


def test_a_conversation_is_its_customers(llama, frontdesk, shop, scripted):
    ada, eve, nobody, staff = llama(token("ada")), llama(token("eve")), llama(), llama(key=frontdesk.key)
    session = ada.agents.session.create(shop["agent"], session_name="mine").session_id
    scripted.script([{"reply": {"text": "Hello, Ada."}}])
    turn = ask(ada, shop, session).turn_id
    where = {"agent_id": shop["agent"], "session_id": session}
    for client, error in [(eve, NotFoundError), (nobody, PermissionDeniedError)]:
        for attempt in [
            lambda: ask(client, shop, session),
            lambda: client.agents.session.retrieve(session, agent_id=shop["agent"]),
            lambda: client.agents.session.delete(session, agent_id=shop["agent"]),
            lambda: client.agents.turn.retrieve(turn, **where),
            lambda: client.agents.turn.resume(turn, tool_responses=[], stream=False, **where),
        ]:
            with pytest.raises(error):
                attempt()
    with pytest.raises(PermissionDeniedError) as refused:
        ask(staff, shop, session)
    assert refused.value.response.json()["error"]["code"] == "customer_token_required"
    assert staff.agents.turn.retrieve(turn, **where).output_message.content == "Hello, Ada."
    ada.agents.session.delete(session, agent_id=shop["agent"])


def test_openai_responses_and_conversations_take_the_customer_along(frontdesk, shop, scripted):
    client = openai.OpenAI(base_url=frontdesk.v1, api_key=shop["app"], max_retries=0, timeout=60, _strict_response_validation=True)
    ada, eve = {HEADER: token("ada-7")}, {HEADER: token("eve")}
    scripted.script(calls("lookup_order", {}))
    answer = client.responses.create(model=f"agent/{GROUP}", input="Where is it?", extra_headers=ada)
    assert answer.output_text == 'It is {"error":"order ada-7 not found"}.'
    scripted.script(calls("lookup_order", {}))
    chat = client.chat.completions.create(model=f"agent/{GROUP}", messages=[{"role": "user", "content": "?"}], extra_headers=ada)
    assert "order ada-7 not found" in chat.choices[0].message.content

    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id, extra_headers=eve)
    with pytest.raises(openai.PermissionDeniedError):
        client.responses.retrieve(answer.id)
    with pytest.raises(openai.BadRequestError, match="not found"):
        client.responses.create(model="up/scripted", input="and?", previous_response_id=answer.id, extra_headers=eve)
    assert client.responses.retrieve(answer.id, extra_headers=ada).output_text == answer.output_text

    talk = client.conversations.create(items=[{"type": "message", "role": "user", "content": "my secret"}], extra_headers=ada)
    (item,) = client.conversations.items.list(talk.id, extra_headers=ada).data
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.list(talk.id, extra_headers=eve)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="up/scripted", input="hi", conversation=talk.id, extra_headers=eve)
    with pytest.raises(openai.BadRequestError):
        reference = [{"type": "item_reference", "id": item.id}]
        client.responses.create(model="up/scripted", input=reference, extra_headers=eve)
    client.conversations.delete(talk.id, extra_headers=ada)


def test_a_token_that_is_not_good_is_told_so_and_never_repeated(frontdesk, llama, shop):
    good = token("ada")
    head, claims, _ = good.split(".")
    for bad, code in [
        (token("ada", seconds=-60), "expired_customer_token"),
        (token("ada", secret="another secret, long enough, yes"), "invalid_customer_token"),
        (token("ada", kid="nobody"), "unknown_customer_key"),
        (token("ada", aud="others"), "invalid_customer_token"),
        (token(7), "invalid_customer_token"),
        (token("ada", note="x" * 9_000), "invalid_customer_token"),
        (f"{b64(json.dumps({'alg': 'none', 'kid': 'conformance'}).encode())}.{claims}.", "invalid_customer_token"),
        ("hello", "invalid_customer_token"),
    ]:
        with pytest.raises(AuthenticationError) as refused:
            llama(bad).agents.session.create(shop["agent"], session_name="no")
        error = refused.value.response.json()["error"]
        assert (error["code"], error["param"]) == (code, HEADER)
        assert len(bad) < 10 or bad not in json.dumps(error)
    # Longer heads than any server should read are refused before they are looked at.
    answer = frontdesk.http.get("/v1/models", headers={HEADER: token("ada", note="x" * 100_000)})
    assert answer.status_code == 431
    for values in [[good, good], ["\u00e9"]]:
        headers = [(HEADER.encode(), value.encode("latin-1")) for value in values]
        answer = frontdesk.http.get("/v1/models", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_customer_token")


def test_a_revoked_keys_tokens_open_nothing(frontdesk, llama, shop):
    made = frontdesk.http.post("/v1/customer-keys", json={"algorithm": "HS256", "audience": "shop"}).json()
    brief = llama(token("ada", secret=made["secret"], kid=made["kid"]))
    brief.models.list()
    assert made["secret"] not in frontdesk.http.get("/v1/customer-keys").text
    assert frontdesk.http.delete(f"/v1/customer-keys/{made['id']}").is_success
    with pytest.raises(AuthenticationError, match="revoked"):
        brief.models.list()
