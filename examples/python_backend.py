"""A backend that needs nothing but Python's standard library. It verifies the signature of the hop before it (RFC 9421, the profile of
nexthop's protocol page) and believes the fields that the signature covers, and no others.

    python3 python_backend.py SECRET_FILE        # prints its address, then one line per request
"""

import base64
import hashlib
import hmac
import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_AGE, SKEW = 60, 30  # seconds
# The fields by which nexthop tells where a request came from, and what it carries.
OWNED = re.compile(r"forwarded|x-script-name|x-wsgiproxy.*|x-(?:forwarded|traversal)-.*")
SPELLING = re.compile(r"[^a-z0-9]")  # what is read as "-"
# Our member of Signature-Input: components in parentheses, then parameters. Both as they stand there go into the last line of the base.
MEMBER = re.compile(r'(?:^|,)\s*nexthop=(\(([^()]*)\)((?:;[a-z]+=(?:"[^"\\]*"|\d+))*))\s*(?=,|$)')
SIGNATURE = re.compile(r"(?:^|,)\s*nexthop=:([A-Za-z0-9+/=]*):\s*(?=,|$)")
COMPONENT = re.compile(r'"([a-z0-9@_-]+)"(;bs)?')
DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):\s*(?=,|$)")

seen = {}  # nonce -> when it may be forgotten


class Refused(Exception):
    """The request is answered 403. The reason is for the log, not for the client."""


def is_owned(name):
    return OWNED.fullmatch(SPELLING.sub("-", name))


def component(request, name, wrapped):
    """What one line of the signature base says (RFC 9421 section 2)."""
    # A signature base is ASCII (section 2.5): other bytes of the target are percent-encoded in it.
    target = re.sub(r"[\x80-\xff]", lambda byte: f"%{ord(byte[0]):02X}", request.requestline.split(" ")[1])
    path, _, query = target.partition("?")
    derived = {
        "@method": request.command,
        "@authority": request.headers.get("host", "").lower().removesuffix(":80"),
        "@path": path,
        "@query": "?" + query,
        "@request-target": target,
    }
    if name.startswith("@"):
        return derived[name]
    values = [value.strip() for value in request.headers.get_all(name) or []]
    if not values:
        raise Refused(f"{name} is signed but missing")
    if wrapped:
        values = [f":{base64.b64encode(value.encode('latin-1')).decode()}:" for value in values]
    return ", ".join(values)


def verify(request, body, secret):
    """The names of the fields that a valid signature covers."""
    member = MEMBER.findall(", ".join(request.headers.get_all("signature-input") or []))
    signature = SIGNATURE.findall(", ".join(request.headers.get_all("signature") or []))
    if len(member) != 1 or len(signature) != 1:
        raise Refused("no signature, or several")
    [(params, inner, given)] = member
    components = COMPONENT.findall(inner)
    if " ".join(f'"{name}"{flag}' for name, flag in components) != inner:
        raise Refused("components that this program does not know")
    given = dict(item.split("=", 1) for item in given.split(";")[1:])

    names = [name for name, _ in components]
    required = {"@method", "@authority", "@path", "@query"} | ({"content-digest"} if body else set())
    if request.requestline.split()[1].partition("?")[1:] == ("?", ""):  # an empty query, which @query cannot tell from none
        required.add("@request-target")
    if len(set(names)) != len(names) or not required <= set(names):
        raise Refused("what must be covered is not")
    if given.get("tag") != '"nexthop"' or given.get("alg", '"hmac-sha256"') != '"hmac-sha256"':
        raise Refused("not this profile")

    lines = [f'"{name}"{flag}: {component(request, name, flag)}' for name, flag in components]
    base = "\n".join([*lines, f'"@signature-params": {params}'])
    mac = hmac.new(secret, base.encode("latin-1"), hashlib.sha256).digest()
    if not hmac.compare_digest(mac, base64.b64decode(signature[0])):
        raise Refused("the signature does not hold")

    # Only now is anything in the request believed.
    now, nonce = time.time(), given.get("nonce")
    if not -SKEW <= now - int(given.get("created", 0)) <= MAX_AGE + SKEW:
        raise Refused("too old, or from the future")
    for known in [known for known, until in list(seen.items()) if until < now]:
        seen.pop(known, None)
    if nonce is None or seen.setdefault(nonce, until := now + MAX_AGE + 2 * SKEW) is not until:
        raise Refused("replayed")
    if body:
        digest = DIGEST.findall(component(request, "content-digest", ""))
        if digest != [base64.b64encode(hashlib.sha256(body).digest()).decode()]:
            raise Refused("not the body that was signed")
    return set(names)


def carried(headers):
    """The carried JSON keys: name to value."""
    values = {}
    for field, text in headers.items():
        if field.startswith("x-wsgiproxy-json-"):
            name, _, text = text.partition(" ")
            values[name] = json.loads(base64.b64decode(text[3:]) if text.startswith("b64") else text)
    return values


class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    secret = b""

    def answer(self):
        if "transfer-encoding" in self.headers:  # http.server cannot read chunks, and must not take them for a request
            self.close_connection = True
            return self.reply(411, {"error": "length required"})
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            covered = verify(self, body, self.secret)
        except (Refused, ValueError, KeyError) as refused:
            self.log_message("refused: %s", refused)
            return self.reply(403, {"error": "forbidden"})
        names = {name.lower() for name in self.headers}
        # What is signed is the lines of a field joined: somebody on the way may have split one.
        fields = {name: component(self, name, "") for name in names if name in covered or not is_owned(name)}
        client = fields.get("x-forwarded-for", self.client_address[0])
        self.reply(200, {"path": self.requestline.split()[1], "client": client, "carried": carried(fields), "length": len(body)})

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def reply(self, status, value):
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        Backend.secret = file.read().removesuffix(b"\n").removesuffix(b"\r")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    print("http://%s:%d" % server.server_address, flush=True)
    server.serve_forever()
