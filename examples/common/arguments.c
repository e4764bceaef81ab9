/*
 * A number is what strtol and strtof take as a whole, within the limits.
 */
#include "arguments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

long argument_integer(const char *option, const char *text, long least, long most) {
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || number < least || number > most) {
        fail(MISUSED, "--%s takes a number from %ld to %ld, not \"%s\"", option, least,
             most, text);
    }
    return number;
}

float argument_number(const char *option, const char *text, float least, float most) {
    char *end;
    float number = strtof(text, &end);
    if (end == text || *end != '\0' || !(number >= least && number <= most)) {
        fail(MISUSED, "--%s takes a number from %g to %g, not \"%s\"", option,
             (double)least, (double)most, text);
    }
    return number;
}

enum colour argument_colour(const char *option, const char *text) {
    static const char *const names[] = {"auto", "always", "never"};
    for (int i = COLOUR_AUTO; i <= COLOUR_NEVER; i++) {
        if (strcmp(text, names[i]) == 0) {
            return (enum colour)i;
        }
    }
    fail(MISUSED, "--%s takes auto, always or never, not \"%s\"", option, text);
}
