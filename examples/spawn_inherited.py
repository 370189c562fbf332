"""A server that uses the listening socket it inherits as descriptor 3, from `spawn_backend` or systemd.

    cargo run --features spawn --example spawn_backend 127.0.0.1:8080 -- python3 examples/spawn_inherited.py
"""

import http.server
import os
import socket
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        text = f"{self.command} {self.path} answered by process {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_OPTIONS(self):  # the readiness check
        self.send_response(204)
        self.end_headers()

    def log_message(self, format, *args):
        print(format % args, flush=True)


if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
    sys.exit("no socket was passed to this process")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
server.serve_forever()
