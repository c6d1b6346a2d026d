// A token-parallel scheduler, out of order: which key is brought to which of the TOKENS queries of a group.
//
// A round starts with all queries that still want a key unserved. While some are: of the keys that unserved queries
// want, take (1) one all of whose remaining wanters are unserved, then (2) the one with most unserved wanters, then
// (3) the lowest index; issue it to those wanters. One key a cycle; a round starts in the cycle after the last load
// of the one before, and so does a group if it is offered then.
//
// Source: Qu et al., "DOTA", ASPLOS 2022 (out-of-order token parallelism); a queue per mask of wanters as in Wang et
// al., "SOFA", MICRO 2024, Fig. 15. Here each queue is a bitmap of the keys with that mask, its head the lowest one.
module token_scheduler #(
    parameter int TOKENS = 4,
    parameter int KEYS = 256,
    localparam int KEY_BITS = $clog2(KEYS),
    localparam int MASKS = 1 << TOKENS,
    localparam int COUNT = $clog2(TOKENS + 1)
) (
    input  wire clock,
    input  wire reset,
    input  wire offered,
    input  wire [TOKENS*KEYS-1:0] wanted,      // query after query, a bit per key
    output wire taken,
    output wire issue,
    output wire [KEY_BITS-1:0] key,
    output wire [TOKENS-1:0] served,
    output wire round_ends
);
    reg [TOKENS*KEYS-1:0] wants;
    reg [TOKENS-1:0] unserved;

    // The bitmap of each mask, whether it holds a key, and the lowest.
    wire [MASKS-1:0] holds;
    wire [KEY_BITS-1:0] head [0:MASKS-1];
    for (genvar m = 1; m < MASKS; m++) begin : g_queue
        localparam logic [TOKENS-1:0] MASK = TOKENS'(m);
        logic [KEYS-1:0] bitmap;
        always_comb begin
            bitmap = '1;
            for (int t = 0; t < TOKENS; t++) bitmap &= MASK[t] ? wants[t*KEYS +: KEYS] : ~wants[t*KEYS +: KEYS];
        end
        lowest_one #(.WIDTH(KEYS)) first (.bits(bitmap), .any(holds[m]), .place(head[m]));
    end
    assign holds[0] = 1'b0;
    assign head[0] = '0;

    // The preferred queue: the greatest (none served, unserved wanters), then the lowest head.
    function automatic logic [COUNT-1:0] ones(input logic [TOKENS-1:0] bits);
        ones = '0;
        for (int t = 0; t < TOKENS; t++) ones = ones + COUNT'(bits[t]);
    endfunction

    logic [TOKENS-1:0] chosen;
    logic [KEY_BITS-1:0] lowest;
    logic [COUNT:0] rank, highest;
    always_comb begin
        chosen = '0;
        lowest = '0;
        rank = '0;
        highest = '0;
        for (int m = 1; m < MASKS; m++) begin
            rank = {(TOKENS'(m) & ~unserved) == '0, ones(TOKENS'(m) & unserved)};
            if (holds[m] && (TOKENS'(m) & unserved) != '0
                && (chosen == '0 || rank > highest || (rank == highest && head[m] < lowest))) begin
                chosen = TOKENS'(m);
                lowest = head[m];
                highest = rank;
            end
        end
    end

    assign issue = unserved != '0;
    assign key = lowest;
    assign served = chosen & unserved;
    assign round_ends = issue && served == unserved;

    // What is wanted after this load, and by whom.
    logic [TOKENS*KEYS-1:0] left;
    logic [TOKENS-1:0] wanting;
    always_comb begin
        left = wants;
        for (int t = 0; t < TOKENS; t++) begin
            left[t*KEYS +: KEYS] &= ~(KEYS'(served[t]) << lowest);
            wanting[t] = |left[t*KEYS +: KEYS];
        end
    end

    logic [TOKENS-1:0] wanting_anew;
    always_comb for (int t = 0; t < TOKENS; t++) wanting_anew[t] = |wanted[t*KEYS +: KEYS];

    wire last = round_ends && wanting == '0;
    assign taken = !issue || last;
    always_ff @(posedge clock) begin
        if (reset) unserved <= '0;
        else if (taken) unserved <= offered ? wanting_anew : '0;
        else unserved <= round_ends ? wanting : unserved & ~served;
        wants <= taken ? wanted : left;
    end
endmodule

// The place of the lowest one: a tree that keeps the lower of two halves where it has any.
module lowest_one #(
    parameter int WIDTH = 256,
    localparam int PLACE = $clog2(WIDTH)
) (
    input  wire [WIDTH-1:0] bits,
    output wire any,
    output wire [PLACE-1:0] place
);
    if (WIDTH == 2) begin : g_pair
        assign any = |bits;
        assign place = ~bits[0];
    end else begin : g_halves
        wire any_low, any_high;
        wire [PLACE-2:0] low, high;
        lowest_one #(.WIDTH(WIDTH / 2)) lower (.bits(bits[WIDTH/2-1:0]), .any(any_low), .place(low));
        lowest_one #(.WIDTH(WIDTH / 2)) upper (.bits(bits[WIDTH-1:WIDTH/2]), .any(any_high), .place(high));
        assign any = any_low | any_high;
        assign place = any_low ? {1'b0, low} : {1'b1, high};
    end
endmodule
