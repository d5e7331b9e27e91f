"""Previews on subdomains of their own: who may see one, and the reverse proxy in front of it.

What a preview serves is somebody's unfinished program: it shares no origin with the console, sees none of the
platform's cookies and tokens, and can set none of them.
"""
