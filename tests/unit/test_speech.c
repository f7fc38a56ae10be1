/*
 * worker/speech*.c with the real espeak-ng and ffmpeg, and with servers on
 * loopback in the place of Google's, which answer with real sound and check
 * what they are asked: which engine speaks, what each failure leads to, that
 * a text is made once however many ask, and that nothing is left behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sndfile.h>

#include "loop_fixture.h"
#include "shared/clock.h"
#include "shared/speech_cache.h"
#include "shared/stats.h"
#include "shared/subprocess.h"
#include "worker/speech.h"
#include "worker/speech_engine.h"
#include "worker/speech_voice.h"

#define ESPEAK "/usr/bin/espeak-ng"
#define FFMPEG "/usr/bin/ffmpeg"
#define HELLO "Hello there, this is a test."
#define VOICE "en-US-Neural2-A"
#define MANY 1000

/* How a server answers. */
enum mode {
	MODE_SOUND,
	MODE_HANG,
	MODE_500,
	MODE_400,
	MODE_EMPTY,
	MODE_GARBAGE,
	MODE_ENDLESS,
	MODE_BAD_BASE64,
	MODE_NO_WAV,     /* good base64 of text */
	MODE_OTHER_RATE, /* a WAV of 16 kHz */
	MODE_SHORT_WAV,
	MODE_BAD_KEY,    /* a 400 that is about the key */
	MODE_OLD_BAD_KEY,
	MODE_NO_SOUND,   /* gTTS: an answer to the RPC without any */
	MODE_NO_MP3      /* gTTS: one with something else */
};

/* Sound that the servers answer with, made once. */
static struct {
	char google[1 << 20]; /* JSON */
	char other_rate[4096];
	char brief[4096];
	char gtts[1 << 18];
	char gtts_quiet[1 << 18]; /* 1 s of silence */
} sounds;

#define RPC_PATH "/_/TranslateWebserverUi/data/batchexecute"
#define HELD_MAX 6

struct fixture {
	struct event_base *base;
	struct evhttp *http;
	struct config config;
	struct speech *speech;
	char dir[64];
	char url[64];
	enum mode google_mode;
	enum mode gtts_mode;
	enum mode token_mode;
	unsigned google_count;
	unsigned gtts_count;
	unsigned token_count;
	/* of gTTS: how the pieces with this in their text are answered */
	const char *later_text;
	enum mode later_mode;
	/* answers wait until there are HELD_MAX, and go out last first */
	bool hold;
	struct evhttp_request *held[HELD_MAX];
	bool held_quiet[HELD_MAX];
	unsigned held_count;
	char auth[600];
	char asked[8192]; /* the texts, one a line */
	char language[64];
	EVP_PKEY *key;
	/* what the requests came to */
	unsigned done;
	unsigned ok;
	int rc;
	char media[512];
};

/* --- time ---------------------------------------------------------------- */

/* The linker puts this in the place of clock_boot_ms(). */
int64_t __real_clock_boot_ms(void);
int64_t __wrap_clock_boot_ms(void);

static int64_t later_ms;

int64_t
__wrap_clock_boot_ms(void)
{
	return __real_clock_boot_ms() + later_ms;
}

/* --- sound --------------------------------------------------------------- */

struct program_end {
	struct evbuffer *output;
	int rc;
	bool over;
};

static void
on_program(void *arg, const struct subprocess_result *result)
{
	struct program_end *end = arg;

	end->rc = result->rc;
	(void)evbuffer_add_buffer(end->output, result->output);
	end->over = true;
}

/* What a program makes of `input`, which is emptied. */
static struct evbuffer *
filter(struct event_base *base, const char *const *argv,
    struct evbuffer *input)
{
	struct subprocess_set *set = subprocess_set_new(base);
	struct program_end end = { .output = evbuffer_new() };
	const struct subprocess_request request = { .argv = argv,
		.input = input, .output_max_bytes = 1 << 22,
		.finish = on_program, .arg = &end };

	if (subprocess_start(set, &request, NULL) != 0)
		abort();
	RUN_UNTIL(base, end.over);
	if (end.rc != 0)
		abort();
	subprocess_set_free(&set);
	return end.output;
}

static void
put_json(char *out, size_t size, const unsigned char *wav, size_t len)
{
	char *text = calloc(1, len * 4 / 3 + 8);

	(void)EVP_EncodeBlock((unsigned char *)text, wav, (int)len);
	(void)snprintf(out, size, "{\"audioContent\": \"%s\"}", text);
	free(text);
}

/*
 * An MP3 as the answer to gTTS's RPC: in lines of which the one with the
 * sound is no JSON for itself. `mp3` is emptied.
 */
static void
put_rpc(char *out, size_t size, struct evbuffer *mp3)
{
	const size_t len = evbuffer_get_length(mp3);
	char *text = calloc(1, len * 4 / 3 + 8);

	(void)EVP_EncodeBlock((unsigned char *)text, evbuffer_pullup(mp3, -1),
	    (int)len);
	(void)snprintf(out, size, ")]}'\n\n[[\"wrb.fr\",\"jQ1olc\","
	    "\"[\\\"%s\\\"]\",null,null,null,\"generic\"]\n"
	    ",[\"di\",79]\n,[\"af.httprm\",79,\"-55\",13]\n]\n", text);
	free(text);
	evbuffer_free(mp3);
}

/* A WAV of zeros. */
static void
put_silence(char *out, size_t size, unsigned rate, unsigned samples)
{
	unsigned char wav[2048] = "RIFF....WAVEfmt \x10\0\0\0\1\0\1\0";
	const unsigned bytes = 2 * samples;
	const uint32_t words[] = { rate, 2 * rate, 0x100002, 0x61746164,
		bytes };
	const uint32_t riff = 36 + bytes;

	memcpy(wav + 4, &riff, 4);
	memcpy(wav + 24, words, sizeof(words));
	put_json(out, size, wav, 44 + bytes);
}

static int
make_sounds(void **state KAP_UNUSED)
{
	static const char *const say[] = { ESPEAK, "--stdin", "--stdout",
		NULL };
	static const char *const to_pcm[] = { FFMPEG, "-loglevel", "error",
		"-f", "wav", "-i", "pipe:0", "-ar", "8000", "-ac", "1", "-f",
		"s16le", "pipe:1", NULL };
	static const char *const to_mp3[] = { FFMPEG, "-loglevel", "error",
		"-f", "s16le", "-ar", "8000", "-ac", "1", "-i", "pipe:0",
		"-ar", "24000", "-f", "mp3", "pipe:1", NULL };
	struct event_base *base = event_base_new();
	struct evbuffer *text = evbuffer_new();
	struct evbuffer *wav;
	struct evbuffer *pcm;
	unsigned char *data;
	size_t len;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)evbuffer_add_printf(text, "one\n");
	wav = filter(base, say, text);
	pcm = filter(base, to_pcm, wav);
	len = evbuffer_get_length(pcm);
	data = calloc(1, len + 44);
	memcpy(data, "RIFF", 4);
	{
		const uint32_t riff = (uint32_t)len + 36;
		const uint32_t fmt[] = { 16, 0x10001, 8000, 16000, 0x100002,
			0x61746164, (uint32_t)len };

		memcpy(data + 4, &riff, 4);
		memcpy(data + 8, "WAVEfmt ", 8);
		memcpy(data + 16, fmt, sizeof(fmt));
	}
	(void)evbuffer_copyout(pcm, data + 44, len);
	put_json(sounds.google, sizeof(sounds.google), data, len + 44);
	free(data);
	put_rpc(sounds.gtts, sizeof(sounds.gtts), filter(base, to_mp3, pcm));
	data = calloc(1, 16000);
	(void)evbuffer_add(pcm, data, 16000);
	free(data);
	put_rpc(sounds.gtts_quiet, sizeof(sounds.gtts_quiet),
	    filter(base, to_mp3, pcm));
	put_silence(sounds.other_rate, sizeof(sounds.other_rate), 16000, 900);
	put_silence(sounds.brief, sizeof(sounds.brief), 8000, 399);
	evbuffer_free(text);
	evbuffer_free(wav);
	evbuffer_free(pcm);
	event_base_free(base);
	return strlen(sounds.gtts) > 1000 ? 0 : -1;
}

