"""Sends what an evasion test sends, from inside the namespaces of a ground, and tells what arrived where.

    attacks.py GROUND PHASE      PHASE: all, or open and revive around a change of the policy

Each case prints one line: `held NAME`, or `BYPASS NAME: ...` when a frame arrived that must not, or `LOST NAME: ...` when
an honest one did not arrive. Machines: web (11) and eve (31) with IP stacks that say nothing, db (21) likewise, and out,
a machine behind the uplink (99). The policy: web and external may reach db at TCP 80, everybody everybody at UDP 7.
"""

import ctypes
import os
import select
import socket
import sys
import time

from scapy.all import (ARP, Dot1Q, Ether, ICMP, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6ND_Redirect,
                       ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, ICMPv6PacketTooBig, IP, IPOption_LSRR,
                       IPOption_SSRR, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop,
                       IPv6ExtHdrRouting, PadN, Raw, TCP, UDP)

CLONE_NEWNET = 0x40000000
SOL_PACKET, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 263, 23, 3
WAIT_S = 10
BROADCAST = "ff:ff:ff:ff:ff:ff"

SPACES = {"web": "web-1", "db": "db-1", "eve": "eve-1", "out": "out-1"}
NUMBERS = {"web": 11, "db": 21, "eve": 31, "out": 99}
MACS = {who: "02:78:00:00:00:%02x" % number for who, number in NUMBERS.items()}
V4 = {who: "10.78.0.%d" % number for who, number in NUMBERS.items()}
V6 = {who: "fd78::%d" % number for who, number in NUMBERS.items()}

failures = 0
tokens = 0


