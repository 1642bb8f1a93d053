"""TLS to all four servers, by the options in docs/stores.md: a certificate that is not theirs is found out."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pymongo
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pymongo.errors import OperationFailure

from blocks.addresses import ROLES, addresses
from blocks.checking import checked
from blocks.settings import Settings
from deployments.dev_servers.kinds import MariaDb, MongoDb, RabbitMq, Redis

A_DAY = timedelta(days=1)
OPTIONS = {"metadata": "ssl_ca", "documents": "tls=true&tlsCAFile", "cache": "ssl_ca_certs", "queue": "cafile"}
SCHEMES = {"cache": ("redis:", "rediss:"), "queue": ("amqp:", "amqps:")}


class Authority:
    def __init__(self, folder, name):
        self._key, self._name = ec.generate_private_key(ec.SECP256R1()), named(name)
        self.file = folder / f"{name}.pem"
        made = certificate(self._name, self._name, self._key.public_key())
        usage = {name: name in ("key_cert_sign", "crl_sign") for name in USAGES}
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        made = made.add_extension(x509.KeyUsage(**usage), True).sign(self._key, hashes.SHA256())
        self.file.write_bytes(pem(made))

    def server(self, folder, address):
        """A certificate and its key, in files of their own and together."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = certificate(named("server"), self._name, key.public_key())
        made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), False)
        text = pem(made.sign(self._key, hashes.SHA256()))
        plain = serialization.NoEncryption()
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        for name, content in (("cert", text), ("key", secret), ("both", text + secret)):
            (folder / f"{name}.pem").write_bytes(content)


USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certificate(subject, issuer, key):
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return made.serial_number(x509.random_serial_number()).not_valid_before(now - A_DAY).not_valid_after(now + A_DAY)


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


class Encrypted:
    """A server that is deaf to plain text; its certificate is in `files`."""

    files: Path

    @property
    def url(self):
        return encrypted(self.role, super().url, self.files / "ca.pem")

    def add(self, name, *lines):
        path = self.folder / name
        path.write_text("\n".join([path.read_text(), *lines, ""]))


class EncryptedMariaDb(Encrypted, MariaDb):
    def command(self):
        files = [f"--ssl-{name}={self.files}/{name}.pem" for name in ("ca", "cert", "key")]
        return [*super().command(), *files, "--require-secure-transport=ON"]


class EncryptedMongoDb(Encrypted, MongoDb):
    def command(self):
        files = [f"--tlsCertificateKeyFile={self.files}/both.pem", f"--tlsCAFile={self.files}/ca.pem"]
        return [*super().command(), "--tlsMode=requireTLS", *files, "--tlsAllowConnectionsWithoutCertificates"]

    def greet(self):
        options = {"directConnection": True, "serverSelectionTimeoutMS": 500}
        with pymongo.MongoClient(self.url.replace("replicaSet=rs0&", ""), **options) as client:
            member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
            with suppress(OperationFailure):  # done before
                client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
            assert client.admin.command("hello")["isWritablePrimary"]


class EncryptedRedis(Encrypted, Redis):
    def command(self):
        command = super().command()
        files = [f"tls-{name}-file {self.files}/{file}.pem" for name, file in CERTIFICATES.items()]
        self.add("redis.conf", "port 0", f"tls-port {self.port}", "tls-auth-clients no", *files)
        return command


class EncryptedRabbitMq(Encrypted, RabbitMq):
    @property
    def environment(self):
        return super().environment | {"RABBITMQ_NODE_PORT": ""}

    def prepare(self):
        super().prepare()
        names = {"cacertfile": "ca", "certfile": "cert", "keyfile": "key"}
        files = [f"ssl_options.{name} = {self.files}/{file}.pem" for name, file in names.items()]
        self.add("rabbitmq.conf", "listeners.tcp = none", f"listeners.ssl.1 = 127.0.0.1:{self.port}", *files)


CERTIFICATES = {"ca-cert": "ca", "cert": "cert", "key": "key"}
KINDS = (EncryptedMariaDb, EncryptedMongoDb, EncryptedRedis, EncryptedRabbitMq)


def encrypted(role, url, ca):
    return f"{url.replace(*SCHEMES.get(role, ('', '')))}{'&' if '?' in url else '?'}{OPTIONS[role]}={ca}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The server's certificate is for 127.0.0.1 alone."""
    folder = tmp_path_factory.mktemp("tls")
    Authority(folder, "ca").server(folder, "127.0.0.1")
    Authority(folder, "another")
    return folder


@pytest.fixture(scope="module")
def urls(folder, servers):
    """The four addresses, without and with TLS."""
    kinds = [type(kind.__name__, (kind,), {"files": folder}) for kind in KINDS]
    started = [servers.start(kind, "tls").server for kind in kinds]
    return {each.role: each.url for each in started}


def outcomes(urls):
    """What is wrong with each; that MariaDB has no tables yet says that it is reached."""
    found = checked(Settings("/nowhere", None, addresses(urls), {"k1": b"secret"}))
    return {each.role: None if "COL-0626" in (each.wrong or "") else each.wrong for each in found}


def test_a_certificate_of_the_authority_that_is_named_is_trusted(urls):
    assert outcomes(urls) == dict.fromkeys(ROLES)


def test_a_certificate_of_another_authority_is_refused(urls, folder):
    wrong = outcomes({role: url.replace("/ca.pem", "/another.pem") for role, url in urls.items()})
    assert all("certificate" in wrong[role].lower() for role in ROLES), wrong


def test_a_certificate_of_another_host_is_refused(urls):
    wrong = outcomes({role: url.replace("127.0.0.1", "localhost") for role, url in urls.items()})
    assert all("localhost" in wrong[role] and "match" in wrong[role] for role in ROLES), wrong


def test_an_address_without_tls_reaches_none_of_them_but_mysql_whose_driver_begins_it_by_itself(urls):
    plain = {role: url.partition("?")[0].replace("s:", ":", 1) for role, url in urls.items()}
    wrong = outcomes(plain | {"documents": plain["documents"] + "?replicaSet=rs0"})
    assert [role for role in ROLES if not wrong[role]] == ["metadata"]
