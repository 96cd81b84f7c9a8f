"""Folders for Spaces: what is in them, that they start as a Space starts them, and pushing one.

The image of the Docker Space isn't built here: there is no Docker. Its commands are run one by one
in a fresh virtual environment, except the download of packages that are installed already.
"""

from __future__ import annotations

import base64
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
import warnings
from pathlib import Path

import pytest
import yaml
from gradio_client import Client, handle_file

from borealis.cli import main
from borealis.demo import space
from borealis.errors import BorealisError
from tests.demo.conftest import free_port, wait_until_up

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def small_site(tmp_path) -> Path:
    """Something that looks like the built site."""
    folder = tmp_path / "small-site"
    (folder / "en").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Сайт</title>", encoding="utf-8")
    (folder / "en" / "index.html").write_text("<!doctype html><title>Site</title>")
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Path]:
    """A Gradio and a Docker folder, which anybody may read."""
    folders = {}
    for kind in ("gradio", "docker"):
        folders[kind] = tmp_path_factory.mktemp("spaces") / kind
        space.build(folders[kind], kind=kind)
    return folders


def matter(folder: Path) -> dict:
    """Front matter of the README, as the hub reads it."""
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_a_static_space_is_the_site(small_site, tmp_path, capsys):
    target = tmp_path / "static"
    assert main(["space", "build", str(target), "--kind", "static", "--site", str(small_site)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == "static" and report["files"] == 3
    assert matter(target) | {"title": ""} == {
        "title": "", "emoji": "👂", "colorFrom": "green", "colorTo": "indigo", "sdk": "static",
        "app_file": "index.html", "pinned": False, "license": "apache-2.0",
    }  # fmt: skip
    assert not list(target.rglob("*.py"))


def test_a_gradio_space_says_how_it_is_run(built):
    import gradio

    read = matter(built["gradio"])
    assert (read["sdk"], read["sdk_version"]) == ("gradio", gradio.__version__)
    assert (read["app_file"], read["python_version"]) == ("app.py", "3.11")
    assert (built["gradio"] / "borealis/checkpoints/nano/bundle.safetensors").is_file()
    assert not list(built["gradio"].rglob("__pycache__"))


def test_a_docker_space_isnt_run_as_root(built):
    read = matter(built["docker"])
    assert (read["sdk"], read["app_port"]) == ("docker", 7860)
    lines = (built["docker"] / "Dockerfile").read_text().splitlines()
    assert lines.index("USER user") < lines.index('CMD ["python", "app.py"]')
    assert any("--uid 1000" in line for line in lines) and "EXPOSE 7860" in lines


def test_versions_are_pinned_and_complete(built):
    """Each is what is installed here, what they need is among them, and so are the floors."""
    pins = dict(line.split("==") for line in (built["gradio"] / "requirements.txt").read_text().split())  # fmt: skip
    assert {"torch", "transformers", "gradio", "av", "soundfile", "fastapi", "uvicorn"} <= set(pins)
    assert not {"mkdocs", "pytest", "datasets", "vllm"} & set(pins)
    lock = (ROOT / "requirements.lock").read_text()
    locked = {re.sub(r"[-_.]+", "-", name).lower(): v for name, v in re.findall(r"^([\w.-]+)==(\S+)(?: ;.*)?$", lock, re.M)}  # fmt: skip
    assert {name: v for name, v in pins.items() if locked.get(name) != v} == {}
    assert tuple(map(int, pins["gradio"].split(".")[:2])) >= (6, 7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "{full}"], "isn't an empty folder"),
        (["build", "{new}", "--kind", "static", "--no-site"], "run make docs"),
        (["build", "{new}", "--site", "{full}"], "isn't a built site"),
        (["build", "{new}", "--model", "{full}", "--no-site"], "isn't a checkpoint folder"),
        (["build", "{new}", "--title", 'a "b"', "--no-site"], "one line without quotes"),
        (["push", "{full}", "owner/name"], "isn't a folder of a Space"),
    ],
)
def test_mistakes_are_told(arguments, said, tmp_path, capsys):
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    new = tmp_path / "new"
    words = [a.format(full=full, new=new) for a in arguments]
    assert main(["space", *words]) == 2
    assert said in capsys.readouterr().err
    assert (full / "notes.txt").read_text() == "mine"


NOBODY = 65534


@pytest.fixture(scope="module")
def anybody() -> tuple[str, dict]:
    """A Python with the packages of this one, and how to run it as a user who isn't root.

    Where the tests run as root, its Python often lies in root's own folder; then the system's is
    taken, if it is of the same version.
    """
    if os.geteuid() != 0:
        return sys.executable, {}
    version = "python{}.{}".format(*sys.version_info)
    nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(_packages())}
        try:
            subprocess.run([python, "-c", "import torch"], env=env, cwd="/", check=True, **nobody)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python, nobody
    warnings.warn(
        "no other user may use this Python: the folders are started as root", stacklevel=1
    )
    return sys.executable, {}


def _packages() -> list[str]:
    """Folders of the installed packages, torch's among them."""
    shared = str(Path(sys.modules["torch"].__file__).parents[1])
    return list(dict.fromkeys([p for p in sys.path if p.endswith("site-packages")] + [shared]))


