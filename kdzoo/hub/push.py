"""Sending a folder of timm's to the Hugging Face hub."""

from pathlib import Path

from kdzoo import __version__
from kdzoo.backbones.timm_models import is_reachable
from kdzoo.errors import UserError, quoted
from kdzoo.hub.folder import CARD, FILES


def check_repo(repo: str) -> None:
    """Make sure that a repository's name can be one; nothing is asked of the hub.

    Raises:
        UserError: it cannot.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"--push: {str(error).splitlines()[0]}") from None
    if "/" not in repo:
        raise UserError(f"--push: {quoted(repo)} does not say whose it is. Give USER/NAME.")


def push_folder(folder: Path, repo: str) -> str:
    """Send a folder of :func:`~kdzoo.hub.folder.write_timm_folder` to the hub.

    The repository is made where it is missing. A model card that is already there stays, since
    people write in it.

    Args:
        folder: whose files are sent, and no others.
        repo: ``USER/NAME``.

    Returns:
        the repository's address.

    Raises:
        UserError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi, constants

    def cannot(reason: str) -> UserError:
        return UserError(
            f"{folder} is written, and was not sent to {repo} on {constants.ENDPOINT}: {reason}. "
            "Give the command again with a connection, logged in by: hf auth login"
        )

    if constants.HF_HUB_OFFLINE or not is_reachable(constants.ENDPOINT):
        raise cannot("it cannot be reached")
    api = HfApi(library_name="kdzoo", library_version=__version__)
    try:
        url = api.create_repo(repo, exist_ok=True)
        has_card = api.file_exists(repo, CARD)
        api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=[name for name in FILES if not (name == CARD and has_card)],
            commit_message=f"Student of kdzoo {__version__}",
        )
    except Exception as error:  # which ones depends on the client that the hub's is built on
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise cannot(reason.rstrip(".")) from error
    return str(url)
