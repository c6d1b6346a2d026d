// Stimulus, from bit 0: a group is offered, its wants. Response: taken, busy, issue, the round ends, served, key.
module bench #(
    parameter int TOKENS = 4,
    parameter int KEYS = 256,
    localparam int KEY_BITS = $clog2(KEYS),
    localparam int IN_WORDS = (1 + TOKENS * KEYS + 31) / 32,
    localparam int OUT_WORDS = 3
) (
    input  wire clock,
    input  wire reset,
    input  wire [32*IN_WORDS-1:0] stimulus,
    output wire [32*OUT_WORDS-1:0] response
);
    wire taken, issue, round_ends;
    wire [KEY_BITS-1:0] key;
    wire [TOKENS-1:0] served;
    token_scheduler #(.TOKENS(TOKENS), .KEYS(KEYS)) scheduler (
        .clock(clock), .reset(reset), .offered(stimulus[0]), .wanted(stimulus[1 +: TOKENS*KEYS]),
        .taken(taken), .issue(issue), .key(key), .served(served), .round_ends(round_ends)
    );
    assign response = (32*OUT_WORDS)'({key, served, round_ends, issue, issue, taken});
endmodule
