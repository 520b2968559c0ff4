"""aiosmtpd as a test wants it: its TLS, who may log in and how.

Says of all that comes whether it came over TLS, and each message as its own Debugging handler says it.
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.handlers import Debugging
from aiosmtpd.smtp import SMTP, AuthResult

WISH = json.loads(sys.argv[1])


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(WISH["certificate"], WISH["key"])
    return made


def authenticate(server, session, envelope, mechanism, data):
    right = [data.login.decode(), data.password.decode()] == WISH["login"]
    print("LOGIN", mechanism, "right" if right else "wrong", flush=True)
    return AuthResult(success=right, handled=False)


class Server(SMTP):
    def data_received(self, data):
        secret = WISH["tls"] == "implicit" or self._tls_protocol
        print("GOT", "tls" if secret else "clear", data, flush=True)
        super().data_received(data)


async def main():
    loop = asyncio.get_running_loop()

    def server():
        return Server(
            Debugging(sys.stdout),
            hostname="mail.test",
            loop=loop,
            tls_context=context() if WISH["tls"] == "starttls" else None,
            require_starttls=WISH["tls"] == "starttls",
            authenticator=authenticate,
            auth_required=WISH["login"] is not None,
            # It doesn't count what is TLS from the first byte.
            auth_require_tls=WISH["tls"] == "starttls",
            auth_exclude_mechanism=WISH["without"],
        )

    implicit = context() if WISH["tls"] == "implicit" else None
    listening = await loop.create_server(server, WISH["host"], WISH["port"], ssl=implicit)
    await listening.serve_forever()


asyncio.run(main())
