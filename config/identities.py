"""Who the gateway is in the clouds of AWS and Google: what was configured, before anybody was asked for anything."""

from __future__ import annotations

from dataclasses import dataclass

from tollhouse.config.secret import Secret


@dataclass(frozen=True, slots=True)
class AwsRole:
    """A role that is assumed."""

    arn: str
    session: str
    external_id: str | None = None
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class AwsTokenFile:
    """A role for whose assumption the token in a file stands (EKS: of a service account)."""

    role: AwsRole
    path: str


@dataclass(frozen=True, slots=True)
class AwsContainer:
    """The role of the container (ECS, EKS pod identity)."""

    url: str
    token: Secret | None = None
    token_file: str | None = None


@dataclass(frozen=True, slots=True)
class AwsInstance:
    """The role of the machine (EC2)."""

    url: str


@dataclass(frozen=True, slots=True)
class AwsAccess:
    """Keys that sign requests to AWS, or who lends them (`lender`). roles: assumed with those, one after the other."""

    access_key_id: str
    secret_access_key: Secret
    region: str  # "eu-west-1"
    session_token: Secret | None = None  # of temporary keys
    lender: AwsTokenFile | AwsContainer | AwsInstance | None = None  # instead of keys, which are empty then
    roles: tuple[AwsRole, ...] = ()
    sts: str = ""  # URL of the service that lends roles; "" where none is wanted

    @property
    def is_static(self) -> bool:
        """Keys as they were given, and nothing else."""
        return self.lender is None and not self.roles


@dataclass(frozen=True, slots=True)
class GoogleAccount:
    """A service account, by the file with its key."""

    client_email: str
    private_key: Secret  # PEM
    token_uri: str
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class GoogleUser:
    """A person who has logged in with gcloud."""

    client_id: str
    client_secret: Secret
    refresh_token: Secret
    token_uri: str


@dataclass(frozen=True, slots=True)
class GoogleWorkload:
    """A token of another identity provider, in a file, or in a member of its JSON object."""

    audience: str
    token_type: str
    token_file: str
    token_uri: str
    member: str | None = None
    impersonation_url: str | None = None


@dataclass(frozen=True, slots=True)
class GoogleMachine:
    """The service account of the machine. url: of its metadata server."""

    url: str


GoogleAccess = GoogleAccount | GoogleUser | GoogleWorkload | GoogleMachine
