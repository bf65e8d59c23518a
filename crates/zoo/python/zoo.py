"""The zoo in Python: zoo.py PORT DEFECT [twin]. See the Rust server for what the defects are."""

import ctypes
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, defect = int(sys.argv[1]), sys.argv[2]
twin = sys.argv[3:] == ["twin"]
kept, keys, peak = [], {}, [b""]
lock = threading.Lock()


def leave(size):
    block = bytearray(b"x") * size
    if not twin:
        kept.append(block)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.buffer = b""
        if defect == "opened":
            leave(8192)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        records = json.loads(body)
        if defect == "requests":
            leave(1024)
        elif defect == "payload":
            leave(len(body) // 10 + 1)
        elif defect == "held":
            self.buffer = b"" if twin else body
        elif defect == "peak":
            if len(body) > len(peak[0]):
                peak[0] = body
            if twin:
                peak[0] = b""
        elif defect == "keys":
            with lock:
                if twin and len(keys) >= 200:
                    keys.clear()
                host = records[0].get("host", "")
                if host not in keys:
                    keys[host] = bytearray(b"x") * 1024
        elif defect == "retention":
            blocks = [bytearray(b"x") * 8000 for _ in range(4000)]
            above = bytearray(b"x") * 600
            if not twin:
                kept[:] = [above]
            del blocks
            if twin:
                ctypes.CDLL(None).malloc_trim(0)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def tick():
    while True:
        leave(8192)
        time.sleep(0.1)


if defect == "time":
    threading.Thread(target=tick, daemon=True).start()
Server(("127.0.0.1", port), Handler).serve_forever()
