/* The serial protocol, see ts_protocol.h: characters to commands, commands to replies. */
#include "ts_protocol.h"
#include "ts_words.h"

static void ts_line(ts_protocol *p, const char *text) {
    ts_reply_text(&p->reply, text);
    ts_reply_end(&p->reply);
}

/* BEFORE number AFTER as one line. */
static void ts_line_number(ts_protocol *p, const char *before, uint64_t number, const char *after) {
    ts_reply_text(&p->reply, before);
    ts_reply_number(&p->reply, number);
    ts_line(p, after);
}

/* BEFORE word AFTER as one line, where the word came from the host. */
static void ts_line_echo(ts_protocol *p, const char *before, const char *word, const char *after) {
    ts_reply_text(&p->reply, before);
    ts_reply_echo(&p->reply, word);
    ts_line(p, after);
}

static void ts_timestamp(ts_protocol *p, char *rest) {
    (void)rest;
    if (p->dut->pin != 0) {
        const uint32_t start = p->dut->microseconds();
        p->dut->pin(0);
        while (p->dut->microseconds() - start < 2u) { /* at least 1 us whatever part of a tick had gone */
        }
        p->dut->pin(1);
        return;
    }
    const uint32_t tick = p->dut->microseconds();
    p->clock += (uint32_t)(tick - p->last_tick); /* unsigned: right across a wrap */
    p->last_tick = tick;
    ts_line_number(p, "m-lap-us-", p->clock, "");
}

/* e^x for x <= 0, relative error below 1e-6: 2^n times the Taylor series of e^r, |r| <= ln(2) / 2. */
static float ts_exp(float x) {
    if (x < -80.0f) {
        return 0.0f;
    }
    const int32_t n = (int32_t)(x * 1.44269504f - 0.5f); /* log2(e); the conversion cuts towards zero */
    const float r = x - (float)n * 0.693359375f + (float)n * 2.12194440e-4f; /* ln(2) in two parts */
    float y = 1.0f + r * (1.0f + r * (0.5f + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r / 720)))));
    for (int32_t i = n; i < 0; ++i) {
        y *= 0.5f;
    }
    return y;
}

static void ts_results(ts_protocol *p, char *rest) {
    (void)rest;
    const ts_dut *dut = p->dut;
    if (!p->has_logits) {
        ts_line(p, "e-[No inference was run yet: infer]");
        return;
    }
    int32_t best = dut->logits[0];
    for (int32_t i = 1; i < dut->classes; ++i) {
        best = dut->logits[i] > best ? dut->logits[i] : best;
    }
    float sum = 0.0f;
    for (int32_t i = 0; i < dut->classes; ++i) {
        sum += ts_exp((float)(dut->logits[i] - best) * dut->logit_scale);
    }
    ts_reply_text(&p->reply, "m-results-[");
    for (int32_t i = 0; i < dut->classes; ++i) {
        ts_reply_text(&p->reply, i > 0 ? "," : "");
        ts_reply_share(&p->reply, ts_exp((float)(dut->logits[i] - best) * dut->logit_scale) / sum);
    }
    ts_line(p, "]");
}

static void ts_logits(ts_protocol *p, char *rest) {
    (void)rest;
    if (!p->has_logits) {
        ts_line(p, "e-[No inference was run yet: infer]");
        return;
    }
    ts_reply_text(&p->reply, "m-logits-[");
    for (int32_t i = 0; i < p->dut->classes; ++i) {
        ts_reply_text(&p->reply, i > 0 ? "," : "");
        ts_reply_signed(&p->reply, p->dut->logits[i]);
    }
    ts_line(p, "]");
}