/* --- the servers ---------------------------------------------------------- */

static void
send_chunk(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	static const char zeros[65536];
	struct evhttp_request *request = arg;
	struct evbuffer *chunk;
	const struct timeval wait = { .tv_usec = 1000 };

	if (evhttp_request_get_connection(request) == NULL) {
		evhttp_request_free(request);
		return;
	}
	chunk = evbuffer_new();
	(void)evbuffer_add(chunk, zeros, sizeof(zeros));
	evhttp_send_reply_chunk(request, chunk);
	evbuffer_free(chunk);
	(void)event_base_once(evhttp_connection_get_base(
	    evhttp_request_get_connection(request)), -1, EV_TIMEOUT,
	    send_chunk, request, &wait);
}

/* The body of the modes that are the same whatever was asked for. */
static const char *
body_of(enum mode mode, const char *sound)
{
	static const char *const bodies[] = {
		[MODE_500] = "{\"error\":{\"message\":\"no\"}}",
		[MODE_400] = "{\"error\":{\"code\":400,\"message\":\"Voice "
		    "'x' does not exist.\",\"status\":"
		    "\"INVALID_ARGUMENT\"}}",
		[MODE_EMPTY] = "",
		[MODE_GARBAGE] = "<html>\x01 not sound",
		[MODE_BAD_BASE64] = "{\"audioContent\": \"UklGR*==\"}",
		[MODE_NO_WAV] = "{\"audioContent\": \"aGVsbG8gd29ybGQh\"}",
		[MODE_OTHER_RATE] = sounds.other_rate,
		[MODE_SHORT_WAV] = sounds.brief,
		/* as Google answers to a wrong key, abridged */
		[MODE_BAD_KEY] = "{\"error\":{\"code\":400,\"message\":"
		    "\"Wrong.\",\"status\":\"INVALID_ARGUMENT\",\"details\":"
		    "[{\"@type\":\"type.googleapis.com/google.rpc."
		    "ErrorInfo\",\"reason\":\"API_KEY_INVALID\"}]}}",
		[MODE_OLD_BAD_KEY] = "{\"error\":{\"code\":400,\"message\":"
		    "\"API key not valid. Please pass a valid API key.\"}}",
		[MODE_NO_SOUND] = ")]}'\n\n[[\"wrb.fr\",\"jQ1olc\",null,"
		    "null,null,[3],\"generic\"]\n,[\"di\",12]\n]\n",
		[MODE_NO_MP3] = ")]}'\n\n[[\"wrb.fr\",\"jQ1olc\","
		    "\"[\\\"aGVsbG8gd29ybGQh\\\"]\",null,null,null,"
		    "\"generic\"]\n,[\"di\",12]\n]\n",
	};

	return mode == MODE_SOUND ? sound : bodies[mode];
}

static void
answer(struct evhttp_request *request, enum mode mode, const char *sound)
{
	struct evbuffer *body;

	switch (mode) {
	case MODE_HANG:
		return;
	case MODE_ENDLESS:
		evhttp_request_own(request);
		evhttp_send_reply_start(request, 200, "OK");
		send_chunk(-1, 0, request);
		return;
	default:
		break;
	}
	body = evbuffer_new();
	sound = body_of(mode, sound);
	(void)evbuffer_add(body, sound, strlen(sound));
	evhttp_send_reply(request, mode == MODE_500 ? 500 :
	    mode == MODE_400 || mode == MODE_BAD_KEY ||
	    mode == MODE_OLD_BAD_KEY ? 400 : 200, "Answer", body);
	evbuffer_free(body);
}

static void
note_text(struct fixture *fixture, const char *text)
{
	const size_t len = strlen(fixture->asked);

	(void)snprintf(fixture->asked + len, sizeof(fixture->asked) - len,
	    "%s\n", text);
}

static const char *
member(const cJSON *tree, const char *object, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(
	    cJSON_GetObjectItem(tree, object), name));

	return text != NULL ? text : "";
}

/* text:synthesize, as its reference says. */
static void
on_google(struct evhttp_request *request, void *arg)
{
	struct fixture *fixture = arg;
	struct evkeyvalq *headers = evhttp_request_get_input_headers(request);
	struct evbuffer *body = evhttp_request_get_input_buffer(request);
	const char *key = evhttp_find_header(headers, "x-goog-api-key");
	const char *bearer = evhttp_find_header(headers, "Authorization");
	cJSON *tree = cJSON_ParseWithLength((const char *)evbuffer_pullup(body,
	    -1), evbuffer_get_length(body));

	/* what comes after a hanging engine has all the time it needs */
	fixture->config.speech.timeout_ms = 50000;
	fixture->google_count++;
	assert_int_equal(evhttp_request_get_command(request),
	    EVHTTP_REQ_POST);
	assert_non_null(tree);
	assert_string_equal(member(tree, "audioConfig", "audioEncoding"),
	    "LINEAR16");
	assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(
	    cJSON_GetObjectItem(tree, "audioConfig"), "sampleRateHertz")) ==
	    8000);
	assert_null(cJSON_GetObjectItem(cJSON_GetObjectItem(tree, "input"),
	    "ssml"));
	assert_true(strlen(member(tree, "input", "text")) <= 5000);
	note_text(fixture, member(tree, "input", "text"));
	(void)snprintf(fixture->language, sizeof(fixture->language), "%s %s",
	    member(tree, "voice", "languageCode"),
	    member(tree, "voice", "name"));
	(void)snprintf(fixture->auth, sizeof(fixture->auth), "%s|%s",
	    key != NULL ? key : "", bearer != NULL ? bearer : "");
	cJSON_Delete(tree);
	answer(request, fixture->google_mode, sounds.google);
}

/* The parameters of gTTS's RPC out of a request's body; for cJSON_Delete. */
static cJSON *
parse_rpc(struct evbuffer *body)
{
	const size_t len = evbuffer_get_length(body);
	char *text = calloc(1, len + 1);
	char *decoded;
	cJSON *tree;
	cJSON *call;
	cJSON *parameters;

	(void)evbuffer_copyout(body, text, len);
	assert_int_equal(strncmp(text, "f.req=", 6), 0);
	assert_int_equal(text[len - 1], '&');
	text[len - 1] = '\0';
	assert_null(strpbrk(text + 6, "&=+ \"[]"));
	decoded = evhttp_uridecode(text + 6, 0, NULL);
	assert_non_null(decoded);
	tree = cJSON_Parse(decoded);
	call = cJSON_GetArrayItem(cJSON_GetArrayItem(tree, 0), 0);
	assert_int_equal(cJSON_GetArraySize(call), 4);
	assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(call, 0)),
	    "jQ1olc");
	assert_true(cJSON_IsNull(cJSON_GetArrayItem(call, 2)));
	assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(call, 3)),
	    "generic");
	parameters = cJSON_Parse(cJSON_GetStringValue(
	    cJSON_GetArrayItem(call, 1)));
	assert_int_equal(cJSON_GetArraySize(parameters), 4);
	assert_true(cJSON_IsNull(cJSON_GetArrayItem(parameters, 2)));
	assert_string_equal(cJSON_GetStringValue(
	    cJSON_GetArrayItem(parameters, 3)), "null");
	cJSON_Delete(tree);
	free(decoded);
	free(text);
	return parameters;
}