def open_places(ground):
    """Returns a raw socket at the device of each machine."""
    libc = ctypes.CDLL(None, use_errno=True)
    places = {}
    for who, space in SPACES.items():
        with open(f"/run/netns/{ground}-{space}") as name:
            if libc.setns(name.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        place = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        place.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        place.bind(("eth0", 0))
        place.setblocking(False)
        places[who] = place
    return places


def token():
    global tokens
    tokens += 1
    return b"token-%06d-%06d" % (os.getpid() % 1000000, tokens)


def link(source, destination, family=4):
    """Returns the honest headers between two machines."""
    ether = Ether(src=MACS[source], dst=MACS[destination])
    if family == 4:
        return ether / IP(src=V4[source], dst=V4[destination])
    return ether / IPv6(src=V6[source], dst=V6[destination])


def drain(arrived):
    for who, place in places.items():
        while True:
            try:
                arrived[who].append(place.recv(65536))
            except BlockingIOError:
                break


def exchange(frames):
    """Sends (machine, frame) in order, a sentinel behind from each of the machines, and returns what arrived where."""
    arrived = {who: [] for who in places}
    drain({who: [] for who in places})
    for who, frame in frames:
        places[who].send(frame)
    for who in sorted({who for who, _ in frames}):
        peer = "web" if who == "db" else "db"
        mark = token()
        frame = bytes(link(who, peer) / UDP(sport=7, dport=7) / Raw(mark))
        places[who].send(frame)
        end = time.monotonic() + WAIT_S
        while not any(mark in got for got in arrived[peer]):
            if time.monotonic() > end:
                sys.exit(f"the sentinel of {who} did not arrive")
            select.select(list(places.values()), [], [], 0.1)
            drain(arrived)
    return arrived


def has(frames, sent, mark):
    return any(got == sent or (mark and mark in got) for got in frames)


def say(word, name, detail=""):
    global failures
    failures += word != "held"
    print(f"{word} {name}{detail}", flush=True)


def passes(name, who, to, packet):
    """An honest packet that must arrive; nothing is printed if it does."""
    frame = bytes(packet)
    arrived = exchange([(who, frame)])
    if not has(arrived[to], frame, None):
        say("LOST", name, f": {packet.summary()}")


def refused(name, who, *packets, mark=None):
    """Packets of which none may arrive anywhere."""
    frames = [bytes(packet) for packet in packets]
    arrived = exchange([(who, frame) for frame in frames])
    for to, got in arrived.items():
        for packet, frame in zip(packets, frames):
            if to != who and has(got, frame, mark):
                say("BYPASS", name, f": at {to}: {packet.summary()}")
                return
    say("held", name)


def syn(sport, dport=80, **fields):
    return TCP(sport=sport, dport=dport, flags="S", seq=1000, **fields)


def connection(sport, family):
    """Opens web's connection to db; its next numbers are 1001 and 5001."""
    there, back = link("web", "db", family), link("db", "web", family)
    passes("open", "web", "db", there / syn(sport))
    passes("open", "db", "web", back / TCP(sport=80, dport=sport, flags="SA", seq=5000, ack=1001))
    passes("open", "web", "db", there / TCP(sport=sport, dport=80, flags="A", seq=1001, ack=5001))
    return there, back


def stands(name, sport, family):
    there, back = link("web", "db", family), link("db", "web", family)
    passes(name, "web", "db", there / TCP(sport=sport, dport=80, flags="PA", seq=1001, ack=5001) / Raw(b"x" * 10))
    passes(name, "db", "web", back / TCP(sport=80, dport=sport, flags="PA", seq=5001, ack=1011) / Raw(b"y" * 10))


def fragments():
    """A SYN to a port that is denied, in parts that a reader of one part takes for something else."""
    mark = token()
    denied = bytes(TCP(sport=1, dport=81, flags="S", seq=1, chksum=0)) + mark + bytes(12)
    allowed = bytes(TCP(sport=1, dport=80, flags="S", seq=1, chksum=0)) + bytes(12)

    def parts4(number, *parts):
        base = Ether(src=MACS["web"], dst=MACS["db"])
        return [base / IP(src=V4["web"], dst=V4["db"], proto=6, id=number, flags=more, frag=offset // 8) / Raw(content)
                for offset, more, content in parts]

    def parts6(number, *parts):
        base = Ether(src=MACS["web"], dst=MACS["db"])
        return [base / IPv6(src=V6["web"], dst=V6["db"], nh=44) /
                IPv6ExtHdrFragment(nh=6, id=number, m=more, offset=offset // 8) / Raw(content)
                for offset, more, content in parts]

    for family, parts in ((4, parts4), (6, parts6)):
        def held(what, number, *list_of_parts):
            refused(f"v{family}: fragments: {what}", "web", *parts(number, *list_of_parts), mark=mark)
        held("a denied port in the first", 100, (0, 1, denied[:32]), (32, 0, denied[32:]))
        held("tiny first", 101, (0, 1, denied[:8]), (8, 0, denied[8:]))
        held("the last first", 102, (32, 0, denied[32:]), (0, 1, denied[:32]))
        held("a later part alone", 104, (64, 0, mark + bytes(8)))
        held("one that ends behind the largest datagram", 105, (65528, 0, mark + bytes(8)))
        held("an atomic one to a denied port", 106, (0, 0, denied))
        # The allowed port first, which passes by itself, and then what would overwrite it.
        for number, what, offset, content in (
            (107, "overlap that rewrites the port", 0, denied[:32]),
            (108, "overlap behind the ports", 8, mark + bytes(16)),
        ):
            first, second = parts(number, (0, 1, allowed[:32]), (offset, 0, content))
            exchange([("web", bytes(first))])
            refused(f"v{family}: fragments: {what}", "web", second, mark=mark)


def forms():
    mark = token()
    for name, option in (("loose", IPOption_LSRR), ("strict", IPOption_SSRR)):
        routed = link("web", "db")
        routed[IP].options = [option(routers=[V4["eve"]])]
        refused(f"v4: {name} source route", "web", routed / syn(10) / Raw(mark), mark=mark)
    base = link("web", "db", 6)
    for left in (0, 1):
        header = IPv6ExtHdrRouting(type=0, segleft=left, addresses=[V6["eve"]])
        refused(f"v6: routing header 0, {left} left", "web", base / header / syn(10) / Raw(mark), mark=mark)
        behind = base / IPv6ExtHdrDestOpt() / header / syn(10) / Raw(mark)
        refused(f"v6: routing header 0 behind options, {left} left", "web", behind, mark=mark)
    passes("v6: one header", "web", "db", base / IPv6ExtHdrDestOpt() / syn(11))
    for count in (20, 60):
        chain = base
        for _ in range(count):
            chain = chain / IPv6ExtHdrDestOpt()
        refused(f"v6: {count} extension headers", "web", chain / syn(12) / Raw(mark), mark=mark)
    short = base / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() / syn(12, 81) / Raw(mark)
    refused("v6: a denied port behind two headers", "web", short, mark=mark)
    long = base / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(250))]) / syn(12, 81) / Raw(mark)
    refused("v6: a denied port behind a long header", "web", long, mark=mark)
    late = base / IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / syn(13) / Raw(mark)
    refused("v6: hop-by-hop options behind others", "web", late, mark=mark)
    wrong = link("web", "db") / syn(14) / Raw(mark)
    wrong[IP].chksum = 1
    refused("v4: a wrong header checksum", "web", wrong, mark=mark)
    for flags in ("SF", "SR", "", "F", "FPU", "SRFA"):
        for family in (4, 6):
            packet = link("web", "db", family) / TCP(sport=15, dport=80, flags=flags, seq=1) / Raw(mark)
            refused(f"v{family}: flags {flags or 'none'}", "web", packet, mark=mark)


