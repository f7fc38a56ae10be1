#!/usr/bin/python3
"""A small menu by telephone, as a customer would write it with Flask.

    POST /dial      {"number": …, "events": "https://… /events"}: place a call
    POST /events    what kaphila tells of it

A person gets a menu and is told what he chose; a machine gets a message, and
the call is ended behind it. KAPHILA_BASE_URL and KAPHILA_API_KEY say where.
"""

import os

import requests
from flask import Flask, jsonify, request

MENU = "Press 1 to hear the opening hours, or 2 to leave."
CHOICES = {"1": "We are open from nine to five.", "2": "Thank you. Bye."}
MESSAGE = "You were called by the library. A book is waiting for you."

app = Flask(__name__)
session = requests.Session()
session.headers["Authorization"] = f"Bearer {os.environ['KAPHILA_API_KEY']}"


def ask(path, **body):
    """POST to kaphila; its answer. A call that is gone is no error here."""
    response = session.post(
        os.environ["KAPHILA_BASE_URL"] + path, json=body, timeout=15
    )
    if response.status_code != 404:
        response.raise_for_status()
    return response.json()


def on_answered(event):
    """Who is it?"""
    call = event["callId"]
    if event["amd"]["status"] == "MACHINE":
        ask("/voice", callId=call, text=MESSAGE)
    else:
        ask("/gather", callId=call, text=MENU, numDigits=1, timeout=8000)


def on_choice(event):
    """A key was pressed."""
    text = CHOICES.get(event["digits"], "There is no such choice.")
    ask("/voice", callId=event["callId"], text=text, interrupt=True)


def on_end_of_talk(event):
    """All is said, or nobody pressed anything."""
    if event.get("reason") != "call_ended" and not event.get("stopped"):
        ask("/hangup", callId=event["callId"])


HANDLERS = {
    "call.answered": on_answered,
    "gather.complete": on_choice,
    "gather.timeout": on_end_of_talk,
    "playback.finished": on_end_of_talk,
}


@app.post("/dial")
def dial():
    """Place a call."""
    body = request.get_json()
    return jsonify(
        ask(
            "/makecall",
            number=body["number"],
            webhookUrl=body["events"],
            useAmd=True,
        )
    )


@app.post("/events")
def events():
    """One event. Kaphila tells again what is not answered with a 2xx."""
    event = request.get_json()
    handler = HANDLERS.get(event["event"])
    if handler is not None:
        handler(event)
    return "", 204
