"""Worker processes for cards: one for each, which sees no other."""

import copy
from collections.abc import Sequence
from typing import Any

from distributed import LocalCluster

from gramserve.arrays import find_cards

_START_SECONDS = 120


def cards_for(engine: str) -> tuple[str, ...]:
    """Return the cards that workers of this machine are started for.

    Parameters
    ----------
    engine : str
        The engine that was asked for.

    Returns
    -------
    tuple of str
        ``CUDA_VISIBLE_DEVICES`` of each worker; empty where the engine uses no card or there is
        none, and workers are counted in processes of the CPU.
    """
    if engine not in {"auto", "cuda"}:
        return ()
    return tuple(card.visible for card in find_cards())


class CardCluster(LocalCluster):
    """A LocalCluster with a worker process of one thread for each card.

    Every process has its own ``CUDA_VISIBLE_DEVICES``, so that the first card it sees is its own,
    and keeps it when it is started again.

    Parameters
    ----------
    cards : sequence of str
        ``CUDA_VISIBLE_DEVICES`` of each worker.
    **options
        Of LocalCluster, but for numbers of workers and threads.
    """

    def __init__(self, cards: Sequence[str], **options: Any) -> None:
        self._cards = tuple(cards)
        super().__init__(n_workers=0, threads_per_worker=1, **options)
        self.scale(len(self._cards))
        try:
            self.wait_for_workers(len(self._cards), timeout=_START_SECONDS)
        except BaseException:
            self.close()
            raise

    def new_worker_spec(self) -> dict[int, dict[str, Any]]:
        """Return the next worker by the number of its card."""
        number = next(n for n in range(len(self._cards)) if n not in self.worker_spec)
        spec = copy.copy(self.new_spec)
        spec["options"] = {
            **spec["options"],
            "env": {"CUDA_VISIBLE_DEVICES": self._cards[number]},
        }
        return {number: spec}
