"""What the matrices of a server occupy, who asked for them, and which may be evicted."""

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from gramserve.catalog import Catalog, GramRecord, PinRecord, ReuseTally
from gramserve.catalog.times import utc_now
from gramserve.spec.cache_reports import CacheEntry, CacheReport, KernelUse, PinInfo, UserUse
from gramserve.store import DiskUse, SharedUse, StateLayout, measure, occupied_bytes

BUSY_S = 60.0
"""Seconds after its last use during which a matrix counts as being read."""


@dataclass(frozen=True)
class Census:
    """All recorded matrices at one moment, the least recently used first."""

    grams: list[GramRecord]
    uses: list[DiskUse]
    """Of each, in the same order."""
    pins: Mapping[str, list[PinRecord]]
    askers: Mapping[str, list[tuple[str, str]]]
    """Ids and names of keys, by matrix."""
    live: frozenset[str]
    """Matrices that unfinished jobs refer to."""
    reuse: list[ReuseTally]
    free_bytes: int

    def in_use(self, gram: GramRecord) -> str | None:
        """Return why a matrix must stay, None when it may go."""
        if gram.id in self.pins:
            return f"pinned by {', '.join(pin.key_name for pin in self.pins[gram.id])}"
        if gram.id in self.live:
            return "an unfinished job needs it"
        used = gram.last_used or gram.created
        if utc_now() - used < timedelta(seconds=BUSY_S):
            return f"used within the last {BUSY_S:.0f} s"
        return None

    def as_report(self) -> CacheReport:
        """Return the body of ``GET /v1/cache``."""
        shared = SharedUse(self.uses)
        asked = sum(tally.blocks_asked for tally in self.reuse)
        reused = sum(tally.blocks_reused for tally in self.reuse)
        return CacheReport(
            bytes=shared.bytes,
            free_bytes=self.free_bytes,
            blocks_asked=asked,
            blocks_reused=reused,
            hit_rate=reused / asked if asked else None,
            kernels=self._kernels(),
            users=self._users(),
            entries=[
                self._entry(gram, use, shared.freed_by(number))
                for number, (gram, use) in enumerate(zip(self.grams, self.uses, strict=True))
            ],
        )

    def _entry(self, gram: GramRecord, use: DiskUse, freed: int) -> CacheEntry:
        pins = self.pins.get(gram.id, ())
        return CacheEntry.model_validate(
            {
                "id": gram.id,
                "kernel": gram.kernel,
                "precision": gram.precision,
                "shape": (gram.rows, gram.columns),
                "block_size": gram.block_size,
                "dataset": gram.dataset,
                "other": gram.other,
                "bytes": use.bytes,
                "freed_bytes": freed,
                "created": gram.created,
                "last_used": gram.last_used,
                "rows_served": gram.rows_served,
                "verified": gram.verified,
                "pins": [pin_info(pin) for pin in pins],
                "users": [name for _, name in self.askers.get(gram.id, ())],
                "in_use": self.in_use(gram),
            }
        )

    def _kernels(self) -> list[KernelUse]:
        groups: defaultdict[tuple[str, str, str | None], list[DiskUse]] = defaultdict(list)
        for gram, use in zip(self.grams, self.uses, strict=True):
            groups[gram.kernel, gram.precision, gram.kernel_address].append(use)
        found = [
            KernelUse.model_validate(
                {
                    "kernel": kernel,
                    "precision": precision,
                    "address": address,
                    "grams": len(uses),
                    "bytes": occupied_bytes(uses),
                }
            )
            for (kernel, precision, address), uses in groups.items()
        ]
        return sorted(found, key=lambda use: -use.bytes)

    def _users(self) -> list[UserUse]:
        names: dict[str | None, str | None] = {}
        groups: defaultdict[str | None, list[DiskUse]] = defaultdict(list)
        for gram, use in zip(self.grams, self.uses, strict=True):
            for asker, asker_name in self.askers.get(gram.id, ()):
                names[asker] = asker_name
                groups[asker].append(use)
        tallies = {tally.key_id: tally for tally in self.reuse}
        names |= {tally.key_id: tally.key_name for tally in self.reuse}
        found = []
        for key, name in names.items():
            tally = tallies.get(key)
            found.append(
                UserUse(
                    key=key,
                    name=name,
                    grams=len(groups[key]),
                    bytes=occupied_bytes(groups[key]),
                    jobs=tally.jobs if tally else 0,
                    blocks_asked=tally.blocks_asked if tally else 0,
                    blocks_reused=tally.blocks_reused if tally else 0,
                )
            )
        return sorted(found, key=lambda use: -use.bytes)


def pin_info(pin: PinRecord) -> PinInfo:
    """Return the body of a pin."""
    return PinInfo(key=pin.key_id, name=pin.key_name, reason=pin.reason, created=pin.created)


async def take_census(catalog: Catalog, layout: StateLayout) -> Census:
    """Look at all recorded matrices and at their files.

    Parameters
    ----------
    catalog : Catalog
        Knows which there are; what was read lately must have been written down.
    layout : StateLayout
        Where they lie.

    Returns
    -------
    Census
        Takes a look at every file: seconds for a million of them.
    """
    grams = await catalog.all_grams()
    pins: defaultdict[str, list[PinRecord]] = defaultdict(list)
    for pin in await catalog.pins():
        pins[pin.gram].append(pin)
    uses = await asyncio.to_thread(_measure_all, layout, grams)
    return Census(
        grams=grams,
        uses=uses,
        pins=dict(pins),
        askers=await catalog.askers(),
        live=frozenset(await catalog.live_grams()),
        reuse=await catalog.reuse(),
        free_bytes=shutil.disk_usage(layout.root).free,
    )


def _measure_all(layout: StateLayout, grams: Iterable[GramRecord]) -> list[DiskUse]:
    return [measure(layout.gram(gram.id)) for gram in grams]
