/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pickle of a PyTorch checkpoint whose storages are "0" (16 bytes), "1" (64) and "2" (1024): byte i of
 * each is i. */
#include "config.h"

#include <string.h>

#include "saescope/base/strbuf.h"
#include "tests/fuzz/fuzz.h"

static uint32_t crc32_of(const uint8_t *data, size_t n)
{
    static uint32_t table[256];
    if (!table[1]) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++)
                c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
            table[i] = c;
        }
    }
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++)
        crc = table[(crc ^ data[i]) & 0xFF] ^ crc >> 8;
    return ~crc;
}

static void put(struct strbuf *b, uint64_t n, int bytes)
{
    for (int i = 0; i < bytes; i++)
        strbuf_addc(b, (char)(n >> 8 * i));
}

/* What a local header and the directory's entry have in common: version to name's length, and no extra field.
 */
static void put_facts(struct strbuf *b, const char *name, const uint8_t *data, size_t n)
{
    put(b, 20, 2);            /* version needed */
    put(b, 0, 2 + 2 + 2 + 2); /* flags, stored, time, date */
    put(b, crc32_of(data, n), 4);
    put(b, n, 4);
    put(b, n, 4);
    put(b, strlen(name), 2);
    put(b, 0, 2);
}

static void add_entry(struct strbuf *file, struct strbuf *directory, const char *name, const uint8_t *data,
                      size_t n)
{
    size_t at = file->length;
    strbuf_add(file, "PK\3\4", 4);
    put_facts(file, name, data, n);
    strbuf_adds(file, name);
    strbuf_add(file, data, n);
    strbuf_add(directory, "PK\1\2", 4);
    put(directory, 20, 2);
    put_facts(directory, name, data, n);
    put(directory, 0, 2 + 2 + 2); /* comment, disk, internal attributes */
    put(directory, 0, 4);
    put(directory, at, 4);
    strbuf_adds(directory, name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct strbuf file = STRBUF_INIT, directory = STRBUF_INIT;
    uint8_t storage[1024];
    for (size_t i = 0; i < sizeof storage; i++)
        storage[i] = (uint8_t)i;
    add_entry(&file, &directory, "x/data.pkl", data, n);
    add_entry(&file, &directory, "x/data/0", storage, 16);
    add_entry(&file, &directory, "x/data/1", storage, 64);
    add_entry(&file, &directory, "x/data/2", storage, 1024);
    size_t at = file.length;
    strbuf_add(&file, directory.data, directory.length);
    strbuf_add(&file, "PK\5\6\0\0\0\0", 8);
    put(&file, 4, 2);
    put(&file, 4, 2);
    put(&file, directory.length, 4);
    put(&file, at, 4);
    put(&file, 0, 2);
    fuzz_tensors(fuzz_file((const uint8_t *)file.data, file.length));
    strbuf_free(&file);
    strbuf_free(&directory);
    return 0;
}
