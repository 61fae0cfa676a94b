"""A program on JACK as a process: `master` keeps the bars, `feed` and `flute` are inputs, `ear` is an output.

A feed plays the number of the transport's frame, mod 2^22, over 2^23: whoever records it can tell which frame it was.
A flute plays A and E by turns. An ear tells how many frames have passed since the last sound, -1 before the first, and
how often a client was too late for JACK; it writes what it heard to a file: samples, and the transport's frame of each.
"""

import sys

import jack
import numpy as np

RAMP = 2**22


def master(client, bpm, beats, unit):
    rate = client.samplerate

    @client.set_timebase_callback
    def timebase(state, blocksize, position, new):
        quarters = position.frame / rate * float(bpm) / 60
        passed = quarters * float(unit) / 4  # beats
        bar, beat = divmod(passed, float(beats))
        position.beats_per_minute, position.ticks_per_beat = float(bpm), 1e6
        position.beats_per_bar, position.beat_type = float(beats), float(unit)
        position.bar, position.beat, position.tick = int(bar) + 1, int(beat) + 1, round(beat % 1 * 1e6)
        position.valid = jack._lib.JackPositionBBT

    def roll():
        client.transport_locate(0)
        client.transport_start()

    client.activate()
    return {"roll": roll, "halt": client.transport_stop}


def feed(client, gain="1"):
    port = client.outports.register("out_1")

    @client.set_process_callback
    def play(count):
        _, position = client.transport_query()
        frames = position["frame"] + np.arange(count)
        port.get_array()[:] = float(gain) * (frames % RAMP) / (2 * RAMP)

    client.activate()
    return {}


def flute(client):
    port, rate = client.outports.register("out_1"), client.samplerate

    @client.set_process_callback
    def play(count):
        seconds = (client.last_frame_time + np.arange(count)) / rate
        port.get_array()[:] = 0.3 * np.sin(2 * np.pi * np.where(seconds % 1 < 0.5, 440, 660) * seconds)

    client.activate()
    return {}


def ear(client):
    ports = [client.inports.register(f"in_{number}") for number in (1, 2)]
    blocks, quiet, late = [], [-1], [0]

    @client.set_xrun_callback
    def overrun(delayed):
        late[0] += 1

    @client.set_process_callback
    def listen(count):
        _, position = client.transport_query()
        block = np.stack([port.get_array() for port in ports])
        blocks.append((position["frame"], block))
        if block.any():
            quiet[0] = 0
        elif quiet[0] >= 0:
            quiet[0] += count

    def forget():
        blocks.clear()
        quiet[0], late[0] = -1, 0

    def write(path):
        heard = blocks[:]
        frames = [frame + np.arange(block.shape[1]) for frame, block in heard]
        np.savez(path, frames=np.concatenate(frames), samples=np.concatenate([block for _, block in heard], axis=1))

    client.activate()
    return {"write": write, "forget": forget, "quiet": lambda: quiet[0], "late": lambda: late[0]}


def main(role, name, *words):
    client = jack.Client(name, no_start_server=True)
    commands = {"master": master, "feed": feed, "flute": flute, "ear": ear}[role](client, *words)
    print("ready", flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        print("done", commands[command](*arguments), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
