#!/bin/sh
# Installs, updates or removes the prepaid gateway: Raspberry Pi OS bookworm and trixie, Debian.
# `sh install.sh --help` tells how to use it.
#
# Rules of this file: running it again changes nothing that is right already. An update is put
# together beside the running version, tried against your configuration, and switched to in one
# step, so that a power cut in the middle leaves the old one. Configuration, keys and the ledger
# are never overwritten and never removed.
set -eu

NAME=prepaid-gateway
OWNER=prepaid
OPT=/opt/$NAME
ETC=/etc/$NAME
STATE=/var/lib/$NAME
RUN=/run/$NAME
SYSTEMD=/etc/systemd/system
UDEV=/etc/udev/rules.d
COMMAND=/usr/local/bin/gateway
KEEP_RELEASES=2

HERE=$(cd "$(dirname "$0")" && pwd)
SOURCE=$(dirname "$HERE")
ROOT=
WHEELS=
DRY_RUN=no
UNINSTALL=no
NEW_CONFIG=no
CHANGED=no

usage() {
    cat <<END
Usage: sudo sh install.sh [OPTION ...]

  --wheels DIR   install from a folder of wheels, without any network. Make the folder on a machine
                 of the same kind: pip wheel --wheel-dir DIR '.[pi]'
  --dry-run      say what would be done, and do nothing
  --uninstall    remove the program; the ledger, the keys and the configuration stay
  --root DIR     install under DIR instead of /: for tests and for building images; makes no user,
                 starts nothing
  --help         this page
END
}

say() { printf '%s\n' "$*"; }

warn() { printf 'Please note: %s\n' "$*" >&2; }

fail() {
    printf 'Stopped: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf '  What to do: %s\n' "$2" >&2
    exit 1
}

# Do it, or in a dry run say it.
act() {
    if [ "$DRY_RUN" = yes ]; then
        say "  would run: $*"
    else
        "$@"
    fi
}

on_this_system() { [ -z "$ROOT" ]; }

have() { command -v "$1" >/dev/null 2>&1; }

# --- looking at the machine -----------------------------------------------------------------------

is_raspberry_pi() {
    model=$ROOT/proc/device-tree/model
    [ -r "$model" ] && tr -d '\0' <"$model" | grep -q 'Raspberry Pi'
}

systemd_version() {
    systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p'
}

check_machine() {
    on_this_system && [ "$DRY_RUN" = no ] && [ "$(id -u)" != 0 ] &&
        fail "this needs the rights of root" "sudo sh $0"
    have python3 || fail "there is no python3" "sudo apt install python3 python3-venv"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed, this is $(python3 --version)" \
            "use Raspberry Pi OS bookworm or newer"
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        if on_this_system && [ -z "$WHEELS" ] && have apt-get; then
            say "Installing python3-venv"
            act apt-get install -y -qq python3-venv
        else
            fail "Python's venv module is missing" "sudo apt install python3-venv"
        fi
    fi
    if [ -n "$WHEELS" ]; then
        ls "$WHEELS"/prepaid_gateway-*.whl >/dev/null 2>&1 ||
            fail "$WHEELS has no wheel of the gateway (prepaid_gateway-*.whl)" \
                "make the folder with: pip wheel --wheel-dir DIR '.[pi]'"
    else
        [ -f "$SOURCE/pyproject.toml" ] ||
            fail "the program is not beside this script ($SOURCE)" \
                "run it from a full copy of the project, or give --wheels DIR"
    fi
}

# A console on the UART talks into the meters' line at every boot, and takes what they answer.
check_serial_console() {
    for file in "$ROOT/boot/firmware/cmdline.txt" "$ROOT/boot/cmdline.txt"; do
        if [ -r "$file" ] && grep -Eq 'console=(serial0|ttyAMA0|ttyS0)' "$file"; then
            warn "the Pi's own serial port is the login console ($file)."
            say "  With a USB adapter leave it. To put meters on /dev/ttyAMA0, free it first:"
            say "    sudo raspi-config nonint do_serial_cons 1   (no console on the serial port)"
            say "    sudo raspi-config nonint do_serial_hw 0     (but keep the port on)"
            say "  and reboot."
            return
        fi
    done
    if on_this_system && have systemctl &&
        systemctl is-active --quiet 'serial-getty@ttyAMA0.service' 2>/dev/null; then
        warn "a login prompt is running on /dev/ttyAMA0."
        say "  To put meters there: sudo systemctl disable --now serial-getty@ttyAMA0"
    fi
}

