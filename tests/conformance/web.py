"""Servers of a test's own on loopback: one that answers with what it was asked, and one that speaks MCP as badly as it is told."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NEVER_S = 600
FLOOD = b"x" * 10_000_000


class Serving(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def say(self, content, status=200, kind="application/json"):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, serving):
        super().__init__(("127.0.0.1", 0), serving)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.asked = []
        self.over = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass  # a client that left is none

    def stop(self):
        self.over.set()
        self.shutdown()
        self.server_close()


class Echo(Serving):
    """Answers with what it was asked, headers and all, as debugging pages do; searches as SearXNG."""

    def do_GET(self):
        body = self.body().decode()
        self.server.asked.append((self.command, self.path))
        if self.path.startswith("/search"):
            page = {"title": "Lamps", "url": "https://lamps.example/", "content": "All about lamps."}
            return self.say({"results": [page]})
        self.say({"asked": f"{self.command} {self.path}", "authorization": self.headers.get("authorization"), "body": body})

    do_PUT = do_POST = do_GET


class Bad(Serving):
    """A server of MCP whose tools fail each in the way of its name; `server.says` holds what it lists. Under `/hangs/METHOD` it
    never answers that method, under `/dies/METHOD` it closes the connection."""

    def do_POST(self):
        asked = json.loads(self.body())
        self.server.asked.append(asked)
        method, called = asked["method"], asked.get("params", {}).get("name")
        if self.path == f"/hangs/{method}":
            return self.server.over.wait(NEVER_S)
        if self.path == f"/dies/{method}":
            self.close_connection = True
            return None
        if "id" not in asked:
            return self.say(b"", 202)
        if method == "tools/call":
            return self.call(asked, called)
        results = {
            "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "bad", "version": "1"}},
            "tools/list": {"tools": self.server.says},
        }
        self.answer(asked, results[method])

    def do_GET(self):
        if self.path == "/floods":
            return self.say(FLOOD, kind="text/plain")
        if self.path == "/drips":
            # Nobody knows beforehand how long it is.
            self.send_response(200)
            self.send_header("content-type", "text/plain")
            self.send_header("connection", "close")
            self.end_headers()
            return self.wfile.write(FLOOD)
        self.say(b"", 405)

    do_DELETE = do_GET

    def answer(self, asked, result):
        self.say({"jsonrpc": "2.0", "id": asked["id"], "result": result})

    def call(self, asked, called):
        text = lambda words: {"content": [{"type": "text", "text": words}]}  # noqa: E731
        if called == "hangs":
            self.server.over.wait(NEVER_S)
        elif called == "lies":
            self.answer(asked, {**text("seven"), "structuredContent": {"n": "seven"}})
        elif called == "babbles":
            self.say(b"<html>", kind="text/html")
        elif called == "floods":
            self.answer(asked, text(FLOOD.decode()))
        elif called == "hangs_up":
            self.close_connection = True
        elif called == "breaks_off":
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "500")
            self.end_headers()
            self.wfile.write(b'{"jsonrpc"')
            self.close_connection = True
        else:
            self.answer(asked, text("in order"))


def tool(name, description="Does as it is called.", **more):
    return {"name": name, "description": description, "inputSchema": {"type": "object"}, **more}