static void
hold(struct fixture *fixture, struct evhttp_request *request, bool quiet)
{
	fixture->held[fixture->held_count] = request;
	fixture->held_quiet[fixture->held_count++] = quiet;
	if (fixture->held_count < HELD_MAX)
		return;
	while (fixture->held_count > 0) {
		fixture->held_count--;
		answer(fixture->held[fixture->held_count], MODE_SOUND,
		    fixture->held_quiet[fixture->held_count] ?
		    sounds.gtts_quiet : sounds.gtts);
	}
}

/* As gTTS 2.5.4 asks (tts.py: GOOGLE_TTS_HEADERS, _package_rpc()). */
static void
on_gtts(struct evhttp_request *request, void *arg)
{
	struct fixture *fixture = arg;
	struct evkeyvalq *headers = evhttp_request_get_input_headers(request);
	cJSON *parameters;
	const char *text;
	bool quiet;
	bool later;

	fixture->config.speech.timeout_ms = 50000;
	fixture->gtts_count++;
	assert_int_equal(evhttp_request_get_command(request),
	    EVHTTP_REQ_POST);
	assert_string_equal(evhttp_request_get_uri(request), RPC_PATH);
	assert_string_equal(evhttp_find_header(headers, "Content-Type"),
	    "application/x-www-form-urlencoded;charset=utf-8");
	assert_string_equal(evhttp_find_header(headers, "Referer"),
	    "http://translate.google.com/");
	assert_int_equal(strncmp(evhttp_find_header(headers, "User-Agent"),
	    "Mozilla/5.0 ", 12), 0);
	parameters = parse_rpc(evhttp_request_get_input_buffer(request));
	text = cJSON_GetStringValue(cJSON_GetArrayItem(parameters, 0));
	assert_non_null(text);
	note_text(fixture, text);
	(void)snprintf(fixture->language, sizeof(fixture->language), "%s",
	    cJSON_GetStringValue(cJSON_GetArrayItem(parameters, 1)));
	quiet = strstr(text, "quiet") != NULL;
	later = fixture->later_text != NULL &&
	    strstr(text, fixture->later_text) != NULL;
	cJSON_Delete(parameters);
	if (fixture->hold)
		hold(fixture, request, quiet);
	else
		answer(request, later ? fixture->later_mode :
		    fixture->gtts_mode, quiet ? sounds.gtts_quiet :
		    sounds.gtts);
}

/* The JWT's signature is checked with the key that the file has. */
static void
check_assertion(struct fixture *fixture, char *jwt)
{
	unsigned char signature[600] = { 0 };
	char padded[800] = "";
	char *dot = strrchr(jwt, '.');
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t len;

	assert_non_null(dot);
	len = strlen(dot + 1);
	assert_true(len == 342); /* 256 bytes without padding */
	(void)snprintf(padded, sizeof(padded), "%s==", dot + 1);
	for (char *at = padded; *at != '\0'; at++)
		*at = *at == '-' ? '+' : *at == '_' ? '/' : *at;
	assert_int_equal(EVP_DecodeBlock(signature,
	    (const unsigned char *)padded, (int)strlen(padded)), 258);
	assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL,
	    fixture->key), 1);
	assert_int_equal(EVP_DigestVerify(ctx, signature, 256,
	    (const unsigned char *)jwt, (size_t)(dot - jwt)), 1);
	EVP_MD_CTX_free(ctx);
}

static void
on_token(struct evhttp_request *request, void *arg)
{
	static const char token[] = "{\"access_token\":\"ya29.secret\","
	    "\"expires_in\":3599,\"token_type\":\"Bearer\"}";
	struct fixture *fixture = arg;
	struct evbuffer *body = evhttp_request_get_input_buffer(request);
	struct evkeyvalq form;
	char text[4096] = "";

	fixture->token_count++;
	(void)evbuffer_copyout(body, text, sizeof(text) - 1);
	assert_int_equal(evhttp_parse_query_str(text, &form), 0);
	assert_string_equal(evhttp_find_header(&form, "grant_type"),
	    "urn:ietf:params:oauth:grant-type:jwt-bearer");
	(void)snprintf(text, sizeof(text), "%s",
	    evhttp_find_header(&form, "assertion"));
	evhttp_clear_headers(&form);
	check_assertion(fixture, text);
	answer(request, fixture->token_mode, token);
}

/* --- the fixture ---------------------------------------------------------- */

static int
set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct config *config = &fixture->config;
	struct evhttp_bound_socket *bound;
	struct sockaddr_in in;
	socklen_t len = sizeof(in);

	(void)snprintf(fixture->dir, sizeof(fixture->dir),
	    "/tmp/kaphila-speech-XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	later_ms = 0;
	fixture->base = event_base_new();
	fixture->http = evhttp_new(fixture->base);
	bound = evhttp_bind_socket_with_handle(fixture->http, "127.0.0.1", 0);
	assert_non_null(bound);
	assert_int_equal(getsockname(evhttp_bound_socket_get_fd(bound),
	    (struct sockaddr *)&in, &len), 0);
	(void)evhttp_set_cb(fixture->http, "/v1/text:synthesize", on_google,
	    fixture);
	(void)evhttp_set_cb(fixture->http, RPC_PATH, on_gtts, fixture);
	(void)evhttp_set_cb(fixture->http, "/token", on_token, fixture);
	(void)snprintf(fixture->url, sizeof(fixture->url),
	    "http://127.0.0.1:%u", ntohs(in.sin_port));
	config_init(config);
	(void)snprintf(config->speech.dir, CONFIG_TEXT_MAX, "%s/cache",
	    fixture->dir);
	(void)snprintf(config->speech.asterisk_dir, CONFIG_TEXT_MAX, "/seen");
	(void)snprintf(config->speech.google_url, CONFIG_TEXT_MAX, "%s",
	    fixture->url);
	(void)snprintf(config->speech.gtts_url, CONFIG_TEXT_MAX, "%s",
	    fixture->url);
	(void)snprintf(config->speech.google_key, CONFIG_TEXT_MAX, "the-key");
	config->speech.timeout_ms = 50000;
	*state = fixture;
	return 0;
}

static void
begin(struct fixture *fixture, const char *engines)
{
	(void)snprintf(fixture->config.speech.engines, CONFIG_TEXT_MAX, "%s",
	    engines);
	speech_free(&fixture->speech);
	fixture->speech = speech_new(fixture->base, &fixture->config);
	assert_non_null(fixture->speech);
}

static int
remove_entry(const char *path, const struct stat *st KAP_UNUSED,
    int kind KAP_UNUSED, struct FTW *ftw KAP_UNUSED)
{
	return remove(path);
}

static unsigned counted_files;
static const char *counted_ending;

static int
count_entry(const char *path, const struct stat *st KAP_UNUSED, int kind,
    struct FTW *ftw KAP_UNUSED)
{
	const size_t len = strlen(path);
	const size_t ending = strlen(counted_ending);

	if (kind == FTW_F && len >= ending &&
	    strcmp(path + len - ending, counted_ending) == 0)
		counted_files++;
	return 0;
}

static unsigned
count_files(const struct fixture *fixture, const char *ending)
{
	counted_files = 0;
	counted_ending = ending;
	(void)nftw(fixture->config.speech.dir, count_entry, 8, FTW_PHYS);
	return counted_files;
}

