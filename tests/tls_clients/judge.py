"""Python's ssl against an echo over TLS, as a judge that takes no end of a stream for granted: with
suppress_ragged_eofs off, an end without close_notify is an error.

    judge.py PORT CERTIFICATE
"""

import os
import socket
import ssl
import sys
import threading
import warnings

# Old versions are asked for on purpose.
warnings.simplefilter("ignore", DeprecationWarning)
PORT, CERTIFICATE = int(sys.argv[1]), sys.argv[2]
PATIENCE = 30


def context(version):
    made = ssl.create_default_context(cafile=CERTIFICATE)
    made.minimum_version = made.maximum_version = version
    return made


def connect(version):
    plain = socket.create_connection(("127.0.0.1", PORT), PATIENCE)
    return context(version).wrap_socket(
        plain, server_hostname="localhost", suppress_ragged_eofs=False
    )


def comes_back(version):
    """What is sent comes back, and the farewell of the client is answered with one."""
    stream = connect(version)
    sent = os.urandom(1_000_000)
    threading.Thread(target=stream.sendall, args=(sent,)).start()
    received = b""
    while len(received) < len(sent):
        received += stream.recv(65536)
    assert received == sent
    # It fails where the server ends without close_notify.
    stream.unwrap().close()


def half_close(version):
    """The client says farewell behind five megabytes and reads on: all of them come, and the farewell."""
    plain = socket.create_connection(("127.0.0.1", PORT), PATIENCE)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context(version).wrap_bio(incoming, outgoing, server_hostname="localhost")

    def step(call, *arguments):
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                received = plain.recv(65536)
                incoming.write(received) if received else incoming.write_eof()

    step(session.do_handshake)
    sent = os.urandom(5_000_000)
    session.write(sent)
    # The first call only says farewell.
    try:
        session.unwrap()
    except (ssl.SSLWantReadError, ssl.SSLError):
        pass
    records = outgoing.read()
    sender = threading.Thread(target=lambda: (plain.sendall(records), plain.shutdown(socket.SHUT_WR)))
    sender.start()
    received, ended = b"", False
    while True:
        try:
            piece = session.read(65536)
        except ssl.SSLWantReadError:
            assert not ended, "the socket ended, and no farewell was in it"
            bytes_ = plain.recv(65536)
            if bytes_:
                incoming.write(bytes_)
            else:
                ended = True
                incoming.write_eof()
            continue
        except ssl.SSLZeroReturnError:
            piece = b""
        if not piece:
            break
        received += piece
    sender.join()
    assert received == sent, f"{len(received)} bytes came back of {len(sent)}"


for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    comes_back(version)
    half_close(version)
    print(version.name, "ok")
for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
    try:
        old = context(version)
        old.set_ciphers("ALL:@SECLEVEL=0")
        plain = socket.create_connection(("127.0.0.1", PORT), PATIENCE)
        old.wrap_socket(plain, server_hostname="localhost")
    except ssl.SSLError as refusal:
        assert "ALERT" in str(refusal) or "NO_PROTOCOLS" in str(refusal), refusal
        print(version.name, "refused")
    else:
        sys.exit(f"{version.name} is spoken")
