"""What is asked for: from texts and values to a whole request.

    keys             the wire's keys, and what each may be
    notation         texts that stand for more: time signatures, keys, tempo maps, parts
    plausible        what goes together
    build_request    a whole request, with what presets, defaults and the session add
    presets          parts of a request that have a name
    record, recut    other ways to a request: a recording, an earlier take

The wire, the page, MIDI and the shell all ask in these words.
"""
