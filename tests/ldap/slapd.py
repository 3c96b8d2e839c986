"""A real slapd with people and groups, started by a test and owned by it."""

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from extauthz.ldap import GroupSearch, LdapSettings, PersonSearch
from mesh.address import free_address, parse_address
from tests.conftest import system_program

PEOPLE = "ou=people,dc=example,dc=org"
GROUPS = "ou=groups,dc=example,dc=org"
READER = "cn=reader,dc=example,dc=org"
ALICE = f"uid=alice,{PEOPLE}"
TEMPLATE = f"uid={{username}},{PEOPLE}"

ENTRIES = f"""
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: {READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reader-password

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: uid=alice,{PEOPLE}
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
mail: a@example.org
userPassword: wonderland

dn: uid=bob,{PEOPLE}
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
mail: b@example.org
userPassword:: cMOkc3M6d29ydCwqKShcIA==

dn: uid=two,{PEOPLE}
objectClass: inetOrgPerson
uid: two
uid: deux
cn: Two
sn: T
userPassword: two-password

dn: cn=twin 1,{PEOPLE}
objectClass: inetOrgPerson
uid: twin
cn: twin 1
sn: T
userPassword: twin-password

dn: cn=twin 2,{PEOPLE}
objectClass: inetOrgPerson
uid: twin
cn: twin 2
sn: T
userPassword: twin-password

dn: uid=o\\2Cdd\\+one\\=\\\\,{PEOPLE}
objectClass: inetOrgPerson
uid: o,dd+one=\\
cn: Odd
sn: O
userPassword: odd-password

dn: cn=admins,{GROUPS}
objectClass: groupOfNames
cn: admins
member: uid=alice,{PEOPLE}

dn: cn=staff,{GROUPS}
objectClass: groupOfNames
cn: staff
member: uid=alice,{PEOPLE}
member: uid=bob,{PEOPLE}
member: uid=o\\2Cdd\\+one\\=\\\\,{PEOPLE}
"""

BOB_PASSWORD = "päss:wort,*)(\\ "

CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
{tls}
database mdb
suffix "dc=example,dc=org"
directory {folder}/db
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=groups,dc=example,dc=org" {groups}
access to dn.subtree="ou=people,dc=example,dc=org" by dn.exact="{reader}" read by self read by * auth
access to * by users read
"""

TLS = """
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/cert.pem
TLSCertificateKeyFile {folder}/key.pem
"""


def free_port() -> int:
    """None that the kernel gives to an outgoing connection before the server has it."""
    return parse_address(free_address()).port


@dataclass
class Slapd:
    """One server. Its data are gone when the folder is."""

    folder: Path
    tls: bool = True
    certificate_name: str = "127.0.0.1"
    people_read_groups: bool = False
    port: int = field(default_factory=free_port)
    tls_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Write its configuration and its entries."""
        ca = trustme.CA()
        issued = ca.issue_cert(self.certificate_name)
        ca.cert_pem.write_to_path(self.folder / "ca.pem")
        issued.private_key_pem.write_to_path(self.folder / "key.pem")
        issued.cert_chain_pems[0].write_to_path(self.folder / "cert.pem")
        trustme.CA().cert_pem.write_to_path(self.folder / "other-ca.pem")
        (self.folder / "reader-password").write_text("reader-password\n")
        (self.folder / "db").mkdir()
        groups = "by * read" if self.people_read_groups else f'by dn.exact="{READER}" read by * none'
        text = CONFIGURATION.format(
            folder=self.folder, tls=TLS.format(folder=self.folder) if self.tls else "", groups=groups, reader=READER
        )
        (self.folder / "slapd.conf").write_text(text)
        (self.folder / "entries.ldif").write_text(ENTRIES)
        program = system_program("slapadd")
        assert program is not None
        subprocess.run(
            [program, "-q", "-f", self.folder / "slapd.conf", "-l", self.folder / "entries.ldif"],
            check=True,
            capture_output=True,
            timeout=20,
        )

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        program = system_program("slapd")
        assert program is not None
        urls = f"ldap://127.0.0.1:{self.port}" + (f" ldaps://127.0.0.1:{self.tls_port}" if self.tls else "")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "-f", self.folder / "slapd.conf", "-h", urls, "-d", "0"], stdout=log, stderr=log
            )
        end = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def settings(self, **parts: Any) -> LdapSettings:
        """Settings for this directory: over ldaps, searching as the reader, unless something is changed."""
        plain: dict[str, Any] = {
            "url": f"ldaps://127.0.0.1:{self.tls_port}" if self.tls else f"ldap://127.0.0.1:{self.port}",
            "ca_file": str(self.folder / "ca.pem") if self.tls else None,
            "person": PersonSearch(PEOPLE),
            "bind_dn": READER,
            "bind_password_file": str(self.folder / "reader-password"),
            "groups": GroupSearch(GROUPS),
        }
        return LdapSettings(**(plain | parts))

    def as_the_person(self, **parts: Any) -> LdapSettings:
        """Settings without an account of our own: the DN comes from the template, people read for themselves."""
        return self.settings(
            **{"person": TEMPLATE, "bind_dn": None, "bind_password_file": None, "groups": None} | parts
        )


@contextlib.contextmanager
def running(folder: Path, **parts: Any) -> Iterator[Slapd]:
    """A server for the length of a block."""
    server = Slapd(folder, **parts)
    server.make()
    try:
        server.start()
        yield server
    finally:
        server.stop()