static int
tear_down(void **state)
{
	struct fixture *fixture = *state;

	speech_free(&fixture->speech);
	assert_int_equal(count_files(fixture, ".tmp"), 0);
	assert_int_equal(count_files(fixture, ".lock"), 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	evhttp_free(fixture->http);
	event_base_free(fixture->base);
	EVP_PKEY_free(fixture->key);
	(void)nftw(fixture->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	free(fixture);
	return 0;
}

static void
on_done(void *arg, int rc, const char *media)
{
	struct fixture *fixture = arg;

	fixture->done++;
	fixture->ok += rc == 0;
	fixture->rc = rc;
	assert_true((rc == 0) == (media != NULL));
	(void)snprintf(fixture->media, sizeof(fixture->media), "%s",
	    media != NULL ? media : "");
}

/* Ask and wait; the result of it. */
static int
ask(struct fixture *fixture, const char *voice, const char *text)
{
	int rc;

	fixture->done = 0;
	fixture->asked[0] = '\0';
	rc = speech_request(fixture->speech, voice, text, on_done, fixture);
	if (rc != 0)
		return rc;
	RUN_UNTIL(fixture->base, fixture->done > 0);
	assert_int_equal(fixture->done, 1);
	return fixture->rc;
}

/* What Asterisk will find: the form that it plays, and how long, in ms. */
static unsigned
check_file(const struct fixture *fixture)
{
	char path[600];
	SF_INFO info = { .format = 0 };
	struct stat st;
	SNDFILE *file;

	assert_int_equal(strncmp(fixture->media, "sound:/seen/", 12), 0);
	(void)snprintf(path, sizeof(path), "%s/%s.wav",
	    fixture->config.speech.dir, fixture->media + 12);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	file = sf_open(path, SFM_READ, &info);
	assert_non_null(file);
	assert_int_equal(info.samplerate, 8000);
	assert_int_equal(info.channels, 1);
	assert_int_equal(info.format, SF_FORMAT_WAV | SF_FORMAT_PCM_16);
	assert_int_equal(st.st_size, 44 + 2 * info.frames);
	(void)sf_close(file);
	return (unsigned)(info.frames / 8);
}

static bool
was_spoken_by(const struct fixture *fixture, const char *engine,
    const char *voice, const char *text)
{
	char hash[SPEECH_HASH_SIZE];

	/* NULL: what the engine makes of VOICE */
	if (voice == NULL)
		voice = strcmp(engine, "google") == 0 ? VOICE :
		    strcmp(engine, "gtts") == 0 ? "en" : "en-us";
	assert_int_equal(speech_cache_hash(engine, voice, text, hash), 0);
	return strstr(fixture->media, hash) != NULL;
}

/* --- tests ---------------------------------------------------------------- */

static void
test_espeak(void **state)
{
	static const struct {
		const char *name;
		const char *voice;
		const char *espeak; /* its name of the voice */
		const char *text;
		const char *clean;
		unsigned least_ms;
	} cases[] = {
		{ "English", VOICE, "en-us", HELLO, HELLO, 1000 },
		{ "no voice", NULL, "en-us", "Another", "Another", 300 },
		{ "British", "en-GB-News-G", "en-gb", "Hello", "Hello", 200 },
		{ "Chinese", "cmn-CN-Wavenet-A", "cmn", "你好，世界。",
		    "你好，世界。", 500 },
		{ "Arabic", "ar-XA-Standard-A", "ar", "مرحبا بالعالم",
		    "مرحبا بالعالم", 500 },
		{ "controls", "en-US", "en-us", "\x01" "50Sfour\n\t\x7f two ",
		    "50Sfour\ntwo", 500 },
		{ "an option", VOICE, "en-us", "--version", "--version", 300 },
		{ "a file", VOICE, "en-us", "-f /etc/passwd",
		    "-f /etc/passwd", 300 },
		{ "SSML", VOICE, "en-us",
		    "<speak><break time=\"90s\"/>x &amp; y</speak>",
		    "<speak><break time=\"90s\"/>x &amp; y</speak>", 300 },
		{ "phonemes", VOICE, "en-us", "[[[[h@l'oU]]", "[[[[h@l'oU]]",
		    300 },
	};
	struct fixture *fixture = *state;

	begin(fixture, "espeak");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("%s\n", cases[i].name);
		assert_int_equal(ask(fixture, cases[i].voice, cases[i].text),
		    0);
		assert_true(was_spoken_by(fixture, "espeak", cases[i].espeak,
		    cases[i].clean));
		assert_true(check_file(fixture) >= cases[i].least_ms);
		assert_true(check_file(fixture) < 30000);
	}
	/* a second time without any program */
	(void)snprintf(fixture->config.speech.espeak_program, CONFIG_TEXT_MAX,
	    "/nonexistent");
	assert_int_equal(ask(fixture, VOICE, HELLO), 0);
	assert_int_equal(ask(fixture, "xx-YY-Nobody", HELLO), -KAP_GONE);
}

static void
test_refused(void **state)
{
	struct fixture *fixture = *state;
	static char huge[SPEECH_TEXT_MAX + 2];
	static const struct {
		const char *voice;
		const char *text;
	} cases[] = {
		{ VOICE, "" }, { VOICE, " \n\t " }, { VOICE, huge },
		{ VOICE, "\xff\xfe" }, { VOICE, "a\xc0\x80" },
		{ VOICE, "\xed\xa0\x80" }, { "e", HELLO },
		{ "../../etc", HELLO }, { "en-US-\"", HELLO },
		{ "-f-etc", HELLO }, { "en_US", HELLO }, { "en-", HELLO },
		{ "en-USA", HELLO },
	};

	memset(huge, 'a', sizeof(huge) - 1);
	begin(fixture, "espeak");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(ask(fixture, cases[i].voice, cases[i].text),
		    -KAP_INVAL);
	begin(fixture, "");
	assert_int_equal(ask(fixture, VOICE, HELLO), -KAP_GONE);
}

static void
test_google(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture, "google,gtts,espeak");
	assert_int_equal(ask(fixture, VOICE, "<b>\"quoted\"</b> \\ text"), 0);
	assert_true(check_file(fixture) > 200);
	assert_string_equal(fixture->asked, "<b>\"quoted\"</b> \\ text\n");
	assert_string_equal(fixture->language, "en-US en-US-Neural2-A");
	assert_string_equal(fixture->auth, "the-key|");
	assert_int_equal(ask(fixture, "cmn-CN-Wavenet-A", "你好"), 0);
	assert_string_equal(fixture->language, "cmn-CN cmn-CN-Wavenet-A");
	assert_int_equal(ask(fixture, "de-DE", "Hallo"), 0);
	assert_string_equal(fixture->language, "de-DE ");
	assert_int_equal(fixture->google_count, 3);
	assert_int_equal(ask(fixture, "de-DE", "Hallo"), 0);
	assert_int_equal(fixture->google_count, 3);
	assert_int_equal(fixture->gtts_count, 0);
}

static void
test_gtts(void **state)
{
	struct fixture *fixture = *state;

	fixture->config.speech.google_key[0] = '\0'; /* not configured */
	begin(fixture, "google, gtts");
	assert_int_equal(ask(fixture, VOICE, "a&b=c#\"]\\ 100% +é"), 0);
	assert_string_equal(fixture->asked, "a&b=c#\"]\\ 100% +é\n");
	assert_string_equal(fixture->language, "en");
	assert_true(check_file(fixture) > 200);
	assert_int_equal(ask(fixture, "cmn-TW-Wavenet-A", "你好"), 0);
	assert_string_equal(fixture->language, "zh-TW");
	fixture->gtts_count = 0;
	assert_int_equal(ask(fixture, VOICE, "?! ... :"), -KAP_INVAL);
	assert_int_equal(fixture->gtts_count, 0);
	assert_int_equal(ask(fixture, VOICE, "The first clause, of several "
	    "words, ends here; and this is another one. It has 3.14 in it, "
	    "and so it is long enough."), 0);
	assert_int_equal(fixture->gtts_count, 6);
	assert_non_null(strstr(fixture->asked, "The first clause\n"));
	assert_non_null(strstr(fixture->asked, "It has 3.14 in it\n"));
	assert_non_null(strstr(fixture->asked, "and so it is long enough.\n"));
	assert_int_equal(fixture->google_count, 0);
}

