"""A grid on an existing Ray cluster: cells whose teachers are finished are trained at the same time.

All machines of the cluster see the recordings, the cache and the output folder under the same paths. A cell trains with
as many threads as it would here, so its result is the same.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...runtime.errors import TinysceneError, UnavailableError, require
from ...runtime.output import Output
from ..data.corpus import read_corpus
from .cells import Cell
from .run import CellError, Workshop, finish_cell
from .sides import Place, open_sides


def check_cluster(address: str) -> None:
    """Raise `UnavailableError` when Ray is not installed, or nobody listens at `address` ("auto", "HOST:PORT")."""
    require("ray", "ray")
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    # Ray itself would try for minutes.
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _unavailable(address, error) from error


def on_ray(address: str, place: Place, cells: Sequence[Cell], workshop: Workshop, output: Output) -> None:
    """Finish `cells` as tasks of the cluster at `address`, each as soon as its teachers are finished.

    `place` is what the machines open. Raises `UnavailableError` when Ray is not installed, no cluster answers or one
    loses a task, `CellError` for the first cell that fails; cells in training are then stopped, and the same command
    goes on with them.
    """
    if not cells:
        return
    check_cluster(address)
    ray = require("ray", "ray")
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _unavailable(address, error) from error
    place = place.absolute(workshop.own.data.cache.path.parent)
    try:
        _schedule(ray, place, list(cells), workshop, output)
    finally:
        ray.shutdown()


def _unavailable(address: str, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"no Ray cluster answers at {address!r} ({' '.join(str(error).split()):.150}): "
        "start one with `ray start --head`, and give the address that it prints"
    )


def _schedule(ray: Any, place: Place, waiting: list[Cell], workshop: Workshop, output: Output) -> None:
    total = len(waiting)
    unfinished = set(waiting)
    running: dict[Any, Cell] = {}
    # A machine that is lost loses its cells' last epochs only: they go on from their checkpoints elsewhere.
    finish = ray.remote(max_retries=2)(_finish)
    while unfinished:
        for cell in [cell for cell in waiting if not unfinished.intersection(cell.teachers)]:
            waiting.remove(cell)
            output.log(f"cell {total - len(waiting)} of {total}: {cell.what} ({workshop.folder(cell).name}) is queued")
            task = finish.options(**_resources(ray, cell, workshop)).remote(
                cell, place, workshop.out.resolve(), workshop.threads
            )
            running[task] = cell
        task = ray.wait(list(running), num_returns=1)[0][0]
        cell = running.pop(task)
        try:
            error: TinysceneError | None = ray.get(task)
        except ray.exceptions.RayError as lost:
            reason = " ".join(str(lost).split())[-300:]
            raise UnavailableError(
                f"the Ray cluster lost {cell.what} ({reason}): give the same command again"
            ) from lost
        if error is not None:
            raise CellError(cell, error)
        unfinished.remove(cell)
        output.log(f"{cell.what} is finished ({total - len(unfinished)} of {total})")


def _resources(ray: Any, cell: Cell, workshop: Workshop) -> dict[str, int]:
    """The share of a machine that a cell takes; of one with too few cores, all."""
    cores = max(int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["Alive"])
    threads = (cell.settings.threads if cell.settings is not None else 0) or workshop.threads
    wants_gpu = cell.settings is None or cell.settings.device != "cpu"
    return {
        "num_cpus": max(1, min(threads, cores)),
        "num_gpus": int(wants_gpu and ray.cluster_resources().get("GPU", 0) >= 1),
    }


def _finish(cell: Cell, place: Place, out: Path, threads: int) -> TinysceneError | None:
    """A task: finish `cell`; an error that is the user's to read comes back as a value."""
    try:
        finish_cell(cell, _open_workshop(place, out, threads), Output())
    except TinysceneError as error:
        return error
    return None


@lru_cache(maxsize=1)
def _open_workshop(place: Place, out: Path, threads: int) -> Workshop:
    # Opened once by each of Ray's worker processes: sending it would send the cache's samples.
    return Workshop(out, open_sides(place, read_corpus(place.data), None), threads)
