"""/tokens: API tokens, made and taken back by operators."""

from datetime import timedelta
from typing import Annotated

from fastapi import Path

from certferry.web.api.shared import Context, protected
from certferry.web.models import NewTokenAnswer, TokenAnswer, TokenRequest
from certferry.web.passwords import make_token
from certferry.web.security import Operator
from certferry.web.views import token_fields

router = protected("tokens", "/tokens")


@router.get("")
def tokens(context: Context, _user: Operator) -> list[TokenAnswer]:
    """List the tokens, without their secrets."""
    return [TokenAnswer(**token_fields(each)) for each in context.cluster.accounts.tokens()]


@router.post("", status_code=201)
def create(wanted: TokenRequest, context: Context, user: Operator) -> NewTokenAnswer:
    """Make a token; its text is in this answer and nowhere else."""
    life = timedelta(days=wanted.days) if wanted.days else None
    token, text = make_token(wanted.name, wanted.role, user.account, context.clock(), life)
    context.cluster.accounts.put_token(token)
    return NewTokenAnswer(**token_fields(token), token=text)


@router.delete("/{identifier}", status_code=204)
def remove(identifier: Annotated[str, Path(max_length=64)], context: Context, _user: Operator) -> None:
    """Take a token back."""
    context.cluster.accounts.remove_token(identifier)