/* Read the file that was made; its samples count, at most `max`. */
static size_t
read_samples(const struct fixture *fixture, short *samples, size_t max)
{
	char path[600];
	SF_INFO info = { .format = 0 };
	SNDFILE *file;
	sf_count_t got;

	(void)snprintf(path, sizeof(path), "%s/%s.wav",
	    fixture->config.speech.dir, fixture->media + 12);
	file = sf_open(path, SFM_READ, &info);
	assert_non_null(file);
	got = sf_read_short(file, samples, (sf_count_t)max);
	(void)sf_close(file);
	assert_true(got > 0);
	return (size_t)got;
}

static bool
is_loud(const short *samples, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (samples[i] > 1000)
			return true;
	}
	return false;
}

#define LONG_CLAUSE " and goes on until it has more words"

/* Six are fetched at once, and answered last first: the order is the text's. */
static void
test_pieces_in_order(void **state)
{
	struct fixture *fixture = *state;
	static short samples[1 << 17];
	size_t count;

	begin(fixture, "gtts");
	fixture->hold = true;
	assert_int_equal(ask(fixture, VOICE, "The first is loud" LONG_CLAUSE
	    ", the second is" LONG_CLAUSE ", the third" LONG_CLAUSE
	    ", this one is quiet, the next is quiet, also quiet."), 0);
	assert_int_equal(fixture->gtts_count, 6);
	count = read_samples(fixture, samples,
	    sizeof(samples) / sizeof(samples[0]));
	assert_true(is_loud(samples, count / 4));
	assert_false(is_loud(samples + count / 2 + count / 4, count / 4));
}

/* One piece of three fails: nothing is made of the others, nothing kept. */
static void
test_later_piece_fails(void **state)
{
	static const struct {
		const char *name;
		enum mode mode;
		int64_t timeout_ms;
		bool rests;
	} cases[] = {
		{ "not MP3", MODE_NO_MP3, 50000, true },
		{ "garbage", MODE_GARBAGE, 50000, true },
		{ "500", MODE_500, 50000, true },
		{ "hang", MODE_HANG, 500, true },
		{ "endless", MODE_ENDLESS, 50000, true },
		{ "no sound", MODE_NO_SOUND, 50000, false },
	};
	struct fixture *fixture = *state;
	char text[200];

	fixture->later_text = "the second";
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("%s\n", cases[i].name);
		begin(fixture, "gtts");
		fixture->later_mode = cases[i].mode;
		fixture->config.speech.timeout_ms = cases[i].timeout_ms;
		(void)snprintf(text, sizeof(text), "Case %zu" LONG_CLAUSE
		    ", the second" LONG_CLAUSE ", the third" LONG_CLAUSE, i);
		assert_int_equal(ask(fixture, VOICE, text),
		    cases[i].rests ? -KAP_GONE : -KAP_INVAL);
		assert_int_equal(count_files(fixture, ""), 0);
		/* who can't speak a text is asked first for the next */
		begin(fixture, "gtts,espeak");
		fixture->config.speech.timeout_ms = cases[i].timeout_ms;
		assert_int_equal(ask(fixture, VOICE, text), 0);
		assert_true(was_spoken_by(fixture, "espeak", NULL, text));
		(void)snprintf(text, sizeof(text), "case %zu", i);
		assert_int_equal(ask(fixture, VOICE, text), 0);
		assert_true(was_spoken_by(fixture, cases[i].rests ? "espeak" :
		    "gtts", NULL, text));
		assert_int_equal(count_files(fixture, ".tmp"), 0);
		assert_int_equal(count_files(fixture, ".lock"), 0);
		assert_int_equal(nftw(fixture->config.speech.dir,
		    remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
	}
}

/* A '/' at an address's end is none of the path. */
static void
test_addresses(void **state)
{
	struct fixture *fixture = *state;

	(void)strncat(fixture->config.speech.google_url, "/", 2);
	(void)strncat(fixture->config.speech.gtts_url, "//", 3);
	begin(fixture, "google");
	assert_int_equal(ask(fixture, VOICE, HELLO), 0);
	begin(fixture, "gtts");
	assert_int_equal(ask(fixture, VOICE, HELLO), 0);
}

/* Whatever goes wrong, the next engine speaks. */
static void
test_fallback(void **state)
{
	static const struct {
		const char *name;
		enum mode google;
		enum mode gtts;
		int64_t timeout_ms;
		const char *engine;
	} cases[] = {
		{ "500", MODE_500, MODE_SOUND, 50000, "gtts" },
		{ "400", MODE_400, MODE_SOUND, 50000, "gtts" },
		{ "empty", MODE_EMPTY, MODE_SOUND, 50000, "gtts" },
		{ "garbage", MODE_GARBAGE, MODE_SOUND, 50000, "gtts" },
		{ "bad base64", MODE_BAD_BASE64, MODE_SOUND, 50000, "gtts" },
		{ "no WAV", MODE_NO_WAV, MODE_SOUND, 50000, "gtts" },
		{ "another rate", MODE_OTHER_RATE, MODE_SOUND, 50000,
		    "google" },
		{ "a wrong key", MODE_BAD_KEY, MODE_SOUND, 50000, "gtts" },
		{ "short WAV", MODE_SHORT_WAV, MODE_SOUND, 50000, "gtts" },
		{ "hang", MODE_HANG, MODE_SOUND, 200, "gtts" },
		{ "endless", MODE_ENDLESS, MODE_SOUND, 50000, "gtts" },
		{ "500 of both", MODE_500, MODE_500, 50000, "espeak" },
		{ "MP3 garbage", MODE_500, MODE_GARBAGE, 50000, "espeak" },
		{ "MP3 endless", MODE_500, MODE_ENDLESS, 50000, "espeak" },
		{ "MP3 empty", MODE_500, MODE_EMPTY, 50000, "espeak" },
	};
	struct fixture *fixture = *state;
	char text[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("%s\n", cases[i].name);
		begin(fixture, "google,gtts,espeak");
		fixture->google_mode = cases[i].google;
		fixture->gtts_mode = cases[i].gtts;
		fixture->config.speech.timeout_ms = cases[i].timeout_ms;
		fixture->google_count = 0;
		fixture->gtts_count = 0;
		(void)snprintf(text, sizeof(text), "case %zu", i);
		assert_int_equal(ask(fixture, VOICE, text), 0);
		assert_int_equal(fixture->google_count, 1);
		assert_true(was_spoken_by(fixture, cases[i].engine, NULL,
		    text));
		assert_true(check_file(fixture) >= 50);
	}
}

/* One that failed is tried last for a while, but tried. */
static void
test_rest(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture, "google,espeak");
	fixture->google_mode = MODE_500;
	assert_int_equal(ask(fixture, VOICE, "first"), 0);
	assert_int_equal(fixture->google_count, 1);
	fixture->google_mode = MODE_SOUND;
	assert_int_equal(ask(fixture, VOICE, "second"), 0);
	assert_true(was_spoken_by(fixture, "espeak", "en-us", "second"));
	assert_int_equal(fixture->google_count, 1);
	(void)snprintf(fixture->config.speech.espeak_program, CONFIG_TEXT_MAX,
	    "/nonexistent");
	assert_int_equal(ask(fixture, VOICE, "third"), 0);
	assert_true(was_spoken_by(fixture, "google", VOICE, "third"));
	/* a text that it can't speak is no reason to rest */
	begin(fixture, "google,espeak");
	fixture->google_mode = MODE_400;
	assert_int_equal(ask(fixture, VOICE, "fourth"), -KAP_GONE);
	assert_int_equal(ask(fixture, VOICE, "fifth"), -KAP_GONE);
	assert_int_equal(fixture->google_count, 4);
}

/* A key that Google doesn't take is no fault of the text, though a 400. */
static void
test_wrong_key(void **state)
{
	static const enum mode modes[] = { MODE_BAD_KEY, MODE_OLD_BAD_KEY };
	struct fixture *fixture = *state;
	char text[32];

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		begin(fixture, "google,espeak");
		fixture->google_mode = modes[i];
		fixture->google_count = 0;
		for (int n = 0; n < 3; n++) {
			(void)snprintf(text, sizeof(text), "%zu %d", i, n);
			assert_int_equal(ask(fixture, VOICE, text), 0);
		}
		assert_int_equal(fixture->google_count, 1);
	}
}

