"""--error-callback with the real program."""

import json
from collections.abc import Callable

from .program import Tasker, until
from .target import Target


def test_errors_are_told_once_each_over_a_kill(start: Callable[..., Tasker], target: Target) -> None:
    options = [f"--error-callback={target.url}/hold/errors", "--concurrency=30"]
    tasker = start(*options)
    failing = tasker.push_many([{"url": f"{target.url}/fail/404"} for _ in range(20)])
    until(lambda: tasker.number("error") == 20 and target.in_flight == 20)
    tasker.kill()
    target.release()
    tasker = start(*options)
    until(lambda: tasker.number("completed") == 20)
    bodies = {call.uid: json.loads(call.body) for call in target.calls if call.path == "/hold/errors"}
    assert len(bodies) == 20  # those that the kill cut were called again, under the same uid
    assert sorted(body["job"]["uid"] for body in bodies.values()) == sorted(failing)
    assert {body["event"] for body in bodies.values()} == {"job.error"}
    assert tasker.get("/jobs?queue=callbacks")[1]["total"] == 20
    assert tasker.get(f"/jobs?tag={failing[0]}")[1]["total"] == 1


def test_a_callback_url_that_can_not_be_called_is_a_wrong_option() -> None:
    from .program import failing

    code, said, _ = failing("--error-callback=app.example", "--store=memory:")
    assert code == 2
    assert "--error-callback" in said
