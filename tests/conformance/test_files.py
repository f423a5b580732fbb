"""Files in a bucket of S3, with the official openai package in front and a bucket behind that judges every request."""

import json
import socket
import threading
import time

import botocore.session
import httpx
import openai
import pytest
from botocore.config import Config
from bucket import Bucket

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PART = 8 << 20
TEXT = b"# Parcels\n\nLost parcels wait in the lighthouse behind the harbour.\n"


@pytest.fixture
def bucket():
    bucket = Bucket()
    yield bucket
    bucket.stop()
    assert bucket.wrong == [], "requests that no client of S3 sends"


@pytest.fixture
def served(bucket, scripted_server, another_frontdesk):
    """A Frontdesk whose files are in the bucket, and a client of it."""
    clients = []

    def start(home=None, at=None, **more):
        up = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", api_key: upstream-key }} }}'
        frontdesk = another_frontdesk(up, files=[place(at or bucket, **more)], home=home)
        http = httpx.Client(trust_env=False)
        clients.append(http)
        client = openai.OpenAI(
            base_url=frontdesk.v1, api_key=frontdesk.key, max_retries=0, timeout=60, http_client=http, _strict_response_validation=True,
        )  # fmt: skip
        return frontdesk, client

    yield start
    for http in clients:
        http.close()


def place(at, **more):
    config = {
        "endpoint": at.url, "region": "eu-central-1", "bucket": "files", "prefix": "shop/files",
        "access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET, **more,
    }  # fmt: skip
    return json.dumps({"id": "s3", "type": "s3", "config": config})


def until(what, look):
    for _ in range(1200):
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} does not come")


def empty(bucket):
    until("an empty bucket", lambda: not bucket.objects and not bucket.uploads)


def refused(call):
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    return caught.value.status_code, caught.value.code, caught.value.body["message"]


def test_the_bucket_is_one_for_botocore_s_own_client(bucket):
    """Who judges is judged: botocore's client is served and found to do nothing wrong."""
    client = botocore.session.Session().create_client(
        "s3", region_name=bucket.region, endpoint_url=bucket.url, aws_access_key_id=bucket.keys[0], aws_secret_access_key=bucket.keys[1],
        config=Config(
            proxies={}, retries={"total_max_attempts": 1}, s3={"addressing_style": "path", "payload_signing_enabled": True},
            request_checksum_calculation="when_required", response_checksum_validation="when_required",
        ),
    )  # fmt: skip
    named = {"Bucket": "files", "Key": "a/b c+ü"}
    client.put_object(**named, Body=b"0123")
    assert client.get_object(**named, Range="bytes=1-2")["Body"].read() == b"12"
    upload = client.create_multipart_upload(**named)["UploadId"]
    assert [u["UploadId"] for u in client.list_multipart_uploads(Bucket="files", Prefix="a/")["Uploads"]] == [upload]
    tags = [client.upload_part(**named, UploadId=upload, PartNumber=n, Body=part)["ETag"] for n, part in ((1, b"x" * PART), (2, b"y"))]
    client.complete_multipart_upload(**named, UploadId=upload, MultipartUpload={"Parts": [{"ETag": tag, "PartNumber": n + 1} for n, tag in enumerate(tags)]})
    assert bucket.objects["a/b c+ü"] == b"x" * PART + b"y"
    client.delete_object(**named)
    left = client.create_multipart_upload(**named)["UploadId"]
    client.abort_multipart_upload(**named, UploadId=left)
    assert not bucket.objects and not bucket.uploads


