/* synth_fill.c - tensors made piece by piece on several threads; see synth_fill.h.
 *
 * Workers take pieces in the order of the files, so that the disk sees an almost sequential write.
 * The caller's thread reports progress and asks whether to go on.
 */
#include "model/synth_fill.h"

#include "runtime/memory.h"

#define PIECE_BYTES (4u << 20)
/* Data that waits for the disk cannot be cancelled: no more of it than this. */
#define SYNC_BYTES  (512u << 20)
#define MAX_THREADS 256

typedef struct piece {
    size_t file, index; /* index in the file */
    uint64_t offset;    /* in bytes of the tensor */
    size_t bytes;
} piece;

typedef struct filler {
    const ivl__synth_filling *what;
    size_t element_bytes;
    ivl__mutex mutex; /* of all that follows */
    ivl__cond changed;
    piece next;
    uint64_t done, unsynced;
    int running;
    bool stop;
    ivl_status status; /* of the first that failed */
    ivl_error error;
} filler;

static uint64_t tensor_bytes(const ivl__synth_tensor *tensor, size_t element_bytes)
{
    uint64_t bytes = element_bytes;

    for (int i = 0; i < tensor->rank; i++) {
        bytes *= tensor->shape[i];
    }
    return bytes;
}

static const ivl__synth_tensor *tensor_of(const filler *f, const piece *p)
{
    return &f->what->tensors[f->what->files[p->file].first + p->index];
}

/* false when there is none left. The mutex is held. */
static bool take_piece(filler *f, piece *taken)
{
    while (f->next.file < f->what->n_files) {
        const ivl__synth_file *file = &f->what->files[f->next.file];
        uint64_t left;

        if (f->next.index == file->count) {
            f->next = (piece){.file = f->next.file + 1};
            continue;
        }
        left = tensor_bytes(tensor_of(f, &f->next), f->element_bytes) - f->next.offset;
        *taken = f->next;
        taken->bytes = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        f->next.offset += taken->bytes;
        if (taken->bytes == left) {
            f->next = (piece){.file = f->next.file, .index = f->next.index + 1};
        }
        return true;
    }
    return false;
}

static ivl_status make_piece(const filler *f, const piece *p, void *buffer, ivl_error *error)
{
    const ivl__synth_tensor *tensor = tensor_of(f, p);
    uint64_t key = ivl__synth_key(f->what->seed, tensor->role);

    ivl__synth_fill(key, &tensor->range, tensor->first + p->offset / f->element_bytes,
                    p->bytes / f->element_bytes, f->what->dtype, buffer);
    return ivl__tensor_writer_put(f->what->files[p->file].writer, p->index, p->offset, buffer,
                                  p->bytes, error);
}

/* Books a piece and answers whether it is this worker's turn to sync. The mutex is held. */
static bool book_piece(filler *f, const piece *p)
{
    f->done += p->bytes;
    f->unsynced += p->bytes;
    if (f->unsynced < SYNC_BYTES) {
        return false;
    }
    f->unsynced = 0;
    return true;
}

static void *work(void *user)
{
    filler *f = user;
    void *buffer = ivl__malloc(PIECE_BYTES);
    ivl_error error;
    ivl_status status = buffer ? IVL_OK
                               : ivl__fail(&error, IVL_OUT_OF_MEMORY,
                                           "out of memory for a buffer of %u bytes", PIECE_BYTES);
    piece p;

    ivl__mutex_lock(&f->mutex);
    while (status == IVL_OK && !f->stop && take_piece(f, &p)) {
        bool sync;

        ivl__mutex_unlock(&f->mutex);
        status = make_piece(f, &p, buffer, &error);
        ivl__mutex_lock(&f->mutex);
        sync = book_piece(f, &p);
        if (status == IVL_OK && sync) {
            ivl__mutex_unlock(&f->mutex);
            status = ivl__tensor_writer_sync(f->what->files[p.file].writer, &error);
            ivl__mutex_lock(&f->mutex);
        }
    }
    if (status != IVL_OK && f->status == IVL_OK) {
        f->status = status;
        f->error = error;
    }
    f->stop = f->stop || status != IVL_OK;
    f->running--;
    ivl__cond_broadcast(&f->changed);
    ivl__mutex_unlock(&f->mutex);
    ivl__free(buffer);
    return NULL;
}

/* Reports until all workers have ended. The mutex is held, but for the callback. */
static void watch(filler *f, uint64_t total)
{
    while (f->running) {
        int done = (int)(f->done >> 20);
        int stop = 0;

        if (f->what->progress && !f->stop) {
            ivl__mutex_unlock(&f->mutex);
            stop = f->what->progress(f->what->progress_user, "weights", done, (int)(total >> 20));
            ivl__mutex_lock(&f->mutex);
        }
        if (stop && f->status == IVL_OK) {
            f->stop = true;
            f->status = ivl__fail(&f->error, IVL_CANCELLED, "cancelled");
        }
        if (f->running) {
            ivl__cond_wait_for(&f->changed, &f->mutex, 0.1);
        }
    }
}

ivl_status ivl__synth_fill_files(const ivl__synth_filling *what, ivl_error *error)
{
    filler f = {.what = what, .element_bytes = ivl__dtype_bytes(what->dtype)};
    int wanted = what->threads > 0 ? what->threads : ivl__cpu_count();
    ivl__thread threads[MAX_THREADS];
    uint64_t total = 0;
    int started = 0;

    for (size_t i = 0; i < what->n_files; i++) {
        for (size_t t = 0; t < what->files[i].count; t++) {
            total += tensor_bytes(&what->tensors[what->files[i].first + t], f.element_bytes);
        }
    }
    ivl__mutex_init(&f.mutex);
    ivl__cond_init(&f.changed);
    ivl__mutex_lock(&f.mutex);
    while (started < wanted && started < MAX_THREADS &&
           ivl__thread_start(&threads[started], work, &f, &f.error) == IVL_OK) {
        f.running++;
        started++;
    }
    /* Fewer threads than wanted do; none does not. */
    f.status = started ? IVL_OK : f.error.status;
    watch(&f, total);
    ivl__mutex_unlock(&f.mutex);
    for (int i = 0; i < started; i++) {
        ivl__thread_join(threads[i]);
    }
    ivl__cond_free(&f.changed);
    ivl__mutex_free(&f.mutex);
    return f.status == IVL_OK ? IVL_OK : ivl__fail(error, f.status, "%s", f.error.message);
}
