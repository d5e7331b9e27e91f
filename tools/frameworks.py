"""Writes the workspace service's list of web frameworks anew, from the npm package `@vercel/frameworks`.

    python tools/frameworks.py            # needs node and npm; fetches the newest version of the package
    python tools/frameworks.py FOLDER     # from an unpacked package

Taken over are facts: names, how a project is recognised, and the commands that serve and build it. Left out
are frameworks without a development server and experimental ones. Where a development server listens is
ours (`LISTEN`): a preview has to answer on one given port of one given address.
"""

import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

PACKAGE = "@vercel/frameworks"
TARGET = Path(__file__).parent.parent / "services/workspace/src/runyard_workspace/data/frameworks.json"
NOTICE = (
    "Facts about web frameworks from the npm package @vercel/frameworks, Copyright Vercel, Inc., Apache License 2.0 "
    "(https://github.com/vercel/vercel/tree/main/packages/frameworks), reduced and put into a format of our own by "
    "tools/frameworks.py. `listen` is not from there."
)
EXTRACT = """
const { frameworkList } = require(process.argv[1]);
console.log(JSON.stringify(frameworkList.map((one) => ({
  slug: one.slug, name: one.name, experimental: !!one.experimental, supersedes: one.supersedes || [],
  every: (one.detectors || {}).every || [], some: (one.detectors || {}).some || [],
  dev: one.settings.devCommand.value, build: one.settings.buildCommand.value,
  output: one.settings.outputDirectory.value || null,
}))));
"""
_VITE = "--port $PORT --strictPort --host $HOST"
LISTEN = {
    "nextjs": "--port $PORT --hostname $HOST",
    "gatsby": "--port $PORT --host $HOST",
    "remix": "--port $PORT --host $HOST",
    "react-router": _VITE,
    "astro": "--port $PORT --host $HOST",
    "hexo": "--port $PORT --ip $HOST",
    "docusaurus-2": "--port $PORT --host $HOST --no-open",
    "solidstart-1": "--port $PORT --host $HOST",
    "ember": "--port $PORT --host $HOST",
    "vue": "--port $PORT --host $HOST",
    "ionic-angular": "--port $PORT --host $HOST",
    "angular": "--port $PORT --host $HOST",
    "sveltekit-1": _VITE,
    "stencil": "--port $PORT --address $HOST --no-open",
    "nuxtjs": "--port $PORT --host $HOST",
    "hugo": "-p $PORT --bind $HOST",
    "jekyll": "--port $PORT --host $HOST",
    "zola": "--port $PORT --interface $HOST",
    "vite": _VITE,
    "tanstack-start": _VITE,
    "tanstack-start-lovable": _VITE,
    "vitepress": "--port $PORT --host $HOST",
    "vuepress": "--port $PORT --host $HOST",
    "parcel": "--port $PORT --host $HOST",
    "sanity": "--port $PORT --host $HOST",
    "storybook": "-p $PORT --host $HOST --ci",
    "nitro": "--port $PORT --host $HOST",
}
_DEPENDENCY = re.compile(r'^"\(dev\)\?\(d\|D\)ependencies":.*?"([^"]+)":\\s\*"(.*)"\[\^}\]\*}$')
_PORT = re.compile(r"(?:--port|-p|-P)[ =]\$PORT")
_ANY_VERSION = ".+?"


def rule(found: dict[str, str]) -> dict[str, str]:
    """One condition: a package among the dependencies (of some version), or a file (with some content)."""
    if "matchPackage" in found:
        return {"package": found["matchPackage"]}
    content = found.get("matchContent")
    dependency = _DEPENDENCY.match(content) if content and found["path"] == "package.json" else None
    if dependency:
        name, version = dependency[1].replace("\\/", "/"), dependency[2]
        return {"package": name} if version == _ANY_VERSION else {"package": name, "version": version}
    if content:
        re.compile(content)
    return {"file": found["path"], **({"content": content} if content else {})}


def reduced(one: dict[str, Any]) -> dict[str, Any]:
    """What we use of one framework, in our own names."""
    plain = _PORT.sub("", one["dev"]).strip()
    port = _PORT.search(one["dev"])
    return {
        "slug": one["slug"],
        "name": one["name"],
        "every": [rule(found) for found in one["every"]],
        "some": [rule(found) for found in one["some"]],
        "supersedes": one["supersedes"],
        "serve": plain,
        "listen": LISTEN.get(one["slug"], port[0] if port else ""),
        "build": one["build"],
        "output": one["output"],
    }


def package(folder: Path) -> Path:
    """The package, fetched and unpacked below `folder`."""
    packed = subprocess.run(
        ["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.split()[-1]
    with tarfile.open(folder / packed) as archive:
        archive.extractall(folder, filter="data")
    manifest = json.loads((folder / "package/package.json").read_text())
    wanted = [f"{name}@{version}" for name, version in manifest["dependencies"].items()]
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", *wanted]
    subprocess.run(install, cwd=folder / "package", check=True)
    return folder / "package"


def main() -> int:
    """Writes the list; returns the exit code."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]).resolve() if sys.argv[1:] else package(Path(temporary))
        version = json.loads((folder / "package.json").read_text())["version"]
        out = subprocess.run(["node", "-e", EXTRACT, str(folder)], check=True, capture_output=True, text=True).stdout
    kept = [one for one in json.loads(out) if one["slug"] and one["dev"] and not one["experimental"]]
    document = {
        "notice": NOTICE,
        "version": version,
        "frameworks": [reduced(one) for one in kept if "python" not in one["supersedes"]],
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(document, indent=1) + "\n")
    print(f"{len(document['frameworks'])} frameworks of {PACKAGE} {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
