"""The pages below /tasks: server-rendered, live by the events of live.py, readable without a script."""

from collections.abc import Sequence

from starlette.routing import BaseRoute

from ...audit import Audit
from ...config import Shown
from ...logs import Recent
from ...pusher import TaskPusher
from ..files import Static
from .acts import Acts
from .failures import Failures
from .frame import Frame
from .job import JobPage
from .lists import Lists
from .overview import Overview
from .places import Places
from .push import PushPage
from .samples import Samples
from .system import System


class Pages:
    """All of them, over one pusher."""

    def __init__(
        self,
        pusher: TaskPusher,
        static: Static,
        audit: Audit,
        max_body: int,
        settings: Sequence[Shown],
        recent: Recent | None,
    ) -> None:
        self.frame = Frame(pusher, static)
        samples = Samples(pusher)
        self._push = PushPage(pusher, self.frame, max_body)
        self._pages = (
            Overview(pusher, self.frame, samples),
            Lists(pusher, self.frame),
            Failures(pusher, self.frame),
            Places(pusher, self.frame, samples),
            System(pusher, self.frame, settings, recent, audit),
            self._push,
            Acts(pusher, self.frame),
            JobPage(pusher, self.frame),  # last: its path takes any other word for a uid
        )

    def routes(self) -> list[BaseRoute]:
        return [route for page in self._pages for route in page.routes()]

    def close(self) -> None:
        """End what waits for a job to end, for a server that stops."""
        self._push.close()
