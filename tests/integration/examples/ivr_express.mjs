// A small menu by telephone, as a customer would write it with Express. What
// it does is told in ivr_flask.py. Listens on PORT of 127.0.0.1.
import express from "express";

const { KAPHILA_BASE_URL, KAPHILA_API_KEY, PORT } = process.env;
const MENU = "Press 1 to hear the opening hours, or 2 to leave.";
const CHOICES = { 1: "We are open from nine to five.", 2: "Thank you. Bye." };
const MESSAGE = "You were called by the library. A book is waiting for you.";

// POST to kaphila; its answer. A call that is gone is no error here.
async function ask(path, body) {
	const response = await fetch(KAPHILA_BASE_URL + path, {
		method: "POST",
		headers: {
			"Authorization": `Bearer ${KAPHILA_API_KEY}`,
			"Content-Type": "application/json",
		},
		body: JSON.stringify(body),
	});
	const answer = await response.json();

	if (!response.ok && response.status !== 404)
		throw new Error(`${path}: ${answer.error}`);
	return answer;
}

async function endTalk(event) {
	if (event.reason !== "call_ended" && !event.stopped)
		await ask("/hangup", { callId: event.callId });
}

const handlers = {
	"call.answered": ({ callId, amd }) => amd.status === "MACHINE" ?
		ask("/voice", { callId, text: MESSAGE }) :
		ask("/gather", { callId, text: MENU, numDigits: 1, timeout: 8000 }),
	"gather.complete": ({ callId, digits }) => ask("/voice", {
		callId,
		text: CHOICES[digits] ?? "There is no such choice.",
		interrupt: true,
	}),
	"gather.timeout": endTalk,
	"playback.finished": endTalk,
};

const app = express();
app.use(express.json());

app.post("/dial", async (request, response) => {
	const { number, events } = request.body;

	response.json(await ask("/makecall",
		{ number, webhookUrl: events, useAmd: true }));
});

app.post("/events", async (request, response) => {
	try {
		await handlers[request.body.event]?.(request.body);
		response.sendStatus(204);
	} catch (error) {
		console.error(error);
		response.sendStatus(500);
	}
});

app.listen(Number(PORT), "127.0.0.1");
