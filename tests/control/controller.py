"""A MIDI device as a process: messages on its standard input go out, those that come in go to its standard output."""

import sys
import time

import rtmidi


def clock(out: rtmidi.MidiOut, bpm: float, ticks: int) -> None:
    """Send MIDI clock by the machine's clock."""
    begun = time.perf_counter()
    for tick in range(ticks):
        while (ahead := begun + tick * 60 / bpm / 24 - time.perf_counter()) > 0:
            time.sleep(min(ahead, 0.001))
        out.send_message([0xF8])


def main(name: str) -> None:
    out, back = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name=name), rtmidi.MidiIn(rtmidi.API_UNIX_JACK, name=name)
    back.set_callback(lambda timed, _: print(*timed[0], flush=True))
    out.open_virtual_port("out")
    back.open_virtual_port("in")
    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["clock", bpm, ticks]:
                clock(out, float(bpm), int(ticks))
                print("ticked", flush=True)
            case numbers:
                out.send_message([int(number) for number in numbers])
                time.sleep(0.001)  # as long as three bytes take on a MIDI cable


if __name__ == "__main__":
    main(sys.argv[1])
