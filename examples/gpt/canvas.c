/*
 * Letters come from font.c; the file is libpng's work.
 */
#include "canvas.h"

#include <png.h>
#include <stdio.h>
#include <stdlib.h>

#include "fail.h"
#include "font.h"

void canvas_open(struct canvas *canvas, int width, int height,
                 struct colour_rgb colour) {
    *canvas = (struct canvas){.width = width, .height = height};
    canvas->pixel = memory_get((size_t)width * (size_t)height, sizeof *canvas->pixel);
    canvas_fill(canvas, 0, 0, width, height, colour);
}

void canvas_fill(struct canvas *canvas, int x, int y, int width, int height,
                 struct colour_rgb colour) {
    int right = x + width < canvas->width ? x + width : canvas->width;
    int bottom = y + height < canvas->height ? y + height : canvas->height;
    for (int row = y > 0 ? y : 0; row < bottom; row++) {
        for (int column = x > 0 ? x : 0; column < right; column++) {
            canvas->pixel[(size_t)row * (size_t)canvas->width + (size_t)column] =
                colour;
        }
    }
}

void canvas_text(struct canvas *canvas, int x, int y, int scale,
                 enum direction direction, struct colour_rgb colour, const char *text) {
    for (int i = 0; text[i] != '\0'; i++) {
        for (int row = 0; row < FONT_ROWS; row++) {
            for (int column = 0; column < FONT_COLUMNS; column++) {
                if (!font_pixel(text[i], row, column)) {
                    continue;
                }
                int along = (i * LETTER_WIDTH + column) * scale;
                int across = row * scale;
                if (direction == RIGHTWARDS) {
                    canvas_fill(canvas, x + along, y + across, scale, scale, colour);
                } else {
                    canvas_fill(canvas, x + across, y - along - scale, scale, scale,
                                colour);
                }
            }
        }
    }
}

bool canvas_save(const struct canvas *canvas, const char *path) {
    png_image image = {
        .version = PNG_IMAGE_VERSION,
        .width = (png_uint_32)canvas->width,
        .height = (png_uint_32)canvas->height,
        .format = PNG_FORMAT_RGB,
    };
    if (png_image_write_to_file(&image, path, 0, canvas->pixel, 0, NULL) == 0) {
        fprintf(stderr, "%s: cannot write %s: %s\n", program_name, path, image.message);
        return false;
    }
    return true;
}

void canvas_close(struct canvas *canvas) {
    free(canvas->pixel);
    *canvas = (struct canvas){0};
}