static void ts_infer(ts_protocol *p, char *rest) {
    const char *first = ts_word(&rest), *second = ts_word(&rest);
    const int32_t count = *first != 0 ? ts_decimal(first) : 1;
    const int32_t warmup = *second != 0 ? ts_decimal(second) : 10;
    if (count < 1 || (uint32_t)count > TS_MOST_INFERENCES) {
        ts_line_echo(p, "e-[Inference iterations must be 1 to 1000000: ", first, "]");
        return;
    }
    if (warmup < 0 || (uint32_t)warmup > TS_MOST_INFERENCES) {
        ts_line_echo(p, "e-[Inference warmup must be 0 to 1000000: ", second, "]");
        return;
    }
    if (p->loaded < p->expected) { /* half of one input and half of another would be an answer to neither */
        ts_line_number(p, "e-[The load is short of ", p->expected - p->loaded, " bytes]");
        return;
    }
    ts_line_number(p, "m-warmup-start-", (uint32_t)warmup, "");
    for (int32_t i = 0; i < warmup; ++i) {
        p->dut->infer();
    }
    ts_line(p, "m-warmup-done");
    ts_line_number(p, "m-infer-start-", (uint32_t)count, "");
    ts_timestamp(p, rest);
    for (int32_t i = 0; i < count; ++i) {
        p->dut->infer();
    }
    p->has_logits = 1;
    ts_timestamp(p, rest);
    ts_line(p, "m-infer-done");
    ts_results(p, rest);
}

static void ts_db_load(ts_protocol *p, char *rest) {
    const char *word = ts_word(&rest);
    const int32_t bytes = ts_decimal(word);
    p->expected = p->loaded = 0; /* whatever the number is, the load that ran is over */
    if (bytes < 1) {
        ts_line_echo(p, "e-[db load needs a number of bytes above 0: ", word, "]");
    } else if ((uint32_t)bytes > p->dut->input_bytes) {
        ts_line_number(p, "e-[db load takes at most ", p->dut->input_bytes, " bytes]");
    } else {
        p->expected = (uint32_t)bytes;
        ts_line_number(p, "m-[Expecting ", (uint32_t)bytes, " bytes]");
    }
}

/* `digits` are checked whole before the first byte is stored; those beyond the end of the load are dropped. */
static void ts_db_data(ts_protocol *p, const char *digits) {
    uint32_t count = 0;
    for (; digits[count] != 0; ++count) {
        if (ts_hex_digit(digits[count]) < 0) {
            const char wrong[2] = {digits[count], 0};
            ts_line_echo(p, "e-[Invalid hex digit '", wrong, "']");
            return;
        }
    }
    if ((count & 1u) != 0) {
        ts_line(p, "e-[Odd number of hex digits]");
    } else if (p->loaded == p->expected) {
        ts_line(p, "e-[No db load is running]");
    } else {
        for (uint32_t i = 0; i < count && p->loaded < p->expected; i += 2) {
            const int32_t byte = 16 * ts_hex_digit(digits[i]) + ts_hex_digit(digits[i + 1]);
            p->dut->input[p->loaded++] = (uint8_t)byte;
        }
        if (p->loaded == p->expected) {
            ts_line(p, "m-load-done");
        }
    }
}

static void ts_db_print(ts_protocol *p, char *rest) {
    const char *first = ts_word(&rest), *second = ts_word(&rest);
    const int32_t count = *first != 0 ? ts_decimal(first) : 16;
    const int32_t offset = *second != 0 ? ts_decimal(second) : 0;
    const uint32_t held = p->dut->input_bytes;
    if (count < 1 || offset < 0 || (uint32_t)offset >= held || (uint32_t)count > held - (uint32_t)offset) {
        ts_line_number(p, "e-[db print N OFFSET must lie within ", held, " bytes]");
        return;
    }
    for (int32_t i = 0; i < count; ++i) {
        ts_reply_text(&p->reply, i % 8 == 0 ? "m-buffer-" : "-");
        ts_reply_hex(&p->reply, p->dut->input[offset + i], 2);
        if (i % 8 == 7 || i == count - 1) {
            ts_reply_end(&p->reply);
        }
    }
}

static void ts_db(ts_protocol *p, char *rest) {
    char *word = ts_word(&rest);
    if (*word == 0) {
        ts_line(p, "e-[Command 'db' requires a subcommand]");
    } else if (ts_same(word, "load")) {
        ts_db_load(p, rest);
    } else if (ts_same(word, "print")) {
        ts_db_print(p, rest);
    } else {
        ts_db_data(p, word);
    }
}

static void ts_labels(ts_protocol *p, char *rest) {
    (void)rest;
    ts_reply_text(&p->reply, "m-labels-[");
    for (int32_t i = 0; i < p->dut->classes; ++i) {
        ts_reply_text(&p->reply, i > 0 ? "," : "");
        ts_reply_text(&p->reply, p->dut->labels[i]);
    }
    ts_line(p, "]");
}

