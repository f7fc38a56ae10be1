/*
 * Asterisk's sound files, as far as they can be seen from here: whether there
 * is one of a name. Reads no file.
 */
#ifndef KAP_SOUNDS_H
#define KAP_SOUNDS_H

#include <stdbool.h>

#include "shared/errors.h"

#define SOUNDS_NAME_MAX 200 /* bytes of a name */

/*
 * Whether a text may be a sound's name: letters, digits, "_", "-" and "/",
 * 1..SOUNDS_NAME_MAX of them, no "/" at either end and no two in a row. So it
 * can't leave the folders.
 */
bool sounds_name_is_valid(const char *name);

/*
 * Look for a sound.
 *
 * dirs  folders with commas between them; "" : none
 * name  a valid one, without an ending
 *
 * Returns 0; -KAP_NOENT where no folder has it; -KAP_GONE where that can't be
 * told, for there is no folder here, or one that lets nobody look. Asks the
 * file system a bounded number of times. Any process.
 */
KAP_MUST_USE int sounds_find(const char *dirs, const char *name);

#endif
