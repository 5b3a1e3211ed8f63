"""Where the states between stages lie: in one memory, those that exist at once side by side."""

from gramserve.stages import Offset, Stages, plane_entries


def state_positions(network: Stages, state: int) -> Offset:
    """Return the positions of a state."""
    return next(stage.behind for stage in network.stages if stage.writes == state)


def read_planes(network: Stages, state: int) -> set[Offset]:
    """Return the planes of a state that its readers need; the last one is a single number."""
    readers = [stage.read_planes for stage in network.stages if stage.reads == state]
    return set().union(*readers) or {(0, 0)}


def place_states(network: Stages) -> tuple[dict[int, int], int]:
    """Return where every state begins, and the room for all that exist at once."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for number, stage in enumerate(network.stages):
        first.setdefault(stage.writes, number)
        last[stage.writes] = len(network.stages)
        if stage.reads is not None:
            last[stage.reads] = number
    for state in first:
        readers = [n for n, stage in enumerate(network.stages) if stage.reads == state]
        last[state] = max(readers, default=len(network.stages))
    places: dict[int, int] = {}
    sizes: dict[int, int] = {}
    room = 1
    for state in sorted(first, key=lambda state: first[state]):
        positions = state_positions(network, state)
        sizes[state] = sum(plane_entries(positions, plane) for plane in read_planes(network, state))
        taken = sorted(
            (places[other], places[other] + sizes[other])
            for other in places
            if first[other] <= last[state] and last[other] >= first[state]
        )
        place = 0
        for begin, end in taken:
            if begin - place >= sizes[state]:
                break
            place = max(place, end)
        places[state] = place
        room = max(room, place + sizes[state])
    return places, room
