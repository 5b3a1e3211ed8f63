"""A job before it runs, as people read it."""

from gramserve.client.cards import count_text, duration_text, html_card, size_text, text_card
from gramserve.spec.status import PlanReport


class Plan(PlanReport):
    """How a job would be cut and what it would cost."""

    def __repr__(self) -> str:
        return text_card("Plan", self._facts())

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        return html_card("Plan", self._facts())

    def _facts(self) -> dict[str, object]:
        return plan_facts(self)


def plan_facts(report: PlanReport) -> dict[str, object]:
    """Return what people want to know of a plan.

    Parameters
    ----------
    report : PlanReport
        The plan.

    Returns
    -------
    dict
        Name and value of each line.
    """
    blocks = report.blocks
    cached = f"{blocks.cached} cached"
    if blocks.adoptable:
        cached += f" ({blocks.adoptable} in other matrices)"
    layers = [f"{layer.type} {_positions(layer.shape)}".strip() for layer in report.layers]
    return {
        "shape": f"{report.shape[0]} x {report.shape[1]}",
        "block size": report.block_size,
        "blocks": f"{blocks.total}: {cached}, {blocks.to_compute} to compute",
        "result": size_text(report.bytes.result),
        "worker memory": size_text(report.bytes.peak_worker),
        "operations": count_text(report.operations),
        "time": f"about {duration_text(report.seconds_estimate)}",
        "engine": f"{report.engine} ({report.why_engine})",
        "layers": ", ".join(layers),
        "gram": ", ".join(f"{name} {at}" for name, at in report.grams.items()) or report.gram,
    }


def _positions(shape: tuple[int, ...]) -> str:
    return "x".join(str(length) for length in shape)
