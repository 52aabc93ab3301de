"""The model registry: MLflow's, holding digests, approval states, aliases and the reason of every change.

A version is a bundle: its tags carry the digest and the place. `champion` is the version that serves, `challenger` the
newest one that does not. Endpoints pin a digest and never ask here, so they keep answering when MLflow is down. Changes are
made one after the other where the registry is a file; on a server, whose address gives nothing to lock, a promotion looks
whether it stands.
"""

import difflib
import getpass
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ray_mlops.contract import Frozen, ModelVersion, Run
from ray_mlops.contract.names import MODEL
from ray_mlops.errors import RegistryError, StorageError
from ray_mlops.platform import tracking
from ray_mlops.platform.bundle import Bundle

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

Approval = Literal["pending", "approved", "rejected"]
Action = Literal["registered", "promoted", "rejected", "rolled_back"]
CHAMPION, CHALLENGER = "champion", "challenger"
_PREFIX = "ray_mlops."
_AUDIT = f"{_PREFIX}audit."


class Change(Frozen):
    """One line of the audit log: what was done to a version, when (UTC), by whom and why."""

    action: Action
    time: datetime
    user: str
    reason: str = ""


class Version(ModelVersion):
    """A registered bundle with its state; `changes` is its audit log, oldest first."""

    approval: Approval
    metrics: Mapping[str, float] = {}
    run: str = ""
    changes: tuple[Change, ...] = ()

    def artifact(self) -> ModelVersion:
        """The version without its state, as stages hand it on."""
        return ModelVersion(**{name: getattr(self, name) for name in ModelVersion.model_fields})


def open_registry(run: Run) -> "Registry":
    """The registry of a run: at its tracking address, else the default of its root."""
    return Registry(tracking.tracking_uri(run))


