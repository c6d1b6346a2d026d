// Stimulus, from bit 0: a word is offered, it begins a row of pixels (and waits until the unit is idle), it ends a
// pixel; the activations' map; the coefficients' map, signs, controls; the packed values.
// Response: ready, busy, finished, entered, sum.
module bench #(
    parameter int LANES = 64,
    parameter int WORDS = 2,
    parameter int ADDERS = 16,
    parameter int LOOK_AHEAD = 2,
    parameter int OFFSETS = 7,
    parameter bit [8*OFFSETS-1:0] AHEAD = '0,
    parameter bit [8*OFFSETS-1:0] ASIDE = '0,
    parameter int QUEUE = 4,
    parameter bit DILUTE = 0,
    localparam int SWITCHES = $clog2(LANES) * LANES / 2,
    localparam int IN_WORDS = (3 + 11 * LANES + SWITCHES + 31) / 32
) (
    input  wire clock,
    input  wire reset,
    input  wire [32*IN_WORDS-1:0] stimulus,
    output wire [95:0] response
);
    wire taken, busy, finished, entered, ends;
    wire signed [31:0] sum, made;
    wire offered = stimulus[0] && !(stimulus[1] && busy);
    channel_accumulation #(
        .LANES(LANES), .WORDS(WORDS), .ADDERS(ADDERS), .LOOK_AHEAD(LOOK_AHEAD), .OFFSETS(OFFSETS),
        .AHEAD(AHEAD), .ASIDE(ASIDE), .QUEUE(QUEUE), .DILUTE(DILUTE)
    ) unit (
        .clock(clock), .reset(reset), .offered(offered), .last(stimulus[2]),
        .map(stimulus[3 +: LANES]), .coefficient_map(stimulus[3+LANES +: LANES]),
        .coefficient_signs(stimulus[3+2*LANES +: LANES]), .coefficient_controls(stimulus[3+3*LANES +: SWITCHES]),
        .values(stimulus[3+3*LANES+SWITCHES +: 8*LANES]),
        .taken(taken), .busy(busy), .entered(entered), .accepted(1'b1), .ends(ends), .made(made),
        .finished(finished), .sum(sum)
    );
    assign response = 96'({sum, entered, finished, busy, stimulus[0] ? offered && taken : 1'b1});
endmodule