def states():
    for family in (4, 6):
        mark = token()
        there, back = link("web", "db", family), link("db", "web", family)
        for flags in ("A", "PA", "SA", "FA", "R", "RA"):
            stray = there / TCP(sport=20, dport=81, flags=flags, seq=9, ack=9) / Raw(mark)
            refused(f"v{family}: a stray {flags} to a denied port", "web", stray, mark=mark)
            stray = link("eve", "db", family) / TCP(sport=20, dport=80, flags=flags, seq=9, ack=9) / Raw(mark)
            refused(f"v{family}: a stray {flags} of one who may not", "eve", stray, mark=mark)
        for flags in ("SA", "FA", "R", "RA"):
            stray = there / TCP(sport=21, dport=80, flags=flags, seq=9, ack=9) / Raw(mark)
            refused(f"v{family}: a stray {flags} to an allowed port", "web", stray, mark=mark)
        port = 30000 + family
        connection(port, family)
        stands(f"v{family}: a connection", port, family)
        for ahead in (100000, 1 << 20, 1 << 31, (1 << 32) - 200000):
            for flags in ("R", "RA"):
                far = back / TCP(sport=80, dport=port, flags=flags, seq=(5011 + ahead) % (1 << 32), ack=1011)
                refused(f"v{family}: a {flags} {ahead} ahead", "db", far)
                far = there / TCP(sport=port, dport=80, flags=flags, seq=(1011 + ahead) % (1 << 32), ack=5011)
                refused(f"v{family}: a {flags} of the client {ahead} ahead", "web", far)
        # A connection that is ended by a forged reset carries nothing afterwards.
        stands(f"v{family}: behind far resets", port, family)
        stolen = Ether(src=MACS["eve"], dst=MACS["db"]) / there.payload.copy()
        exact = TCP(sport=port, dport=80, flags="R", seq=1011)
        refused(f"v{family}: an exact reset of another machine", "eve", stolen / exact)
        stands(f"v{family}: behind a foreign reset", port, family)
        # A veth leaves checksums to devices: what an endpoint sends may be unfinished, and is judged unless it is neither.
        wrong = back / TCP(sport=80, dport=port, flags="R", seq=5011, chksum=0x1234) / Raw(mark)
        refused(f"v{family}: an exact reset with a wrong checksum", "db", wrong, mark=mark)
        wrong = there / TCP(sport=port, dport=80, flags="FA", seq=1011, ack=5011, chksum=0x1234) / Raw(mark)
        refused(f"v{family}: a FIN with a wrong checksum", "web", wrong, mark=mark)
        stands(f"v{family}: behind wrong checksums", port, family)
        errors(family, port, there)


