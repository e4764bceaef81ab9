/*
 * The terminal: its width, whether it shows colours and UTF-8, and drawing on it.
 */
#define _DEFAULT_SOURCE     /* isatty, TIOCGWINSZ */
#define _XOPEN_SOURCE   700 /* wcwidth */

#include "terminal.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

enum { NARROWEST = 40, WIDEST = 500 };

static int find_width(void) {
    struct winsize size;
    int width = 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
        width = size.ws_col;
    }
    const char *columns = getenv("COLUMNS");
    if (width == 0 && columns != NULL) {
        width = (int)strtol(columns, NULL, 10);
    }
    if (width == 0) {
        width = 80;
    }
    return width < NARROWEST ? NARROWEST : width > WIDEST ? WIDEST : width;
}

struct terminal terminal_open(enum colour colour, int width) {
    setlocale(LC_CTYPE, "");
    const char *type = getenv("TERM");
    bool dumb = type != NULL && strcmp(type, "dumb") == 0;
    bool wanted = isatty(STDOUT_FILENO) && type != NULL && !dumb && !getenv("NO_COLOR");
    return (struct terminal){
        .width = width > 0 ? width : find_width(),
        .colour = colour == COLOUR_ALWAYS || (colour == COLOUR_AUTO && wanted),
        .utf8 = !dumb && strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
    };
}

void terminal_style(const struct terminal *terminal, enum style style) {
    static const char *const codes[] = {
        [PLAIN] = "\033[0m",    [BOLD] = "\033[1m",     [DIM] = "\033[2m",
        [TITLE] = "\033[1;36m", [MATCH] = "\033[1;33m", [BAR] = "\033[36m",
        [GOOD] = "\033[1;32m",  [BAD] = "\033[1;31m",
    };
    if (terminal->colour) {
        fputs(codes[style], stdout);
    }
}

void terminal_styled(const struct terminal *terminal, enum style style,
                     const char *text) {
    terminal_style(terminal, style);
    fputs(text, stdout);
    terminal_style(terminal, PLAIN);
}

const char *terminal_pick(const struct terminal *terminal, const char *utf8,
                          const char *ascii) {
    return terminal->utf8 ? utf8 : ascii;
}

static double clamp(double fraction) {
    return fraction > 0 ? fraction < 1 ? fraction : 1 : 0;
}

void terminal_bar(const struct terminal *terminal, double fraction, int cells) {
    static const char *const eighths[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int parts = terminal->utf8 ? 8 : 1;
    int filled = (int)(clamp(fraction) * cells * parts + 0.5);
    for (int i = 0; i < cells; i++, filled -= parts) {
        if (filled >= parts) {
            fputs(terminal_pick(terminal, "█", "#"), stdout);
        } else {
            fputs(eighths[filled > 0 ? filled : 0], stdout);
        }
    }
}

void terminal_column(const struct terminal *terminal, double fraction) {
    static const char *const utf8[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char ascii[] = " .:-=+*#@";
    int level = (int)(clamp(fraction) * 8 + 0.999);
    if (terminal->utf8) {
        fputs(utf8[level], stdout);
    } else {
        putchar(ascii[level]);
    }
}

/* Looks at the first character of the text: how many bytes it has, and the columns it
 * takes, 0 if it is not to be printed. */
static size_t measure(const struct terminal *terminal, const char *text, size_t size,
                      int *columns) {
    unsigned char first = (unsigned char)*text;
    *columns = first >= ' ' && first <= '~';
    if (first < 0x80 || !terminal->utf8) {
        return 1;
    }
    wchar_t character;
    mbstate_t state = {0};
    size_t bytes = mbrtowc(&character, text, size, &state);
    if (bytes > size) { /* no character of UTF-8, or not all of it */
        return 1;
    }
    int width = wcwidth(character);
    *columns = width > 0 ? width : 0;
    return bytes;
}

int terminal_text(const struct terminal *terminal, const char *text, size_t size,
                  int columns) {
    int used = 0;
    for (size_t at = 0; at < size;) {
        int width;
        size_t bytes = measure(terminal, text + at, size - at, &width);
        if (used + (width > 0 ? width : 1) > columns) {
            break;
        }
        if (width > 0) {
            fwrite(text + at, 1, bytes, stdout);
        } else {
            putchar(text[at] == '\t' ? ' ' : '?');
        }
        used += width > 0 ? width : 1;
        at += bytes;
    }
    return used;
}
