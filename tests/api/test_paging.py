"""Lists: pages that join without gap or overlap, links that lead on, parameters that are refused by name."""

import itertools
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.api.front import HOST, MIB, PROJECT, PROVIDER, Front

LISTS = {
    "checkpoint_items": "/checkpoint_items",
    "restores": "/restores",
    "checkpoints": f"/providers/{PROVIDER}/checkpoints",
}


@pytest.fixture(scope="module")
def seven(shared_database: str) -> Iterator[Front]:
    """Seven backups and seven restores of one server."""
    front = Front(shared_database)
    server = front.server(MIB)
    for number in range(7):
        backup = front.backup_of(server, backup_name=f"b{number % 3}")
        restore = front.post("/restores", front.restore_body(backup, server)).json["restore"]
        front.finish_restore(restore["id"])
    yield front
    front.close()


def _walk(front: Front, name: str, query: str) -> Iterator[list[str]]:
    """Follow the links as a client does."""
    path = f"{LISTS[name]}?{query}"
    while True:
        answer = front.get(path)
        assert answer.status == 200, answer.json
        yield [entry["id"] for entry in answer.json[name]]
        links = answer.json.get(f"{name}_links")
        if links is None:
            return
        assert [link["rel"] for link in links] == ["next"]
        href = urlsplit(links[0]["href"])
        assert f"{href.scheme}://{href.netloc}" == f"http://{HOST}"
        assert href.path.startswith(f"/v1/{PROJECT}/")
        path = f"!{href.path}?{href.query}"


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("sort", ["", "created_at:asc", "status,created_at:asc", "id:asc", "status:asc,id"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_join_to_the_whole_list(seven: Front, name: str, sort: str, limit: int) -> None:
    order = f"&sort={sort}" if sort else ""
    whole = next(_walk(seven, name, f"limit=1000{order}"))
    pages = list(_walk(seven, name, f"limit={limit}{order}"))
    assert list(itertools.chain(*pages)) == whole
    assert len(whole) == len(set(whole)) == 7
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)


def test_the_default_order_is_the_newest_first(seven: Front) -> None:
    times = [entry["created_at"] for entry in seven.get("/checkpoint_items").json["checkpoint_items"]]
    assert times == sorted(times, reverse=True)


def test_the_next_page_repeats_every_filter_and_skips_only_once(seven: Front) -> None:
    """The offset counts after the marker: it is for the first page alone."""
    sent = "status=available&resource_type=OS::Nova::Server&resource_type=x&limit=2&offset=1&sort=name:asc&unknown=1"
    answer = seven.get(f"/checkpoint_items?{sent}")
    query = parse_qsl(urlsplit(answer.json["checkpoint_items_links"][0]["href"]).query)
    assert query == [
        ("status", "available"), ("resource_type", "OS::Nova::Server"), ("resource_type", "x"), ("limit", "2"),
        ("sort", "name:asc"), ("unknown", "1"), ("marker", answer.json["checkpoint_items"][-1]["id"]),
    ]  # fmt: skip
    assert len(list(itertools.chain(*_walk(seven, "checkpoint_items", sent)))) == 6


def test_links_start_with_the_address_that_is_set(database: str) -> None:
    front = Front(database, base_url="https://backup.test/cloud/")
    server = front.server(MIB)
    for _ in range(2):
        front.backup_of(server)
    href = front.get("/checkpoint_items?limit=1").json["checkpoint_items_links"][0]["href"]
    assert href.startswith(f"https://backup.test/cloud/v1/{PROJECT}/checkpoint_items?limit=1&marker=")
    front.close()


@pytest.mark.parametrize("name", LISTS)
def test_no_page_has_a_second_list_or_a_link_when_nothing_follows(seven: Front, name: str) -> None:
    """Pagers join every top-level list whose name does not end in `links`."""
    assert set(seven.get(f"{LISTS[name]}?limit=7").json) == {name}
    assert set(seven.get(f"{LISTS[name]}?limit=6").json) == {name, f"{name}_links"}
    assert set(seven.get(f"{LISTS[name]}?offset=7").json) == {name}
    assert seven.get(f"{LISTS[name]}?offset={10**30}").json == {name: []}


@pytest.mark.parametrize("limit", ["1000", "1001", "9" * 5000, "007"])
def test_a_large_limit_is_cut(seven: Front, limit: str) -> None:
    assert len(seven.get(f"/checkpoint_items?limit={limit}").json["checkpoint_items"]) == 7


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=", "limit=x", "limit=1.0", "limit=%2B1", "limit=%D9%A3", "limit=1_0", "limit=1%00",
     "offset=-1", "offset=x", "offset=", "marker=", "marker=unknown", "marker=0425ff70-e47c-4be8-a77f-435078f59165",
     "marker=%00", "sort=", "sort=size", "sort=created_at:up", "sort=created_at:", "sort=created_at:desc,", "sort=:asc",
     "sort=" + ",".join(["created_at"] * 24), "status=", "status=Available", "status=x%00", "all_tenants=yes"],
)  # fmt: skip
def test_a_parameter_that_cannot_be_is_refused_by_name(seven: Front, name: str, query: str) -> None:
    answer = seven.get(f"{LISTS[name]}?{query}")
    assert (answer.status, answer.code) == (400, "CSBS.9001")
    assert query.partition("=")[0] in answer.message


def test_a_long_sort_that_fits_is_fine(seven: Front) -> None:
    """85 keys: repeated ones sort nothing any more."""
    assert len(list(_walk(seven, "restores", "limit=2&sort=" + ",".join(["id"] * 85)))) == 4
