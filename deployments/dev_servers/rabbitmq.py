"""RabbitMQ: the queue, with a user and a virtual host of its own and no guest.

Its nodes find each other by epmd, which the first node of a machine starts; it is everybody's, and left alone.
"""

from zlib import crc32

from deployments.dev_servers.server import DATABASE, USER, Server, write_secret
from deployments.ports import HOST, free_port


class RabbitMq(Server):
    role, title, install = "queue", "RabbitMQ", "apt-get install rabbitmq-server"
    # What Debian has on PATH runs as the system's user, in the system's folders.
    programs = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")

    @property
    def url(self) -> str:
        return f"amqp://{USER}:{self.secret}@{HOST}:{self.port}/{DATABASE}"

    @property
    def node(self) -> str:
        """Its name is part of its data, and its folder's alone on this machine."""
        return f"collect-{crc32(bytes(self.folder)):08x}@localhost"

    @property
    def environment(self) -> dict[str, str]:
        files = {
            "MNESIA_BASE": "data",
            "LOG_BASE": ".",
            "PID_FILE": "pid",
            "CONFIG_FILE": "rabbitmq.conf",
            "ENABLED_PLUGINS_FILE": "plugins",
            # Not there; else those of the system would be read.
            "CONFIG_FILES": "conf.d",
            "ADVANCED_CONFIG_FILE": "advanced.config",
            "CONF_ENV_FILE": "env.conf",
        }
        return {
            "HOME": str(self.folder),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_DIST_PORT": str(free_port()),
            # The script becomes the server, instead of waiting for it as another process.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput -kernel inet_dist_use_interface {127,0,0,1}",
        } | {f"RABBITMQ_{name}": str(self.folder / file) for name, file in files.items()}

    def prepare(self) -> None:
        (self.folder / "plugins").write_text("[].")
        write_secret(self.folder / ".erlang.cookie", self.secret)
        lines = (f"default_vhost = {DATABASE}", f"default_user = {USER}", f"default_pass = {self.secret}")
        write_secret(self.folder / "rabbitmq.conf", "".join(f"{each}\n" for each in lines))
        super().prepare()

    def command(self) -> list[str]:
        return [str(self.program())]

    def greet(self) -> None:
        import asyncio

        import aio_pika

        async def met() -> None:
            await (await aio_pika.connect(self.url, timeout=2)).close()

        asyncio.run(met())
