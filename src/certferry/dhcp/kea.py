"""Change option 150 of one subnet of a running Kea, and take the change back.

Kea's free commands replace a whole configuration, so it is fetched, changed in one place, tried (config-test), checked
to be still the one fetched, set, fetched again and compared. Whatever else differs then is told by its name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address

from certferry.dhcp import kea_config
from certferry.dhcp.kea_channel import KeaChannel, KeaRefusedError, KeaUnreachableError
from certferry.dhcp.kea_config import Config, Entry, Place
from certferry.dhcp.kea_undo import Change, UndoRecord
from certferry.errors import Refusal


class KeaChangedError(Refusal):
    """Somebody else changed Kea's configuration in between."""

    code = "dhcp.kea-changed"
    remedy = "Look at what was changed, and run it again; undo takes --anyway to put back its value nevertheless."


class KeaSetFailedError(Refusal):
    """Kea tried a configuration successfully, and then could not set it."""

    code = "dhcp.kea-set"
    remedy = "Look at Kea's log, and see with certferry dhcp check that it still answers phones."


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be changed. ``warnings`` say what will not be as expected."""

    place: Place
    before: Entry | None
    after: Entry | None
    before_text: str
    after_text: str
    defines: bool
    warnings: tuple[str, ...]
    config_before: Config = field(repr=False)
    config_after: Config = field(repr=False)
    undone: Change | None = None

    @property
    def is_pending(self) -> bool:
        """Whether there is anything to change."""
        return not kea_config.same_option(self.before, self.after)


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done. ``written`` is whether a restart of Kea keeps it; ``warnings`` say what else is to be known."""

    written: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kea:
    """A running Kea and the record of what certferry changed in it. ``write`` makes changes last over its restart."""

    channel: KeaChannel
    record: UndoRecord
    write: bool = True
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def plan(self, subnet: str, addresses: Sequence[IPv4Address]) -> Plan:
        """Plan to set the subnet's option 150; nothing is changed yet. Raises what the channel and the subnet raise."""
        config = self._config()
        place = kea_config.find_subnet(config, subnet)
        before = kea_config.option_of(config, place)
        after, defines = kea_config.new_option(config, addresses, before)
        changed = kea_config.with_option(config, place, after, define=defines)
        return self._planned(config, changed, place, after, defines=defines)

    def plan_undo(self, subnet: str, *, anyway: bool = False) -> Plan:
        """Plan to put back what stood there before certferry's latest change.

        Raises ``NothingToUndoError``, and ``KeaChangedError`` if somebody else changed the option, unless ``anyway``.
        """
        config = self._config()
        place = kea_config.find_subnet(config, subnet)
        change = self.record.latest(place.subnet, place.subnet_id)
        now = kea_config.option_of(config, place)
        known = kea_config.same_option(now, change.after) or kea_config.same_option(now, change.before)
        if not known and not anyway:
            sentence = f"option 150 is {kea_config.in_words(now)}, not {kea_config.in_words(change.after)} as certferry"
            raise KeaChangedError(f"{sentence} left it: somebody else changed it")
        changed = kea_config.with_option(config, place, change.before)
        if change.defined:
            changed = kea_config.without_definition(changed)
        return self._planned(config, changed, place, change.before, undone=change)

    def apply(self, plan: Plan) -> Applied:
        """Change what was planned, if it is still as it was; raises ``KeaChangedError``, ``KeaSetFailedError``."""
        with self.record.held():
            if plan.is_pending:
                return self._apply(plan)
            if plan.undone:
                self.record.drop(plan.undone)
            return Applied(written=True)

    def _apply(self, plan: Plan) -> Applied:
        self.channel.call("config-test", {"Dhcp4": plan.config_after})
        if kea_config.digest(self._config()) != kea_config.digest(plan.config_before):
            raise KeaChangedError("Kea's configuration was changed while this change was being looked at")
        change = self._change(plan)
        if not plan.undone:
            self.record.add(change)
        self._set(plan, change)
        if plan.undone:
            self.record.drop(plan.undone)
        return self._written(self._unlike(plan))

    def _config(self) -> Config:
        config = self.channel.call("config-get").get("Dhcp4")
        if not isinstance(config, dict) or not kea_config.is_whole(config):
            raise KeaUnreachableError("the answer to config-get holds no DHCPv4 configuration")
        kea_config.check_complete(config)
        return config

    def _planned(
        self,
        config: Config,
        changed: Config,
        place: Place,
        after: Entry | None,
        *,
        defines: bool = False,
        undone: Change | None = None,
    ) -> Plan:
        before = kea_config.option_of(config, place)
        texts = (_in_words(config, place, before), _in_words(config, place, after))
        warnings = tuple(f"{name} has its own option 150, which wins" for name in kea_config.stronger(config, place))
        return Plan(place, before, after, *texts, defines, warnings, config, changed, undone)

    def _change(self, plan: Plan) -> Change:
        # The definition made for one subnet is used by the next ones: whichever is undone last takes it away.
        defined = plan.defines or any(change.defined for change in self.record.changes())
        hashes = (kea_config.digest(plan.config_before), kea_config.digest(plan.config_after))
        where = (plan.place.subnet, plan.place.subnet_id)
        return Change(*where, plan.before, plan.after, defined, *hashes, self.now().isoformat(timespec="seconds"))

    def _set(self, plan: Plan, change: Change) -> None:
        """Set it; if Kea cannot, set what was there."""
        try:
            self.channel.call("config-set", {"Dhcp4": plan.config_after})
        except KeaRefusedError as error:
            try:
                self.channel.call("config-set", {"Dhcp4": plan.config_before})
            except Refusal:
                sentence = f"{error}; the configuration of before could not be set again"
                raise KeaSetFailedError(sentence) from error
            self.record.drop(change)
            raise KeaSetFailedError(f"{error}; the configuration of before was set again") from error

    def _unlike(self, plan: Plan) -> tuple[str, ...]:
        """Name what Kea has otherwise than it was told; what it adds to certferry's own entries does not count."""
        config = self._config()
        now = kea_config.option_of(config, plan.place)
        wrong = () if kea_config.same_option(now, plan.after) else (f"Kea has option 150 {kea_config.in_words(now)}",)
        told, has = (kea_config.without_150(each, plan.place) for each in (plan.config_after, config))
        paths = sorted(kea_config.differences(told, has))
        return (*wrong, *([f"Kea has other values than it was told in: {', '.join(paths[:10])}"] if paths else ()))

    def _written(self, warnings: tuple[str, ...]) -> Applied:
        if not self.write:
            unwritten = "not written to Kea's file: its restart takes the change back"
            return Applied(written=False, warnings=(*warnings, unwritten))
        try:
            self.channel.call("config-write")
        except KeaRefusedError as error:
            return Applied(written=False, warnings=(*warnings, f"in force, but Kea's restart takes it back: {error}"))
        return Applied(written=True, warnings=warnings)


def _in_words(config: Config, place: Place, entry: Entry | None) -> str:
    if entry is not None:
        return kea_config.in_words(entry)
    above = kea_config.inherited(config, place)
    return "none" if above is None else f"none of its own, so {kea_config.in_words(above)}"
