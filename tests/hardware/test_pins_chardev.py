"""The real ioctl code against the C header of this machine, and against what libgpiod sends.

There is no GPIO chip where these tests usually run. So: structure sizes, offsets and numbers are
compared with a C program built from linux/gpio.h, and the module is run on a stand-in for the
kernel's side of ioctl(2) (a preloaded C library) that records every request byte by byte.
"""

import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hardware.api import SwitchUnavailable
from hardware.relays import chardev
from hardware.relays.chardev import device_paths, open_chip

ROOT = Path(__file__).parents[2]
HEADER = Path("/usr/include/linux/gpio.h")
needs_c = pytest.mark.skipif(
    shutil.which("gcc") is None or not HEADER.exists(),
    reason="needs gcc and linux/gpio.h (apt install gcc linux-libc-dev)",
)

STRUCTURES = {
    "struct gpiochip_info": chardev.ChipInfo,
    "struct gpio_v2_line_values": chardev.LineValues,
    "struct gpio_v2_line_attribute": chardev.LineAttribute,
    "struct gpio_v2_line_config_attribute": chardev.LineConfigAttribute,
    "struct gpio_v2_line_config": chardev.RequestConfig,
    "struct gpio_v2_line_request": chardev.LineRequest,
    "struct gpio_v2_line_info": chardev.KernelLineInfo,
}
CONSTANTS = {
    "GPIO_GET_CHIPINFO_IOCTL": chardev.GET_CHIPINFO,
    "GPIO_V2_GET_LINEINFO_IOCTL": chardev.GET_LINEINFO,
    "GPIO_V2_GET_LINE_IOCTL": chardev.GET_LINE,
    "GPIO_V2_LINE_SET_CONFIG_IOCTL": chardev.LINE_SET_CONFIG,
    "GPIO_V2_LINE_GET_VALUES_IOCTL": chardev.LINE_GET_VALUES,
    "GPIO_V2_LINE_SET_VALUES_IOCTL": chardev.LINE_SET_VALUES,
    "GPIO_V2_LINE_FLAG_USED": chardev.FLAG_USED,
    "GPIO_V2_LINE_FLAG_INPUT": chardev.FLAG_INPUT,
    "GPIO_V2_LINE_FLAG_OUTPUT": chardev.FLAG_OUTPUT,
    "GPIO_V2_LINE_FLAG_BIAS_PULL_UP": chardev.FLAG_BIAS_PULL_UP,
    "GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN": chardev.FLAG_BIAS_PULL_DOWN,
    "GPIO_V2_LINE_FLAG_BIAS_DISABLED": chardev.FLAG_BIAS_DISABLED,
    "GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES": chardev._ATTR_OUTPUT_VALUES,
}


def build(tmp_path: Path, source: str, *options: str) -> Path:
    (tmp_path / "part.c").write_text(source)
    built = tmp_path / "part"
    subprocess.run(["gcc", "-o", built, tmp_path / "part.c", *options], check=True, timeout=60)
    return built


@needs_c
def test_structures_and_numbers_are_those_of_the_kernel_header(tmp_path):
    expressions = dict(CONSTANTS)
    for name, structure in STRUCTURES.items():
        expressions[f"sizeof({name})"] = ctypes.sizeof(structure)
        for field, *_ in structure._fields_:
            in_c = "flags" if (structure, field) == (chardev.LineAttribute, "value") else field
            expressions[f"offsetof({name}, {in_c})"] = getattr(structure, field).offset
    lines = "\n".join(f'printf("%llu\\n", (unsigned long long)({one}));' for one in expressions)
    source = (
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/gpio.h>\n"
        f"int main(void) {{ {lines} return 0; }}\n"
    )
    run = subprocess.run([build(tmp_path, source)], capture_output=True, check=True, timeout=10)
    measured = dict(zip(expressions, map(int, run.stdout.split()), strict=True))
    assert measured == expressions
    assert len(measured) > 40


# A chip in ioctl(2): /dev/null is opened in place of a gpiochip. Line 17 was left an output, high.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/gpio.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned long long level = 1;

static void record(unsigned long number, const void *data) {
    FILE *log = fopen(getenv("SHIM_LOG"), "a");
    fprintf(log, "%lx ", number);
    for (size_t i = 0; i < _IOC_SIZE(number); i++) fprintf(log, "%02x", ((unsigned char *)data)[i]);
    fprintf(log, "\n");
    fclose(log);
}

