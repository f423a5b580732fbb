"""A SearXNG that finds what a test wants, whatever it is asked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Engine(ThreadingHTTPServer):
    """`asked` are the questions so far; while it is `down` it answers 500."""

    daemon_threads = True

    def __init__(self, results):
        super().__init__(("127.0.0.1", 0), Handler)
        self.results, self.asked, self.down = results, [], False
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(parse_qs(urlsplit(self.path).query)["q"][0])
        body = json.dumps({"results": self.server.results}).encode()
        self.send_response(500 if self.server.down else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(results):
    """Serves on a free port of this machine until `shutdown`."""
    engine = Engine(results)
    threading.Thread(target=engine.serve_forever, daemon=True).start()
    return engine
