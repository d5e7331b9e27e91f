"""Web programs in Python: which framework, which module, and how its development server is started."""

import re
from collections.abc import Mapping

from runyard_workspace.domain.recipes import Candidate, installed_once

_REQUIREMENTS = "requirements.txt"
_PROJECT = "pyproject.toml"
_MODULES = (
    "main.py",
    "app.py",
    "server.py",
    "api.py",
    "wsgi.py",
    "asgi.py",
    "application.py",
    "app/main.py",
    "app/app.py",
    "app/__init__.py",
    "src/main.py",
    "src/app.py",
    "api/main.py",
)
PYTHON_FILES = dict.fromkeys((_REQUIREMENTS, _PROJECT, "Pipfile", "manage.py", *_MODULES), True)
"""What is read of a folder to see whether it is one."""

_DJANGO = re.compile(r"DJANGO_SETTINGS_MODULE")
_FASTAPI = re.compile(r"^(\w+)\s*(?::[^=\n]+)?=\s*(?:fastapi\.)?FastAPI\(", re.MULTILINE)
_FLASK = re.compile(r"^(\w+)\s*(?::[^=\n]+)?=\s*(?:flask\.)?Flask\(", re.MULTILINE)
_FLASK_FACTORY = re.compile(r"^def (create_app|make_app)\(", re.MULTILINE)
_PYTHON = ".venv/bin/python"


def python_candidates(folder: str, content: Mapping[str, str | None]) -> list[Candidate]:
    """Django, FastAPI and Flask programs of a folder."""
    read = {name: content.get(name) or "" for name in PYTHON_FILES}
    needed = f"{read[_REQUIREMENTS]}\n{read[_PROJECT]}\n{read['Pipfile']}".lower()
    found: list[Candidate] = []
    if _DJANGO.search(read["manage.py"]):
        serve = f'exec {_PYTHON} manage.py runserver "$HOST:$PORT"'
        found.append(_candidate("django", "Django", serve, folder, content=content, default="django"))
    for module in _MODULES:
        if match := _FASTAPI.search(read[module]):
            serve = f'exec {_PYTHON} -m uvicorn {_dotted(module)}:{match[1]} --reload --host "$HOST" --port "$PORT"'
            found.append(
                _candidate("fastapi", "FastAPI", serve, folder, content=content, default="fastapi uvicorn[standard]")
            )
            break
    for module in _MODULES:
        app = _flask_app(read[module], "flask" in needed)
        if app is not None:
            # Reloads code and templates; its debugger, which runs what a visitor types, stays off.
            named = f"{_dotted(module)}{app}"
            serve = f'exec {_PYTHON} -m flask --app {named} --debug run --no-debugger --host "$HOST" --port "$PORT"'
            found.append(_candidate("flask", "Flask", serve, folder, content=content, default="flask"))
            break
    return found


def _flask_app(text: str, needs_flask: bool) -> str | None:  # noqa: FBT001
    if match := _FLASK.search(text):
        return f":{match[1]}"
    if needs_flask and (match := _FLASK_FACTORY.search(text)):
        return f":{match[1]}"
    return None


def _candidate(
    slug: str, name: str, serve: str, folder: str, *, content: Mapping[str, str | None], default: str
) -> Candidate:
    if _REQUIREMENTS in content:
        manifests, wanted = [_REQUIREMENTS], f"-r {_REQUIREMENTS}"
    elif _PROJECT in content:
        manifests, wanted = [_PROJECT], "."
    else:
        manifests, wanted = ["/dev/null"], default
    # Whoever writes `fastapi` alone has no server for it.
    extra = " 'uvicorn[standard]'" if slug == "fastapi" and wanted != default else ""
    quoted = " ".join(f"'{word}'" for word in wanted.split()) if wanted == default else wanted
    pip = f"{_PYTHON} -m pip install --disable-pip-version-check --quiet {quoted}{extra}"
    install = installed_once(".venv", manifests, f"{{ [ -x {_PYTHON} ] || python3 -m venv .venv; }} && {pip}")
    return Candidate(slug, name, install, serve, folder)


def _dotted(module: str) -> str:
    return module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
