"""Which session a run belongs to, read off the log: proof that it exists and is the tenant's own."""

from collections import OrderedDict

from runyard_events import EventLog
from runyard_events.subjects import run_subject
from runyard_llm_gateway.access import RunCaller

_KEPT = 2048


class RunFinder:
    """Finds runs by their first lifecycle event; remembers the newest."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._known: OrderedDict[tuple[str, str], RunCaller] = OrderedDict()

    async def find(self, tenant: str, run: str) -> RunCaller | None:
        """The run, if the tenant has it. `run` must be a plain identifier: it becomes part of a subject."""
        known = self._known.get((tenant, run))
        if known is not None:
            return known
        reader = self._log.reader(run_subject(tenant, "*", run, "lifecycle"), from_seq=1, inactive_seconds=2)
        try:
            await reader.open()
            if not reader.pending:
                return None
            async for batch in reader.batches():
                if batch:
                    found = RunCaller(tenant, str(batch[0].address.session_id), run)
                    self._known[tenant, run] = found
                    if len(self._known) > _KEPT:
                        self._known.popitem(last=False)
                    return found
        finally:
            await reader.close()
        return None
