/* embed.c - the smallest useful program on libinternvl: one picture in, one vector out.
 *
 *     cc embed.c -o embed $(pkg-config --cflags --libs internvl)
 *     ./embed InternViT-300M-448px picture.ppm        # a binary PPM of 448 x 448 pixels
 *     ./embed InternViT-300M-448px picture.ppm gpu    # on a device of your choice
 *
 * Prints one number a line. The picture must have the model's own size: decoding, cropping and
 * resizing are the caller's (`internvl embed` and `internvl preprocess` do them).
 */
#include <internvl.h>

#include <stdio.h>
#include <stdlib.h>

/* What the model looks at: side x side pixels, 8-bit RGB [side, side, 3]. */
static uint8_t *read_ppm(const char *path, int side)
{
    size_t bytes = (size_t)side * (size_t)side * 3;
    uint8_t *rgb = malloc(bytes);
    FILE *file = fopen(path, "rb");
    int width, height, deepest;

    if (!rgb || !file) {
        fprintf(stderr, "embed: cannot open '%s'\n", path);
    } else if (fscanf(file, "P6 %d %d %d", &width, &height, &deepest) != 3 || deepest != 255) {
        fprintf(stderr, "embed: '%s' is no binary PPM of 8 bits\n", path);
    } else if (width != side || height != side) {
        fprintf(stderr, "embed: '%s' has %d x %d pixels, the model takes %d x %d\n", path, width,
                height, side, side);
    } else if (fgetc(file) == EOF || fread(rgb, 1, bytes, file) != bytes) {
        fprintf(stderr, "embed: '%s' ends early\n", path);
    } else {
        fclose(file);
        return rgb;
    }
    if (file) {
        fclose(file);
    }
    free(rgb);
    return NULL;
}

/* The library prints nothing by itself; this shows what takes long (compiling, measuring). */
static void show(void *user, ivl_log_level level, const char *text)
{
    (void)user;
    if (level <= IVL_LOG_INFO) {
        fprintf(stderr, "embed: %s\n", text);
    }
}

/* A session may run many batches; this one runs a single picture. */
static ivl_status embed(const ivl_model *model, const char *device, const ivl_images *images,
                        ivl_output *pooled, ivl_error *error)
{
    const ivl_inputs inputs = {.size = sizeof inputs, .images = images};
    ivl_session *session = NULL;
    ivl_session_options options;
    ivl_status status;

    ivl_session_options_init(&options);
    options.precision = IVL_PRECISION_EXACT; /* the same on all devices, but for roundings */
    if (device) {
        options.devices = &device;
        options.n_devices = 1;
    }
    status = ivl_session_open(model, &options, &session, error);
    if (status == IVL_OK) {
        status = ivl_run(session, &inputs, pooled, 1, error);
    }
    ivl_session_free(session);
    return status;
}

/* 0 when the vector is on stdout; the library's message is in error when it failed there. */
static int run(const ivl_model *model, const char *path, const char *device, ivl_error *error)
{
    ivl_model_info info = {.size = sizeof info};
    ivl_output pooled = {.tap = "pooled"};
    ivl_images images = {.count = 1};
    uint8_t *rgb;
    int code = 1;

    ivl_model_get_info(model, &info);
    pooled.capacity = (size_t)info.hidden_size;
    pooled.data = malloc(pooled.capacity * sizeof *pooled.data);
    images.width = images.height = info.image_size;
    images.rgb = rgb = read_ppm(path, info.image_size);
    if (pooled.data && rgb && embed(model, device, &images, &pooled, error) == IVL_OK) {
        for (size_t i = 0; i < pooled.capacity; i++) {
            printf("%.9g\n", (double)pooled.data[i]);
        }
        code = 0;
    }
    free(rgb);
    free(pooled.data);
    return code;
}

int main(int argc, char **argv)
{
    ivl_model *model = NULL;
    ivl_error error = {0};
    int code = 1;

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: embed MODEL PICTURE.ppm [DEVICE]\n");
        return 2;
    }
    ivl_set_log(show, NULL);
    if (ivl_model_open(argv[1], NULL, &model, &error) == IVL_OK) {
        code = run(model, argv[2], argc > 3 ? argv[3] : NULL, &error);
    }
    if (error.status != IVL_OK) {
        fprintf(stderr, "embed: %s\n", error.message);
    }
    ivl_model_free(model);
    return code;
}
