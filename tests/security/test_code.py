"""What the code itself must not do, read from its syntax: no pickles, no shell, no network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "live_restore").rglob("*.py"), *(ROOT / "export").rglob("*.py")])

FORBIDDEN_IMPORTS = {
    "marshal", "shelve", "dill", "cloudpickle", "joblib", "xmlrpc", "telnetlib", "ftplib",
    "smtplib", "urllib.request", "http.client", "requests", "httpx", "aiohttp",
    "xml.sax", "xml.dom", "lxml", "tarfile", "ctypes", "code", "commands",
}  # fmt: skip
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "tempfile.mktemp",
}
CALLS_WINDOWS = {
    f"live_restore/{name}.py"
    for name in ("files/windows", "hooks/leash", "engine/signals", "service/system_log")
}
"""May use ctypes, on Windows alone, for what its Python has no function for."""
CALLS_A_DRIVER = {"live_restore/inference/backends/kernels/cuda_driver.py"}
"""May use ctypes everywhere: the NVIDIA driver's library, by its bare name, once asked for."""
ONLY_THE_ERROR_OF = {"pickle"}
"""Imported for the name of its exception, and nothing else of it is used."""


def dotted(node: ast.AST) -> str:
    """Return the name of what is called, such as ``np.load``."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> object:
    """Return the constant that a call gives for a keyword."""
    for each in call.keywords:
        if each.arg == name and isinstance(each.value, ast.Constant):
            return each.value.value
    return None


def offences(source: str) -> Iterator[str]:
    """Yield what is wrong with a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
            for name in names:
                if any(name == bad or name.startswith(f"{bad}.") for bad in FORBIDDEN_IMPORTS):
                    yield f"imports {name}"
                if name.startswith("xml.etree") and not set(names) <= {
                    "xml.etree.ElementTree", "xml.etree.ElementTree.Element",
                    "xml.etree.ElementTree.ParseError",
                }:  # fmt: skip
                    yield f"parses XML with {name}"
        elif isinstance(node, ast.Attribute) and dotted(node).split(".")[0] in ONLY_THE_ERROR_OF:
            if not dotted(node).endswith("Error"):
                yield f"uses {dotted(node)}"
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in FORBIDDEN_CALLS:
                yield f"calls {name}"
            if name.endswith("torch.load") and keyword(node, "weights_only") is not True:
                yield "torch.load without weights_only=True"
            if name in ("np.load", "numpy.load") and keyword(node, "allow_pickle") is not False:
                yield "np.load without allow_pickle=False"
            if name in ("yaml.load", "yaml.load_all") and not any(
                dotted(argument) == "_PlainLoader" for argument in node.args
            ):
                yield f"{name} without the plain loader"
            if name.startswith("yaml.") and "unsafe" in name:
                yield f"calls {name}"
            if keyword(node, "shell") is True:
                yield "starts a shell"
            if name.rpartition(".")[2] in ("extractall", "unpack_archive"):
                yield f"unpacks with {name}"


def test_no_module_does_what_it_must_not() -> None:
    assert len(SOURCES) > 100
    for path in SOURCES:
        found = list(offences(path.read_text(encoding="utf-8")))
        if path.relative_to(ROOT).as_posix() in CALLS_WINDOWS | CALLS_A_DRIVER:
            found = [each for each in found if not each.startswith("imports ctypes")]
        assert found == [], path


def test_outside_calls_to_windows_are_on_windows_only() -> None:
    for name in CALLS_WINDOWS:
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        elsewhere = [node for node in tree.body if not isinstance(node, ast.If)]
        found = [each for node in elsewhere for each in offences(ast.unparse(node))]
        assert not any("ctypes" in each for each in found), name


SEEN = (
    "import marshal",
    "import urllib.request",
    "from urllib.request import urlopen",
    "import lxml.etree",
    "from xml.etree.ElementTree import parse",
    "import pickle\npickle.loads(b'')",
    "eval('1')",
    "import os\nos.system('a')",
    "import subprocess\nsubprocess.run('a', shell=True)",
    "import torch\ntorch.load('a')",
    "import torch\ntorch.load('a', weights_only=False)",
    "import numpy as np\nnp.load('a')",
    "import numpy as np\nnp.load('a', allow_pickle=True)",
    "import yaml\nyaml.load('a', yaml.Loader)",
    "import yaml\nyaml.unsafe_load('a')",
    "import zipfile\nzipfile.ZipFile('a').extractall()",
    "import shutil\nshutil.unpack_archive('a')",
)


def test_each_of_these_would_be_seen() -> None:
    for source in SEEN:
        assert list(offences(source)), source
