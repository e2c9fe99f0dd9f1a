"""An app with WebSockets, with and without the guard, for a server process."""

from __future__ import annotations

from flask import Flask
from flask_sock import Sock
from flask_socketio import SocketIO
from nocache import NoCacheFlask
from simple_websocket import Server


def build(app: Flask) -> Flask:
    app.add_url_rule("/", view_func=lambda: "x", endpoint="index")
    sock = Sock(app)

    # the client closes the socket
    @sock.route("/echo")  # type: ignore[untyped-decorator]
    def echo(socket: Server) -> None:
        while True:
            socket.send(socket.receive())

    # the server closes the socket
    @sock.route("/echo-once")  # type: ignore[untyped-decorator]
    def echo_once(socket: Server) -> None:
        socket.send(socket.receive())

    # threads work with all of gunicorn's workers, because gevent replaces them
    socketio = SocketIO(app, async_mode="threading")

    @socketio.on("message")  # type: ignore[untyped-decorator]
    def reply(message: str) -> None:
        socketio.send(message)

    return app


plain = build(Flask(__name__))
guarded = build(NoCacheFlask(__name__))