# --- user and directories -------------------------------------------------------------------------

make_user() {
    on_this_system || { say "No user is made under --root."; return; }
    for group in dialout gpio; do
        getent group "$group" >/dev/null || act groupadd --system "$group"
    done
    if ! getent passwd "$OWNER" >/dev/null; then
        say "Making the user $OWNER"
        act useradd --system --user-group --no-create-home --home-dir "$STATE" \
            --shell /usr/sbin/nologin "$OWNER"
    fi
    act usermod --append --groups dialout,gpio "$OWNER"
}

# directory MODE OWNER:GROUP PATH
directory() {
    [ -d "$ROOT$3" ] || act mkdir -p "$ROOT$3"
    act chmod "$1" "$ROOT$3"
    if on_this_system; then act chown "$2" "$3"; fi
}

make_directories() {
    directory 0755 root:root "$OPT"
    directory 0755 root:root "$OPT/releases"
    directory 0755 root:root "$OPT/share"
    directory 0750 "root:$OWNER" "$ETC"
    directory 0750 "root:$OWNER" "$ETC/tls"
    directory 0750 "root:$OWNER" "$ETC/policies"
    directory 0750 "root:$OWNER" "$ETC/tariffs"
    directory 0750 "$OWNER:$OWNER" "$STATE"
}

# put MODE FROM TO: copy a file if it differs.
put() {
    if ! cmp -s "$2" "$ROOT$3"; then
        CHANGED=yes
        act mkdir -p "$(dirname "$ROOT$3")"
        act install -m "$1" "$2" "$ROOT$3.new"
        act mv -f "$ROOT$3.new" "$ROOT$3"
    fi
}

# put_once MODE FROM TO: copy a file if there is none.
put_once() { [ -e "$ROOT$3" ] || put "$1" "$2" "$3"; }

# --- configuration --------------------------------------------------------------------------------

