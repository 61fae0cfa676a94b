"""The command line: what a shell runs, and what only its commands need.

    program    `main`: the commands together, the exit codes, how a failure is told
    daemon     start, stop, status, unload, send
    jobs       jobs, cancel
    takes      render, record, fit, recut, chroma      (rendering, melody_picture: what they do)
    models     models list, pull, verify, remove, convert
    machine    doctor, devices, presets, learn, install, uninstall, demo    (doctor, install, demo: what they do)
    flags      flags of settings and keys, from their tables
    console    what a person sees; spool: what a program without sockets reads

A command is a few lines; what takes longer to load is imported when it is called.
"""

from musicgen_bridge.cli.program import main

__all__ = ["main"]
