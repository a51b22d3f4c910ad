"""The two clusters of a migration, and what their databases tell about its phones."""

from collections.abc import Collection
from dataclasses import dataclass

from certferry.cluster.cluster import Cluster
from certferry.migrate.place import Place
from certferry.migrate.waves.judging import Seen


@dataclass(frozen=True, slots=True)
class Sides:
    """Source and destination, opened."""

    source: Cluster
    destination: Cluster

    def places(self) -> tuple[Place, Place]:
        """Give both as verification and rehearsal look at them."""
        return Place.of_cluster(self.source), Place.of_cluster(self.destination)

    def look_up(self, migration: str, devices: Collection[str]) -> dict[str, Seen]:
        """Tell how far the resets of ``devices`` are and where both clusters saw them."""
        if not devices:
            return {}
        requests = self.source.resets.find([reset_id(migration, device) for device in devices])
        here, there = self.source.sightings.of(devices), self.destination.sightings.of(devices)
        return {
            device: Seen(requests.get(reset_id(migration, device)), here.get(device, {}), there.get(device, {}))
            for device in devices
        }


def reset_id(migration: str, device: str) -> str:
    """Name the one reset of a phone in a migration."""
    return f"{migration}:{device}"
