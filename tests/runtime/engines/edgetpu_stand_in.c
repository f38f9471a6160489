/* A stand-in for libedgetpu: an external delegate of TensorFlow Lite that claims the operator "edgetpu-custom-op" and
 * computes a known answer, so that everything around a real Edge TPU is run. The structures are the C interface's as far
 * as they are used here; what follows in them is not touched.
 *
 * The operator: int8 (1, rows, columns, 1) -> int8 (1, classes), class k the mean of the k-th of `classes` equal parts of
 * the input, rounded towards minus infinity.
 *
 * The option `device` chooses what goes wrong, as it does with the real one: `absent` is not there, `newer` runs models
 * of an older compiler only, `foreign` was built for another TensorFlow Lite and says so, `crashing` does not say so,
 * `blind` claims nothing. $STAND_IN_TPUS is how many devices are listed (1), $STAND_IN_LOG a file to append a line to
 * for each thing that happens.
 */
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, FAILED = 1 };

typedef struct { int size; int data[]; } IntArray;

typedef struct Context Context;
typedef struct Delegate Delegate;
typedef struct Tensor {
    int type;
    int8_t *data;
    IntArray *dims;
} Tensor; /* only ever reached through `tensor_at`, as its size is not known here */

typedef struct { IntArray *inputs, *outputs, *intermediates, *temporaries; void *user_data; } Node;

typedef struct {
    void *(*init)(Context *, const char *, size_t);
    void (*release)(Context *, void *);
    int (*prepare)(Context *, Node *);
    int (*invoke)(Context *, Node *);
    const char *(*profiling_string)(const Context *, const Node *);
    int32_t builtin_code;
    const char *custom_name;
    int version;
    void *registration_external;
    void *async_kernel;
    uint64_t inplace_operator;
} Registration;

struct Context {
    size_t tensors_size;
    int (*get_execution_plan)(Context *, IntArray **);
    char *tensors;
    void *impl;
    void *resize_tensor;
    void (*report_error)(Context *, const char *, ...);
    void *add_tensors;
    int (*get_node_and_registration)(Context *, int, Node **, Registration **);
    int (*replace_node_subsets)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
    void *data;
    int (*prepare)(Context *, Delegate *);
    void *copy_from, *copy_to, *free_handle;
    int64_t flags;
    void *opaque_builder;
};

/* Size of a tensor's record: the interpreter keeps them one after the other, and says how many there are; TENSOR_BYTES is
 * given by whoever compiles this, who has asked the interpreter. */
static Tensor *tensor_at(const Context *context, int index) { return (Tensor *)(context->tensors + (size_t)index * TENSOR_BYTES); }

static char device[64]; /* of the last delegate that was made */

static void note(const char *what, const char *detail)
{
    const char *path = getenv("STAND_IN_LOG");
    FILE *file = path != NULL ? fopen(path, "a") : NULL;
    if (file == NULL) return;
    fprintf(file, "%s%s%s\n", what, *detail ? " " : "", detail);
    fclose(file);
}

static int32_t count(const IntArray *dims)
{
    int32_t n = 1;
    for (int i = 0; i < dims->size; i++) n *= dims->data[i];
    return n;
}

static int prepare_kernel(Context *context, Node *node)
{
    (void)node;
    note("kernel prepared", "");
    if (strcmp(device, "newer") == 0)
        context->report_error(context, "Failed precondition: Package requires runtime version (14), which is newer than "
                                       "this runtime version (13).");
    else if (strcmp(device, "foreign") == 0)
        context->report_error(context, "Internal: Unsupported data type in custom op handler: 0");
    else
        return OK;
    return FAILED;
}

static int invoke(Context *context, Node *node)
{
    const Tensor *input = tensor_at(context, node->inputs->data[0]);
    Tensor *output = tensor_at(context, node->outputs->data[0]);
    const int32_t classes = count(output->dims), part = count(input->dims) / classes;
    for (int32_t k = 0; k < classes; k++) {
        int32_t sum = 0;
        for (int32_t i = 0; i < part; i++) sum += input->data[k * part + i];
        output->data[k] = (int8_t)(sum >= 0 ? sum / part : -((-sum + part - 1) / part));
    }
    note("run", "");
    return OK;
}

static int prepare(Context *context, Delegate *delegate)
{
    IntArray *plan;
    if (context->get_execution_plan(context, &plan) != OK) return FAILED;
    IntArray *mine = malloc(sizeof(IntArray) + (size_t)plan->size * sizeof(int));
    if (mine == NULL) return FAILED;
    mine->size = 0;
    if (strcmp(device, "crashing") == 0) raise(SIGSEGV);
    for (int i = 0; i < plan->size; i++) {
        Node *node;
        Registration *registration;
        if (context->get_node_and_registration(context, plan->data[i], &node, &registration) == OK
            && registration->custom_name != NULL && strcmp(registration->custom_name, "edgetpu-custom-op") == 0
            && strcmp(device, "blind") != 0)
            mine->data[mine->size++] = plan->data[i];
    }
    char claimed[64];
    snprintf(claimed, sizeof claimed, "%d of %d operators", mine->size, plan->size);
    note("claimed", claimed);
    Registration kernel = {.prepare = prepare_kernel, .invoke = invoke, .custom_name = "stand-in", .version = 1};
    const int status = context->replace_node_subsets(context, kernel, mine, delegate);
    free(mine);
    return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t options, void (*report)(const char *))
{
    device[0] = '\0';
    for (size_t i = 0; i < options; i++)
        if (strcmp(keys[i], "device") == 0) snprintf(device, sizeof device, "%s", values[i]);
    note("created", device);
    if (strcmp(device, "absent") == 0) {
        report("no device of that name");
        return NULL;
    }
    Delegate *delegate = calloc(1, sizeof *delegate);
    if (delegate != NULL) {
        delegate->prepare = prepare;
        /* Allow dynamic tensors: without it the interpreter wants every operator to be known before it asks us. */
        delegate->flags = 1;
    }
    return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate)
{
    note("destroyed", delegate == NULL ? "nothing" : "");
    free(delegate);
}

/* What libedgetpu tells besides. */

struct edgetpu_device { int type; const char *path; };

struct edgetpu_device *edgetpu_list_devices(size_t *devices)
{
    const char *tpus = getenv("STAND_IN_TPUS");
    *devices = tpus != NULL ? (size_t)atoi(tpus) : 1;
    return *devices ? calloc(*devices, sizeof(struct edgetpu_device)) : NULL;
}

void edgetpu_free_devices(struct edgetpu_device *devices) { free(devices); }

const char *edgetpu_version(void) { return "a stand-in, RuntimeVersion(13)"; }
