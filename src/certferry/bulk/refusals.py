"""Every way the exchange directory can refuse, one class each: what happened, and what mends it."""

from certferry.errors import Refusal


class ExchangeError(Refusal):
    """The exchange directory could not be used; the root of the classes below."""

    code = "bulk.exchange"
    remedy = (
        "Check the SFTP server and the settings, then repeat the step; nothing half done was left under a final name."
    )


class UnreachableError(ExchangeError):
    """No TCP connection to the SFTP server came about."""

    code = "bulk.unreachable"
    remedy = "Check the address, the port, the route and the firewall between here and the SFTP server."


class NotAnSshServerError(ExchangeError):
    """Something answered, but not as an SSH server does."""

    code = "bulk.not-ssh"
    remedy = "Check the port: the service that answers there does not speak SSH, or it turned the connection away."


class AlgorithmsError(ExchangeError):
    """Client and server have no key exchange, cipher, MAC or host key algorithm in common."""

    code = "bulk.algorithms"
    remedy = "Set the algorithms the old server needs (bulk sftp --kex, --ciphers, --macs, --host-key-algorithms)."


class HostKeyUnknownError(ExchangeError):
    """The server's host key is in no list of known hosts."""

    code = "bulk.host-key-unknown"
    remedy = (
        "Compare the fingerprint with the server's own; if they are equal, connect once with --accept-new-host-key."
    )

    def __init__(self, sentence: str, fingerprint: str = "") -> None:
        super().__init__(sentence)
        self.fingerprint = fingerprint


class HostKeyChangedError(ExchangeError):
    """The server shows another host key than the one known for it."""

    code = "bulk.host-key-changed"
    remedy = (
        "Ask the server's administrator whether its key was renewed. Only then remove the old key from the known "
        "hosts and accept the new one; otherwise somebody may stand between."
    )


class KnownHostsUnreadableError(ExchangeError):
    """The file of known hosts cannot be read or written."""

    code = "bulk.known-hosts"
    remedy = "Name a readable file in known_hosts format, writable too where a new key is to be accepted."


class ClientKeyError(ExchangeError):
    """The private key for logging in cannot be read."""

    code = "bulk.client-key"
    remedy = "Name a private key file in OpenSSH or PEM format that needs no passphrase, readable by this user."


class LoginRefusedError(ExchangeError):
    """The server did not accept user and password, or the key."""

    code = "bulk.login"
    remedy = "Check user ID and password (or key) by logging in with an SFTP client; the account may also be locked."


class NoSftpError(ExchangeError):
    """The login works, but the server offers no SFTP."""

    code = "bulk.no-sftp"
    remedy = "Enable the sftp subsystem on the server, for this user too."


class DirectoryMissingError(ExchangeError):
    """The exchange directory does not exist on the server."""

    code = "bulk.directory-missing"
    remedy = "Create the directory on the SFTP server, or correct its name; every cluster must name the same one."


class DirectoryDeniedError(ExchangeError):
    """The server does not let this user read the directory or a file in it."""

    code = "bulk.directory-denied"
    remedy = "Give the SFTP user the right to list and read the exchange directory and its files."


class NotWritableError(ExchangeError):
    """The server does not let this user write into the directory."""

    code = "bulk.not-writable"
    remedy = "Give the SFTP user the right to create, rename and remove files in the exchange directory."


class DiskFullError(ExchangeError):
    """The server has no room left for the file."""

    code = "bulk.disk-full"
    remedy = "Free space (or raise the quota) on the SFTP server, then repeat the step."


class WriteFailedError(ExchangeError):
    """The server took the file's name but not its content, and gave no reason."""

    code = "bulk.write-failed"
    remedy = "Look into the SFTP server's log; a quota or a failing disk is the usual cause."


class ConnectionDroppedError(ExchangeError):
    """The connection broke, and could not be restored."""

    code = "bulk.connection-lost"
    remedy = "Check the network and the SFTP server's log, then repeat the step: it continues without harm."


class FileMissingError(ExchangeError):
    """A file that was listed is gone."""

    code = "bulk.file-missing"
    remedy = "List the directory again; somebody removed the file in between."


class FileTooLargeError(ExchangeError):
    """A file is larger than any exchange file is."""

    code = "bulk.file-too-large"
    remedy = "Take the file out of the exchange directory; certificates never need that much room."


class DirectoryTooLargeError(ExchangeError):
    """There is more in the exchange directory than clusters ever export."""

    code = "bulk.directory-too-large"
    remedy = "Look who filled the exchange directory; take out what no cluster of yours exported."


class ProtocolFailureError(ExchangeError):
    """The server answered a request with an error that has no class of its own."""

    code = "bulk.sftp"
    remedy = "Look into the SFTP server's log for the request named here."
