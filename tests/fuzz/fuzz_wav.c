/*
 * Any bytes in a recording's place: the check of WAV files comes back, and
 * what it accepts makes sense. The first byte chooses whether the lengths are
 * put right first, so that the fuzzer gets past them.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "recorder/wav.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
write_at(int fd, const void *from, size_t len, off_t at)
{
	if (pwrite(fd, from, len, at) != (ssize_t)len)
		abort();
}

static void
put_right(int fd, size_t size)
{
	const uint32_t len = (uint32_t)size - 8;
	const uint8_t bytes[4] = { (uint8_t)len, (uint8_t)(len >> 8),
		(uint8_t)(len >> 16), (uint8_t)(len >> 24) };

	write_at(fd, "RIFF", 4, 0);
	write_at(fd, bytes, sizeof(bytes), 4);
	write_at(fd, "WAVE", 4, 8);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct wav_info info;
	struct kap_errmsg msg = { .text = "" };
	int fd;
	int rc;

	if (len < 1)
		return 0;
	fd = memfd_create("fuzz_wav", MFD_CLOEXEC);
	if (fd < 0)
		abort();
	write_at(fd, data + 1, len - 1, 0);
	if ((data[0] & 1) != 0 && len > 12)
		put_right(fd, len - 1);
	rc = wav_check(fd, len - 1, &info, &msg);
	if (rc == 0) {
		if (info.rate_hz == 0 || info.channels == 0 ||
		    info.frames * info.channels * 2 > len - 1 ||
		    info.duration_s > info.frames / info.rate_hz + 1)
			abort();
	} else if ((rc != -KAP_AGAIN && rc != -KAP_CORRUPT) ||
	    msg.text[0] == '\0') {
		abort();
	}
	if (close(fd) != 0)
		abort();
	return 0;
}
