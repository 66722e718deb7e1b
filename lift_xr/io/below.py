"""A folder of a store as a store of its own, where no path or URL can name it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Self

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore


class BelowStore(WrapperStore[Store]):
    """What lies in a folder of another store, under names that do not mention the folder.

    Parameters
    ----------
    store
        The other one: of obstore, in memory, or any that zarr takes.
    folder
        Without slashes around it.
    """

    def __init__(self, store: Store, folder: str) -> None:
        super().__init__(store)
        self.folder = folder

    @property
    def base(self) -> Store:
        """The store that the folder is in."""
        return self._store

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self.folder)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BelowStore) and (self.base, self.folder) == (
            other.base,
            other.folder,
        )

    __hash__ = None  # type: ignore[assignment]  # as of every store of zarr

    def __str__(self) -> str:
        return f"{self.base}/{self.folder}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base!r}, {self.folder!r})"

    def outside(self, key: str) -> str:
        """What the other store calls it; the folder itself has no name in here."""
        return f"{self.folder}/{key}" if key else self.folder

    def inside(self, key: str) -> str:
        """Undo ``outside``."""
        return key.removeprefix(f"{self.folder}/")

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read an object, or a part of it; None where there is none."""
        return await self.base.get(self.outside(key), prototype, byte_range)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Read parts of objects."""
        asked = [(self.outside(key), part) for key, part in key_ranges]
        return await self.base.get_partial_values(prototype, asked)

    async def exists(self, key: str) -> bool:
        """Whether there is an object of that name."""
        return await self.base.exists(self.outside(key))

    async def getsize(self, key: str) -> int:
        """Bytes of an object."""
        return await self.base.getsize(self.outside(key))

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object."""
        await self.base.set(self.outside(key), value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write an object unless there is one of that name."""
        await self.base.set_if_not_exists(self.outside(key), value)

    async def delete(self, key: str) -> None:
        """Remove an object."""
        await self.base.delete(self.outside(key))

    async def delete_dir(self, prefix: str) -> None:
        """Remove what lies below a folder."""
        await self.base.delete_dir(self.outside(prefix))

    async def clear(self) -> None:
        """Remove everything in here, and nothing else of the other store."""
        await self.delete_dir("")

    async def is_empty(self, prefix: str) -> bool:
        """Whether nothing lies below a folder."""
        return await self.base.is_empty(self.outside(prefix))

    async def list(self) -> AsyncIterator[str]:
        """Name all objects."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Name the objects whose names begin so."""
        async for key in self.base.list_prefix(f"{self.folder}/{prefix}"):
            yield self.inside(key)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Name what lies in a folder itself."""
        async for name in self.base.list_dir(self.outside(prefix)):
            yield name

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        await self.base._set_many((self.outside(key), value) for key, value in values)

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        asked = [(self.outside(key), prototype, part) for key, prototype, part in requests]
        async for key, value in self.base._get_many(asked):
            yield self.inside(key), value
