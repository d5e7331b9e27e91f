"""What a visitor sees when there is no preview to be seen: in words, with the last lines that it printed."""

from collections.abc import Sequence
from html import escape

_STYLE = (
    "body{margin:0;min-height:100vh;display:grid;place-items:center;font:16px/1.5 system-ui,sans-serif;"
    "background:#f6f7f9;color:#1c2330}main{max-width:46rem;padding:2rem;width:calc(100% - 4rem)}"
    "h1{font-size:1.4rem;margin:0 0 .5rem}p{margin:.25rem 0;color:#4a5568}"
    "pre{background:#10151f;color:#d7dde8;padding:1rem;border-radius:8px;overflow:auto;font-size:13px;"
    "max-height:50vh;white-space:pre-wrap;overflow-wrap:anywhere}"
    ".bar{height:3px;background:#d5dbe5;border-radius:3px;overflow:hidden;margin:1.25rem 0}"
    ".bar:after{content:'';display:block;height:100%;width:35%;background:#3b6fe0;animation:go 1.4s infinite}"
    "@keyframes go{from{margin-left:-35%}to{margin-left:100%}}"
    "@media(prefers-color-scheme:dark){body{background:#12161d;color:#e6eaf1}p{color:#a3adbd}}"
    "@media(prefers-reduced-motion:reduce){.bar:after{animation:none}}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
LINES = 40
_REFRESH_SECONDS = 1
_STEPS = {
    "requested": "Its files are being prepared.",
    "prepared": "Its files are ready.",
    "starting": "It is being installed and started.",
}


def starting(status: str, framework: str | None) -> str:
    """The page of a preview that is on its way; it asks again by itself."""
    what = f" ({escape(framework)})" if framework else ""
    body = f'<p>{_STEPS.get(status, "It is being started.")}{what}</p><div class="bar" role="progressbar"></div>'
    return _page("The preview is starting", f"{body}<p>This page opens it as soon as it answers.</p>", refresh=True)


def failed(message: str | None, lines: Sequence[str]) -> str:
    """The page of a preview that did not come up, or went down."""
    body = f"<p>{escape(message or 'It ended.')}</p>"
    if lines:
        body += f"<p>The last that it said:</p><pre>{escape(chr(10).join(lines[-LINES:]))}</pre>"
    return _page("The preview failed", body + "<p>Correct it and start it again in Runyard.</p>")


def stopped() -> str:
    """The page of a preview at rest."""
    return _page("The preview is stopped", "<p>Start it again in Runyard.</p>")


def silent() -> str:
    """The page of a preview that should answer and does not."""
    return _page("The preview does not answer", "<p>It may be starting anew; this page asks again.</p>", refresh=True)


def refused() -> str:
    """The page of somebody without a pass. It does not tell whether there is such a preview."""
    body = "<p>Open this preview from Runyard, or by a link that was shared with you and is still valid.</p>"
    return _page("You need a link to see this", body)


def gone() -> str:
    """The page of a preview that was deleted."""
    return _page("There is no preview here any more", "<p>It was deleted.</p>")


def foreign() -> str:
    """The page of a request that another site has made."""
    return _page("Not from there", "<p>Another site has asked for this. Open the preview itself.</p>")


def busy() -> str:
    """The page of a preview with too many open requests."""
    return _page("The preview is busy", "<p>Too many requests are open; this page asks again.</p>", refresh=True)


def no_path() -> str:
    """The page of a request that names no path: `OPTIONS *`, or one that a proxy is sent."""
    return _page("Nothing is asked for", "<p>The address of a preview has a path that begins with a slash.</p>")


def too_large() -> str:
    """The page of an upload that is not taken."""
    return _page("Too large", "<p>More is sent than a preview takes.</p>")


def _page(title: str, body: str, *, refresh: bool = False) -> str:
    again = f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">' if refresh else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>{again}'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
