"""The one door between sandboxes and everything else, run in a container of its own: `python -m runyard_sandbox.proxy`.

Nothing but the standard library is used here.
"""
