// A slice: an accumulation unit and its MAC row, with the queue of results between them. A sum goes into the queue in the
// cycle in which it is made. Stimulus, from bit 0: a word is offered, it begins a row of pixels (and waits until the slice
// is idle), it ends a pixel, the line is read and cleared (when the slice is idle); map, coefficients' map, signs,
// controls, values; basis. Response: ready, busy, a pixel enters the unit's queue, a T enters the queue of results, begins,
// ends, the line is read; T; sums of the line.
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
    parameter int HEIGHT = 3,
    parameter int WIDTH = 3,
    parameter int MULTIPLIERS = 9,
    parameter int COLUMNS = 10,
    parameter int RESULT_QUEUE = 2,
    localparam int SWITCHES = $clog2(LANES) * LANES / 2,
    localparam int BASIS = 4 + 11 * LANES + SWITCHES,
    localparam int IN_WORDS = (BASIS + 8 * HEIGHT * WIDTH + 31) / 32,
    localparam int OUT_WORDS = (7 + 32 + 32 * COLUMNS + 31) / 32
) (
    input  wire clock,
    input  wire reset,
    input  wire [32*IN_WORDS-1:0] stimulus,
    output wire [32*OUT_WORDS-1:0] response
);
    wire taken, entered, unit_busy, row_busy, made, accepted, begins, ends, finished;
    wire signed [31:0] result, sum;
    wire [32*COLUMNS-1:0] read_sums;
    wire busy = unit_busy || row_busy;
    wire offered = stimulus[0] && !(stimulus[1] && busy);
    wire reads = stimulus[3] && !busy;
    reg [15:0] column;
    always_ff @(posedge clock) begin
        if (reset || (offered && stimulus[1])) column <= '0;
        else if (made && accepted) column <= column + 1'b1;
    end
    channel_accumulation #(
        .LANES(LANES), .WORDS(WORDS), .ADDERS(ADDERS), .LOOK_AHEAD(LOOK_AHEAD), .OFFSETS(OFFSETS),
        .AHEAD(AHEAD), .ASIDE(ASIDE), .QUEUE(QUEUE), .DILUTE(DILUTE)
    ) unit (
        .clock(clock), .reset(reset), .offered(offered), .last(stimulus[2]),
        .map(stimulus[4 +: LANES]), .coefficient_map(stimulus[4+LANES +: LANES]),
        .coefficient_signs(stimulus[4+2*LANES +: LANES]), .coefficient_controls(stimulus[4+3*LANES +: SWITCHES]),
        .values(stimulus[4+3*LANES+SWITCHES +: 8*LANES]),
        .taken(taken), .busy(unit_busy), .entered(entered), .accepted(accepted), .ends(made), .made(result),
        .finished(finished), .sum(sum)
    );
    mac_row #(
        .HEIGHT(HEIGHT), .WIDTH(WIDTH), .MULTIPLIERS(MULTIPLIERS), .STRIDE(1), .PADDING(1),
        .OUT_ROWS(1), .COLUMNS(COLUMNS), .QUEUE(RESULT_QUEUE)
    ) multiplying (
        .clock(clock), .reset(reset), .basis(stimulus[BASIS +: 8*HEIGHT*WIDTH]), .row(16'd0),
        .offered(made), .value(result), .column(column), .taken(accepted), .begins(begins), .ends(ends), .busy(row_busy),
        .clear(reads), .read_row(16'd0), .read_sums(read_sums)
    );
    wire ready = stimulus[3] ? !busy : stimulus[0] ? offered && taken : 1'b1;
    assign response = (32*OUT_WORDS)'({read_sums, result, reads, ends, begins, made && accepted, entered, busy, ready});
endmodule