def _start_and_use(
    command: list[str], folder: Path, home: Path, speech: Path, who: dict, **env: str
) -> str:
    """Start a folder's app the way a Space does, use it once, stop it."""
    port = free_port()
    home.mkdir()
    if who:
        os.chown(home, NOBODY, NOBODY)
        for parent in {home, *home.parents, folder, *folder.parents}:
            if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
                parent.chmod(parent.stat().st_mode | 0o055)
    clean = {
        "PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "no_proxy": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    process = subprocess.Popen(command, cwd=folder, env=clean | env, **who)
    try:
        base = f"http://127.0.0.1:{port}"
        wait_until_up(base, process)
        client = Client(f"{base}/demo/ru/", verbose=False)
        text = client.predict(handle_file(str(speech)), api_name="/transcribe")["text"]
    finally:
        process.terminate()
        process.wait(60)
    # The weights were unpacked into the home of who ran it.
    (weights,) = (home / ".cache" / "borealis").rglob("model.safetensors")
    assert weights.stat().st_uid == (NOBODY if who else os.geteuid())
    return text


@pytest.mark.slow
def test_the_gradio_folder_starts_as_a_space_starts_it(built, tmp_path, speech, nano, anybody):
    """By its own app.py, in its folder, not as root, with a home that is empty."""
    python, who = anybody
    packages = {"PYTHONPATH": os.pathsep.join(_packages())}
    text = _start_and_use(
        [python, "app.py"], built["gradio"], tmp_path / "home", speech, who, **packages
    )
    assert text == nano.transcribe(speech, language="ru").text


@pytest.mark.slow
def test_the_docker_folder_starts_by_its_own_commands(built, tmp_path, speech, nano, anybody):
    """In a fresh environment; of `pip install` only that nothing is left to install is checked."""
    dockerfile = (built["docker"] / "Dockerfile").read_text()
    app, venv = tmp_path / "app", tmp_path / "venv"
    assert "COPY --chown=user . ." in dockerfile
    shutil.copytree(built["docker"], app)
    python, who = anybody
    subprocess.run([python, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site_packages,) = venv.glob("lib/python*/site-packages")
    (site_packages / "here.pth").write_text("\n".join(_packages()) + "\n")
    (command,) = re.findall(r"^RUN (pip install .*)$", dockerfile, re.M)
    offline = command.replace("--user", "--no-deps --no-index --dry-run").split()
    done = subprocess.run(
        [str(venv / "bin/python"), "-m", *offline], cwd=app, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout
    (start,) = re.findall(r"^CMD (.*)$", dockerfile, re.M)
    assert json.loads(start) == ["python", "app.py"]
    settings = re.search(r"^ENV (.*)$", dockerfile, re.M)[1].split()
    env = dict(setting.split("=") for setting in settings)
    text = _start_and_use(
        [str(venv / "bin/python"), "app.py"], app, tmp_path / "home", speech, who, **env
    )
    assert text == nano.transcribe(speech, language="ru").text


# ---- pushing ----


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's interface as a push of small files needs; keeps what it was sent."""

    def log_message(self, *_) -> None:
        """Say nothing."""

    def _answer(self, data: dict, code: int = 200) -> None:
        body = json.dumps(data).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer({"id": "owner/borealis", "sha": "0" * 40, "siblings": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        state, path = self.server.state, self.path.partition("?")[0]
        state["token"] = self.headers.get("Authorization")
        if state.get("refuse"):
            self._answer({"error": "forbidden"}, 403)
        elif path == "/api/repos/create":
            state["created"] = json.loads(body)
            self._answer({"url": f"{self.server.base}/spaces/owner/borealis"})
        elif path.endswith("/preupload/main"):
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]  # fmt: skip
            self._answer({"files": files})
        elif path.endswith("/commit/main"):
            for line in body.decode().splitlines():
                row = json.loads(line)
                if row["key"] == "file":
                    state["files"][row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            self._answer({"commitUrl": f"{self.server.base}/spaces/owner/borealis/commit/{'0' * 40}", "commitOid": "0" * 40})  # fmt: skip
        else:
            self._answer({})


@pytest.fixture
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.base = f"http://127.0.0.1:{server.server_port}"
    server.state = {"files": {}}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def push(hub, folder: Path) -> subprocess.CompletedProcess:
    """In a process of its own: the library reads its address when it is imported."""
    env = os.environ | {
        "HF_ENDPOINT": hub.base, "HF_TOKEN": "hf_test", "no_proxy": "127.0.0.1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    command = [sys.executable, "-m", "borealis", "space", "push", str(folder), "owner/borealis"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_a_push_makes_the_space_and_sends_every_file(hub, small_site, tmp_path):
    space.build(tmp_path / "static", kind="static", site=small_site)
    done = push(hub, tmp_path / "static")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("/spaces/owner/borealis")
    assert hub.state["created"]["sdk"] == "static" and hub.state["created"]["type"] == "space"
    sent = hub.state["files"]
    assert set(sent) == {"README.md", "index.html", "en/index.html"}
    assert sent["index.html"] == (small_site / "index.html").read_bytes()
    assert hub.state["token"] == "Bearer hf_test"


@pytest.mark.slow
def test_a_refused_push_is_one_sentence(hub, small_site, tmp_path):
    space.build(tmp_path / "static", kind="static", site=small_site)
    hub.state["refuse"] = True
    done = push(hub, tmp_path / "static")
    assert done.returncode == 2 and "can't be written" in done.stderr
    assert "Traceback" not in done.stderr and "hf_test" not in done.stderr


def test_the_kind_is_read_from_the_readme(tmp_path):
    (tmp_path / "README.md").write_text("# no front matter\nsdk: gradio\n")
    with pytest.raises(BorealisError, match="isn't a folder of a Space"):
        space.kind_of(tmp_path)


@pytest.mark.slow
def test_a_page_of_the_site_is_served_beside_the_demo(with_site):
    with urllib.request.urlopen(f"{with_site}/demo/", timeout=60) as page:
        assert "data-demo" in page.read().decode()
    with urllib.request.urlopen(f"{with_site}/demo/ru/", timeout=60) as page:
        assert "gradio" in page.read().decode()
    with urllib.request.urlopen(f"{with_site}/calculators/en", timeout=60) as page:
        assert 'data-calculator="cost"' in page.read().decode()
