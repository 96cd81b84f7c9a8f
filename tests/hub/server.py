"""A small hub on loopback: repositories in memory, and the routes that the clients ask for.

It answers what `huggingface_hub` and `datasets` ask of the real one, as their code reads the
answers, and writes down each method and route, so that a test can say what was tried.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_loopback"
USER = "anna"
LARGE = (".safetensors", ".bin", ".tar", ".parquet", ".wav", ".flac")


@dataclass
class Repository:
    """Files by revision; `main` is always there.

    Args:
        kind: `model`, `dataset` or `space`.
        name: `owner/name`.
        files: revision -> path -> content.
        private: only for those with the token.
        about: what was said when it was made, and messages of commits.
    """

    kind: str
    name: str
    files: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    private: bool = False
    about: dict[str, Any] = field(default_factory=dict)

    def sha(self, revision: str) -> str:
        """Commit of a revision: it changes with the content."""
        digest = hashlib.sha1(f"{self.kind} {self.name}".encode())
        for path, content in sorted(self.files[revision].items()):
            digest.update(path.encode() + hashlib.sha1(content).digest())
        return digest.hexdigest()

    def at(self, revision: str) -> str | None:
        """A revision by its name or commit."""
        if revision in self.files:
            return revision
        return next((name for name in self.files if self.sha(name) == revision), None)


class Hub:
    """The server; `with Hub() as hub` starts it on a free port of loopback."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.asked: list[tuple[str, str]] = []  # method and route
        self.sent: dict[str, int] = {}  # bytes of content by path in a repository
        self.stored: dict[str, bytes] = {}  # large files that were uploaded, by SHA-256
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"hub": self})

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(
        self, kind: str, name: str, files: Mapping[str, bytes], revision: str = "main"
    ) -> Repository:
        """Add files to a repository."""
        repository = self.repositories.setdefault((kind, name), Repository(kind, name))
        repository.files.setdefault(revision, {}).update(files)
        return repository

    def environment(self, home: str) -> dict[str, str]:
        """Variables with which the real clients ask this hub, with caches in a folder."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": home,
            "HF_TOKEN": TOKEN,
            "HF_HUB_OFFLINE": "0",
            # Xet has a protocol and a server of its own, and so has counting of visitors.
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }


class _Answer(Exception):
    """What to answer instead of going on."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


