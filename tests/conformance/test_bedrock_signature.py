"""Amazon Bedrock as an upstream: every request of ours is signed as botocore signs it.

What we sent is taken as it arrived at the scripted upstream; botocore's signer gets the same method, address, headers,
body, keys and time, and must come to the same signature.
"""

import datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import ContainerMetadataFetcher, InstanceMetadataFetcher

HELLO = [{"role": "user", "content": "Hello"}]
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}}, "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, "metrics": {"latencyMs": 4},
}  # fmt: skip

MODELS = [
    "anthropic.claude-3-haiku-20240307-v1:0",
    "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "amazon.titan-text-express-v1:0:8k",
    "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-lite/abcdefghijkl",
    "arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:provisioned-model/abcdefghijkl",
    "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/own",
    "arn:aws:bedrock:eu-central-1:123456789012:prompt/ABCDEFGHIJ:3",
    # Names that no model has, but a client may send.
    "a b", "a+b", "a%2Fb", "a~b_c.d-e", "Grüße", "模型", "a/../b", "a//b", "a?b=c", "a#b", "a&b=c;d", "'\"<>\\^`{|}", "%",
]  # fmt: skip


def judge(request, origin, keys, monkeypatch):
    """Signs what arrived once more."""
    headers = dict(request["headers"])
    signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    assert {"host", "x-amz-date"} <= set(signed)
    # AWS wants all of its own headers signed.
    assert all(name in signed for name in headers if name.startswith("x-amz-"))
    at = datetime.datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: at)
    # What the signer adds itself is not handed in.
    given = {name: headers[name] for name in signed if name not in ("x-amz-date", "x-amz-security-token")}
    again = AWSRequest(method=request["method"], url=origin + request["path"], headers=given, data=request["body"].encode())
    credentials = Credentials(keys["access_key_id"], keys["secret_access_key"], keys.get("session_token"))
    SigV4Auth(credentials, "bedrock", "eu-central-1").add_auth(again)
    assert headers["authorization"] == again.headers["Authorization"]
    assert headers.get("x-amz-security-token") == keys.get("session_token")
    now = datetime.datetime.now(datetime.timezone.utc)
    assert abs(now - at) < datetime.timedelta(minutes=5), "AWS takes no other time"


@pytest.mark.parametrize("model", MODELS)
def test_a_chat_is_signed_whatever_its_model_is_called(model, openai_client, amazon, scripted, aws_keys, monkeypatch):
    scripted.script([{"times": 2, "reply": {"json": ANSWER}}])
    openai_client.chat.completions.create(model=f"aws/{model}", messages=[{"role": "user", "content": "Grüße \U0001f600"}])
    (ours,) = scripted.requests()
    judge(ours, scripted.url, aws_keys, monkeypatch)
    monkeypatch.undo()
    amazon().converse(modelId=model, messages=[{"role": "user", "content": [{"text": "Grüße \U0001f600"}]}])
    assert ours["path"] == scripted.requests()[-1]["path"]


INVOKED = ["amazon.titan-embed-text-v2:0", "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.cohere.embed-v4:0"]


@pytest.mark.parametrize("model", INVOKED)
def test_an_invocation_is_signed(model, lenient_openai_client, amazon, scripted, aws_keys, monkeypatch):
    said = {"embedding": [0.5]} if "titan" in model else {"embeddings": {"float": [[0.5]]}}
    scripted.script([{"times": 2, "reply": {"json": said}}])
    lenient_openai_client.embeddings.create(model=f"aws/{model}", input="Grüße \U0001f600")
    (ours,) = scripted.requests()
    judge(ours, scripted.url, aws_keys, monkeypatch)
    monkeypatch.undo()
    amazon().invoke_model(modelId=model, body=ours["body"], contentType="application/json")
    assert ours["path"] == scripted.requests()[-1]["path"]


def test_counting_is_signed(anthropic_client, scripted, aws_keys, monkeypatch):
    scripted.script([{"reply": {"json": {"inputTokens": 7}}}])
    counted = anthropic_client.messages.count_tokens(model="aws/claude-scripted", messages=HELLO)
    assert counted.input_tokens == 7
    judge(scripted.requests()[-1], scripted.url, aws_keys, monkeypatch)


