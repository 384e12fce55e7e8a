"""Whole HTML pages that fetch nothing: all that they show is in them, and their own policy forbids every request."""

from __future__ import annotations

import base64
import hashlib
import html


def uri(kind: str, content: bytes) -> str:
    """Return content as a data URI. kind: its media type, "image/png"."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def document(title: str, style: str, body: str, script: str) -> str:
    """Return the page of a body that is HTML already. Its one style and its one script are allowed by their hash.

    Source: Content Security Policy Level 3, section 8.3, "Usage of 'hash-source'".
    """
    policy = (
        "default-src 'none'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{style}</style>
</head>
<body>
{body}
<script>{script}</script>
</body>
</html>
"""


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
