/* Runs the model on recorded inputs and holds every row of every tensor, and the logits, against what LiteRT's reference
 * kernels gave. Built with TS_MODEL_TAP, which makes the model show its rows.
 *
 *   selftest [golden.bin]     prints OK or NOT OK for each; ends with 0 when every byte was right, 1 when one was not,
 *                             2 when the file is not one for this model
 *
 * The file, little-endian: "TSGV", then uint32 version (1), inputs, input bytes, classes, tensors; then for each input
 * its bytes and the int8 logits; then, of the first input, for each tensor uint32 number, rows, bytes a row, a name of
 * 48 bytes, and the rows. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define INPUT_BYTES (TS_MODEL_ROWS * TS_MODEL_COLUMNS * TS_MODEL_CHANNELS)
#define NAME_BYTES 48
#define MOST_TENSORS 1024

typedef struct {
    char name[NAME_BYTES + 1];
    uint32_t rows, row_bytes;
    const uint8_t *data; /* (rows, row_bytes); null where nothing was recorded */
    uint32_t seen;       /* rows that the model showed */
    uint32_t wrong;      /* bytes that differ */
    int32_t largest;     /* difference */
    uint32_t first;      /* row with one */
} tensor;

static tensor tensors[MOST_TENSORS];
static int recording;

void ts_model_tap(int32_t number, int32_t row, const int8_t *data, int32_t bytes) {
    if (!recording || number < 0 || number >= MOST_TENSORS || tensors[number].data == NULL) {
        return;
    }
    tensor *t = &tensors[number];
    ++t->seen;
    if (row < 0 || (uint32_t)row >= t->rows || (uint32_t)bytes != t->row_bytes) {
        t->wrong += (uint32_t)bytes;
        return;
    }
    const uint8_t *expected = t->data + (size_t)row * t->row_bytes;
    for (int32_t i = 0; i < bytes; ++i) {
        const int32_t difference = abs(data[i] - (int8_t)expected[i]);
        if (difference != 0) {
            t->first = t->wrong == 0 ? (uint32_t)row : t->first;
            ++t->wrong;
            t->largest = difference > t->largest ? difference : t->largest;
        }
    }
}

static uint8_t *read_whole(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    uint8_t *data = NULL;
    if (fseek(file, 0, SEEK_END) == 0) {
        const long end = ftell(file);
        if (end > 0 && fseek(file, 0, SEEK_SET) == 0) {
            *size = (size_t)end;
            data = malloc(*size);
            if (data != NULL && fread(data, 1, *size, file) != *size) {
                free(data);
                data = NULL;
            }
        }
    }
    fclose(file);
    return data;
}

typedef struct {
    const uint8_t *at;
    size_t left;
} reader;

static const uint8_t *take(reader *r, size_t bytes) { /* null when the file is shorter */
    if (bytes > r->left) {
        return NULL;
    }
    const uint8_t *at = r->at;
    r->at += bytes;
    r->left -= bytes;
    return at;
}

static int take_number(reader *r, uint32_t *value) {
    const uint8_t *b = take(r, 4);
    if (b == NULL) {
        return 0;
    }
    *value = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    return 1;
}

static int take_tensor(reader *r) {
    uint32_t number, rows, row_bytes;
    if (!take_number(r, &number) || !take_number(r, &rows) || !take_number(r, &row_bytes) || number >= MOST_TENSORS) {
        return 0;
    }
    tensor *t = &tensors[number];
    const uint8_t *name = take(r, NAME_BYTES);
    if (name == NULL || rows == 0 || row_bytes == 0 || rows > r->left / row_bytes) {
        return 0;
    }
    memcpy(t->name, name, NAME_BYTES);
    t->rows = rows;
    t->row_bytes = row_bytes;
    t->data = take(r, (size_t)rows * row_bytes);
    return t->data != NULL;
}

/* Prints what was found of every tensor in the order they are made; returns how many are not right. */
static int report(void) {
    int bad = 0;
    for (uint32_t i = 0; i < MOST_TENSORS; ++i) {
        const tensor *t = &tensors[i];
        if (t->data == NULL) {
            continue;
        }
        const int right = t->wrong == 0 && t->seen > 0;
        printf("%-6s  %s (%u rows of %u bytes)", right ? "OK" : "NOT OK", t->name, (unsigned)t->rows,
               (unsigned)t->row_bytes);
        if (t->wrong != 0) {
            printf(": %u bytes differ, by up to %d, first in row %u", (unsigned)t->wrong, (int)t->largest,
                   (unsigned)t->first);
        } else if (t->seen != t->rows) {
            printf(": %u rows were made", (unsigned)t->seen); /* some may be left out that nothing reads */
        }
        printf("\n");
        if (!right && bad++ == 0) {
            printf("        hint: the first tensor that is wrong; the step that makes it is the suspect%s\n",
                   t->largest == 1 ? ". Differences of 1 point at the rounding of its requantisation" : "");
        }
    }
    return bad;
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "golden.bin";
    static int8_t arena[TS_MODEL_ARENA_BYTES] __attribute__((aligned(16)));
    size_t size = 0;
    uint8_t *file = read_whole(path, &size);
    if (file == NULL) {
        fprintf(stderr, "cannot read %s: name the golden.bin of this project\n", path);
        return 2;
    }
    reader r = {file, size};
    uint32_t version = 0, inputs = 0, input_bytes = 0, classes = 0, count = 0;
    const uint8_t *magic = take(&r, 4);
    if (magic == NULL || memcmp(magic, "TSGV", 4) != 0 || !take_number(&r, &version) || version != 1u ||
        !take_number(&r, &inputs) || !take_number(&r, &input_bytes) || !take_number(&r, &classes) ||
        !take_number(&r, &count) || input_bytes != INPUT_BYTES || classes != TS_MODEL_CLASSES) {
        fprintf(stderr, "%s is not the golden.bin of this model: export the project again\n", path);
        free(file);
        return 2;
    }
    const uint8_t *samples = take(&r, (size_t)inputs * (input_bytes + classes));
    int whole = samples != NULL;
    for (uint32_t i = 0; whole && i < count; ++i) {
        whole = take_tensor(&r);
    }
    if (!whole) {
        fprintf(stderr, "%s is cut off: export the project again\n", path);
        free(file);
        return 2;
    }
    int bad = 0;
    for (uint32_t i = 0; i < inputs; ++i) {
        const uint8_t *sample = samples + (size_t)i * (input_bytes + classes);
        const ts_input input = {(const int8_t *)sample, TS_MODEL_COLUMNS * TS_MODEL_CHANNELS, TS_MODEL_CHANNELS, 0,
                                TS_MODEL_COLUMNS};
        int8_t logits[TS_MODEL_CLASSES];
        recording = i == 0;
        ts_model_run(arena, &input, logits);
        if (recording) {
            bad += report();
        }
        const int right = memcmp(logits, sample + input_bytes, TS_MODEL_CLASSES) == 0;
        bad += !right;
        printf("%-6s  logits of input %u\n", right ? "OK" : "NOT OK", (unsigned)i);
    }
    printf(bad == 0 ? "OK: every byte is the reference's\n" : "NOT OK: %d of the above\n", bad);
    free(file);
    return bad != 0;
}
