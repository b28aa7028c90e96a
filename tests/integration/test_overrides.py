"""Overrides of a real server that is killed: what was answered is there at the next start, and holds."""

import signal

from scheduler_api.v1 import admin_service_pb2 as admin
from tests.integration.processes import House


async def test_a_server_killed_after_each_answer_has_every_override_that_it_answered(house: House) -> None:
    expected: dict[str, bool] = {}
    revision = 0
    for run in range(3):
        server = await house.server()
        client = server.client
        found = await client.call(client.admin.ListOverrides, admin.ListOverridesRequest(include_ended=True))
        assert {each.override_id: not each.HasField("ended_at") for each in found.overrides} == expected
        status = await server.status()
        assert status.policy.revision >= max(1, revision)
        assert status.policy.overrides == sum(expected.values())
        for number in range(4):
            request = admin.CreateOverrideRequest(force=True)
            made = request.override
            made.scope.task_type = f"type-{run}-{number}"
            if number % 2:
                made.cap.max_concurrent = number
            else:
                made.pin.worker_ids.append("w1")
            answer = await client.call(client.admin.CreateOverride, request)
            assert answer.policy_revision > revision
            revision = answer.policy_revision
            expected[answer.override.override_id] = True
        ends = admin.DeleteOverrideRequest(override_id=next(name for name, there in expected.items() if there))
        ended = await client.call(client.admin.DeleteOverride, ends)
        revision, expected[ends.override_id] = ended.policy_revision, False
        server.signal(signal.SIGKILL)
        await server.ended()