write_config() {
    for folder in policies tariffs; do
        for file in "$HERE/$folder"/*.toml; do
            put_once 0640 "$file" "$ETC/$folder/$(basename "$file")"
        done
    done
    if [ -e "$ROOT$ETC/config.toml" ]; then
        say "Your configuration stays: $ETC/config.toml"
    else
        say "Writing a first configuration: $ETC/config.toml"
        NEW_CONFIG=yes
        if [ "$DRY_RUN" = no ]; then
            # The example's paths suit a trial in a folder; an installed gateway has its own.
            sed -e "s|^data_dir = .*|data_dir = \"$STATE\"|" \
                -e "s|^# socket = .*|socket = \"$RUN/gateway.sock\"|" \
                "$HERE/config.example.toml" >"$ROOT$ETC/config.toml.new"
            mv "$ROOT$ETC/config.toml.new" "$ROOT$ETC/config.toml"
        fi
    fi
    guard_config
}

# The service may read all of it; keys and passwords are for the service alone.
guard_config() {
    [ "$DRY_RUN" = no ] || return 0
    find "$ROOT$ETC" -type f -exec chmod 0640 {} +
    find "$ROOT$ETC" -type f \( -name '*.key' -o -name '*.password' \) -exec chmod 0600 {} +
    if on_this_system; then
        find "$ETC" -type f -exec chown "root:$OWNER" {} +
        find "$ETC" -type f \( -name '*.key' -o -name '*.password' \) \
            -exec chown "$OWNER:$OWNER" {} +
    fi
}

# --- the program ----------------------------------------------------------------------------------

# One number for what would be installed: the same twice means nothing to do.
fingerprint() {
    {
        python3 --version
        if is_raspberry_pi; then echo pi; fi
        if [ -n "$WHEELS" ]; then
            find "$WHEELS" -name '*.whl' -exec sha256sum {} +
        else
            cd "$SOURCE"
            find pyproject.toml gateway hardware -type f ! -name '*.pyc' -exec sha256sum {} +
        fi
    } | LC_ALL=C sort | sha256sum | cut -d ' ' -f 1
}

pip_install() {
    python=$1
    shift
    if [ -n "$WHEELS" ]; then
        "$python" -m pip install --quiet --disable-pip-version-check --no-input \
            --no-index --find-links "$WHEELS" "$@"
    else
        "$python" -m pip install --quiet --disable-pip-version-check --no-input "$@"
    fi
}

install_program() {
    current=$ROOT$OPT/current
    wanted=$(fingerprint)
    if [ "$(cat "$current/.fingerprint" 2>/dev/null || true)" = "$wanted" ]; then
        say "The program is up to date."
        return
    fi
    if [ "$DRY_RUN" = yes ]; then
        say "  would install the program into a new folder under $OPT/releases and switch to it"
        return
    fi
    release=releases/$(date +%Y%m%d-%H%M%S)-$(printf '%.8s' "$wanted")
    new=$ROOT$OPT/$release
    say "Installing the program into $OPT/$release (some minutes on a small Pi)"
    rm -rf "$new"
    trap 'rm -rf "$new"' EXIT
    trap 'exit 1' INT TERM HUP
    python3 -m venv "$new"
    what=prepaid-gateway
    if [ -z "$WHEELS" ]; then
        what=$new/source # a copy: building leaves files beside the source
        mkdir "$what"
        for part in pyproject.toml README.md LICENSE gateway hardware; do
            cp -R "$SOURCE/$part" "$what/"
        done
    fi
    pip_install "$new/bin/python" "$what" ||
        fail "the program could not be installed; what ran before still runs" \
            "check the network, or use --wheels DIR"
    if is_raspberry_pi; then
        # gpiozero's own pin library, for lamps and buttons. Relays do not need it.
        pip_install "$new/bin/python" "${what}[pi]" ||
            warn "the extra libraries for a Pi could not be installed; relays work without them."
    fi
    rm -rf "$new/source"
    try_config "$new/bin/python"
    echo "$wanted" >"$new/.fingerprint"
    sync
    # Renaming a link is one step: there is never a moment without a program.
    ln -sfn "$release" "$ROOT$OPT/current.new"
    mv -fT "$ROOT$OPT/current.new" "$current"
    trap - EXIT INT TERM HUP
    CHANGED=yes
    forget_old_releases
}

# The new program must be able to read the configuration there is, or it is not switched to.
try_config() {
    "$1" -I - "$ROOT$ETC/config.toml" <<'END' ||
import sys
from pathlib import Path
from gateway.core.errors import GatewayError
from gateway.documents.config import load_config
try:
    load_config(Path(sys.argv[1]))
except GatewayError as error:
    sys.exit(f"{error}\n{error.hint or ''}")
END
        fail "the new program does not accept $ETC/config.toml; what ran before still runs" \
            "correct the file as said above, then run this again"
}

forget_old_releases() {
    kept=$(readlink "$ROOT$OPT/current")
    count=0
    for old in $(find "$ROOT$OPT/releases" -mindepth 1 -maxdepth 1 -type d | LC_ALL=C sort -r); do
        count=$((count + 1))
        if [ "$count" -gt "$KEEP_RELEASES" ] && [ "releases/$(basename "$old")" != "$kept" ]; then
            rm -rf "$old"
        fi
    done
}

link_command() {
    target=$OPT/current/bin/gateway
    if [ -L "$ROOT$COMMAND" ] && [ "$(readlink "$ROOT$COMMAND")" = "$target" ]; then
        return
    fi
    if [ -e "$ROOT$COMMAND" ] || [ -L "$ROOT$COMMAND" ]; then
        warn "$COMMAND belongs to something else and stays; use $target"
        return
    fi
    act mkdir -p "$ROOT$(dirname "$COMMAND")"
    act ln -s "$target" "$ROOT$COMMAND"
}

# --- systemd and udev -----------------------------------------------------------------------------

install_files() {
    put 0644 "$HERE/README.md" "$OPT/share/README.md"
    put 0644 "$HERE/config.example.toml" "$OPT/share/config.example.toml"
    put 0644 "$HERE/systemd/paused.conf" "$OPT/share/paused.conf"
    put 0644 "$HERE/udev/60-$NAME.rules" "$UDEV/60-$NAME.rules"
    put_once 0644 "$HERE/udev/61-$NAME-names.rules" "$UDEV/61-$NAME-names.rules"
    put 0644 "$HERE/systemd/$NAME.service" "$SYSTEMD/$NAME.service"
    version=$(systemd_version)
    dropin=$SYSTEMD/$NAME.service.d/10-systemd-254.conf
    if [ "${version:-0}" -ge 254 ]; then
        put 0644 "$HERE/systemd/systemd-254.conf" "$dropin"
    elif [ -e "$ROOT$dropin" ]; then
        act rm "$ROOT$dropin"
    fi
}

systemd_runs() { on_this_system && [ -d /run/systemd/system ]; }

start_service() {
    if ! systemd_runs; then
        on_this_system && have systemctl && act systemctl enable "$NAME"
        say "systemd is not running here: nothing is started."
        return
    fi
    act udevadm control --reload || warn "udev did not reload its rules; a reboot does it."
    act udevadm trigger --subsystem-match=tty --subsystem-match=gpio --subsystem-match=usb-serial ||
        true
    act systemctl daemon-reload
    act systemctl enable --quiet "$NAME"
    if [ "$NEW_CONFIG" = yes ]; then
        say "The service will start at the next boot; start it now when the configuration is right."
    elif systemctl is-active --quiet "$NAME"; then
        # Never stop and start: a restart keeps held relay lines in systemd's store.
        if [ "$CHANGED" = yes ]; then act systemctl restart "$NAME"; fi
    else
        act systemctl start "$NAME"
    fi
}

# --- removing -------------------------------------------------------------------------------------

uninstall() {
    on_this_system && [ "$DRY_RUN" = no ] && [ "$(id -u)" != 0 ] &&
        fail "this needs the rights of root" "sudo sh $0 --uninstall"
    if systemd_runs && [ -e "$SYSTEMD/$NAME.service" ]; then
        warn "the service stops now. A relay that a pin holds may drop; a latching one stays."
        act systemctl disable --now --quiet "$NAME"
    fi
    if [ "$(readlink "$ROOT$COMMAND" 2>/dev/null)" = "$OPT/current/bin/gateway" ]; then
        act rm -f "$ROOT$COMMAND"
    fi
    act rm -rf "$ROOT$SYSTEMD/$NAME.service" "$ROOT$SYSTEMD/$NAME.service.d" \
        "$ROOT$UDEV/60-$NAME.rules" "$ROOT$OPT"
    if systemd_runs; then
        act systemctl daemon-reload
        act udevadm control --reload || true
    fi
    say "The program is removed. Kept, because they cannot be made again:"
    say "  the ledger          $ROOT$STATE"
    say "  configuration, keys $ROOT$ETC"
    say "  adapter names       $ROOT$UDEV/61-$NAME-names.rules"
    say "Install again and everything goes on from there."
    say "To remove them too, once the ledger is copied to a safe place:"
    say "  sudo rm -r $ROOT$STATE $ROOT$ETC $ROOT$UDEV/61-$NAME-names.rules"
    say "  sudo userdel $OWNER"
}

next_steps() {
    say ""
    if [ "$DRY_RUN" = yes ]; then
        say "Nothing was changed."
        return
    fi
    say "Installed. What comes next:"
    say " 1. May you use the commands? Join the group, then log in again:"
    say "      sudo usermod --append --groups $OWNER ${SUDO_USER:-YOUR-NAME}"
    say " 2. Which adapter is which?   ls -l /dev/serial/by-id /dev/rs485-*"
    say "      names of your own:      $UDEV/61-$NAME-names.rules"
    say " 3. Who is this gateway, where are meters and broker?"
    say "      sudo nano $ETC/config.toml"
    say "      the broker's CA and this gateway's certificate go into $ETC/tls;"
    say "      then run this installer once more: it sets their owner and modes"
    say " 4. Start it, and look:       sudo systemctl restart $NAME"
    say "                              systemctl status $NAME"
    say " 5. Find the meters:          gateway meter scan"
    say "Before you touch a consumer's line: hardware/WIRING.md, Safety."
}

main() {
    while [ $# -gt 0 ]; do
        case $1 in
        --wheels) [ $# -ge 2 ] || fail "--wheels needs a folder"; WHEELS=$2; shift ;;
        --root) [ $# -ge 2 ] || fail "--root needs a folder"; ROOT=$2; shift ;;
        --dry-run) DRY_RUN=yes ;;
        --uninstall) UNINSTALL=yes ;;
        --help | -h) usage; exit 0 ;;
        *) usage >&2; fail "there is no option $1" ;;
        esac
        shift
    done
    if [ -n "$WHEELS" ]; then
        [ -d "$WHEELS" ] || fail "there is no folder $WHEELS for --wheels"
        WHEELS=$(cd "$WHEELS" && pwd)
    fi
    if [ -n "$ROOT" ]; then
        mkdir -p "$ROOT"
        ROOT=$(cd "$ROOT" && pwd)
        [ "$ROOT" != / ] || ROOT=
    fi
    umask 022
    if [ "$UNINSTALL" = yes ]; then
        uninstall
        return
    fi
    check_machine
    check_serial_console
    make_user
    make_directories
    write_config
    install_program
    install_files
    link_command
    start_service
    next_steps
}

main "$@"
