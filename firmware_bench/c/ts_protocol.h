/* The serial protocol of MLPerf Tiny (mlcommons/tiny, benchmark/api), so that its runner and existing energy rigs drive
 * this firmware, and a few commands more, so that a host can prove that the part computes the right bytes.
 *
 * A command is at most 80 characters and ends in %; CR, LF and 0 in it are dropped, words are separated by spaces. Each
 * is answered by lines that end in CR LF, the last of them m-ready. A longer command is answered by one error and
 * skipped up to its %. Errors are e-[...] and change nothing.
 *
 *   name              m-name-dut-[VENDOR]
 *   profile           m-profile-[FIRMWARE], m-model-[MODEL]
 *   timestamp         m-lap-us-N, or a pulse of the pin in energy mode
 *   help              the commands
 *   db load N         m-[Expecting N bytes]; N is at most the input's size. Then, until N bytes are there,
 *   db HEX..          their hex digits, and m-load-done after the last. A bad line loads nothing and may be sent again.
 *   db print [N=16] [OFFSET=0]   m-buffer-aa-bb-.., eight bytes a line
 *   infer [N=1] [W=10]  m-warmup-start-W, m-warmup-done, m-infer-start-N, timestamp, timestamp, m-infer-done, results
 *   results           m-results-[p,..]: softmax of the logits, six decimals
 * and of this project's own:
 *   logits            m-logits-[q,..]: the int8 logits of the last inference
 *   labels            m-labels-[name,..]
 *   contract          m-contract-[HASH] of the front end that the model was trained with
 *   input             m-input-[BYTES,CRC32]: the input buffer's size and what it holds
 *   arena             m-arena-[BYTES] that the model works in
 *   check             m-check-[CRC32] of the whole reply before this one, m-ready and its CR LF included
 */
#ifndef TS_PROTOCOL_H
#define TS_PROTOCOL_H

#include <stdint.h>

#include "ts_reply.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TS_COMMAND_LENGTH 80
#define TS_MOST_INFERENCES 1000000u /* of one command: a damaged number must not keep the board busy for days */
#define TS_FIRMWARE_VERSION "tinyscene firmware 1"

/* What answers: the model and the board. */
typedef struct {
    const char *vendor, *model, *contract;
    const char *const *labels; /* (classes) */
    uint8_t *input;            /* (input_bytes), the int8 plane as the model reads it */
    uint32_t input_bytes;
    int8_t *logits; /* (classes), written by infer */
    int32_t classes;
    float logit_scale; /* real logit = logit_scale * (q - zero point); the softmax needs no zero point */
    uint32_t arena_bytes;
    void (*infer)(void); /* input -> logits */
    void (*write)(uint8_t byte);
    uint32_t (*microseconds)(void);
    void (*pin)(int32_t level); /* energy mode; null in performance mode */
} ts_dut;

/* The parser; `line` never holds more than a command's length and its 0. */
typedef struct {
    const ts_dut *dut;
    ts_reply reply;
    char line[TS_COMMAND_LENGTH + 1];
    int32_t length;                /* characters in `line`; one more than fit when the command is too long */
    uint32_t expected, loaded;     /* bytes of the running db load; equal when none runs */
    int32_t has_logits;
    uint64_t clock;     /* microseconds, extended to 64 bits */
    uint32_t last_tick; /* what the board's clock said last */
    uint32_t last_crc;  /* of the reply before */
} ts_protocol;

/* Says m-timestamp-mode-.., m-init-done and m-ready. `dut` must outlive the parser. */
void ts_protocol_start(ts_protocol *protocol, const ts_dut *dut);

/* Takes one byte from the host; runs the command when it was the last of one. */
void ts_protocol_feed(ts_protocol *protocol, uint8_t byte);

#ifdef __cplusplus
}
#endif

#endif
