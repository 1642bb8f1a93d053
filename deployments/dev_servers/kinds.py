"""The kinds of servers there are."""

from deployments.dev_servers.mariadb import MariaDb
from deployments.dev_servers.mongodb import MongoDb
from deployments.dev_servers.postgresql import PostgreSql
from deployments.dev_servers.rabbitmq import RabbitMq
from deployments.dev_servers.redis_server import Redis
from deployments.dev_servers.server import Server

STORES: tuple[type[Server], ...] = (MariaDb, MongoDb, Redis, RabbitMq)
KINDS = (*STORES, PostgreSql)
