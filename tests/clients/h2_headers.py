"""Sends the requests that stdin has as JSON, each a list of names and values, one after the other
on a connection over HTTP/2; curl as Debian has it cannot use such a connection twice."""

import json
import socket
import sys

import h2.config
import h2.connection
import h2.events

START = {":method": "GET", ":scheme": "http", ":authority": "billing", ":path": "/headers"}


def body(tcp, connection, stream):
    """What comes on a stream until its end."""
    text = ""
    while True:
        tcp.sendall(connection.data_to_send())
        for event in connection.receive_data(tcp.recv(65536)):
            if isinstance(event, h2.events.DataReceived):
                text += event.data.decode()
                connection.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamEnded):
                return text


def main():
    config = h2.config.H2Configuration(validate_outbound_headers=False)
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    tcp = socket.create_connection(("billing", 80))
    for headers in json.load(sys.stdin):
        stream = connection.get_next_available_stream_id()
        lines = [(name.lower(), value) for name, value in headers]
        connection.send_headers(stream, list(START.items()) + lines, end_stream=True)
        print(body(tcp, connection, stream), end="")


main()
