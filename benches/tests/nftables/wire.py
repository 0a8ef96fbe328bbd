"""Sends frames through whatever joins two devices and tells of each whether it came out at the other side.

    wire.py DEVICE0 DEVICE1 whole|routed < FRAMES > ANSWERS

FRAMES: for each a byte with the side that sends it, its length in two bytes, and the frame. The first two are sentinels,
one of each side, that nothing may stop. ANSWERS: for each of the others a byte, 1 if it came out and 0 if not.

Both sides are sent from this one process on one processor, so that frames keep their order: a frame that is not out
before the sentinel behind it was dropped. `whole`: a frame comes out as it was; `routed`: with another link header and
another hop limit.
"""

import os
import select
import socket
import struct
import sys

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23
SENTINEL_WAIT_S = 10
PASSAGE_PAUSE_S = 0.2


def open_device(name):
    device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    device.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    device.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    device.bind((name, 0))
    device.setblocking(False)
    return device


def essence(frame, is_routed):
    """Returns what of a frame does not change on its way. Padding behind the datagram may be cut off."""
    kind = frame[12:14]
    if kind == b"\x08\x00":
        length = 14 + struct.unpack(">H", frame[16:18])[0]
        # Without link header, hop limit and header checksum.
        return frame[18:22] + frame[23:24] + frame[26:length] if is_routed else frame[:length]
    if kind == b"\x86\xdd":
        length = 54 + struct.unpack(">H", frame[18:20])[0]
        return frame[14:21] + frame[22:length] if is_routed else frame[:length]
    return frame


def frames(stream):
    while True:
        head = stream.read(3)
        if len(head) < 3:
            return
        side, length = struct.unpack(">BH", head)
        yield side, stream.read(length)


def came_out(device, wanted, sentinel, is_routed):
    """Reads what is there; returns whether the wanted frame was, and whether the sentinel was."""
    found = is_over = False
    while True:
        try:
            frame = device.recv(65536)
        except BlockingIOError:
            return found, is_over
        seen = essence(frame, is_routed)
        found = found or seen == wanted
        is_over = is_over or seen == sentinel


def await_passage(near, far, sentinel, is_routed):
    """Sends a sentinel until one comes out: a bridge takes a moment to let a new device speak."""
    wanted = essence(sentinel, is_routed)
    for tries in range(int(SENTINEL_WAIT_S / PASSAGE_PAUSE_S)):
        near.send(sentinel)
        while select.select([far], [], [], PASSAGE_PAUSE_S)[0]:
            if came_out(far, wanted, wanted, is_routed)[0]:
                # None of those before may be taken for a later one.
                while tries and select.select([far], [], [], PASSAGE_PAUSE_S)[0]:
                    came_out(far, wanted, wanted, is_routed)
                return
    sys.exit("no sentinel comes out")


def main():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    devices = [open_device(name) for name in sys.argv[1:3]]
    is_routed = sys.argv[3] == "routed"
    stream = frames(sys.stdin.buffer)
    sentinels = [next(stream)[1], next(stream)[1]]
    for side, sentinel in enumerate(sentinels):
        await_passage(devices[side], devices[1 - side], sentinel, is_routed)
    answers = bytearray()
    for side, frame in stream:
        near, far = devices[side], devices[1 - side]
        wanted, sentinel = essence(frame, is_routed), essence(sentinels[side], is_routed)
        near.send(frame)
        found, _ = came_out(far, wanted, sentinel, is_routed)
        if not found:
            near.send(sentinels[side])
            is_over = False
            while not is_over:
                if not select.select([far], [], [], SENTINEL_WAIT_S)[0]:
                    sys.exit(f"frame {len(answers)}: the sentinel behind it did not come out")
                now_found, is_over = came_out(far, wanted, sentinel, is_routed)
                found = found or now_found
        answers.append(found)
    sys.stdout.buffer.write(answers)


main()