def errors(family, port, there):
    """ICMP errors about the connection: forged ones reach nobody, the true one does."""
    def error(source, to, quoted):
        head = link(source, to, family)
        inner = bytes(quoted)[14:]
        if family == 4:
            return head / ICMP(type=3, code=4) / Raw(inner[:28])
        return head / ICMPv6PacketTooBig(mtu=1280) / Raw(inner)
    data = there / TCP(sport=port, dport=80, flags="PA", seq=1011, ack=5011) / Raw(b"z" * 20)
    passes(f"v{family}: data", "web", "db", data)
    far = there / TCP(sport=port, dport=80, flags="PA", seq=900000, ack=5011) / Raw(b"z" * 20)
    unknown = there / TCP(sport=port + 1, dport=80, flags="PA", seq=1011, ack=5011)
    refused(f"v{family}: an ICMP error with a forged number", "db", error("db", "web", far))
    refused(f"v{family}: an ICMP error about no flow", "db", error("db", "web", unknown))
    refused(f"v{family}: an ICMP error of a neighbour", "eve", error("eve", "web", data))
    refused(f"v{family}: an ICMP error to another", "db", error("db", "eve", data))
    refused(f"v{family}: an ICMP error of the sender itself", "web", error("web", "db", data))
    passes(f"v{family}: the true ICMP error", "db", "web", error("db", "web", data))


def bindings():
    mark = token()
    for family, address in ((4, V4), (6, V6)):
        def framed(mac, to_mac, source, to):
            network = IP(src=source, dst=to) if family == 4 else IPv6(src=source, dst=to)
            return Ether(src=mac, dst=to_mac) / network / syn(40) / Raw(mark)
        web, db, eve, out = (MACS[who] for who in ("web", "db", "eve", "out"))
        def held(what, who, *fields):
            refused(f"v{family}: {what}", who, framed(*fields), mark=mark)
        held("another's address", "eve", eve, db, address["web"], address["db"])
        held("another's MAC and address", "eve", web, db, address["web"], address["db"])
        held("another's MAC", "web", eve, db, address["web"], address["db"])
        held("an address outside", "web", web, db, "8.8.8.8" if family == 4 else "2001:db8::8", address["db"])
        held("an allowed address with another machine's MAC", "web", web, eve, address["web"], address["db"])
        held("a foreign address for an endpoint's MAC", "web", web, db, address["web"], address["eve"])
        held("a unicast address in a broadcast frame", "web", web, BROADCAST, address["web"], address["db"])
        held("a unicast address in a multicast frame", "web", web, "01:00:5e:00:00:01", address["web"], address["db"])
        held("the same from outside", "out", out, BROADCAST, address["out"], address["db"])
        held("an uplink with a local address", "out", out, db, address["web"], address["db"])
        held("an uplink with a local MAC", "out", web, db, address["out"], address["db"])
        held("an uplink with both", "out", web, db, address["web"], address["db"])
        held("a multicast source MAC", "web", "03:00:00:00:00:01", db, address["web"], address["db"])
        passes(f"v{family}: what all these are beside", "web", "db", framed(web, db, address["web"], address["db"]))
        passes(f"v{family}: the same from outside", "out", "db", framed(out, db, address["out"], address["db"]))
        for numbers in ((10,), (0, 10), (1, 10), (4094,), (10, 20)):
            frame = Ether(src=web, dst=db)
            for number in numbers:
                frame = frame / Dot1Q(vlan=number)
            network = IP(src=address["web"], dst=address["db"]) if family == 4 else IPv6(src=address["web"], dst=address["db"])
            refused(f"v{family}: VLAN tags {numbers}", "web", frame / network / syn(41) / Raw(mark), mark=mark)


