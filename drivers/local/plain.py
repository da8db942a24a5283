"""What each step of a network, an image and the node itself does here.

Owns: their verbs. Must not go here: machines' (verbs.py), precondition, effect, fence and locks (driver.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from drivers.local import images, marks
from drivers.local.network import NetworkFailed
from drivers.local.node import Node
from drivers.local.observe import Observer
from drivers.local.storage import HALF, StorageFailed
from drivers.local.verbs import Deed, Refused
from reconciler.core.refs import short
from reconciler.core.values import canonical


class NetworkVerbs:
    def __init__(self, node: Node, observer: Observer) -> None:
        self._node = node
        self.table: dict[str, Callable[[Deed], None]] = {
            "create": self.create,
            "update": self.update,
            "destroy": self.destroy,
            "mark": self.mark,
            "forget": self.forget,
        }

    def create(self, deed: Deed) -> None:
        """Marked before it is made: a bridge that is there without its record would be nobody's."""
        form, name = dict(deed.args["fields"]), f"networks/{deed.step.uid}"
        mark = marks.born(deed.marks, deed.seen.identity, name)
        self._node.storage.create(name, mark=mark, form=_record(deed, form))
        self._ensure(deed, form)
        if form.get("firewall") or form.get("forwards"):
            made = self._node.storage.read([name]).volumes[name]
            self._node.storage.set(made, form=self._guarded(deed, form))

    def _ensure(self, deed: Deed, form: Mapping[str, Any]) -> None:
        with self._node.locks.network():
            self._node.networks.ensure(form, short(deed.step.ref))

    def update(self, deed: Deed) -> None:
        before = deed.volume.record
        form = dict(deed.args["fields"])
        self._ensure(deed, form)
        if before and self._node.networks.moved(before, form):
            with self._node.locks.network(), suppress(NetworkFailed):  # zones still on it: they move by their own steps
                self._node.networks.destroy(before, self._others(deed))
        with self._node.locks.network():
            self._node.networks.sweep([form, *self._others(deed)])
        # last: killed before, the next look finds that it is not as it is said to be, and all of this is done again
        self._node.storage.set(
            deed.volume, form=self._guarded(deed, form), mark=marks.bound(deed.marks, deed.volume.guid)
        )

    def _guarded(self, deed: Deed, form: Mapping[str, Any]) -> str:
        """With how its chains read, so that an edit by hand is seen."""
        return _record(deed, {**form, **self._node.networks.chains(form)})

    def destroy(self, deed: Deed) -> None:
        form = deed.volume.record
        if form:
            with self._node.locks.network():
                self._node.networks.destroy(form, self._others(deed))
        self._node.storage.destroy(deed.volume.name)

    def _others(self, deed: Deed) -> list[Mapping[str, Any]]:
        """What is said of the node's other networks."""
        return [form for name, form in self._node.network_forms().items() if name != deed.volume.name]

    def mark(self, deed: Deed) -> None:
        self._node.storage.set(deed.volume, mark=marks.bound(deed.marks, deed.volume.guid))

    def forget(self, deed: Deed) -> None:
        self._node.storage.unmark(deed.volume)


class ImageVerbs:
    def __init__(self, node: Node, observer: Observer) -> None:
        self._node = node
        self.table: dict[str, Callable[[Deed], None]] = {
            "import": self.bring_in,
            "create": self.bring_in,
            "update": self.update,
            "destroy": self.destroy,
            "mark": self.mark,
            "forget": self.forget,
        }

    def bring_in(self, deed: Deed) -> None:
        """Filled aside and renamed when complete: half an image is never seen."""
        form, storage = dict(deed.args["fields"]), self._node.storage
        name = f"images/{deed.step.uid}"
        aside = f"{name}{HALF}"
        storage.destroy(aside)
        storage.create(aside, mark="", form="{}")
        root = storage.mount(aside)
        source = deed.args.get("body", {}).get("source", {})
        deed.context.progress(f"filling {short(deed.step.ref)}")
        images.fill(root, source, deed.context.files.get(form["digest"]), self._node.locks.held())
        form["systemd"] = images.has_systemd(root)
        volume = storage.read([aside]).volumes[aside]
        storage.set(volume, form=canonical(form).decode(), mark=marks.bound(deed.marks, volume.guid))
        storage.seal(aside, name)

    def update(self, deed: Deed) -> None:
        """What is said of the contents; the contents never change."""
        held = deed.volume.record
        form = {**held, **deed.args["fields"]}
        if form.get("digest") != held.get("digest"):
            raise Refused("an image's contents never change: another digest is another image")
        mark = marks.bound(deed.marks, deed.volume.guid)
        self._node.storage.set(deed.volume, form=canonical(form).decode(), mark=mark)

    def destroy(self, deed: Deed) -> None:
        try:
            self._node.storage.destroy(deed.volume.name)
        except StorageFailed as error:
            if "dependent clones" not in str(error):
                raise
            raise Refused("machines, or some in quarantine, are still made of it") from None

    def mark(self, deed: Deed) -> None:
        self._node.storage.set(deed.volume, mark=marks.bound(deed.marks, deed.volume.guid))

    def forget(self, deed: Deed) -> None:
        self._node.storage.unmark(deed.volume)


def _record(deed: Deed, form: Mapping[str, Any]) -> str:
    return canonical({**form, "name": short(deed.step.ref)}).decode()
