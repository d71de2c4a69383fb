#!/usr/bin/env python3
"""Verifies the DKIM signature of a mail on stdin as a receiver would (RFC 6376).

    verify_dkim.py NAME RECORD     the only TXT record there is: its name and its text

Prints the domain that signed (d=) if the signature holds, and fails if it does not.
"""

import sys

import dkim

name, record = sys.argv[1:]


def txt(asked, timeout=5):
    asked = asked.decode() if isinstance(asked, bytes) else asked
    return record.encode() if asked.rstrip(".") == name else None


mail = dkim.DKIM(sys.stdin.buffer.read())
if not mail.verify(dnsfunc=txt):
    sys.exit("the signature does not hold")
print(mail.domain.decode())
