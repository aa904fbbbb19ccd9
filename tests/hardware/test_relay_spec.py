"""How switches are written: what is accepted, its canonical text, and what is refused and why."""

import string
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.api import Contact, SwitchSpecError, SwitchUnavailable
from hardware.relays.opening import open_switch
from hardware.relays.spec import (
    FeedbackSpec,
    GpioSpec,
    LatchingSpec,
    NoSwitchSpec,
    parse_switch,
)


@pytest.mark.parametrize(
    ("text", "spec", "pins"),
    [
        ("none", NoSwitchSpec(), set()),
        ("gpio:17", GpioSpec(17), {17}),
        ("gpio:17:active-low", GpioSpec(17, active_low=True), {17}),
        ("gpio:17:feedback=27", GpioSpec(17, feedback=FeedbackSpec(27)), {17, 27}),
        (
            "gpio:17:active-low:feedback=27:feedback-active-low",
            GpioSpec(17, active_low=True, feedback=FeedbackSpec(27, active_low=True)),
            {17, 27},
        ),
        ("latching:5,6", LatchingSpec(5, 6), {5, 6}),
        ("latching:5,6:pulse-ms=150", LatchingSpec(5, 6, pulse_ms=150), {5, 6}),
        (
            "latching:23,24:active-low:feedback=25:pulse-ms=40",
            LatchingSpec(23, 24, active_low=True, feedback=FeedbackSpec(25), pulse_ms=40),
            {23, 24, 25},
        ),
    ],
)
def test_canonical_text_is_read_and_written_alike(text, spec, pins):
    assert parse_switch(text) == spec
    assert str(spec) == text
    assert spec.pins() == pins


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (" GPIO:17 ", "gpio:17"),
        ("gpio:017", "gpio:17"),
        ("gpio:17:feedback-active-low:feedback=27", "gpio:17:feedback=27:feedback-active-low"),
        ("latching:5,6:pulse-ms=100", "latching:5,6"),
    ],
)
def test_other_ways_to_write_it_become_canonical(text, canonical):
    assert str(parse_switch(text)) == canonical


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no kind of switch"),
        ("gpoi:17", "did you mean gpio"),
        ("none:17", "no kind of switch"),
        ("gpio", "names no pin"),
        ("gpio:", "is not a number"),
        ("gpio:seventeen", "is not a number"),
        ("gpio:-1", "is not a number"),
        ("gpio:\u0967\u096d", "is not a number"),
        ("gpio:512", "there is no GPIO512"),
        ("gpio:5,6", "one pin"),
        ("gpio:17:active_low", "did you mean active-low"),
        ("gpio:17:active-low=1", "unknown option"),
        ("gpio:17:active-low:active-low", "given twice"),
        ("gpio:17:feedback", "did you mean feedback="),
        ("gpio:17:feedback=", "is not a number"),
        ("gpio:17:feedback-active-low", "needs feedback=PIN"),
        ("gpio:17:feedback=17", "two jobs"),
        ("gpio:17:feedback=600", "there is no GPIO600"),
        ("gpio:17:pulse-ms=100", "unknown option"),
        ("gpio:17:", "unknown option"),
        ("latching:5", "two pins"),
        ("latching:5,6,7", "two pins"),
        ("latching:5,5", "two jobs"),
        ("latching:5,6:feedback=6", "two jobs"),
        ("latching:5,6:pulse-ms=9", "10 to 2000 ms"),
        ("latching:5,6:pulse-ms=2001", "10 to 2000 ms"),
    ],
)
def test_what_cannot_be_a_switch_is_refused_with_the_reason(text, why):
    with pytest.raises(SwitchSpecError, match=why) as caught:
        parse_switch(text)
    assert caught.value.hint


@given(st.text(alphabet=string.ascii_lowercase + string.digits + ":,=- ", max_size=40))
def test_any_text_is_read_or_refused_and_reading_is_stable(text):
    try:
        spec = parse_switch(text)
    except SwitchSpecError:
        return
    assert parse_switch(str(spec)) == spec


FEEDBACKS = st.none() | st.builds(FeedbackSpec, st.just(27), st.booleans())
SPECS = st.builds(GpioSpec, st.integers(0, 26), st.booleans(), FEEDBACKS) | st.builds(
    LatchingSpec,
    st.integers(0, 12),
    st.integers(13, 26),
    st.booleans(),
    FEEDBACKS,
    st.integers(10, 2000),
)


@given(SPECS)
def test_every_spec_survives_the_database(spec):
    assert parse_switch(str(spec)) == spec


def test_parsing_needs_no_gpio_library():
    code = (
        "import sys; from hardware.relays.opening import open_switch, parse_switch\n"
        "parse_switch('gpio:17'); open_switch('none')\n"
        "assert not any(name.startswith('gpio') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


async def test_none_never_pretends_to_switch():
    switch = open_switch("none")
    assert (switch.spec, switch.commanded, switch.feedback()) == (
        "none",
        Contact.UNKNOWN,
        Contact.UNKNOWN,
    )
    with pytest.raises(SwitchUnavailable, match="no switch"):
        await switch.connect()
    with pytest.raises(SwitchUnavailable, match="no switch"):
        await switch.disconnect()
    switch.close()
