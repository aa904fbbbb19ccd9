"""The certificates: what they may be used for, from when, and that nothing is overwritten."""

import ssl
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# systemd sets a clock that it cannot believe to the date of its own build; 252 is of 2022.
A_CLOCK_THAT_WAS_LOST = 2022


@pytest.fixture(scope="module")
def make(deploy, program):
    program("openssl", "openssl")
    script = deploy / "mosquitto" / "make-certs.sh"

    def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", script, "--dir", directory, *arguments],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def pki(make, tmp_path_factory):
    directory = tmp_path_factory.mktemp("office") / "pki"
    for arguments in (["ca"], ["broker", "broker.example.org", "10.1.2.3"], ["gateway", "GW-1"]):
        done = make(directory, *arguments)
        assert done.returncode == 0, done.stderr
    return directory


def certificate(pki: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((pki / f"{name}.pem").read_bytes())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_for_their_owner_alone(pki):
    keys = sorted(path.name for path in pki.glob("*.key"))
    assert keys == ["GW-1.key", "broker.key", "ca.key"]
    assert {mode(pki / name) for name in keys} == {0o600}
    assert mode(pki) == 0o700
    assert {mode(pki / f"{name}.pem") for name in ("ca", "broker", "GW-1", "crl")} == {0o644}


@pytest.mark.parametrize("name", ["ca", "broker", "GW-1"])
def test_keys_are_p256_and_belong_to_their_certificates(pki, name):
    key = load_pem_private_key((pki / f"{name}.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert key.public_key() == certificate(pki, name).public_key()


def test_the_gateways_name_is_the_certificates(pki):
    names = certificate(pki, "GW-1").subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [name.value for name in names] == ["GW-1"]


def test_a_gateways_certificate_is_no_server_and_no_authority(pki):
    made = certificate(pki, "GW-1").extensions
    usage = made.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not made.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_brokers_certificate_names_its_hosts_by_kind(pki):
    made = certificate(pki, "broker").extensions
    usage = made.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    hosts = made.get_extension_for_class(x509.SubjectAlternativeName).value
    assert hosts.get_values_for_type(x509.DNSName) == ["broker.example.org"]
    assert [str(ip) for ip in hosts.get_values_for_type(x509.IPAddress)] == ["10.1.2.3"]


@pytest.mark.parametrize("name", ["ca", "broker", "GW-1"])
def test_a_pi_that_lost_its_clock_still_accepts_them(pki, name):
    assert certificate(pki, name).not_valid_before_utc.year < A_CLOCK_THAT_WAS_LOST


def handshake(pki: Path, host: str) -> None:
    """TLS between a gateway and the broker, in memory. Raises ssl.SSLError."""
    client = ssl.create_default_context(cafile=pki / "ca.pem")
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    client.load_cert_chain(pki / "GW-1.pem", pki / "GW-1.key")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki / "ca.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(pki / "broker.pem", pki / "broker.key")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(down, up, server_hostname=host),
        server.wrap_bio(up, down, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    for end in ends:
        assert end.getpeercert()["subject"]


@pytest.mark.parametrize("host", ["broker.example.org", "10.1.2.3"])
def test_both_sides_accept_each_other_under_strict_rules(pki, host):
    handshake(pki, host)


def test_another_host_with_this_certificate_is_refused(pki):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(pki, "elsewhere.example.org")


@pytest.mark.parametrize("again", [["ca"], ["broker", "x.example.org"], ["gateway", "GW-1"]])
def test_nothing_is_overwritten(make, pki, again):
    before = {path.name: path.read_bytes() for path in pki.glob("*.key")}
    done = make(pki, *again)
    assert done.returncode != 0
    assert "there already" in done.stderr
    assert {path.name: path.read_bytes() for path in pki.glob("*.key")} == before


@pytest.mark.parametrize(
    "name", ["", ".hidden", "a/b", "../GW", "+", "#", "GW 1", "GW-1,OU=x", "x" * 65, "head-end"]
)
def test_a_name_that_would_mean_something_else_is_refused(make, pki, name):
    done = make(pki, "gateway", name)
    assert done.returncode != 0
    assert done.stderr.startswith("Stopped: ")


@pytest.mark.parametrize("name", ["ca", "broker", "crl"])
def test_a_gateway_cannot_be_named_like_another_file(make, pki, name):
    done = make(pki, "gateway", name)
    assert done.returncode != 0
    assert "another file" in done.stderr


@pytest.mark.parametrize("host", ["a,DNS:evil.example.org", "a b", ""])
def test_a_host_cannot_smuggle_in_another(make, tmp_path, host):
    assert make(tmp_path / "pki", "ca").returncode == 0
    assert make(tmp_path / "pki", "broker", host).returncode != 0


def test_without_an_authority_nothing_is_issued(make, tmp_path):
    done = make(tmp_path / "pki", "gateway", "GW-1")
    assert done.returncode != 0
    assert "no authority" in done.stderr


def test_a_revoked_gateway_is_on_the_list_and_its_name_is_free_again(make, tmp_path):
    pki = tmp_path / "pki"
    make(pki, "ca")
    make(pki, "gateway", "GW-1")
    serial = certificate(pki, "GW-1").serial_number
    done = make(pki, "revoke", "GW-1")
    assert done.returncode == 0, done.stderr
    listed = x509.load_pem_x509_crl((pki / "crl.pem").read_bytes())
    assert listed.get_revoked_certificate_by_serial_number(serial) is not None
    again = make(pki, "gateway", "GW-1")
    assert again.returncode == 0, again.stderr
    assert certificate(pki, "GW-1").serial_number != serial
