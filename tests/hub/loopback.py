"""A Hugging Face Hub on this machine's loopback interface: what the real client sends is stored and served again."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: the token that may write to the owner's repositories
TOKEN, OWNER = "hf_LoopbackTokenOfNobodyAtAll", "someone"


class LoopbackHub(ThreadingHTTPServer):
    """
    Repositories in memory.

    Files above 10,000 bytes and pickles go through the large-file protocol.

    :param fail: path of a request that is answered with 500 from now on, a regular expression
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.fail: str | None = None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def head(self, repo: str) -> str:
        """The newest commit."""
        return list(self.repositories[repo])[-1]

    def files(self, repo: str) -> dict[str, bytes]:
        """The newest commit's files."""
        return self.repositories[repo][self.head(repo)]

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        """Put files into a repository."""
        commits = self.repositories.setdefault(repo, {})
        sha = hashlib.sha1(f"{repo}{len(commits)}".encode()).hexdigest()
        commits[sha] = files
        return sha


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, status: int, body: Any = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.split("?")[0]
        self.server.requests.append(f"{self.command} {path}")
        if self.server.fail is not None and re.search(self.server.fail, path):
            self.answer(500, {"error": "out of order"})
        elif self.command == "PUT":
            self.server.blobs[path.rsplit("/", 1)[1]] = body
            self.answer(200)
        elif self.command == "POST":
            self.post(path, body)
        else:
            self.get(path)

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    def may_write(self, repo: str) -> bool:
        """Says so if not."""
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": "Invalid credentials in Authorization header"})
        elif not repo.startswith(f"{OWNER}/"):
            self.answer(403, {"error": "You don't have the rights to create a model under this namespace"})
        else:
            return True
        return False

    def post(self, path: str, body: bytes) -> None:
        server = self.server
        if path == "/api/validate-yaml":
            self.answer(200, {"warnings": [], "errors": []})
            return
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked.get('organization') or OWNER}/{asked['name']}"
            if not self.may_write(repo):
                return
            status = 409 if repo in server.repositories else 200
            if status == 200:
                server.commit(repo, {})
            self.answer(status, {"url": f"{server.address}/{repo}", "name": repo, "id": repo})
            return
        match = re.fullmatch(
            r"(?:/api/models)?/([^/]+/[^/]+?)(?:\.git)?/(preupload/main|info/lfs/objects/batch|commit/main)", path
        )
        assert match is not None, path
        repo, action = match.groups()
        if not self.may_write(repo):
            return
        if action.startswith("preupload"):
            asked = json.loads(body)["files"]
            large = [file["size"] > 10_000 or file["path"].endswith((".zip", ".pkl", ".pth")) for file in asked]
            modes = [
                {"path": file["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False, "oid": None}
                for file, is_large in zip(asked, large, strict=True)
            ]
            self.answer(200, {"files": modes})
        elif action.startswith("info"):
            objects = []
            for file in json.loads(body)["objects"]:
                upload = {"upload": {"href": f"{server.address}/blobs/{file['oid']}", "header": {}}}
                # Without actions: it is there already
                objects.append(file if file["oid"] in server.blobs else {**file, "actions": upload})
            self.answer(200, {"transfer": "basic", "objects": objects}, Content_Type="application/vnd.git-lfs+json")
        else:
            files = dict(server.files(repo))
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = server.blobs[value["oid"]]
                elif line["key"] == "deletedFile":
                    del files[value["path"]]
            sha = server.commit(repo, files)
            url = f"{server.address}/{repo}/commit/{sha}"
            self.answer(200, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def get(self, path: str) -> None:
        server = self.server
        match = re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+?)(?:/(revision|tree|resolve)/([^/]+)(?:/(.+))?)?", path)
        assert match is not None, path
        repo, action, revision, name = match.groups()
        if repo not in server.repositories:
            self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return
        sha = server.head(repo) if revision in (None, "main") else revision
        if sha not in server.repositories[repo]:
            self.answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
            return
        files = server.repositories[repo][sha]
        if action == "resolve":
            if name not in files:
                self.answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
                return
            etag = hashlib.sha256(files[name]).hexdigest()
            self.answer(200, files[name], ETag=f'"{etag}"', X_Repo_Commit=sha)
        elif action == "tree":
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
            self.answer(200, tree)
        else:
            siblings = [{"rfilename": name} for name in files]
            self.answer(200, {"id": repo, "modelId": repo, "sha": sha, "siblings": siblings, "tags": [], "private": False})
