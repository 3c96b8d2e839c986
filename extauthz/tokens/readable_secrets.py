"""Who besides the server may read a file that holds a secret, and whether somebody should be told.

Others do it so, and so do we:

- OpenSSH refuses a private key of the user's own that its group or others may read (``mode & 077``), and looks at the mode
  of nobody else's. PostgreSQL asks the same of a key of its own user, and lets the group read (0640) what belongs to root,
  so that one file can be given to a service without being its own. So: never everybody, and the group where the file is not
  ours, for then it is how we read it.
- Kubernetes mounts Secrets as root's files with mode 0644, and ``fsGroup`` adds the group: the mode is for the one
  container that has the volume. The kubelet writes into a folder ``..<time>`` that ``..data`` leads to, which tells them.
- Docker, Podman and swarm put secrets below ``/run/secrets`` with mode 0444, and Vault's injector writes to
  ``/vault/secrets`` with 0644. Those, and a single file that is mounted into a container (``subPath``), are likewise seen by
  that container alone, and a ``chmod`` would not last.

Nobody is refused: only files that we keep ourselves, and those that others may write, are.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Readers", "readers"]

_PROVIDED: Final = (Path("/run/secrets"), Path("/var/run/secrets"), Path("/vault/secrets"))


@dataclass(frozen=True, slots=True)
class Readers:
    """Somebody who may read a secret and should not."""

    who: str
    mode: str
    """As ``ls -l`` has it."""
    mend: str

    def __str__(self) -> str:
        """The fault, for people."""
        return f"{self.who} may read it ({self.mode})"


def readers(path: Path, status: os.stat_result) -> Readers | None:
    """Who may read a file that should not; None: nobody, or somebody else has seen to that."""
    mine = status.st_uid == os.geteuid()
    if status.st_mode & stat.S_IROTH:
        who = "every user of this machine"
    elif status.st_mode & stat.S_IRGRP and mine and status.st_uid != 0:
        who = "its group"
    else:
        return None
    if _is_provided(path):
        return None
    # Without the rights of its group, whoever is not the owner could not read it any more.
    mend = (
        f"chmod 600 {path}" if mine else f"chmod 640 {path}, and let its group be one of the user that extauthz runs as"
    )
    return Readers(who, stat.filemode(status.st_mode), mend)


def _is_provided(path: Path) -> bool:
    """Whether it was put into a container for it alone."""
    real = Path(os.path.realpath(path))
    written_by_kubelet = any(part.startswith("..") for part in real.parts)
    is_mounted = os.path.ismount(real)  # `Path.is_mount` knows only folders
    return written_by_kubelet or is_mounted or any(folder in (*path.parents, *real.parents) for folder in _PROVIDED)
