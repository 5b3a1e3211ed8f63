"""The bar that shows a job's blocks, in a terminal or a notebook."""

from typing import Any, Self

from tqdm.auto import tqdm

from gramserve.client.cards import count_text, duration_text
from gramserve.spec.status import JobReport

_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} blocks [{elapsed}{postfix}]"


class JobBar:
    """A tqdm bar over the blocks of one job.

    Parameters
    ----------
    label : str
        Its first words.
    visible : bool
        False draws nothing.
    """

    def __init__(self, label: str, *, visible: bool = True) -> None:
        self._bar: Any = tqdm(total=None, desc=label, disable=not visible, bar_format=_FORMAT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def show(self, report: JobReport) -> None:
        """Draw one report.

        Parameters
        ----------
        report : JobReport
            How far the job is.
        """
        self._bar.total = report.blocks.total or None
        self._bar.n = report.blocks.done
        self._bar.set_postfix_str(describe(report), refresh=True)

    def trouble(self, words: str) -> None:
        """Say what is in the way.

        Parameters
        ----------
        words : str
            A few words.
        """
        self._bar.set_postfix_str(words, refresh=True)


def describe(report: JobReport) -> str:
    """Return what a job is doing, in a few words.

    Parameters
    ----------
    report : JobReport
        How far it is.

    Returns
    -------
    str
        State or waiting reason, rate, time left, blocks reused and failed.
    """
    words = [report.waiting_reason or report.state]
    if report.rate_entries_per_s:
        words.append(f"{count_text(report.rate_entries_per_s)} entries/s")
    if report.eta_s is not None and not report.is_finished:
        words.append(f"{duration_text(report.eta_s)} left")
    if report.blocks.reused:
        words.append(f"{report.blocks.reused} reused")
    if report.blocks.failed:
        words.append(f"{report.blocks.failed} failed")
    return ", ".join(words)
