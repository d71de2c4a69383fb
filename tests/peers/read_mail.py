#!/usr/bin/env python3
"""Reads a mail on stdin as a mail client of somebody else's would; prints it as JSON.

    {"headers": {name in lower case: decoded text, the first of its name},
     "text": the plain text, "html": the HTML or null,
     "files": [{"name", "type", "base64"}]}
"""

import base64
import email
import email.policy
import json
import sys

mail = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
headers = {}
for name, value in mail.items():
    headers.setdefault(name.lower(), str(value))
body = lambda kind: mail.get_body(preferencelist=(kind,))
text, html = body("plain"), body("html")
files = []
for part in mail.iter_attachments():
    content = part.get_content()
    if isinstance(content, str):
        content = part.get_payload(decode=True)
    elif not isinstance(content, bytes):
        content = content.as_bytes()
    files.append({
        "name": part.get_filename(),
        "type": part.get_content_type(),
        "base64": base64.b64encode(content).decode(),
    })
json.dump({
    "headers": headers,
    "text": None if text is None else text.get_content(),
    "html": None if html is None else html.get_content(),
    "files": files,
}, sys.stdout)