/* When its rest is over one text finds out; the others don't wait for it. */
static void
test_one_probes(void **state)
{
	struct fixture *fixture = *state;
	char text[32];

	begin(fixture, "google,espeak");
	fixture->google_mode = MODE_500;
	assert_int_equal(ask(fixture, VOICE, "first"), 0);
	assert_int_equal(fixture->google_count, 1);
	later_ms += 20000;
	fixture->google_mode = MODE_HANG;
	fixture->done = 0;
	for (int i = 0; i < 4; i++) {
		(void)snprintf(text, sizeof(text), "second %d", i);
		assert_int_equal(speech_request(fixture->speech, VOICE, text,
		    on_done, fixture), 0);
	}
	RUN_UNTIL(fixture->base, fixture->done == 3 &&
	    fixture->google_count > 1);
	assert_int_equal(fixture->google_count, 2);
	/* a success ends the rest for all */
	begin(fixture, "google,espeak");
	fixture->google_mode = MODE_500;
	assert_int_equal(ask(fixture, VOICE, "third"), 0);
	later_ms += 20000;
	fixture->google_mode = MODE_SOUND;
	assert_int_equal(ask(fixture, VOICE, "fourth"), 0);
	assert_int_equal(ask(fixture, VOICE, "fifth"), 0);
	assert_true(was_spoken_by(fixture, "google", NULL, "fifth"));
}

static void
write_key_file(const struct fixture *fixture, const char *pem)
{
	FILE *file = fopen(fixture->config.speech.google_token_file, "w");
	cJSON *tree = cJSON_CreateObject();
	char uri[100];
	char *text;

	(void)snprintf(uri, sizeof(uri), "%s/token", fixture->url);
	(void)cJSON_AddStringToObject(tree, "client_email", "a@b.test");
	(void)cJSON_AddStringToObject(tree, "private_key", pem);
	(void)cJSON_AddStringToObject(tree, "token_uri", uri);
	text = cJSON_Print(tree);
	assert_non_null(file);
	(void)fputs(text, file);
	(void)fclose(file);
	cJSON_free(text);
	cJSON_Delete(tree);
}

/* A new key as PEM, with a password if there is one; free() it. */
static char *
make_pem(struct fixture *fixture, const char *password)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	char *pem;
	long len;

	fixture->key = EVP_RSA_gen(2048);
	assert_int_equal(PEM_write_bio_PrivateKey(bio, fixture->key,
	    password != NULL ? EVP_aes_128_cbc() : NULL,
	    (const unsigned char *)password,
	    password != NULL ? (int)strlen(password) : 0, NULL, NULL), 1);
	len = BIO_get_mem_data(bio, &data);
	pem = strndup(data, (size_t)len);
	BIO_free(bio);
	return pem;
}

/*
 * Without a terminal OpenSSL would read the password from stdin. Never
 * returns; the status is 0 if the key was refused unasked.
 */
static _Noreturn void
use_locked_key(const struct config *config)
{
	struct fixture own = { .config = *config };
	int ends[2];
	int unread = 0;
	bool good;

	good = setsid() >= 0 && pipe(ends) == 0 &&
	    dup2(ends[0], STDIN_FILENO) == STDIN_FILENO &&
	    write(ends[1], "secret\n", 7) == 7;
	own.base = event_base_new();
	own.speech = speech_new(own.base, &own.config);
	good = good && speech_request(own.speech, VOICE, HELLO, on_done,
	    &own) == 0;
	RUN_UNTIL(own.base, !good || own.done > 0);
	good = good && own.rc == -KAP_GONE &&
	    ioctl(STDIN_FILENO, FIONREAD, &unread) == 0 && unread == 7;
	speech_free(&own.speech);
	event_base_free(own.base);
	_exit(good ? 0 : 1);
}

static void
test_locked_key(void **state)
{
	struct fixture *fixture = *state;
	struct config *config = &fixture->config;
	char *pem = make_pem(fixture, "secret");
	pid_t pid;
	int status;

	config->speech.google_key[0] = '\0';
	(void)snprintf(config->speech.google_token_file, CONFIG_TEXT_MAX,
	    "%s/account.json", fixture->dir);
	(void)snprintf(config->speech.engines, CONFIG_TEXT_MAX, "google");
	write_key_file(fixture, pem);
	pid = fork();
	if (pid == 0)
		use_locked_key(config);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	free(pem);
}

static void
test_service_account(void **state)
{
	struct fixture *fixture = *state;
	struct config *config = &fixture->config;
	char *pem = make_pem(fixture, NULL);

	config->speech.google_key[0] = '\0';
	(void)snprintf(config->speech.google_token_file, CONFIG_TEXT_MAX,
	    "%s/account.json", fixture->dir);
	begin(fixture, "google");
	/* the file isn't there yet */
	assert_int_equal(ask(fixture, VOICE, "one"), -KAP_GONE);
	write_key_file(fixture, pem);
	assert_int_equal(ask(fixture, VOICE, "one"), 0);
	assert_string_equal(fixture->auth, "|Bearer ya29.secret");
	assert_int_equal(ask(fixture, VOICE, "two"), 0);
	assert_int_equal(fixture->token_count, 1);
	begin(fixture, "google");
	fixture->token_mode = MODE_GARBAGE;
	assert_int_equal(ask(fixture, VOICE, "three"), -KAP_GONE);
	fixture->token_mode = MODE_500;
	assert_int_equal(ask(fixture, VOICE, "three"), -KAP_GONE);
	assert_int_equal(fixture->token_count, 3);
	free(pem);
}

static void
test_many_ask_once(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture, "google");
	for (int i = 0; i < MANY; i++)
		assert_int_equal(speech_request(fixture->speech, VOICE, HELLO,
		    on_done, fixture), 0);
	RUN_UNTIL(fixture->base, fixture->done == MANY);
	assert_int_equal(fixture->ok, MANY);
	assert_int_equal(fixture->google_count, 1);
	assert_int_equal(count_files(fixture, ".wav"), 1);
}

/* A process of its own: a thousand requests for one text. Never returns. */
static _Noreturn void
ask_in_child(const struct fixture *parent)
{
	struct fixture own = { .config = parent->config };
	bool good = true;

	own.base = event_base_new();
	own.speech = speech_new(own.base, &own.config);
	for (int i = 0; i < MANY; i++)
		good = speech_request(own.speech, VOICE, HELLO, on_done,
		    &own) == 0 && good;
	RUN_UNTIL(own.base, own.done == MANY);
	good = good && own.ok == MANY;
	speech_free(&own.speech);
	event_base_free(own.base);
	_exit(good ? 0 : 1);
}

static void
test_processes_ask_once(void **state)
{
	struct fixture *fixture = *state;
	pid_t pids[4];
	int status;

	(void)snprintf(fixture->config.speech.engines, CONFIG_TEXT_MAX,
	    "google");
	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			ask_in_child(fixture);
		assert_true(pids[i] > 0);
	}
	for (int i = 0; i < 4; i++) {
		struct event *guard = loop_guard_new(fixture->base, "child");

		while (waitpid(pids[i], &status, WNOHANG) == 0) {
			const struct timeval turn = { .tv_usec = 5000 };

			(void)event_base_loopexit(fixture->base, &turn);
			(void)event_base_dispatch(fixture->base);
		}
		event_free(guard);
		assert_int_equal(status, 0);
	}
	assert_int_equal(fixture->google_count, 1);
	assert_int_equal(count_files(fixture, ".wav"), 1);
}

