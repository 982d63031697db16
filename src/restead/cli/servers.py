"""`restead server …`: which servers there are, and their power.  Works on the data folder, service or not."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from restead.cli.doors import House, NewServer
from restead.cli.show import count_of, facts, print_json, size, table
from restead.cli.wiring import Json, beginning_folder, group, looking_into_folder, on_folder, say
from restead.domain.server import Server

servers = group("server", "Name the servers whose disks are image files or block devices; start and stop them.")

_ServerName = Annotated[str, typer.Argument(help="Name or id.", metavar="SERVER")]
_OfProject = Annotated[
    str | None, typer.Option("--project", help="Only servers of this project.", show_default=False)
]


@servers.command("add")
@beginning_folder
def add(
    house: House,
    name: Annotated[str, typer.Argument(help="What people call it.", metavar="NAME")],
    project: Annotated[str, typer.Option(help="Project that it belongs to.")],
    disk: Annotated[
        list[str],
        typer.Option(
            help="A disk: path=FILE[,id=UUID][,name=NAME][,format=raw|qcow2][,boot][,shared]; repeat it for each. "
            "The first is the boot disk if none says so. A comma in a value is written twice.",
            metavar="DISK",
        ),
    ],
    id: Annotated[str, typer.Option(help="Its id; a new UUID if left out.", show_default=False)] = "",
    power: Annotated[str, typer.Option(help="Who starts and stops it: qemu, command or none.")] = "none",
    power_command: Annotated[
        Path | None,
        typer.Option(help="With --power command: called as FILE start|stop|status ID.", show_default=False),
    ] = None,
    memory: Annotated[int, typer.Option(help="MiB.", show_default=False)] = 0,
    cpus: Annotated[int, typer.Option(help="Number of processors.", show_default=False)] = 0,
    zone: Annotated[str, typer.Option(help="Availability zone.", show_default=False)] = "",
    arch: Annotated[str, typer.Option(help="Architecture.")] = "x86_64",
    address: Annotated[
        list[str] | None,
        typer.Option(help="IP address; the first private one and the first other one are shown.", show_default=False),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE, for policies to select it by; repeatable.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Name a server and its disks, so that it can be backed up and restored; prints its id."""
    new = NewServer(
        name=name, project=project, disks=disk, id=id, power=power,
        power_command=power_command and power_command.absolute(),
        memory=memory, cpus=cpus, zone=zone, arch=arch, addresses=address or (),
        tags=[_tag(each) for each in tag or ()],
    )  # fmt: skip
    server = house.add_server(new)
    if json:
        print_json(_plain(server))
        return
    say(f"server {server.name} of project {project}: {_disks(server)}, power {power}")
    print(server.id)


@servers.command("list")
@looking_into_folder
def list_(house: House, project: _OfProject = None, json: Json = False) -> None:
    """List the servers."""
    found = house.servers(project)
    if json:
        for server in found:
            print_json(_plain(server))
        return
    rows = [(each.id, each.name, each.project_id, each.status.value, _disks(each)) for each in found]
    table(("ID", "NAME", "PROJECT", "STATUS", "DISKS"), rows)


@servers.command("show")
@looking_into_folder
def show(house: House, server: _ServerName, project: _OfProject = None, json: Json = False) -> None:
    """Show one server with its disks."""
    found = house.server(server, project)
    if json:
        print_json(_plain(found))
        return
    facts(
        [("id", found.id), ("name", found.name), ("project", found.project_id), ("status", found.status.value),
         ("trouble", found.trouble),
         ("zone", found.zone), ("architecture", found.architecture), ("address", found.private_address),
         ("public address", found.public_address), ("memory", f"{found.memory} MiB" if found.memory else ""),
         ("processors", found.cpus or ""), ("tags", " ".join(f"{key}={value}" for key, value in found.tags))]
    )  # fmt: skip
    print()
    rows = [(v.id, v.name, size(v.size), _marks(v.bootable, v.shared), v.location) for v in found.volumes]
    table(("DISK", "NAME", "SIZE", "", "PATH"), rows)


@servers.command("start")
@on_folder
def start(house: House, server: _ServerName, project: _OfProject = None) -> None:
    """Start a server; returns when it is running."""
    found = house.server(server, project)
    house.start_server(found)
    say(f"server {found.name} is running")


@servers.command("stop")
@on_folder
def stop(
    house: House,
    server: _ServerName,
    grace: Annotated[int, typer.Option(help="Seconds it has before it is forced.", min=0, max=3600)] = 60,
    project: _OfProject = None,
) -> None:
    """Stop a server, politely first; returns when it is stopped."""
    found = house.server(server, project)
    house.stop_server(found, timedelta(seconds=grace))
    say(f"server {found.name} is stopped")


@servers.command("remove")
@on_folder
def remove(house: House, server: _ServerName, project: _OfProject = None) -> None:
    """Forget a server. Its disks, and its backups, stay."""
    found = house.server(server, project)
    house.remove_server(found)
    say(f"server {found.name} is forgotten; its disks and backups are as they were")


def _disks(server: Server) -> str:
    return f"{count_of(len(server.volumes), 'disk')} of {size(sum(volume.size for volume in server.volumes))}"


def _marks(bootable: bool, shared: bool) -> str:
    return " ".join(word for word, true in (("boot", bootable), ("shared", shared)) if true)


def _plain(server: Server) -> dict[str, Any]:
    return {
        "id": server.id, "name": server.name, "project": server.project_id, "status": server.status.value,
        "zone": server.zone, "architecture": server.architecture, "memory": server.memory, "cpus": server.cpus,
        "private_address": server.private_address, "public_address": server.public_address,
        "can_start": server.can_start, "can_stop": server.can_stop, "tags": dict(server.tags),
        "volumes": [
            {"id": v.id, "name": v.name, "size": v.size, "bootable": v.bootable, "shared": v.shared, "path": v.location}
            for v in server.volumes
        ],
    }  # fmt: skip


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
    return key, value
