"""Conversations of a client over WebSockets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from socket import create_connection as connect
from socket import socket

from websocket import create_connection
from websocket import WebSocket

# the messages of a client over a WebSocket, None to wait, and the start of each reply
Conversation = list[tuple[str | None, str]]

ECHO: Conversation = [("hi", "hi"), ("you", "you")]
# Engine.IO opens, the client joins the namespace and sends an event
SOCKETIO: Conversation = [
    (None, '0{"sid":'),
    ("40", '40{"sid":'),
    ('42["message","hi"]', '42["message","hi"]'),
]
# opcode, length, and the code of a normal closure; RFC 6455 5.5.1, 7.4.1
CLOSING = b"\x88\x02\x03\xe8"


@contextmanager
def converse(
    port: int, path: str, conversation: Conversation
) -> Iterator[tuple[WebSocket, socket]]:
    with connect(("127.0.0.1", port), timeout=10) as connection:
        websocket = create_connection(f"ws://127.0.0.1:{port}{path}", socket=connection)
        for message, reply in conversation:
            if message is not None:
                websocket.send(message)
            assert str(websocket.recv()).startswith(reply)
        yield websocket, connection


def talk(port: int, path: str, conversation: Conversation, *, closes: bool) -> bytes:
    """Return the bytes that a server sends besides the closing frame of a WebSocket.

    :param closes: whether the client closes it, not the server.
    """
    with converse(port, path, conversation) as (websocket, connection):
        if closes:
            websocket.send_close()
        frames = b"".join(iter(lambda: connection.recv(65536), b""))
    # a server may end before it sends its closing frame
    assert closes or frames.startswith(CLOSING)
    return frames.removeprefix(CLOSING)


def hang_up(port: int, path: str, conversation: Conversation) -> None:
    """End the connection of a WebSocket without closing it."""
    with converse(port, path, conversation):
        pass
