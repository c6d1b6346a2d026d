// The MAC row of a slice: each T times the values of one basis kernel, into the partial sums of a line buffer.
//
// A T waits in a queue of QUEUE results. The row takes MULTIPLIERS values of the kernel a cycle, so that a T keeps it busy
// for ⌈HEIGHT·WIDTH ÷ MULTIPLIERS⌉ cycles. The line buffer holds the partial sums of the output rows that the
// kernel's window touches while one row of pixels streams by: output row y lies in line y modulo LINES. The products of
// a kernel row go to different columns of one line, those of different kernel rows to different lines. Between
// rows of pixels a finished output row is read out and its line cleared.
module mac_row #(
    parameter int HEIGHT = 3,
    parameter int WIDTH = 3,
    parameter int MULTIPLIERS = 9,
    parameter int STRIDE = 1,          // a power of two, both ways
    parameter int PADDING = 1,
    parameter int OUT_ROWS = 8,
    parameter int COLUMNS = 8,         // of an output row
    parameter int QUEUE = 2,
    parameter int INPUT = 32,
    parameter int SUM = 32,
    parameter int PLACE = 16,          // bits of a row's or column's number
    localparam int TAPS = HEIGHT * WIDTH,
    localparam int TURNS = (TAPS + MULTIPLIERS - 1) / MULTIPLIERS,
    localparam int LINES = (HEIGHT + STRIDE - 1) / STRIDE
) (
    input  wire clock,
    input  wire reset,
    input  wire [8*TAPS-1:0] basis,    // signed, kernel row after kernel row
    input  wire [PLACE-1:0] row,       // of the pixels that stream by
    input  wire offered,
    input  wire signed [INPUT-1:0] value,
    input  wire [PLACE-1:0] column,
    output wire taken,
    output wire begins,                // a T is taken from the queue, or from the input where that is empty
    output wire ends,                  // a T is done with
    output wire busy,
    input  wire clear,                 // of the line that is read
    input  wire [PLACE-1:0] read_row,
    output wire [SUM*COLUMNS-1:0] read_sums
);
    localparam int SHIFT = $clog2(STRIDE);
    localparam int WAITING = $clog2(QUEUE + 1);
    localparam int TURN = TURNS == 1 ? 1 : $clog2(TURNS);
    localparam int ITEM = INPUT + PLACE;

    // The queue of results.
    reg [ITEM-1:0] queue [0:QUEUE-1];
    reg [WAITING-1:0] waiting;
    reg working;
    reg [TURN-1:0] turn;
    reg signed [INPUT-1:0] factor;
    reg [PLACE-1:0] at;
    assign ends = working && turn == TURN'(TURNS - 1);
    wire free = !working || ends;
    wire leaves = free && waiting != '0;
    assign taken = waiting != WAITING'(QUEUE) || free;
    wire enters = offered && taken;
    wire passes_by = enters && free && waiting == '0;
    assign begins = leaves || passes_by;
    wire [WAITING-1:0] behind = waiting - WAITING'(leaves);
    always_ff @(posedge clock) begin
        if (reset) begin
            waiting <= '0;
            working <= 1'b0;
        end else begin
            waiting <= behind + WAITING'(enters && !passes_by);
            working <= begins || !free;
        end
        for (int place = 0; place < QUEUE; place++) begin
            if (enters && behind == WAITING'(place)) queue[place] <= {value, column};
            else if (leaves && place + 1 < QUEUE) queue[place] <= queue[(place + 1) % QUEUE];
        end
        turn <= free ? '0 : turn + 1'b1;
        if (free) {factor, at} <= leaves ? queue[0] : {value, column};
    end
    assign busy = working || waiting != '0;

    // The products of this cycle: the taps from turn · MULTIPLIERS on.
    logic signed [SUM-1:0] product [0:TAPS-1];
    logic [TAPS-1:0] multiplied;
    always_comb begin
        for (int tap = 0; tap < TAPS; tap++) begin
            multiplied[tap] = working && tap / MULTIPLIERS == 32'(turn);
            product[tap] = SUM'(factor) * SUM'(signed'(basis[8*tap +: 8]));
        end
    end

    // Where they belong: y = (row + padding - r) / stride, where that is whole and an output row; x likewise.
    logic [PLACE:0] above [0:HEIGHT-1];
    logic [PLACE:0] aside [0:WIDTH-1];
    logic [HEIGHT-1:0] covers_row;
    logic [WIDTH-1:0] covers_column;
    always_comb begin
        for (int r = 0; r < HEIGHT; r++) begin
            above[r] = (PLACE+1)'(row) + (PLACE+1)'(PADDING) - (PLACE+1)'(r);
            covers_row[r] = !above[r][PLACE] && (above[r] & (PLACE+1)'(STRIDE - 1)) == '0
                && (above[r] >> SHIFT) < (PLACE+1)'(OUT_ROWS);
        end
        for (int s = 0; s < WIDTH; s++) begin
            aside[s] = (PLACE+1)'(at) + (PLACE+1)'(PADDING) - (PLACE+1)'(s);
            covers_column[s] = !aside[s][PLACE] && (aside[s] & (PLACE+1)'(STRIDE - 1)) == '0
                && (aside[s] >> SHIFT) < (PLACE+1)'(COLUMNS);
        end
    end

    // The line buffer.
    for (genvar line = 0; line < LINES; line++) begin : g_line
        reg [SUM*COLUMNS-1:0] sums;
        wire here = read_row % PLACE'(LINES) == PLACE'(line);
        logic [SUM*COLUMNS-1:0] next;
        always_comb begin
            next = sums;
            for (int r = 0; r < HEIGHT; r++) begin
                for (int s = 0; s < WIDTH; s++) begin
                    for (int x = 0; x < COLUMNS; x++) begin
                        if (multiplied[r*WIDTH + s] && covers_row[r] && covers_column[s]
                            && (above[r] >> SHIFT) % (PLACE+1)'(LINES) == (PLACE+1)'(line)
                            && (aside[s] >> SHIFT) == (PLACE+1)'(x))
                            next[SUM*x +: SUM] = next[SUM*x +: SUM] + product[r*WIDTH + s];
                    end
                end
            end
        end
        always_ff @(posedge clock) begin
            if (reset || (clear && here)) sums <= '0;
            else sums <= next;
        end
    end
    wire [SUM*COLUMNS-1:0] read [0:LINES];
    assign read[0] = '0;
    for (genvar line = 0; line < LINES; line++) begin : g_read
        assign read[line+1] = read[line] | (g_line[line].here ? g_line[line].sums : '0);
    end
    assign read_sums = read[LINES];
endmodule
