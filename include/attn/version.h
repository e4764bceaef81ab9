/*
 * attn/version.h - which libattn a program was compiled for and runs with.
 *
 * The release number (0.1.0) says what is in the library. The ABI version says
 * which programs can run with it: a program compiled for ABI version N runs
 * with every later library of ABI version N. It is the number in the SONAME,
 * libattn.so.N.
 */
#ifndef ATTN_VERSION_H
#define ATTN_VERSION_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) || defined(__clang__)
#define ATTN_API __attribute__((visibility("default")))
#else
#define ATTN_API
#endif

#define ATTN_VERSION_MAJOR 0
#define ATTN_VERSION_MINOR 1
#define ATTN_VERSION_PATCH 0
#define ATTN_ABI_VERSION   0

/** The release this header belongs to, as attn_version() reports it. */
#define ATTN_VERSION                                                                   \
    (ATTN_VERSION_MAJOR * 10000 + ATTN_VERSION_MINOR * 100 + ATTN_VERSION_PATCH)

/**
 * The release of the running library: major * 10000 + minor * 100 + patch.
 * Since 0.1.
 */
ATTN_API int32_t attn_version(void);

/** The same as text, "0.1.0". Static storage. Since 0.1. */
ATTN_API const char *attn_version_string(void);

/**
 * The ABI version of the running library. A program that loads the library by
 * hand compares it with ATTN_ABI_VERSION before any other call. Since 0.1.
 */
ATTN_API int32_t attn_abi_version(void);

/**
 * How the library was built: release, compiler, kernel sets, as one line of
 * text for bug reports. Its form is not promised. Static storage. Since 0.1.
 */
ATTN_API const char *attn_build_info(void);

#ifdef __cplusplus
}
#endif

#endif