def test_a_file_is_kept_read_searched_and_gone(bucket, served):
    frontdesk, client = served()
    file = client.files.create(file=("parcels.md", TEXT), purpose="assistants")
    ((key, content),) = bucket.objects.items()
    assert key.startswith("shop/files/default/blob_") and content == TEXT
    assert client.files.content(file.id).read() == TEXT
    part = frontdesk.http.get(f"/v1/files/{file.id}/content", headers={"range": "bytes=13-16"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, TEXT[13:17], f"bytes 13-16/{len(TEXT)}")
    # Only that part was fetched.
    assert bucket.asked[-1][1]["Range"] == "bytes=13-16"
    store = client.vector_stores.create(name="parcels", file_ids=[file.id])
    found = client.vector_stores.search(store.id, query="where do lost parcels wait?")
    assert "lighthouse" in found.data[0].content[0].text
    assert client.files.delete(file.id).deleted
    empty(bucket)
    assert "ListMultipartUploads" in bucket.operations()


@pytest.mark.parametrize(("size", "parts"), [(0, 0), (PART - 1, 0), (PART, 1), (2 * PART + 1, 3)])
def test_a_long_file_goes_in_parts(bucket, served, size, parts):
    frontdesk, client = served()
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    file = client.files.create(file=("long.bin", content), purpose="user_data")
    assert list(bucket.objects.values()) == [content] and file.bytes == size
    assert bucket.operations().count("UploadPart") == parts
    assert client.files.content(file.id).read() == content
    assert frontdesk.http.delete(f"/v1/files/{file.id}").status_code == 200
    empty(bucket)


def test_the_bucket_may_be_a_part_of_the_host_s_name(served):
    # Every name under localhost is this machine (RFC 6761, section 6.3), where the resolver holds to that.
    try:
        socket.getaddrinfo("files.localhost", 80)
    except OSError:
        pytest.skip("this machine does not look up names under localhost")
    by_host = Bucket(by_host=True)
    _, client = served(at=by_host, endpoint=by_host.url.replace("127.0.0.1", "localhost"), path_style=False)
    file = client.files.create(file=("a.txt", b"hello"), purpose="user_data")
    assert client.files.content(file.id).read() == b"hello" and len(by_host.objects) == 1 and not by_host.wrong
    by_host.stop()


def test_a_batch_s_files_are_there_too(bucket, served, scripted):
    _, client = served()
    scripted.script([{"when": {"last_user_contains": "bad"}, "times": 9, "reply": {"status": 400, "json": {"error": {"message": "no"}}}}, {"times": 9, "reply": {"text": "hello"}}])
    ask = lambda words: {"model": "up/scripted", "messages": [{"role": "user", "content": words}]}  # noqa: E731
    lines = [json.dumps({"custom_id": w, "method": "POST", "url": "/v1/chat/completions", "body": ask(w)}) for w in ("good", "bad")]
    file = client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    # Its input cannot be read the first time, its output not be kept.
    bucket.fault("GetObject", *[(503, "SlowDown")] * 4)
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    batch = until("the end of the batch", lambda: (b := client.batches.retrieve(batch.id)).status == "completed" and b)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 1)
    assert len(bucket.objects) == 3
    (good,) = client.files.content(batch.output_file_id).text.splitlines()
    (bad,) = client.files.content(batch.error_file_id).text.splitlines()
    assert "hello" in good and json.loads(bad)["response"]["status_code"] == 400
    for one in (file.id, batch.output_file_id, batch.error_file_id):
        client.files.delete(one)
    empty(bucket)


def test_what_passes_is_asked_again(bucket, served):
    _, client = served()
    bucket.fault("PutObject", (500, "InternalError"), (503, "SlowDown"))
    file = client.files.create(file=("a.txt", TEXT), purpose="user_data")
    assert bucket.operations().count("PutObject") == 3 and list(bucket.objects.values()) == [TEXT]
    # An answer that breaks off is read on from there.
    bucket.fault("GetObject", (500, "InternalError"), "cut")
    assert client.files.content(file.id).read() == TEXT
    assert bucket.asked[-1][1].get("Range", "").startswith("bytes=")


def test_what_does_not_pass_is_said_and_leaves_nothing(bucket, served):
    frontdesk, client = served()
    content = b"z" * (PART + 1)
    for operation in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"):
        bucket.fault(operation, (403, "AccessDenied"))
        status, code, message = refused(lambda: client.files.create(file=("a.bin", content), purpose="user_data"))
        assert (status, code) == (502, "file_store_denied") and "'files'" in message and "s3:PutObject" in message
        empty(bucket)
    # Asked so often and no more.
    bucket.fault("PutObject", *[(500, "InternalError")] * 9)
    status, code, message = refused(lambda: client.files.create(file=("a.txt", b"x"), purpose="user_data"))
    assert (status, code) == (503, "file_store_unavailable") and bucket.url in message
    assert bucket.operations().count("PutObject") == 4
    assert client.files.list().data == []
    assert frontdesk.http.get("/v1/providers/s3").json()["health"]["status"] == "OK"


