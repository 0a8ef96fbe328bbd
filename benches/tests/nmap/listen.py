"""Listens at TCP and UDP ports in both families until it is ended: listen.py PORT ...

TCP connections are accepted and closed; each datagram is answered.
"""

import selectors
import socket
import sys

selector = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        listening = socket.socket(socket.AF_INET6, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(("::", port))
        if kind == socket.SOCK_STREAM:
            listening.listen(64)
        selector.register(listening, selectors.EVENT_READ, kind)
print("listening", flush=True)
while True:
    for key, _ in selector.select():
        if key.data == socket.SOCK_STREAM:
            key.fileobj.accept()[0].close()
        else:
            content, sender = key.fileobj.recvfrom(2048)
            key.fileobj.sendto(content or b"?", sender)
