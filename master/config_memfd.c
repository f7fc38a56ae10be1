/*
 * Makes the memory file of config_memfd.h. The text has the form of the
 * configuration file, and is read back by the same parser.
 */
#include "master/config_memfd.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static int
write_dump(int fd, const struct config *config)
{
	const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *file;
	int rc;

	if (copy < 0)
		return -KAP_IO;
	file = fdopen(copy, "w");
	if (file == NULL) {
		(void)close(copy);
		return -KAP_IO;
	}
	rc = config_dump(config, file, true, false);
	if (fclose(file) != 0)
		rc = -KAP_IO;
	return rc;
}

int
config_memfd_make(const struct config *config)
{
	const int fd = memfd_create("kaphila-config",
	    MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -KAP_IO;
	if (write_dump(fd, config) != 0 || fcntl(fd, F_ADD_SEALS,
	    F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
		(void)close(fd);
		return -KAP_IO;
	}
	return fd;
}
