/*
 * Values of options on the command line. Each function ends the program where the text
 * is not such a value, and says what the option takes.
 */
#ifndef COMMON_ARGUMENTS_H
#define COMMON_ARGUMENTS_H

#include "terminal.h"

long argument_integer(const char *option, const char *text, long least, long most);

float argument_number(const char *option, const char *text, float least, float most);

/* auto, always or never */
enum colour argument_colour(const char *option, const char *text);

#endif