/* A holder that dies, or is given up: another one takes over. */
static void
test_lock_of_another(void **state)
{
	struct fixture *fixture = *state;
	char hash[SPEECH_HASH_SIZE];
	char path[SPEECH_PATH_SIZE];
	int fd;

	begin(fixture, "google");
	assert_int_equal(speech_cache_hash("google", VOICE, HELLO, hash), 0);
	fd = speech_cache_lock(fixture->config.speech.dir, hash);
	assert_true(fd >= 0);
	assert_int_equal(speech_cache_lock(fixture->config.speech.dir, hash),
	    -KAP_AGAIN);
	assert_int_equal(speech_request(fixture->speech, VOICE, HELLO,
	    on_done, fixture), 0);
	for (int i = 0; i < 20; i++)
		loop_run_once(fixture->base);
	assert_int_equal(fixture->done, 0);
	/* as the kernel does at its death: its files stay */
	speech_cache_path(fixture->config.speech.dir, hash,
	    SPEECH_FILE_TEMPORARY, path);
	(void)close(open(path, O_WRONLY | O_CREAT, 0600));
	(void)close(fd);
	RUN_UNTIL(fixture->base, fixture->done > 0);
	assert_int_equal(fixture->rc, 0);
	assert_int_equal(fixture->google_count, 1);
	(void)check_file(fixture);
}

/*
 * Who had the lock before found out that the engine doesn't work: who waited
 * for it doesn't try the same, but the next.
 */
static void
test_lock_of_a_failed_one(void **state)
{
	struct fixture *fixture = *state;
	char hash[SPEECH_HASH_SIZE];
	int fd;

	begin(fixture, "google,espeak");
	assert_int_equal(speech_cache_hash("google", VOICE, HELLO, hash), 0);
	fd = speech_cache_lock(fixture->config.speech.dir, hash);
	assert_true(fd >= 0);
	assert_int_equal(speech_request(fixture->speech, VOICE, HELLO,
	    on_done, fixture), 0);
	assert_int_equal(fixture->done, 0);
	speech_cache_unlock(fixture->config.speech.dir, hash, &fd);
	RUN_UNTIL(fixture->base, fixture->done > 0);
	assert_int_equal(fixture->rc, 0);
	assert_int_equal(fixture->google_count, 0);
	assert_true(was_spoken_by(fixture, "espeak", NULL, HELLO));
	/* the next text finds it as it was */
	assert_int_equal(ask(fixture, VOICE, "Another"), 0);
	assert_true(was_spoken_by(fixture, "google", NULL, "Another"));
}

/* What was cut short is made again; a hit counts as a use. */
static void
test_hit(void **state)
{
	const struct timespec old[2] = { { .tv_sec = 1000 },
		{ .tv_sec = 1000 } };
	struct fixture *fixture = *state;
	char hash[SPEECH_HASH_SIZE];
	char path[SPEECH_PATH_SIZE];
	struct stat st;

	begin(fixture, "google");
	assert_int_equal(ask(fixture, VOICE, HELLO), 0);
	assert_int_equal(speech_cache_hash("google", VOICE, HELLO, hash), 0);
	speech_cache_path(fixture->config.speech.dir, hash, SPEECH_FILE_WAV,
	    path);
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	assert_int_equal(ask(fixture, VOICE, HELLO), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_mtim.tv_sec > 1000);
	assert_int_equal(fixture->google_count, 1);
	assert_int_equal(truncate(path, st.st_size - 2), 0);
	assert_int_equal(ask(fixture, VOICE, HELLO), 0);
	assert_int_equal(fixture->google_count, 2);
	(void)check_file(fixture);
}

static void
test_long_text(void **state)
{
	struct fixture *fixture = *state;
	char *chinese = calloc(1, 4096 * 3 + 1);
	char *english = calloc(1, 4097);

	for (int i = 0; i < 4096; i++) {
		memcpy(chinese + 3 * i, i % 40 == 39 ? "。" : "好", 3);
		english[i] = i % 8 == 7 ? ' ' : 'a';
	}
	english[4095] = '.';
	begin(fixture, "google");
	assert_int_equal(ask(fixture, "cmn-CN-Wavenet-A", chinese), 0);
	assert_int_equal(fixture->google_count, 3);
	/* as many as gTTS itself makes of them */
	begin(fixture, "gtts");
	assert_int_equal(ask(fixture, "cmn-CN-Wavenet-A", chinese), 0);
	assert_int_equal(fixture->gtts_count, 103);
	fixture->gtts_count = 0;
	assert_int_equal(ask(fixture, VOICE, english), 0);
	assert_int_equal(fixture->gtts_count, 43);
	begin(fixture, "espeak");
	assert_int_equal(ask(fixture, VOICE, english), 0);
	assert_true(check_file(fixture) > 20000);
	free(chinese);
	free(english);
}

static void
test_too_many(void **state)
{
	struct fixture *fixture = *state;
	unsigned refused = 0;
	char text[32];

	begin(fixture, "google");
	assert_int_equal(ask(fixture, VOICE, "made"), 0);
	fixture->google_mode = MODE_HANG;
	fixture->google_count = 0;
	fixture->config.speech.concurrency = 2;
	for (int i = 0; i < 300; i++) {
		(void)snprintf(text, sizeof(text), "text %d", i);
		fixture->done = 0;
		assert_int_equal(speech_request(fixture->speech, VOICE, text,
		    on_done, fixture), 0);
		if (fixture->done > 0) {
			assert_int_equal(fixture->rc, -KAP_AGAIN);
			refused++;
		}
	}
	assert_int_equal(refused, 44);
	/* what is made already is there all the same */
	fixture->done = 0;
	assert_int_equal(speech_request(fixture->speech, VOICE, "made",
	    on_done, fixture), 0);
	assert_int_equal(fixture->done, 1);
	assert_int_equal(fixture->rc, 0);
	RUN_UNTIL(fixture->base, fixture->google_count == 2);
	/* what is under way hears of the end, and what waits too */
	fixture->done = 0;
	speech_free(&fixture->speech);
	assert_int_equal(fixture->done, 256);
	assert_int_equal(fixture->rc, -KAP_GONE);
	assert_int_equal(fixture->google_count, 2);
}

static void
test_queue_moves_on(void **state)
{
	struct fixture *fixture = *state;
	char text[32];

	begin(fixture, "google");
	fixture->config.speech.concurrency = 3;
	for (int i = 0; i < 100; i++) {
		(void)snprintf(text, sizeof(text), "text %d", i);
		assert_int_equal(speech_request(fixture->speech, VOICE, text,
		    on_done, fixture), 0);
	}
	RUN_UNTIL(fixture->base, fixture->done == 100);
	assert_int_equal(fixture->ok, 100);
	assert_int_equal(fixture->google_count, 100);
}

static void
test_bad_folder(void **state)
{
	struct fixture *fixture = *state;

	(void)snprintf(fixture->config.speech.dir, CONFIG_TEXT_MAX,
	    "/dev/null/cache");
	begin(fixture, "google");
	assert_int_equal(ask(fixture, VOICE, HELLO), -KAP_IO);
	assert_int_equal(fixture->google_count, 0);
}

/* --- what is logged -------------------------------------------------------- */

static char logged[4096];
static int log_fd;
static int saved_stderr;

static void
begin_log(void)
{
	log_fd = memfd_create("log", MFD_CLOEXEC);
	saved_stderr = dup(STDERR_FILENO);
	assert_true(dup2(log_fd, STDERR_FILENO) >= 0);
}

/* How often that was logged since begin_log(). */
static unsigned
end_log(const char *text)
{
	unsigned count = 0;
	ssize_t len;

	(void)dup2(saved_stderr, STDERR_FILENO);
	(void)close(saved_stderr);
	len = pread(log_fd, logged, sizeof(logged) - 1, 0);
	(void)close(log_fd);
	assert_true(len >= 0);
	logged[len] = '\0';
	for (const char *at = logged; (at = strstr(at, text)) != NULL; at++)
		count++;
	return count;
}

