"""The repository: chunks in, names out, the same bytes back.  It knows no server, no SQL and no clock.

Everything may run at the same time, from several processes and hosts.  Why that is safe:

    operation × operation      why
    ---------------------      ---
    backup × backup            packs and index objects have names that are never used twice; a chunk that both store
                               is stored twice, and either copy serves; manifests are entries of the log, which
                               orders them
    backup × restore           nothing that is stored is ever changed
    backup × delete            a parent is in the session's `reads`: it counts as needed until the session commits or
                               ends, though it is deleted; a delete that came first voids the `open`
    restore × delete           as above, for what is restored
    backup × collection        a session builds on no pack that was condemned before its `open`; one that is
                               condemned later is not removed while the session is open, and is looked at again
                               after its commit.  Packs of a session that has not committed are needed by nobody,
                               and condemned like others: hence the wait
    restore × collection       what is read is needed; a pack that goes away was copied first, so whoever misses it
                               looks the chunk up again
    rewriting × delete         what is wanted is pinned, and so are the safety manifests of the commit that pins it:
                               both outlive the session, its process and a delete, until its owner unpins them
    rewriting × crash          both trees are durable before the first write; whatever a crash leaves on the target is
                               compared and written again from the last mark on, in either direction
                               (tests/repository/restore_model.py explores the order, test_rewrite_crashes.py the code)
    rewriting × other writers  what is about to be overwritten must be as surveyed; the rest is found by reading back
    collection × collection    condemned packs stay condemned for ever; nobody copies into or counts on them, and
                               removing twice is removing
    collection × object lock   a condemned pack that the store does not let go yet is left, and its condemnation with
                               it, which a later round finishes; nobody builds on it meanwhile
    verification × all else    it holds no session: what is gone, or copied by a collection, is looked up again, and a
                               disk is called damaged only if its manifest is in the log afterwards
    anything × crash           before `commit`: garbage, in packs that nobody needs.  After it: complete, because
                               packs are durable before the index and the index before the commit.  A dead session
                               keeps what it reads until somebody ends it by its label
    anything × key rotation    keys are added, never replaced; every object says which key sealed it, and who does not
                               know that key looks for it in the newest keyring (`live_keys.py`)
    copying × all else         two sessions, one in each repository: a restore of this one, a backup into the other
    key change × key change    a version of the keyring is put only if its number is free, and old versions are deleted
                               from the lowest on: whoever still sees the first of his chain met no freed number
    session × erasing          keys are taken away before sessions are ended, and a session looks at its keys after its
                               `open`: it was seen and ended, and its commit is void, or it sees that they are gone
    erasing × crash            manifests are deleted, then the newest keyring is without the keys, then packs go, then
                               the old versions that lead to them: whatever is left, `finish` finds
    thread × thread            of several that meet a new name exactly one claims and stores it (`known.py`); a
                               session in which one disk failed commits nothing
    process × process (cache)  runs of the cache are immutable; its state is replaced as a whole, under a lock
"""

from restead.repository.backup import Saved
from restead.repository.copy import Copier, Disks
from restead.repository.erase import Erasing, Lost
from restead.repository.holes import Holed
from restead.repository.inspection import Inspected
from restead.repository.journal import Journal
from restead.repository.keyring import KeyFile, Keyring, Passphrase, RecoveryKey, Secret, Wrapping, WrappingKind
from restead.repository.log import Hold, ManifestEntry, Phase, Release, SessionState
from restead.repository.manifest import DiskDescription, Manifest
from restead.repository.progress import Count, Progress
from restead.repository.reads import Held, Reads, Rewritten
from restead.repository.repository import CHUNK_SIZE, Repository
from restead.repository.room import Window
from restead.repository.scrub import scrub
from restead.repository.service_copy import ServiceCopies, ServiceCopy
from restead.repository.session import Session
from restead.repository.survey import Hint, Survey

__all__ = [
    "CHUNK_SIZE", "Copier", "Count", "DiskDescription", "Disks", "Erasing", "Held", "Hint", "Hold", "Holed",
    "Inspected", "Journal", "KeyFile", "Keyring", "Lost", "Manifest", "ManifestEntry", "Passphrase", "Phase",
    "Progress", "Reads", "RecoveryKey", "Release", "Repository", "Rewritten", "Saved", "Secret", "ServiceCopies",
    "ServiceCopy", "Session", "SessionState", "Survey", "Window", "Wrapping", "WrappingKind", "scrub",
]  # fmt: skip
