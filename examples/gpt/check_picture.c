/*
 * check_picture FILE: whether a PNG can be decoded and has as many colours as the
 * attention of a head has degrees. For check.sh.
 */
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_SIDE = 300, LEAST_COLOURS = 40 };

/* How many of all colours are there. */
static int count_colours(const png_byte *pixel, size_t count) {
    unsigned char *seen = calloc(1 << 24, 1);
    int colours = 0;
    for (size_t i = 0; i < count && seen != NULL; i++) {
        size_t colour = (size_t)pixel[3 * i] << 16 | (size_t)pixel[3 * i + 1] << 8 |
                        (size_t)pixel[3 * i + 2];
        colours += !seen[colour];
        seen[colour] = 1;
    }
    free(seen);
    return colours;
}

int main(int count, char **arguments) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (count != 2 || png_image_begin_read_from_file(&image, arguments[1]) == 0) {
        fprintf(stderr, "cannot read the picture: %s\n", image.message);
        return EXIT_FAILURE;
    }
    image.format = PNG_FORMAT_RGB;
    png_byte *pixel = malloc(PNG_IMAGE_SIZE(image));
    if (pixel == NULL || png_image_finish_read(&image, NULL, pixel, 0, NULL) == 0) {
        fprintf(stderr, "cannot decode %s: %s\n", arguments[1], image.message);
        png_image_free(&image);
        free(pixel);
        return EXIT_FAILURE;
    }
    int colours = count_colours(pixel, (size_t)image.width * image.height);
    free(pixel);
    printf("%s: %u x %u, %d colours\n", arguments[1], image.width, image.height,
           colours);
    return image.width >= LEAST_SIDE && image.height >= LEAST_SIDE &&
                   colours >= LEAST_COLOURS
               ? EXIT_SUCCESS
               : EXIT_FAILURE;
}
