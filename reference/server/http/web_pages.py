"""The pages that a server shows to people, and their files; `reference.web.files` says which, and under which policy.

They need no token: what they show, they get from the API with the token of whoever uses them.
"""

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.types import ControllerRouterHandler

from reference.server.http.problems import AnyRequest
from reference.web.files import PAGES, SETTINGS_PATH, WebFile, WebSettings, settings_file, web_files


def page_routes(settings: WebSettings) -> list[ControllerRouterHandler]:
    """The addresses. The files are read here, once, so that no request waits for a disk."""
    files = web_files()

    @get([*PAGES])
    async def page(request: AnyRequest) -> Response[bytes]:
        return _answer(request, files[request.url.path])

    @get("/web/{name:path}")
    async def file(request: AnyRequest) -> Response[bytes]:
        path = request.url.path
        found = settings_file(settings) if path == SETTINGS_PATH else files.get(path)
        if found is None:
            raise NotFoundException
        return _answer(request, found)

    return [page, file]


def _answer(request: AnyRequest, file: WebFile) -> Response[bytes]:
    headers = dict(file.headers)
    if file.is_known_to(request.headers.get("if-none-match")):
        del headers["content-type"]
        return Response(b"", status_code=304, headers=headers)
    return Response(file.body, headers=headers)
