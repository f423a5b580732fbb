"""A bucket of S3 on loopback that judges what it is asked, independently of who asks.

Every request must be signed as botocore's own signer signs it, must be an operation of botocore's model of S3 with
members that this operation has, and a body must be what its signed hash says. What is wrong is kept in `wrong`, and the
request is refused. Contents are in memory; `faults` are answers to come instead of the right one.
"""

import datetime
import hashlib
import threading
import urllib.parse
import xml.etree.ElementTree as ElementTree
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.session
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
# S3's smallest part that is not the last ("Amazon S3 multipart upload limits").
SMALLEST_PART = 5 << 20
MODEL = botocore.session.Session().get_service_model("s3")
# Which operation a request is, by its method, whether it names an object, and the query that tells it from others.
OPERATIONS = {
    ("PUT", True, frozenset()): "PutObject",
    ("GET", True, frozenset()): "GetObject",
    ("DELETE", True, frozenset()): "DeleteObject",
    ("POST", True, frozenset({"uploads"})): "CreateMultipartUpload",
    ("PUT", True, frozenset({"uploadId", "partNumber"})): "UploadPart",
    ("POST", True, frozenset({"uploadId"})): "CompleteMultipartUpload",
    ("DELETE", True, frozenset({"uploadId"})): "AbortMultipartUpload",
    ("GET", False, frozenset({"uploads"})): "ListMultipartUploads",
}
TELLING = {"uploads", "uploadId", "partNumber"}


class Clock:
    """The time botocore's signer takes, by thread: several requests are judged at once."""

    at = threading.local()


class Signer(S3SigV4Auth):
    """Signs at the time of the request that is judged."""

    def add_auth(self, request):
        request.context["timestamp"] = Clock.at.value
        self._modify_request_before_signing(request)
        canonical = self.canonical_request(request)
        self._inject_signature_to_request(request, self.signature(self.string_to_sign(request, canonical), request))


