"""What RabbitMQ refuses, in our words. None of them holds the password."""

import re
import ssl

from aio_pika.exceptions import (
    ChannelInvalidStateError,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)

from blocks.queues.broker import Broker
from collectors.errors import CollectError, Misconfigured, Unreachable

LONGEST_REASON = 300
LOST = "the connection was lost"
NO_ANSWER = "no answer in time"
BAD_TLS = (ssl.SSLCertVerificationError, FileNotFoundError)


def in_our_words(error: BaseException, broker: Broker) -> CollectError:
    said = str(error)
    if isinstance(error, ProbableAuthenticationError):
        return _unknown_user(broker)
    if isinstance(error, InvalidFrameError) and "Connection.OpenOk" in said:  # its client drops what was said
        return _no_vhost(broker)
    if "ACCESS_REFUSED" in said:
        return _no_rights(broker, said)
    if "inequivalent arg" in said:
        return _other_queue(broker, said)
    if "message size" in said:
        return _too_large(broker, said)
    if isinstance(error, BAD_TLS) or "WRONG_VERSION_NUMBER" in said:
        return _bad_tls(broker, said)
    if isinstance(error, DeliveryError) and not isinstance(error, PublishError):
        return _full(broker)
    return unreachable(broker, _why(error, said))


def _why(error: BaseException, said: str) -> str:
    if isinstance(error, TimeoutError):
        return said or NO_ANSWER
    return LOST if isinstance(error, ChannelInvalidStateError) else said or LOST


def unreachable(broker: Broker, why: str) -> Unreachable:
    return Unreachable(
        "RabbitMQ at {broker} does not answer ({why})",
        "Start it, or correct its address; then: collect storage check",
        code="COL-0670",
        broker=broker,
        why=why[:LONGEST_REASON],
    )


def blocked(broker: Broker) -> Unreachable:
    return Unreachable(
        "RabbitMQ at {broker} takes no messages: it is short of memory or of disk",
        "See which: rabbitmq-diagnostics alarms; make room, or let loaders empty it: collect load",
        code="COL-0671",
        broker=broker,
    )


def _full(broker: Broker) -> Unreachable:
    return Unreachable(
        "the queue of RabbitMQ at {broker} is full",
        "Batches come faster than they are loaded; start more loaders: collect load --replicas 2",
        code="COL-0672",
        broker=broker,
    )


def _unknown_user(broker: Broker) -> Misconfigured:
    return Misconfigured(
        "RabbitMQ at {broker} does not let in {user} with this password",
        "Correct user or password in its address: collect storage set",
        code="COL-0673",
        broker=broker,
        user=broker.user,
    )


def _no_vhost(broker: Broker) -> Misconfigured:
    return Misconfigured(
        "RabbitMQ at {broker} has no such virtual host, or keeps {user} out of it",
        "See them with: rabbitmqctl list_vhosts; make it with: rabbitmqctl add_vhost NAME",
        code="COL-0674",
        broker=broker,
        user=broker.user,
    )


def _no_rights(broker: Broker, said: str) -> Misconfigured:
    return Misconfigured(
        "{user} lacks rights at RabbitMQ at {broker} ({why})",
        "Have them given: rabbitmqctl set_permissions -p VHOST {user} '.*' '.*' '.*'",
        code="COL-0675",
        broker=broker,
        user=broker.user,
        why=said[:LONGEST_REASON],
    )


def _other_queue(broker: Broker, said: str) -> Misconfigured:
    found = re.search(r"queue '([^']*)'", said)
    return Misconfigured(
        "the queue {queue} of RabbitMQ at {broker} was made by something else, in another way ({why})",
        "When it is empty and nobody needs it: rabbitmqctl delete_queue {queue}; or use another virtual host.",
        code="COL-0676",
        broker=broker,
        queue=found[1] if found else "-",
        why=said[:LONGEST_REASON],
    )


def _too_large(broker: Broker, said: str) -> Misconfigured:
    return Misconfigured(
        "a batch is larger than RabbitMQ at {broker} takes ({why})",
        "Lower strategy.batch_size in the collection, or raise max_message_size in RabbitMQ's configuration.",
        code="COL-0678",
        broker=broker,
        why=said[:LONGEST_REASON],
    )


def _bad_tls(broker: Broker, said: str) -> Misconfigured:
    return Misconfigured(
        "no TLS with RabbitMQ at {broker} ({why})",
        "Its address wants amqps://, its port for TLS, and the authority that signed it: ?cafile=FILE",
        code="COL-0677",
        broker=broker,
        why=said[:LONGEST_REASON],
    )
