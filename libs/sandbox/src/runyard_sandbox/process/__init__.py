"""Sandboxes as processes beside the services, for previews where there is no engine.

Names are loaded when they are asked for: a supervisor (`runyard_sandbox.process.supervisor`) stays small without them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runyard_sandbox.process.provisioner import ProcessProvisioner, ProcessSettings

__all__ = ["ProcessProvisioner", "ProcessSettings"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(name)
    from runyard_sandbox.process import provisioner  # noqa: PLC0415 (see above)

    return getattr(provisioner, name)
