"""PostgreSQL: what Prefect's own server keeps."""

import shutil

from deployments.dev_servers.server import USER, Server, write_secret
from deployments.ports import HOST

DATABASE = "prefect"


class PostgreSql(Server):
    role, title, install = "prefect_database", "PostgreSQL", "apt-get install postgresql"
    programs = (*(f"/usr/lib/postgresql/{version}/bin/postgres" for version in range(18, 13, -1)), "postgres")
    system_user = "postgres"

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://{USER}:{self.secret}@{HOST}:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        password = self.folder / "password"
        write_secret(password, self.secret)
        if self.runs_as:
            for path in (self.folder, password):
                shutil.chown(path, self.runs_as["user"], self.runs_as["group"])
        user = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password}"]
        self.make_data([str(self.program().with_name("initdb")), *user, "--encoding=UTF8", "--no-locale"], "--pgdata")
        password.unlink()

    def command(self) -> list[str]:
        return [str(self.program()), "-D", str(self.data), "-p", str(self.port), "-h", HOST, "-k", ""]

    def greet(self) -> None:
        import asyncio

        import asyncpg

        async def met() -> None:
            to = {"host": HOST, "port": self.port, "user": USER, "password": self.secret}
            connection = await asyncpg.connect(database="postgres", **to)
            try:
                if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                    await connection.execute(f"CREATE DATABASE {DATABASE}")
            finally:
                await connection.close()

        asyncio.run(met())