class Bucket:
    def __init__(self, name="files", keys=("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), region="eu-central-1", by_host=False):
        self.name, self.keys, self.region, self.by_host = name, keys, region, by_host
        self.objects, self.uploads = {}, {}
        self.asked, self.wrong, self.faults = [], [], []
        self.gate = None
        self._lock = threading.Lock()
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do(self):
                bucket.answer(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def fault(self, operation, *answers):
        """The next requests of this operation are answered so: a pair of status and code, `cut`, or `hold`."""
        with self._lock:
            self.faults += [(operation, answer) for answer in answers]

    def operations(self):
        return [operation for operation, _ in self.asked]

    # ---------------------------------------------------------------- judging

    def judge(self, handler, body):
        """Operation and members of a request. Raises a refusal."""
        headers = {name.lower(): value for name, value in handler.headers.items()}
        path, _, query = handler.path.partition("?")
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
        given = dict(pairs)
        self.signature(handler, headers, body)
        if self.by_host:
            bucket, key = headers["host"].split(".", 1)[0], path.lstrip("/")
        else:
            bucket, _, key = path.lstrip("/").partition("/")
        key = urllib.parse.unquote(key)
        if bucket != self.name:
            raise Refusal(404, "NoSuchBucket")
        operation = OPERATIONS.get((handler.command, bool(key), frozenset(TELLING & given.keys())))
        if operation is None:
            raise Wrong(f"no operation: {handler.command} {handler.path}")
        shape = MODEL.operation_model(operation).input_shape
        members = {"Bucket": bucket, **({"Key": key} if key else {})}
        for name, member in shape.members.items():
            where = member.serialization.get("location")
            if where == "querystring" and member.serialization["name"] in given:
                members[name] = given.pop(member.serialization["name"])
            elif where == "header" and member.serialization["name"].lower() in headers:
                members[name] = headers[member.serialization["name"].lower()]
        given.pop("uploads", None)
        # botocore's clients say which operation they mean; it is no member.
        given.pop("x-id", None)
        if given:
            raise Wrong(f"{operation} has no {sorted(given)}")
        if missing := [name for name in shape.required_members if name not in members]:
            raise Wrong(f"{operation} lacks {missing}")
        return operation, members

    def signature(self, handler, headers, body):
        said = headers.get("authorization", "")
        if not said.startswith("AWS4-HMAC-SHA256 "):
            raise Refusal(403, "AccessDenied")
        scope = said.split("Credential=")[1].split(",")[0].split("/")
        signed = said.split("SignedHeaders=")[1].split(",")[0].split(";")
        if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(signed):
            raise Wrong(f"signed is only {signed}")
        if unsigned := [name for name in headers if name.startswith("x-amz-") and name not in signed]:
            raise Wrong(f"not signed: {unsigned}")
        if scope[0] != self.keys[0]:
            raise Refusal(403, "InvalidAccessKeyId")
        if scope[2] != self.region:
            raise Refusal(400, "AuthorizationHeaderMalformed", f"<Region>{self.region}</Region>")
        at = datetime.datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        now = datetime.datetime.now(datetime.timezone.utc)
        if abs(now - at) > datetime.timedelta(minutes=15):
            raise Refusal(403, "RequestTimeTooSkewed")
        again = AWSRequest(
            method=handler.command, url=f"http://{headers['host']}{handler.path}", data=body,
            headers={name: headers[name] for name in signed if name not in ("x-amz-date", "x-amz-content-sha256", "x-amz-security-token")},
        )  # fmt: skip
        hashed = headers["x-amz-content-sha256"]
        if hashed != hashlib.sha256(body).hexdigest():
            raise Wrong(f"the body is not what its hash says: {hashed}")
        again.context["payload_signing_enabled"] = True
        Clock.at.value = headers["x-amz-date"]
        signer = Signer(Credentials(*self.keys), "s3", self.region)
        signer.payload = lambda _request: hashed
        signer.add_auth(again)
        if again.headers["Authorization"] != said:
            raise Refusal(403, "SignatureDoesNotMatch")

    # ---------------------------------------------------------------- answering

    def answer(self, handler):
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        try:
            operation, members = self.judge(handler, body)
            with self._lock:
                self.asked.append((operation, members))
                fault = next((fault for fault in self.faults if fault[0] == operation), None)
                if fault is not None:
                    self.faults.remove(fault)
            how = fault[1] if fault else None
            if how == "hold":
                self.gate.wait(60)
            elif isinstance(how, tuple):
                raise Refusal(*how)
            status, headers, out = getattr(self, operation)(members, body)
        except Refusal as refusal:
            status, headers, out, how = refusal.status, {}, refusal.body, None
        except Wrong as wrong:
            self.wrong.append(str(wrong))
            status, headers, out, how = 400, {}, error("InvalidRequest", str(wrong)), None
        try:
            handler.send_response(status)
            for name, value in {"content-length": len(out), **headers}.items():
                handler.send_header(name, str(value))
            handler.end_headers()
            if how == "cut":
                handler.wfile.write(out[: len(out) // 2])
                handler.close_connection = True
            else:
                handler.wfile.write(out)
        except OSError:
            pass

    def PutObject(self, members, body):
        with self._lock:
            self.objects[members["Key"]] = body
        return 200, {"etag": etag(body)}, b""

    def GetObject(self, members, _):
        content = self.objects.get(members["Key"])
        if content is None:
            raise Refusal(404, "NoSuchKey")
        headers = {"etag": etag(content), "last-modified": "Tue, 24 Nov 2026 03:48:21 GMT", "accept-ranges": "bytes"}
        if members.get("IfMatch", etag(content)) != etag(content):
            raise Refusal(412, "PreconditionFailed")
        if "Range" not in members:
            return 200, headers, content
        first, _, last = members["Range"].removeprefix("bytes=").partition("-")
        first, last = int(first), min(int(last or len(content)), len(content) - 1)
        headers["content-range"] = f"bytes {first}-{last}/{len(content)}"
        return 206, headers, content[first : last + 1]

    def DeleteObject(self, members, _):
        with self._lock:
            self.objects.pop(members["Key"], None)
        return 204, {}, b""

    def CreateMultipartUpload(self, members, _):
        with self._lock:
            upload = f"upload-{len(self.asked)}"
            self.uploads[upload] = (members["Key"], {})
        parts = {"Bucket": self.name, "Key": members["Key"], "UploadId": upload}
        return 200, {}, xml("InitiateMultipartUploadResult", parts)

    def UploadPart(self, members, body):
        with self._lock:
            self.upload(members)[int(members["PartNumber"])] = body
        return 200, {"etag": etag(body)}, b""

    def CompleteMultipartUpload(self, members, body):
        root = ElementTree.fromstring(body)
        listed = [(int(part.find("{*}PartNumber").text), part.find("{*}ETag").text) for part in root.iterfind("{*}Part")]
        if root.tag.rpartition("}")[2] != "CompleteMultipartUpload" or not listed:
            raise Refusal(400, "MalformedXML")
        with self._lock:
            parts = self.upload(members)
            if [n for n, _ in listed] != sorted(parts) or any(etag(parts[n]) != tag for n, tag in listed):
                raise Refusal(400, "InvalidPart")
            if any(len(parts[n]) < SMALLEST_PART for n, _ in listed[:-1]):
                raise Refusal(400, "EntityTooSmall")
            del self.uploads[members["UploadId"]]
            whole = b"".join(parts[n] for n, _ in listed)
            self.objects[members["Key"]] = whole
        return 200, {}, xml("CompleteMultipartUploadResult", {"Bucket": self.name, "Key": members["Key"], "ETag": etag(whole)})

    def AbortMultipartUpload(self, members, _):
        with self._lock:
            self.upload(members)
            del self.uploads[members["UploadId"]]
        return 204, {}, b""

    def ListMultipartUploads(self, members, _):
        prefix = members.get("Prefix", "")
        listed = [(key, upload) for upload, (key, _) in list(self.uploads.items()) if key.startswith(prefix)]
        uploads = "".join(f"<Upload><Key>{key}</Key><UploadId>{upload}</UploadId><Initiated>2026-11-24T03:48:21.000Z</Initiated></Upload>" for key, upload in listed)
        return 200, {}, xml("ListMultipartUploadsResult", {"Bucket": self.name, "IsTruncated": "false"}, uploads)

    def upload(self, members):
        key, parts = self.uploads.get(members["UploadId"], (None, None))
        if key != members["Key"]:
            raise Refusal(404, "NoSuchUpload")
        return parts


class Wrong(Exception):
    """A request that no client of S3 should send."""


class Refusal(Exception):
    def __init__(self, status, code, more=""):
        self.status, self.body = status, error(code, more)


def error(code, more=""):
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>no</Message>{more}</Error>'.encode()


def etag(content):
    return f'"{hashlib.md5(content).hexdigest()}"'


def xml(root, members, more=""):
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in members.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{NAMESPACE}">{inner}{more}</{root}>'.encode()