/* libgpiod asks whether the device belongs to the GPIO subsystem. */
char *realpath(const char *path, char *resolved) {
    static char *(*next)(const char *, char *);
    if (!next) next = dlsym(RTLD_NEXT, "realpath");
    if (strstr(path, "/subsystem")) {
        char *buffer = resolved ? resolved : malloc(PATH_MAX);
        return strcpy(buffer, "/sys/bus/gpio");
    }
    return next(path, resolved);
}

int ioctl(int fd, unsigned long number, ...) {
    static int (*next)(int, unsigned long, ...);
    if (!next) next = dlsym(RTLD_NEXT, "ioctl");
    va_list rest;
    va_start(rest, number);
    void *data = va_arg(rest, void *);
    va_end(rest);
    number &= 0xffffffff; /* the kernel takes 32 bits; some callers extend the sign */
    if (_IOC_TYPE(number) != 0xB4) return next(fd, number, data);
    record(number, data);
    switch (number) {
    case GPIO_GET_CHIPINFO_IOCTL: {
        struct gpiochip_info *info = data;
        strcpy(info->name, "gpiochip0");
        strcpy(info->label, "pinctrl-shim");
        info->lines = 28;
        return 0;
    }
    case GPIO_V2_GET_LINEINFO_IOCTL: {
        struct gpio_v2_line_info *info = data;
        if (info->offset >= 28) { errno = EINVAL; return -1; }
        if (info->offset == 17) {
            strcpy(info->consumer, "prepaid-gateway");
            info->flags = GPIO_V2_LINE_FLAG_USED | GPIO_V2_LINE_FLAG_OUTPUT;
        } else {
            info->flags = GPIO_V2_LINE_FLAG_INPUT | GPIO_V2_LINE_FLAG_BIAS_PULL_UP;
        }
        return 0;
    }
    case GPIO_V2_GET_LINE_IOCTL: {
        struct gpio_v2_line_request *request = data;
        if (request->offsets[0] == 4) { errno = EBUSY; return -1; }
        request->fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        return 0;
    }
    case GPIO_V2_LINE_GET_VALUES_IOCTL:
        ((struct gpio_v2_line_values *)data)->bits = level;
        return 0;
    case GPIO_V2_LINE_SET_VALUES_IOCTL:
        level = ((struct gpio_v2_line_values *)data)->bits;
        return 0;
    case GPIO_V2_LINE_SET_CONFIG_IOCTL: {
        struct gpio_v2_line_config *config = data;
        if (config->flags & GPIO_V2_LINE_FLAG_OUTPUT)
            level = config->num_attrs ? config->attrs[0].attr.values & 1 : 0;
        return 0;
    }
    }
    errno = ENOTTY;
    return -1;
}
"""

OURS = """
import errno, json, os
from pathlib import Path
from hardware.relays.chardev import CharacterDevice
from hardware.relays.lines import AS_IS, Bias, output, pulled_input
chip = CharacterDevice(Path("/dev/null"))
request = chip.claim(17, "prepaid-gateway", AS_IS)
found = [chip.label, chip.line_count, chip.level(request)]
chip.reconfigure(request, output(True))
found.append(chip.level(request))
chip.set_level(request, False)
found.append(chip.level(request))
chip.reconfigure(request, pulled_input(Bias.UP))
found += [os.get_inheritable(request), repr(chip.info(17)), repr(chip.info(2))]
try:
    chip.claim(4, "x", AS_IS)
except OSError as error:
    found.append(errno.errorcode[error.errno])
chip.close(); chip.close()
print(json.dumps(found))
"""

THEIRS = """
import gpiod
from gpiod.line import Bias, Direction, Value
chip = gpiod.Chip("/dev/null")
request = chip.request_lines({17: gpiod.LineSettings(direction=Direction.AS_IS)},
                             consumer="prepaid-gateway")
request.get_value(17)
request.reconfigure_lines(
    {17: gpiod.LineSettings(direction=Direction.OUTPUT, output_value=Value.ACTIVE)})
request.get_value(17)
request.set_value(17, Value.INACTIVE)
request.get_value(17)
request.reconfigure_lines(
    {17: gpiod.LineSettings(direction=Direction.INPUT, bias=Bias.PULL_UP)})