class Registry:
    """The versions of every model at one MLflow address (SQLite file, database or tracking server).

    Unknown names, versions and aliases raise `RegistryError` with the legal ones; a registry that cannot be reached
    raises `StorageError`.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    @cached_property
    def _client(self) -> "MlflowClient":
        return tracking.connect(self._uri)

    def names(self) -> tuple[str, ...]:
        """Names of all models, sorted."""
        if not tracking.exists(
            self._uri
        ):  # nothing was ever registered: no need to wait for MLflow, nor to make a file
            return ()
        return tuple(sorted(model.name for model in self._client.search_registered_models(max_results=1000)))

    def versions(self, name: str) -> tuple[Version, ...]:
        """All versions of a model, newest first; none when the model was never registered."""
        _safe(name)
        if not tracking.exists(self._uri):
            return ()
        with self._storage() as client:
            aliases = _aliases(client, name)
            found = client.search_model_versions(f"name = '{name}'", max_results=10_000)
        known = [_version(entry, aliases) for entry in found]
        return tuple(sorted(known, key=lambda version: int(version.version), reverse=True))

    def version(self, name: str, which: str) -> Version:
        """The version with this number or alias."""
        known = self.versions(name)
        if not known:
            raise RegistryError(f"no model is called {name!r}.{_nearest(name, self.names())}")
        for version in known:
            if which == version.version or which in version.aliases:
                return version
        legal = ", ".join("/".join((version.version, *version.aliases)) for version in known)
        raise RegistryError(f"model {name!r} has no version {which!r}; it has {legal}")

    def champion(self, name: str) -> Version | None:
        """The version that serves, if there is one."""
        return next((version for version in self.versions(name) if CHAMPION in version.aliases), None)

    def register(
        self, name: str, bundle: Bundle, *, metrics: Mapping[str, float] | None = None, run: str = "", reason: str = ""
    ) -> Version:
        """Enter a bundle as the next version, pending and challenger; the same digest again is the same version."""
        tags = {"digest": bundle.digest, "uri": bundle.uri, "approval": "pending", "run": run}
        tags |= {"metrics": json.dumps(dict(metrics or {}))}
        with self._alone(), self._storage() as client:
            if same := next((version for version in self.versions(name) if version.digest == bundle.digest), None):
                return same
            if name not in self.names():
                client.create_registered_model(name)
            made = client.create_model_version(
                name, source=bundle.uri, tags={f"{_PREFIX}{key}": value for key, value in tags.items()}
            )
            client.set_registered_model_alias(name, CHALLENGER, made.version)
            self._record(self.version(name, str(made.version)), "registered", reason)
        return self.version(name, str(made.version))

    def promote(
        self, name: str, which: str, reason: str = "", *, over: Version | None | Literal["any"] = "any"
    ) -> Version:
        """Approve a version and make it the champion; the former champion stays approved.

        With `over` only while that version is the champion (None: while there is none): of several that were decided on at
        once exactly one wins, and the others raise `RegistryError`.
        """
        with self._alone():
            if not isinstance(over, str):
                self._require(self.champion(name), over, f"version {which} of {name!r} is not promoted")
            promoted = self._promote(name, which, reason)
            self._require(self.champion(name), promoted, f"the promotion of version {which} of {name!r} does not stand")
        return promoted

    def _require(self, found: Version | None, expected: Version | None, what: str) -> None:
        now, wanted = (version.version if version else "none" for version in (found, expected))
        if now != wanted:
            raise RegistryError(
                f"{what}: the champion is {now} and no longer {wanted}, another promotion was faster. Compare with that one."
            )

    def _promote(self, name: str, which: str, reason: str) -> Version:
        version = self.version(name, which)
        with self._storage() as client:
            client.set_model_version_tag(name, version.version, f"{_PREFIX}approval", "approved")
            client.set_registered_model_alias(name, CHAMPION, version.version)
            if CHALLENGER in version.aliases:
                client.delete_registered_model_alias(name, CHALLENGER)
        self._record(version, "promoted", reason)
        return self.version(name, version.version)

    def reject(self, name: str, which: str, reason: str = "") -> Version | None:
        """Reject a version; when it was the champion, the one approved most recently before it takes over.

        Returns the champion afterwards, None when no approved version is left.
        """
        with self._alone():
            version = self.version(name, which)
            with self._storage() as client:
                client.set_model_version_tag(name, version.version, f"{_PREFIX}approval", "rejected")
                for alias in {CHAMPION, CHALLENGER} & set(version.aliases):
                    client.delete_registered_model_alias(name, alias)
            self._record(version, "rejected", reason)
            if CHAMPION in version.aliases and (heir := self._last_approved(name)):
                self._promote(name, heir.version, f"takes over from version {version.version}, which was rejected")
        return self.champion(name)

    def delete(self, name: str, which: str) -> Version:
        """Take a version out of the registry, whose number is not given again; returns what it was.

        Its bundle stays where it is. Raises `RegistryError` while it has an alias: something goes by that name.
        """
        with self._alone():
            version = self.version(name, which)
            if version.aliases:
                raise RegistryError(
                    f"{name}/{version.version} is not deleted: it is the {' and '.join(version.aliases)}. Promote another "
                    f"version first, or take its alias with `ray-mlops reject {name}/{version.version}`."
                )
            with self._storage() as client:
                client.delete_model_version(name, version.version)
        return version

    def rolled_back(self, name: str, which: str, reason: str) -> None:
        """Note in the audit log of a version that an endpoint has taken it back; its approval and the aliases stay."""
        with self._alone():
            self._record(self.version(name, which), "rolled_back", reason)

    def _last_approved(self, name: str) -> Version | None:
        approved = [version for version in self.versions(name) if version.approval == "approved"]
        return max(approved, key=_last_promotion, default=None)

    def _record(self, version: Version, action: Action, reason: str) -> None:
        change = Change(action=action, time=datetime.now(UTC), user=_user(), reason=reason)
        tag = f"{_AUDIT}{len(version.changes):06d}"
        with self._storage() as client:
            client.set_model_version_tag(version.name, version.version, tag, change.model_dump_json())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One change after the other, of whatever processes."""
        with tracking.alone(self._uri):
            yield

    @contextmanager
    def _storage(self) -> Iterator["MlflowClient"]:
        client = self._client  # first of all: connecting silences MLflow before anything of it is imported
        from mlflow.exceptions import MlflowException

        try:
            yield client
        except MlflowException as error:
            raise StorageError(f"the registry at {self._uri} refused: {error}") from error


def _aliases(client: "MlflowClient", name: str) -> Mapping[str, str]:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def _version(entry: Any, aliases: Mapping[str, str]) -> Version:
    tags = {key.removeprefix(_PREFIX): value for key, value in entry.tags.items() if key.startswith(_PREFIX)}
    audit = sorted(key for key in tags if key.startswith("audit."))
    return Version(
        uri=tags["uri"],
        fingerprint=tags["digest"],
        name=entry.name,
        version=str(entry.version),
        digest=tags["digest"],
        approval=tags["approval"],
        aliases=tuple(sorted(alias for alias, number in aliases.items() if str(number) == str(entry.version))),
        metrics=json.loads(tags["metrics"]),
        run=tags["run"],
        changes=tuple(Change.model_validate_json(tags[key]) for key in audit),
    )


def _last_promotion(version: Version) -> datetime:
    never = datetime.min.replace(tzinfo=UTC)
    return max((change.time for change in version.changes if change.action == "promoted"), default=never)


def _safe(name: str) -> str:
    """The name, when it is one that cannot reach beyond itself in a path, a URL or a filter."""
    if not MODEL.allows(name):
        raise RegistryError(MODEL.refusal(name))
    return name


def _nearest(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" There are: {', '.join(known)}." if known else " Nothing is registered yet: run a recipe first."


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container user without a name
        return "unknown"