_KIND = r"(?P<kind>model|dataset|space)s"
_NAME = r"(?P<name>[^/]+/[^/]+)"
_FILE = r"/(?:(?P<kind>dataset|space)s/)?" + _NAME + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)"
_LFS = r"/(?:(?P<kind>dataset|space)s/)?" + _NAME + r"\.git/info/lfs/objects/batch"


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Requests are in `Hub.asked`."""

    def do_GET(self) -> None:
        self._route(GET)

    def do_HEAD(self) -> None:
        self._route(GET)

    def do_POST(self) -> None:
        self._route(POST)

    def do_PUT(self) -> None:
        self._route(PUT)

    def _route(self, routes: Mapping[str, tuple[str, Callable[..., Any]]]) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            self.content = self._chunks()
        else:
            self.content = self.rfile.read(length)
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        for pattern, (title, action) in routes.items():
            if match := re.fullmatch(pattern, parts.path):
                self.hub.asked.append((self.command, title))
                groups = {k: unquote(v) for k, v in match.groupdict().items() if v is not None}
                if "{name}" in title:
                    groups.setdefault("kind", "model")
                try:
                    action(self, self.hub, **groups)
                except _Answer as answer:
                    self.reply(
                        {"error": str(answer)},
                        answer.status,
                        {"X-Error-Code": answer.code, "X-Error-Message": str(answer)},
                    )
                return
        self.hub.asked.append((self.command, f"unknown: {parts.path}"))
        self.reply({"error": "no such route"}, 404)

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def reply(self, body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Answer with JSON, or with bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if not (headers and "Content-Length" in headers):
            self.send_header("Content-Length", str(len(content)))
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        self.send_header("Content-Type", kind)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def needs_token(self) -> None:
        """Refuse those without it."""
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise _Answer(401, "", "Invalid username or password.")


# ---- routes ----


def _find(request: Any, hub: Hub, kind: str, name: str) -> Repository:
    repository = hub.repositories.get((kind, name))
    if repository is None or (
        repository.private and request.headers.get("Authorization") != f"Bearer {TOKEN}"
    ):
        raise _Answer(404, "RepoNotFound", "Repository not found")
    return repository


def _at(repository: Repository, revision: str) -> str:
    name = repository.at(revision)
    if name is None:
        raise _Answer(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return name


def _blob(path: str, content: bytes) -> dict[str, Any]:
    told = {
        "type": "file",
        "path": path,
        "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
    }
    if path.endswith(LARGE):
        told["lfs"] = {
            "oid": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "pointerSize": 130,
        }
    return told


def _info(request: Any, hub: Hub, kind: str, name: str, revision: str = "main") -> None:
    repository = _find(request, hub, kind, name)
    at = _at(repository, revision)
    request.reply(
        {
            "id": name,
            "modelId": name,
            "author": name.split("/")[0],
            "sha": repository.sha(at),
            "private": repository.private,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": path} for path in sorted(repository.files[at])],
        }
    )


def _tree(request: Any, hub: Hub, kind: str, name: str, revision: str, path: str = "") -> None:
    repository = _find(request, hub, kind, name)
    files = repository.files[_at(repository, revision)]
    start = f"{path}/" if path else ""
    inside = {p: c for p, c in sorted(files.items()) if p.startswith(start)}
    if path and not inside:
        raise _Answer(404, "EntryNotFound", f"{path} does not exist")
    deep = request.query.get("recursive", ["false"])[0].lower() == "true"
    folders = _folders(inside, start)
    listed = [_folder(f) for f in folders if deep or "/" not in f[len(start) :]]
    listed += [_blob(p, c) for p, c in inside.items() if deep or "/" not in p[len(start) :]]
    request.reply(listed)


def _folders(paths: Mapping[str, bytes], start: str) -> list[str]:
    found = set()
    for path in paths:
        parts = path[len(start) :].split("/")[:-1]
        found |= {start + "/".join(parts[: i + 1]) for i in range(len(parts))}
    return sorted(found)


def _folder(path: str) -> dict[str, Any]:
    oid = hashlib.sha1(path.encode()).hexdigest()
    return {"type": "directory", "path": path, "oid": oid, "size": 0}


def _file(request: Any, hub: Hub, kind: str, name: str, revision: str, path: str) -> None:
    repository = _find(request, hub, kind, name)
    at = _at(repository, revision)
    content = repository.files[at].get(path)
    headers = {"X-Repo-Commit": repository.sha(at)}
    if content is None:
        headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
        request.reply({"error": "Entry not found"}, 404, headers)
        return
    large = path.endswith(LARGE)
    digest = hashlib.sha256(content) if large else hashlib.sha1(content)
    headers |= {"ETag": f'"{digest.hexdigest()}"', "Accept-Ranges": "bytes"}
    if large:
        headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(content))}
    status = 200
    if match := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or ""):
        first = int(match[1])
        last = min(int(match[2] or len(content) - 1), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        content, status = content[first : last + 1], 206
    if request.command == "GET":
        hub.sent[path] = hub.sent.get(path, 0) + len(content)
    request.reply(content, status, headers)


def _create(request: Any, hub: Hub) -> None:
    request.needs_token()
    said = json.loads(request.content)
    kind = said.get("type") or "model"
    name = f"{said.get('organization') or USER}/{said['name']}"
    address = f"{hub.endpoint}/{'' if kind == 'model' else f'{kind}s/'}{name}"
    if (kind, name) in hub.repositories:
        request.reply({"error": "You already created this repo", "url": address}, 409)
        return
    hub.repositories[kind, name] = Repository(
        kind, name, private=said.get("visibility") == "private", about=said
    )
    request.reply({"url": address, "name": name, "id": name})


def _valid(request: Any, hub: Hub) -> None:
    json.loads(request.content)
    request.reply({"errors": [], "warnings": []})


def _preupload(request: Any, hub: Hub, kind: str, name: str, revision: str) -> None:
    request.needs_token()
    files = _find(request, hub, kind, name).files[revision]
    told = []
    for item in json.loads(request.content)["files"]:
        path = item["path"]
        known = {"oid": hashlib.sha1(files[path]).hexdigest()} if path in files else {}
        mode = "lfs" if path.endswith(LARGE) or item["size"] > 10_000_000 else "regular"
        told.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known})
    request.reply({"files": told})


def _batch(request: Any, hub: Hub, kind: str, name: str) -> None:
    request.needs_token()
    _find(request, hub, kind, name)
    objects = []
    for item in json.loads(request.content)["objects"]:
        told = {"oid": item["oid"], "size": item["size"]}
        if item["oid"] not in hub.stored:
            told["actions"] = {
                "upload": {"href": f"{hub.endpoint}/lfs/{item['oid']}", "header": {}},
                "verify": {"href": f"{hub.endpoint}/lfs/{item['oid']}/verify", "header": {}},
            }
        objects.append(told)
    request.reply({"transfer": "basic", "objects": objects})


def _store(request: Any, hub: Hub, oid: str) -> None:
    if hashlib.sha256(request.content).hexdigest() != oid:
        raise _Answer(400, "", "The content isn't that of its digest.")
    hub.stored[oid] = request.content
    request.reply({})


def _verify(request: Any, hub: Hub, oid: str) -> None:
    said = json.loads(request.content)
    if len(hub.stored.get(oid, b"")) != said["size"]:
        raise _Answer(404, "", "The file didn't arrive whole.")
    request.reply({})


def _commit(request: Any, hub: Hub, kind: str, name: str, revision: str) -> None:
    request.needs_token()
    repository = _find(request, hub, kind, name)
    files = repository.files[revision]
    for line in request.content.decode().splitlines():
        item = json.loads(line)
        value = item["value"]
        if item["key"] == "header":
            repository.about.setdefault("messages", []).append(value["summary"])
        elif item["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif item["key"] == "lfsFile":
            files[value["path"]] = hub.stored[value["oid"]]
        else:
            raise _Answer(400, "", f"{item['key']} isn't taken here")
    sha = repository.sha(revision)
    request.reply(
        {
            "success": True,
            "commitOid": sha,
            "commitUrl": f"{hub.endpoint}/{name}/commit/{sha}",
            "hookOutput": "",
        }
    )


_Routes = dict[str, tuple[str, Callable[..., Any]]]
GET: _Routes = {
    rf"/api/{_KIND}/{_NAME}": ("/api/{kind}s/{name}", _info),
    rf"/api/{_KIND}/{_NAME}/revision/(?P<revision>[^/]+)": (
        "/api/{kind}s/{name}/revision/{revision}",
        _info,
    ),
    rf"/api/{_KIND}/{_NAME}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?": (
        "/api/{kind}s/{name}/tree/{revision}",
        _tree,
    ),
    _FILE: ("/{name}/resolve/{revision}/{path}", _file),
}
POST: _Routes = {
    r"/api/repos/create": ("/api/repos/create", _create),
    r"/api/validate-yaml": ("/api/validate-yaml", _valid),
    rf"/api/{_KIND}/{_NAME}/preupload/(?P<revision>[^/]+)": (
        "/api/{kind}s/{name}/preupload/{revision}",
        _preupload,
    ),
    rf"/api/{_KIND}/{_NAME}/commit/(?P<revision>[^/]+)": (
        "/api/{kind}s/{name}/commit/{revision}",
        _commit,
    ),
    _LFS: ("/{name}.git/info/lfs/objects/batch", _batch),
    r"/lfs/(?P<oid>[0-9a-f]{64})/verify": ("/lfs/{oid}/verify", _verify),
}
PUT: _Routes = {r"/lfs/(?P<oid>[0-9a-f]{64})": ("/lfs/{oid}", _store)}
