// Replays a list of requests through DRAMsim3 (umd-memsys/DRAMsim3) under the rules of docs/memory.md:
//   driver CONFIG TRACE REQUESTS_PER_CYCLE OUTPUT_FOLDER
// A line of the trace is "0xADDRESS READ|WRITE CYCLE". Prints the cycles until the last request has called back;
// compiled with CMD_TRACE, DRAMsim3 itself writes every command into the output folder.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <unordered_map>
#include <vector>

#include "memory_system.h"

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    std::ifstream trace(argv[2]);
    const int width = std::atoi(argv[3]);
    std::vector<uint64_t> address, arrival;
    std::vector<bool> write;
    std::string hex, kind;
    uint64_t cycle;
    while (trace >> hex >> kind >> cycle) {
        address.push_back(std::stoull(hex, nullptr, 16));
        write.push_back(kind == "WRITE");
        arrival.push_back(cycle);
    }
    std::unordered_map<uint64_t, int> reading;
    uint64_t pending = 0, now = 0;
    dramsim3::MemorySystem memory(
        argv[1], argv[4],
        [&](uint64_t line) { reading[line]--, pending--; },
        [&](uint64_t) { pending--; });
    for (size_t next = 0; next < address.size() || pending > 0; now++) {
        memory.ClockTick();
        for (int i = 0; i < width && next < address.size() && arrival[next] <= now; i++, next++) {
            const uint64_t line = address[next];
            if (write[next] && reading[line] > 0) break;
            if (!memory.WillAcceptTransaction(line, write[next])) break;
            memory.AddTransaction(line, write[next]);
            pending++;
            if (!write[next]) reading[line]++;
        }
    }
    std::printf("%llu\n", static_cast<unsigned long long>(now));
}
