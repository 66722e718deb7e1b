"""The same array under other names, made once more, so that no block waits for a second use."""

from __future__ import annotations

from typing import Any

import dask.array as da
from dask._task_spec import DataNode, convert_legacy_graph
from dask.base import tokenize
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph


def made_afresh(array: da.Array) -> da.Array:
    """Give the same array, whose blocks are made apart from all that is made with ``array``.

    Where a block is needed now, and again once all blocks have been seen, dask makes it once and
    keeps it: all of them are in memory then. What is data already, because it was persisted, is
    shared.

    Notes
    -----
    ``dask.graph_manipulation.clone`` is for this, and loses tasks of sliced and rechunked arrays
    (dask 2026.8).
    """
    graph = convert_legacy_graph(dict(array.__dask_graph__()))
    name, blocks = _afresh(array.name), set(flatten(array.__dask_keys__()))
    names = {
        key: _afresh(key)
        for key, task in graph.items()
        if key in blocks or not isinstance(task, DataNode)
    }
    tasks = {names.get(key, key): task for key, task in graph.items()}
    tasks = {key: task.substitute(names, key=key) for key, task in tasks.items()}
    layers = HighLevelGraph.from_collections(name, tasks, dependencies=())
    return da.Array(layers, name, array.chunks, dtype=array.dtype, meta=array._meta)


def _afresh(key: Any) -> Any:
    """Another name, the same whenever it is asked for."""
    if isinstance(key, tuple):
        return (_afresh(key[0]), *key[1:])
    return f"afresh-{tokenize(key)}"
