"""The web pages of a server and their files; `reference.web.files` lists them with their security policies.

They need no token: they get their data from the API with their user's token.
"""

from reference.protocol.errors import CloseCode, RemoteError
from reference.server.http.answers import Answer
from reference.server.http.description import get
from reference.server.http.request import Request
from reference.web.files import SETTINGS_PATH, WebFile, WebSettings, settings_file, web_files


class WebPages:
    """Answers every client."""

    def __init__(self, settings: WebSettings) -> None:
        """Reads the files once, here, so that no request waits for a disk."""
        self._files: dict[str, WebFile] = {**web_files(), SETTINGS_PATH: settings_file(settings)}

    @get("/", "operation", "The run's page", is_listed=False, answers={200: "text/html"})
    async def page(self, request: Request) -> Answer:
        return self._answer(request)

    @get("/admin", "operation", "The admin view", is_listed=False, answers={200: "text/html"})
    async def admin_page(self, request: Request) -> Answer:
        return self._answer(request)

    @get("/web/{name...}", "operation", "A file of these pages", is_listed=False, answers={})
    async def file(self, request: Request) -> Answer:
        return self._answer(request)

    def _answer(self, request: Request) -> Answer:
        file = self._files.get(request.head.path)
        if file is None:
            raise RemoteError(CloseCode.NO_SUCH_RUN, f"there is nothing at {request.head.path}")
        known = request.head.header(b"if-none-match")
        headers = {name: value for name, value in file.headers.items() if name != "content-type"}
        if file.is_known_to(None if known is None else known.decode("latin-1")):
            return Answer(b"", None, 304, headers)
        return Answer(file.body, file.headers["content-type"], headers=headers)