"""


@pytest.fixture
def run_on_shim(tmp_path):
    library = build(tmp_path, SHIM, "-shared", "-fPIC", "-ldl")

    def run(script: str) -> tuple[str, list[tuple[str, bytes]]]:
        log = tmp_path / "log"
        log.write_text("")
        environ = {**os.environ, "LD_PRELOAD": str(library), "SHIM_LOG": str(log)}
        environ["PYTHONPATH"] = str(ROOT)
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,  # the message of a failure is worth more than its code
        )
        assert done.returncode == 0, done.stderr
        calls = [line.split(" ") for line in log.read_text().splitlines()]
        return done.stdout, [(number, bytes.fromhex(data)) for number, data in calls]

    return run


@needs_c
def test_the_module_speaks_to_ioctl_and_understands_its_answers(run_on_shim):
    printed, _calls = run_on_shim(OURS)
    assert json.loads(printed) == [
        "pinctrl-shim",
        28,
        True,  # claimed as it is: still high
        True,  # an output that drives what it showed
        False,
        False,  # kept from child processes
        "LineInfo(used=True, consumer='prepaid-gateway', is_output=True, bias=None)",
        "LineInfo(used=False, consumer='', is_output=False, bias=<Bias.UP: 'up'>)",
        "EBUSY",
    ]


@needs_c
def test_each_request_is_byte_for_byte_what_libgpiod_sends(run_on_shim):
    pytest.importorskip("gpiod", reason="needs gpiod (pip install gpiod)")
    line_ioctls = {
        f"{number:x}"
        for number in (
            chardev.GET_LINE,
            chardev.LINE_GET_VALUES,
            chardev.LINE_SET_CONFIG,
            chardev.LINE_SET_VALUES,
        )
    }
    _printed, calls = run_on_shim(THEIRS)
    theirs = [call for call in calls if call[0] in line_ioctls]
    _printed, calls = run_on_shim(OURS)
    ours = [call for call in calls if call[0] in line_ioctls][: len(theirs)]
    assert len(theirs) == 7
    assert ours == theirs


def test_a_directory_without_chips_is_a_clear_refusal(tmp_path):
    assert device_paths(tmp_path) == []
    with pytest.raises(SwitchUnavailable, match="no GPIO chip") as caught:
        open_chip(dev=tmp_path)
    assert "GPIOZERO_PIN_FACTORY=mock" in caught.value.hint


def test_links_are_not_a_second_chip_and_numbers_sort_as_numbers(tmp_path):
    for number in (10, 2, 0):
        (tmp_path / f"gpiochip{number}").touch()
    (tmp_path / "gpiochip4").symlink_to("gpiochip0")
    assert [path.name for path in device_paths(tmp_path)] == [
        "gpiochip0",
        "gpiochip2",
        "gpiochip10",
    ]


class Chip:
    """A chip as `open_chip` sees one."""

    def __init__(self, path: Path) -> None:
        label = path.read_text()
        if label == "denied":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        self.label, self.closed = label, False
        made.append(self)

    def close(self) -> None:
        self.closed = True


made: list[Chip] = []


@pytest.mark.parametrize(
    ("labels", "wanted", "chosen"),
    [
        (["pinctrl-bcm2711", "raspberrypi-exp-gpio"], None, "pinctrl-bcm2711"),
        (["gpio-brcmstb@107d508500", "pinctrl-rp1", "gpio-brcmstb@x"], None, "pinctrl-rp1"),
        (["gpio-sim.0"], None, "gpio-sim.0"),
        (["gpio0", "gpio1"], "gpio1", "gpio1"),
        (["gpio0", "gpio1"], None, SwitchUnavailable),
        (["pinctrl-rp1"], "pinctrl-bcm2711", SwitchUnavailable),
        (["denied"], None, SwitchUnavailable),
    ],
)
def test_the_chip_of_the_header_is_found_by_its_label(
    tmp_path, monkeypatch, labels, wanted, chosen
):
    made.clear()
    monkeypatch.setattr(chardev, "CharacterDevice", Chip)
    for number, label in enumerate(labels):
        (tmp_path / f"gpiochip{number}").write_text(label)
    if chosen is SwitchUnavailable:
        with pytest.raises(SwitchUnavailable) as caught:
            open_chip(wanted, dev=tmp_path)
        assert caught.value.hint
        assert all(chip.closed for chip in made)
    else:
        assert open_chip(wanted, dev=tmp_path).label == chosen
        assert [chip.label for chip in made if not chip.closed] == [chosen]
