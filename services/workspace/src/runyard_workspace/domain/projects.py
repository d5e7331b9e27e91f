"""What kind of project a folder holds, and the shell commands that install and serve it.

Commands run in a shell in the project's folder with `PORT` and `HOST` set. What is installed stays out of
the session's changes: its folder gets a `.gitignore` of its own.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from runyard_workspace.domain.frameworks import Framework, Frameworks
from runyard_workspace.domain.python_projects import PYTHON_FILES, python_candidates
from runyard_workspace.domain.recipes import Candidate, installed_once

FOLDERS = ("", "web", "frontend", "client", "app", "apps/web", "site", "www", "ui", "backend", "server", "api", "docs")
"""Where projects are looked for: at the top first, then where monorepos have them."""

Manager = Literal["npm", "pnpm", "yarn", "bun"]
_LOCKS: dict[str, Manager] = {
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
    "bun.lock": "bun",
    "bun.lockb": "bun",
    "package-lock.json": "npm",
    "npm-shrinkwrap.json": "npm",
}
_MANAGERS: tuple[Manager, ...] = ("npm", "pnpm", "yarn", "bun")
_IMAGES = ("Dockerfile", "Containerfile")
_COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_STATIC = (".", "public", "dist", "build", "out", "_site", "site", "www")
_SCRIPTS = ("dev", "start:dev", "start", "serve", "preview")
_OPERATORS = re.compile(r"[&|;<>`$()]")


@dataclass(frozen=True, slots=True)
class Files:
    """A folder, as far as it was looked at: text of small files, None for those that are there but were not read."""

    folder: str
    content: Mapping[str, str | None]

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self.content

    def text(self, name: str) -> str:
        """A file's text, empty when it was not read."""
        return self.content.get(name) or ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A package.json as far as it can be believed."""

    packages: Mapping[str, str]
    scripts: Mapping[str, str]
    manager: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Manifest":
        """Reads one; whatever is not as it should be counts as absent."""
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            return cls({}, {})
        raw = cast("dict[str, Any]", found)
        packages = {**_texts(raw.get("devDependencies")), **_texts(raw.get("dependencies"))}
        manager = raw.get("packageManager")
        return cls(packages, _texts(raw.get("scripts")), manager if isinstance(manager, str) else None)


def wanted_files(frameworks: Frameworks) -> dict[str, bool]:
    """Every file that `detect` looks at, and whether it reads it."""
    names = [*_LOCKS, *_IMAGES, *_COMPOSE, *(_page(folder) for folder in _STATIC)]
    return {**dict.fromkeys(names, False), **frameworks.files(), **PYTHON_FILES, "package.json": True}


def detect(folders: list[Files], frameworks: Frameworks) -> list[Candidate]:
    """Every way to serve what these folders hold, the likeliest first."""
    ordered = [_of_frameworks, _python, _of_scripts, _static, _image]
    found = [candidate for rank in ordered for files in folders for candidate in rank(files, frameworks)]
    # A program at the top is likelier than one of a folder below, whatever it is written in; images come last.
    return sorted(found, key=lambda one: (one.needs_image, one.rank, one.folder != ""))


def _of_frameworks(files: Files, frameworks: Frameworks) -> list[Candidate]:
    manifest = Manifest.parse(files.text("package.json"))
    return [
        Candidate(
            framework=one.slug,
            name=one.name,
            install=_install(files, manifest),
            serve=_served(one, files, manifest),
            folder=files.folder,
        )
        for one in frameworks.matching(files.content, manifest.packages)
    ]


def _python(files: Files, _: Frameworks) -> list[Candidate]:
    return python_candidates(files.folder, files.content)


def _of_scripts(files: Files, _: Frameworks) -> list[Candidate]:
    """A program of no framework that we know, by the scripts of its package.json."""
    manifest = Manifest.parse(files.text("package.json"))
    manager = _manager(files, manifest)
    return [
        Candidate(
            framework="node",
            name=f"Node.js ({script})",
            install=_install(files, manifest),
            serve=f"exec {manager} run {script}",
            folder=files.folder,
            rank=1,
        )
        for script in _SCRIPTS
        if script in manifest.scripts
    ][:1]


def _static(files: Files, _: Frameworks) -> list[Candidate]:
    for folder in _STATIC:
        if files.has(_page(folder)):
            served = f'exec python3 -m http.server "$PORT" --bind "$HOST" --directory {shlex.quote(folder)}'
            return [Candidate("static", "Static pages", None, served, files.folder, rank=2)]
    return []


def _image(files: Files, _: Frameworks) -> list[Candidate]:
    found = (("compose", "Compose file", _COMPOSE), ("dockerfile", "Dockerfile", _IMAGES))
    return [
        Candidate(kind, name, None, "", files.folder, needs_image=True)
        for kind, name, names in found
        if any(files.has(one) for one in names)
    ]


def _served(framework: Framework, files: Files, manifest: Manifest) -> str:
    """The project's own script where it runs the framework's server and nothing else, else the server itself."""
    binary = framework.serve.split()[0]
    manager = _manager(files, manifest)
    for name in _SCRIPTS:
        script = manifest.scripts.get(name, "")
        if not script.startswith((f"{binary} ", f"npx {binary} ")) and script != binary:
            continue
        if _is_build(script):
            continue
        if _OPERATORS.search(script):
            return f"exec {manager} run {name}"
        if "--port" in script or " -p " in script:
            break
        return f"exec {manager} run {name} {'-- ' if manager == 'npm' else ''}{framework.listen}".rstrip()
    return f'export PATH="$PWD/node_modules/.bin:$PATH"; exec {framework.serve} {framework.listen}'.rstrip()


def _is_build(script: str) -> bool:
    """Whether it ends by itself or serves what was built before: no server of a project at work."""
    words = script.split()
    return any(word in {"build", "preview", "start", "export", "generate"} for word in words[1:2]) and words[0] in {
        "vite",
        "next",
        "astro",
        "nuxt",
        "gatsby",
        "vitepress",
        "vinxi",
        "nitro",
    }


def _install(files: Files, manifest: Manifest) -> str | None:
    if not files.has("package.json"):
        return None
    match _manager(files, manifest):
        case "pnpm":
            command = "pnpm install --prefer-offline"
        case "yarn":
            command = "yarn install"
        case "bun":
            command = "bun install"
        case "npm":
            locked = files.has("package-lock.json") or files.has("npm-shrinkwrap.json")
            command = f"npm install --no-audit --no-fund{'' if locked else ' --no-package-lock'}"
    manifests = ["package.json", *(name for name in _LOCKS if files.has(name))]
    return installed_once("node_modules", manifests, command)


def _manager(files: Files, manifest: Manifest) -> Manager:
    named = (manifest.manager or "").partition("@")[0]
    for known in _MANAGERS:
        if named == known:
            return known
    for lock, manager in _LOCKS.items():
        if files.has(lock):
            return manager
    return "npm"


def _page(folder: str) -> str:
    return "index.html" if folder == "." else f"{folder}/index.html"


def _texts(found: object) -> dict[str, str]:
    if not isinstance(found, dict):
        return {}
    entries = cast("dict[Any, Any]", found)
    return {name: value for name, value in entries.items() if isinstance(name, str) and isinstance(value, str)}
