"""/musicgen/unload: a model, or all, leave memory."""


def test_one_model_or_all_leave_memory(rig, client):
    assert client.ask("/musicgen/unload", 1, "model", "melody").address == "/musicgen/done"
    assert client.ask("/musicgen/unload", 2).arguments == (2,)
    assert rig.unloaded == ["melody", None]


def test_a_model_that_there_is_not_is_told(rig, client):
    assert client.fails("/musicgen/unload", 1, "model", "melodie").startswith("E_MODEL")
    assert rig.unloaded == []
