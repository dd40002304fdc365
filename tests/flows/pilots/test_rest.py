import httpx
import pytest
import respx

from flows.errors import Unavailable
from flows.pilots.rest import Login, PrefectRest


@respx.mock
async def test_a_page_of_a_proxy_is_no_answer() -> None:
    rest = PrefectRest(Login("http://prefect.invalid/api"))
    page = httpx.Response(200, html="<html>Please log in</html>")
    respx.get("http://prefect.invalid/api/flow_runs/1").mock(return_value=page)
    with pytest.raises(Unavailable, match="such as a proxy"):
        await rest.run("1")
    await rest.close()
