"""Redis: the cache, which keeps nothing on disk: what an old snapshot would bring back may have changed since."""

from deployments.dev_servers.server import Server, write_secret
from deployments.ports import HOST


class Redis(Server):
    role, title, install = "cache", "Redis", "apt-get install redis-server"
    programs = ("redis-server",)

    @property
    def url(self) -> str:
        return f"redis://:{self.secret}@{HOST}:{self.port}/0"

    def command(self) -> list[str]:
        write_secret(
            self.folder / "redis.conf",
            f'bind {HOST}\nport {self.port}\ndir "{self.data}"\nsave ""\nrequirepass {self.secret}\n',
        )
        return [str(self.program()), str(self.folder / "redis.conf")]

    def greet(self) -> None:
        import redis

        with redis.Redis.from_url(self.url) as client:
            client.ping()
