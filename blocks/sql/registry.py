"""What is registered: every version of every definition, and which of them is in force."""

from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, func, insert, select, update

from blocks.acting import ACTING
from blocks.sql import leases, schedules
from blocks.sql.audit import audited
from blocks.sql.constructs import now
from blocks.sql.database import Database, contending, repeatable
from blocks.sql.tables import collection, registration, run
from collectors.errors import Misconfigured, Refused
from collectors.models import IMPORT, Collection
from collectors.states import OPEN_RUNS


class Registered(NamedTuple):
    """What a registration did: the version in force, and what was before."""

    version: int
    before: Collection | None


class Changed(Refused):
    """Somebody else has changed the definition meanwhile. `version` and `theirs`: what is in force now."""

    def __init__(self, name: str, expected: int, version: int, theirs: Collection | None) -> None:
        self.version, self.theirs = version, theirs
        super().__init__(
            "version {expected} of {name} is not in force: {version} is (0: none)",
            "See how: collect versions {name}; then register what is to be on top of that",
            code="COL-0434",
            name=name,
            version=version,
            expected=expected,
        )


class Registry:
    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def remember(self, definition: Collection) -> None:
        """Keep the definition of what was collected, without registering it."""
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            remember(connection, definition)

    @contending
    def register(self, definition: Collection, expected: int | None = None) -> Registered:
        """Put the definition in force, with its schedules; a new version only when it differs from the newest one.

        `expected`: the version that this one is to follow, 0 for none. Raises Changed when that is not in force any
        more, and Refused when the collection is filled otherwise.
        """
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            before = in_force(connection, definition.tenant, definition.name)
            version, known = before or (0, None)
            refuse_changed(before, definition.name, expected)
            refuse_mixed(connection, definition)
            number = _kept(connection, definition, ACTING.get())
            _put_in_force(connection, definition)
            schedules.put(connection, definition)
            if (number, definition) != (version, known):
                audited(connection, definition.tenant, "register", definition.name, version=number, before=version)
        return Registered(number, known)

    @contending
    def unregister(self, tenant: str, name: str, expected: int | None = None) -> None:
        """It is not due any more; its records, runs and versions stay. Raises Misconfigured, and Changed as `register`
        does."""
        mine = and_(_registered(tenant, name), registration.c.retired_at.is_(None))
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            refuse_changed(in_force(connection, tenant, name), name, expected)
            if not connection.execute(update(registration).where(mine).values(retired_at=now())).rowcount:
                raise not_registered(name)
            schedules.rest(connection, tenant, name)
            audited(connection, tenant, "unregister", name)

    @repeatable
    def definition(self, tenant: str, name: str) -> Collection | None:
        """The newest version."""
        with self._database.read() as connection:
            return newest(connection, tenant, name)

    @repeatable
    def being_planned(self, tenant: str, name: str) -> str | None:
        """The run whose source has to answer before a collection of that name is known."""
        mine = run.c.tenant == tenant, run.c.collection == name, run.c.of_file.is_not(None)
        first = select(run.c.run_id).where(*mine, run.c.planned.is_(False), run.c.state.in_(OPEN_RUNS))
        with self._database.read() as connection:
            return connection.scalar(first.limit(1))

    @repeatable
    def definitions(self, tenant: str) -> list[Collection]:
        """The newest version of each."""
        c = collection.c
        last = select(c.name, func.max(c.version).label("version")).where(c.tenant == tenant)
        last = last.group_by(c.name).subquery()
        query = select(c.definition).join(last, and_(c.name == last.c.name, c.version == last.c.version))
        with self._database.read() as connection:
            found = connection.scalars(query.where(c.tenant == tenant).order_by(c.name))
            return [Collection.model_validate_json(text) for text in found]

    @repeatable
    def next_version(self, definition: Collection) -> int:
        """Under which number it would be kept."""
        with self._database.read() as connection:
            version, known = _newest(connection, definition.tenant, definition.name) or (0, None)
        return version + (known != definition)

    @repeatable
    def in_force(self, tenant: str, name: str) -> tuple[int, Collection] | None:
        """The version that is registered; None when it is not."""
        with self._database.read() as connection:
            return in_force(connection, tenant, name)

    @repeatable
    def names_in_force(self, tenant: str) -> list[str]:
        """What is registered of a tenant."""
        mine = registration.c.tenant == tenant, registration.c.retired_at.is_(None)
        with self._database.read() as connection:
            return list(
                connection.scalars(select(registration.c.collection).where(*mine).order_by(registration.c.collection))
            )

    @repeatable
    def registration(self, tenant: str, name: str) -> dict[str, Any] | None:
        """Whether Prefect shows it, too: `applied`, and `failed` for why not; None when it is not registered."""
        query = select(registration).where(_registered(tenant, name), registration.c.retired_at.is_(None))
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        return row and dict(row)

    @repeatable
    def known_to_prefect(self) -> list[dict[str, Any]]:
        """The registrations of all tenants that Prefect has, or is to have."""
        known = registration.c.retired_at.is_(None) | registration.c.applied.is_not(None)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(select(registration).where(known)).mappings()]

    @repeatable
    def versions(self, tenant: str, name: str) -> list[dict[str, Any]]:
        """Newest first: version, definition, created_at, created_by. Raises Misconfigured when there is none."""
        c = collection.c
        query = select(c.version, c.definition, c.created_at, c.created_by).where(_named(tenant, name))
        with self._database.read() as connection:
            rows = [dict(row) for row in connection.execute(query.order_by(c.version.desc())).mappings()]
        if not rows:
            raise not_known(name)
        return [row | {"definition": Collection.model_validate_json(row["definition"])} for row in rows]

    @repeatable
    def note_applied(self, tenant: str, name: str, applied: str | None) -> None:
        """What Prefect has of it now, as a digest."""
        with self._database.write() as connection:
            values = {"applied": applied, "failed": None}
            connection.execute(update(registration).where(_registered(tenant, name)).values(values))

    @repeatable
    def note_failed(self, tenant: str, name: str, why: str) -> None:
        """Why Prefect has not more of it than before."""
        with self._database.write() as connection:
            connection.execute(update(registration).where(_registered(tenant, name)).values(failed=why))


