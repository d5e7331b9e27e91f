"""Several containers of one owner on one network of a real engine."""

import asyncio

import pytest

from runyard_sandbox import ProvisionFailed

from .real_engine import World, client, left

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]
SERVE = "cd /tmp && exec python3 -m http.server 7000"


def _networks(*names: str) -> list[str]:
    engine = client()
    found = {network for name in names for network in engine.containers.get(name).attrs["NetworkSettings"]["Networks"]}
    engine.close()
    return sorted(found)


async def _listens(here: World, name: str) -> None:
    waiting = (
        "until python3 -c 'import socket; socket.create_connection((\"localhost\", 7000))' 2>/dev/null; do :; done"
    )
    assert (await here.provisioner.exec(name, ("sh", "-c", waiting), timeout_seconds=30)).exit_code == 0


async def test_those_of_a_group_reach_one_another_by_name_and_nobody_else(here: World) -> None:
    both = {"group": "pair", "neighbours": ("db", "web")}
    web = await here.run("web", SERVE, alias="web", **both)
    db = await here.run("db", SERVE, alias="db", **both)
    other = await here.run("other", group="another", alias="db", neighbours=("db",))
    for one in (web, db):
        await _listens(here, one.name)
    assert await here.connects(web, "db", 7000)
    assert await here.connects(db, "web", 7000)
    assert not await here.connects(other, "web", 7000)
    (network,) = _networks(web.name, db.name)
    assert _networks(other.name) != [network]
    assert await here.provisioner.reap() == []

    await here.provisioner.delete(web.name)
    assert network in left(here.settings.installation)
    assert await here.connects(db, "db", 7000)
    again = await here.run("web", SERVE, alias="web", **both)
    await _listens(here, again.name)
    assert _networks(again.name) == [network]
    assert await here.connects(db, "web", 7000)

    for one in (db, again, other):
        await here.provisioner.delete(one.name)
    assert network not in left(here.settings.installation)


async def test_the_proxy_takes_no_name_of_theirs_for_a_service_s(here: World) -> None:
    one = await here.run("named", SERVE, group="named", alias="gateway.example", neighbours=("gateway.example",))
    await _listens(here, one.name)
    engine = client()
    proxy = engine.containers.get(here.proxy)
    asked = "import socket; socket.getaddrinfo('gateway.example', 7000)"
    assert proxy.exec_run(["python3", "-c", asked]).exit_code != 0
    engine.close()
    await here.provisioner.delete(one.name)


async def test_a_network_has_room_for_four_and_what_is_too_much_leaves_nothing(here: World) -> None:
    before = left(here.settings.installation)
    with pytest.raises(ProvisionFailed, match="no room for 5"):
        await here.run("many", group="many", alias="a", neighbours=("a", "b", "c", "d", "e"))
    assert len(left(here.settings.installation)) <= len(before)


async def test_of_two_who_make_the_same_at_once_the_slower_leaves_no_network(here: World) -> None:
    await asyncio.gather(*(here.run("same", group="same", alias="a", neighbours=("a",)) for _ in range(2)))
    await here.provisioner.delete(f"{here.settings.installation}-same")
    networks = [one for one in left(here.settings.installation) if "-10.214." in one]
    assert len(networks) <= 1  # the one kept ready
