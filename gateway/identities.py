"""Who the gateway is in the clouds: what the configuration says, as what providers take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.config import identities as configured
from tollhouse.providers import google
from tollhouse.providers.aws import AwsKeys
from tollhouse.providers.aws_machine import Container
from tollhouse.providers.aws_roles import Role
from tollhouse.providers.identities import AwsAccess, Instance, TokenFile

if TYPE_CHECKING:
    from tollhouse.config.secret import Secret


def aws_access(access: configured.AwsAccess | None) -> AwsAccess | None:
    if access is None:
        return None
    return AwsAccess(_base(access), access.region, tuple(map(_role, access.roles)), access.sts)


def _base(access: configured.AwsAccess) -> AwsKeys | TokenFile | Container | Instance:
    lender = access.lender
    if lender is None:
        secret = access.secret_access_key.reveal()
        return AwsKeys(access.access_key_id, secret, _revealed(access.session_token))
    if isinstance(lender, configured.AwsTokenFile):
        return TokenFile(_role(lender.role), lender.path)
    if isinstance(lender, configured.AwsContainer):
        return Container(lender.url, _revealed(lender.token), lender.token_file)
    return Instance(lender.url)


def _role(role: configured.AwsRole) -> Role:
    return Role(role.arn, role.session, role.external_id, role.seconds)


def google_access(access: configured.GoogleAccess | None) -> google.GoogleAccess | None:
    if access is None:
        return None
    if isinstance(access, configured.GoogleAccount):
        return google.ServiceAccount(access.client_email, access.private_key.reveal(), access.token_uri, access.key_id)
    if isinstance(access, configured.GoogleUser):
        return google.AuthorizedUser(
            access.client_id, access.client_secret.reveal(), access.refresh_token.reveal(), access.token_uri
        )
    if isinstance(access, configured.GoogleWorkload):
        return google.WorkloadIdentity(
            audience=access.audience,
            token_type=access.token_type,
            token_file=access.token_file,
            token_uri=access.token_uri,
            member=access.member,
            impersonation_url=access.impersonation_url,
        )
    return google.Machine(access.url)


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()
