"""Where a process of an agent or a preview runs, behind one interface.

Names are loaded when they are asked for: the proxy in its container (`runyard_sandbox.proxy`) needs none of them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runyard_sandbox.provisioner import (
        Change,
        EngineAway,
        ExecResult,
        Failure,
        Health,
        Limits,
        LogLine,
        Mount,
        NotSupported,
        NotThere,
        Provisioner,
        ProvisionFailed,
        Purpose,
        Sandbox,
        SandboxFault,
        Spec,
        Stats,
        Status,
    )

__all__ = [
    "Change",
    "EngineAway",
    "ExecResult",
    "Failure",
    "Health",
    "Limits",
    "LogLine",
    "Mount",
    "NotSupported",
    "NotThere",
    "ProvisionFailed",
    "Provisioner",
    "Purpose",
    "Sandbox",
    "SandboxFault",
    "Spec",
    "Stats",
    "Status",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(name)
    from runyard_sandbox import provisioner  # noqa: PLC0415 (see above)

    return getattr(provisioner, name)
