"""A cloud as its users meet it: Keystone, and the service in its catalog."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.app.running import Place, service
from tests.judges.conftest import Protected, protect
from tests.lab.keystone import Keystone, keystone


@dataclass(frozen=True)
class Cloud:
    """Keystone knows alice, a member of the project web, whose server was backed up once."""

    identity: Keystone
    project_id: str
    protected: Protected


@contextmanager
def cloud(folder: Path) -> Iterator[Cloud]:
    with keystone(folder / "keystone") as identity:
        web = identity.project("web")
        identity.user("csbs", identity.project("service"), "service")
        identity.user("alice", web, "member")
        place = Place(folder, web)
        clouds = folder / "clouds.yaml"
        clouds.write_text(json.dumps({"clouds": {"lab": identity.clouds("csbs", "service")}}))  # JSON is YAML
        place.environment.update(OS_CLIENT_CONFIG_FILE=str(clouds), RESTEAD_KEYSTONE="lab")
        with service(place) as running:
            id = identity.make("service", type="data-protect", name="restead")
            url = f"{running.url}/v1/%(project_id)s"
            identity.make("endpoint", service_id=id, interface="public", url=url, region_id="RegionOne")
            yield Cloud(identity, web, protect(running))
