"""A real server, changed while it works and killed between changes: no call fails, and what was answered is there."""

import signal
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from scheduler_api.v1 import admin_service_pb2 as admin
from tests.config_storm import Storm
from tests.integration.processes import House, Server, serve_command


async def test_a_hundred_changes_under_load_fail_no_call_and_every_decision_carries_a_revision_that_was(
    house: House,
) -> None:
    server = await house.server()
    storm = Storm(server.address, per_s=200.0)
    try:
        await storm.run(100, per_s=40.0)
        known = await storm.revisions()
    finally:
        await storm.close()
    assert set(storm.codes) == {"OK"}, storm.codes
    assert set(storm.carried) <= known
    assert len(storm.carried) > 10  # decisions were made between the changes
    assert len(storm.answered) > 50
    status = await server.status()
    assert status.policy.revision == max(storm.answered)
    assert status.leases == 0


async def test_a_server_killed_between_changes_has_the_last_one_that_was_answered(house: House) -> None:
    last: dict[str, object] = {}
    revision = 0
    for seed in range(3):
        server = await house.server()
        storm = Storm(server.address, per_s=1.0, seed=seed)
        for name, value in last.items():
            answer = await storm.admin.GetConfig(admin.GetConfigRequest(names=[name]))
            assert MessageToDict(answer.settings[0].value) == value
            assert answer.revision == revision
        for _ in range(7):
            await storm.change()
        server.signal(signal.SIGKILL)
        await server.ended()
        await storm.close()
        assert max(storm.answered) > revision
        revision, last = max(storm.answered.items())


async def test_changes_are_shown_before_a_start_and_can_be_left_out_of_it(house: House, tmp_path: Path) -> None:
    server = await house.server()
    update = admin.UpdateConfigRequest()
    update.values["scorer.strategy"].string_value = "capability"
    update.values["server.listen"].string_value = "256.0.0.1:1"
    update.accept_restart = True
    await server.client.call(server.client.admin.UpdateConfig, update)
    assert await server.terminate() == 0
    shown = house.child(serve_command("--print-config", "--storage-state-folder", str(tmp_path / "state")))
    assert await shown.ended() == 0
    assert 'strategy = "capability"  # update revision 2' in shown.lines
    # Nobody has the address of the change: the start fails, says why, and what to do.
    failing = house.child(serve_command("--storage-state-folder", str(tmp_path / "state")))
    assert await failing.ended() == 2  # asked wrongly
    assert any("--ignore-live-changes" in line for line in failing.errors)
    words = [
        "--storage-state-folder",
        str(tmp_path / "state"),
        "--server-listen",
        "127.0.0.1:0",
        "--ignore-live-changes",
    ]
    again = await house.keep(Server(serve_command(*words), tmp_path)).serving()
    policy = (await again.status()).policy
    assert policy.scorer == "weighted"
    assert policy.revision > 2
