"""Everything an operator can set, in one typed object.

A value comes from the first of these that has it: a flag of the command line, an environment variable
(`RESTEAD_` and the name in capitals), the TOML file, the default.  Each setting is described here and in
docs/operate.md.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from restead.domain.caller import DEFAULT_RIGHTS, Rights
from restead.domain.errors import InvalidRequest
from restead.places import default_config, default_data
from restead.settings_notify import LOCAL, MailAddress, RecipientName, RecipientSettings, private_lines

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Threads = Annotated[int, Field(ge=1, le=64)]


class Settings(BaseSettings):
    """What an operator can set; unknown names are refused."""

    model_config = SettingsConfigDict(env_prefix="RESTEAD_", extra="forbid", frozen=True, validate_default=True)

    data: Path = Field(
        default_factory=default_data,
        description="Folder of everything the service keeps: records, repository, key, servers. Private to its owner.",
    )
    runtime: Path | None = Field(
        None,
        description="Short folder for sockets of running machines. Chosen by itself, and remembered, if not set.",
    )
    listen: str = Field(
        "127.0.0.1:8799", description="Address and port of the API; port 0 takes a free one and prints it."
    )
    tls_cert: Path | None = Field(None, description="PEM file with the certificate, and those it needs, for HTTPS.")
    tls_key: Path | None = Field(None, description="PEM file with the certificate's private key.")
    behind_proxy: bool = Field(
        False,
        description="A proxy in front does HTTPS: allows listening beyond this machine without it, "
        "and believes its X-Forwarded-Proto and the last address in X-Forwarded-For.",
    )
    public_url: str = Field(
        "",
        description="Address under which clients reach the service, for links in lists and version discovery. "
        "Taken from each request if not set.",
    )
    identity_url: str = Field(
        "", description="Address of the identity service, echoed as restore_target when a client sends none."
    )
    passphrase: SecretStr | None = Field(
        None, description="Opens the repository instead of the key file. Better given as a file."
    )
    passphrase_file: Path | None = Field(
        None, description="File whose first line is the passphrase; others must not be able to read it."
    )
    store: str = Field(
        "",
        description="Where the repository is: a folder, or s3://BUCKET/PREFIX. In the data folder if not set.",
    )
    s3_endpoint: str = Field(
        "", description="Address of the S3 service; that of AWS_ENDPOINT_URL, else the region's own, if not set."
    )
    s3_region: str = Field("", description="Region of the bucket; that of AWS_REGION, else us-east-1, if not set.")
    s3_profile: str = Field(
        "", description="Profile in the AWS tools' file of credentials; that of AWS_PROFILE if not set."
    )
    s3_ca: Path | None = Field(None, description="PEM file of authorities that may vouch for the S3 service, too.")
    s3_allow_http: bool = Field(
        False, description="Whether an S3 service beyond this machine may be spoken to without HTTPS."
    )
    s3_timeout: Seconds = Field(
        60.0, description="Seconds after which a try of a request is given up; a put gets ten times as long."
    )
    s3_retries: int = Field(4, ge=0, le=20, description="How often a request to the S3 service is tried again.")
    s3_requests: Threads = Field(
        32, description="Requests that are under way for one disk that is restored or verified from S3."
    )
    s3_request_size: int = Field(
        1 << 23,
        ge=1 << 18,
        le=1 << 24,
        description="Bytes of a disk that one request to S3 fetches, at most.",
    )
    s3_checksums: bool = Field(True, description="Whether each put into S3 carries a SHA-256 to be verified there.")
    s3_lock_days: float = Field(
        0.0, ge=0, le=36_500, description="Days for which nobody can delete a pack that is put into S3; 0: no lock."
    )
    s3_lock_mode: Literal["governance", "compliance"] = Field(
        "governance", description="Whether somebody who has that right may lift these locks, or nobody."
    )
    database: SecretStr | None = Field(
        None,
        description="Where the records are: postgresql://USER@HOST/DATABASE. A file in the data folder if not set.",
    )
    chunk_size: int = Field(
        256 * 1024,
        ge=4096,
        le=4 * 1024 * 1024,
        description="Bytes of disk in a chunk, a power of two. Counts only when the repository is made.",
    )
    backup_threads: Threads = Field(3, description="Threads that read and seal one disk of a backup.")
    backup_nice: int = Field(
        10, ge=0, le=19, description="How much nicer than the service the threads are that save running servers' disks."
    )
    restore_threads: Threads = Field(4, description="Threads that fetch, prove and write one disk of a restore.")
    runs: Threads = Field(2, description="Backups, restores and deletions under way at one time; more wait.")
    runs_per_driver: int = Field(
        0, ge=0, le=1024, description="Backups under way at one time on disks of one driver; 0: no limit but `runs`."
    )
    runs_per_host: int = Field(
        0, ge=0, le=1024, description="Backups under way at one time on disks of one host; 0: no limit but `runs`."
    )
    schedule_jitter: int = Field(
        0, ge=0, le=1800, description="Seconds by which runs of policies may start after their time, to spread them."
    )
    policies: int = Field(32, ge=0, le=100_000, description="Policies a project may have.")
    policy_servers: int = Field(64, ge=0, le=100_000, description="Servers that one policy may list.")
    log_keep: float = Field(
        90.0, ge=30, le=3650, description="Days for which entries of the operation log are kept after they ended."
    )
    direct_read: bool = Field(False, description="Read disks past the page cache where they allow it.")
    direct_write: bool = Field(True, description="Write disks past the page cache where they allow it.")
    stop_grace: Seconds = Field(
        60.0, description="Seconds that a server has to shut down when asked politely, before it is forced."
    )
    accel: Literal["auto", "kvm", "tcg"] = Field(
        "auto", description="How QEMU runs servers; auto takes kvm if a small machine proves to boot with it."
    )
    qemu: str = Field("qemu-system-x86_64", description="Program that runs servers with `--power qemu`.")
    qemu_nbd: str = Field("qemu-nbd", description="Program that reads and writes qcow2 disks.")
    freeze_limit: float = Field(
        10.0, ge=0, le=3600, description="Seconds a guest's agent has to freeze file systems; 0: it is not asked."
    )
    libvirt_uri: str = Field(
        "", description="Connection to libvirt whose domains are servers, such as qemu:///system. None if not set."
    )
    libvirt_projects: dict[str, str] = Field(
        {},
        description="Whose a domain is: UUID, name or pattern of names, and project; the first that fits counts. "
        "A domain that none fits is the project's that its metadata names, else nobody's.",
    )
    libvirt_scratch: Path | None = Field(
        None,
        description="Folder, which QEMU can write to, for what live backups of libvirt's domains keep meanwhile. "
        "In the data folder if not set.",
    )
    shared_disks: bool = Field(True, description="Whether servers with disks shared between servers are backed up.")
    restore_between_zones: bool = Field(
        True, description="Whether a backup may be restored to a server in another availability zone."
    )
    roles: dict[str, list[str]] = Field(
        {},
        description="What roles allow, by name: actions such as csbs:backups:create, csbs:restores:*, other_projects. "
        "Roles that are not named keep their defaults.",
    )
    keystone: str = Field(
        "",
        description="Cloud in clouds.yaml (envvars: the variables OS_…) whose account asks Keystone about tokens. "
        "Not asked if not set.",
    )
    keystone_cache: float = Field(
        60.0, ge=0, le=3600, description="Seconds for which an answer of Keystone is believed; 0: ask every time."
    )
    quota_backups: int = Field(-1, ge=-1, description="Backups a project may have; -1 sets no limit.")
    quota_capacity: int = Field(-1, ge=-1, description="GB (2^30 bytes) that a project may store; -1 sets no limit.")
    safety_keep: float = Field(
        7.0, gt=0, le=3650, description="Days for which what a restore has overwritten is kept, to undo the restore."
    )
    collect_every: float = Field(
        24.0, ge=0, le=8760, description="Hours between two collections of what no backup needs; 0: only by command."
    )
    collect_garbage: float = Field(
        0.5, gt=0, le=1, description="Share of a pack that nothing needs from which on the rest is copied out of it."
    )
    collect_small: int = Field(
        64, ge=0, description="Small packs of a project, of less than 16 MiB, that are put together; 0: never."
    )
    restores_without_safety: bool = Field(
        True, description="Whether restores may be asked for that keep nothing of what they overwrite."
    )
    verify_every: float = Field(
        7.0, ge=0, le=3650, description="Days from one verification of the repository to the next; 0: never by itself."
    )
    verify_depth: Literal["structure", "objects", "full"] = Field(
        "objects", description="How much a verification by the service looks at."
    )
    verify_rate: int = Field(
        52_428_800, ge=0, description="Bytes per second that a verification by the service reads at most; 0: no limit."
    )
    shutdown_grace: Seconds = Field(
        10.0, description="Seconds to answer open requests and reach a resting place when the service ends."
    )
    metrics: Literal["off", "token", "loopback", "everyone"] = Field(
        "loopback",
        description="Who may read /metrics: a token whose role reaches every project; loopback: this machine, too.",
    )
    metrics_servers: int = Field(
        1000, ge=0, le=100_000, description="Servers of which metrics tell the age of the last good backup; 0: none."
    )
    notify: dict[RecipientName, RecipientSettings] = Field(
        {}, description="Who is told what happens, by a name: each has a webhook and its secrets, or mail addresses."
    )
    notify_give_up: float = Field(
        24.0, gt=0, le=720, description="Hours for which a notice that nobody takes is tried; then it is kept as dead."
    )
    notify_timeout: float = Field(10.0, gt=0, le=25, description="Seconds that a receiver has to answer a notice.")
    mail_server: str = Field("", description="HOST:PORT of the mail server that takes notices, such as mail:587.")
    mail_tls: Literal["starttls", "tls", "off"] = Field(
        "starttls", description="How mail is protected on its way: by STARTTLS, by TLS from the first byte, or not."
    )
    mail_ca: Path | None = Field(None, description="PEM file of authorities that may vouch for the mail server.")
    mail_user: str = Field("", description="User to log in to the mail server as; nobody if not set.")
    mail_password: SecretStr | None = Field(None, description="Its password. Better given as a file.")
    mail_password_file: Path | None = Field(
        None, description="File whose first line is that password; others must not be able to read it."
    )
    mail_from: MailAddress | Literal[""] = Field("", description="Address that mail comes from.")
    mail_window: float = Field(
        60.0, ge=0, le=3600, description="Seconds for which a mail waits for more to be told in it."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="Form of the log on standard error; auto is console on a terminal and JSON lines elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least important lines that are logged."
    )

    @field_validator("data", "runtime", "tls_cert", "tls_key", "passphrase_file", "s3_ca", "libvirt_scratch", "mail_ca",
                     "mail_password_file")  # fmt: skip
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """A relative path means the working folder at start, whatever happens to that later."""
        return path and Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  resolve() would follow links

    @field_validator("roles")
    @classmethod
    def _of_actions(cls, roles: dict[str, list[str]]) -> dict[str, list[str]]:
        try:
            DEFAULT_RIGHTS.changed(roles)
        except InvalidRequest as error:
            raise ValueError(error.message) from None
        return roles

    @field_validator("listen")
    @classmethod
    def _has_a_port(cls, listen: str) -> str:
        host, colon, port = listen.rpartition(":")
        if not (host and colon and port.isdecimal() and int(port) < 65_536):
            raise ValueError(f"{listen!r} is not ADDRESS:PORT, such as 127.0.0.1:8799 or [::1]:8799")
        return listen

    @model_validator(mode="after")
    def _pairs(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together; one of them is missing")
        if self.passphrase is not None and self.passphrase_file is not None:
            raise ValueError("passphrase and passphrase_file exclude each other; both are set")
        return self

    @model_validator(mode="after")
    def _mail(self) -> "Settings":
        host, colon, port = self.mail_server.rpartition(":")
        if self.mail_server and not (host and colon and port.isdecimal() and 0 < int(port) < 65_536):
            raise ValueError(f"mail_server: {self.mail_server!r} is not HOST:PORT, such as mail.example.org:587")
        mailed = [name for name, recipient in self.notify.items() if recipient.mail]
        if mailed and not (self.mail_server and self.mail_from):
            raise ValueError(f"notify.{mailed[0]} is told by mail, which needs mail_server and mail_from")
        if self.mail_password is not None and self.mail_password_file is not None:
            raise ValueError("mail_password and mail_password_file exclude each other; both are set")
        if self.mail_user and self.mail_tls == "off" and host not in LOCAL:
            raise ValueError(f"mail_tls is off, and {self.mail_user}'s password could be read on the way to {host}")
        return self

    @property
    def records_url(self) -> str:
        """Where the records are, as `Records.open` takes it."""
        if self.database is None or not self.database.get_secret_value():
            return f"sqlite:///{self.data / 'records.sqlite'}"
        return self.database.get_secret_value()

    @property
    def rights(self) -> Rights:
        """What each role allows."""
        return DEFAULT_RIGHTS.changed(self.roles)

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    def mail_secret(self) -> str:
        """Return the mail server's password.  Raises InvalidRequest: the file is missing or readable by others."""
        if self.mail_password_file is not None:
            return next(iter(private_lines("mail_password_file", self.mail_password_file)), "")
        return "" if self.mail_password is None else self.mail_password.get_secret_value()

    def secret_phrase(self) -> str | None:
        """Return the passphrase, None if the repository is opened by its key file.

        Raises:
            InvalidRequest: the file is missing, empty or readable by others.
        """
        if self.passphrase is not None:
            return self.passphrase.get_secret_value()
        return None if self.passphrase_file is None else first_line(self.passphrase_file)


def first_line(path: Path) -> str:
    """Return the passphrase that stands in *path*.

    Raises:
        InvalidRequest: the file is missing, empty or readable by others.
    """
    line = next(iter(private_lines("passphrase_file", path)), "")
    if not line:
        raise InvalidRequest(f"passphrase_file {path} has an empty first line")
    return line


def read_settings(config: Path | None = None, **flags: object) -> Settings:
    """Return the settings: *flags* that are not None, then environment, then the TOML file, then defaults.

    Raises:
        InvalidRequest: a value is wrong or unknown, or *config* was named and cannot be read.
    """
    file = config or default_config()
    if config is not None and not config.is_file():
        raise InvalidRequest(f"settings file {config} does not exist")

    class _FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)

    try:
        return _FromFile(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
        raise InvalidRequest(f"settings: {wrong}") from None  # the error's text could show a secret's value
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"settings file {file}: {error}") from error
