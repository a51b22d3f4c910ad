"""A simulated phone's own certificate and key, read from their PEM files when a configuration asks for them."""

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certferry.errors import MalformedError
from certferry.fleet.dial import CertificatePaths, IdentityUnusableError
from certferry.phone.identity import PhoneIdentity
from certferry.wire.certificate import Certificate


def read_identity(paths: CertificatePaths) -> PhoneIdentity:
    """Read them; a key that is not RSA opens no configuration and is left out. Raise ``IdentityUnusableError``."""
    certificate, key = paths
    try:
        loaded = load_pem_private_key(key.read_bytes(), None)
        own = Certificate.from_pem(certificate.read_bytes())
    except (OSError, ValueError, TypeError, MalformedError) as error:
        raise IdentityUnusableError(f"{certificate} and its key cannot be used: {error}") from error
    return PhoneIdentity(own, loaded if isinstance(loaded, rsa.RSAPrivateKey) else None)
