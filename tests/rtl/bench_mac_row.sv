// Stimulus, from bit 0: a T is offered; a row of pixels has ended (and waits until the MAC row is idle); a line is read and
// cleared then; value, column, row of the pixels, row to be read; basis.
// Response: ready, busy, a T enters, begins, ends, a line is read, its sums.
module bench #(
    parameter int HEIGHT = 3,
    parameter int WIDTH = 3,
    parameter int MULTIPLIERS = 9,
    parameter int STRIDE = 1,
    parameter int PADDING = 1,
    parameter int OUT_ROWS = 8,
    parameter int COLUMNS = 8,
    parameter int QUEUE = 2,
    localparam int IN_WORDS = (3 + 32 + 3 * 16 + 8 * HEIGHT * WIDTH + 31) / 32,
    localparam int OUT_WORDS = (6 + 32 * COLUMNS + 31) / 32
) (
    input  wire clock,
    input  wire reset,
    input  wire [32*IN_WORDS-1:0] stimulus,
    output wire [32*OUT_WORDS-1:0] response
);
    wire taken, begins, ends, busy;
    wire [32*COLUMNS-1:0] read_sums;
    wire reads = stimulus[2] && !busy;
    mac_row #(
        .HEIGHT(HEIGHT), .WIDTH(WIDTH), .MULTIPLIERS(MULTIPLIERS), .STRIDE(STRIDE), .PADDING(PADDING),
        .OUT_ROWS(OUT_ROWS), .COLUMNS(COLUMNS), .QUEUE(QUEUE)
    ) unit (
        .clock(clock), .reset(reset), .basis(stimulus[83 +: 8*HEIGHT*WIDTH]), .row(stimulus[66:51]),
        .offered(stimulus[0]), .value(stimulus[34:3]), .column(stimulus[50:35]),
        .taken(taken), .begins(begins), .ends(ends), .busy(busy),
        .clear(reads), .read_row(stimulus[82:67]), .read_sums(read_sums)
    );
    wire ready = stimulus[1] ? !busy : !stimulus[0] || taken;
    assign response = (32*OUT_WORDS)'({read_sums, reads, ends, begins, stimulus[0] && taken, busy, ready});
endmodule
