"""Small real projects, as somebody would begin one, each with a page that says hello and what to edit in it."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Project:
    """Files of a project, what recognises it, and an edit that its page shows."""

    framework: str
    files: dict[str, str]
    edited: str
    """The file that is edited: `hello` in it becomes something else."""
    is_hot: bool = False
    """The page shows the edit by itself. Else it has nothing for that: whoever loads it anew has it."""

    @property
    def edit(self) -> str:
        return self.files[self.edited].replace("hello", "goodbye")


def _manifest(**more: object) -> str:
    return json.dumps({"name": "project", "private": True, "version": "0.0.0", **more})


VITE = Project(
    "vite",
    {
        "package.json": _manifest(type="module", scripts={"dev": "vite"}, devDependencies={"vite": "^6.3.0"}),
        "index.html": '<!doctype html><div id="app"></div><script type="module" src="/main.js"></script>',
        "main.js": (
            "import { greeting } from './greeting.js'\n"
            "const show = (text) => { document.querySelector('#app').textContent = text }\n"
            "show(greeting)\n"
            "import.meta.hot?.accept('./greeting.js', (fresh) => show(fresh.greeting))\n"
        ),
        "greeting.js": "export const greeting = 'hello'\n",
        ".gitignore": "node_modules\n",
    },
    edited="greeting.js",
    is_hot=True,
)

NEXT = Project(
    "nextjs",
    {
        "package.json": _manifest(
            scripts={"dev": "next dev"}, dependencies={"next": "^15.3.0", "react": "^19.0.0", "react-dom": "^19.0.0"}
        ),
        "app/layout.js": (
            "export default function Layout({ children }) {\n"
            "  return <html lang='en'><body>{children}</body></html>\n"
            "}\n"
        ),
        "app/page.js": "export default function Page() {\n  return <main id='app'>hello</main>\n}\n",
        ".gitignore": "node_modules\n.next\n",
    },
    edited="app/page.js",
    is_hot=True,
)

FLASK = Project(
    "flask",
    {
        "requirements.txt": "flask>=3\n",
        "app.py": (
            "from flask import Flask\n\n"
            "app = Flask(__name__)\n\n\n"
            "@app.get('/')\n"
            "def page():\n"
            "    return '<p id=\"app\">hello</p>'\n"
        ),
    },
    edited="app.py",
)

FASTAPI = Project(
    "fastapi",
    {
        "requirements.txt": "fastapi\n",
        "main.py": (
            "from fastapi import FastAPI\n"
            "from fastapi.responses import HTMLResponse\n\n"
            "app = FastAPI()\n\n\n"
            "@app.get('/', response_class=HTMLResponse)\n"
            "def page() -> str:\n"
            "    return '<p id=\"app\">hello</p>'\n"
        ),
    },
    edited="main.py",
)

STATIC = Project("static", {"public/index.html": '<!doctype html><p id="app">hello</p>'}, edited="public/index.html")

PROJECTS = (VITE, NEXT, FLASK, FASTAPI, STATIC)
