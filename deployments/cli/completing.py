"""`completion`: the shell completes commands and options."""

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print a script that makes a shell complete commands and options.

    Put its output where the shell looks for such scripts, or load it into the shell that runs:
    eval "$(collect completion bash)". To have it in every bash, add that line to ~/.bashrc; zsh reads a file
    _collect in a folder of its $fpath; fish reads ~/.config/fish/completions/collect.fish.

    Examples
        $ collect completion bash
        $ collect completion zsh > _collect
        $ collect completion fish > collect.fish

    Parameters
    ----------
    shell
        the shell that is to complete
    """
    from deployments.cli import app

    print(app.generate_completion(prog_name="collect", shell=shell))
    return 0