def test_a_key_of_bedrock_s_is_a_bearer_token(openai_client, scripted):
    scripted.script([{"reply": {"json": ANSWER}}])
    openai_client.chat.completions.create(model="awskey/claude-scripted", messages=HELLO)
    headers = dict(scripted.requests()[-1]["headers"])
    assert headers["authorization"] == "Bearer upstream-key" and "x-amz-date" not in headers


# ---------------------------------------------------------------- keys that are lent

LENT = {"access_key_id": "ASIALENT", "secret_access_key": "lent/secret", "session_token": "lent+token=="}
LOAN = {
    "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIALENT", "SecretAccessKey": "lent/secret", "Token": "lent+token==",
    "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z",
}  # fmt: skip


def asked(requests, *headers):
    """What of these requests matters to who lends."""
    return [(r["method"], r["path"], {n: v for n, v in r["headers"] if n in headers}) for r in requests]


def test_a_machine_s_keys_are_fetched_as_botocore_fetches_them(another_frontdesk, scripted, monkeypatch):
    role = "/latest/meta-data/iam/security-credentials/"
    steps = [
        {"when": {"path": "/latest/api/token"}, "reply": {"body": "metadata-token"}},
        {"when": {"path": f"{role}shop"}, "reply": {"json": LOAN}},
        {"when": {"path": role}, "reply": {"body": "shop"}},
        {"times": 2, "reply": {"json": ANSWER}},
    ]
    scripted.script(steps)
    http = another_frontdesk(
        f'{{ id: aws, type: bedrock, config: {{ base_url: "{scripted.url}", region: eu-central-1,'
        f' credentials: {{ from: instance, url: "{scripted.url}" }} }} }}'
    ).http
    for _ in range(2):
        http.post("/v1/chat/completions", json={"model": "aws/m", "messages": HELLO}).raise_for_status()
    *ours, first, second = scripted.requests()
    for request in (first, second):
        judge(request, scripted.url, LENT, monkeypatch)
    monkeypatch.undo()
    theirs = InstanceMetadataFetcher(base_url=f"{scripted.url}/").retrieve_iam_role_credentials()
    assert (theirs["access_key"], theirs["secret_key"], theirs["token"]) == tuple(LENT.values())
    names = ("x-aws-ec2-metadata-token", "x-aws-ec2-metadata-token-ttl-seconds")
    assert asked(ours, *names) == asked(scripted.requests()[5:], *names) and len(ours) == 3


