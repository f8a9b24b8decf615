"""A bucket on this machine: the part of Google's JSON API that checkpoints need.

`python bucket.py` prints the address and serves until it is killed. There is one bucket, "bucket",
in memory. Written from cloud.google.com/storage/docs/json_api; generations and preconditions count,
because TensorStore relies on them.
"""

import http.server
import itertools
import json
import re
import threading
import urllib.parse

OBJECT = re.compile(
  r"(?:/download)?/storage/v1/b/bucket/o/([^/]+)(?:/(\w+)/(?:b/bucket/)?o/(.+))?$"
)


class Store:
  """Objects by name, each with its generation; safe among threads."""

  def __init__(self):
    self.objects: dict[str, tuple[int, bytes]] = {}
    self.numbers, self.lock = itertools.count(1), threading.Lock()

  def allowed(self, name: str, asked: dict) -> bool:
    """Whether the preconditions of a request hold."""
    now = str(self.objects[name][0]) if name in self.objects else "0"
    return asked.get("ifGenerationMatch", now) == now != asked.get("ifGenerationNotMatch")

  def put(self, name: str, data: bytes) -> dict:
    """Writes an object: what is said of it."""
    self.objects[name] = (next(self.numbers), data)
    return self.about(name)

  def about(self, name: str) -> dict:
    """The metadata of an object."""
    generation, data = self.objects[name]
    return dict(
      kind="storage#object",
      bucket="bucket",
      name=name,
      size=str(len(data)),
      generation=str(generation),
      metageneration="1",
      updated="2026-01-01T00:00:00Z",
      timeCreated="2026-01-01T00:00:00Z",
    )

  def listed(self, asked: dict) -> dict:
    """A listing: items, and with a delimiter what stands for the rest."""
    prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter")
    start, end = asked.get("startOffset", ""), asked.get("endOffset", "\U0010ffff")
    items, prefixes = [], set()
    for name in sorted(n for n in self.objects if n.startswith(prefix) and start <= n < end):
      head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
      prefixes.add(prefix + head + cut) if cut else items.append(self.about(name))
    return dict(kind="storage#objects", items=items, prefixes=sorted(prefixes))


STORE = Store()


class Handler(http.server.BaseHTTPRequestHandler):
  """One connection."""

  protocol_version = "HTTP/1.1"
  wbufsize = 1 << 16  # an answer in one piece

  def log_message(self, *_):
    """Nothing."""

  def answer(self, code: int, body=b"", headers: dict | None = None) -> None:
    """Sends an answer, JSON unless bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    self.send_response(code)
    for key, value in (headers or {}).items():
      self.send_header(key, value)
    self.send_header("Content-Length", str(len(data)))
    self.end_headers()
    self.wfile.write(data)

  def serve(self) -> None:
    """Any request."""
    body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
    with STORE.lock:
      found = self.one(self.command, self.path, body)
    self.answer(*found)

  do_GET = do_POST = do_DELETE = serve

  def one(self, method: str, path: str, body: bytes):
    """(code, body, headers) of one request."""
    url = urllib.parse.urlsplit(path)
    asked = dict(urllib.parse.parse_qsl(url.query))
    if url.path == "/storage/v1/b/bucket":
      return 200, dict(kind="storage#bucket", id="bucket", name="bucket"), {}
    if url.path == "/upload/storage/v1/b/bucket/o":
      return self.upload(asked, body)
    if url.path == "/storage/v1/b/bucket/o":
      return 200, STORE.listed(asked), {}
    match = OBJECT.fullmatch(url.path)
    name = urllib.parse.unquote(match[1]) if match else ""
    if name not in STORE.objects:
      return 404, dict(error=dict(code=404, message="Not Found")), {}
    if not STORE.allowed(name, asked):
      return 304 if method == "GET" else 412, b"", {}
    if match[2]:  # moveTo, rewriteTo, copyTo
      found = STORE.put(urllib.parse.unquote(match[3]), STORE.objects[name][1])
      if match[2] == "moveTo":
        del STORE.objects[name]
      return 200, dict(done=True, resource=found) if match[2] == "rewriteTo" else found, {}
    if method == "DELETE":
      del STORE.objects[name]
      return 204, b"", {}
    if asked.get("alt") != "media":
      return 200, STORE.about(name), {}
    return self.media(name, self.headers.get("Range"))

  def media(self, name: str, part: str | None):
    """The bytes of an object, or some of them."""
    generation, data = STORE.objects[name]
    said = {"x-goog-generation": str(generation), "Content-Type": "application/octet-stream"}
    if not part:
      return 200, data, said
    first, last = part.removeprefix("bytes=").split("-")
    start = int(first) if first else len(data) - int(last)
    stop = min(int(last) + 1, len(data)) if first and last else len(data)
    if start >= len(data):
      return 416, b"", said
    return 206, data[start:stop], said | {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}

  def upload(self, asked: dict, body: bytes):
    """A new object. One that comes in pieces has a single piece here, under the same address."""
    if asked["uploadType"] == "resumable":
      name = urllib.parse.quote(asked["name"], safe="")
      at = (
        f"http://{self.headers['Host']}/upload/storage/v1/b/bucket/o?uploadType=media&name={name}"
      )
      return 200, b"", {"Location": at}
    if not STORE.allowed(asked["name"], asked):
      return 412, dict(error=dict(code=412, message="conditionNotMet")), {}
    return 200, STORE.put(asked["name"], body), {}


if __name__ == "__main__":
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  print(f"http://127.0.0.1:{server.server_port}", flush=True)
  server.serve_forever()
