#!/bin/sh
# Certificates for the link between gateways and broker: one small authority, made with openssl.
# `sh make-certs.sh --help` tells how to use it.
#
# Rules of this file: nothing that exists is overwritten. Keys are on the curve P-256 and readable
# by their owner only. All certificates are valid from 2020 on: a gateway without a clock chip comes
# up with an old date, and must still accept its broker.
set -eu

DIR=pki
VALID_FROM=20200101000000Z
CA_UNTIL=20600101000000Z
DAYS=3650 # a gateway's life; a lost one is revoked

usage() {
    cat <<END
Usage: sh make-certs.sh [--dir DIR] COMMAND

  ca                  make the authority (once): ca.pem, ca.key, crl.pem
  broker NAME ...     make the broker's certificate; NAME is what gateways write as host:
                      a DNS name or an address, several if it has several
  gateway ID ...      make a gateway's certificate; ID as in its configuration, such as GW-1
  head-end [NAME]     make the central server's certificate, for the user head-end of the acl
  revoke ID           declare a certificate invalid: writes crl.pem anew, copy it to the broker

DIR (default: pki) holds everything. Who has ca.key can make gateways: keep DIR at the office, on a
machine that is neither broker nor gateway, and a copy of it under lock.
END
}

fail() {
    printf 'Stopped: %s\n' "$*" >&2
    exit 1
}

check_name() {
    # It becomes a part of topics and file names, as the gateway's own rule for its id.
    case $1 in
    "" | .* | *[!A-Za-z0-9_.-]*) fail "a name has letters, digits, - _ . only: '$1'" ;;
    esac
    [ "${#1}" -le 64 ] || fail "a name has at most 64 characters: $1"
}

check_free() {
    for suffix in pem key; do
        [ ! -e "$DIR/$1.$suffix" ] ||
            fail "$DIR/$1.$suffix is there already; move it away if you want a new one"
    done
}

need_ca() { [ -f "$DIR/ca.key" ] || fail "there is no authority in $DIR yet: sh make-certs.sh ca"; }

# What openssl must know to sign; $1 is the subjectAltName of a broker.
write_settings() {
    cat >"$DIR/openssl.cnf" <<END
[ca]
default_ca = authority
[authority]
database = $DIR/index.txt
serial = $DIR/serial
crlnumber = $DIR/crlnumber
new_certs_dir = $DIR/issued
certificate = $DIR/ca.pem
private_key = $DIR/ca.key
default_md = sha256
default_crl_days = 12000
policy = policy
unique_subject = no
rand_serial = yes
[policy]
commonName = supplied
[req]
distinguished_name = subject
[subject]
[for_ca]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[for_broker]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = ${1:-DNS:unused}
[for_client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
END
}

run_openssl() {
    openssl "$@" 2>"$DIR/openssl.log" || {
        cat "$DIR/openssl.log" >&2
        fail "openssl did not do it (see above)"
    }
}

make_key() { run_openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$DIR/$1.key"; }

# request NAME COMMON-NAME
request() {
    run_openssl req -new -config "$DIR/openssl.cnf" -key "$DIR/$1.key" -subj "/CN=$2" \
        -out "$DIR/$1.csr"
}

# issue NAME COMMON-NAME EXTENSIONS
issue() {
    make_key "$1"
    request "$1" "$2"
    run_openssl ca -batch -notext -config "$DIR/openssl.cnf" -extensions "$3" \
        -startdate "$VALID_FROM" -enddate "$(date -u -d "+$DAYS days" +%Y%m%d%H%M%SZ)" \
        -in "$DIR/$1.csr" -out "$DIR/$1.pem"
    rm "$DIR/$1.csr"
    chmod 0644 "$DIR/$1.pem"
    printf 'Made %s and %s\n' "$DIR/$1.pem" "$DIR/$1.key"
}

write_crl() {
    run_openssl ca -config "$DIR/openssl.cnf" -gencrl -out "$DIR/crl.pem.new"
    chmod 0644 "$DIR/crl.pem.new"
    mv "$DIR/crl.pem.new" "$DIR/crl.pem"
}

make_ca() {
    check_free ca
    mkdir -p "$DIR/issued"
    chmod 0700 "$DIR"
    : >"$DIR/index.txt"
    echo 01 >"$DIR/crlnumber"
    write_settings
    make_key ca
    request ca "Prepaid gateways"
    run_openssl ca -batch -notext -selfsign -config "$DIR/openssl.cnf" -extensions for_ca \
        -startdate "$VALID_FROM" -enddate "$CA_UNTIL" -in "$DIR/ca.csr" -out "$DIR/ca.pem"
    rm "$DIR/ca.csr"
    chmod 0644 "$DIR/ca.pem"
    write_crl
    printf 'Made the authority in %s. Keep ca.key safe: who has it can make gateways.\n' "$DIR"
}

make_broker() {
    [ $# -ge 1 ] || fail "broker needs the name that gateways write as host"
    need_ca
    check_free broker
    names=
    for name in "$@"; do
        case $name in
        "" | *[!A-Za-z0-9.:-]*) fail "this is no host name and no address: '$name'" ;;
        *:*) kind=IP ;;
        *[!0-9.]*) kind=DNS ;;
        *) kind=IP ;;
        esac
        names=$names${names:+,}$kind:$name
    done
    write_settings "$names"
    issue broker "$1" for_broker
}

make_client() {
    check_name "$1"
    case $1 in ca | broker | crl | openssl) fail "$1 is the name of another file here" ;; esac
    need_ca
    check_free "$1"
    write_settings
    issue "$1" "$1" for_client
}

revoke() {
    check_name "$1"
    need_ca
    [ "$1" != ca ] || fail "the authority itself cannot be revoked: make a new one elsewhere"
    [ -f "$DIR/$1.pem" ] || fail "there is no $DIR/$1.pem"
    write_settings
    run_openssl ca -config "$DIR/openssl.cnf" -revoke "$DIR/$1.pem"
    write_crl
    for suffix in pem key; do mv "$DIR/$1.$suffix" "$DIR/issued/$1.revoked.$suffix"; done
    printf '%s is revoked. Copy %s to the broker and restart it.\n' "$1" "$DIR/crl.pem"
}

main() {
    command -v openssl >/dev/null || fail "openssl is missing: sudo apt install openssl"
    umask 077
    if [ "${1:-}" = --dir ]; then
        [ $# -ge 2 ] || fail "--dir needs a folder"
        DIR=$2
        shift 2
    fi
    case $DIR in *[!A-Za-z0-9_./-]*) fail "openssl wants a folder name without spaces: $DIR" ;; esac
    command=${1:---help}
    [ $# -eq 0 ] || shift
    case $command in
    ca) make_ca ;;
    broker) make_broker "$@" ;;
    gateway)
        [ $# -ge 1 ] || fail "gateway needs an id, such as GW-1"
        [ "$1" != head-end ] || fail "head-end is the central server's name"
        for id in "$@"; do make_client "$id"; done
        ;;
    head-end) make_client "${1:-head-end}" ;;
    revoke)
        [ $# -eq 1 ] || fail "revoke needs one id"
        revoke "$1"
        ;;
    --help | -h) usage ;;
    *)
        usage >&2
        fail "there is no command $command"
        ;;
    esac
}

main "$@"
