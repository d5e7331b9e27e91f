"""Whose the boxes of previews are. What was nobody's at two looks, one after the other, is removed."""

from collections.abc import Mapping, Sequence

import structlog

from runyard_orchestrator.adapters.preview_boxes import PreviewBoxes
from runyard_orchestrator.domain.preview_upkeep import Box
from runyard_orchestrator.handlers.preview_desk import PreviewDesk
from runyard_orchestrator.store.previews import PreviewKey

logger = structlog.get_logger(__name__)


class PreviewCensus:
    """The boxes that the engines have, by preview."""

    def __init__(self, desk: PreviewDesk, boxes: PreviewBoxes) -> None:
        self._desk = desk
        self._boxes = boxes
        self._strangers: frozenset[str] = frozenset()

    async def take(self, found: Mapping[PreviewKey, Sequence[Box]]) -> dict[PreviewKey, set[str]]:
        """The names of each preview's boxes, of those previews that there are."""
        owned: dict[PreviewKey, set[str]] = {}
        strange: dict[str, Box] = {}
        for key, boxes in found.items():
            if (await self._desk.preview(key)).status == "absent":
                strange.update({box.name: box for box in boxes})
            else:
                owned[key] = {box.name for box in boxes}
        for name in self._strangers & strange.keys():
            logger.warning("preview.orphan_removed", name=name)
            await self._boxes.remove(strange[name])
        self._strangers = frozenset(strange)
        return owned
