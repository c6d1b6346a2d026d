// Plays words into a bench and writes down what it answers, cycle by cycle.
//
// usage: Vbench STIMULUS RESPONSE LIMIT. STIMULUS is rows of 32-bit words; a row stays until a cycle in which the
// bench is ready (bit 0 of its response). Then zeros, until it is no longer busy (bit 1). RESPONSE has one row per
// cycle, as the outputs stand just before the clock edge. Ends with status 3 when LIMIT cycles are not enough.
// Without arguments: prints the words of a row of either.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Vbench.h"
#include "verilated.h"

int main(int count, char** arguments) {
    VerilatedContext context;
    Vbench bench{&context};
    constexpr size_t in_words = sizeof(bench.stimulus) / 4, out_words = sizeof(bench.response) / 4;
    if (count != 4) return std::printf("%zu %zu\n", in_words, out_words) < 0;
    FILE* source = std::fopen(arguments[1], "rb");
    FILE* sink = std::fopen(arguments[2], "wb");
    if (!source || !sink) return 2;
    std::vector<uint32_t> rows;
    uint32_t buffer[4096];
    for (size_t got; (got = std::fread(buffer, 4, 4096, source)) > 0;) rows.insert(rows.end(), buffer, buffer + got);
    if (rows.size() % in_words) return 2;
    const size_t stimuli = rows.size() / in_words;
    const uint64_t limit = std::strtoull(arguments[3], nullptr, 10);

    auto present = [&](size_t row) {
        for (size_t w = 0; w < in_words; w++) bench.stimulus[w] = row < stimuli ? rows[row * in_words + w] : 0;
    };
    auto edge = [&] {
        bench.clock = 1;
        bench.eval();
        bench.clock = 0;
    };
    bench.clock = 0;
    bench.reset = 1;
    present(stimuli);
    for (int i = 0; i < 2; i++) {
        bench.eval();
        edge();
    }
    bench.reset = 0;
    size_t row = 0;
    for (uint64_t cycle = 0; cycle < limit; cycle++) {
        present(row);
        bench.eval();
        std::fwrite(&bench.response[0], 4, out_words, sink);
        if (row == stimuli && !(bench.response[0] & 2)) return std::fclose(sink) ? 2 : 0;
        const bool ready = bench.response[0] & 1;
        edge();
        if (ready && row < stimuli) row++;
    }
    return 3;
}
