/* status.h - what a fallible call answers: a status, and a message for a person.
 *
 * Installed beside internvl.h; everything else under runtime/ is internal.
 * Every fallible function of the project returns ivl_status, takes an optional
 * caller-owned ivl_error as its last argument, and writes its results on success only.
 */
#ifndef IVL_RUNTIME_STATUS_H
#define IVL_RUNTIME_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define IVL_API              __attribute__((visibility("default")))
#define IVL__PRINTF(fmt, va) __attribute__((format(printf, fmt, va)))
#else
#define IVL_API
#define IVL__PRINTF(fmt, va)
#endif

/* name, value, text. The values are part of the ABI: append, never renumber. */
#define IVL_STATUS_MAP(XX)                                      \
    XX(OK, 0, "success")                                        \
    XX(INVALID_ARGUMENT, 1, "invalid argument")                 \
    XX(OUT_OF_MEMORY, 2, "out of host memory")                  \
    XX(IO_ERROR, 3, "input/output error")                       \
    XX(BAD_INPUT, 4, "unusable input")                          \
    XX(BAD_MODEL, 5, "unusable model, tokenizer or checkpoint") \
    XX(NO_DEVICE, 6, "no usable OpenCL device")                 \
    XX(OUT_OF_DEVICE_MEMORY, 7, "not enough device memory")     \
    XX(UNSUPPORTED, 8, "not supported")                         \
    XX(DEVICE_FAILED, 9, "OpenCL device or driver failed")      \
    XX(NOT_FINITE, 10, "result is not finite")                  \
    XX(VERIFY_FAILED, 11, "verification failed")                \
    XX(CANCELLED, 12, "cancelled")                              \
    XX(INTERNAL, 13, "internal error")

typedef enum ivl_status {
#define IVL__STATUS_ENUM(name, value, text) IVL_##name = value,
    IVL_STATUS_MAP(IVL__STATUS_ENUM)
#undef IVL__STATUS_ENUM
} ivl_status;

/* Filled by the call that failed, untouched by calls that succeed. message is NUL-terminated UTF-8
 * and says what happened, with the numbers, and what to do next. */
typedef struct ivl_error {
    ivl_status status;
    char message[1000];
} ivl_error;

/* The name of a status as written in the source ("IVL_BAD_MODEL"); never NULL. */
IVL_API const char *ivl_status_name(ivl_status status);

/* One short English phrase for a status; never NULL. */
IVL_API const char *ivl_status_text(ivl_status status);

/* Writes status and a formatted message to error (which may be NULL) and returns status, so that
 * a function can end with `return ivl__fail(error, IVL_BAD_MODEL, "...")`. */
ivl_status ivl__fail(ivl_error *error, ivl_status status, const char *format, ...)
    IVL__PRINTF(3, 4);

/* Puts "<formatted text>: " before the message already in error and returns its status: callers
 * add the file or tensor that the callee could not know. */
ivl_status ivl__fail_context(ivl_error *error, ivl_status status, const char *format, ...)
    IVL__PRINTF(3, 4);

/* Returns from the calling function when a step of it fails. */
#define IVL__TRY(call)                   \
    do {                                 \
        ivl_status try_status_ = (call); \
        if (try_status_ != IVL_OK) {     \
            return try_status_;          \
        }                                \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
