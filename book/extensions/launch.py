"""Sphinx extension: buttons on every notebook's page that open its worksheet on Binder and Colab.

They are links of the theme's own, so no request is made before a reader follows one. The worksheets lie in the branch
`launch`, see scripts/worksheets.py and .github/workflows/book.yml. Without a repository on GitHub there are no buttons.
"""

import os
import re
import subprocess

BRANCH = "launch"


def repository() -> str | None:
    """owner/name on GitHub: from the workflow's environment, else from this checkout's origin."""
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return name
    try:
        found = subprocess.run(["git", "remote", "get-url", "origin"], capture_output=True, text=True)
    except OSError:
        return None
    match = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", found.stdout.strip())
    return match[1] if match else None


def configure(app, config) -> None:
    """Give the theme what its launch buttons need."""
    if name := repository():
        config.html_theme_options |= {
            "repository_url": f"https://github.com/{name}",
            "repository_branch": BRANCH,
            "path_to_docs": "",
            "launch_buttons": {
                "binderhub_url": "https://mybinder.org",
                "colab_url": "https://colab.research.google.com",
                "notebook_interface": "jupyterlab",
            },
        }


def setup(app) -> dict:
    app.connect("config-inited", configure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