def refuse_changed(found: tuple[int, Collection] | None, name: str, expected: int | None) -> None:
    """Raises Changed when another version is in force than is expected; 0 stands for none."""
    version, known = found or (0, None)
    if expected not in (None, version):
        raise Changed(name, expected, version, known)


def not_known(name: str) -> Misconfigured:
    what, remedy = "there is no collection {name}", "List them with: collect list"
    return Misconfigured(what, remedy, code="COL-0204", name=f"{name:.100}")


def not_registered(name: str) -> Misconfigured:
    what, remedy = "{name} is not registered", "Register it: collect register FILE; list what is: collect list"
    return Misconfigured(what, remedy, code="COL-0282", name=f"{name:.100}")


def remember(connection: Connection, definition: Collection) -> None:
    """What is registered is changed by whoever registers it alone."""
    if in_force(connection, definition.tenant, definition.name) is None:
        _kept(connection, definition, None)


def newest(connection: Connection, tenant: str, name: str) -> Collection | None:
    found = _newest(connection, tenant, name)
    return found and found[1]


def version_of(connection: Connection, definition: Collection) -> int | None:
    """Under which number it is kept, whatever mode and scope one run is about; None when it differs otherwise."""
    version, known = _newest(connection, definition.tenant, definition.name) or (None, None)
    own = {"mode": definition.mode, "scope": definition.scope, "schedule": definition.schedule}
    return version if known and known.model_copy(update=own) == definition else None


def refuse_mixed(connection: Connection, definition: Collection) -> None:
    """What was imported would be undone by the next run that reads a source."""
    known = newest(connection, definition.tenant, definition.name)
    if known and IMPORT in (known.collector, definition.collector) and known.collector != definition.collector:
        raise mixed(known, definition.collector)


def mixed(known: Collection, collector: str) -> Refused:
    return Refused(
        "collection {collection} is filled by {known}, and cannot be by {collector}, too",
        "Use another name for one of them; for an import: ?collection=NAME",
        code="COL-0410",
        collection=known.name,
        known=known.collector,
        collector=collector,
    )


def _newest(connection: Connection, tenant: str, name: str) -> tuple[int, Collection] | None:
    c = collection.c
    query = select(c.version, c.definition).where(_named(tenant, name)).order_by(c.version.desc()).limit(1)
    row = connection.execute(query).first()
    return row and (row.version, Collection.model_validate_json(row.definition))


def _kept(connection: Connection, definition: Collection, by: str | None) -> int:
    """Its version: that of the newest one, if it says the same."""
    version, known = _newest(connection, definition.tenant, definition.name) or (0, None)
    if known == definition:
        return version
    values = {"tenant": definition.tenant, "name": definition.name, "version": version + 1, "created_by": by}
    text = definition.model_dump_json()
    connection.execute(insert(collection).values(**values, definition=text, created_at=now()))
    return version + 1


def _put_in_force(connection: Connection, definition: Collection) -> None:
    mine = _registered(definition.tenant, definition.name)
    if connection.scalar(select(func.count()).where(mine)):
        connection.execute(update(registration).where(mine).values(retired_at=None))
    else:
        key = {"tenant": definition.tenant, "collection": definition.name}
        connection.execute(insert(registration).values(**key))


def in_force(connection: Connection, tenant: str, name: str) -> tuple[int, Collection] | None:
    """The version that is registered; None when it is not."""
    registered = and_(_registered(tenant, name), registration.c.retired_at.is_(None))
    is_registered = connection.scalar(select(func.count()).where(registered))
    return _newest(connection, tenant, name) if is_registered else None


def _named(tenant: str, name: str) -> Any:
    return and_(collection.c.tenant == tenant, collection.c.name == name)


def _registered(tenant: str, name: str) -> Any:
    return and_(registration.c.tenant == tenant, registration.c.collection == name)