/* A full or forbidden folder fails for each text, and is told now and then. */
static void
test_bad_folder_is_told_once(void **state)
{
	struct fixture *fixture = *state;

	(void)snprintf(fixture->config.speech.dir, CONFIG_TEXT_MAX,
	    "/dev/null/cache");
	begin(fixture, "google");
	begin_log();
	for (int i = 0; i < 5; i++)
		assert_int_equal(ask(fixture, VOICE, HELLO), -KAP_IO);
	later_ms += 20000;
	assert_int_equal(ask(fixture, VOICE, HELLO), -KAP_IO);
	assert_int_equal(end_log("can't write a spoken text"), 2);
}

static void
test_told_at_start(void **state)
{
	static const struct {
		const char *name;
		const char *engines;
		const char *key;
		const char *ffmpeg;
		const char *asterisk_dir;
		mode_t mode; /* of the folder above */
		unsigned lines;
		const char *text; /* one of them */
	} cases[] = {
		{ "all well", "google,gtts,espeak", "key", FFMPEG, "", 0755, 0,
		    "" },
		{ "none wanted", "", "", "", "", 0700, 0, "" },
		{ "no key", "google,espeak", "", FFMPEG, "", 0755, 1,
		    "left out engine=google needs=\"speech.google_url, and "
		    "speech.google_key or speech.google_token_file\"" },
		{ "no program", "google, gtts,espeak", "key", "", "", 0755, 2,
		    "left out engine=gtts" },
		{ "none usable", "google", "", FFMPEG, "", 0700, 2,
		    "no speech engine is usable" },
		{ "a closed folder", "espeak", "", FFMPEG, "", 0750, 1,
		    "Asterisk may not reach the spoken texts" },
		{ "one that Asterisk sees elsewhere", "espeak", "", FFMPEG,
		    "/seen", 0750, 0, "" },
	};
	struct fixture *fixture = *state;
	struct config *config = &fixture->config;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("%s\n", cases[i].name);
		(void)snprintf(config->speech.google_key, CONFIG_TEXT_MAX,
		    "%s", cases[i].key);
		(void)snprintf(config->speech.ffmpeg_program, CONFIG_TEXT_MAX,
		    "%s", cases[i].ffmpeg);
		(void)snprintf(config->speech.asterisk_dir, CONFIG_TEXT_MAX,
		    "%s", cases[i].asterisk_dir);
		assert_int_equal(chmod(fixture->dir, cases[i].mode), 0);
		begin_log();
		begin(fixture, cases[i].engines);
		assert_int_equal(end_log("warn"), cases[i].lines);
		assert_non_null(strstr(logged, cases[i].text));
	}
	/* the folder that stands for an empty speech.dir, too */
	config->speech.asterisk_dir[0] = '\0';
	config->speech.dir[0] = '\0';
	(void)snprintf(config->node.data_dir, CONFIG_TEXT_MAX, "%s",
	    fixture->dir);
	begin_log();
	begin(fixture, "espeak");
	assert_int_equal(end_log("others can't enter a folder above them"),
	    1);
	(void)snprintf(config->speech.dir, CONFIG_TEXT_MAX, "%s/cache",
	    fixture->dir);
}

/* As clients are told; the first is the reference's own. */
static void
test_described(void **state)
{
	static const struct {
		const char *engines;
		const char *key;
		const char *text;
	} cases[] = {
		{ "google,gtts", "key", "google-cloud-fallback-gtts" },
		{ "google,gtts", "", "gtts" },
		{ "espeak", "", "espeak-ng" },
		{ "google, gtts, espeak", "key",
		    "google-cloud-fallback-gtts-fallback-espeak-ng" },
		{ "espeak,google", "key", "espeak-ng-fallback-google-cloud" },
		{ "google", "", "none" },
		{ "", "key", "none" },
	};
	struct config *config = &((struct fixture *)*state)->config;
	char text[SPEECH_LABELS_SIZE];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		(void)snprintf(config->speech.engines, CONFIG_TEXT_MAX, "%s",
		    cases[i].engines);
		(void)snprintf(config->speech.google_key, CONFIG_TEXT_MAX,
		    "%s", cases[i].key);
		speech_engines_describe(config, text);
		assert_string_equal(text, cases[i].text);
	}
}

/* A program in espeak-ng's place. */
static void
use_program(struct fixture *fixture, const char *script)
{
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/program", fixture->dir);
	file = fopen(path, "w");
	assert_non_null(file);
	(void)fprintf(file, "#!/bin/sh\n%s\n", script);
	(void)fclose(file);
	assert_int_equal(chmod(path, 0755), 0);
	(void)snprintf(fixture->config.speech.espeak_program, CONFIG_TEXT_MAX,
	    "%s", path);
}

/* A program that never ends is killed, also when all is given up. */
static void
test_program_hangs(void **state)
{
	struct fixture *fixture = *state;

	use_program(fixture, "sleep 1000");
	begin(fixture, "espeak");
	fixture->config.speech.timeout_ms = 200;
	assert_int_equal(ask(fixture, VOICE, HELLO), -KAP_GONE);
	fixture->config.speech.timeout_ms = 50000;
	assert_int_equal(speech_request(fixture->speech, VOICE, HELLO,
	    on_done, fixture), 0);
	fixture->done = 0;
	speech_free(&fixture->speech);
	assert_int_equal(fixture->done, 1);
}

/*
 * One text that is too much takes no engine from the others: neither for its
 * sound, nor for the time that it takes, if it is long.
 */
static void
test_too_much_rests_nobody(void **state)
{
	struct fixture *fixture = *state;
	char text[1200];

	/* what is spoken to it first is endless, then it takes its time */
	use_program(fixture, "read text\ncase $text in endless*) exec yes;;\n"
	    "slow*) exec sleep 1000;;\nesac\n"
	    "printf '%s\\n' \"$text\" | espeak-ng -v en-us -b 1 --stdin "
	    "--stdout");
	begin(fixture, "espeak,google");
	assert_int_equal(ask(fixture, VOICE, "endless"), 0);
	assert_true(was_spoken_by(fixture, "google", NULL, "endless"));
	assert_int_equal(ask(fixture, VOICE, "first"), 0);
	assert_true(was_spoken_by(fixture, "espeak", NULL, "first"));
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memcpy(text, "slow ", 5);
	fixture->config.speech.timeout_ms = 500;
	assert_int_equal(ask(fixture, VOICE, text), 0);
	assert_true(was_spoken_by(fixture, "google", NULL, text));
	fixture->config.speech.timeout_ms = 50000;
	assert_int_equal(ask(fixture, VOICE, "second"), 0);
	assert_true(was_spoken_by(fixture, "espeak", NULL, "second"));
	/* alone it says for good that it can't */
	begin(fixture, "espeak");
	assert_int_equal(ask(fixture, VOICE, "endless again"), -KAP_INVAL);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(test_espeak),
		TEST(test_refused),
		TEST(test_google),
		TEST(test_gtts),
		TEST(test_pieces_in_order),
		TEST(test_later_piece_fails),
		TEST(test_addresses),
		TEST(test_fallback),
		TEST(test_rest),
		TEST(test_wrong_key),
		TEST(test_one_probes),
		TEST(test_locked_key),
		TEST(test_service_account),
		TEST(test_many_ask_once),
		TEST(test_processes_ask_once),
		TEST(test_lock_of_another),
		TEST(test_lock_of_a_failed_one),
		TEST(test_hit),
		TEST(test_long_text),
		TEST(test_too_many),
		TEST(test_queue_moves_on),
		TEST(test_bad_folder),
		TEST(test_bad_folder_is_told_once),
		TEST(test_told_at_start),
		TEST(test_described),
		TEST(test_program_hangs),
		TEST(test_too_much_rests_nobody),
	};
#undef TEST

	return cmocka_run_group_tests(tests, make_sounds, NULL);
}