def test_a_container_s_keys_are_fetched_as_botocore_fetches_them(another_frontdesk, scripted, tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("pod-token")
    scripted.script([{"when": {"path": "/v1/credentials"}, "reply": {"json": LOAN}}, {"times": 2, "reply": {"json": ANSWER}}])
    url = f"{scripted.url}/v1/credentials"
    http = another_frontdesk(
        f'{{ id: aws, type: bedrock, config: {{ base_url: "{scripted.url}", region: eu-central-1,'
        f' credentials: {{ from: container, url: "{url}", token_file: "{token}" }} }} }}'
    ).http
    http.post("/v1/chat/completions", json={"model": "aws/m", "messages": HELLO}).raise_for_status()
    ours, chat = scripted.requests()
    judge(chat, scripted.url, LENT, monkeypatch)
    monkeypatch.undo()
    assert ContainerMetadataFetcher().retrieve_full_uri(url, headers={"Authorization": "pod-token"}) == LOAN
    assert asked([ours], "authorization") == asked(scripted.requests()[-1:], "authorization")


# ---------------------------------------------------------------- models of the account


@pytest.fixture(scope="module")
def discovering(scripted_server, another_frontdesk):
    """A Frontdesk that asks the control plane; no session token, another id."""
    up = scripted_server.url
    return another_frontdesk(
        f'{{ id: aws, type: bedrock, config: {{ base_url: "{up}", control_url: "{up}/", region: eu-central-1,'
        ' access_key_id: AKIDOTHER, secret_access_key: "other/secret", discover: true } }'
    ).http


def arn(model):
    return f"arn:aws:bedrock:eu-central-1::foundation-model/{model}"


def test_models_are_discovered_as_the_control_plane_lists_them(discovering, amazon, scripted, monkeypatch):
    def foundation(model, *kinds, gives="TEXT"):
        return {"modelId": model, "modelArn": arn(model), "outputModalities": [gives], "inferenceTypesSupported": list(kinds)}

    def profile(id, kind, *models):
        return {
            "inferenceProfileName": id.replace(".", "-"), "inferenceProfileId": id, "status": "ACTIVE", "type": kind,
            "inferenceProfileArn": f"arn:aws:bedrock:eu-central-1:123456789012:inference-profile/{id}",
            "models": [{"modelArn": arn(model)} for model in models],
        }  # fmt: skip

    lists = [
        {"modelSummaries": [
            foundation("amazon.nova-lite-v1:0", "ON_DEMAND"), foundation("anthropic.claude-v9:0", "INFERENCE_PROFILE"),
            foundation("amazon.titan-embed-text-v2:0", "ON_DEMAND", gives="EMBEDDING"), foundation("cohere.rerank-v3-5:0", "ON_DEMAND"),
            foundation("amazon.titan-embed-image-v1", "ON_DEMAND", gives="EMBEDDING"), foundation("stability.v1:0", "ON_DEMAND", gives="IMAGE"),
        ]},
        {"inferenceProfileSummaries": [profile("eu.anthropic.claude-v9:0", "SYSTEM_DEFINED", "anthropic.claude-v9:0")], "nextToken": "a+b/c="},
        {"inferenceProfileSummaries": [
            profile("own", "APPLICATION", "amazon.nova-lite-v1:0"), profile("eu.stability.v1:0", "SYSTEM_DEFINED", "stability.v1:0"),
        ]},
    ]  # fmt: skip
    paths = ["/foundation-models", "/inference-profiles", "/inference-profiles"]
    # Asked once by each of the two.
    steps = [{"when": {"path": path}, "times": 1, "reply": {"json": list}} for path, list in zip(paths, lists)] * 2
    scripted.script(steps)
    kinds = {model["id"]: model["model_type"] for model in discovering.get("/v1/models").raise_for_status().json()["data"]}
    own = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/own"
    chats = dict.fromkeys([f"aws/{name}" for name in ("amazon.nova-lite-v1:0", "eu.anthropic.claude-v9:0", own)], "llm")
    assert kinds == {**chats, "aws/amazon.titan-embed-text-v2:0": "embedding", "aws/cohere.rerank-v3-5:0": "rerank"}
    keys = {"access_key_id": "AKIDOTHER", "secret_access_key": "other/secret"}
    ours = scripted.requests()
    assert len(ours) == 3
    for request in ours:
        judge(request, scripted.url, keys, monkeypatch)
    monkeypatch.undo()
    # The lists are what botocore reads, and it asks for them at the same addresses.
    control = amazon("bedrock")
    assert control.list_foundation_models()["modelSummaries"] == lists[0]["modelSummaries"]
    assert control.list_inference_profiles(maxResults=1000)["inferenceProfileSummaries"] == lists[1]["inferenceProfileSummaries"]
    second = control.list_inference_profiles(maxResults=1000, nextToken="a+b/c=")
    assert second["inferenceProfileSummaries"] == lists[2]["inferenceProfileSummaries"]
    assert [r["path"] for r in scripted.requests()[3:]] == [r["path"] for r in ours]


def test_a_list_that_is_denied_says_so(discovering, scripted):
    denied = {"status": 403, "headers": {"x-amzn-errortype": "AccessDeniedException"}, "json": {"message": "not authorized"}}
    scripted.script([{"when": {"path": "/foundation-models"}, "reply": denied}])
    (provider,) = (p for p in discovering.get("/v1/providers").raise_for_status().json()["data"] if p["provider_id"] == "aws")
    assert provider["health"]["status"] == "Error" and "not authorized" in provider["health"]["message"]
    assert "other/secret" not in str(provider)