static void ts_input_state(ts_protocol *p, char *rest) {
    (void)rest;
    uint32_t crc = 0xffffffffu;
    for (uint32_t i = 0; i < p->dut->input_bytes; ++i) {
        crc = ts_crc32_step(crc, p->dut->input[i]);
    }
    ts_reply_text(&p->reply, "m-input-[");
    ts_reply_number(&p->reply, p->dut->input_bytes);
    ts_reply_text(&p->reply, ",");
    ts_reply_hex(&p->reply, ~crc, 8);
    ts_line(p, "]");
}

static void ts_help(ts_protocol *p, char *rest) {
    (void)rest;
    ts_line(p, TS_FIRMWARE_VERSION);
    ts_line(p, "");
    ts_line(p, "name, profile, timestamp, help");
    ts_line(p, "db load N, db HEX.., db print [N=16] [OFFSET=0]");
    ts_line(p, "infer [N=1] [W=10], results");
    ts_line(p, "logits, labels, contract, input, arena, check");
}

static void ts_name(ts_protocol *p, char *rest) {
    (void)rest;
    ts_line_echo(p, "m-name-dut-[", p->dut->vendor, "]");
}

static void ts_profile(ts_protocol *p, char *rest) {
    (void)rest;
    ts_line(p, "m-profile-[" TS_FIRMWARE_VERSION "]");
    ts_line_echo(p, "m-model-[", p->dut->model, "]");
}

static void ts_contract(ts_protocol *p, char *rest) {
    (void)rest;
    ts_line_echo(p, "m-contract-[", p->dut->contract, "]");
}

static void ts_arena(ts_protocol *p, char *rest) {
    (void)rest;
    ts_line_number(p, "m-arena-[", p->dut->arena_bytes, "]");
}

static void ts_check(ts_protocol *p, char *rest) {
    (void)rest;
    ts_reply_text(&p->reply, "m-check-[");
    ts_reply_hex(&p->reply, p->last_crc, 8);
    ts_line(p, "]");
}

static const struct {
    const char *name;
    void (*run)(ts_protocol *p, char *rest); /* `rest` is the line behind the name */
} ts_commands[] = {
    {"name", ts_name},       {"profile", ts_profile}, {"timestamp", ts_timestamp}, {"help", ts_help},
    {"db", ts_db},           {"infer", ts_infer},     {"results", ts_results},     {"logits", ts_logits},
    {"labels", ts_labels},   {"contract", ts_contract}, {"input", ts_input_state}, {"arena", ts_arena},
    {"check", ts_check},
};

static void ts_command(ts_protocol *p) {
    char *rest = p->line;
    const char *word = ts_word(&rest);
    if (*word == 0) {
        return; /* nothing but % is how a host finds the end of what came before */
    }
    for (uint32_t i = 0; i < sizeof ts_commands / sizeof ts_commands[0]; ++i) {
        if (ts_same(word, ts_commands[i].name)) {
            ts_commands[i].run(p, rest);
            return;
        }
    }
    ts_line_echo(p, "e-[Unknown command: ", word, "]");
}

void ts_protocol_start(ts_protocol *p, const ts_dut *dut) {
    p->dut = dut;
    p->reply.write = dut->write;
    p->length = 0;
    p->expected = p->loaded = 0;
    p->has_logits = 0;
    p->clock = 0;
    p->last_tick = dut->microseconds();
    ts_reply_start(&p->reply);
    ts_line(p, dut->pin != 0 ? "m-timestamp-mode-energy" : "m-timestamp-mode-performance");
    ts_line(p, "m-init-done");
    ts_line(p, "m-ready");
    p->last_crc = ~p->reply.crc;
}

void ts_protocol_feed(ts_protocol *p, uint8_t byte) {
    if (byte == '\r' || byte == '\n' || byte == 0) {
        return;
    }
    if (byte != '%') {
        if (p->length < TS_COMMAND_LENGTH) {
            p->line[p->length++] = (char)byte;
        } else {
            p->length = TS_COMMAND_LENGTH + 1;
        }
        return;
    }
    ts_reply_start(&p->reply);
    if (p->length > TS_COMMAND_LENGTH) {
        ts_line(p, "e-[Command longer than 80 characters]");
    } else {
        p->line[p->length] = 0;
        ts_command(p);
    }
    p->length = 0;
    ts_line(p, "m-ready");
    p->last_crc = ~p->reply.crc;
}