@pytest.mark.parametrize(
    ("wrong", "status", "code", "words"),
    [
        ({"bucket": "nobodys"}, 502, "file_store_bucket_missing", "'nobodys'"),
        ({"access_key_id": "AKIDNOBODY"}, 502, "file_store_denied", "access_key_id"),
        ({"secret_access_key": "wrong"}, 502, "file_store_denied", "secret_access_key"),
        ({"region": "us-east-1"}, 502, "file_store_region", "'eu-central-1'"),
        ({"endpoint": "http://127.0.0.1:1"}, 503, "file_store_unavailable", "http://127.0.0.1:1"),
    ],
)
def test_a_wrong_setting_is_named_to_clients_and_at_the_start(served, wrong, status, code, words):
    frontdesk, client = served(**wrong)
    said = refused(lambda: client.files.create(file=("a.txt", b"x"), purpose="user_data"))
    assert said[:2] == (status, code) and words in said[2] and SECRET not in said[2]
    health = frontdesk.http.get("/v1/providers/s3").json()["health"]
    assert health["status"] == "Error" and words in health["message"]
    until("the log", lambda: any("files cannot be kept or read" in line and words in line for line in frontdesk.program.lines))
    # Everything else works.
    assert client.models.list().data


def test_a_clock_that_is_wrong_is_named(bucket, served):
    _, client = served()
    bucket.fault("PutObject", (403, "RequestTimeTooSkewed"))
    status, code, message = refused(lambda: client.files.create(file=("a.txt", b"x"), purpose="user_data"))
    assert (status, code) == (502, "file_store_clock") and "clocks" in message


def test_a_content_that_is_not_what_was_stored_is_never_given_out(bucket, served):
    frontdesk, client = served()
    file = client.files.create(file=("a.txt", TEXT), purpose="user_data")
    (key,) = bucket.objects
    bucket.objects[key] = TEXT.replace(b"lighthouse", b"lighthorse")
    with pytest.raises(httpx.HTTPError):
        frontdesk.http.get(f"/v1/files/{file.id}/content")
    bucket.objects.clear()
    status, code, message = refused(lambda: client.files.content(file.id))
    assert (status, code) == (502, "file_content_damaged") and file.id in message


def test_what_a_killed_server_put_and_did_not_name_is_cleared_by_the_next(bucket, served):
    frontdesk, client = served()
    kept = client.files.create(file=("kept.txt", b"named"), purpose="user_data")
    # One is whole, since the form goes on behind it; one is in the middle of its parts; one is on its way.
    bucket.gate = threading.Event()
    sockets = [unfinished(frontdesk, b"whole\r\n--xx\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n")]
    until("the whole one", lambda: len(bucket.objects) == 2)
    sockets.append(unfinished(frontdesk, b"z" * (PART + PART // 2)))
    until("its first part", lambda: any(parts for _, parts in list(bucket.uploads.values())))
    bucket.fault("PutObject", "hold")
    sockets.append(unfinished(frontdesk, b"late\r\n--xx\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n"))
    until("the late one", lambda: bucket.operations().count("PutObject") == 3)
    frontdesk.program.stop()
    for one in sockets:
        one.close()
    _, client = served(home=frontdesk.home)
    until("a clear bucket", lambda: len(bucket.objects) == 1 and not bucket.uploads)
    bucket.gate.set()
    assert [file.id for file in client.files.list()] == [kept.id]
    assert client.files.content(kept.id).read() == b"named"


def unfinished(frontdesk, content):
    """The form of an upload up to where its last part would come."""
    host, port = frontdesk.url.removeprefix("http://").split(":")
    one = socket.create_connection((host, int(port)))
    one.sendall(
        f"POST /v1/files HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {frontdesk.key}\r\n"
        "content-type: multipart/form-data; boundary=xx\r\ncontent-length: 50000000\r\n\r\n"
        '--xx\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'.encode() + content
    )  # fmt: skip
    return one


def test_files_from_before_stay_readable(bucket, served, another_frontdesk):
    before = another_frontdesk()
    old = before.http.post("/v1/files", files={"file": ("old.txt", b"in the database")}, data={"purpose": "user_data"}).json()["id"]
    before.program.stop()
    frontdesk, client = served(home=before.home)
    new = client.files.create(file=("new.txt", b"in the bucket"), purpose="user_data").id
    assert client.files.content(old).read() == b"in the database" and client.files.content(new).read() == b"in the bucket"
    assert list(bucket.objects.values()) == [b"in the bucket"]
    frontdesk.program.stop()
    # Without the entry the file is there and its content is not, and both the client and the log are told why.
    after = another_frontdesk(home=before.home)
    lost = after.http.get(f"/v1/files/{new}/content")
    assert (lost.status_code, lost.json()["error"]["code"]) == (502, "file_store_not_configured")
    assert after.http.get(f"/v1/files/{old}/content").content == b"in the database"
    until("the log", lambda: any("store that is not configured" in line for line in after.program.lines))
