"""/users: who may use the pages and the API, seen by everybody, changed by operators."""

from typing import Annotated

from fastapi import Path

from certferry.web.api.shared import Context, protected
from certferry.web.models import UserAnswer, UserRequest
from certferry.web.security import Operator

router = protected("users", "/users")
_UserName = Annotated[str, Path(max_length=255)]


@router.get("")
def users(context: Context) -> list[UserAnswer]:
    """List the users."""
    return [UserAnswer.model_validate(each) for each in context.cluster.accounts.users()]


@router.put("/{name:path}")
def put(name: _UserName, wanted: UserRequest, context: Context, _user: Operator) -> UserAnswer:
    """Add a user, or give a known one another password and role; the last operator stays one."""
    context.passwords.put_user(name, wanted.role, wanted.password.get_secret_value(), keep_operator=True)
    return UserAnswer.model_validate(context.cluster.accounts.user(name))


@router.delete("/{name:path}", status_code=204)
def remove(name: _UserName, context: Context, _user: Operator) -> None:
    """Remove a user, with their sessions and the tokens they made; the last operator stays."""
    context.cluster.accounts.remove_user(name, keep_operator=True)
