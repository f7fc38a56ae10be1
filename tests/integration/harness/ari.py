"""A client of Asterisk's ARI: REST by requests, events by websocket-client.

Events are read by a thread into a list that tests search and wait on; nothing
is ever dropped from it.
"""

import json
import threading

import requests
import websocket

from .waiting import wait_until


class Ari:
    """One ARI user of one Asterisk; REST alone until listen() is called."""

    def __init__(self, url, user, password):
        self.url = url
        self.user = user
        self.password = password
        self.events = []
        self._session = requests.Session()
        self._session.auth = (user, password)
        self._socket = None
        self._reader = None

    def request(self, method, path, timeout_s=10, **params):
        """One request; params go into the query string. Returns requests'
        response, whatever its status."""
        return self._session.request(
            method, f"{self.url}/ari/{path}", params=params, timeout=timeout_s
        )

    def get(self, path, **params):
        """The decoded answer of a GET that must succeed."""
        response = self.request("GET", path, **params)
        response.raise_for_status()
        return response.json()

    def app_names(self):
        """The names of all apps; None where Asterisk can't say: with one that
        is just going its list is a 500."""
        response = self.request("GET", "applications")
        if response.status_code == 500:
            return None
        response.raise_for_status()
        return {app["name"] for app in response.json()}

    def listen(self, app):
        """Register a Stasis app and collect its events."""
        address = self.url.replace("http://", "ws://", 1)
        self._socket = websocket.create_connection(
            f"{address}/ari/events?app={app}"
            f"&api_key={self.user}:{self.password}",
            timeout=10,
            suppress_origin=True,
        )
        self._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        try:
            while True:
                text = self._socket.recv()
                if not text:
                    return
                self.events.append(json.loads(text))
        except (OSError, websocket.WebSocketException):
            return  # closed, by either side

    def close(self):
        """Leave the app and end the reader."""
        if self._socket is not None:
            self._socket.close(timeout=2)
            self._reader.join(timeout=5)
        self._session.close()

    def of_channel(self, channel_id):
        """The events so far that are about one channel, in order."""
        return [e for e in list(self.events) if _channel_of(e) == channel_id]

    def wait_event(self, channel_id, kind, timeout_s=20.0, **fields):
        """The first event of that type for the channel with these fields."""

        def found():
            for event in self.of_channel(channel_id):
                if event["type"] == kind and _has(event, fields):
                    return event
            return None

        return wait_until(
            found,
            lambda: f"{kind} {fields or ''} of {channel_id}; so far: "
            f"{[e['type'] for e in self.of_channel(channel_id)]}",
            timeout_s,
        )

    def wait_recording(self, name, timeout_s=30.0):
        """The event that ends a recording: finished or failed."""
        return wait_until(
            lambda: next(
                (
                    event
                    for event in list(self.events)
                    if event["type"] in ("RecordingFinished", "RecordingFailed")
                    and event["recording"]["name"] == name
                ),
                None,
            ),
            f"the end of recording {name}",
            timeout_s,
        )

    def wait_playback(self, name, timeout_s=30.0):
        """The event that ends a playback."""
        return wait_until(
            lambda: next(
                (
                    event
                    for event in list(self.events)
                    if event["type"] == "PlaybackFinished"
                    and event["playback"]["id"] == name
                ),
                None,
            ),
            f"the end of playback {name}",
            timeout_s,
        )

    def hang_up_all(self):
        """End every channel and remove every bridge."""
        for channel in self.get("channels"):
            self.request("DELETE", f"channels/{channel['id']}")
        for bridge in self.get("bridges"):
            self.request("DELETE", f"bridges/{bridge['id']}")
        wait_until(lambda: not self.get("channels"), "the channels to end")


def _channel_of(event):
    for name in ("channel", "peer"):
        if name in event:
            return event[name]["id"]
    return None


def _has(event, fields):
    return all(event.get(name) == value for name, value in fields.items())
