"""What can be changed in a keyring: each turns what one version says into what the next one shall say.

They are done again on top of what another has changed meanwhile, so each looks at what it is given.
"""

import os
from dataclasses import replace
from datetime import datetime

import restead.repository.keyring_file as keyring_file
from restead.domain.errors import InvalidRequest
from restead.domain.ids import ProjectId
from restead.repository.keyring_file import Contents
from restead.repository.seal import KEY_SIZE
from restead.repository.wrapping import Wrapping


def with_project(contents: Contents, project: ProjectId) -> Contents:
    if project in contents.projects:
        return contents
    return replace(contents, projects={**contents.projects, project: keyring_file.fresh_project(project)})


def without_project(contents: Contents, project: ProjectId) -> Contents:
    """Without its keys; the versions that had them need not, and must not, be there any more."""
    if project not in contents.projects:
        return contents
    left = {id: keys for id, keys in contents.projects.items() if id != project}
    return replace(contents, projects=left, first=contents.number + 1)


def rotated(contents: Contents) -> Contents:
    """With one sealing key more for the log and for each project."""
    number = contents.control.newest + 1
    fresh = {**contents.control.sealing_keys, number: os.urandom(KEY_SIZE)}
    control = replace(contents.control, sealing_keys=fresh, newest=number)
    projects = {}
    for project, keys in contents.projects.items():
        number = keys.newest + 1
        fresh = {**keys.sealing_keys, number: os.urandom(KEY_SIZE)}
        projects[project] = replace(keys, sealing_keys=fresh, newest=number)
    return replace(contents, control=control, projects=projects)


def with_wrapping(contents: Contents, wrapping: Wrapping) -> Contents:
    if any(one.id == wrapping.id for one in contents.wrappings):
        return contents
    return replace(contents, wrappings=(*contents.wrappings, wrapping))


def without_wrapping(contents: Contents, id: str) -> Contents:
    """Without it; the versions that had it need not, and must not, be there any more.

    Raises:
        InvalidRequest: it is the last one.
    """
    left = tuple(one for one in contents.wrappings if one.id != id)
    if len(left) == len(contents.wrappings):
        return contents
    if not left:
        raise InvalidRequest("this is the last key of the repository: without it nobody could open it; add another one")
    return replace(contents, wrappings=left, first=contents.number + 1)


def confirmed(contents: Contents, id: str, at: datetime) -> Contents:
    marked = [replace(one, confirmed_at=at) if one.id == id else one for one in contents.wrappings]
    return replace(contents, wrappings=tuple(marked))