def neighbours():
    def arp(who, to, operation, mac, address, target):
        return Ether(src=MACS[who], dst=to) / ARP(op=operation, hwsrc=mac, psrc=address, hwdst=to, pdst=target)
    passes("an honest ARP reply", "web", "db", arp("web", MACS["db"], 2, MACS["web"], V4["web"], V4["db"]))
    for what, packet, who in (
        ("a reply for another", arp("eve", MACS["db"], 2, MACS["eve"], V4["web"], V4["db"]), "eve"),
        ("a request that poisons", arp("eve", BROADCAST, 1, MACS["eve"], V4["web"], V4["db"]), "eve"),
        ("gratuitous for another", arp("eve", BROADCAST, 2, MACS["eve"], V4["web"], V4["web"]), "eve"),
        ("a body unlike the frame", arp("eve", MACS["db"], 2, MACS["web"], V4["web"], V4["db"]), "eve"),
        ("a gateway's address", arp("eve", BROADCAST, 2, MACS["eve"], "10.78.0.1", "10.78.0.1"), "eve"),
        ("from the uplink about an endpoint", arp("out", MACS["db"], 2, MACS["out"], V4["web"], V4["db"]), "out"),
    ):
        refused(f"ARP: {what}", who, packet)

    def six(who, to):
        return Ether(src=MACS[who], dst=MACS[to]) / IPv6(src=V6[who], dst=V6[to], hlim=255)

    def claim(who, to, target, mac):
        return six(who, to) / ICMPv6ND_NA(tgt=target, R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    passes("an honest advertisement", "web", "db", claim("web", "db", V6["web"], MACS["web"]))
    refused("ND: an advertisement for another", "eve", claim("eve", "db", V6["web"], MACS["eve"]))
    refused("ND: an advertisement with another's MAC", "eve", claim("eve", "db", V6["eve"], MACS["web"]))
    refused("ND: from the uplink about an endpoint", "out", claim("out", "db", V6["web"], MACS["out"]))
    ask = six("eve", "db") / ICMPv6ND_NS(tgt=V6["db"]) / ICMPv6NDOptSrcLLAddr(lladdr=MACS["web"])
    refused("ND: a solicitation with another's MAC", "eve", ask)
    near = claim("web", "db", V6["web"], MACS["web"])
    near[IPv6].hlim = 64
    refused("ND: from beyond the link", "web", near)
    local = "fe80::78:ff:fe00:1f"
    all_nodes = Ether(src=MACS["eve"], dst="33:33:00:00:00:01") / IPv6(src=local, dst="ff02::1", hlim=255)
    refused("ND: a router advertisement of an endpoint", "eve", all_nodes / ICMPv6ND_RA())
    hidden = all_nodes / IPv6ExtHdrDestOpt() / ICMPv6ND_RA()
    refused("ND: the same behind a header", "eve", hidden)
    parts = all_nodes / IPv6ExtHdrFragment(id=7, m=1) / ICMPv6ND_RA() / Raw(bytes(8))
    refused("ND: the same in a fragment", "eve", parts)
    refused("ND: a redirect of an endpoint", "eve", six("eve", "web") / ICMPv6ND_Redirect(tgt=V6["eve"], dst=V6["db"]))
    refused("ICMP: a redirect of an endpoint", "eve",
            link("eve", "web") / ICMP(type=5, code=1, gw=V4["eve"]) / IP(src=V4["web"], dst=V4["db"]) / Raw(bytes(8)))


def revive():
    """Behind a policy under which db may begin connections to web and web none to db."""
    for family in (4, 6):
        mark = token()
        there, back = link("web", "db", family), link("db", "web", family)
        port = 31000 + family
        for flags in ("A", "PA", "SA", "FA", "R", "RA"):
            packet = back / TCP(sport=80, dport=port, flags=flags, seq=5001, ack=1001) / Raw(mark)
            refused(f"v{family}: a cut flow, {flags} from behind", "db", packet, mark=mark)
            packet = there / TCP(sport=port, dport=80, flags=flags, seq=1001, ack=5001) / Raw(mark)
            refused(f"v{family}: a cut flow, {flags} of the client", "web", packet, mark=mark)
        refused(f"v{family}: a cut flow, its SYN again", "web", there / syn(port) / Raw(mark), mark=mark)
        passes(f"v{family}: a connection of the other side", "db", "web",
               back / TCP(sport=81, dport=port, flags="S", seq=1))


places = open_places(sys.argv[1])
if sys.argv[2] == "all":
    for part in (forms, states, bindings, neighbours, fragments):
        part()
elif sys.argv[2] == "open":
    for family in (4, 6):
        connection(31000 + family, family)
else:
    revive()
sys.exit(1 if failures else 0)
